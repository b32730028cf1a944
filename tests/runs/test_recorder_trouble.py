"""The ledger in trouble: attempts that stop, fail or are killed, folders in use, and disks that take no record."""

import json
import os
import shutil

import pytest
import torch.nn.functional as F
from ledger_parts import SMALL, train
from training_parts import StopAfter, parts

from utils import runs
from utils.errors import CourseworkError, DivergedError, RecordWarning
from utils.evaluation.evaluate import measure_test_accuracy
from utils.files import append_lines, write_json
from utils.my_utils import train_ch3
from utils.runs import claim as claims
from utils.runs import recorder as ledger
from utils.runs.claim import NAME
from utils.runs.recorder import Recorder, note_test
from utils.runs.run import Run, find
from utils.training.state import FIRST, LAST, NORMAL
from utils.training.step import Step

pytestmark = pytest.mark.usefixtures("ledger_folder")


class Raise:
    """A callback that raises at the first batch of the second epoch."""

    def __init__(self, error):
        self.error = error

    def after_batch(self, training):
        if training.epoch == 1:
            raise self.error


def test_attempts_are_counted_and_what_was_done_twice_counts_once(data, tiny):
    whole = tiny.train(data, folder=None, **SMALL)
    tiny.train(data, callbacks=[StopAfter(6)], **SMALL)
    run = find("last")
    assert run.state == "stopped" and len(run.history()) == 1
    # What a killed attempt wrote after its last checkpoint is done again.
    append_lines(run.folder / "metrics.jsonl", [{"point": [1.9, 9.0, 1.0]}, {"epoch": 2, "train_loss": 9.0}])
    tiny.train(data, **SMALL)
    run = find("last")
    assert run.state == "finished" and [attempt["how"] for attempt in run.record["attempts"]] == ["stopped", "finished"]
    assert run.record["attempts"][1]["from"] == [1, 2]
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history().rows]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history.rows]
    assert run.history().points == whole.history.points


def test_rows_that_a_lost_file_held_come_back_from_the_checkpoint(data, tiny):
    tiny.train(data, callbacks=[StopAfter(6)], **SMALL)
    run = find("last")
    (run.folder / "metrics.jsonl").unlink()
    trained = tiny.train(data, **SMALL)
    assert trained.run.history().rows == trained.history.rows
    assert trained.run.history().points == trained.history.points


def test_an_attempt_that_fails_in_its_first_batch_is_counted(data, tiny):
    class Fail:
        def after_batch(self, training):
            raise ValueError("at once")

    tiny.train(data, callbacks=[StopAfter(6)], **SMALL)
    for _ in range(2):
        with pytest.raises(ValueError, match="at once"):
            tiny.train(data, callbacks=[Fail()], **SMALL)
    run = find("last")
    assert [attempt["how"] for attempt in run.record["attempts"]] == ["stopped", "failed", "failed"]
    assert run.state == "failed" and len(run.faults) == 2


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (DivergedError("The loss is nan.", next_step="x"), "diverged"),
        (ValueError("mine"), "failed"),
        (KeyboardInterrupt(), "stopped"),
    ],
)
def test_a_failure_is_noted_with_its_place_and_an_interrupt_is_a_stop(error, state):
    with pytest.raises(type(error)):
        train(Raise(error))
    run = find("last")
    assert run.state == state and len(run.history()) == 1
    (fault,) = run.faults
    assert fault["kind"] == state and fault["epoch"] == 2
    assert ("nan" in fault["what"]) == (state == "diverged")


def test_a_diverged_runs_fault_names_the_batch():
    net, train_iter, _, optimizer = parts(lr=1e30)
    with pytest.raises(DivergedError) as caught:
        train_ch3(net, train_iter, None, F.cross_entropy, 9, optimizer, step=Step(guard=True), curves=False)
    (fault,) = find("last").faults
    assert caught.value.where == f"epoch {fault['epoch']}, batch {fault['batch']}, learning rate 1e+30"
    assert runs.table().loc[find("last").name, "state"] == "diverged"


def test_memory_that_runs_out_and_checkpoints_that_cannot_be_written_are_faults():
    class Spoil:
        def after_batch(self, training):
            training.step._micro_batches.size = 7

    train(Spoil(), step=Step())
    assert [fault["kind"] for fault in find("last").faults] == ["memory"]


def test_the_points_of_a_running_training_are_on_the_disk_before_the_epoch_ends(monkeypatch):
    monkeypatch.setattr(ledger, "POINTS_EVERY", 0.0)
    seen = []

    class Look:
        def after_batch(self, training):
            seen.append((find("last").state, len(find("last").history().points)))

    train(Look(), epochs=1)  # a point for every two of the five batches
    assert seen == [("running", count) for count in (0, 1, 1, 2, 2)]


def test_a_run_that_was_killed_between_its_last_checkpoint_and_its_end_is_finished_by_the_next_call(data, tiny):
    run = tiny.train(data, **SMALL).run
    record = json.loads((run.folder / "run.json").read_text())
    record["state"], record["attempts"][0] = "running", record["attempts"][0] | {"ended": None, "how": None}
    (run.folder / "run.json").write_text(json.dumps(record))
    lines = (run.folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run.folder / "metrics.jsonl").write_bytes(b"".join(lines[:-2]))
    assert find("last").state == "interrupted" and len(find("last").history()) == 1
    trained = tiny.train(data, **SMALL)
    assert find("last").state == find("last").record["attempts"][-1]["how"] == "finished"
    assert find("last").history().rows == trained.history.rows
    assert find("last").history().points == trained.history.points


def test_a_folder_in_use_is_refused_and_left_as_it_is(data, tiny, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.0)
    tiny.train(data, callbacks=[StopAfter(1)], **SMALL)
    folder = find("last").folder
    holder = {"host": "elsewhere", "pid": 4, "token": "theirs", "since": "noon"}
    (folder / NAME).write_text(json.dumps(holder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CourseworkError, match="process 4 on elsewhere"):
        tiny.train(data, **SMALL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert find("last").state == "running"
    os.utime(folder / NAME, (0, 0))
    assert find("last").state == "stopped"


def test_tests_of_a_network_that_was_trained_here_before_are_not_those_of_the_next(data, tiny, tmp_path):
    first = tiny.train(data, folder=tmp_path / "mine", **SMALL)
    measure_test_accuracy(first)
    write_json(first.folder / "evaluation.json", {"accuracy": 0.99})
    again = tiny.train(data, folder=tmp_path / "mine", **SMALL)  # it was complete: nothing begins
    assert runs.tested_accuracy(again.run) == 0.99 and len(again.run.record["tests"]) == 1
    first.run.checkpoint.unlink()
    tiny.train(data, seed=1, folder=tmp_path / "mine", callbacks=[StopAfter(6)], **SMALL)
    run = Run(tmp_path / "mine")
    assert run.evaluation is None and "tests" not in run.record
    note_test(run.folder, 0.5, 1.0)
    resumed = tiny.train(data, seed=1, folder=tmp_path / "mine", **SMALL)
    assert [test["accuracy"] for test in resumed.run.record["tests"]] == [0.5]  # of the same training


def test_a_ledger_that_cannot_be_written_warns_once_and_the_training_goes_on(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file is in the way")
    with pytest.warns(RecordWarning, match="could not be written") as caught:
        history = train()
    assert len(history) == 2 and len([w for w in caught if w.category is RecordWarning]) == 1


@pytest.mark.parametrize("name", ["network", "é" * 400, "x" * 400])
def test_a_name_of_any_length_is_a_folder_that_is_found_again(name, ledger_folder):
    train(record=name)
    train(record=name)
    assert len(runs.all_runs()) == 1 and find(name).record["system"] == name
    train(record=name + "2")
    assert len(runs.all_runs()) == 2 and find(name + "2").record["system"] == name + "2"
    train(Recorder(name=name))
    assert [run.record["system"] for run in runs.all_runs()].count(name) == 2


class Delete:
    """A callback that deletes the folder of the run, once, in the second epoch or after it."""

    def __init__(self, folder, moment):
        self.folder, self.moment = folder, moment

    def after_batch(self, training):
        if self.moment == (training.epoch, training.batch):
            shutil.rmtree(self.folder)

    def on_end(self, training):
        if self.moment == "end":
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("moment", [(1, 2), "end"])
def test_a_folder_deleted_in_mid_run_is_reported_once_and_the_record_is_written_again(ledger_folder, moment):
    with pytest.warns(RecordWarning, match="deleted") as caught:
        history = train(Delete(ledger_folder / "mine", moment), epochs=3, record="mine")
    assert len([warning for warning in caught if warning.category is RecordWarning]) == 1
    run = find("mine")
    assert [fault["kind"] for fault in run.faults if fault["kind"] != "unsaved"] == ["deleted"]
    assert run.history().rows == history.rows and run.history().points == history.points
    assert run.network["layers"] and not (run.folder / NAME).exists()
    assert run.state == ("finished" if run.checkpoint else "unsaved")


def test_a_second_training_in_the_same_folder_is_refused(ledger_folder):
    refused = []

    class Second:
        def after_batch(self, training):
            with pytest.raises(CourseworkError, match="training this run") as caught:
                train(record="mine", epochs=1)
            refused.append(caught.value)
            training.stop = True

    train(Second(), record="mine")
    assert len(refused) == 1 and not [*ledger_folder.glob(f"*/{NAME}")]


class Fails:
    """A callback that fails after the training."""

    def __init__(self, order):
        self.order = order

    def on_end(self, training):
        raise ValueError("on_end of a student")


@pytest.mark.parametrize("order", [FIRST, NORMAL, LAST])
def test_an_error_in_on_end_costs_neither_the_history_nor_what_the_others_do_at_the_end(order, ledger_folder):
    with pytest.warns(UserWarning, match="ValueError: on_end of a student") as caught:
        history = train(Fails(order), record="mine")
    assert len(caught) == 1 and __file__ in str(caught[0].message)
    assert find("mine").state == "finished" and find("mine").history().rows == history.rows
    assert not (ledger_folder / "mine" / NAME).exists()


def test_an_error_in_the_training_is_not_hidden_by_one_in_on_end():
    with pytest.warns(UserWarning, match="on_end of a student"), pytest.raises(ValueError, match="mine"):
        train(Raise(ValueError("mine")), Fails(NORMAL))
    assert find("last").state == "failed"
