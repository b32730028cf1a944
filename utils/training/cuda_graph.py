"""Owns letting a GPU replay what it did for an earlier batch, as a CUDA graph. Knows no epoch and no file."""

from __future__ import annotations

import dataclasses
import warnings

import torch

FIRST = 2  # batches of a shape that are done step by step, so that all libraries and buffers are there
MOST = 4  # recordings, each of which holds the memory of a forward and a backward pass


@dataclasses.dataclass
class Recording:
    """What was recorded of one shape of batch, and the tensors that each replay reads and writes anew."""

    passes: torch.cuda.CUDAGraph
    X: torch.Tensor
    y: torch.Tensor
    results: tuple
    gradients: list  # (parameter, gradient)
    step: torch.cuda.CUDAGraph | None = None  # the optimizer's
    settings: list | None = None  # the optimizer's, but for its rates
    memory: list | None = None  # where its moments lie
    rates: list | None = None  # as tensors, one for each group


class Replay:
    """Do a batch's passes and the optimizer's step; from a shape's third batch on, replay what was recorded of them.

    Python names each operation of a small network more slowly than a GPU does it. In a replay the GPU does all of them
    again, in the same order, and Python names one. So nothing but tensors may change from batch to batch, and what
    Python itself does in the network or in the loss (a hook, a print) is done no more: a network with hooks is not
    recorded, nor one whose work cannot be. What is returned is overwritten by the next call.
    """

    def __init__(self):
        self._owners, self._modules, self._parameters, self._looked = (), [], [], None
        self._recordings, self._counts, self._pool, self._works = {}, {}, None, True
        self._current = None  # the Recording that the last passes were replayed from

    def passes(self, work, X, y, owners, recordable=True):
        """Return work(X, y), which leaves gradients; owners are the network, first, and all else that work is about."""
        if not recordable:
            self._current = None
            return work(X, y)
        if [*map(id, owners)] != [*map(id, self._owners)] or self._look() != self._looked:
            self.__init__()  # another network, or this one was changed
            # Kept, as looking for them takes a while.
            self._owners, self._modules, self._parameters = owners, [*owners[0].modules()], [*owners[0].parameters()]
            self._looked = self._look()
        shape = (X.shape, X.stride(), X.dtype, y.shape, y.dtype)
        if shape not in self._recordings and self._is_due(shape):
            self._record_passes(shape, work, X, y)
        recording = self._current = self._recordings.get(shape)
        if recording is None:
            return work(X, y)
        recording.X.copy_(X)
        recording.y.copy_(y)
        recording.passes.replay()
        for parameter, gradient in recording.gradients:
            parameter.grad = gradient
        return recording.results

    def step(self, optimizer):
        """Let the optimizer take its step with the gradients that passes left."""
        recording = self._current
        if recording is None or not getattr(optimizer, "recordable", False):
            optimizer.step()
            return
        groups, moments = optimizer.param_groups, [*optimizer.state.values()]
        settings = [{name: group[name] for name in group if name not in ("params", "lr")} for group in groups]
        memory = [moment.data_ptr() for each in moments for moment in each.values() if isinstance(moment, torch.Tensor)]
        if self._works and (recording.step is None or recording.memory != memory):  # other moments were loaded
            self._record_step(recording, optimizer)
            recording.settings, recording.memory = settings, memory
        if recording.step is None or recording.settings != settings:  # a schedule of the momentum, say
            optimizer.step()
            return
        for rate, group in zip(recording.rates, groups, strict=True):
            rate.fill_(group["lr"])
        recording.step.replay()

    def give_up(self):
        """Give back the memory that recordings hold, and record no more; return whether there were any."""
        held, self._works = bool(self._recordings), False
        self._recordings, self._current, self._pool = {}, None, None
        return held

    def _look(self):
        """Return what a recording of the network rests on: where its weights lie, which are trained, modes, hooks."""
        weights = [(parameter.data_ptr(), parameter.requires_grad) for parameter in self._parameters]
        return weights, [module.training for module in self._modules], _hooked(self._modules)

    def _is_due(self, shape):
        self._counts[shape] = self._counts.get(shape, 0) + 1
        in_time = self._counts[shape] > FIRST and len(self._recordings) < MOST
        return self._works and in_time and not _hooked(self._modules)

    def _record_passes(self, shape, work, X, y):
        X, y = X.clone(), y.clone()
        graph, results = self._record(lambda: work(X, y))
        if graph is not None:
            gradients = [(parameter, parameter.grad) for parameter in self._parameters]
            self._recordings[shape] = Recording(graph, X, y, results, gradients)

    def _record_step(self, recording, optimizer):
        groups = optimizer.param_groups
        recording.rates = [torch.zeros((), device=group["params"][0].device) for group in groups]
        numbers = [group["lr"] for group in groups]
        try:
            for group, rate in zip(groups, recording.rates, strict=True):
                group["lr"] = rate
            recording.step, _ = self._record(optimizer.step)
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number

    def _record(self, work):
        """Return (graph, what work returns), or (None, None) where it cannot be recorded. The GPU does nothing yet."""
        graph, self._pool = torch.cuda.CUDAGraph(), self._pool or torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                results = work()
        except RuntimeError as error:  # a lack of memory is one, too
            self._works = False
            reason = str(error).partition("\n")[0]
            warnings.warn(f"Every batch is done step by step, as the work cannot be recorded: {reason}", stacklevel=5)
            return None, None
        return graph, results


def _hooked(modules):
    """Tell whether Python wants to be told when a layer is passed."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )
