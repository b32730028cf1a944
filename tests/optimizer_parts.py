"""What the tests of optimizers share: small networks, a small task, and optimizers that step along equal gradients."""

import torch
from torch import nn

from utils.models.gated import GatedConv
from utils.my_utils import train_batch


class Gated(nn.Module):
    """A gated convolution with its gate, a norm and two linear layers."""

    def __init__(self):
        super().__init__()
        self.gate, self.conv = nn.Linear(3, 4), GatedConv(3, 8, (3, 3, 1, 1))
        self.norm, self.hidden, self.last = nn.BatchNorm2d(8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, X):
        X = self.norm(self.conv(X, self.gate(X.mean((2, 3))).softmax(1))).relu()
        return self.last(self.hidden(X.mean((2, 3))).relu())


def plain_net():
    conv = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(4)
    return nn.Sequential(*conv, nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))


def seeded(make):
    torch.manual_seed(0)
    return make()


def toy(count=64):
    """Return images of four classes, told apart by a pattern under noise."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(count) % 4
    patterns = torch.randn(4, 3, 12, 12, generator=generator)
    return patterns[y] + torch.randn(count, 3, 12, 12, generator=generator), y


def train(net, optimizer, steps):
    X, y = toy()
    return [float(train_batch(net, X, y, nn.CrossEntropyLoss(), optimizer)[0]) for _ in range(steps)]


def random_matrices(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def step_alike(optimizers, parameters, steps):
    """Let several optimizers step their own parameters along the same random gradients."""
    copies = list(zip(*parameters, strict=True))
    for seed in range(steps):
        generator = torch.Generator().manual_seed(seed)
        for alike in copies:
            gradient = torch.randn(alike[0].shape, generator=generator)
            for parameter in alike:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
