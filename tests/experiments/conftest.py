"""A run log of the test's own, with runs that were never trained."""

import json

import pytest

from utils.recipes.reported import SYSTEMS
from utils.runs.run import find

REAL = {"name": "CIFAR-10", "source": "archive", "checksum": "a" * 16}
SYNTHETIC = {"name": "synthetic images", "source": "synthetic", "checksum": "d" * 16}


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Return a function that adds a run: name, accuracies after each epoch, recipe, and changes to run.json.

    described holds changes to the recipe as it is recorded.
    """
    top = tmp_path / "runs"
    top.mkdir()
    monkeypatch.setenv("COURSEWORK_RUNS", str(top))

    def add(name, *accuracies, recipe=SYSTEMS["plain_cnn"], described=None, **changes):
        folder = top / name
        folder.mkdir()
        record = {"run": name, "system": recipe and recipe.name, "state": "finished", "seed": 0, "data": REAL}
        record |= {
            "recipe": recipe and recipe.describe() | (described or {}),
            "effort": "full",
            "protocol": "validation",
            "images": 45000,
        }
        record |= {"watched": "val", "parameters": 1000, "batches": 10, "num_epochs": len(accuracies)}
        record |= {"settings": {"lr": recipe and recipe.lr, "optimizer": "Adam"}}
        record |= {"created": f"2026-01-01T00:00:{len(list(top.iterdir())):02d}"} | changes
        (folder / "run.json").write_text(json.dumps(record))
        column = f"{record['watched']}_acc"
        rows = [{"epoch": i, column: acc, "train_acc": acc, "seconds": 3.0 * i} for i, acc in enumerate(accuracies, 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return find(name)

    add.top, add.synthetic = top, SYNTHETIC
    return add
