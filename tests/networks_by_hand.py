"""Networks as somebody else might write them, without anything from utils."""

import torch
from torch import nn


class NetByHand(nn.Module):
    """Two branches in a ModuleList, weighed by a gate that is fed by another layer's output."""

    def __init__(self, in_channels=3, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.gate = nn.Linear(4, 2)
        self.branches = nn.ModuleList([nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1)])
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(6, num_classes)

    def forward(self, X):
        H = self.stem(X).relu()
        a = self.gate(H.mean((2, 3))).softmax(1)
        total = sum(a[:, j].view(-1, 1, 1, 1) * branch(H) for j, branch in enumerate(self.branches))
        return self.head(self.dropout(total.mean((2, 3))))


class Gated(nn.Module):
    """Convolutions of these sizes that are weighed by a gate, and what follows their sum."""

    def __init__(self, inside, out, sizes, *after, activation=None):
        super().__init__()
        activation = activation or nn.Softmax(1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, len(sizes)), activation)
        self.branches = nn.ModuleList(nn.Conv2d(inside, out, size, padding=size // 2) for size in sizes)
        self.after = nn.Sequential(*after)

    def forward(self, X):
        a = self.gate(X)
        return self.after(sum(a[:, j, None, None, None] * branch(X) for j, branch in enumerate(self.branches)))


class Wrapper(nn.Module):
    """A network inside a network, which scales its scores."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, X):
        return 2 * self.net(X)


def lazy_net():
    """Return a network whose layers learned their numbers of inputs from a first batch."""
    net = nn.Sequential(nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10))
    net(torch.randn(2, 3, 32, 32))
    return net
