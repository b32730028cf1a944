"""The training step of several processes, each of which computes a part of every batch: SharedStep(Step("bf16")).

Every process has the whole batch. It computes the scores of its part of the images, gets those of the other images, and
then computes the loss of the whole batch, so any loss and any metric gets what it would get in a single process. The
gradients are added up over the processes before they are clipped.
"""

from __future__ import annotations

import contextlib
import zlib

import torch
import torch.distributed as dist

from utils.errors import CourseworkError, require
from utils.training.micro_batches import ran_out_of_memory
from utils.training.shared_norm import SharedNorms
from utils.training.step import Step


class SharedStep(Step):
    """A step like the one given, for all processes together; they stay equal to the last bit.

    Micro-batches are parts of the whole batch, and each is shared. Layers that draw, such as dropout, draw differently
    in each process, so with them the result depends on the number of processes.
    """

    key = "Step"  # records and checkpoints use this name, so that a single process can resume

    def __init__(self, step):
        settings = {"clip_norm": step.clip_norm, "clip_value": step.clip_value, "guard": step.guard}
        super().__init__(step.precision, micro_batch=step.micro_batch, **settings)
        self.rank = dist.get_rank()  # the number of this process, from 0
        self.processes = dist.get_world_size()
        self._used = None  # the parameters that the first batch gave a gradient

    def part(self, count):
        """Return the slice of a batch of `count` images that this process computes; it may be empty."""
        most, remainder = divmod(count, self.processes)
        start = self.rank * most + min(self.rank, remainder)
        return slice(start, start + most + (self.rank < remainder))

    def _run(self, X, work):
        try:
            return work(min(self.micro_batch or len(X), len(X)))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not ran_out_of_memory(error):
                raise
            what = "Memory ran out, and several processes do not choose smaller micro-batches by themselves."
            next_step = f"Choose them: Step(micro_batch={-(-len(X) // 2)}), or start more processes on more GPUs."
            raise CourseworkError(what, where=f"process {self.rank}", next_step=next_step) from error

    def _gradients(self, net, X, y, loss, optimizer, size):
        if self._used is None:
            what = "The processes do not have the same labels in their first batch."
            advice = "Give all the same loader and seed. Each process then takes its part of each batch."
            _require_equal(zlib.crc32(y.cpu().contiguous().numpy().tobytes()), what, "train_iter", advice)
        results = super()._gradients(net, X, y, loss, optimizer, size)
        self._add_gradients(net)
        return results

    def _add_gradients(self, net):
        """Replace each gradient by its sum over the processes, with one message for each dtype."""
        gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
        what = "Not every batch and process uses the same parameters of the network, so the gradients do not match."
        advice = "Train this network in a single process."
        if self._used is None:
            self._used = [*gradients]
            _require_equal(self._used, what, "net", advice)
        require(self._used == [*gradients], what, "net", advice)
        for dtype in {gradient.dtype: None for gradient in gradients.values()}:
            of_dtype = [gradient for gradient in gradients.values() if gradient.dtype == dtype]
            flat = torch.cat([gradient.reshape(-1) for gradient in of_dtype])
            dist.all_reduce(flat)
            sums = flat.split([gradient.numel() for gradient in of_dtype])
            for gradient, values in zip(of_dtype, sums, strict=True):
                gradient.copy_(values.view_as(gradient))

    def _forward(self, net, X):
        """Return the scores of all images; only those of this process's part have a gradient here."""
        part = self.part(len(X))
        with self._own_randomness(net, X.device), SharedNorms(len(X)):
            own = super()._forward(net, X[part])
        scores = own.new_zeros(len(X), *own.shape[1:])
        scores[part] = own.detach()
        dist.all_reduce(scores)  # the sum of these scores and of zeros from all other processes
        return torch.cat([scores[: part.start], own, scores[part.stop :]])

    @contextlib.contextmanager
    def _own_randomness(self, net, device):
        """Let layers draw from a generator of this process; the usual generator advances alike in all processes."""
        if not net.training:
            yield
            return
        seed = int(torch.randint(2**62, ()))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed + self.rank)
            yield


def _require_equal(value, what, where, next_step):
    """Raise an error in all processes unless each has the same value."""
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    require(all(other == values[0] for other in values), what, where, next_step)
