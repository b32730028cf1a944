"""The gated convolution, O = a_1 Conv_1(X) + ... + a_k Conv_k(X), in three forms with equal results.

`loop` computes the formula term by term. The others compute it with one large convolution: a convolution is linear, so
its weight a_j can be applied to its input (`scaled`) or to its kernel (`aggregated`: one kernel for each image).
`choose_form` chooses the fastest form for a shape. Branches that are more than a convolution are computed in blocks.py.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import CourseworkError
from utils.models.convolution import fast_convolution, same_convolution

CPU_KERNELS = 2**22  # numbers in the kernels that `aggregated` makes at a time on a CPU: 16 MB as float32


class GatedConv(nn.Module):
    """Compute O = a_1 Conv_1(X) + ... + a_k Conv_k(X) for X (B, in, H, W) and a (B, k).

    Stride 1, odd kernels, padded to keep H and W. form: "auto" chooses the fastest of FORMS for each shape. All forms
    have the same parameters, so a network that was trained in one form can be used in another.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_sizes: Sequence[int] = (3, 3, 3), *, form: str = "auto"
    ):
        super().__init__()
        _check(tuple(kernel_sizes), form)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_sizes = tuple(kernel_sizes)
        self.form = form
        # Neighbouring branches with the same kernel size share a tensor (branches, out, in, size, size).
        groups = [(size, len(list(same))) for size, same in itertools.groupby(self.kernel_sizes)]
        self.weights = nn.ParameterList(torch.empty(n, out_channels, in_channels, s, s) for s, n in groups)
        self.bias = nn.Parameter(torch.empty(len(self.kernel_sizes), out_channels))
        for weight, bias in self.kernels():
            bound = weight[0].numel() ** -0.5  # as torch initialises its own convolutions
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def __len__(self):
        return len(self.kernel_sizes)

    def kernels(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """List (weight, bias) of each branch, as views that can be looked at or initialised."""
        weights = [weight for group in self.weights for weight in group.detach()]
        return list(zip(weights, self.bias.detach(), strict=True))

    @property
    def merges_kernels(self) -> bool:
        """Whether "auto" may merge kernels larger than 1x1, which on a CPU is fastest in the channels-first layout."""
        return any(len(weight) > 1 and weight.shape[-1] > 1 for weight in self.weights)

    def forward(self, X: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        counts = [len(W) for W in self.weights]
        groups = zip(self.weights, a.split(counts, 1), self.bias.split(counts), strict=True)
        sums = []
        for W, a_group, bias in groups:  # only kernels of the same size are merged
            form = choose_form(X, W) if self.form == "auto" else FORMS[self.form]
            sums.append(form(X, a_group, W, bias))
        return functools.reduce(torch.add, sums)

    def extra_repr(self):
        return f"{self.in_channels}, {self.out_channels}, kernel_sizes={self.kernel_sizes}"


def set_form(net: nn.Module, form: str) -> nn.Module:
    """Set the form of every gated convolution in a network; return the network."""
    for layer in net.modules():
        if isinstance(layer, GatedConv):
            _check(layer.kernel_sizes, form)
            layer.form = form
    return net


def loop(X, a, W, bias, convolve=same_convolution):
    """Convolve k times and add, term by term as in the formula; the reference for the other forms."""
    branches = zip(a.unbind(1), W, bias, strict=True)
    return weighted_sum((a_j, convolve(X, W_j, b)) for a_j, W_j, b in branches)


def fast_loop(X, a, W, bias):
    """Compute the loop with a convolution that is faster on small maps."""
    return loop(X, a, W, bias, convolve=fast_convolution)


def scaled(X, a, W, bias):
    """Scale the input k times and convolve once: convolving is linear, so a_j may be applied before it."""
    # The copies in the channels-last layout, in which a GPU convolves fastest.
    pixels = X.permute(0, 2, 3, 1).unsqueeze(3)
    copies = (a[:, None, None, :, None].to(X.dtype) * pixels).flatten(3).permute(0, 3, 1, 2)
    kernels = W.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    total = F.conv2d(copies, kernels, padding=W.shape[-1] // 2)
    return total + (a @ bias)[:, :, None, None]


def aggregated(X, a, W, bias):
    """Add the kernels, one sum for each image, and convolve each image once with its own."""
    if W.shape[-1] == 1:
        return _multiply_each(X, a, W.flatten(2), bias)
    # On a CPU a few images at a time: small blocks of memory are reused, but a large one would be requested from the
    # operating system in every training step, which takes longer than the convolution.
    size = len(X) if X.is_cuda else max(1, CPU_KERNELS // W[0].numel())
    chunks = zip(X.split(size), a.split(size), strict=True)
    outputs = [_convolve_each(X_chunk, a_chunk, W, bias) for X_chunk, a_chunk in chunks]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _convolve_each(X, a, W, bias):
    count, _, height, width = X.shape
    kernels = (a @ W.flatten(1)).view(-1, *W.shape[2:])  # (count * out, in, size, size): one set for each image
    X = X.reshape(1, -1, height, width)  # the images side by side, as groups of channels
    total = F.conv2d(X, kernels, (a @ bias).flatten(), padding=W.shape[-1] // 2, groups=count)
    return total.view(count, -1, height, width)


def _multiply_each(X, a, W, bias):
    """Convolve each image with its own 1x1 kernel: one matrix product for each image."""
    count, channels, height, width = X.shape
    kernels = (a @ W.flatten(1)).view(count, -1, channels)
    pixels = X.permute(0, 2, 3, 1).flatten(1, 2)
    total = torch.baddbmm((a @ bias).unsqueeze(1), pixels, kernels.transpose(1, 2))
    return total.view(count, height, width, -1).permute(0, 3, 1, 2)


FORMS = {"loop": loop, "scaled": scaled, "aggregated": aggregated}


def weighted_sum(weighted_maps):
    """Return the sum of a_j * Y_j for pairs of a weight (B,) and a map (B, C, H, W), in the precision of the maps.

    Under autocast a softmax returns float32, and the product of float32 with a map would be float32 too.
    """
    return functools.reduce(torch.add, (a_j.view(-1, 1, 1, 1).to(Y.dtype) * Y for a_j, Y in weighted_maps))


def choose_form(X, W):
    """Return the function that was fastest for these shapes in tools/bench/gated_conv.py."""
    branches, kernel_size = len(W), W.shape[-1]
    if branches == 1:
        return fast_loop
    pixels = X.shape[2] * X.shape[3]  # making a kernel for each image pays off if the image has many pixels
    if X.device.type == "cpu":
        return aggregated if pixels >= (100 if kernel_size == 1 else 64) else fast_loop
    if kernel_size > 1:  # grouped convolutions are slow on a GPU; 1x1 kernels need matrix products instead
        return scaled
    return aggregated if 4 * pixels >= X.shape[1] else fast_loop


def _check(kernel_sizes, form):
    if not kernel_sizes or any(not isinstance(size, int) or size < 1 or size % 2 == 0 for size in kernel_sizes):
        raise CourseworkError(
            "A gated convolution needs one odd kernel size for each branch.",
            where=f"kernel_sizes={kernel_sizes}",
            next_step="Give a tuple such as (3, 3, 3). Even sizes cannot keep height and width.",
        )
    if form != "auto" and form not in FORMS:
        raise CourseworkError(
            f"There is no form {form!r} of the gated convolution.",
            where=f"form={form!r}",
            next_step="Choose auto, " + ", ".join(FORMS) + ".",
        )
