"""A convolution with torch's results that is faster on a CPU for maps so small that the kernel covers all pixels.

net = use_fast_convolutions(net)   # only the computation of padded convolutions changes
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

MIN_IMAGES = 32  # for fewer images, making the matrix takes longer than it saves


class FastConv2d(nn.Conv2d):
    """An nn.Conv2d of stride 1 with an odd kernel, padded to keep H and W, with a faster computation on small maps.

    It needs the channels-last memory layout; in any other layout, torch's own convolution is used.
    """

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        if self.weight.is_contiguous(memory_format=torch.channels_last):
            return fast_convolution(X, self.weight, self.bias)
        return same_convolution(X, self.weight, self.bias)

    def _get_name(self):
        return "Conv2d"  # printed like torch's, because its results are the same


def use_fast_convolutions(net: nn.Module) -> nn.Module:
    """Turn all padded convolutions of one of our networks into FastConv2d; weights, results and names do not change."""
    for layer in net.modules():
        if type(layer) is nn.Conv2d and keeps_size(layer):
            layer.__class__ = FastConv2d
    return net


def keeps_size(layer: nn.Conv2d) -> bool:
    """Return True for a convolution with an odd square kernel and zero padding that keeps height and width."""
    size = layer.kernel_size[0]
    return (
        layer.kernel_size == (size, size)
        and size % 2 == 1
        and layer.padding == (size // 2, size // 2)
        and layer.stride == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )


def fast_convolution(X: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve, padded to keep H and W; on a CPU by one matrix product if the map is small enough."""
    every_pixel_sees_all = max(X.shape[2:]) <= weight.shape[-1] // 2 + 1
    if every_pixel_sees_all and X.device.type == "cpu" and len(X) >= MIN_IMAGES:
        return as_matrix(X, weight, bias)
    return same_convolution(X, weight, bias)


def same_convolution(X: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve, padded to keep H and W, with torch's own convolution."""
    return F.conv2d(X, weight, bias, padding=weight.shape[-1] // 2)


def as_matrix(X: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Convolve maps so small that the kernel covers all pixels: each output pixel is a linear function of all pixels.

    On a map of 2x2 pixels, five of the nine numbers of a 3x3 kernel lie on the padding at every position. The other
    numbers of all positions form a matrix (H * W * out, H * W * in), and the padding is not computed.
    """
    count, channels, height, width = X.shape
    if torch.is_autocast_enabled(X.device.type):  # autocast caches the cast of a parameter, but not of its slices
        weight = weight.to(torch.get_autocast_dtype(X.device.type))
    kernel = weight.permute(0, 2, 3, 1)  # (out, size, size, in), the order in memory
    middle = weight.shape[-1] // 2
    tops = range(middle, middle - height, -1)
    lefts = range(middle, middle - width, -1)
    windows = [kernel[:, top : top + height, left : left + width] for top in tops for left in lefts]
    matrix = torch.stack(windows).view(-1, height * width * channels)
    repeated_bias = None if bias is None else bias.repeat(height * width)
    Y = F.linear(X.permute(0, 2, 3, 1).flatten(1), matrix, repeated_bias)
    return Y.view(count, height, width, -1).permute(0, 3, 1, 2)
