"""Tests that a training that is killed at any time, again and again, loses an interval at most and ends the same.

As a program with the arguments FOLDER KILLS SEED, this file trains in child processes, ends each by SIGKILL at a random
time, starts the next one until the training is done, and prints a line of JSON. The clock of the checkpoints counts
batches, so that the work lost has a limit to the batch.
"""

import contextlib
import io
import json
import mmap
import os
import pathlib
import random
import signal
import struct
import sys
import time
import types

import pytest
import torch
from forks import fork, result_of
from victim import BATCHES, EPOCHS, Victim, differences

from utils.runs import checkpoints
from utils.runs.checkpoint_files import listed, load
from utils.training.state import LAST, NORMAL

EVERY = 2  # batches between two checkpoints
PACE = 0.002  # seconds that each batch and each save take longer, so that kills find both of them under way
PHASES = ("starting", "training", "measuring", "saving", "done")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills children that it forks")


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.faults)])
def test_kills_at_random_times_lose_an_interval_at_most_and_change_no_bit(tmp_path, kills, record_property):
    seen = result_of(__file__, tmp_path, kills, 0)
    lost, when = f"at most {seen['most_lost']} batches lost", seen["phases"]
    ends = f"{seen['equal']} of {seen['runs']} ends the same to the last bit"
    record_property("says", f"{seen['kills']} of {kills} kills resumed from, {lost}, {ends}; killed while {when}")
    assert seen["kills"] == kills and seen["equal"] == seen["runs"] >= 1
    assert seen["most_lost"] <= EVERY
    if kills >= 200:
        assert all(seen["phases"][phase] for phase in ("starting", "training", "measuring", "saving"))
        assert seen["partial"], "no kill found a file half written"


class Witness:
    """A callback that tells, in memory that outlives a kill, how far an attempt came and what it was doing."""

    def __init__(self, memory, order):
        self.memory, self.order = memory, order

    def on_start(self, training):
        if self.order == LAST:  # after the checkpoints: this is where the attempt goes on
            note(self.memory, "training", *[_position(training)] * 2)

    def after_batch(self, training):
        if self.order == NORMAL:
            note(self.memory, "training", reached=_position(training))
            time.sleep(PACE)
        elif training.batch == training.batches:
            note(self.memory, "measuring")

    def after_epoch(self, training):
        note(self.memory, "training")


def note(memory, phase, begun=None, reached=None):
    """Write what is known: the phase, and the positions where the attempt began and that it has reached."""
    old = struct.unpack("3q", memory[:24])
    new = PHASES.index(phase), old[1] if begun is None else begun, old[2] if reached is None else reached
    memory[:24] = struct.pack("3q", *new)


def attempt(folder, seed, memory):
    """Train in this process, or go on, to the end."""
    witnesses, write = [Witness(memory, NORMAL), Witness(memory, LAST)], checkpoints.write
    # The clock that the checkpoints go by; they ask for nothing else of the time.
    ticks = lambda: float(struct.unpack("3q", memory[:24])[2])  # noqa: E731
    checkpoints.time = types.SimpleNamespace(monotonic=ticks)

    def slow_write(*state):
        phase = PHASES[struct.unpack("3q", memory[:24])[0]]
        note(memory, "saving")
        path = write(*state)
        time.sleep(PACE)
        note(memory, phase)
        return path

    checkpoints.write = slow_write
    with contextlib.redirect_stdout(io.StringIO()):
        result = Victim(folder, seed, every=EVERY).train(*witnesses)
    note(memory, "done")
    torch.save(result, folder / "result.pt")


def start(folder, seed, memory):
    """Fork a child that makes an attempt; return its process id."""
    note(memory, "starting", -1, 0)
    return fork(attempt, folder, seed, memory)


def sound(folder):
    """Count the checkpoints that load; one that does not is an error, as a kill must not leave any."""
    for path in listed(folder):
        state = load(path.read_bytes(), path, None)
        assert path.name.startswith(f"checkpoint-{state['position']['epoch']:05d}-{state['position']['batch']:07d}")
    return len(listed(folder))


def kill_until(top, kills, seed):
    """Kill so many attempts; return what was seen."""
    clock, memory = random.Random(seed), mmap.mmap(-1, 24)
    began = time.monotonic()
    assert os.waitpid(start(top / "whole", 0, memory), 0)[1] == 0
    length = time.monotonic() - began
    expected = torch.load(top / "whole" / "result.pt", weights_only=True)
    seen = {"kills": 0, "runs": 0, "equal": 0, "most_lost": 0, "phases": dict.fromkeys(PHASES, 0), "partial": 0}
    while seen["kills"] < kills:
        folder, reached, had, tries, done = top / str(seen["runs"]), 0, 0, 0, False
        while not done:
            # Other weights and generators where there is a checkpoint to put them right.
            child = start(folder, 1000 * tries if had else 0, memory)
            if seen["kills"] < kills:
                time.sleep(clock.uniform(0, 1.1 * length))
                os.kill(child, signal.SIGKILL)
            status, tries = os.waitpid(child, 0)[1], tries + 1
            assert status in (0, signal.SIGKILL), f"an attempt failed with status {status}"
            done = status == 0
            phase, begun, place = struct.unpack("3q", memory[:24])
            if begun >= 0:
                seen["most_lost"], reached = max(seen["most_lost"], reached - begun), place
            if not done:
                seen["kills"] += 1
                seen["phases"][PHASES[phase]] += 1
                seen["partial"] += len([*folder.glob("*.partial")])
                had, before = sound(folder), had
                assert had or not before, "a checkpoint was there, and is not any more"
        result = torch.load(folder / "result.pt", weights_only=True)
        seen["runs"] += 1
        seen["equal"] += differences(expected, result) == [] and not [*folder.glob("*.partial")]
    return seen


def _position(training):
    return training.epoch * BATCHES + training.batch


if __name__ == "__main__":
    torch.set_num_threads(1)  # before anything is computed: a process with threads must not fork
    assert EPOCHS * BATCHES > 2 * EVERY
    print(json.dumps(kill_until(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
