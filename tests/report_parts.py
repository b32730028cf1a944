"""A made-up run as files, for the tests of the report: record, network, metrics, faults and evaluation."""

from __future__ import annotations

import copy
import json

from utils.data.loader import MEAN, STD
from utils.data.sources import CLASSES
from utils.files import write_json
from utils.runs.run import Run

OFFICIAL = {"name": "CIFAR-10", "source": "official", "checksum": "0123456789abcdef"}
SYNTHETIC = {"name": "synthetic images", "source": "synthetic", "checksum": "f7b7b2588362a7e4"}
COPIES = {"name": "JPEG copies of CIFAR-10", "source": "image folder", "checksum": "5fa07619f930ebf0"}
RECIPE = {
    "name": "gated_small",
    "network": "gated_net",
    "network_settings": {"channels": [3, 24, 48, 96]},
    "augment": [{"Flip": {"p": 0.5}}, {"Crop": {"padding": 4, "mode": "zero"}}],
    "mean": list(MEAN),
    "std": list(STD),
    "batch_size": 150,
    "loss": "cross_entropy",
    "loss_settings": {"label_smoothing": 0.1},
    "optimizer": "adamw",
    "lr": 1e-3,
    "optimizer_settings": {"weight_decay": 5e-4},
    "schedule": "one_cycle",
    "schedule_settings": {},
    "clip_norm": 1.0,
    "clip_value": None,
    "average": 0.98,
    "num_epochs": 30,
}
PLAIN = {**RECIPE, "name": "plain_cnn", "network": "plain_cnn", "network_settings": {}, "augment": []}


def layer(name, kind, text, shape, parameters=0, macs=0, gated=None):
    """Return one entry of a network summary's layers."""
    values = {"name": name, "kind": kind, "text": text, "shape": list(shape)}
    return values | {"parameters": parameters, "macs": macs, "gated": gated}


def gated_layer(number, channels, size, **changes):
    """Return the entry of a gated block with three branches."""
    gated = {
        "k": 3,
        "gate": "mean over the map, linear 3, softmax",
        "branches": "conv 3x3, ReLU",
        "shortcut": None,
        "after": "batch norm, leaky ReLU, max pool 2",
        "channels": list(channels),
        "steps": 1,
    } | changes
    weights = 27 * channels[0] * channels[1]
    shape = (channels[-1], size, size)
    return layer(f"block{number}", "gated", "gated block", shape, weights, 4 * weights * size * size, gated)


def network(layers=None, **changes):
    """Return a network.json: by default of our gated network with three blocks."""
    own = [
        *(gated_layer(i, channels, 32 // 2**i) for i, channels in enumerate(((3, 24), (24, 48), (48, 96)), 1)),
        layer("mean", "pool", "mean over the map", (96,)),
        layer("classifier", "linear", "linear 10", (10,), 970, 960),
    ]
    layers = own if layers is None else layers
    return {
        "class": "GatedNet",
        "path": "utils.models.our_networks.GatedNet",
        "settings": {"channels": [3, 24, 48, 96]},
        "printed": "GatedNet()",
        "source": None,
        "input": [3, 32, 32],
        "parameters": sum(entry["parameters"] for entry in layers),
        "macs": sum(entry["macs"] for entry in layers),
        "layers": layers,
    } | changes


def plain_network(**changes):
    """Return the network.json of a network that a student typed in a notebook, without a gated block."""
    layers = [
        layer("0", "conv", "conv 3x3, 16 channels", (16, 32, 32), 448, 442_368),
        layer("1", "activation", "ReLU", (16, 32, 32)),
        layer("2", "pool", "max pool 2", (16, 16, 16)),
        layer("3", "other", "flatten", (4096,)),
        layer("4", "linear", "linear 10", (10,), 40_970, 40_960),
    ]
    source = "class MyNet(nn.Module):\n    def forward(self, X):\n        return self.layers(X)\n"
    about = {"class": "MyNet", "path": "__main__.MyNet", "settings": {}, "source": source}
    about["printed"] = "MyNet(\n  (layers): Sequential(...)\n)"
    return network(**{"layers": layers, **about, **changes})


def record(made_by=RECIPE, **changes):
    """Return the run.json of a whole training on CIFAR-10 with a validation split."""
    return {
        "format": 1,
        "system": made_by["name"],
        "created": "2026-11-21T15:40:02+00:00",
        "recipe": copy.deepcopy(made_by),
        "settings": {"optimizer": "Adam", "lr": made_by["lr"], "batch_size": made_by["batch_size"]},
        "data": OFFICIAL,
        "images": 45000,
        "protocol": "validation",
        "watched": "val",
        "seed": 0,
        "effort": "full",
        "precision": "fp32",
        "num_epochs": made_by["num_epochs"],
        "batches": 300,
        "parameters": 1_234_567,
        "device": "CPU with 2 cores, torch 2.15.0",
        "torch": "2.15.0",
        "python": "3.11.7",
        "git": {"commit": "abc1234", "changed": False},
        "attempts": [{"begun": "2026-11-21T15:40:02+00:00", "from": [0, 0], "how": "finished"}],
        "state": "finished",
        "seconds": 3661.0,
        "unsaved": None,
    } | changes


def record_by_hand(**changes):
    """Return the run.json of a training by train_ch3, with what is known of it."""
    settings = {"optimizer": "SGD", "lr": 0.1, "loss": "CrossEntropyLoss", "batch_size": 64}
    about = {"system": "training", "settings": settings, "recipe": None, "state": "finished", "num_epochs": 3}
    return about | {"images": 100, "watched": "val", "parameters": 1234} | changes


def metrics(epochs=30, watched="val"):
    """Return metrics lines: a loss that falls, and a watched accuracy that is best in the last epoch but one."""
    lines = [{"attempt": 1, "from": [0, 0.0]}]
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        lines.append({"point": [epoch - 0.5, 2.3 - 2 * share, 5e-4]})
        accuracy = 0.82 if epoch == epochs - 1 else 0.3 + 0.5 * share
        figures = {"train_loss": 2.3 - 2 * share, "train_acc": 0.2 + 0.75 * share}
        figures |= {f"{watched}_loss": 2.2 - 1.5 * share, f"{watched}_acc": accuracy}
        lines.append({"epoch": epoch, **figures, "lr": 5e-4, "seconds": 120.0 * epoch})
    return lines


def evaluation(right=840, images=10_000, classes=CLASSES, **changes):
    """Return an evaluation.json in which `right` of each thousand images are right, the rest the next class."""
    n = len(classes)
    each = images // n
    right = right * each // 1000
    confusion = [[right * (i == j) + (each - right) * (j == (i + 1) % n) for j in range(n)] for i in range(n)]
    share = right / each
    calibration = {"edges": [0.0, 0.5, 1.0], "count": [0, images], "confidence": [None, 0.9], "accuracy": [None, share]}
    damaged = {"strengths": [0, 2, 8], "accuracy": [share, share - 0.1, share - 0.2]}
    return {
        "when": "2026-11-21T16:50:00+00:00",
        "checkpoint": None,
        "data": OFFICIAL,
        "images": images,
        "accuracy": share,
        "interval": [share - 0.007, share + 0.007],
        "loss": 0.5,
        "top": {"1": share, "2": 0.93, "5": 0.99},
        "classes": list(classes),
        "confusion": confusion,
        "per_class": {name: [share] * n for name in ("precision", "recall", "f1")},
        "calibration": calibration | {"ece": abs(0.9 - share)},
        "mistakes": [{"row": 4321, "label": 0, "predicted": 1, "confidence": 0.987}],
        "views": {"plain": share, "flip": share + 0.01},
        "gates": {f"block{i}": [[0.2, 0.3, 0.5]] * (n - 1) + [[0.1, 0.3, 0.6]] for i in (1, 2, 3)},
        "robustness": {"images": 500, "shift": damaged, "noise": damaged, "jpeg": damaged},
    } | changes


def fake_run(folder, about=None, lines=None, tested=None, faults=(), words=None, net=None):
    """Write a run's folder and return its Run; without arguments a finished run of a gated network.

    tested={} leaves out the evaluation, net={} the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = copy.deepcopy(record() if about is None else about)
    write_json(folder / "run.json", about | {"run": folder.name})
    lines = metrics(about.get("num_epochs") or 3) if lines is None else lines
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "faults.jsonl").write_text("".join(json.dumps(fault) + "\n" for fault in faults))
    for name, value, default in (("evaluation", tested, evaluation), ("network", net, network)):
        value = default() if value is None else value
        if value:
            write_json(folder / f"{name}.json", value)
    for name, text in (words or {}).items():
        (folder / "words").mkdir(exist_ok=True)
        (folder / "words" / name).write_text(text, encoding="utf-8")
    return Run(folder)
