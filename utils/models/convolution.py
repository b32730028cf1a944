"""Owns the padded convolution, and its faster way over maps so small that each pixel sees all others. Knows no gate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

MANY = 32  # images from which the matrix is worth making


class PaddedConv(nn.Conv2d):
    """A convolution of stride 1 with an odd kernel, padded to keep H and W.

    With a pixel's channels side by side it takes the fastest way; otherwise it is torch's own.
    """

    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, X):
        together = self.weight.is_contiguous(memory_format=torch.channels_last)
        return (padded_conv if together else torchs_own)(X, self.weight, self.bias)


def padded_conv(X, weight, bias):
    """Convolve, padded to keep H and W: on a CPU as one matrix product where the map is small enough."""
    all_seen = max(X.shape[2:]) <= weight.shape[-1] // 2 + 1
    if all_seen and X.device.type == "cpu" and len(X) >= MANY:
        return as_matrix(X, weight, bias)
    return torchs_own(X, weight, bias)


def torchs_own(X, weight, bias):
    """Convolve, padded to keep H and W, as torch does it."""
    return F.conv2d(X, weight, bias, padding=weight.shape[-1] // 2)


def as_matrix(X, weight, bias):
    """Convolve maps of which each pixel sees the whole: every output pixel is a linear function of the whole input.

    Over a map of 2 x 2 a kernel of 3 x 3 lies with five of its nine numbers on the padding, wherever it is put. What is
    left of it for each place, one below the other, is a matrix (H * W * out, H * W * in) that skips the padding.
    """
    count, channels, height, width = X.shape
    if torch.is_autocast_enabled(X.device.type):  # before the kernels are cut: parts of a parameter are not kept cast
        weight = weight.to(torch.get_autocast_dtype(X.device.type))
    kernel, middle = weight.permute(0, 2, 3, 1), weight.shape[-1] // 2  # (out, size, size, in), as it lies in memory
    tops, lefts = range(middle, middle - height, -1), range(middle, middle - width, -1)
    windows = [kernel[:, top : top + height, left : left + width] for top in tops for left in lefts]
    matrix = torch.stack(windows).view(-1, height * width * channels)
    Y = F.linear(X.permute(0, 2, 3, 1).flatten(1), matrix, bias.repeat(height * width))
    return Y.view(count, height, width, -1).permute(0, 3, 1, 2)
