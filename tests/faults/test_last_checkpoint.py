"""Tests that a training that ends in trouble is finished only if its last weights are on the disk.

As a program with the arguments FOLDER KILLS SEED, this file kills trainings while they write their last checkpoint
until so many are killed, and prints a line of JSON.
"""

import contextlib
import errno
import json
import os
import pathlib
import random
import signal
import sys
import time
import warnings

import pytest
import torch
from failing import Disk, error
from forks import fork, result_of
from networks import bare_cnn
from short_run import DATA, FOR_TRIALS, RECIPE, Save, check_loading, content, train
from victim import differences

from utils.errors import CourseworkError
from utils.evaluation import evaluate
from utils.experiments.grid import run_grid
from utils.experiments.search import run_search
from utils.recipes import load_run
from utils.report.facts import facts
from utils.runs import checkpoints
from utils.runs.checkpoint_files import listed
from utils.runs.run import Run
from utils.training.state import LAST

PACE = 0.002  # seconds that each operation on the disk takes longer, so that kills come between all of them


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills children that it forks")
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.faults)])
def test_a_kill_while_the_last_checkpoint_is_written_leaves_no_finished_run_with_older_weights(
    tmp_path, kills, record_property
):
    seen = result_of(__file__, tmp_path, kills, 0)
    record_property("says", f"kills while the last checkpoint was written: {seen}")
    assert seen["kills"] == kills and seen["equal"] == seen["runs"] >= 1
    if kills >= 200:
        assert seen["partial"] and seen["older"] and seen["newest"]


def train_slowly(folder, pipe):
    """Train; with the first operation after the last epoch, write a byte into the pipe."""
    with contextlib.redirect_stdout(None), pytest.MonkeyPatch.context() as patch:
        train(folder, Save(), Slow(patch, folder, pipe))


class Slow:
    """A callback that makes the disk slow after the last epoch, and says so by a byte in a pipe."""

    order = LAST  # after a checkpoint was loaded

    def __init__(self, patch, folder, pipe):
        self.patch, self.folder, self.pipe = patch, folder, pipe

    def on_start(self, training):
        if training.complete:
            self.after_epoch(training)

    def after_epoch(self, training):
        if training.complete:
            Disk(self.patch, self.folder).note = lambda name, path: time.sleep(PACE)
            os.write(self.pipe, b".")


def kill_until(top, kills, seed):
    """Kill so many trainings at their ends, check what each leaves, and return what was seen."""
    clock, save, (begun, pipe) = random.Random(seed), Save(), os.pipe()
    with contextlib.redirect_stdout(None):
        expected = content(train(top / "whole", save))
    child = fork(train_slowly, top / "slow", pipe)
    os.read(begun, 1)
    since = time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    length = time.monotonic() - since
    seen = dict.fromkeys(("kills", "runs", "equal", "partial", "older", "newest", "finished"), 0)
    while seen["kills"] < kills:
        folder, done = top / str(seen["runs"]), False
        while not done:
            child = fork(train_slowly, folder, pipe)
            os.read(begun, 1)
            if seen["kills"] < kills:
                time.sleep(1.05 * length * clock.random() ** 2)  # the checkpoint comes first
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            assert status in (0, signal.SIGKILL), f"a training failed with status {status}"
            done = status == 0
            if not done:
                look(folder, seen)
            check_loading(folder, expected, save.weights)
        with contextlib.redirect_stdout(None):
            seen["equal"] += differences(expected, content(train(folder))) == [] and Run(folder).state == "finished"
        seen["runs"] += 1
    return seen


def look(folder, seen):
    """Count a kill by what it has left."""
    state = Run(folder).state
    assert state in ("interrupted", "finished"), state
    seen["kills"] += 1
    seen["partial"] += bool([*folder.glob("*.partial")])
    is_newest = listed(folder)[0].name.startswith("checkpoint-00002-0000000")
    assert is_newest or state == "interrupted"
    seen["finished" if state == "finished" else "newest" if is_newest else "older"] += 1


@contextlib.contextmanager
def trouble_at_the_end(happen):
    """Call `happen` in place of writing the checkpoint of the end, with the function that writes it."""
    real = checkpoints.write

    def write(folder, state):
        return real(folder, state) if state["position"]["epoch"] < 2 else happen(lambda: real(folder, state))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "write", write)
        yield


def full(write):
    error(errno.ENOSPC)("write")


def broken(write):
    raise RuntimeError("not a problem of the disk")


def interrupted_twice(write):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    save = Save()
    return content(train(tmp_path_factory.mktemp("whole") / "run", save)), save.weights


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("happen", [full, broken, interrupted_twice])
def test_without_its_last_weights_a_run_is_not_finished_and_is_neither_loaded_nor_tested(
    tmp_path, happen, earlier, expected
):
    trained, folder = None, tmp_path / "run"
    with trouble_at_the_end(happen), contextlib.suppress(KeyboardInterrupt):
        trained = train(folder, *([Save()] if earlier else []))
    assert (trained is None) == (happen is interrupted_twice)
    assert trained is None or differences(expected[0], content(trained)) == []
    run = Run(folder)
    assert run.state == facts(run)["state"] == "unsaved" and len(run.history()) == 2
    assert [fault["kind"] for fault in run.faults] == ["unsaved"]
    with pytest.raises(CourseworkError):
        load_run(run, DATA, network=bare_cnn)
    for measured in [run, *([trained] if trained else [])]:
        with pytest.raises(CourseworkError):
            evaluate(measured, DATA if measured is run else None, network=bare_cnn)
    assert not run.evaluation and not Run(folder).record.get("tests")
    assert differences(expected[0], content(train(folder))) == []
    assert Run(folder).state == "finished" and not Run(folder).record["unsaved"]
    check_loading(folder, *expected)


def test_an_interrupt_while_the_last_checkpoint_is_written_waits_for_it(tmp_path, expected):
    def happen(write):
        signal.raise_signal(signal.SIGINT)
        return write()

    handler = signal.getsignal(signal.SIGINT)
    with trouble_at_the_end(happen):
        trained = train(tmp_path / "run", Save())
    assert differences(expected[0], content(trained)) == [] and not trained.history.stopped
    assert Run(tmp_path / "run").state == "finished" and signal.getsignal(signal.SIGINT) is handler
    check_loading(tmp_path / "run", *expected)


@pytest.mark.filterwarnings("ignore:A damaged checkpoint")
@pytest.mark.parametrize("damage", ["removed", "damaged"])
def test_a_finished_run_that_loses_its_last_checkpoint_is_finished_no_more(tmp_path, damage, expected):
    folder = tmp_path / "run"
    train(folder, Save())
    newest, _ = listed(folder)
    newest.unlink() if damage == "removed" else newest.write_bytes(b"damaged")
    with pytest.raises(CourseworkError, match="00001-0000001"):
        load_run(Run(folder), DATA, network=bare_cnn)
    assert Run(folder).state == "unsaved"
    assert differences(expected[0], content(train(folder))) == []
    assert Run(folder).state == "finished"


@pytest.mark.filterwarnings("ignore:This checkpoint could not be written")
@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_trial_without_its_last_weights_is_trained_again_by_the_next_call(kind, tmp_path, monkeypatch, expected):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))

    def train_all():
        if kind == "grid":
            return run_grid(RECIPE, {"seed": [0]}, **FOR_TRIALS)
        return run_search(RECIPE, {"lr": [RECIPE.lr]}, trials=1, sampler="random", **FOR_TRIALS)

    with trouble_at_the_end(full):
        table = train_all()
    assert list(table["state"]) == ["unsaved"] and "No space left" in table["error"][0]
    again = train_all()
    assert list(again["state"]) == ["finished"] and again["val_acc"][0] == expected[0]["rows"][-1]["val_acc"]


def test_an_interrupt_at_the_end_of_a_trial_ends_the_grid(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))

    def happen(write):
        signal.raise_signal(signal.SIGINT)
        return write()

    with trouble_at_the_end(happen):
        table = run_grid(RECIPE, {"seed": [0, 1]}, name="g", **FOR_TRIALS)
    assert list(table["state"]) == ["finished", "not begun"]


@pytest.mark.filterwarnings("ignore:The weights of")
def test_an_unfinished_run_is_loaded_with_the_history_of_its_weights(tmp_path, expected):
    class Fail:
        def after_batch(self, training):
            if (training.epoch, training.batch) == (1, 2):
                raise ValueError("the reason is not important")

    folder = tmp_path / "run"
    save = Save()
    with pytest.raises(ValueError, match="reason"):
        train(folder, save, Fail())
    loaded = load_run(Run(folder), DATA, device="cpu", network=bare_cnn)
    assert len(loaded.history) == 1 and differences(save.weights[1, 1], dict(loaded.net.state_dict())) == []
    with warnings.catch_warnings(record=True) as caught, pytest.raises(CourseworkError):
        warnings.simplefilter("always")
        evaluate(loaded)
    assert not caught


if __name__ == "__main__":
    torch.set_num_threads(1)  # before anything is computed: a process with threads must not fork
    print(json.dumps(kill_until(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
