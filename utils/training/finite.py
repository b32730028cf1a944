"""Notice that a training has diverged: check_finite(training), at the end of each epoch and before each checkpoint."""

from __future__ import annotations

import math

import torch

from utils.errors import DivergedError

ADVICE = "Lower the learning rate, or clip the gradient: step=Step(clip_norm=1.0) also stops before a step with NaN."


def check_finite(training):
    """Raise a DivergedError if the loss of the current epoch or a weight is NaN or infinite. This waits for a GPU.

    The training loss must be finite, because a network can't learn from the gradient of a loss that is not.
    """
    total = float(training.metric[0])
    if not math.isfinite(total):
        raise _diverged(f"The loss in training became {total}.", training, ADVICE)
    networks = {training.measured_net: "averaged network", training.net: "network"}  # often one and the same
    for net, name in networks.items():
        if not has_finite_weights(net):
            raise _diverged(f"The weights of the {name} are NaN or infinite.", training, ADVICE)


def check_measured(loss, training):
    """Raise a DivergedError if the loss on the watched images is NaN, which only NaN or Inf in images or scores give.

    An infinite loss is allowed there: it only means that the network gave an image's right class the probability 0.
    """
    if math.isnan(loss) and training.loss is not None:
        next_step = "Look for NaN or Inf in the network's scores, net(X) in eval mode, and in the images themselves."
        raise _diverged(f"The loss on the {training.watched} images is nan.", training, next_step)


def has_finite_weights(net) -> bool:
    """Return True if all trainable parameters and running statistics are finite; other buffers may hold infinities."""
    tensors = [parameter for parameter in net.parameters() if parameter.requires_grad]
    tensors += [buffer for name, buffer in net.named_buffers() if "running_" in name and buffer.is_floating_point()]
    tensors = [tensor.detach() for tensor in tensors if tensor.numel()]
    # One norm of all tensors: separate checks would launch hundreds of kernels on a GPU.
    return math.isfinite(torch.nn.utils.get_total_norm(tensors, norm_type=math.inf))


def _diverged(what, training, next_step):
    where = f"epoch {training.epoch + 1}, at or before batch {training.batch}, learning rate {training.lr:g}"
    error = DivergedError(what, where=where, next_step=next_step)
    error.is_late = True
    return error
