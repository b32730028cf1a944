"""A training that diverged: noticed with any step, before a checkpoint is written, and noted in the run's folder."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_parts import StopAfter, images

from utils.data.loader import BatchLoader
from utils.errors import DivergedError
from utils.my_utils import train_batch, train_ch3
from utils.runs.checkpoint_files import listed, newest
from utils.runs.checkpoints import Checkpoints
from utils.runs.run import Run
from utils.training.average import Average
from utils.training.step import Step

pytestmark = pytest.mark.usefixtures("ledger_folder")
NAN, INF = math.nan, math.inf
BATCHES = 5
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]),
]


def students_step(net, X, y, loss, optimizer):
    """Train on a batch as a student's function would; the scores keep their graph."""
    y_hat = net(X)
    value = loss(y_hat, y)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value, y_hat


STEPS = {
    "train_batch": lambda: train_batch,
    "a student's": lambda: students_step,
    "guarded": Step,
    "not guarded": lambda: Step(guard=False),
    "graph": lambda: Step(cuda_graph=True, guard=False),
    "fp16": lambda: Step("fp16", guard=False),
}


class Loss(nn.Module):
    """Cross-entropy times a factor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def forward(self, y_hat, y):
        return F.cross_entropy(y_hat, y) * self.factor


class Spoilt(BatchLoader):
    """A BatchLoader whose images are increased by `more`."""

    more = 0.0

    def batch(self, epoch, i):
        X, y = super().batch(epoch, i)
        return X + self.more, y


# What a test spoils: the tensor that it sets to NaN or Inf.
TENSORS = {
    "weights": lambda training: training.net[0].weight,
    "gradients": lambda training: training.net[0].bias,  # spoilt before the step by a hook, see Spoil
    "statistics": lambda training: training.net[1].running_var,
    "averaged weights": lambda training: training.measured_net[0].weight,
    "loss": lambda training: training.loss.factor,
}


class Spoil:
    """A callback that spoils a part of the training after so many batches."""

    def __init__(self, part, value, after):
        self.part, self.value, self.after = part, value, after

    def after_batch(self, training):
        if training.epoch * BATCHES + training.batch != self.after:
            return
        if self.part == "images":
            training.train_iter.more = self.value
        elif self.part == "gradients":
            training.net[0].bias.register_hook(lambda gradient: gradient + self.value)
        else:
            with torch.no_grad():
                TENSORS[self.part](training).view(-1)[0] = self.value


def train(folder, *callbacks, step=train_batch, device="cpu", watched_more=0.0, loss=None, every=0, **options):
    """Train a small network for 3 epochs of 5 batches; write a checkpoint after each batch, unless every is None."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).to(device)
    train_iter = Spoilt(images(100), 20, shuffle=True, device=device)
    test_iter = Spoilt(images(40, seed=1), 20, device=device)
    test_iter.more = watched_more
    loss = (loss or Loss()).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    if every is not None:
        callbacks = [*callbacks, Checkpoints(folder, every=every)]
        options["record"] = "mine"
    return train_ch3(
        net, train_iter, test_iter, loss, 3, optimizer, step=step, callbacks=callbacks, curves=False, **options
    )


def check_run(folder, batches):
    """Check that the run is noted as diverged, and that its newest checkpoint is the one after so many batches."""
    run = Run(folder)
    assert run.state == "diverged" and run.faults[-1]["kind"] == "diverged"
    states = [torch.load(path, weights_only=True) for path in listed(folder)]
    for state in states:
        assert all(tensor.isfinite().all() for tensor in state["net"].values())
    if batches:
        position = newest(folder)[1]["position"]
        assert position["epoch"] * BATCHES + position["batch"] == batches


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("part", ["weights", "loss", "images"])
def test_with_any_step_no_checkpoint_is_written_after_a_training_diverged(part, step, device, tmp_path):
    with pytest.raises(DivergedError) as caught:
        train(tmp_path, Spoil(part, NAN, 7), step=STEPS[step](), device=device)
    assert "epoch 2" in caught.value.where and caught.value.next_step
    check_run(tmp_path, batches=6 if part == "weights" else 7)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("after", [2, 9])  # in the middle of an epoch, and before the last batch of one
@pytest.mark.parametrize("part", [*TENSORS, "images"])
def test_wherever_the_first_nan_is_it_is_noticed_in_the_same_epoch(part, after, value, tmp_path):
    callbacks = [Average(0.9), Spoil(part, value, after)]
    with pytest.raises(DivergedError) as caught:
        train(tmp_path, *callbacks)
    assert f"epoch {after // BATCHES + 1}" in caught.value.where
    check_run(tmp_path, batches=after if part in ("loss", "gradients", "images") else after - 1)


@pytest.mark.parametrize("every", [None, 1e9])
@pytest.mark.parametrize("part", ["weights", "loss", "gradients"])
def test_without_a_checkpoint_the_end_of_the_epoch_notices_it(part, every, tmp_path):
    with pytest.raises(DivergedError) as caught:
        train(tmp_path, Spoil(part, NAN, 6), every=every)
    assert "epoch 2, at or before batch 5" in caught.value.where


def test_an_interrupted_training_that_diverged_is_not_saved(tmp_path):
    with pytest.raises(DivergedError):
        train(tmp_path, Spoil("weights", NAN, 7), StopAfter(8), every=1e9)
    check_run(tmp_path, batches=None)
    assert not listed(tmp_path)


def test_nan_in_the_evaluation_alone_ends_the_training(tmp_path):
    with pytest.raises(DivergedError, match="test images"):
        train(tmp_path, watched_more=NAN)
    check_run(tmp_path, batches=5)


class Surprise(nn.Module):
    """The mean of -log(p), which is infinite if a right class has the probability 0; in training p is limited."""

    def forward(self, y_hat, y):
        p = y_hat.softmax(1).gather(1, y[:, None])
        if torch.is_grad_enabled():
            p = p.clamp(min=1e-6)
        return -p.log().mean()


def test_an_infinite_loss_in_the_evaluation_alone_is_allowed(tmp_path):
    history = train(tmp_path, watched_more=1e5, loss=Surprise())
    assert history["test_loss"] == [INF] * 3 and Run(tmp_path).state == "finished"


def test_infinities_that_a_network_is_made_of_are_allowed():
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    net.register_buffer("mask", torch.full((3, 3), -INF).triu(1))
    net.frozen = nn.Parameter(torch.full((3,), INF), requires_grad=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    history = train_ch3(net, Spoilt(images(), 20), None, F.cross_entropy, 1, optimizer, curves=False, record=False)
    assert len(history) == 1
