"""Tests of tools/run.py: what a run leaves, shows and answers, also when it fails or is interrupted."""

import io
import os
import signal
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from patience import PATIENCE, wait_until
from suites import add_notebook, make_suite, run_python

from tools import notebooks, run

FIGURE = """\
import matplotlib.pyplot as plt
fig, ax = plt.subplots(figsize=(1, 1))
title = "The *line* <rises>"
plt.show()"""
SOURCE = "import os; print('kernel sees', os.environ.get('CIFAR10_SOURCE'))"
REPORT = """\
import json, os, pathlib
folder = pathlib.Path(os.environ["COURSEWORK_RUNS"]) / "a run"
folder.mkdir(parents=True)
(folder / "report.html").touch()
evaluation = {"accuracy": 0.7512, "images": 10000, "interval": [0.742, 0.76]}
(folder / "evaluation.json").write_text(json.dumps(evaluation))"""
only_posix = pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to whole groups of processes")


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Return a suite in a folder with a space in its name; its second notebook fails."""
    suite = make_suite(tmp_path_factory.mktemp("run") / "a süite")
    add_notebook(suite, "01_good", "## A figure", FIGURE, SOURCE)
    bad = add_notebook(suite, "02_bad", "print('so far')\nfruit = {}\nfruit['pear']", "print('never')")
    nb = notebooks.read(bad)
    nb.cells[-1].update(execution_count=3, outputs=[new_output("stream", text="of an earlier run")])
    notebooks.write(nb, bad)
    add_notebook(suite, "03_next", REPORT)
    add_notebook(suite, "04_dies", "import os; os._exit(9)")
    add_notebook(suite, "06_last", "print('six')")
    return suite


@pytest.fixture(scope="module")
def ran(suite):
    """Return what a first run over all of them said."""
    return run_python("-m", "tools.run", cwd=suite, CIFAR10_SOURCE="synthetic")


def executed(suite, name):
    """Return the code cells of a notebook's executed copy."""
    copy = notebooks.read(suite / "runs" / "coursework" / f"{name}.ipynb")
    return [cell for cell in copy.cells if cell.cell_type == "code"]


def test_a_failing_cell_ends_the_run_and_is_named_with_its_lines_and_its_error(suite, ran):
    assert ran.returncode == 1, ran.stderr
    failure = ran.stdout[ran.stdout.index("02_bad, cell 2 of 3") :]
    assert "    fruit = {}" in failure and "KeyError: 'pear'" in failure
    assert os.path.join("runs", "coursework", "02_bad.html") in failure
    assert 'make run ARGS="02 03 04 06"' in failure
    assert "\x1b" not in ran.stdout and "Traceback" not in ran.stderr
    assert not (suite / "runs" / "coursework" / "03_next.ipynb").exists()


def test_a_failed_notebook_is_saved_as_far_as_it_ran(suite, ran):
    _, bad, never = executed(suite, "02_bad")
    assert [output.output_type for output in bad.outputs] == ["stream", "error"]
    assert never.outputs == [] and never.execution_count is None


def test_a_good_notebook_leaves_a_copy_with_its_outputs_and_seconds(suite, ran):
    setup, figure, source = executed(suite, "01_good")
    assert setup.outputs[0].text == "ready\n"
    assert source.outputs[0].text == "kernel sees synthetic\n"
    assert [cell.execution_count for cell in (setup, figure, source)] == [1, 2, 3]
    assert all(isinstance(cell.metadata.seconds, float) for cell in (setup, figure, source))


def test_chosen_notebooks_are_run_and_a_report_that_they_wrote_is_named_at_the_end(suite, tmp_path):
    environ = {"CIFAR10_SOURCE": "synthetic", "COURSEWORK_RUNS": str(tmp_path)}
    done = run_python("-m", "tools.run", "03", cwd=suite, **environ)
    assert done.returncode == 0 and "01_good" not in done.stdout
    assert "75.12 % of 10,000 test images" in done.stdout and "74.2 to 76.0 %" in done.stdout
    assert str(tmp_path / "a run" / "report.html") in done.stdout
    done = run_python("-m", "tools.run", "06", cwd=suite, **environ)
    assert done.returncode == 0 and "report" not in done.stdout  # that of an earlier run is not this run's


def test_a_relative_folder_of_runs_is_relative_to_where_the_run_was_started(suite):
    path = add_notebook(suite, "07_where", "from os import environ\nprint(environ['COURSEWORK_RUNS'])")
    run_python("-m", "tools.run", "07", cwd=suite, CIFAR10_SOURCE="synthetic", COURSEWORK_RUNS="some runs")
    path.unlink()
    assert executed(suite, "07_where")[-1].outputs[0].text == f"{suite / 'some runs'}\n"


def test_a_dead_kernel_is_reported(suite):
    done = run_python("-m", "tools.run", "04", cwd=suite, CIFAR10_SOURCE="synthetic")
    assert done.returncode == 1
    assert "04_dies, cell 2 of 2" in done.stdout and "kernel died" in done.stdout


def test_an_unknown_notebook_is_refused_with_those_that_there_are(suite):
    done = run_python("-m", "tools.run", "01", "08", cwd=suite)
    assert done.returncode == 1
    assert "no notebook 08" in done.stderr and "01_good, 02_bad, 03_next" in done.stderr


def test_in_place_rewrites_a_fit_notebook_and_leaves_an_unfit_one_as_it_was(tmp_path):
    suite = make_suite(tmp_path / "suite")
    fit = add_notebook(suite, "01_fit", "print('x')")
    unfit = add_notebook(suite, "02_unfit", "import os; print(os.getcwd())")
    before = unfit.read_text(encoding="utf-8")
    done = run_python("-m", "tools.run", "--in-place", cwd=suite, CIFAR10_SOURCE="synthetic")
    assert done.returncode == 1 and "a path of this machine" in done.stdout
    assert 'make notebooks ARGS="02"' in done.stdout
    assert notebooks.read(fit).cells[-1].outputs[0].text == "x\n"
    assert notebooks.text_of(notebooks.clean(notebooks.read(fit))) == fit.read_text(encoding="utf-8")
    assert unfit.read_text(encoding="utf-8") == before


def interrupt(suite, is_time, **environ):
    """Start a run, send it Ctrl-C when the time has come; return its exit code and all that it printed."""
    command = [sys.executable, "-u", "-m", "tools.run"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    environ = {**os.environ, "PYTHONIOENCODING": "utf-8", **environ}
    with subprocess.Popen(command, cwd=suite, env=environ, **pipes) as process:
        wait_until(is_time)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output


LONG = """\
import os, pathlib, time
pathlib.Path("kernel").write_text(str(os.getpid()))
try:
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(2)  # a large checkpoint
    pathlib.Path("saved").touch()"""


@only_posix
def test_ctrl_c_lets_the_cell_save_then_stops_the_kernel_and_says_how_to_continue(tmp_path):
    suite = make_suite(tmp_path / "suite")
    add_notebook(suite, "01_long", LONG, "pathlib.Path('went on').touch()")
    add_notebook(suite, "02_next", "1")
    kernel = suite / "notebooks" / "kernel"
    code, output = interrupt(suite, lambda: kernel.exists() and kernel.read_text())
    assert code == 130 and "01_long, cell 2 of 3" in output
    assert 'make run ARGS="01 02"' in output and "Traceback" not in output
    assert (suite / "notebooks" / "saved").exists() and not (suite / "notebooks" / "went on").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(kernel.read_text()), 0)


@only_posix
def test_a_cell_that_ignores_ctrl_c_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SAVE_SECONDS", 1.0)
    source = "import os, pathlib, signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    source += f"pathlib.Path({str(tmp_path / 'kernel')!r}).write_text(str(os.getpid()))\ntime.sleep(600)"
    execution = run.Execution(new_notebook(cells=[new_code_cell(source)]))
    with open(tmp_path / "log", "wb") as log:
        execution.start(tmp_path, dict(os.environ), log)
        while not (tmp_path / "kernel").exists():
            assert not execution.wait(0.1)
        execution.stop()
    assert execution.wait(PATIENCE) and execution.failure is not None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "kernel").read_text()), 0)


@only_posix
def test_ctrl_c_while_the_images_are_fetched_ends_in_one_line(tmp_path):
    suite = make_suite(tmp_path / "suite")
    loader = suite / "utils" / "data" / "cifar10.py"
    waits = "    open('waits', 'w').close()\n    import time; time.sleep(600)\n    return"
    loader.write_text(loader.read_text().replace("    return", waits))
    code, output = interrupt(suite, (suite / "waits").exists)
    assert code == 130 and "CIFAR10_SOURCE=synthetic" in output and "Traceback" not in output


class Terminal(io.StringIO):
    """Looks like a terminal."""

    def isatty(self):
        return True


def test_on_a_terminal_one_line_is_renewed_in_place(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", Terminal())
    run.show_status("a long line that does not fit into forty columns")
    run.show_status("short")
    lines = [line for line in sys.stdout.getvalue().split("\r") if line]
    assert [len(line) for line in lines] == [39, 39] and lines[1].rstrip() == "short"


def test_the_status_names_the_cell_and_how_far_its_training_is():
    line = "[##..] epoch 2 of 3, batch 5; after epoch 1 (2 s): training accuracy 50.00 %, test accuracy 40.00 %"
    shown = [new_output("stream", text="epoch 1 of 3"), new_output("display_data", {"text/plain": line})]
    cells = [new_code_cell(""), new_code_cell("a"), new_code_cell("b", outputs=shown)]
    nb = new_notebook(cells=cells)
    assert run.position("04_x", nb, cells[2]) == "04_x, cell 2 of 2"
    assert run.training_progress(cells[2]) == ["epoch 2 of 3", "test accuracy 40.00 %"]
    assert run.training_progress(cells[1]) == []


def test_a_folder_of_pages_that_cannot_be_written_is_named_without_a_traceback(suite, ran):
    (suite / "runs").rename(suite / "elsewhere")
    (suite / "runs").touch()
    done = run_python("-m", "tools.run", "01", cwd=suite, CIFAR10_SOURCE="synthetic")
    (suite / "runs").unlink()
    (suite / "elsewhere").rename(suite / "runs")
    assert done.returncode == 1 and "coursework" in done.stderr and "Traceback" not in done.stderr
