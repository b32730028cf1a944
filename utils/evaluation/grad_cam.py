"""Owns where a network looked: Grad-CAM, for any network. Leaves its weights, gradients and modes as they were."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import CourseworkError
from utils.evaluation.metrics import ends_in_softmax
from utils.models.blocks import GatedBlock
from utils.training.measure import in_mode, place

LEAST_SIZE = 4  # pixels; a smaller map says little about places


def class_map(net, X, label):
    """Return how much each place of the images X speaks for a class: float32 (B, H, W) from 0 to 1, on the CPU.

    label: one class, or a tensor of one for each image. This is Grad-CAM (Selvaraju et al., 2017): of the last layer
    whose maps are at least 4x4 it weights each channel by the mean of the score's gradient, adds them up, and keeps
    what is positive. Where only a mean and a linear layer follow, that is the class activation map (Zhou et al., 2016).
    """
    with torch.inference_mode(False), torch.enable_grad(), in_mode(net, training=False):
        # Images that want a gradient give the maps one, too, even where the weights are frozen.
        y_hat, maps = _run(net, X.detach().to(place(net, None), torch.float32, copy=True).requires_grad_())
        label = torch.as_tensor(label, device=y_hat.device).expand(len(X))
        gradient = torch.autograd.grad(y_hat.gather(1, label[:, None]).sum(), maps)[0]
    seen = (gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).relu()
    seen = F.interpolate(seen.float(), X.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    highest = seen.amax((1, 2), keepdim=True)
    return (seen / highest.where(highest > 0, 1.0)).cpu()


def _run(net, X):
    """Return (scores, maps): the scores before a softmax at the end, and the last maps that are large enough."""
    maps, linear = [], []

    def note(layer, _, Y):
        if isinstance(Y, torch.Tensor) and Y.ndim == 4 and min(Y.shape[2:]) >= LEAST_SIZE:
            maps[:] = [Y]
        if isinstance(layer, nn.Linear):
            linear[:] = [Y]

    blocks = [layer for layer in net.modules() if isinstance(layer, GatedBlock)]
    inside = {part for block in blocks for part in block.modules()}.difference(blocks)
    with contextlib.ExitStack() as hooks:
        for layer in net.modules():
            if layer not in inside:  # one branch of a gated block is not what the block sees
                hooks.callback(layer.register_forward_hook(note).remove)
        y_hat = net(X)
    if not maps:
        next_step = "Give a network in which a layer puts out maps (B, C, H, W) of at least 4x4."
        raise CourseworkError("This network has no map that is large enough to look at.", next_step=next_step)
    return (linear[0] if linear and ends_in_softmax(net) else y_hat), maps[0]
