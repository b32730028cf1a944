"""Owns a finished run as files, made up for the tests of the report: record, metrics, faults, evaluation. No tests."""

from __future__ import annotations

import copy
import json

from utils.data.sources import CLASSES
from utils.files import write_json
from utils.recipes import SYSTEMS, Recipe
from utils.runs.run import Run

ENDS = ("norm", "leaky_relu", "pool 2")
OFFICIAL = {"name": "CIFAR-10", "source": "official", "fingerprint": "0123456789abcdef"}
DRAWN = {"name": "drawn images", "source": "drawn", "fingerprint": "f7b7b2588362a7e4"}
COPIES = {"name": "JPEG copies of CIFAR-10", "source": "image folder", "fingerprint": "5fa07619f930ebf0"}


def record(system="plain_cnn", **changes):
    """Return a run.json of a whole, honest training on CIFAR-10 of a system by its name, or of a Recipe."""
    recipe = system if isinstance(system, Recipe) else SYSTEMS[system]
    epochs = recipe.num_epochs
    return {
        "format": 1,
        "system": recipe.name,
        "created": "2026-11-21T15:40:02+00:00",
        "recipe": json.loads(json.dumps(recipe.describe())),
        "settings": {"optimizer": "Adam", "lr": recipe.lr, "batch_size": recipe.batch_size},
        "data": OFFICIAL,
        "images": 45000,
        "protocol": "honest",
        "watched": "val",
        "seed": 0,
        "budget": "full",
        "precision": "fp32",
        "num_epochs": epochs,
        "batches": 750,
        "parameters": 1_234_567,
        "device": "a processor (2 cores), torch 2.15.0",
        "torch": "2.15.0",
        "python": "3.11.7",
        "git": {"commit": "abc1234", "changed": False},
        "attempts": [{"begun": "2026-11-21T15:40:02+00:00", "from": [0, 0], "how": "finished"}],
        "state": "finished",
        "seconds": 3661.0,
        "unsaved": None,
    } | changes


def metrics(epochs=30, watched="val"):
    """Return metrics lines: a loss that falls, and a watched accuracy that is best in the last epoch but one."""
    lines = [{"attempt": 1, "from": [0, 0.0]}]
    for epoch in range(1, epochs + 1):
        part = epoch / epochs
        lines.append({"point": [epoch - 0.5, 2.3 - 2 * part, 5e-4]})
        best = 0.82 if epoch == epochs - 1 else 0.3 + 0.5 * part
        figures = {"train_loss": 2.3 - 2 * part, "train_acc": 0.2 + 0.75 * part}
        figures |= {f"{watched}_loss": 2.2 - 1.5 * part, f"{watched}_acc": best}
        lines.append({"epoch": epoch, **figures, "lr": 5e-4, "seconds": 120.0 * epoch})
    return lines


def evaluation(right=840, images=10_000, **changes):
    """Return an evaluation.json in which `right` of each class's thousand images are right, the rest the next class."""
    each = images // 10
    right = right * each // 1000
    confusion = [[right * (i == j) + (each - right) * (j == (i + 1) % 10) for j in range(10)] for i in range(10)]
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
        "classes": list(CLASSES),
        "confusion": confusion,
        "per_class": {name: [share] * 10 for name in ("precision", "recall", "f1")},
        "calibration": calibration | {"ece": abs(0.9 - share)},
        "mistakes": [{"row": 4321, "label": 3, "said": 5, "confidence": 0.987}],
        "views": {"plain": share, "flip": share + 0.01},
        "gates": None,
        "robustness": {"images": 500, "shift": damaged, "noise": damaged, "jpeg": damaged},
    } | changes


def fake_run(folder, about=None, lines=None, tested=None, faults=(), words=None):
    """Write a run's folder and return its Run; without arguments a plain network's run of which all is known."""
    folder.mkdir(parents=True, exist_ok=True)
    about = copy.deepcopy(record() if about is None else about)
    write_json(folder / "run.json", about | {"run": folder.name})
    lines = metrics(about.get("num_epochs") or 3) if lines is None else lines
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "faults.jsonl").write_text("".join(json.dumps(fault) + "\n" for fault in faults))
    tested = evaluation() if tested is None else tested
    if tested:
        write_json(folder / "evaluation.json", tested)
    for name, text in (words or {}).items():
        (folder / "words").mkdir(exist_ok=True)
        (folder / "words" / name).write_text(text, encoding="utf-8")
    return Run(folder)
