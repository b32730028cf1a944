"""Runs that the first version of the suite left: listed, shown, reported and compared, but neither loaded nor resumed.

The folder first_version holds two of them, written by that version on synthetic images: one by a recipe, one by hand.
"""

import shutil
from pathlib import Path

import pytest
from networks import small_gated

from utils import runs
from utils.data import load_cifar10
from utils.errors import CheckpointError, CourseworkError
from utils.experiments import write_page
from utils.recipes import Recipe, load_run
from utils.report import write_report

HERE = Path(__file__).parent / "first_version"
NAMES = ("first_gated-smoke-s0-bacc2837", "first_by_hand-20261130-010623")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Give the test a copy of the first version's runs as its own runs/ folder."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    return shutil.copytree(HERE, tmp_path / "runs")


def test_they_are_listed_with_their_figures():
    table = runs.table()
    assert set(table.index) == set(NAMES) and set(table["state"]) == {"finished"}
    gated = table.loc[NAMES[0]]
    assert gated["effort"] == "smoke" and gated["epochs"] == 2 and gated["parameters"] == 290
    assert gated["protocol"] == "validation" and set(table["data"]) == {"synthetic images"}
    assert gated["test_acc"] == runs.find(NAMES[0]).evaluation["accuracy"]


def test_their_records_are_read_with_the_present_names():
    run = runs.find(NAMES[0])
    assert run.record["data"]["checksum"] == run.evaluation["data"]["checksum"] == "f7b7b2588362a7e4"
    assert run.evaluation["mistakes"][0]["predicted"] == 8


@pytest.mark.parametrize("name", NAMES)
def test_they_are_reported_without_a_drawing(name):
    html, pdf = write_report(runs.find(name))
    assert "synthetic images" in html.read_text(encoding="utf-8") and pdf.read_bytes().startswith(b"%PDF")


def test_they_are_compared():
    page = write_page().read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)


def test_their_networks_cannot_be_loaded_and_the_error_says_why():
    data = load_cifar10(source="synthetic")
    with pytest.raises(CourseworkError, match="first version"):
        load_run(NAMES[0], data, "cpu")


def test_their_trainings_cannot_be_resumed_and_the_error_says_why(folder):
    recipe = Recipe("first_gated", small_gated, batch_size=48, num_epochs=2, lr=0.01)
    before = sorted(path.name for path in (folder / NAMES[0]).iterdir())
    with pytest.raises(CheckpointError, match="earlier version"):
        recipe.train(load_cifar10(source="synthetic"), folder=folder / NAMES[0], effort="check", curves=False)
    assert {*before} <= {path.name for path in (folder / NAMES[0]).iterdir()}
    assert runs.find(NAMES[0]).state == "finished"
