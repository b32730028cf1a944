"""Owns one small real training for the fault tests, with all that is random switched on, and what must come out equal.

    python victim.py FOLDER RESULT [--seed N] [--break-at EVENT]

trains in FOLDER, or goes on there, and writes what came out; it exits with 3 where it was told to break off.
"""

import argparse
import pathlib
import random
import sys

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))  # where it is started as a program of its own

from utils.data.augment import Crop, Flip
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.models import GatedBlock
from utils.my_utils import train_ch3
from utils.optim.losses import make_loss
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import make_schedule
from utils.runs.checkpoints import Checkpoints
from utils.training.average import Average
from utils.training.best_epoch import KeepBest
from utils.training.state import LAST, NORMAL
from utils.training.step import Step

BATCHES, BATCH_SIZE, EPOCHS = 5, 32, 2
EVENTS = (BATCHES + 1) * EPOCHS  # each batch, and each end of an epoch
SETTINGS = {"sgd": {"momentum": 0.9, "nesterov": True}}


def make_network(size):
    """Return one gated block with batch norm and dropout, and a linear layer on the whole map."""
    after = nn.Sequential(nn.BatchNorm2d(8), nn.LeakyReLU(), nn.Dropout(0.2))
    return nn.Sequential(GatedBlock(3, 8, (1, 3), after=after), nn.Flatten(), nn.Linear(8 * size**2, 10))


class Broken(Exception):
    """Ends a training as a failing line of the user's would."""


class Happenings:
    """A callback that calls `happen(training)` at one event: a batch or the end of an epoch, counted from 1."""

    def __init__(self, event, happen, order=LAST):
        self.event, self.happen, self.order = event, happen, order

    def after_batch(self, training):
        self._at(training, training.epoch * (BATCHES + 1) + training.batch)

    def after_epoch(self, training):
        self._at(training, training.epoch * (BATCHES + 1))

    def _at(self, training, event):
        if event == self.event:
            self.happen(training)


class Noise:
    """A callback that shakes a bias with Python's and NumPy's generators, so that both of them count, too."""

    def after_batch(self, training):
        with torch.no_grad():
            list(training.net.parameters())[-1].add_(1e-3 * random.random() + 1e-3 * float(np.random.rand()))


def break_at(event):
    """Break a training off by an exception, right after the checkpoint of this event."""

    def fail(training):
        raise Broken(f"at event {event}")

    return Happenings(event, fail)


def stop_at(event):
    """Stop a training as an interrupt does, at this event."""
    return Happenings(event, lambda training: setattr(training, "stop", True), order=NORMAL)


def images(count, size=8, seed=0):
    """Make a Split of noisy images of ten patterns."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    patterns = torch.randint(0, 256, (10, 3, size, size), generator=torch.Generator().manual_seed(0))
    noise = torch.randint(-150, 151, (count, 3, size, size), generator=generator)
    return Split((patterns[labels] + noise).clamp(0, 255).to(torch.uint8), labels)


def make_loader(kind, device):
    """Make the training images' loader: BatchLoader on the device, or torch's plain DataLoader."""
    count, augment = BATCHES * BATCH_SIZE - 7, (Flip(), Crop(2))  # the last batch is smaller
    if kind == "device":
        return BatchLoader(images(count), BATCH_SIZE, augment=augment, shuffle=True, seed=3, device=device)
    split = images(count)
    return DataLoader(TensorDataset(split.images / 255, split.labels), BATCH_SIZE, shuffle=True)


class Victim:
    """A training that is all new: other weights and generators than the last one, until a checkpoint puts them right.

    Its checkpoints are written at each event, as no save is ever early or late for an interval of 0.
    """

    def __init__(
        self,
        folder=None,
        seed=0,
        *,
        optimizer="sgd",
        precision="fp32",
        cuda_graph=False,
        loader="device",
        epochs=EPOCHS,
        device="cpu",
        **how,
    ):
        for seeded in (torch.manual_seed, random.seed, np.random.seed):
            seeded(seed)
        self.train_iter = make_loader(loader, device)
        size = 32 if isinstance(loader, int) else 8
        self.val_iter = BatchLoader(images(40, size, seed=1), BATCH_SIZE, device=device)
        self.net, self.epochs, self.device = make_network(size).to(device), epochs, device
        self.optimizer = make_optimizer(optimizer, self.net, 0.05, **SETTINGS.get(optimizer, {}))
        self.schedule = make_schedule("one_cycle", self.optimizer, num_epochs=EPOCHS, batches=BATCHES)
        self.step = Step(precision, clip_norm=1.0, cuda_graph=cuda_graph)
        self.average, self.best = Average(0.8), KeepBest()
        self.checkpoints = Checkpoints(folder, **{"every": 0.0, **how}) if folder else None

    def train(self, *callbacks):
        """Train, or go on; return what came out."""
        callbacks = [self.average, self.best, self.schedule, Noise(), *callbacks]
        callbacks += [self.checkpoints] if self.checkpoints else []
        about = {"step": self.step, "callbacks": callbacks, "watched": "val", "curves": False, "every": 2}
        loss = make_loss("cross_entropy")
        self.history = train_ch3(self.net, self.train_iter, self.val_iter, loss, self.epochs, self.optimizer, **about)
        return self.result()

    def result(self):
        """Return all that two trainings can differ in; only the seconds are left out."""
        return {
            "net": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": dict(self.average.net.state_dict()),
            "best": {"row": timeless([self.best.row or {}])[0], "weights": self.best.weights},
            "step": self.step.state_dict(),
            "rows": timeless(self.history.rows),
            "points": self.history.points,
            "random": [torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()],
            "gpu": torch.cuda.get_rng_state() if self.device == "cuda" else None,
        }


def timeless(rows):
    """Return the rows of a history without the seconds."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def differences(a, b, place="result"):
    """List where two results are not the same to the last bit."""
    if type(a) is not type(b):
        return [f"{place}: {type(a).__name__} and {type(b).__name__}"]
    if isinstance(a, dict):
        own = [f"{place}.{name}: only in one" for name in a.keys() ^ b.keys()]
        return own + [line for name in a.keys() & b.keys() for line in differences(a[name], b[name], f"{place}.{name}")]
    if isinstance(a, (list, tuple)):
        own = [f"{place}: {len(a)} and {len(b)} long"] if len(a) != len(b) else []
        return own + [
            line for i, (x, y) in enumerate(zip(a, b, strict=False)) for line in differences(x, y, f"{place}.{i}")
        ]
    if isinstance(a, torch.Tensor):
        a, b = a.cpu(), b.cpu()  # what a checkpoint held may be on the CPU
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    return [] if a == b else [place]


def main(words):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("result")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--break-at", type=int, default=0)
    args = parser.parse_args(words)
    torch.set_num_threads(1)  # threads cost more than they gain on images as small as these
    victim = Victim(args.folder, args.seed)
    try:
        torch.save(victim.train(break_at(args.break_at)), args.result)
    except Broken:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
