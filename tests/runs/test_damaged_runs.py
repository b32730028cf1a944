"""A run with a damaged file hides no other run: it is shown correctly, or listed as unreadable with the reason."""

import pandas as pd
import pytest
from run_damage import DAMAGES, MISSING, changed, type_changes, whole, write

from utils.errors import CourseworkError
from utils.experiments import page
from utils.recipes import load_run
from utils.report import content
from utils.report.facts import facts
from utils.report.template import render
from utils.runs import table
from utils.runs.run import Run

CHANGES = type_changes()
BLANK = '<svg width="1pt" height="1pt"></svg>'
HARMLESS_AS_LINES = ("empty", "zeros", "fairly deep", "400 digits", "400 digits in a setting")  # no epoch, point, fault
# Values that are never shown by themselves, so that any type is accepted.
FREE = ("format", "settings", "loss_settings", "optimizer_settings", "schedule_settings", "network_settings")
FREE += ("ended_early", "begun", "attempt", "kernel_sizes", "channels", "git", "Flip")


@pytest.fixture
def run_log(tmp_path, monkeypatch):
    """Return an empty run log in which the pages contain no figures, which would take most of the time."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    monkeypatch.setattr(page, "_figures", lambda runs: "")
    return tmp_path


@pytest.fixture(scope="module")
def changed_runs(tmp_path_factory):
    """Return (folder, table, page) of a run log with a run for each change, run00000 and so on, and an intact run."""
    folder = tmp_path_factory.mktemp("runs")
    for i, (name, path, new) in enumerate(CHANGES):
        files = whole()
        write(folder / f"run{i:05d}", files | {name: changed(files[name], path, new)})
    write(folder / "whole", whole())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_figures", lambda runs: "")
        frame = table(folder)
        return folder, frame.loc[[*(f"run{i:05d}" for i in range(len(CHANGES))), "whole"]], page.comparison_page(folder)


def is_listed_with_reason(row):
    return (row["state"] == "unreadable" and len(row["problem"]) > 10) or row["bad_lines"] > 0


def requires_a_reason(change):
    """Return whether a change puts a value of the wrong type where the value would be shown."""
    _, path, new = change
    return new not in (MISSING, None) and not set(path) & set(FREE)


def test_every_value_of_another_type_is_listed_with_the_reason_and_hides_no_run(changed_runs):
    _, frame, text = changed_runs
    assert len(frame) == len(CHANGES) + 1 > 1000
    intact = frame.loc["whole"]
    assert intact["state"] == "finished" and pd.isna(intact["problem"]) and intact["test_acc"] == 0.84
    for row, change in zip(frame.to_dict("records"), CHANGES, strict=False):
        if row["state"] == "unreadable":
            assert change[0] in row["problem"], change
        assert is_listed_with_reason(row) or not requires_a_reason(change), change
    assert all(f'data-run="{name}"' in text for name in frame.index)


def test_no_run_with_a_changed_value_shows_a_wrong_figure(changed_runs):
    _, frame, _ = changed_runs
    figures = ["val_acc", "test_acc", "epochs", "parameters", "seed", "faults", "images", "of"]
    intact = frame.loc["whole"]
    for row, change in zip(frame.to_dict("records"), CHANGES, strict=False):
        if change[2] is not MISSING and not is_listed_with_reason(row):
            wrong = [name for name in figures if not (pd.isna(row[name]) or row[name] == intact[name])]
            assert not wrong, (change, wrong)


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.faults)])
def test_a_run_with_a_changed_value_can_be_reported(changed_runs, step, monkeypatch):
    monkeypatch.setattr("utils.report.drawings._svg", lambda *_, **__: BLANK)
    for i, change in enumerate(CHANGES):
        if i % step == 0 or change[2] is MISSING:
            run = Run(changed_runs[0] / f"run{i:05d}")
            text = render(facts(run))
            assert "None" not in text and "nan" not in text, change
            if run.problem:
                assert change[0] in first_lines(text), change
        if change[2] is MISSING:
            assert content(run)["sections"]


def first_lines(report):
    """Return the quote at the top of a report, without escapes."""
    return report.partition("\n\nRun ")[0].replace("\\", "")


def test_a_run_of_version_1_is_unreadable_with_the_reason(run_log):
    files = whole()
    record = changed(files["run.json"], ("data", "fingerprint"), "f7b7b2588362a7e4")
    write(run_log / "earlier", files | {"run.json": record})
    assert "version 1.0" in table().loc["earlier", "problem"]
    with pytest.raises(CourseworkError, match="version 1.0"):
        load_run("earlier")


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_damaged_as_a_whole_hide_no_run(run_log, damage):
    write(run_log / "whole", whole())
    for name in whole():
        write(run_log / name, whole())
        (run_log / name / name).unlink()
        DAMAGES[damage](run_log / name / name)
    frame, text = table(), page.comparison_page().replace("&#x27;", "'")
    assert set(frame.index) == {"whole", *whole()} and all(f'data-run="{run}"' in text for run in frame.index)
    assert frame.loc["whole", "state"] == "finished" and frame.loc["whole", "test_acc"] == 0.84
    for name, row in frame.drop("whole").iterrows():
        report = render(facts(Run(run_log / name)))
        if name.endswith("json"):
            assert row["state"] == "unreadable" and name in row["problem"] and row["problem"] in text
            assert name in first_lines(report)
        elif damage not in HARMLESS_AS_LINES and name != "faults.jsonl":
            assert is_listed_with_reason(row)
