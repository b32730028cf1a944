"""Tests of single cells of the notebooks, run alone: on what an exercise sets, or after a training that ended early."""

import math
import types

import numpy as np
import pandas as pd
import torch

from tools import notebooks
from utils.data.cifar10 import Split
from utils.training.history import History


def run_cells(number, ids, names):
    """Run these cells of a notebook, in the notebook's order, with these names known."""
    (path,) = notebooks.paths([number])
    found = [cell for cell in notebooks.read(path).cells if cell.id in ids]
    assert len(found) == len(ids)
    for cell in found:
        exec(cell.source, names)


def training(*rows, stopped, error=None):
    """Return what a training leaves, as far as these cells look at it."""
    history = History()
    history.rows, history.stopped = list(rows), stopped
    facts = {"images": 100, "num_epochs": 3}
    return types.SimpleNamespace(history=history, error=error, facts=facts, net=torch.nn.Linear(1, 1))


DATA = types.SimpleNamespace(classes=("cat", "dog", "frog"), name="noise")


def test_a_gate_of_one_branch_has_no_spread_and_leaves_nothing_to_explain():
    pixels, titles = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8), dtype="uint8"), []
    val, weights = Split(torch.from_numpy(pixels), torch.arange(60) % 3), torch.ones(60, 1)
    names = {"val": val, "data": DATA, "seed": 0, "torch": torch, "pd": pd}
    names |= dict.fromkeys(("trained", "untrained"), {"block1": weights, "block3": weights})
    names["show_gates"] = names["show_grid"] = lambda *_, title, **__: titles.append(title)
    run_cells("02", ["cell-30", "cell-31", "cell-32", "cell-33", "show-gates", "cell-35", "cell-36"], names)
    assert "0 times as much as by chance" in titles[0]
    assert titles[1] == "Brightness explains 0% of block1's choice and 0% of block3's choice (noise)"


def test_short_trainings_that_ended_early_leave_the_figures_standing():
    titles, asked = [], []

    def short_training(label, *_, **__):
        asked.append(label)
        row = {"train_loss": 1.5, "val_acc": 0.4}
        return training(row, stopped=False) if label == "AdamW" else training(stopped=True)

    names = {"math": math, "make_loss": None, "num_epochs": 3}
    run_cells("03", ["cell-23", "short-training"], names)
    assert names["short_training"].__defaults__[-1] == 3
    ways = {label: (label, 0.1, {}) for label in ("AdamW", "SGD", "Adam", "Muon")}
    names |= {"short_training": short_training, "ways": ways, "data": DATA, "floor": 1.5}
    names |= {"found": types.SimpleNamespace(suggestion=0.3, tenth=0.1)}
    names["show_runs"] = lambda runs, *, title, **_: titles.append(title)
    run_cells("03", [f"cell-{number}" for number in (25, 26, 33, 34, 44, 45)], names)
    assert "nan%" in titles[0] and "AdamW has the lowest training loss" in titles[1] and "no lower" in titles[2]
    assert asked.count("Adam") == 0 and len(asked) == 2 + 3 + 4


def test_a_run_that_was_interrupted_is_told_to_go_on(capsys):
    run_cells("04", ["main-result"], {"history": training(stopped=True).history, "data": DATA})
    assert "run the training cell again" in capsys.readouterr().out


def test_a_single_seed_gives_no_verdict():
    names = {}
    run_cells("06", ["cell-13c"], names)
    assert names["verdict"](0.5, math.nan, 0.1) == names["verdict"](9.0, 0.1, math.nan) == "too few seeds to tell"
    assert names["verdict"](-0.5, 0.2, 0.1) == "it counts" and names["verdict"](0.3, 0.2, 0.1) == "too little to count"
