"""Tests of single cells of the notebooks, run alone: on what an exercise sets, or after a training that ended early."""

import math
import types

import pytest
import torch

from tools import notebooks
from utils.experiments import sign_test, t_interval
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


def test_a_run_that_was_interrupted_is_told_to_go_on(capsys):
    run_cells("04", ["main-result"], {"history": training(stopped=True).history, "data": DATA})
    assert "run the training cell again" in capsys.readouterr().out


def test_the_interval_and_the_coin_test_of_06_are_the_librarys():
    names = {"torch": torch, "math": math, "t_interval": t_interval, "sign_test": sign_test}
    run_cells("06", ["t-table", "coin"], names)
    for count in (2, 5, 10, 20, 100):
        values = [i**2 % 7 for i in range(count)]
        assert names["interval"](values) == pytest.approx(t_interval(values), abs=2e-3)
    assert all(names["coin_test"](a, b) == sign_test(a, b) for a in range(5) for b in range(5))
