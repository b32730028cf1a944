"""Owns a training small enough for a test: images, loaders, a network with norm and dropout, an optimizer. No tests."""

import torch
from torch import nn

from utils.data.augment import Crop, Flip
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader


def images(count=100, size=8, seed=0):
    """Return a Split of noise that is brighter for the higher classes, so that something can be learned."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 100, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return Split(pixels + (labels * 15).to(torch.uint8).view(-1, 1, 1, 1), labels)


def parts(count=100, batch_size=24, lr=0.05, seed=0):
    """Return (net, train_iter, test_iter, optimizer), equal each time they are made."""
    train, test = images(count), images(60, seed=1)
    train_iter = BatchLoader(train, batch_size, augment=(Flip(), Crop(1)), shuffle=True, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(6 * 36, 10)
        )
    return net, train_iter, BatchLoader(test, 25), torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)


def same(one, other):
    """Tell whether two state dicts hold the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Note:
    """A callback that notes every event with the training's place."""

    def __init__(self):
        self.events = []

    def on_start(self, training):
        self.events.append(("start", training.epoch, training.batch))

    def after_batch(self, training):
        self.events.append(("batch", training.epoch, training.batch))

    def after_epoch(self, training):
        self.events.append(("epoch", training.epoch, training.batch))

    def on_end(self, training):
        self.events.append(("end", training.epoch, training.batch))


class StopAfter:
    """A callback that stops the training after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def after_batch(self, training):
        self.left -= 1
        training.stop = training.stop or self.left <= 0
