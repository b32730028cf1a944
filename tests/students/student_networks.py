"""Networks as students bring them: none of them knows the suite, and none shares code with it."""

import torch
import torchvision
from torch import nn


class OwnGate(nn.Module):
    """A network with a gate of its own making, typed by somebody who read the assignment and nothing else."""

    def __init__(self, k=2, width=6):
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(12, k), nn.Softmax(1))
        self.experts = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for _ in range(k))
        self.classify = nn.Linear(width, 10)

    def forward(self, images):
        weights = self.gate(images)
        maps = torch.stack([expert(images) for expert in self.experts], dim=1)
        mixed = (weights[:, :, None, None, None] * maps).sum(1)
        return self.classify(torch.relu(mixed).mean((2, 3)))


class FedGate(nn.Module):
    """A block whose gate is fed by another layer's output, inside a network that calls it."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(4, 3)
            self.paths = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3))

        def forward(self, X, summary):
            a = self.gate(summary).sigmoid()
            return sum(a[:, j, None, None, None] * path(X) for j, path in enumerate(self.paths))

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.block = self.Block()
        self.head = nn.Linear(4, 10)

    def forward(self, X):
        X = self.stem(X)
        X = self.block(X, X.mean((2, 3)))
        return self.head(X.mean((2, 3)))


class Lazy(nn.Module):
    """A network whose layers learn their input shapes from the first batch."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten())
        self.head = nn.LazyLinear(10)

    def forward(self, X):
        return self.head(self.body(X))


def dropout_net(p=0.3):
    """A network with dropout, as a function."""
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Dropout2d(p), nn.Flatten(), nn.Dropout(p), nn.LazyLinear(10))


def resnet18():
    """torchvision's, for ten classes."""
    return torchvision.models.resnet18(num_classes=10)


def small_images(num_classes=10):
    """A network that is told how many classes there are."""
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))


KINDS = {  # name: (callable, settings of the network, further fields of the recipe)
    "own gate": (OwnGate, {"k": 2}, {}),
    "fed gate": (FedGate, {}, {}),
    "lazy layers": (Lazy, {}, {}),
    "dropout": (dropout_net, {}, {"optimizer": "adamw"}),
    "torchvision": (resnet18, {}, {"batch_size": 64}),
    "averaged weights": (OwnGate, {"k": 3}, {"average": 0.9}),
}
