"""A recipe of two short epochs with two checkpoints, and what may be loaded from its folder after any failure."""

import warnings

import pytest
from networks import PacedCNN, bare_cnn
from victim import differences, images, timeless

from utils.data.cifar10 import Cifar10
from utils.errors import CourseworkError
from utils.evaluation import evaluate
from utils.recipes import Recipe, load_run
from utils.runs.checkpoints import Checkpoints
from utils.runs.run import Run
from utils.training.effort import Effort
from utils.training.state import LAST

RECIPE = Recipe("tiny", bare_cnn, {"channels": 4}, batch_size=16, num_epochs=2, optimizer="sgd", lr=0.1)
# The same with batches that take some time, so that kills find them under way.
SLOW_RECIPE = RECIPE.change(network=PacedCNN, network_settings={"channels": 4, "seconds": 0.004})
DATA = Cifar10(images(48), images(20, seed=1), "test", "patterns", "0" * 16)
OPTIONS = {"effort": Effort("all"), "device": "cpu", "precision": "fp32"}
FOR_TRIALS = OPTIONS | {"data": DATA, "save_every": 0.0}  # arguments of run_grid and run_search
SAVED = (1, 1)  # the position of a checkpoint before that of the end


class Save:
    """Write a checkpoint at SAVED, and keep the weights of each epoch and of this position."""

    order = LAST

    def __init__(self):
        self.weights = {}

    def after_batch(self, training):
        if (training.epoch, training.batch) == SAVED:
            self._keep(training)
            next(c for c in training.callbacks if isinstance(c, Checkpoints)).save(training)

    def after_epoch(self, training):
        self._keep(training)

    def _keep(self, training):
        weights = {name: value.clone() for name, value in training.net.state_dict().items()}
        self.weights[training.epoch, training.batch] = weights


def train(folder, *callbacks):
    """Train the recipe in this folder; return the Trained."""
    return RECIPE.train(DATA, folder=folder, callbacks=callbacks, save_every=1e9, curves=False, **OPTIONS)


def content(trained):
    """Return what two equal trainings have in common."""
    history = trained.history
    return {"net": dict(trained.net.state_dict()), "rows": timeless(history.rows), "points": history.points}


def check_loading(folder, expected, weights):
    """Loading gives the end of a finished run, or an earlier state that says so and is not tested; or it refuses."""
    run = Run(folder)
    if run.state == "finished":
        loaded = load_run(run, DATA, device="cpu", network=bare_cnn)
        assert differences(expected, content(loaded)) == []
        assert timeless(run.history().rows) == expected["rows"] and run.history().points == expected["points"]
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that the run log goes on after these weights
            loaded = load_run(run, DATA, device="cpu", network=bare_cnn)
    except CourseworkError:
        return
    epochs = len(loaded.history)
    assert timeless(loaded.history.rows) == expected["rows"][:epochs]
    position = (epochs, 0) if epochs == 2 else SAVED
    assert differences(weights[position], dict(loaded.net.state_dict())) == []
    with pytest.raises(CourseworkError):
        evaluate(loaded)
