"""Grad-CAM for any network: a map of how much each region of an image increases the score of a class.

maps = grad_cam_maps(net, X, label=3)
"""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from utils.errors import CourseworkError, require
from utils.evaluation.metrics import are_probabilities
from utils.models.count import find_gates
from utils.models.gated import GatedConv
from utils.models.source import unwrapped
from utils.models.summary import POOLS
from utils.training.checks import check_score_shape
from utils.training.measure import in_mode, place

LEAST_SIZE = 4  # pixels; a smaller feature map says little about regions
ON_MAPS = (_ConvNd, _BatchNorm, GatedConv, *POOLS)  # layers whose output (B, C, H, W) is surely feature maps


def grad_cam_maps(net: nn.Module, X: torch.Tensor, label: int | torch.Tensor) -> torch.Tensor:
    """Return the Grad-CAM maps of the images X for a class: float32 (B, H, W) from 0 to 1, on the CPU.

    label: one class, or a tensor with one class for each image. Grad-CAM (Selvaraju et al., 2017) uses the last layer
    whose feature maps are at least 4x4 and lead to the score, multiplies each channel by the mean gradient of the
    score, adds the channels and sets negative values to 0. If only a mean and a linear layer follow, this is the class
    activation map (Zhou et al., 2016). The network's weights, gradients and modes do not change.
    """
    net = unwrapped(net)
    with torch.inference_mode(False), torch.enable_grad(), in_mode(net, training=False):
        # The images require a gradient, so that the feature maps have one even if all weights are frozen.
        dtype = next((weight.dtype for weight in net.parameters() if weight.is_floating_point()), torch.float32)
        X = X.detach().to(place(net, None), dtype, copy=True).requires_grad_()
        y_hat, all_maps = scores_and_maps(net, X)
        label = torch.as_tensor(label, device=y_hat.device).expand(len(X))
        what = f"The network has scores for the classes 0 to {y_hat.shape[1] - 1}, and not for every label given."
        is_class = (label >= 0) & (label < y_hat.shape[1])
        require(is_class.all(), what, f"label={label.tolist()}", "Choose labels among these classes.")
        gradient, features = _last_gradient(y_hat.gather(1, label[:, None]).sum(), all_maps)
    maps = (gradient.mean((2, 3), keepdim=True) * features.detach()).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps.float(), X.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    highest = maps.amax((1, 2), keepdim=True)
    return (maps / highest.where(highest > 0, 1.0)).cpu()


def _last_gradient(score, all_maps):
    """Return (gradient, maps) of the last feature maps that the score depends on: those of an auxiliary head do not."""
    for features in reversed(all_maps):
        if not features.requires_grad:
            continue
        gradient = torch.autograd.grad(score, features, retain_graph=True, allow_unused=True)[0]
        if gradient is not None:
            return gradient, features
    raise _unsuited("The scores of this network do not depend on feature maps that are large enough for Grad-CAM.")


def _unsuited(what):
    next_step = "Give a network in which a convolution returns feature maps (B, C, H, W) of at least 4x4."
    return CourseworkError(what, next_step=next_step)


def scores_and_maps(net, X):
    """Return the scores before a final softmax, and all feature maps that are large enough, in their order."""
    outputs = []  # (layer, output) in the order in which the layers finish

    def note(layer, inputs, output):
        if isinstance(layer, POOLS) and inputs and inputs[0] is not X:  # what is pooled are feature maps, too
            outputs.append((layer, inputs[0]))
        if isinstance(output, torch.Tensor):
            outputs.append((layer, output))

    with contextlib.ExitStack() as hooks:
        for layer in net.modules():
            hooks.callback(layer.register_forward_hook(note).remove)
        y_hat = net(X)
    check_score_shape(y_hat, "net(X)")
    inside = _inside_gated_blocks(net, {layer for layer, output in outputs if output.ndim == 4})
    large = [Y for layer, Y in _feature_maps(outputs, X) if layer not in inside]
    if not large:
        raise _unsuited("The feature maps of this network are too small for Grad-CAM.")
    linear = [Y for layer, Y in outputs if isinstance(layer, nn.Linear)]
    if linear and linear[-1].shape == y_hat.shape and are_probabilities(y_hat):
        y_hat = linear[-1]
    return y_hat, large


def _feature_maps(outputs, X):
    """Return the outputs that are feature maps of at least 4x4: those of ON_MAPS, or of other layers with kernels.

    Attention weights (B, heads, tokens, tokens) and maps (B, H, W, C) have four dimensions, too. So other layers count
    only if they keep the number of channels, or the size, of the feature maps before them.
    """
    found, channels, size = [], None, X.shape[2:]
    for layer, Y in outputs:
        if Y.ndim != 4 or len(Y) != len(X) or min(Y.shape[2:]) < LEAST_SIZE:
            continue
        has_kernels = any(weight.ndim >= 4 for weight in layer.parameters(recurse=False))
        if isinstance(layer, ON_MAPS) or has_kernels or Y.shape[1] == channels or Y.shape[2:] == size:
            found.append((layer, Y))
            channels, size = Y.shape[1], Y.shape[2:]
    return found


def _inside_gated_blocks(net, layers_with_maps):
    """Return the modules inside blocks with a gate: the output of one branch is not the output of the block."""
    modules = dict(net.named_modules())
    blocks = [modules[name] for name in find_gates(net) if modules.get(name) in layers_with_maps]
    return {module for block in blocks for module in block.modules()}.difference(blocks)
