"""A recipe's description tells networks and losses of the user's own apart, also closures and partials."""

import functools

import pytest
import torch.nn.functional as F
from networks import small_cnn
from torch import nn

from utils.recipes import OURS, Recipe
from utils.recipes.train import can_replay


class Scaled(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.last = nn.Linear(3 * 32 * 32, 10)

    def forward(self, X):
        return self.last(X.flatten(1))


def closure(scale):
    def make():
        return Scaled(scale)

    return make


PAIRS = {
    "closures": (closure(0.1), closure(10.0)),
    "closures over lists": (closure([3]), closure([4])),
    "defaults": tuple((lambda scale=scale: Scaled(scale)) for scale in (0.1, 10.0)),
    "two lambdas in a line": (lambda: Scaled(0.1), lambda: Scaled(10.0)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_functions_that_make_different_networks_differ(kind):
    one, other = (Recipe("mine", network=make).describe() for make in PAIRS[kind])
    assert one != other and one == Recipe("mine", network=PAIRS[kind][0]).describe()


def test_losses_with_other_arguments_differ():
    def smoothed(amount):
        return lambda y_hat, y: F.cross_entropy(y_hat, y, label_smoothing=amount)

    partials = [functools.partial(F.cross_entropy, label_smoothing=amount) for amount in (0.0, 0.5)]
    weighted = [functools.partial(F.cross_entropy, weight) for weight in (None, 2)]
    closures = [smoothed(0.0), smoothed(0.5)]
    for losses in (partials, weighted, closures):
        one, other = (Recipe("mine", Scaled, loss=loss).describe() for loss in losses)
        assert one != other and one == Recipe("mine", Scaled, loss=losses[0]).describe()


def test_a_class_or_a_library_needs_no_values():
    for recipe in (Recipe("mine", Scaled), Recipe("mine", Scaled, loss=F.cross_entropy), OURS["quick"]):
        assert not [name for name in recipe.describe() if name.endswith("_values")]


def test_automatic_cuda_graphs_are_for_networks_of_the_suite():
    assert can_replay(OURS["quick"])
    assert not any(can_replay(Recipe("mine", network)) for network in (Scaled, small_cnn))
