"""Owns what a step may do beyond `train_batch`: precision, clipping, small parts, guards. Knows no epoch, no file."""

from __future__ import annotations

import warnings

import torch

from utils.devices import best_precision
from utils.errors import CourseworkError, DivergedError
from utils.training.cuda_graph import Replay
from utils.training.measure import mean_loss

__all__ = ["DTYPES", "NO_MEMORY", "Step", "best_precision", "ran_out_of_memory"]

# What torch.OutOfMemoryError is not raised for: the CPU's allocator (on Linux, on Windows), MPS, cuBLAS and cuDNN.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
LEAST_SCALE = 1.0  # of an fp16 loss; it starts at 65,536 and is halved after each gradient that is not finite
ADVICE = "Lower the learning rate, or clip the gradient: Step(clip_norm=1.0). No step was taken with it."
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Step:
    """A step for train_ch3 and train_epoch_ch3, as data: what is not asked for is not done.

    precision: fp32, bf16 or fp16 (with a scaled loss). clip_norm, clip_value: limits of the gradient's norm, or of each
    of its numbers. part: images that go through the network at a time; the step stays that of the whole batch, while
    batch norm takes its statistics from each part. When memory runs out, part is halved and the batch done again.
    guard: stop before a step that a NaN or an Inf would spoil (on a GPU that costs a wait in each step). replay: on a
    GPU, let it replay what it did for an earlier batch, as utils/training/cuda_graph.py tells.
    """

    def __init__(self, precision="fp32", *, clip_norm=None, clip_value=None, part=None, guard=True, replay=False):
        if precision not in DTYPES:
            next_step = f"Choose one of {', '.join(DTYPES)}; best_precision(device) names one."
            raise CourseworkError("There is no such precision.", where=f"precision={precision!r}", next_step=next_step)
        self.precision, self.clip_norm, self.clip_value = precision, clip_norm, clip_value
        self.part, self.guard = part, guard
        self._replay = Replay() if replay else None
        self._scaler = None  # made when the device is known
        self._scaler_state = {}

    def __call__(self, net, X, y, loss, optimizer):
        average, y_hat, finite = self._in_parts(X, lambda size: self._passes(net, X, y, loss, optimizer, size))
        scaler = self._scaler_on(X.device)
        if scaler.is_enabled():
            scaler.unscale_(optimizer)
            self._limit(net, watched=False)  # it may overflow, and its step is then left out
        if self.guard and not finite:
            self.load_state_dict(self.state_dict())  # a scaler that has not come to update() serves no other step
            _mend_statistics(net)
            raise _diverged(X, average)
        if self._replay and not scaler.is_enabled():
            self._replay.step(optimizer)
        else:
            scaler.step(optimizer)
            scaler.update()
        if self.guard and scaler.is_enabled() and scaler.get_scale() < LEAST_SCALE:
            self.load_state_dict({"part": self.part, "scaler": {}})
            _mend_statistics(net)
            raise DivergedError("No scale of the loss gives a finite gradient in fp16.", next_step=ADVICE)
        return average, y_hat

    def predict(self, net, X):
        """Return the scores of a batch, in this precision, as float32."""
        return self._in_parts(X, lambda size: _joined([self._forward(net, part) for part in _parts(X, size)]))

    def _passes(self, net, X, y, loss, optimizer, size):
        """Pass the batch through the network and back; return its loss, the scores, and whether all is finite."""

        def work(X, y):
            average, y_hat = self._gradients(net, X, y, loss, optimizer, size)
            scaled = self._scaler_on(X.device).is_enabled()
            return average, y_hat, torch.isfinite(average if scaled else average + self._limit(net, self.guard))

        if self._replay:
            return self._replay.passes(work, X, y, (net, loss, optimizer), X.is_cuda and size == len(X))
        return work(X, y)

    def _gradients(self, net, X, y, loss, optimizer, size):
        """Leave the gradient of the whole batch's mean loss; return that loss and the scores."""
        optimizer.zero_grad()
        shares, scores = [], []
        for X_part, y_part in zip(_parts(X, size), _parts(y, size), strict=True):
            y_hat = self._forward(net, X_part)
            share = mean_loss(loss, y_hat, y_part)
            if len(y_part) < len(y):
                share = share * (len(y_part) / len(y))
            self._scaler_on(X.device).scale(share).backward()
            shares.append(share.detach())
            scores.append(y_hat.detach())
        return sum(shares[1:], shares[0]), _joined(scores)

    def _forward(self, net, X):
        dtype = DTYPES[self.precision]
        if dtype is None:
            return net(X)
        with torch.autocast(X.device.type, dtype=dtype):
            return net(X).float()

    def _in_parts(self, X, work):
        """Call work(images at a time), with half as many each time that memory runs out."""
        while True:
            size = min(self.part or len(X), len(X))
            try:
                return work(size)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            # Only here, outside the except block, has the error let go of the tensors that filled the memory.
            recordings = self._replay is not None and self._replay.give_up()
            if X.is_cuda:
                torch.cuda.empty_cache()
            if recordings:
                warnings.warn("Memory ran out: from here on each batch is done step by step.", stacklevel=2)
                continue
            if size == 1:
                next_step = "Choose a smaller network, or free the memory that other programs hold."
                raise CourseworkError(f"Not even one image fits into memory: {message}", next_step=next_step)
            self.part = -(-size // 2)
            warnings.warn(f"Memory ran out: {self.part} images at a time from here on.", stacklevel=2)

    def _limit(self, net, watched):
        """Clip the gradient; return its norm before that, or 0 where it is neither limited nor watched."""
        parameters = [parameter for parameter in net.parameters() if parameter.grad is not None]
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

    def describe(self):
        """Return the settings that the result depends on."""
        return {"precision": self.precision, "clip_norm": self.clip_norm, "clip_value": self.clip_value}

    def state_dict(self):
        """Return what changes while it works: the images at a time, and the loss scale of fp16."""
        return {"part": self.part, "scaler": self._scaler.state_dict() if self._scaler else self._scaler_state}

    def load_state_dict(self, state):
        """Go on as the step that state_dict told of."""
        self.part, self._scaler, self._scaler_state = state["part"], None, state["scaler"]
        self.release()

    def release(self):
        """Give back the memory of what was recorded for replays."""
        self._replay = Replay() if self._replay else None


def _parts(batch, size):
    """Return a batch in even parts of up to this size: a norm could do nothing with a last one of a single image.

    A whole one stays as it is, since on a GPU each operation more counts.
    """
    return [batch] if size >= len(batch) else batch.tensor_split(-(-len(batch) // size))


def _joined(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def ran_out_of_memory(error):
    """Tell a lack of memory, on a GPU or on the CPU, from other errors."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)


def _mend_statistics(net):
    """Let norms forget running statistics that this batch has spoilt, which no step would mend."""
    norms = [layer for layer in net.modules() if hasattr(layer, "reset_running_stats")]
    for layer in norms:
        statistics = [getattr(layer, name, None) for name in ("running_mean", "running_var")]
        if any(isinstance(values, torch.Tensor) and not torch.isfinite(values).all() for values in statistics):
            layer.reset_running_stats()


def _diverged(X, average):
    if not torch.isfinite(X).all():
        what, next_step = "The images of this batch hold NaN or Inf.", "Look at what made them: the augmentation, say."
    else:
        value = float(average)
        what = "The gradient is not finite." if value - value == 0 else f"The loss is {value}."
        next_step = ADVICE
    return DivergedError(what, next_step=next_step)
