"""The ledger: every training leaves a record, a run is what happened, and nothing that fails on the disk ends it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from training_parts import StopAfter, parts

from utils import claims, ledger, runs
from utils.augment import Flip
from utils.checkpoints import Checkpoints
from utils.claims import NAME
from utils.datasets import load_cifar10
from utils.errors import CourseworkError, DivergedError, LedgerWarning
from utils.ledger import Ledger, new_folder
from utils.loaders import make_iters
from utils.my_utils import train_ch3
from utils.nets import Plan
from utils.recipes import Recipe, load_run
from utils.records import append_lines, read_lines
from utils.runs import Run, find, fold, settled
from utils.steps import Step

SMALL = {"budget": "smoke", "curves": False, "precision": "fp32", "device": "cpu"}


@pytest.fixture(autouse=True)
def ledger_folder(tmp_path, monkeypatch):
    """Give each test a ledger of its own."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def data():
    return load_cifar10(source="drawn")


@pytest.fixture
def tiny():
    plan = Plan(layers=("conv 8", "norm", "relu", "pool 2", "mean", "linear 10"))
    return Recipe("tiny", plan, augment=(Flip(),), batch_size=48, num_epochs=2, lr=0.01)


def train(*watchers, epochs=2, **options):
    """Train the small network by hand."""
    net, train_iter, test_iter, optimizer = parts()
    options = {"curves": False, "every": 2, **options}
    return train_ch3(net, train_iter, test_iter, F.cross_entropy, epochs, optimizer, watchers=watchers, **options)


class Raise:
    """A watcher that raises at the first batch of the second epoch."""

    def __init__(self, error):
        self.error = error

    def after_batch(self, training):
        if training.epoch == 1:
            raise self.error


def test_a_training_by_hand_is_on_the_ledger_without_a_line_for_it():
    history = train()
    (run,) = runs.all_runs()
    assert run.state == "finished" and run.name.startswith("training-")
    assert run.history().rows == history.rows and run.history().points == history.points
    record = run.record
    assert record["settings"]["optimizer"] == "SGD" and record["settings"]["lr"] == 0.05
    assert record["settings"]["batch_size"] == 24 and record["images"] == 100
    assert record["parameters"] == 2350 and record["watched"] == "test"
    assert not (run.folder / NAME).exists()


def test_a_name_may_be_given_and_a_record_may_be_left_out(ledger_folder):
    train(record="my first/net")
    assert runs.all_runs()[0].name.startswith("my_first_net-")
    train(record=False)
    assert len(runs.all_runs()) == 1


def test_the_record_lies_where_the_checkpoints_lie(tmp_path):
    train(Checkpoints(tmp_path / "mine"))
    assert Run(tmp_path / "mine").state == "finished" and not runs.all_runs()


def test_a_recipes_record_holds_all_that_it_depends_on(data, tiny):
    trained = tiny.train(data, seed=3, **SMALL)
    record = trained.run.record
    assert record["recipe"] == json.loads(json.dumps(tiny.describe()))
    assert record["data"] == {"name": data.name, "source": "drawn", "fingerprint": data.fingerprint}
    assert [record[name] for name in ("system", "seed", "protocol", "budget", "precision", "num_epochs")] == [
        "tiny", 3, "honest", "smoke", "fp32", 2,
    ]  # fmt: skip
    assert record["macs"] == tiny.macs() and record["torch"] == torch.__version__
    assert trained.run.name == trained.folder.name and "-smoke-s3-" in trained.run.name
    assert trained.run.history().rows == trained.history.rows


def test_a_run_that_is_called_again_is_one_run_and_not_trained_again(data, tiny):
    first = tiny.train(data, **SMALL)
    before = (first.folder / "run.json").read_bytes(), (first.folder / "metrics.jsonl").read_bytes()
    tiny.train(data, **SMALL)
    assert ((first.folder / "run.json").read_bytes(), (first.folder / "metrics.jsonl").read_bytes()) == before
    assert len(runs.all_runs()) == 1


def test_attempts_are_counted_and_what_was_done_twice_counts_once(data, tiny):
    whole = tiny.train(data, folder=None, **SMALL)
    tiny.train(data, watchers=[StopAfter(6)], **SMALL)
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
    tiny.train(data, watchers=[StopAfter(6)], **SMALL)
    run = find("last")
    (run.folder / "metrics.jsonl").unlink()
    trained = tiny.train(data, **SMALL)
    assert trained.run.history().rows == trained.history.rows
    assert trained.run.history().points == trained.history.points


@pytest.mark.parametrize(
    ("error", "state"),
    [(DivergedError("The loss is nan.", next_step="x"), "diverged"), (ValueError("mine"), "failed")],
)
def test_a_failure_is_noted_with_its_place_and_its_images(error, state):
    with pytest.raises(type(error)):
        train(Raise(error))
    run = find("last")
    assert run.state == state and len(run.history()) == 1
    (fault,) = run.faults
    assert fault["kind"] == state and fault["epoch"] == 2
    assert ("nan" in fault["what"]) == (state == "diverged")


def test_a_diverged_runs_fault_names_the_images_of_the_batch():
    net, train_iter, _, optimizer = parts(lr=1e30)
    with pytest.raises(DivergedError):
        train_ch3(net, train_iter, None, F.cross_entropy, 9, optimizer, step=Step(guard=True), curves=False)
    (fault,) = find("last").faults
    assert fault["rows"] == train_iter.indices(fault["epoch"] - 1, fault["batch"] - 1).tolist()
    assert runs.table().loc[find("last").name, "state"] == "diverged"


def test_an_interrupt_is_a_stop():
    with pytest.raises(KeyboardInterrupt):
        train(Raise(KeyboardInterrupt()))
    assert find("last").state == "stopped"


def test_memory_that_runs_out_and_checkpoints_that_cannot_be_written_are_faults():
    class Spoil:
        def after_batch(self, training):
            training.step.part = 7

    train(Spoil(), step=Step())
    assert [fault["kind"] for fault in find("last").faults] == ["memory"]


def test_a_folder_in_use_is_refused_and_left_as_it_is(data, tiny, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.0)
    tiny.train(data, watchers=[StopAfter(1)], **SMALL)
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


def test_another_training_in_the_same_folder_changes_no_record(data, tiny, tmp_path):
    tiny.train(data, folder=tmp_path / "mine", **SMALL)
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    with pytest.raises(CourseworkError, match="another training"):
        tiny.change(lr=0.5).train(data, folder=tmp_path / "mine", **SMALL)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before


def test_a_ledger_that_cannot_be_written_warns_once_and_the_training_goes_on(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file is in the way")
    with pytest.warns(LedgerWarning, match="could not be written") as caught:
        history = train()
    assert len(history) == 2 and len([w for w in caught if w.category is LedgerWarning]) == 1


def test_a_disk_that_fills_up_in_the_middle_warns_and_keeps_what_was_written(monkeypatch):
    real, calls = ledger.append_lines, []

    def full(path, rows):
        calls.append(path)
        if len(calls) == 3:  # the attempt and the first epoch are in
            raise OSError(28, "No space left on device")
        real(path, rows)

    monkeypatch.setattr(ledger, "append_lines", full)
    with pytest.warns(LedgerWarning, match="No space left"):
        history = train(epochs=3)
    assert len(history) == 3
    run = find("last")
    assert run.state == "finished" and [row["epoch"] for row in run.history().rows] == [1, 3]


def test_two_runs_of_one_second_get_two_folders(monkeypatch):
    monkeypatch.setattr(ledger.time, "strftime", lambda *_: "20260101-000000")
    names = [new_folder("x").name for _ in range(3)]
    assert names == ["x-20260101-000000", "x-20260101-000000-2", "x-20260101-000000-3"]


def test_a_child_begins_with_its_parents_weights_and_the_ledger_knows_both(data, tiny):
    parent = tiny.train(data, **SMALL)
    child = tiny.change(lr=1e-9).train(data, parent=parent.run.name, **SMALL)
    for mine, theirs in zip(child.net.parameters(), parent.net.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert child.run.record["parent"] == parent.run.name and child.run.name != parent.run.name
    assert runs.table().loc[child.run.name, "parent"] == parent.run.name
    again = tiny.change(lr=1e-9).train(data, parent=parent.run, **SMALL)
    assert again.run.name == child.run.name


def test_a_child_takes_the_moments_and_not_the_rates(data, tiny):
    seen = []

    class Look:
        def on_start(self, training):
            group, state = training.optimizer.param_groups[0], training.optimizer.state
            seen.append((group["lr"], len(state)))

    parent = tiny.train(data, **SMALL)
    tiny.change(lr=0.001).train(data, parent=parent.run, watchers=[Look()], **SMALL)
    tiny.change(optimizer="sgd", lr=0.1).train(data, parent=parent.run, watchers=[Look()], **SMALL)
    assert seen[0][0] == 0.001 and seen[0][1] > 0 and seen[1] == (0.1, 0)


def test_a_parent_of_another_network_or_without_checkpoint_is_refused(data, tiny, tmp_path):
    parent = tiny.train(data, **SMALL).run
    other = tiny.change(network=Plan(layers=("conv 4", "mean", "linear 10")))
    with pytest.raises(CourseworkError, match="is another one"):
        other.train(data, parent=parent, **SMALL)
    train(record="by hand")
    with pytest.raises(CourseworkError, match="no checkpoint"):
        tiny.train(data, parent="by_hand", **SMALL)


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_run_is_loaded_as_it_was_trained(data, tiny, average):
    trained = tiny.change(average=average).train(data, **SMALL)
    loaded = load_run(trained.run.name, data, "cpu")
    assert loaded.test() == trained.test() == load_run(trained.run, data, "cpu").test()
    assert loaded.history.rows == trained.history.rows and loaded.recipe.network == tiny.network
    assert len(loaded.run.record["tests"]) == 3


def test_a_run_of_other_images_or_by_hand_is_not_loaded(data, tiny):
    run = tiny.train(data, **SMALL).run
    with pytest.raises(CourseworkError, match="was trained on drawn images"):
        load_run(run, dataclasses.replace(data, fingerprint="other", name="other images"))
    train(record="by hand")
    with pytest.raises(CourseworkError, match="has no recipe"):
        load_run("by_hand", data)


def test_runs_are_found_by_name_by_a_beginning_or_as_the_last(data, tiny):
    first = tiny.train(data, seed=1, **SMALL).run.name
    second = tiny.train(data, seed=2, **SMALL).run.name
    assert find(first).name == find(first[:15]).name == first
    with pytest.raises(CourseworkError, match="2 runs"):
        find("tiny")
    with pytest.raises(CourseworkError, match="no run") as caught:
        find("nothing")
    assert first in caught.value.next_step and second in caught.value.next_step
    with pytest.raises(CourseworkError, match="no run") as caught:
        find("x", "/nowhere")
    assert "Train something" in caught.value.next_step


def test_the_table_has_the_four_figures_of_report_e_and_filters(data, tiny):
    trained = tiny.train(data, seed=1, **SMALL)
    tiny.train(data, seed=2, protocol="report", **SMALL)
    table = runs.table()
    assert list(table.seed) == [1, 2] and table.index.name == "run"
    mine = table.loc[trained.run.name]
    seconds = trained.history["seconds"][-1]
    assert mine.ms_per_iteration == pytest.approx(1000 * seconds / (2 * 4))
    assert mine.parameters == sum(p.numel() for p in trained.net.parameters())
    assert mine.error_rate == pytest.approx(1 - trained.history["val_acc"][-1])
    assert mine.settled_s in trained.history["seconds"] or pd.isna(mine.settled_s)
    assert list(runs.table(protocol="report").seed) == [2] and list(runs.table(seed=1, system="tiny").seed) == [1]
    assert runs.table(seed=77).empty
    loss, acc = trained.test()
    assert runs.table().loc[trained.run.name, "test_acc"] == acc and loss > 0
    assert runs.table().loc[trained.run.name, "error_rate"] == pytest.approx(1 - acc)
    with pytest.raises(CourseworkError, match="no column speed"):
        runs.table(speed=1)


def test_an_empty_ledger_is_an_empty_table():
    assert runs.table().empty and "val_acc" in runs.table() and runs.all_runs() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xff"])
def test_a_record_that_cannot_be_read_is_a_row_that_says_so(content):
    train()
    (runs.trainings() / "broken").mkdir()
    (runs.trainings() / "broken" / "run.json").write_bytes(content)
    assert sorted(runs.table().state) == ["finished", "unreadable"]


def test_bad_lines_are_counted_in_the_table():
    train()
    with open(find("last").folder / "metrics.jsonl", "ab") as file:
        file.write(b"\xff\n{half")
    assert list(runs.table().bad_lines) == [2]


def rows(*accuracies):
    history = fold([{"epoch": i + 1, "val_acc": acc, "seconds": 10.0 * (i + 1)} for i, acc in enumerate(accuracies)])
    return settled(history, "val_acc")


def test_accuracy_has_settled_where_no_later_epoch_is_a_point_below_the_best():
    assert rows(0.5, 0.895, 0.9, 0.893) == 20.0
    assert rows(0.5, 0.9, 0.6, 0.9) == 40.0
    assert rows(0.9) == 10.0
    assert pd.isna(rows(0.5, 0.9, 0.6))
    assert pd.isna(rows()) and rows(0.9, None) == 10.0


TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from utils.datasets import load_cifar10
from utils.nets import Plan
from utils.recipes import Recipe, load_run
plan = Plan(layers=("conv 8", "norm", "relu", "pool 2", "mean", "linear 10"))
recipe = Recipe("tiny", plan, batch_size=4, num_epochs=500, lr=0.01)
recipe.train(load_cifar10(source="drawn"), budget="taste", curves=False, precision="fp32", device="cpu", save_every=0.2)
"""


def test_a_run_is_running_while_its_process_lives_and_interrupted_when_it_was_killed(pytestconfig):
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(pytestconfig.rootpath)])
    try:
        deadline = time.monotonic() + 60
        while not (runs.all_runs() and len(runs.all_runs()[0].history().points)) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        run = find("last")
        assert run.state == "running"
    finally:
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        process.wait()
    assert find("last").state == "interrupted" and len(run.record["attempts"]) == 1
    assert list(runs.table().state) == ["interrupted"]


def test_what_a_run_trained_on_is_known_from_any_loader(data):
    few = data.train.subset(torch.arange(60))
    for workers in (None, 0):
        train_iter, _, _ = make_iters(dataclasses.replace(data, train=few), 20, val=0, workers=workers)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
        train_ch3(net, train_iter, None, F.cross_entropy, 1, torch.optim.SGD(net.parameters(), 0.01), curves=False)
        record = find("last").record
        assert record["data"]["fingerprint"] == data.fingerprint and record["images"] == 60


def test_no_warning_in_an_ordinary_run(data, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.train(data, **SMALL)
    assert read_lines(find("last").folder / "faults.jsonl") == ([], 0)


def test_each_run_has_one_ledger_even_if_one_is_given(tmp_path):
    train(Ledger(tmp_path / "mine", "mine"))
    assert Run(tmp_path / "mine").record["system"] == "mine" and not runs.all_runs()


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


def test_an_attempt_that_fails_in_its_first_batch_is_counted(data, tiny):
    class Fail:
        def after_batch(self, training):
            raise ValueError("at once")

    tiny.train(data, watchers=[StopAfter(6)], **SMALL)
    for _ in range(2):
        with pytest.raises(ValueError, match="at once"):
            tiny.train(data, watchers=[Fail()], **SMALL)
    run = find("last")
    assert [attempt["how"] for attempt in run.record["attempts"]] == ["stopped", "failed", "failed"]
    assert run.state == "failed" and len(run.faults) == 2
