"""Tests that a training that was broken off goes on to the same last bit, and that no part of a checkpoint is idle."""

import functools
import hashlib
import pathlib
import signal
import subprocess
import sys
import warnings

import pytest
import torch
import victim
from patience import PATIENCE
from victim import BATCHES, EVENTS, Broken, Happenings, Victim, break_at, differences, stop_at

from utils.errors import CheckpointError
from utils.runs import checkpoints
from utils.runs.checkpoint_files import NAME, dump, listed, load
from utils.training.state import NORMAL

KINDS = {
    "sgd": {},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
}
MIDDLE = BATCHES + 1 + 3  # in the middle of the second epoch


@functools.cache
def whole(**kind):
    """Return what comes out of a training that nothing breaks off."""
    return Victim(**kind).train()


def broken(folder, event, seed=0, **kind):
    """Train in a folder until an event."""
    with pytest.raises(Broken):
        Victim(folder, seed, **kind).train(break_at(event))


def without(state, part):
    """Return a copy of a checkpoint's state that lacks one part."""
    name, _, rest = part.partition(".")
    if not rest:
        return {key: value for key, value in state.items() if key != name}
    return {**state, name: without(state[name], rest)}


def with_part_of(other, state, part):
    """Return a copy of a checkpoint's state with one part of another."""
    name, _, rest = part.partition(".")
    return {**state, name: with_part_of(other[name], state[name], rest) if rest else other[name]}


def read(folder):
    path = listed(pathlib.Path(folder))[0]
    return load(path.read_bytes(), path, None)


def put(folder, state):
    """Write a state as a checkpoint whose name fits its content."""
    folder.mkdir()
    content = bytes(dump(state))
    path = folder / NAME.format(epoch=1, batch=3, hash=hashlib.sha256(content).hexdigest()[:32])
    path.write_bytes(content)


def test_the_same_training_twice_is_the_same_and_another_seed_is_not():
    assert differences(whole(), Victim().train()) == []
    other = differences(whole(), Victim(seed=1).train())
    assert {"result.rows.1.val_loss", "result.average.2.weight", "result.optimizer.state.0.momentum_buffer"} < {*other}


@pytest.mark.parametrize("ending", [break_at, stop_at])
@pytest.mark.parametrize(
    ("kind", "stride"),
    [
        ("sgd", 1),
        *((kind, 5) for kind in KINDS if kind != "sgd"),
        *(pytest.param(kind, 1, marks=pytest.mark.faults) for kind in KINDS if kind != "sgd"),
    ],
)
def test_a_training_broken_off_at_any_batch_goes_on_to_the_same_bit(tmp_path, kind, stride, ending):
    for event in range(1, EVENTS + 1, stride):
        if ending is break_at:
            broken(tmp_path / str(event), event, **KINDS[kind])
        else:
            Victim(tmp_path / str(event), every=1e9, **KINDS[kind]).train(stop_at(event))
        resumed = Victim(tmp_path / str(event), 99, **KINDS[kind]).train()
        assert differences(whole(**KINDS[kind]), resumed) == [], f"broken off at event {event} of {EVENTS}"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_on_a_gpu_goes_on_to_the_same_bit(tmp_path, monkeypatch, kind, cuda_graph):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # a sum in any order is another sum
    how = {"device": "cuda", "cuda_graph": cuda_graph, **KINDS[kind]}
    assert differences(whole(**how), Victim(**how).train()) == []
    for event in (2, BATCHES, MIDDLE):
        broken(tmp_path / str(event), event, **how)
        assert differences(whole(**how), Victim(tmp_path / str(event), 99, **how).train()) == []


class EndAtOnce:
    """Break a training off when it is back in its place, before the next batch."""

    def on_ready(self, training):
        raise Broken


@pytest.mark.parametrize("events", [(2, 4), (1, 3, 5), (5, 6, 7), (5, 5, 5), (6, 6, 12)])
def test_several_resumes_are_as_good_as_none(tmp_path, events):
    for attempt, event in enumerate(events):
        if attempt and event == events[attempt - 1]:  # the same event does not happen a second time
            with pytest.raises(Broken):
                Victim(tmp_path, attempt).train(EndAtOnce())
        else:
            broken(tmp_path, event, attempt)
    assert differences(whole(), Victim(tmp_path, 99).train()) == []


def test_an_epoch_that_was_trained_but_not_measured_is_measured_and_not_trained_again(tmp_path):
    broken(tmp_path, BATCHES)
    seen, resumed = [], Victim(tmp_path, 99, epochs=1)
    batch = resumed.train_iter.batch
    resumed.train_iter.batch = lambda *place: seen.append(place) or batch(*place)
    resumed.train()
    assert seen == [] and resumed.history["epoch"] == [1]
    assert resumed.history["val_loss"] == [whole()["rows"][0]["val_loss"]]


@pytest.mark.parametrize("event", [BATCHES + 1, BATCHES + 4])
def test_with_a_plain_dataloader_a_training_goes_on_from_the_end_of_an_epoch(tmp_path, event, capsys):
    broken(tmp_path, event, loader="plain")
    assert [path.name[11:24] for path in listed(tmp_path)] == ["00001-0000000"]
    assert differences(whole(loader="plain"), Victim(tmp_path, 99, loader="plain").train()) == []
    assert "Resumed after 1 epoch and 0 batches" in capsys.readouterr().out


def test_an_interrupt_within_an_epoch_of_a_plain_dataloader_saves_nothing_that_is_not_exact(tmp_path):
    Victim(tmp_path, every=1e9, loader="plain").train(stop_at(3))
    assert listed(tmp_path) == []


@pytest.mark.parametrize("events", [(0,), pytest.param((3, BATCHES, 8, 0), marks=pytest.mark.faults)])
def test_a_new_process_goes_on_to_the_same_bit(tmp_path, events):
    broken(tmp_path / "kept", 2)
    command = [sys.executable, victim.__file__, tmp_path / "kept", tmp_path / "result.pt"]
    for seed, event in enumerate(events, 1):
        words = [f"--seed={seed}", f"--break-at={event}"]
        assert subprocess.run([*command, *words], capture_output=True, timeout=PATIENCE).returncode == (
            3 if event else 0
        )
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    assert differences(whole(), result) == []


PARTS = {
    "net": "net",
    "optimizer": "optimizer",
    "optimizer.state": "optimizer",
    "step.scaler": "step",
    "callbacks.Average": "average",
    "callbacks.Schedule": "schedule",
    "history": "rows",
    "history.points": "points",
    "history.last": "points",
    "metric": "rows",
    "position.epoch": "rows",
    "position.batch": "rows",
    "position.loader": "net",
    "random": "net",
    "random.torch": "net",
    "random.python": "net",
    "random.numpy": "net",
}
REQUIRED = [part for part in PARTS if part.partition(".")[0] != "history"] + ["history", "history.rows", "about"]


@pytest.mark.parametrize("part", PARTS)
def test_a_resume_that_forgets_one_part_does_not_come_out_the_same(tmp_path, monkeypatch, part):
    broken(tmp_path, MIDDLE, precision="fp16")
    restore = checkpoints.restore

    def forgetful(training, state):
        present = checkpoints.capture(training, state["about"])
        restore(training, with_part_of(present, state, part))

    monkeypatch.setattr(checkpoints, "restore", forgetful)
    changed = differences(whole(precision="fp16"), Victim(tmp_path, 99, precision="fp16").train())
    assert any(place.startswith(f"result.{PARTS[part]}") for place in changed)


@pytest.mark.parametrize("part", REQUIRED)
def test_a_checkpoint_that_lacks_a_part_is_refused_by_name_and_changes_nothing(tmp_path, part):
    broken(tmp_path / "whole", MIDDLE, precision="fp16")
    put(tmp_path / "part", without(read(tmp_path / "whole"), part))
    resumed = Victim(tmp_path / "part", 99, precision="fp16")
    before = [tensor.clone() for tensor in resumed.net.state_dict().values()], torch.get_rng_state()
    with pytest.raises(CheckpointError, match="not a checkpoint" if part == "about" else f"lacks.* {part}"):
        resumed.train()
    after = [*resumed.net.state_dict().values()], torch.get_rng_state()
    assert differences(before, after) == [] and resumed.optimizer.state_dict()["state"] == {}


def test_a_training_that_is_complete_returns_its_history_at_once(tmp_path, capsys):
    first = Victim(tmp_path).train()
    again, files = Victim(tmp_path, 99), listed(tmp_path)
    again.train_iter.batch = None  # a batch would now be an error
    assert differences(first, again.train()) == [] and listed(tmp_path) == files
    assert "is complete" in capsys.readouterr().out and again.history.stopped is False


def test_more_epochs_than_before_go_on_where_the_schedule_allows_it(tmp_path):
    Victim(tmp_path).train()
    longer = Victim(tmp_path, 99, epochs=3)
    longer.train()
    assert longer.history["epoch"] == [1, 2, 3]
    assert differences([Victim(epochs=3).train()["rows"]], [longer.result()["rows"]]) == []


def interrupt(*_):
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("event", [3, BATCHES, BATCHES + 1])
def test_an_interrupt_returns_the_history_so_far_and_leaves_a_checkpoint(tmp_path, event, capsys):
    stopped = Victim(tmp_path, every=1e9)
    stopped.train(Happenings(event, interrupt, order=NORMAL))
    assert stopped.history.stopped and len(stopped.history) == event // (BATCHES + 1)
    assert "Stopped after" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert differences(whole(), Victim(tmp_path, 99).train()) == []


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_while_measuring_loses_no_batch_and_repeats_none(tmp_path, times):
    for seed in range(times):
        stopped = Victim(tmp_path, seed, every=1e9)
        stopped.val_iter.batch = lambda *place, batch=stopped.val_iter.batch: interrupt() or batch(*place)
        stopped.train()
        assert len(stopped.history) == 0 and [path.name[11:24] for path in listed(tmp_path)] == ["00000-0000005"]
    assert differences(whole(), Victim(tmp_path, 99).train()) == []


def test_a_second_interrupt_breaks_off_at_once_and_leaves_the_checkpoints_before(tmp_path):
    impatient = Victim(tmp_path)

    def twice(training):
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        impatient.train(Happenings(4, twice, order=NORMAL))
    assert listed(tmp_path)[0].name.startswith("checkpoint-00000-0000003-")
    assert differences(whole(), Victim(tmp_path, 99).train()) == []


def test_a_training_that_fails_saves_nothing_of_the_failure(tmp_path):
    with pytest.raises(Broken):
        Victim(tmp_path, every=1e9).train(break_at(4))
    assert listed(tmp_path) == []


def test_two_callbacks_of_one_kind_keep_apart(tmp_path):
    fast, slow = checkpoints_of_two_averages(tmp_path / "whole", None)
    again = checkpoints_of_two_averages(tmp_path / "broken", MIDDLE)
    assert differences([fast, slow], [*again]) == []
    assert differences(fast, slow) != []


def checkpoints_of_two_averages(folder, event):
    """Train with a second Average, broken off at an event or not; return the weights of the two."""
    if event:
        with pytest.raises(Broken):
            Victim(folder).train(victim.Average(0.3), break_at(event))
    trained, second = Victim(folder, 99 if event else 0), victim.Average(0.3)
    trained.train(second)
    return trained.result()["average"], dict(second.net.state_dict())


def test_nothing_warns_in_a_training_and_its_resume(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        broken(tmp_path, MIDDLE)
        Victim(tmp_path, 99).train()
