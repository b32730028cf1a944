"""Measures the training loop against a bare loop and against the course's original one, and what a checkpoint costs.

    python -m tools.bench.loop

"bare" is forward, backward and step and measures nothing: it is the limit. "course" does what `train_epoch_ch3` of the
d2l book (v0.17.6) does with a batch: it reads the loss and the number of right answers as Python numbers each time, so
that a GPU has to finish before the next batch is sent to it. "guarded" is `train_ch3`, which looks for NaN before each
step; "CUDA graph", on a GPU only, is the same with CUDA graphs, as in `make reproduce`. With small networks a
GPU waits for Python: there each operation that a loop launches counts, reading a number costs next to nothing, and a
CUDA graph is launched as one operation. All take turns in one process, on the same batches, which lie
ready. A checkpoint with Adam's state is written, synced and read back; where one a minute would take more than 2 % of
the time, fewer are written.
"""

from __future__ import annotations

import functools
import pathlib
import sys
import tempfile
import time

import torch
from torch import nn

from tools.bench._shared import Setting, Table, in_turns, main, median, note, ratio, seconds_of, span, turn_of
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.models import REPORTED_NETWORKS
from utils.my_utils import train_ch3, train_epoch_ch3
from utils.optim.optimizers import make_optimizer
from utils.runs.checkpoints import Checkpoints
from utils.training.state import LAST
from utils.training.step import Step

TITLE = "The loop"
SETTINGS = {
    "batch_size": Setting(64, 2, "images"),
    "seconds": Setting(1.0, 0.0, "of each turn, about, and one batch at least; on a GPU a third"),
    "repeats": Setting(5, 1, "turns of each loop"),
    "saves": Setting(3, 1, "checkpoints of each system"),
    "systems": Setting(0, 1, "how many systems save one, the smallest first; 0 is all"),
}
INTERVAL = 60.0  # seconds between two checkpoints, for the share that saving takes


def measure(device, settings):
    """Return {"loops", "checkpoints"}."""
    loops = [measure_loops(name, net, device, settings) for name, net in networks().items()]
    sizes = {name: sum(p.numel() for p in make().parameters()) for name, make in REPORTED_NETWORKS.items()}
    systems = sorted(REPORTED_NETWORKS, key=sizes.get)[: settings["systems"] or None]
    return {"loops": loops, "checkpoints": [measure_save(name, device, settings["saves"]) for name in systems]}


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
        "plain_cnn": REPORTED_NETWORKS["plain_cnn"](),
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


def guarded(net, data, loss, optimizer, device, step=None):
    train_ch3(net, data, None, loss, 1, optimizer, device, step=step or Step(), curves=False, record=False)


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


LOOPS = {"bare": bare, "ours": ours, "guarded": guarded, "course": course}
CUDA_GRAPH = "CUDA graph"


def measure_loops(name, net, device, settings):
    """Return a row with each loop's images per second in each turn."""
    net, loss = net.to(device), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    some = batches(10, settings["batch_size"], device)

    def train(loop, data):
        loop(net, data, loss, optimizer, device)

    train(bare, some[:1])  # warms up
    count = max(1, round(turn_of(settings, device) * len(some) / seconds_of(lambda: train(bare, some), device)))
    data = (some * (count // len(some) + 1))[:count]
    loops = LOOPS | (
        {CUDA_GRAPH: functools.partial(guarded, step=Step(cuda_graph=True))} if device.type == "cuda" else {}
    )
    ways = {way: lambda loop=loop: train(loop, data) for way, loop in loops.items()}
    seconds = in_turns(ways, settings["repeats"], device)
    rates = {way: [count * settings["batch_size"] / turn for turn in turns] for way, turns in seconds.items()}
    note(f"{name}: ours / bare {ratio(rates['ours'], rates['bare']):.3f}")
    return {"network": name, "images_per_s": rates}


def measure_save(name, device, saves):
    """Return a row with the size of a system's checkpoint, Adam's state included, and the seconds that saving takes."""
    net = REPORTED_NETWORKS[name]().to(device)
    optimizer = make_optimizer("adam", net, 1e-3)
    data = batches(1, 2, device)
    with tempfile.TemporaryDirectory() as folder:
        keeper = Checkpoints(folder, every=1e9)
        saver = _Saver(keeper, saves)
        train_ch3(
            net, data, None, nn.CrossEntropyLoss(), 1, optimizer, callbacks=[keeper, saver], curves=False, record=False
        )
        size = max(path.stat().st_size for path in pathlib.Path(folder).iterdir())
    note(f"{name}: saved in {median(saver.seconds):.2f} s")
    return {"system": name, "bytes": size, "seconds": saver.seconds}


class _Saver:
    """A callback that saves several times after the first batch, and notes how long each took."""

    order = LAST

    def __init__(self, keeper, repeats):
        self.keeper, self.repeats, self.seconds = keeper, repeats, []

    def after_epoch(self, training):
        for _ in range(self.repeats):
            begun = time.perf_counter()
            self.keeper.save(training)
            self.seconds.append(time.perf_counter() - begun)


def tables(record):
    loops, saves = [], []
    for row in record["loops"]:
        rates = row["images_per_s"]
        shares = [f"{ratio(rates[way], rates['bare']):.3f}" for way in _beside_bare(record)]
        loops.append((row["network"], f"{median(rates['bare']):,.0f}", *shares, f"{_over_course(row):.2f}"))
    for row in record["checkpoints"]:
        seconds = median(row["seconds"])
        saves.append(
            (row["system"], f"{row['bytes'] / 2**20:,.0f}", f"{seconds:.2f}", f"{100 * seconds / INTERVAL:.2f} %")
        )
    header = ("network", "bare, images/s", *(f"{way} / bare" for way in _beside_bare(record)), "ours / course")
    return [
        Table("Training, ratios of images/s, medians of the turns:", header, loops),
        Table("A checkpoint:", ("system", "MiB", "seconds", "at one a minute"), saves),
    ]


def _over_course(row):
    return ratio(row["images_per_s"]["ours"], row["images_per_s"]["course"])


def _beside_bare(record):
    """Return the ways of ours that a record has."""
    return [
        way for way in ("ours", "guarded", CUDA_GRAPH) if all(way in row["images_per_s"] for row in record["loops"])
    ]


def _over_bare(record, way="ours"):
    """Return how fast a loop is beside the bare one, for each network."""
    return [ratio(row["images_per_s"][way], row["images_per_s"]["bare"]) for row in record["loops"]]


def headlines(record):
    claims = {
        "ours": "`train_epoch_ch3` against a loop that measures nothing",
        "guarded": "`train_ch3` with its guards against that bare loop",
        CUDA_GRAPH: "`train_ch3` with guards and CUDA graphs, on a GPU, against that bare loop",
    }
    return {
        **{claims[way]: span(_over_bare(record, way), "{:.2f}") for way in _beside_bare(record)},
        "`train_epoch_ch3` against the course's original": span(
            [_over_course(row) for row in record["loops"]], "{:.2f}"
        ),
    }


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
