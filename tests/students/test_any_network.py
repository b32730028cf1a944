"""Any nn.Module is trained, killed, resumed to the bit, loaded, evaluated, synthetic, reported and compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import student_networks
import torch
from patience import PATIENCE
from PIL import Image

from utils import runs
from utils.data import load_cifar10, load_images
from utils.errors import CourseworkError
from utils.evaluation import evaluate
from utils.experiments.page import write_page
from utils.models.convolution import FastConv2d
from utils.models.draw import draw_network
from utils.recipes import Recipe, load_run
from utils.report import write_report

HERE = Path(__file__).parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks and kills processes")
def test_killed_trainings_of_students_networks_resume_to_the_same_bits(tmp_path):
    command = [sys.executable, str(HERE / "train_and_die.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["kind"] for report in reports] == list(student_networks.KINDS)
    for report in reports:
        assert report["killed"] == -9 and report["code"] == 0 and report["same"], report
        assert "Resumed after 1 epoch and" in report["printed"], report


@pytest.fixture(scope="module")
def data():
    return load_cifar10(source="synthetic")


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.mark.parametrize("kind", student_networks.KINDS)
def test_a_students_network_is_loaded_evaluated_drawn_reported_and_compared(kind, data, ledger):
    network, settings, fields = student_networks.KINDS[kind]
    recipe = Recipe("student", network, settings, **{"batch_size": 48, "num_epochs": 2, "lr": 0.01} | fields)
    trained = recipe.train(data, effort="check", device="cpu", curves=False)
    run = trained.run
    assert not any(isinstance(layer, FastConv2d) for layer in trained.net.modules())  # the layers keep their class
    is_class = isinstance(network, type)
    if is_class:
        loaded = load_run(run, data, "cpu")
    else:
        with pytest.raises(CourseworkError, match=f"load_run.*network={network.__name__}"):
            load_run(run, data, "cpu")
        loaded = load_run(run, data, "cpu", network=network)
    weights = loaded.net.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in trained.net.state_dict().items())

    record = evaluate(loaded)
    assert record["images"] == len(trained.test_iter.split) and 0 <= record["accuracy"] <= 1
    gates = {name.rpartition(".")[0] for name, _ in trained.net.named_modules() if name.rpartition(".")[2] == "gate"}
    assert bool(record["gates"]) == bool(gates)

    network_facts = run.network
    assert network_facts["settings"] == settings and network_facts["parameters"] > 0 and network_facts["macs"] > 0
    assert network.__name__ in network_facts["path"] and network_facts["layers"]
    assert draw_network(network_facts).axes
    paths = write_report(run)
    assert {path.name for path in paths} == {"report.html", "report.pdf"}
    assert "image/svg+xml" in paths[0].read_text(encoding="utf-8")
    assert run.name in write_page().read_text(encoding="utf-8")
    assert runs.table().loc[run.name, "state"] == "finished"


@pytest.mark.parametrize("count", [3, 20])
def test_a_network_is_trained_on_images_of_other_classes(count, rng, tmp_path, ledger):
    names = [f"kind {number:02d}" for number in range(count)]
    for split, images in (("train", 12), ("test", 4)):
        for i, name in enumerate(names):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = (rng.integers(0, 60, (32, 32, 3)) + 190 * i // count).astype("uint8")
                Image.fromarray(pixels).save(folder / f"{number}.png")
    images = load_images(tmp_path / "images")
    assert list(images.classes) == names
    recipe = Recipe("classes", student_networks.small_images, batch_size=16, num_epochs=2, lr=0.01)
    trained = recipe.train(images, device="cpu", curves=False, effort="full")
    record = evaluate(trained)
    assert record["classes"] == names and len(record["confusion"]) == count
    assert json.loads((trained.folder / "run.json").read_text())["classes"] == names
    assert names[-1] in write_report(trained.run)[0].read_text(encoding="utf-8")
    with pytest.raises(CourseworkError, match="must return scores"):
        Recipe("few", student_networks.small_images, {"num_classes": 2}).train(images, device="cpu", curves=False)
