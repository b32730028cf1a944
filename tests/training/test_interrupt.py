"""Interrupting a training: in a batch, the history comes back; before the first batch, a notebook shows one line."""

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from patience import PATIENCE
from training_parts import StopAfter

from utils.training.interrupt import Interrupted

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
import torch.nn.functional as F
from training_parts import parts
from utils.runs.checkpoints import Checkpoints
from utils.my_utils import train_ch3

class Waits:
    # In batch 7, it asks for an interrupt and waits until it has arrived.

    batches = 0

    def after_batch(self, training):
        self.batches += 1
        if self.batches == 7:
            print("interrupt me", flush=True)
            end = time.monotonic() + {patience}
            while not training.stop and time.monotonic() < end:
                time.sleep(0.05)

net, train_iter, test_iter, optimizer = parts()
keeper = Checkpoints({folder!r}, every=1e9)
history = train_ch3(net, train_iter, test_iter, F.cross_entropy, 50, optimizer, callbacks=[Waits(), keeper], every=1)
"""


@pytest.fixture
def kernel():
    """Return (manager, client) of a kernel as a notebook has one."""
    manager, client = start_new_kernel(
        startup_timeout=PATIENCE, kernel_name="python3", extra_arguments=["--HistoryManager.hist_file=:memory:"]
    )
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.skipif(sys.platform == "win32", reason="its kernels are interrupted in another way")
def test_an_interrupted_cell_ends_well_and_can_be_gone_on_with(kernel, tmp_path):
    manager, client = kernel
    said = []

    def listen(message):
        said.append(message["content"].get("text", ""))
        if "interrupt me" in said[-1]:
            manager.interrupt_kernel()

    places = {"root": str(ROOT), "tests": str(ROOT / "tests"), "folder": str(tmp_path)}
    code = textwrap.dedent(TRAIN).format(patience=PATIENCE, **places)
    reply = client.execute_interactive(code, timeout=PATIENCE, output_hook=listen)["content"]
    assert reply["status"] == "ok", "".join(reply.get("traceback", []))
    assert "Stopped after 1 of 50 epochs and 2 batches." in "".join(said)
    assert [path.name[:24] for path in tmp_path.glob("*.pt")] == ["checkpoint-00001-0000002"]
    said.clear()
    asked = "print(history.stopped, history['epoch'], len(history.points))"
    client.execute_interactive(asked, timeout=PATIENCE, output_hook=listen)
    assert "".join(said).split("\n")[0] == "True [1] 7"


class InterruptAt:
    """A profile function that interrupts this process at a call of a Python function, counted from its installation."""

    def __init__(self, number=None):
        self.number = number
        self.count = 0

    def __call__(self, frame, event, argument):
        self.count += event == "call"
        if event == "call" and self.count == self.number:
            os.kill(os.getpid(), signal.SIGINT)


class CountUntilReady:
    """A callback that notes how many calls came before the first batch."""

    def __init__(self, profile):
        self.profile = profile
        self.calls = None

    def on_ready(self, training):
        self.calls = self.profile.count


def start(recipe, data, profile, folder):
    """Train for a batch with a profile function; return the Trained and how many calls came before the first batch."""
    counter = CountUntilReady(profile)
    sys.setprofile(profile)
    try:
        callbacks = [counter, StopAfter(1)]
        trained = recipe.train(data, effort="check", device="cpu", curves=False, callbacks=callbacks, folder=folder)
    finally:
        sys.setprofile(None)
    return trained, counter.calls


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends a process there")
def test_an_interrupt_at_any_moment_of_the_start_is_quiet_and_the_same_call_works_again(tiny, data, tmp_path):
    start(tiny, data, InterruptAt(), tmp_path / "first")  # it imports modules; those calls do not come again
    calls = start(tiny, data, InterruptAt(), tmp_path / "whole")[1]
    outcomes = []
    for moment in range(1, 9):
        folder = tmp_path / str(moment)
        try:
            trained, _ = start(tiny, data, InterruptAt(calls * moment // 8), folder)
            outcomes.append("stopped")
            assert trained.history.stopped
        except Interrupted:
            outcomes.append("interrupted")
        trained, _ = start(tiny, data, InterruptAt(), folder)
        assert trained.history.points
    assert {*outcomes} == {"stopped", "interrupted"}
