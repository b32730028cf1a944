"""Owns the gated convolution: k convolutions weighted image by image, in four equal forms. Knows no whole network."""

from __future__ import annotations

import functools
import itertools

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import CourseworkError
from utils.models.convolution import padded_conv, torchs_own

CPU_KERNELS = 2**22  # numbers in the kernels that `aggregated` makes at a time on a CPU, 16 MB as float32


class GatedConv(nn.Module):
    """Return O = a_1 Conv_1(X) + ... + a_k Conv_k(X) for X (B, in, H, W) and a (B, k), one weight a branch and image.

    Stride 1, odd kernels, padded to keep H and W. The parameters are the same in every form, so a network that was
    trained in one form can be loaded into another.
    """

    def __init__(self, in_channels, out_channels, kernel_sizes=(3, 3, 3), *, form="auto"):
        super().__init__()
        self.kernel_sizes, self.form = _checked(tuple(kernel_sizes), form)
        # Neighbours of one size share a tensor (branches, out, in, size, size), so that joining them costs nothing.
        groups = [(size, len(list(same))) for size, same in itertools.groupby(self.kernel_sizes)]
        self.weights = nn.ParameterList(torch.empty(n, out_channels, in_channels, s, s) for s, n in groups)
        self.bias = nn.Parameter(torch.empty(len(self.kernel_sizes), out_channels))
        for weight, bias in self.branches():
            bound = weight[0].numel() ** -0.5  # as torch starts its own convolutions
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def branches(self):
        """List each branch's (weight, bias) as views, to initialise them or to look at them."""
        weights = [weight for group in self.weights for weight in group.detach()]
        return list(zip(weights, self.bias.detach(), strict=True))

    @property
    def merges(self):
        """Whether "auto" may merge branches into kernels of several pixels, for which a channel's lie side by side."""
        return any(len(weight) > 1 and weight.shape[-1] > 1 for weight in self.weights)

    def forward(self, X, a):
        if self.form != "auto":
            return FORMS[self.form](X, a, list(self.weights), self.bias)
        # Branches of one size are merged among themselves: a small kernel would have to be padded for a larger one.
        counts = [len(weight) for weight in self.weights]
        groups = zip(self.weights, a.split(counts, 1), self.bias.split(counts), strict=True)
        totals = []
        for weight, some, bias in groups:
            form = FASTEST[choose_form(X, len(weight), weight.shape[-1])]
            totals.append(form(X, some, [weight], bias))
        return functools.reduce(torch.add, totals)

    def extra_repr(self):
        """Say in torch's printed network what this layer is."""
        out, inside = self.weights[0].shape[1:3]
        return f"{inside}, {out}, kernel_sizes={self.kernel_sizes}, form={self.form!r}"


def loop(X, a, weights, bias, convolve=torchs_own):
    """Convolve k times and add: the formula as it is written, and the reference for the other forms."""
    branches = zip(a.unbind(1), (W for group in weights for W in group), bias, strict=True)
    return weighted_sum((a_j, convolve(X, W, b)) for a_j, W, b in branches)


def stacked(X, a, weights, bias):
    """Convolve once to k times the channels, then add: one large step instead of k small ones."""
    W = join(weights)
    Y = F.conv2d(X, W.flatten(0, 1), bias.flatten(), padding=W.shape[-1] // 2).unflatten(1, bias.shape)
    return (a.unsqueeze(1) @ Y.flatten(2)).view(Y.shape[0], *Y.shape[2:])


def scaled(X, a, weights, bias):
    """Scale the input k times and convolve once: convolving is linear, so a_j may be applied before it."""
    W = join(weights)
    # A pixel's channels lie side by side, those of one copy after those of another, as a GPU convolves them fastest.
    pixels = X.permute(0, 2, 3, 1).unsqueeze(3)
    copies = (a[:, None, None, :, None].to(X.dtype) * pixels).flatten(3).permute(0, 3, 1, 2)
    kernels = W.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    total = F.conv2d(copies, kernels, padding=W.shape[-1] // 2)
    return total + (a @ bias)[:, :, None, None]


def aggregated(X, a, weights, bias):
    """Add the kernels, one sum for each image, and convolve each image once with its own."""
    W = join(weights)
    if W.shape[-1] == 1:
        return _multiply_each(X, a, W.flatten(2), bias)
    # On a CPU some images at a time: a block of memory below the allocator's limit is used again, a larger one is
    # fetched from the system anew at every step, which costs more than the convolution.
    part = len(X) if X.is_cuda else max(1, CPU_KERNELS // W[0].numel())
    totals = [_convolve_each(*some, W, bias) for some in zip(X.split(part), a.split(part), strict=True)]
    return totals[0] if len(totals) == 1 else torch.cat(totals)


def _convolve_each(X, a, W, bias):
    count, _, height, width = X.shape
    own = (a @ W.flatten(1)).view(-1, *W.shape[2:])  # (count * out, in, size, size)
    X = X.reshape(1, -1, height, width)  # the images side by side, as groups of channels
    total = F.conv2d(X, own, (a @ bias).flatten(), padding=W.shape[-1] // 2, groups=count)
    return total.view(count, -1, height, width)


def _multiply_each(X, a, W, bias):
    """Convolve each image with a kernel of one pixel of its own: one matrix product an image, of all its pixels."""
    count, inside, height, width = X.shape
    own = (a @ W.flatten(1)).view(count, -1, inside)
    pixels = X.permute(0, 2, 3, 1).flatten(1, 2)
    total = torch.baddbmm((a @ bias).unsqueeze(1), pixels, own.transpose(1, 2))
    return total.view(count, height, width, -1).permute(0, 3, 1, 2)


FORMS = {"loop": loop, "stacked": stacked, "scaled": scaled, "aggregated": aggregated}
FASTEST = FORMS | {"loop": functools.partial(loop, convolve=padded_conv)}  # what "auto" takes by the form's name


def weighted_sum(weighted_maps):
    """Return the sum of a_j * map for pairs of a weight (B,) and a map (B, C, H, W), in the maps' own precision.

    A GPU's autocast gives weights of a softmax as float32, which would make float32 of every map.
    """
    return functools.reduce(torch.add, (a_j.view(-1, 1, 1, 1).to(Y.dtype) * Y for a_j, Y in weighted_maps))


def join(weights):
    """Return all branches' kernels as one tensor (k, out, in, size, size), small ones with a rim of zeros."""
    if len(weights) == 1:
        return weights[0]
    size = max(weight.shape[-1] for weight in weights)
    return torch.cat([F.pad(weight, [(size - weight.shape[-1]) // 2] * 4) for weight in weights])


def choose_form(X, branches, kernel_size=3):
    """Name the form that `python -m tools.bench.gated_conv` found fastest for branches of one kernel size."""
    if branches == 1:
        return "loop"
    pixels = X.shape[2] * X.shape[3]  # a kernel of its own pays for an image that has many to use it on
    if X.device.type == "cpu":
        return "aggregated" if pixels >= (100 if kernel_size == 1 else 64) else "loop"
    if kernel_size > 1:  # grouped convolutions are slow on a GPU; of 1x1 they are products of matrices instead
        return "scaled"
    return "aggregated" if 4 * pixels >= X.shape[1] else "loop"


def _checked(kernel_sizes, form):
    if not kernel_sizes or any(not isinstance(size, int) or size < 1 or size % 2 == 0 for size in kernel_sizes):
        raise CourseworkError(
            "A gated convolution needs one odd kernel size for each branch.",
            where=f"kernel_sizes={kernel_sizes}",
            next_step="Give a tuple such as (3, 3, 3); even sizes cannot keep height and width.",
        )
    if form != "auto" and form not in FORMS:
        raise CourseworkError(
            "There is no such form.", where=f"form={form!r}", next_step="Choose auto, " + ", ".join(FORMS) + "."
        )
    return kernel_sizes, form
