"""Train in several processes, for example on several GPUs: `with several_processes() as processes`, under torchrun.

    with several_processes() as processes:
        options = processes.options(step=Step("bf16"), record="mine")
        train_ch3(net, train_iter, val_iter, loss, 10, optimizer, processes.device, watched="val", **options)

started as `torchrun --standalone --nproc-per-node 2 train_mine.py`. Without torchrun, this is a usual training.
"""

from __future__ import annotations

import contextlib
import os
import sys

import torch
import torch.distributed as dist

from utils.devices import try_gpu
from utils.errors import CourseworkError, require
from utils.runs.checkpoint_files import dump, load
from utils.runs.checkpoints import Checkpoints, capture, restore
from utils.runs.recorder import Recorder
from utils.training.callbacks import as_callbacks
from utils.training.live import LiveCurves
from utils.training.shared_step import SharedStep
from utils.training.state import SAVING
from utils.training.step import Step


class Processes:
    """The processes that share a training, as one of them sees it.

    rank: its number among all `count` processes, from 0; local_rank: its number among those of its machine. These are
    torch's words. device: the device that it computes on.
    """

    def __init__(self, device, rank=0, count=1, local_rank=0):
        self.device = device
        self.rank = rank
        self.count = count
        self.local_rank = local_rank

    def in_turn(self, load_data):
        """Return load_data(); the first process of each machine calls it first, so that only one downloads."""
        if self.count == 1 or self.local_rank == 0:
            loaded = load_data()
        if self.count > 1:
            dist.all_reduce(torch.zeros(1))  # waits for all processes
        return load_data() if self.local_rank > 0 else loaded

    def options(self, *, step=None, callbacks=(), record=True, curves=True) -> dict:
        """Return these arguments of train_ch3, changed so that the processes share the training.

        Only process 0 writes and draws. The others start in its state, whether that is new or from a checkpoint.
        """
        step = Step() if step is None else step
        options = {"step": step, "callbacks": callbacks, "record": record, "curves": curves}
        if self.count == 1:
            return options
        what = f"Several processes need a Step, but the step is an object of type {type(step).__name__}."
        require(type(step) is Step, what, "step", "Leave step out, or give Step(...).")
        what = "Several processes do not use CUDA graphs."
        require(step._graphs is None, what, "step", "Leave out cuda_graph=True.")
        options["step"] = SharedStep(step)
        options["callbacks"] = [*as_callbacks(callbacks), SameState(self.rank)]
        if self.rank:
            only_first = (Recorder, Checkpoints, LiveCurves)
            others = [callback for callback in options["callbacks"] if not isinstance(callback, only_first)]
            options |= {"callbacks": others, "record": False, "curves": False}
        return options


class SameState:
    """A callback that starts every process in the state of process 0: weights, optimizer, generators, position."""

    order = SAVING + 0.5  # called after Checkpoints, which may load a checkpoint

    def __init__(self, rank):
        self.rank = rank

    def check(self, training):
        """Raise an error if a compiled network is to be shared."""
        is_compiled = any(hasattr(module, "_orig_mod") for module in training.net.modules())
        is_compiled |= any(module._compiled_call_impl is not None for module in training.net.modules())
        what = "Several processes can't share a compiled network."
        require(not is_compiled, what, "net", "Train it without torch.compile, or in a single process.")

    def on_start(self, training):
        """Send the state from process 0 to all others."""
        content = [None if self.rank else bytes(dump(capture(training, {})))]
        dist.broadcast_object_list(content)
        if self.rank:
            restore(training, load(content[0], "the state of process 0", None))


@contextlib.contextmanager
def several_processes(device=None):
    """Connect the processes that torchrun has started, and give each its device; the block gets a Processes.

    device: "cpu" or "cuda"; by default GPUs, if there are any. Output of all processes but the first is suppressed.
    """
    is_torchrun = dist.is_available() and dist.is_torchelastic_launched()
    count = int(os.environ["WORLD_SIZE"]) if is_torchrun else 1
    if count == 1:
        yield Processes(torch.device(device or try_gpu()))
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    device = _own_device(torch.device(device or try_gpu()), local_rank)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if dist.get_rank() else sys.stdout):
            yield Processes(device, dist.get_rank(), count, local_rank)
    finally:
        dist.destroy_process_group()


def _own_device(device, local_rank):
    """Return the device of this process: the CPU, or the GPU with its number on this machine."""
    if device.type == "cpu":
        return device
    gpus = torch.cuda.device_count() if device.type == "cuda" else 1
    if local_rank >= gpus or device.type != "cuda":
        what = f"Each process needs its own GPU, one that NCCL can use, but this machine has {gpus} ({device.type})."
        next_step = "Start as many processes as there are NVIDIA GPUs (--nproc-per-node), or use the CPU: device cpu."
        raise CourseworkError(what, where=f"process {local_rank} of this machine", next_step=next_step)
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
