"""Owns letting a GPU replay what it did for an earlier batch, as a CUDA graph. Knows no optimizer and no epoch."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch

FIRST = 2  # batches of a shape that are done step by step, so that all libraries and buffers are there
MOST = 4  # recordings, each of which holds the memory of a forward and a backward pass


class Recording(NamedTuple):
    """What was recorded, and the tensors that each replay reads and writes anew."""

    graph: torch.cuda.CUDAGraph
    X: torch.Tensor
    y: torch.Tensor
    results: tuple
    gradients: list  # (parameter, gradient)


class Replay:
    """Call work(X, y), which leaves gradients and returns tensors; from a shape's third batch on, replay its recording.

    Python names each operation of a small network more slowly than a GPU does it. In a replay the GPU does all of them
    again, in the same order, and Python names one. So nothing but tensors may change from batch to batch, and what
    Python itself does in the network or in the loss (a hook, a print) is done no more: a network with hooks is not
    recorded, nor one whose work cannot be. What is returned is overwritten by the next call.
    """

    def __init__(self):
        self._recorded_for, self._recordings, self._seen, self._pool, self._works = None, {}, {}, None, True

    def __call__(self, work, X, y, owners):
        """Do a batch's work; owners are the network, first, and all else that the recordings hold for alone."""
        parameters = [*owners[0].parameters()]
        found = [*map(id, owners), *((p.data_ptr(), p.requires_grad) for p in parameters)]
        if found != self._recorded_for:  # another network, or this one moved
            self.__init__()
            self._recorded_for, self._owners = found, owners  # alive, so that no other takes over an id
        shape = (X.shape, X.stride(), X.dtype, y.shape, y.dtype)
        recording = self._recordings.get(shape)
        if recording is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if not self._works or self._seen[shape] <= FIRST or len(self._recordings) == MOST or _hooked(owners[0]):
                return work(X, y)
            recording = self._record(work, X, y, parameters)
            if recording is None:
                return work(X, y)
            self._recordings[shape] = recording
        recording.X.copy_(X)
        recording.y.copy_(y)
        recording.graph.replay()
        for parameter, gradient in recording.gradients:
            parameter.grad = gradient
        return recording.results

    def _record(self, work, X, y, parameters):
        """Return the Recording of this work, or None where it cannot be recorded. The GPU does nothing meanwhile."""
        graph, X, y = torch.cuda.CUDAGraph(), X.clone(), y.clone()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                results = work(X, y)
        except RuntimeError as error:  # a lack of memory is one, too
            self._works = False
            reason = str(error).partition("\n")[0]
            warnings.warn(f"Every batch is done step by step, as the work cannot be recorded: {reason}", stacklevel=4)
            return None
        return Recording(graph, X, y, results, [(parameter, parameter.grad) for parameter in parameters])


def _hooked(net):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for module in net.modules() for kind in kinds)
