"""The training step with mixed precision, gradient clipping and a check for NaN and Inf: Step("bf16", clip_norm=1.0).

Step also uses micro-batches and CUDA graphs, which are in micro_batches.py and cuda_graph.py.
"""

from __future__ import annotations

import math
import warnings

import torch

from utils.errors import CourseworkError, DivergedError
from utils.training.cuda_graph import CudaGraphs
from utils.training.measure import mean_loss
from utils.training.micro_batches import MicroBatches, joined, split

LEAST_SCALE = 1.0  # of an fp16 loss; the scale starts at 65,536 and is halved after each gradient that is not finite
ADVICE = "Lower the learning rate, or clip the gradient: Step(clip_norm=1.0). This batch did not change the weights."
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Step:
    """A training step for train_ch3 and train_epoch_ch3.

    precision: fp32, bf16 or fp16 (with a scaled loss). clip_norm, clip_value: limits of the gradient's norm, or of each
    of its elements. micro_batch: how many images are computed at a time; the gradient is still that of the whole batch,
    but batch norm takes its statistics from each micro-batch. If memory runs out, micro_batch is halved and the batch
    is computed again. guard: raise an error before a step with a gradient that is not finite; on a GPU, Python then
    waits for the result in each step. cuda_graph: on a GPU, capture the operations of a batch in a CUDA graph, and
    launch them all at once for each later batch.
    """

    def __init__(
        self, precision="fp32", *, clip_norm=None, clip_value=None, micro_batch=None, guard=True, cuda_graph=False
    ):
        if precision not in DTYPES:
            what = f"precision must be one of {', '.join(DTYPES)}, but is {precision!r}."
            next_step = "best_precision(device) names the fastest one that is safe."
            raise CourseworkError(what, where=f"Step(precision={precision!r})", next_step=next_step)
        self.precision = precision
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.guard = guard
        self._micro_batches = MicroBatches(micro_batch)
        self._graphs = CudaGraphs() if cuda_graph else None
        self._scaler = None  # made with the first batch, when the device is known
        self._scaler_state = {}

    @property
    def micro_batch(self):
        """How many images are computed at a time, or None for whole batches."""
        return self._micro_batches.size

    def __call__(self, net, X, y, loss, optimizer):
        average, y_hat, finite = self._run(X, lambda size: self._passes(net, X, y, loss, optimizer, size))
        scaler = self._scaler_on(X.device)
        if scaler.is_enabled():
            scaler.unscale_(optimizer)
            self._limit(net, optimizer, watched=False)  # the gradient may overflow; GradScaler then skips the step
        if self.guard and not finite:
            self._renew_scaler(self.state_dict()["scaler"])  # GradScaler refuses unscale_() twice without update()
            _reset_statistics(net)
            raise _diverged(X, average)
        if self._graphs and not scaler.is_enabled():
            self._graphs.step(optimizer)
        else:
            scaler.step(optimizer)
            scaler.update()
        if self.guard and scaler.is_enabled() and scaler.get_scale() < LEAST_SCALE:
            self._renew_scaler({})
            _reset_statistics(net)
            raise DivergedError("No scale of the loss gives a finite gradient in fp16.", next_step=ADVICE)
        return average, y_hat

    def predict(self, net, X):
        """Return the scores of a batch, in this precision, as float32."""
        return self._run(X, lambda size: joined([self._forward(net, images) for images in split(X, size)]))

    def _run(self, X, work):
        return self._micro_batches.run(X, work, self._free_graphs)

    def _passes(self, net, X, y, loss, optimizer, size):
        """Compute the forward and the backward pass; return the loss, the scores, and whether all is finite."""

        def work(X, y):
            average, y_hat = self._gradients(net, X, y, loss, optimizer, size)
            if self._scaler_on(X.device).is_enabled():  # the gradient is still scaled, so it is clipped later
                return average, y_hat, torch.isfinite(average)
            return average, y_hat, torch.isfinite(average + self._limit(net, optimizer, self.guard))

        if self._graphs:
            return self._graphs.passes(work, X, y, (net, loss, optimizer), X.is_cuda and size == len(X))
        return work(X, y)

    def _gradients(self, net, X, y, loss, optimizer, size):
        """Compute the gradient of the whole batch's mean loss; return that loss and the scores."""
        optimizer.zero_grad()
        net.zero_grad()  # a parameter outside the optimizer would otherwise add up its gradients for ever
        losses, scores = [], []
        for images, labels in zip(split(X, size), split(y, size), strict=True):
            y_hat = self._forward(net, images)
            value = mean_loss(loss, y_hat, labels)
            if len(labels) < len(y):
                value = value * (len(labels) / len(y))
            self._scaler_on(X.device).scale(value).backward()
            losses.append(value.detach())
            scores.append(y_hat.detach())
        return sum(losses[1:], losses[0]), joined(scores)

    def _forward(self, net, X):
        dtype = DTYPES[self.precision]
        if dtype is None:
            return net(X)
        with torch.autocast(X.device.type, dtype=dtype):
            return net(X).float()

    def _free_graphs(self):
        """Stop using CUDA graphs, to free their memory; return True if there were any."""
        if self._graphs is None or not self._graphs.give_up():
            return False
        warnings.warn("Memory ran out: from now on each batch is computed without CUDA graphs.", stacklevel=4)
        return True

    def _limit(self, net, optimizer, watched):
        """Clip the gradient of the parameters in the optimizer.

        Return its norm before that, or 0 if there is no clip_norm and watched is False.
        """
        optimised = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        parameters = [entry for entry in net.parameters() if entry.grad is not None and id(entry) in optimised]
        norm = 0.0
        if self.clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        elif watched:
            norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.clip_value)
        return norm

    def _scaler_on(self, device):
        if self._scaler is None:
            self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
            if self._scaler_state:
                self._scaler.load_state_dict(self._scaler_state)
        return self._scaler

    def _renew_scaler(self, state):
        """Discard the scaler; the next batch makes a new one with this state."""
        self._scaler = None
        self._scaler_state = state
        self.release()

    def describe(self):
        """Return the settings that the result depends on."""
        return {"precision": self.precision, "clip_norm": self.clip_norm, "clip_value": self.clip_value}

    def state_dict(self):
        """Return the state that changes during training: the micro-batch size, and the loss scale of fp16."""
        scaler = self._scaler.state_dict() if self._scaler else self._scaler_state
        return {"micro_batch": self.micro_batch, "scaler": scaler}

    def load_state_dict(self, state):
        """Continue with the state that state_dict returned."""
        self._micro_batches.size = state["micro_batch"]
        self._renew_scaler(state["scaler"])

    def release(self):
        """Free the memory of the CUDA graphs; they are captured again if training continues."""
        self._graphs = CudaGraphs() if self._graphs else None


def _reset_statistics(net):
    """Reset running statistics that became NaN or infinite: later batches can't correct them."""
    norms = [layer for layer in net.modules() if hasattr(layer, "reset_running_stats")]
    for layer in norms:
        statistics = [getattr(layer, name, None) for name in ("running_mean", "running_var")]
        if any(isinstance(values, torch.Tensor) and not torch.isfinite(values).all() for values in statistics):
            layer.reset_running_stats()


def _diverged(X, average):
    if not torch.isfinite(X).all():
        next_step = "Find out where they come from, for example from the augmentation."
        return DivergedError("The images of this batch contain NaN or Inf.", next_step=next_step)
    value = float(average)
    what = "The gradient is not finite." if math.isfinite(value) else f"The loss is {value}."
    return DivergedError(what, next_step=ADVICE)
