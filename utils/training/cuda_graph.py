"""CUDA graphs: capture the GPU operations of one batch, and launch them all at once for each later batch."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings

import torch

FIRST = 2  # batches of a shape that are computed as usual, so that all libraries and buffers are loaded
MOST = 4  # captures at most; each keeps the memory of a forward and a backward pass


@dataclasses.dataclass
class Capture:
    """The graphs for one shape of batch, and the tensors that each replay reads and writes."""

    passes: torch.cuda.CUDAGraph
    X: torch.Tensor
    y: torch.Tensor
    results: tuple
    gradients: list  # (parameter, gradient)
    step: torch.cuda.CUDAGraph | None = None  # the optimizer's step
    settings: list | None = None  # the optimizer's settings, without its learning rates
    memory: list | None = None  # the addresses of the optimizer's state
    rates: list | None = None  # the learning rates as tensors, one for each parameter group


class CudaGraphs:
    """Compute a batch's passes and the optimizer's step; from a shape's third batch on, by replaying CUDA graphs.

    In a small network Python launches each operation more slowly than a GPU computes it. A graph launches all of them
    at once, in the same order. So only tensors may change from batch to batch, and Python code inside the network or
    the loss (a hook, a print) does not run during a replay. A network with hooks is therefore not captured, nor one
    that CUDA can't capture. The tensors that are returned are overwritten by the next call.

    See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self):
        self._can_capture = True
        self._forget()

    def __deepcopy__(self, memo):
        return type(self)()  # a CUDA graph can't be copied, and belongs to the network that was captured

    def _forget(self):
        """Discard all captures."""
        self._owners = ()
        self._modules = []
        self._parameters = []
        self._state = None  # the network's state, as _network_state returns it
        self._captures = {}
        self._counts = {}
        self._pool = None
        self._current = None  # the Capture that was replayed last

    def passes(self, work, X, y, owners, capturable=True):
        """Return work(X, y), which also computes the gradients; owners: the network, the loss and the optimizer."""
        if not capturable:
            self._current = None
            return work(X, y)
        if [*map(id, owners)] != [*map(id, self._owners)] or self._network_state() != self._state:
            self._forget()  # it is another network, or the network was changed
            self._can_capture = True
            self._owners = owners
            self._modules = [*owners[0].modules()]  # listed once, since listing them for each batch takes long
            self._parameters = [*owners[0].parameters()]
            self._state = self._network_state()
        shape = (X.shape, X.stride(), X.dtype, y.shape, y.dtype)
        if shape not in self._captures and self._is_due(shape):
            self._capture_passes(shape, work, X, y)
        capture = self._current = self._captures.get(shape)
        if capture is None:
            return work(X, y)
        capture.X.copy_(X)
        capture.y.copy_(y)
        capture.passes.replay()
        for parameter, gradient in capture.gradients:
            parameter.grad = gradient
        return capture.results

    def step(self, optimizer):
        """Take the optimizer's step with the gradients that `passes` computed."""
        capture = self._current
        if capture is None or not getattr(optimizer, "recordable", False):
            optimizer.step()
            return
        groups = optimizer.param_groups
        states = [*optimizer.state.values()]
        settings = [{name: group[name] for name in group if name not in ("params", "lr")} for group in groups]
        memory = [value.data_ptr() for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        if self._can_capture and (capture.step is None or capture.memory != memory):  # the optimizer's state was loaded
            self._capture_step(capture, optimizer)
            capture.settings, capture.memory = settings, memory
        if capture.step is None or capture.settings != settings:  # for example if a schedule changes the momentum
            optimizer.step()
            return
        for rate, group in zip(capture.rates, groups, strict=True):
            rate.fill_(group["lr"])
        capture.step.replay()

    def give_up(self):
        """Free the memory of all captures and make no new ones; return True if there were any."""
        had_captures = bool(self._captures)
        self._can_capture = False
        self._captures = {}
        self._current = None
        self._pool = None
        return had_captures

    def _network_state(self):
        """Return the state that a capture depends on: the weights' addresses and requires_grad, modes, hooks."""
        weights = [(parameter.data_ptr(), parameter.requires_grad) for parameter in self._parameters]
        return weights, [module.training for module in self._modules], _hooked(self._modules)

    def _is_due(self, shape):
        self._counts[shape] = self._counts.get(shape, 0) + 1
        in_time = self._counts[shape] > FIRST and len(self._captures) < MOST
        return self._can_capture and in_time and not _hooked(self._modules)

    def _capture_passes(self, shape, work, X, y):
        X, y = X.clone(), y.clone()
        graph, results = self._capture(lambda: work(X, y))
        if graph is not None:
            gradients = [(parameter, parameter.grad) for parameter in self._parameters]
            self._captures[shape] = Capture(graph, X, y, results, gradients)

    def _capture_step(self, capture, optimizer):
        groups = optimizer.param_groups
        capture.rates = [torch.zeros((), device=group["params"][0].device) for group in groups]
        numbers = [group["lr"] for group in groups]
        try:
            for group, rate in zip(groups, capture.rates, strict=True):
                group["lr"] = rate
            capture.step, _ = self._capture(optimizer.step)
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number

    def _capture(self, work):
        """Return (graph, result of work), or (None, None) if it can't be captured. The GPU computes nothing yet."""
        graph, self._pool = torch.cuda.CUDAGraph(), self._pool or torch.cuda.graph_pool_handle()
        stream = torch.cuda.current_stream() if torch.cuda.is_available() else None
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                results = work()
        except RuntimeError as error:  # also if the GPU has not enough memory
            self._can_capture = False
            if stream is not None:
                _leave_capture(stream)
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"CUDA graphs are not used, because this network or loss can't be captured: {reason}", stacklevel=5
            )
            return None, None
        return graph, results


def _leave_capture(stream):
    """Put torch back after a capture that failed: it would stay on its own stream, and let no dropout be drawn."""
    torch.cuda.set_stream(stream)
    with contextlib.suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.zeros((), device=stream.device)  # a capture that succeeds ends the random generator's state of capturing


def _hooked(modules):
    """Return True if a hook is registered on any of these modules."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )
