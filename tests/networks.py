"""Small networks that several tests train, draw, count or record."""

import time

from torch import nn

from utils.models import GatedBlock


def small_cnn(channels: int = 8, num_classes: int = 10) -> nn.Module:
    """Return one convolution with batch norm, ReLU and max-pooling, and a linear layer on the mean of the map."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, num_classes),
    )


def small_gated(channels: tuple = (6, 8), num_classes: int = 10) -> nn.Module:
    """Return two gated blocks, the first of which halves the map, and a linear layer on the mean of the map."""
    c, d = channels
    net = nn.Sequential()
    net.add_module("block1", GatedBlock(3, c, after=nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.MaxPool2d(2))))
    net.add_module("block2", GatedBlock(c, d, after=nn.Sequential(nn.BatchNorm2d(d), nn.ReLU())))
    return net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, num_classes)])


def bare_cnn(channels: int = 8, num_classes: int = 10) -> nn.Module:
    """Return a convolution, a ReLU and a linear layer on the mean of the map: nothing keeps it from diverging."""
    layers = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))


class PacedCNN(nn.Module):
    """A small network that takes some time for each batch, so that a kill finds it in mid-training."""

    def __init__(self, channels: int = 4, seconds: float = 0.05, num_classes: int = 10):
        super().__init__()
        self.seconds, self.net = seconds, bare_cnn(channels, num_classes)

    def forward(self, X):
        if self.training and X.device.type != "meta":
            time.sleep(self.seconds)
        return self.net(X)
