"""The gated block: k branches, with weights that a gate computes for each image. Each part can be any nn.Module.

block = GatedBlock(3, 64, kernel_sizes=(3, 3, 3))
O = block(X)                                                  # (B, 3, H, W) to (B, 64, H, W)
O = GatedBlock(3, 64, after=nn.Sequential(nn.BatchNorm2d(64), nn.ReLU()))(X)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models.gated import GatedConv, weighted_sum


class GatedBlock(nn.Module):
    """Compute O = after(a_1 branch_1(X) + ... + a_k branch_k(X) + shortcut(X)), where a = gate(X) has the shape (B, k).

    gate: a module that returns the weights a, shape (B, k). Default: average pooling, a linear layer and a softmax.
    branches: a list of modules, or one module that is called with (X, a). Default: a GatedConv with kernel_sizes, which
        are (3, 3, 3) by default.
    shortcut: a module (nn.Identity() adds X itself) or None. after: a module that is applied to the sum, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int] | None = None,
        *,
        gate: nn.Module | None = None,
        branches: nn.Module | Iterable[nn.Module] | None = None,
        shortcut: nn.Module | None = None,
        after: nn.Module | None = None,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        if branches is None:
            kernel_sizes = (3, 3, 3) if kernel_sizes is None else kernel_sizes
        elif kernel_sizes is not None:
            what = "The branches are either made with kernel_sizes or given as branches, but not both."
            raise CourseworkError(what, where=f"kernel_sizes={kernel_sizes}", next_step="Leave one of the two out.")
        elif type(branches) is nn.ModuleList or not isinstance(branches, nn.Module):
            branches = Branches(branches)
        if gate is None:
            gate = make_gate(in_channels, k=len(kernel_sizes if branches is None else branches))
        self.gate = gate
        self.branches = GatedConv(in_channels, out_channels, kernel_sizes) if branches is None else branches
        self.shortcut = shortcut
        self.after = after

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        a = self.gate(X)  # (B, k): the weight of each branch for each image
        O = self.branches(X, a)  # noqa: E741  (the formula's own letter)
        if self.shortcut is not None:
            O = O + self.shortcut(X)  # noqa: E741
        return O if self.after is None else self.after(O)


def make_gate(
    in_channels: int, k: int, activation: nn.Module | None = None, hidden: int | None = None
) -> nn.Sequential:
    """Return the assignment's gate, a = g(mean of X, times W): (B, in_channels, H, W) to (B, k). g is a softmax.

    With hidden, it is an MLP: a linear layer with this number of outputs and a ReLU come first.
    """
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if hidden is not None:
        gate.extend([nn.Linear(in_channels, hidden), nn.ReLU()])
        in_channels = hidden
    gate.append(nn.Linear(in_channels, k))
    return gate.append(nn.Softmax(dim=1) if activation is None else activation)


class ConstantGate(nn.Module):
    """A gate that ignores the image: each of the k branches has the weight 1/k. It is used for comparisons."""

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X.new_full((len(X), self.k), 1 / self.k)

    def extra_repr(self):
        return f"{self.k}"


class BlindGate(nn.Sequential):
    """A gate that learns weights, but cannot see the image: ones take the place of the mean of X. For comparisons."""

    def __init__(self, in_channels: int, k: int):
        super().__init__(nn.Linear(in_channels, k), nn.Softmax(dim=1))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return super().forward(X.new_ones(X.shape[:2]))


class Branches(nn.ModuleList):
    """Compute a_1 branch_1(X) + ... + a_k branch_k(X) for branches of any kind."""

    def __init__(self, branches: Iterable[nn.Module]):
        super().__init__(branches)
        if not len(self):
            raise CourseworkError("A gated block needs at least one branch.", next_step="Give a list of modules.")

    def forward(self, X: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return weighted_sum((a_j, branch(X)) for a_j, branch in zip(a.unbind(1), self, strict=True))


def conv(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution with padding, so that with stride 1 it keeps height and width."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)


def initialise(net: nn.Module, draw: Callable, kinds: tuple = (nn.Linear, nn.Conv2d, GatedConv)) -> nn.Module:
    """Initialise the weights of all layers of these kinds, e.g. with draw=nn.init.xavier_normal_; return the network.

    In a GatedConv, each branch's kernel is initialised separately, like an ordinary convolution. Biases and frozen
    weights are not changed.
    """
    for layer in net.modules():
        if not isinstance(layer, kinds):
            continue
        if isinstance(layer, GatedConv):
            weights = [kernel for group in layer.weights if group.requires_grad for kernel in group.detach()]
        else:
            weights = [layer.weight] if layer.weight.requires_grad else []
        for weight in weights:
            draw(weight)
    return net


def identity_kernel_(weight: torch.Tensor) -> torch.Tensor:
    """Initialise so that the first outputs copy the input channels; the weights of further outputs are not changed."""
    nn.init.dirac_(weight[: weight.shape[1]])
    return weight
