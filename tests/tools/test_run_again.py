"""Tests of tools/finished.py and closing.py: a run that was cut off goes on, one that is over says what came out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from suites import add_notebook, make_suite, run_python

from tools import closing, finished, live, notebooks
from tools.kernel import execute
from utils.runs.run import EVALUATION, RECORD

MISSING = "from pathlib import Path\nassert Path('here').exists(), 'not yet'"


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Return a suite whose second notebook fails until a file is there."""
    suite = make_suite(tmp_path_factory.mktemp("again"))
    add_notebook(suite, "01_first", "print('one')")
    add_notebook(suite, "02_second", MISSING)
    add_notebook(suite, "06_not_by_default", "print('six')")
    return suite


def run(suite, *words, **environ):
    return run_python("-m", "tools.run", *words, cwd=suite, CIFAR10_SOURCE="synthetic", **environ).stdout


def test_a_run_goes_on_after_the_notebooks_that_were_finished_and_then_begins_anew(suite):
    said = run(suite)
    assert "✗ 02_second" in said and "✓ 01_first  0:" in said and "06" not in said
    first = suite / "runs" / "coursework" / "01_first.html"
    made = first.stat().st_mtime_ns
    said = run(suite)
    assert "✓ 01_first  finished before" in said and "✗ 02_second" in said
    assert first.stat().st_mtime_ns == made
    assert "finished before" not in run(suite, COURSEWORK_BUDGET="taste")
    run(suite)
    (suite / "notebooks" / "here").touch()
    said = run(suite)
    assert "01_first  finished before" in said and "✓ 02_second  0:" in said and "failed" not in said
    assert "finished before" not in run(suite)  # all were finished: the next run is a new one
    assert "finished before" not in run(suite, "--only", "01", "--anew")
    (suite / "notebooks" / "here").unlink()


def test_a_run_of_some_notebooks_neither_goes_on_from_one_that_was_cut_off_nor_ends_it(suite):
    assert "✗ 02_second" in run(suite, "--anew")
    said = run(suite, "--only", "01")
    assert "✓ 01_first  0:" in said and "finished before" not in said
    said = run(suite)
    assert "01_first  finished before" in said and "✗ 02_second" in said


def test_a_relative_folder_of_runs_is_that_of_the_place_where_the_run_was_called(suite):
    add_notebook(suite, "07_where", "from os import environ\nprint('kept in', environ['COURSEWORK_RUNS'])")
    said = run(suite, "--only", "07", "-v", COURSEWORK_RUNS="some runs")
    assert f"kept in {suite / 'some runs'}" in said


@pytest.mark.parametrize("change", ["nothing", "notebook", "library", "page", "file", "images", "budget"])
def test_what_has_changed_is_run_again(tmp_path, monkeypatch, change):
    monkeypatch.setattr(finished, "ROOT", tmp_path)
    suite = make_suite(tmp_path)
    file, page, path = suite / "finished.json", suite / "page.html", add_notebook(suite, "01_x", "print('one')")
    page.touch()
    finished.Finished(file, "these images").add(path, notebooks.read(path), 2, 1.5)
    if change == "notebook":
        add_notebook(suite, "01_x", "print('another')")
    elif change == "library":
        (suite / "utils" / "notebook.py").write_text("# another line")
    elif change == "page":
        page.unlink()
    elif change == "file":
        file.write_text('{"key": [')
    elif change == "budget":
        monkeypatch.setenv("COURSEWORK_BUDGET", "taste")
    again = finished.Finished(file, "other images" if change == "images" else "these images")
    found = again.find(path, notebooks.read(path), page)
    assert (found is not None) == (change == "nothing")
    assert change != "nothing" or (found["cells"], found["seconds"]) == (2, 1.5)


def test_a_run_that_was_killed_goes_on(suite):
    add_notebook(suite, "02_second", "import time\ntime.sleep(600)")
    process = subprocess.Popen([sys.executable, "-m", "tools.run"], cwd=suite, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "02_second" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    process.communicate()
    add_notebook(suite, "02_second", "print('two')")
    assert "01_first  finished before" in run(suite)


def test_the_closing_lines_name_accuracy_images_run_and_report(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    assert closing.lines("these images") == []
    for number, accuracy in enumerate((0.7512, 0.5, 0.4)):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        record = {"state": "finished", "data": {"name": "these images"}}
        result = {"accuracy": accuracy, "images": 10000, "interval": [0.74, 0.76], "when": f"2026-01-0{number + 1}"}
        (folder / RECORD).write_text(json.dumps(record))
        (folder / EVALUATION).write_text(json.dumps(result))
    for number in (0, 1):  # the last one to be measured has no report, and the second an older one
        (tmp_path / f"run{number}" / "report.pdf").touch()
    os.utime(tmp_path / "run1" / "report.pdf", (0, 0))
    text = "\n".join(closing.lines("these images"))
    assert "75.12 % of 10,000 test images (these images), 95 % interval 74.0 to 76.0 %" in text
    assert "run0, finished" in text and str(Path("run0") / "report.pdf") in text and "report.html" not in text
    assert closing.lines("other images") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "[##..] epoch 2 of 3, batch 5; after epoch 1 (2 s): training accuracy 50.00 %, test accuracy 40.00 %",
            "epoch 2 of 3, test accuracy 40.00 %",
        ),
        ("[....] epoch 1 of 3, batch 5", "epoch 1 of 3"),
        ("anything else", "anything else"),
    ],
)
def test_of_a_trainings_line_a_terminal_shows_epoch_and_accuracy(line, said):
    assert live.short(line) == said


def test_a_line_that_a_cell_renews_in_place_is_heard(suite):
    renew = "from IPython.display import display\nh = display('first', display_id=True)\nh.update('second')"
    nb = notebooks.read(add_notebook(suite, "07_live", renew))
    (suite / "notebooks" / "07_live.ipynb").unlink()
    with open(suite / "log", "wb") as log:
        events = list(execute(nb, suite / "notebooks", dict(os.environ), log))
    texts = [event.value for event in events if event.what == "text"]
    assert "\r'first'" in texts and "\r'second'" in texts
