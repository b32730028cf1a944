"""Grad-CAM for any network: a map of how much each region of an image increases the score of a class.

maps = grad_cam_maps(net, X, label=3)
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import CourseworkError
from utils.evaluation.metrics import are_probabilities
from utils.models.count import find_gates
from utils.training.measure import in_mode, place

LEAST_SIZE = 4  # pixels; a smaller feature map says little about regions


def grad_cam_maps(net: nn.Module, X: torch.Tensor, label: int | torch.Tensor) -> torch.Tensor:
    """Return the Grad-CAM maps of the images X for a class: float32 (B, H, W) from 0 to 1, on the CPU.

    label: one class, or a tensor with one class for each image. Grad-CAM (Selvaraju et al., 2017) uses the last layer
    whose feature maps are at least 4x4, multiplies each channel by the mean gradient of the score, adds the channels
    and sets negative values to 0. If only a mean and a linear layer follow, this is the class activation map (Zhou et
    al., 2016). The network's weights, gradients and modes do not change.
    """
    with torch.inference_mode(False), torch.enable_grad(), in_mode(net, training=False):
        # The images require a gradient, so that the feature maps have one even if all weights are frozen.
        X = X.detach().to(place(net, None), torch.float32, copy=True).requires_grad_()
        y_hat, features = scores_and_features(net, X)
        label = torch.as_tensor(label, device=y_hat.device).expand(len(X))
        gradient = torch.autograd.grad(y_hat.gather(1, label[:, None]).sum(), features)[0]
    maps = (gradient.mean((2, 3), keepdim=True) * features.detach()).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps.float(), X.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    highest = maps.amax((1, 2), keepdim=True)
    return (maps / highest.where(highest > 0, 1.0)).cpu()


def scores_and_features(net, X):
    """Return the scores before a final softmax, and the last feature maps that are large enough."""
    outputs = []  # (layer, output) in the order in which the layers finish

    def note(layer, _, output):
        if isinstance(output, torch.Tensor):
            outputs.append((layer, output))

    with contextlib.ExitStack() as hooks:
        for layer in net.modules():
            hooks.callback(layer.register_forward_hook(note).remove)
        y_hat = net(X)
    feature_maps = [(layer, output) for layer, output in outputs if output.ndim == 4]
    inside = _inside_gated_blocks(net, {layer for layer, _ in feature_maps})
    large = [Y for layer, Y in feature_maps if layer not in inside and min(Y.shape[2:]) >= LEAST_SIZE]
    if not large:
        next_step = "Give a network in which a layer returns feature maps (B, C, H, W) of at least 4x4."
        raise CourseworkError("The feature maps of this network are too small for Grad-CAM.", next_step=next_step)
    linear = [Y for layer, Y in outputs if isinstance(layer, nn.Linear)]
    if linear and linear[-1].shape == y_hat.shape and are_probabilities(y_hat):
        y_hat = linear[-1]
    return y_hat, large[-1]


def _inside_gated_blocks(net, layers_with_maps):
    """Return the modules inside blocks with a gate: the output of one branch is not the output of the block."""
    modules = dict(net.named_modules())
    blocks = [modules[name] for name in find_gates(net) if modules.get(name) in layers_with_maps]
    return {module for block in blocks for module in block.modules()}.difference(blocks)
