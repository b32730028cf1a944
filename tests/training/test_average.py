"""Tests average: the average by hand, what is measured, and what KeepBest keeps."""

import pytest
import torch
from torch import nn
from training_parts import same

from utils.my_utils import loss_and_accuracy, train_ch3
from utils.optim.losses import make_loss
from utils.training.average import Average
from utils.training.best_epoch import KeepBest

pytestmark = pytest.mark.usefixtures("one_thread")


class Watch:
    """A callback that keeps a copy of what `look` returns after each batch and after each epoch."""

    def __init__(self, look):
        self.look, self.batches, self.epochs = look, [], []

    def after_batch(self, training):
        self.batches.append(copied(self.look(training)))

    def after_epoch(self, training):
        self.epochs.append(copied(self.look(training)))


def copied(state):
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def weights(training):
    return training.net.state_dict()


def train(*callbacks, epochs=3, seed=0, lr=0.5, batches=4):
    """Train a small network with batch norm on batches that are the same each time; return (history, data, loss)."""
    torch.manual_seed(7)
    X, y = torch.randn(batches, 20, 6), torch.randint(0, 3, (batches, 20))
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
    loss = make_loss("cross_entropy")
    data, optimizer = [*zip(X, y, strict=True)], torch.optim.SGD(net.parameters(), lr)
    history = train_ch3(
        net, data, data[::-1], loss, epochs, optimizer, callbacks=callbacks, watched="val", curves=False
    )
    return history, data, loss


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_is_the_formula_taken_by_hand(decay):
    average, seen = Average(decay), Watch(weights)
    train(average, seen)
    expected = copied(seen.batches[0])  # the first weights are taken as they are
    for state in seen.batches[1:]:
        for name, tensor in state.items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
    found = average.net.state_dict()
    for name, tensor in expected.items():
        if tensor.is_floating_point():  # running statistics, too
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_average_is_what_is_measured_and_the_training_goes_on_without_it():
    average, seen = Average(0.9), Watch(weights)
    history, data, loss = train(average, seen)
    alone = Watch(weights)
    unwatched = train(alone)[0]
    assert all(torch.equal(a, b) for a, b in zip(seen.batches[-1].values(), alone.batches[-1].values(), strict=True))
    assert history["train_loss"] == unwatched["train_loss"] and history["val_loss"] != unwatched["val_loss"]
    assert (history["val_loss"][-1], history["val_acc"][-1]) == loss_and_accuracy(average.net, data[::-1], loss)


def test_an_average_begins_anew_with_each_training():
    average = Average(0.99)
    train(average, seed=1)
    train(average)
    fresh = Average(0.99)
    train(fresh)
    assert same(average.net.state_dict(), fresh.net.state_dict())


@pytest.mark.parametrize("averaged", [False, True])
def test_keep_best_keeps_the_measured_weights_of_the_first_of_the_best_epochs(averaged):
    best, seen = KeepBest(), Watch(lambda training: training.measured_net.state_dict())
    history = train(*[Average(0.7)] * averaged, seen, best, epochs=8, lr=3.0)[0]
    accuracies = history["val_acc"]
    place = accuracies.index(max(accuracies))
    assert place < 7, "the last epoch is the best one, which would prove nothing"
    assert best.row == history.rows[place] and same(best.weights, seen.epochs[place])
    assert not same(best.weights, seen.epochs[-1])


def test_keep_best_forgets_the_training_before():
    best = KeepBest()
    first = max(train(best, epochs=8)[0]["val_acc"])
    second = train(best, epochs=1, lr=1e-9, seed=4)[0]["val_acc"]
    assert second[0] < first and best.row["val_acc"] == second[0]
