"""Judges the student's code by what it computes for inputs that are drawn at random here, outside the child.

Each function asks the child for values, computes what they must be, and raises Mistake with the reason if they differ.
The child may run any code of the student, also code that pretends; but it can pretend only by computing the right
values.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from utils.my_utils import train_epoch_ch3
from utils.report.marking import backbone_faults

CLASSES = 4  # of the small networks
IMAGES = 6  # of a batch for a block
LARGEST_MAPS = 2**22  # numbers in the input and the branches of a block that is judged, for one image
TOLERANCE = 1e-3


class Mistake(Exception):
    """A part is not right; the text says what was found."""


class Unclear(Exception):
    """A part can't be judged here, so a person has to; the text says why."""


# What a wrong answer, or a reply of the wrong form, may raise here.
FAULTS = (Mistake, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RuntimeError)


def reason_of(error: Exception) -> str:
    """Return what a student is told; a ValueError is an error of the child."""
    return str(error) if isinstance(error, (Mistake, ValueError)) else "The values that came back can't be used."


def ensure(condition, what: str):
    """Raise Mistake unless the condition holds."""
    if not condition:
        raise Mistake(what)


def numbers(value, shape, what: str) -> torch.Tensor:
    """Require finite numbers of this shape, () for a single one; None in the shape stands for any size."""
    ensure(isinstance(value, (int, float, torch.Tensor)), f"{what} is not a tensor or a number.")
    value = torch.as_tensor(value, dtype=torch.float64)
    sizes = zip(shape, value.shape, strict=False)
    fits = value.ndim == len(shape) and all(wanted in (None, size) for wanted, size in sizes)
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    ensure(fits, f"{what} has the shape {tuple(value.shape)} instead of ({wanted}).")
    ensure(value.isfinite().all(), f"{what} contains NaN or Inf.")
    return value


def is_close(a, b, tolerance: float = TOLERANCE) -> bool:
    """Tell whether two tensors of one shape agree, relative to the largest number."""
    return bool((a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1e-6))


def linear_network(dropout: float = 0.0) -> nn.Module:
    """Return a small linear network with random weights."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(12, CLASSES))


def small_batch(size: int) -> tuple:
    """Return images and labels for a linear network."""
    return torch.randn(size, 3, 2, 2), torch.randint(CLASSES, (size,))


def loaders(session):
    """The loader gives batches of normalised images and labels."""
    batches = session.ask("batches", name="train_iter", count=2)
    ensure(batches, "train_iter gives no batch.")
    labels = []
    for X, y in batches:
        X, y = numbers(X, (None, 3, None, None), "X"), numbers(y, (None,), "y")
        ensure(len(X) == len(y), f"A batch has {len(X)} images and {len(y)} labels.")
        ensure(X.abs().max() < 30, "The images are not normalised: their values are as large as 255.")
        ensure(((y >= 0) & (y < 10) & (y == y.round())).all(), "The labels are not the numbers 0 to 9.")
        labels += y.tolist()
    is_mixed = len(set(labels)) > 2 or len(labels) < 16
    ensure(is_mixed, "The batches hold only one or two classes: the order is not random.")
    return f"{len(y)} images in a batch"


def accuracy(session):
    """accuracy(y_hat, y): the number or the fraction of correct predictions in a batch."""
    for size in (7, 16):
        y_hat, y = torch.randn(size, CLASSES), torch.randint(CLASSES, (size,))
        y[: size // 2] = y_hat.argmax(1)[: size // 2]
        correct = int((y_hat.argmax(1) == y).sum())
        reply = session.ask("call", name="accuracy", arguments=(y_hat, y))
        got = float(numbers(reply["result"], (), "The result"))
        is_right = min(abs(got - correct), abs(got - correct / size)) < 1e-4
        ensure(is_right, f"Of {size} predictions {correct} are correct, but the result is {got:.4g}.")
    return "right for two random batches"


def train_epoch(session):
    """One epoch of gradient descent: the weights after it are compared with those of the library's epoch."""
    net = linear_network()
    batches = [small_batch(size) for size in (5, 5, 2)]  # the last one is smaller, as in an epoch
    arguments = net, batches, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1)
    reply = session.ask("call", name="train_epoch", arguments=arguments, net=net)
    pairs = zip(reply["weights"], net.parameters(), strict=True)
    got = [numbers(value, before.shape, "A weight") for value, before in pairs]
    ensure(not is_close(got[0], net[2].weight), "The weights did not change.")
    is_summed = is_close(got[0], after_an_epoch(*arguments, forgets=False)[0])
    ensure(not is_summed, "The gradients of earlier batches are still in the sum: zero_grad() is missing.")
    matches = all(map(is_close, got, after_an_epoch(*arguments)))
    ensure(matches, "The weights after one epoch of SGD are not those that the formula gives.")
    return "the weights after an epoch on random batches are right"


def after_an_epoch(*arguments, forgets=True) -> list[torch.Tensor]:
    """Return the weights of a copy of a network after one epoch of the library, which may add up all gradients."""
    net, batches, loss, optimizer = copy.deepcopy(arguments)
    if not forgets:
        optimizer.zero_grad = lambda: None
    train_epoch_ch3(net, batches, loss, optimizer)
    return list(net.parameters())


def evaluate(session):
    """evaluate(net, data_iter): the fraction of correct predictions, in eval mode, over batches of different sizes."""
    net = linear_network(dropout=1.0).eval()  # in training mode, the scores of all images would be the same
    batches = []
    for size, correct in ((64, 24), (64, 24), (24, 24)):
        X, _ = small_batch(size)
        y = net(X).argmax(1)
        y[correct:] = (y[correct:] + 1) % CLASSES
        batches.append((X, y))
    right, of_batches = 72 / 152, (24 / 64 + 24 / 64 + 1) / 3
    reply = session.ask("call", name="evaluate", arguments=(net.train(), batches), net=net)
    result = reply["result"]
    result = result[-1] if isinstance(result, list) and result else result  # (loss, accuracy) is accepted
    got = float(numbers(result, (), "The result"))
    got = got / 100 if 1 < got <= 100 else got
    is_mean = abs(got - of_batches) < 1e-4
    ensure(not is_mean, "The result is the mean of the batches' accuracies; the last batch is smaller.")
    is_right = abs(got - right) < 1e-4
    ensure(is_right, f"The accuracy is {right:.4f}, but the result is {got:.4f}. Is dropout still active?")
    ensure(reply["is_training"] is True, "The network was in training mode, and is not put back into it.")
    return "right for batches of different sizes, with dropout off"


def scores(session):
    """The network gives ten scores for each image, which are no probabilities yet."""
    X = torch.randn(IMAGES, 3, 32, 32)
    Y = numbers(session.ask("scores", images=X), (IMAGES, 10), "The output of the network")
    ensure((Y.amax(0) - Y.amin(0)).max() > 1e-6, "The scores are the same for every image.")
    is_softmax = Y.min() >= 0 and is_close(Y.sum(1), torch.ones(IMAGES))
    ensure(not is_softmax, "The scores of an image sum to 1: there is a softmax before the cross-entropy.")
    alone = numbers(session.ask("scores", images=X[:1]), (1, 10), "The output of the network")
    is_alone = is_close(alone[0], Y[0], 1e-2)
    ensure(is_alone, "In eval mode, the scores of an image depend on the other images in its batch.")
    return "ten scores for each image"


def structure(summary: dict):
    """The backbone and the classifier are the assigned ones, as far as the network's layers show."""
    faults = backbone_faults(summary)
    ensure(not faults, "; ".join(faults)[:300].capitalize() + ".")
    return "as far as its layers show"


class Block:
    """A block of the student's network, with k branches, which the child computes for inputs that are drawn here."""

    def __init__(self, session, name: str, k: int):
        self.session, self.name, self.k = session, name, k
        shapes = self.compute()["shapes"]
        sizes = [math.prod(shape) for shape in shapes if len(shape) == 4 and all(type(n) is int for n in shape)]
        is_small = len(sizes) == len(shapes) and min(sizes) > 0 and sum(sizes) <= 2 * LARGEST_MAPS
        ensure(is_small, f"The maps of {name} have shapes that can't be judged.")
        (_, *self.input), *self.branches = shapes

    def compute(self, **values) -> dict:
        """Return what the child computes for these values."""
        return self.session.ask("block", name=self.name, k=self.k, **values)

    def draw(self) -> torch.Tensor:
        """Return an input of the block; its channels have different means in each image."""
        return torch.randn(IMAGES, *self.input) + torch.randn(IMAGES, self.input[0], 1, 1)

    def gate(self, X) -> torch.Tensor:
        """Return the weights that the block's gate gives for an input of the block."""
        return numbers(self.compute(X=X)["gate"], (len(X), self.k), f"The output of the gate of {self.name}")


def gate(block: Block):
    """The gate gives each image its own weights, and computes them from the mean of X over the map alone."""
    X, other, name = block.draw(), block.draw(), block.name
    a = block.gate(X)
    ensure(block.k > 1, f"The gate of {name} gives a single weight, so there is nothing to choose.")
    ensure((a.amax(0) - a.amin(0)).max() > 1e-6, f"The gate of {name} gives every image the same weights.")
    other += (X - other).mean((2, 3), keepdim=True)
    is_same = is_close(block.gate(other), a, 1e-2)
    ensure(is_same, f"The gate of {name} changes although the mean of each channel stays the same.")
    is_alone = is_close(block.gate(X[:1])[0], a[0])
    ensure(is_alone, f"The weights of an image in {name} depend on the other images in its batch.")
    return f"{block.k} weights for each image, from the mean of X"


def weighted_sum(block: Block):
    """The output depends on gate and branches only through the sum over i of a_i times branch i, for each image."""
    name, k, shapes = block.name, block.k, block.branches
    if len(shapes) != k:
        raise Unclear(f"{name} has {k} gate weights, but it calls {len(shapes)} branches that are separate modules")
    ensure(all(shape == shapes[0] for shape in shapes), f"The branches of {name} have different shapes.")
    X, a = block.draw(), 0.1 + torch.rand(IMAGES, k)
    B, others = torch.randn(2, k, IMAGES, *shapes[0][1:])

    def output(gate, branches):
        Y = block.compute(X=X, gate=gate, branches=branches)["output"]
        return numbers(Y, (IMAGES, None, None, None), f"The output of {name}")

    first = output(a, B)
    only_last = torch.eye(k)[-1:].expand(IMAGES, k)
    others[-1] = torch.einsum("nk,kn...->n...", a, B)
    is_sum = is_close(output(only_last, others), first)
    ensure(is_sum, f"The output of {name} is not the sum of a_i times branch i, per image.")
    ensure(not is_close(output(a, 2 * B), first), f"The output of {name} does not depend on its branches.")
    return "the sum of a_i times branch i for each image"


def each_block(question, session, gates: dict):
    """Ask a question about every block; gates are {name of the block: number of its branches}."""
    for name, k in gates.items():
        reason = question(Block(session, name, k))
    return f"{reason}, in {len(gates)} {'block' if len(gates) == 1 else 'blocks'}"
