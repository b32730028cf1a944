"""Measures the training loop against a bare loop and against the course's original one, and what a checkpoint costs.

    python -m benchmarks.loop [--json PATH]

"bare" is forward, backward and step and measures nothing. "course" does what train_epoch_ch3 of the d2l book (v0.17.6)
does with a batch: it reads the loss and the number of right answers as Python numbers each time, so that a GPU has to
finish before the next batch is sent to it. All take turns in one process, on the same batches.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import torch
from torch import nn

from utils.checkpoints import Checkpoints
from utils.datasets import Split
from utils.devices import describe, try_gpu
from utils.loaders import BatchLoader
from utils.my_utils import train_ch3, train_epoch_ch3
from utils.nets import build
from utils.optimizers import make_optimizer
from utils.plans import NETWORKS
from utils.steps import Step

INTERVAL = 60.0  # seconds between two checkpoints, for the share that saving takes


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn, about")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", metavar="PATH", help="write the record here")
    args = parser.parse_args(argv)
    device = try_gpu()
    print(f"{describe(device)}\nimages/s of training, batches of {args.batch_size}, median of {args.repeats} turns\n")
    print(f"| network | {' | '.join(LOOPS)} | ours / bare | ours / course |\n|---|" + "---:|" * (len(LOOPS) + 2))
    loops = [measure_loops(name, net, device, args) for name, net in networks().items()]
    print("\n| system | checkpoint, MiB | saved in, s | share at one a minute |\n|---|---:|---:|---:|")
    saves = [measure_save(name, device, args) for name in NETWORKS]
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name != "json"}
        record = {"machine": describe(device), "settings": settings, "loops": loops, "checkpoints": saves}
        pathlib.Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


def networks():
    """Return {name: network}: two that a batch passes in no time, where the loop itself would show, and a real one."""
    torch.manual_seed(0)
    return {
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
        "small CNN": nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, 10),
        ),  # fmt: skip
        "plain_cnn": build(NETWORKS["plain_cnn"]),
    }


def batches(count, batch_size, device):
    """Return a list of batches that lie on the device already, so that no loader is measured."""
    images = torch.randint(0, 256, (count * batch_size, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (count * batch_size,))
    return list(BatchLoader(Split(images, labels), batch_size, device=device))


def bare(net, data, loss, optimizer, device):
    net.train()
    for X, y in data:
        optimizer.zero_grad()
        loss(net(X), y).backward()
        optimizer.step()


def ours(net, data, loss, optimizer, device):
    train_epoch_ch3(net, data, loss, optimizer, device)


def ours_in_full(net, data, loss, optimizer, device):
    train_ch3(net, data, None, loss, 1, optimizer, device, step=Step(), curves=False, record=False)


def course(net, data, loss, optimizer, device):
    net.train()
    sums = [0.0, 0.0, 0.0]
    for X, y in data:
        y_hat = net(X)
        value = loss(y_hat, y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        right = float((y_hat.argmax(axis=1).type(y.dtype) == y).type(y.dtype).sum())
        sums = [a + b for a, b in zip(sums, (value.item() * len(y), right, y.numel()), strict=True)]


# "guarded" is train_ch3 with a Step that looks at loss and gradient before each step.
LOOPS = {"bare": bare, "ours": ours, "ours, guarded": ours_in_full, "course": course}


def measure_loops(name, net, device, args):
    """Return a row with each loop's images per second in each turn."""
    net, loss = net.to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    data = batches(10, args.batch_size, device)
    once = _timed(bare, net, data, loss, optimizer, device)
    once = _timed(bare, net, data, loss, optimizer, device)  # the first one warmed up
    data = (data * (int(args.seconds / once) + 1))[: max(10, int(10 * args.seconds / once))]
    rates = {loop: [] for loop in LOOPS}
    for repeat in range(args.repeats):
        for loop in list(LOOPS)[:: 1 if repeat % 2 else -1]:
            seconds = _timed(LOOPS[loop], net, data, loss, optimizer, device)
            rates[loop].append(len(data) * args.batch_size / seconds)
    row = {"network": name, "images_per_second": rates}
    print(f"| {name} | {' | '.join(summary(row))} |")
    return row


def summary(row):
    """Return a row's cells as they are printed: each loop's median, then the two ratios."""
    middle = {loop: statistics.median(values) for loop, values in row["images_per_second"].items()}
    ratios = [f"{middle['ours'] / middle['bare']:.3f}", f"{middle['ours'] / middle['course']:.2f}"]
    return [f"{value:,.0f}" for value in middle.values()] + ratios


def save_summary(row):
    """Return a checkpoint's cells as they are printed: MiB, seconds, and their share of a minute."""
    seconds = statistics.median(row["seconds"])
    return [f"{row['bytes'] / 2**20:,.0f}", f"{seconds:.2f}", f"{100 * seconds / INTERVAL:.2f} %"]


def measure_save(name, device, args):
    """Return a row with the size of a system's checkpoint, Adam's state included, and the seconds that saving takes."""
    net = build(NETWORKS[name]).to(device)
    optimizer = make_optimizer("adam", net, 1e-3)
    data = batches(1, 2, device)
    with tempfile.TemporaryDirectory() as folder:
        keeper = Checkpoints(folder, every=1e9)
        saver = _Saver(keeper, args.repeats)
        train_ch3(
            net, data, None, nn.CrossEntropyLoss(), 1, optimizer, watchers=[keeper, saver], curves=False, record=False
        )
        size = max(path.stat().st_size for path in pathlib.Path(folder).iterdir())
    row = {"system": name, "bytes": size, "seconds": saver.seconds}
    print(f"| {name} | {' | '.join(save_summary(row))} |")
    return row


class _Saver:
    """A watcher that saves several times after the first batch, and notes how long each took."""

    order = 2

    def __init__(self, keeper, repeats):
        self.keeper, self.repeats, self.seconds = keeper, repeats, []

    def after_epoch(self, training):
        for _ in range(self.repeats):
            begun = time.perf_counter()
            self.keeper.save(training)
            self.seconds.append(time.perf_counter() - begun)


def _timed(loop, net, data, loss, optimizer, device):
    begun = time.perf_counter()
    loop(net, data, loss, optimizer, device)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
