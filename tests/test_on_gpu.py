"""Tests tools.on_gpu: what is left, in which order, and that the time is kept."""

import time

import nbformat
import pytest
import torch
from suites import ROOT

from benchmarks import page
from tools import notebooks, on_gpu
from tools.on_gpu import Step


@pytest.fixture
def nothing_done(tmp_path, monkeypatch):
    """Let no record and no mark be found; return where they would be."""
    monkeypatch.setattr(on_gpu, "RECORDS", tmp_path / "records")
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(on_gpu, "ran_on_gpu", lambda path: False)
    monkeypatch.setattr(on_gpu, "has_jupyter", lambda: True)
    (tmp_path / "records").mkdir()
    return tmp_path


@pytest.fixture
def done(monkeypatch):
    """Stand in for running a command, and for the GPU; return the names of the steps in the order they were run."""
    names = []
    monkeypatch.setattr(on_gpu, "run", lambda step, end=None: names.append(step.name) or 0)
    monkeypatch.setattr(on_gpu, "try_gpu", lambda: torch.device("cuda"))
    return names


ALL = ["tests", "notebooks", *page.ORDER, "trainings", "page of benchmarks", "page of results"]


def test_all_is_left_at_first_and_done_in_order(nothing_done, done, capsys):
    assert on_gpu.main([]) == 0
    assert done == ALL
    assert capsys.readouterr().out.count("done, 0 s") == len(ALL)


def test_what_was_done_is_not_done_again(nothing_done, done, monkeypatch):
    on_gpu.main([])
    (nothing_done / "records" / "loop-cuda.json").write_text("{}")
    (nothing_done / "records" / "where-cpu.json").write_text("{}")
    monkeypatch.setattr(on_gpu, "ran_on_gpu", lambda path: path.name < "04")
    done.clear()
    on_gpu.main([])
    assert done == [name for name in ALL if name not in ("tests", "loop")]
    (step,) = [step for step in on_gpu.steps() if step.name == "notebooks"]
    assert step.words[-3:] == ("04", "05", "06")


def test_tests_are_run_again_when_the_library_has_changed(nothing_done, done, monkeypatch):
    on_gpu.main([])
    monkeypatch.setattr(on_gpu, "digest", lambda: "another")
    done.clear()
    on_gpu.main([])
    assert done[0] == "tests"


def test_failed_tests_are_not_kept_in_mind_and_stop_nothing(nothing_done, done, monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "run", lambda step, end=None: done.append(step.name) or int(step.name == "tests"))
    assert on_gpu.main([]) == 1
    assert done == ALL and "FAILED, exit code 1" in capsys.readouterr().out
    assert on_gpu.steps()[0].left


def test_when_the_time_is_over_only_the_pages_are_renewed(nothing_done, done):
    assert on_gpu.main(["--minutes", "-1"]) == 0
    assert done == ALL[-2:]


def test_without_jupyter_what_wants_it_is_left_out(nothing_done, done, monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "has_jupyter", lambda: False)
    on_gpu.main([])
    assert done == [name for name in ALL if name not in ("notebooks", "startup")]
    assert capsys.readouterr().out.count("left out: Jupyter is not installed here") == 2


def test_a_list_runs_nothing(nothing_done, done, capsys):
    assert on_gpu.main(["--list"]) == 0
    assert done == [] and capsys.readouterr().out.count(" left") == len(ALL)


def test_without_a_gpu_nothing_is_run(monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "try_gpu", lambda: torch.device("cpu"))
    monkeypatch.setattr(on_gpu, "run", None)
    assert on_gpu.main([]) == 1
    assert "There is no GPU here.\n  next:" in capsys.readouterr().err


def test_an_interrupt_ends_it_with_a_table(nothing_done, done, monkeypatch, capsys):
    def interrupted(step, end=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(on_gpu, "run", interrupted)
    assert on_gpu.main([]) == on_gpu.INTERRUPTED
    assert "The same call goes on" in capsys.readouterr().out


def test_a_rehearsal_needs_no_gpu_and_rewrites_nothing(nothing_done, done, monkeypatch):
    monkeypatch.setattr(on_gpu, "try_gpu", lambda: torch.device("cpu"))
    assert on_gpu.main(["--rehearse"]) == 0
    assert done == ALL[:-2]
    for step in on_gpu.steps(rehearse=True):
        kept = {"tests": "no:cacheprovider", "notebooks": "--anew", "trainings": "--rehearse"}
        assert kept.get(step.name, "--smoke") in step.words and "--in-place" not in step.words


def test_every_file_with_a_gpu_test_is_named():
    names = [name for name in on_gpu.tests() if name.startswith("tests/")]
    assert "tests/test_replay.py" in names and all((ROOT / name).is_file() for name in names)


@pytest.mark.parametrize(
    ("text", "is_gpu"),
    [("NVIDIA H200 (140 GiB), torch 2.11.0", True), ("AMD EPYC (2 cores), torch", False), ("", False)],
)
def test_a_notebook_tells_where_it_was_run(tmp_path, text, is_gpu):
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    cells = [nbformat.v4.new_markdown_cell("# 1"), nbformat.v4.new_code_cell("start()", outputs=[output] * bool(text))]
    path = tmp_path / "01.ipynb"
    notebooks.write(nbformat.v4.new_notebook(cells=cells), path)
    assert on_gpu.ran_on_gpu(path) == is_gpu


SLEEP = Step("sleep", ("timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"))


def test_a_step_is_cut_off_when_the_time_is_over():
    began = time.monotonic()
    assert on_gpu.run(SLEEP, began + 1) is None
    assert time.monotonic() - began < 30


def test_a_step_tells_how_it_ended(monkeypatch, capfd):
    monkeypatch.delenv("COURSEWORK_BUDGET", raising=False)
    assert on_gpu.run(Step("none", ("no_such_module_at_all",))) == 1
    code = "import os; assert os.environ['COURSEWORK_BUDGET'] == 'smoke'"
    assert (
        on_gpu.run(Step("timed", ("timeit", "-n", "1", "-r", "1", code), environ=(("COURSEWORK_BUDGET", "smoke"),)))
        == 0
    )
    assert "-m timeit" in capfd.readouterr().out


def test_a_step_that_stops_by_itself_is_told_how_long_it_has(monkeypatch):
    told = []

    class Process:
        def __init__(self, words, **_):
            told.extend(words)

        def wait(self, left):
            told.append(left)
            return 0

    monkeypatch.setattr(on_gpu.subprocess, "Popen", Process)
    on_gpu.run(Step("trainings", ("tools.reproduce",), stops=True), time.monotonic() + 120)
    assert told[-3:-1] == ["--minutes", "2.00"] and 120 < told[-1] <= 180
