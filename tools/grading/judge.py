"""Judges the student's code by what it computes for inputs that are drawn at random here, outside the child.

Each function asks the child for values, computes what they must be, and raises Mistake with the reason if they differ.
The child may run any code of the student, also code that pretends; but it can pretend only by computing the right
values.
"""

from __future__ import annotations

import numpy as np

SIZES = (5, 5, 2)  # of the batches: the last one is smaller, as in an epoch
FEATURES, CLASSES = 12, 4
IMAGES = 6  # of a batch for a block
TOLERANCE = 1e-3
LARGEST_MAP, MOST_BRANCHES = 2**20, 64  # of a block that is judged


class Mistake(Exception):
    """A part is not right; the text says what was found."""


class Unclear(Exception):
    """A part can't be judged here, so a person has to; the text says why."""


# What a wrong answer, or a reply of the wrong form, may raise here.
FAULTS = (Mistake, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


def ensure(condition, what: str):
    """Raise Mistake unless the condition holds."""
    if not condition:
        raise Mistake(what)


def array(value, shape: tuple, what: str) -> np.ndarray:
    """Require an array of this shape with finite numbers; None in the shape stands for any size."""
    value = np.asarray(value) if isinstance(value, (int, float, np.ndarray)) else None
    ensure(value is not None and value.dtype != object, f"{what} is not a tensor or a number.")
    sizes = zip(shape, value.shape, strict=False)
    fits = value.ndim == len(shape) and all(wanted in (None, size) for wanted, size in sizes)
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    ensure(fits, f"{what} has the shape {tuple(value.shape)} instead of ({wanted}).")
    ensure(np.isfinite(value.astype(np.float64)).all(), f"{what} contains NaN or Inf.")
    return value.astype(np.float64)


def is_close(a, b, tolerance: float = TOLERANCE) -> bool:
    """Tell whether two arrays agree, relative to the largest number."""
    scale = max(float(np.abs(b).max(initial=0.0)), 1e-6)
    return a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= tolerance * scale


def one_batch(rng, size: int):
    """Return a batch of small images and labels, as float32 (size, 3, 2, 2) and int64 (size,)."""
    X = rng.normal(size=(size, FEATURES // 4, 2, 2)).astype(np.float32)
    return X, rng.integers(0, CLASSES, size)


def linear(rng):
    """Return the weight and bias of a linear layer."""
    return rng.normal(size=(CLASSES, FEATURES)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32)


def loaders(session, rng):
    """The loader gives batches of normalised images and labels."""
    found = session.ask("child_code.batches", name="train_iter", count=2)
    ensure(isinstance(found, list) and found, "train_iter gives no batch.")
    labels = []
    for batch in found:
        ensure(isinstance(batch, list) and len(batch) == 2, "A batch is not a pair (X, y).")
        X, y = array(batch[0], (None, 3, None, None), "X"), array(batch[1], (None,), "y")
        ensure(len(X) == len(y), f"A batch has {len(X)} images and {len(y)} labels.")
        ensure(np.abs(X).max() < 30, "The images are not normalised: their values are as large as 255.")
        ensure(((y >= 0) & (y < 10) & (y == y.round())).all(), "The labels are not the numbers 0 to 9.")
        labels += y.tolist()
    ensure(
        len(set(labels)) > 2 or len(labels) < 16, "The batches hold only one or two classes: the order is not random."
    )
    return f"{len(found[0][1])} images in a batch"


def accuracy(session, rng):
    """accuracy(y_hat, y): the number or the fraction of correct predictions in a batch."""
    for size in (7, 16):
        y_hat = rng.normal(size=(size, CLASSES)).astype(np.float32)
        y = rng.integers(0, CLASSES, size)
        y[: size // 2] = y_hat.argmax(1)[: size // 2]
        correct = int((y_hat.argmax(1) == y).sum())
        got = array(session.ask("child_code.call", name="accuracy", arguments=[y_hat, y]), (), "The result")
        right = any(is_close(got, np.float64(value), 1e-5) for value in (correct, correct / size))
        ensure(right, f"Of {size} predictions {correct} are correct, but the result is {float(got):.4g}.")
    return "right for two random batches"


def train_epoch(session, rng):
    """One epoch of gradient descent: the weights after it are compared with those that the formula gives."""
    (weight, bias), lr = linear(rng), 0.1
    data = [one_batch(rng, size) for size in SIZES]
    reply = session.ask("child_code.train_epoch", weight=weight, bias=bias, batches=data, lr=lr)
    ensure(isinstance(reply, dict), "Your epoch of training returned no result that can be checked.")
    got = array(reply.get("weight"), weight.shape, "The weight"), array(reply.get("bias"), bias.shape, "The bias")
    right = descend(weight, bias, data, lr)
    ensure(not is_close(got[0], weight.astype(np.float64)), "The weights did not change.")
    summed = descend(weight, bias, data, lr, is_reset=False)
    ensure(
        not is_close(got[0], summed[0]),
        "The gradients of earlier batches are still in the sum: zero_grad() is missing.",
    )
    matches = all(is_close(a, b) for a, b in zip(got, right, strict=True))
    ensure(matches, "The weights after one epoch of SGD are not those that the formula gives.")
    return "the weights after an epoch on random batches are right"


def descend(weight, bias, data, lr: float, is_reset: bool = True):
    """Return the weights of a linear network after one epoch of SGD with the cross-entropy, in float64."""
    W, b = weight.astype(np.float64), bias.astype(np.float64)
    dW, db = np.zeros_like(W), np.zeros_like(b)
    for X, y in data:
        X = X.reshape(len(X), -1).astype(np.float64)
        scores = X @ W.T + b
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        gradients = p.T @ X / len(y), p.mean(0)
        dW, db = gradients if is_reset else (dW + gradients[0], db + gradients[1])
        W, b = W - lr * dW, b - lr * db
    return W, b


def evaluate(session, rng):
    """evaluate(net, data_iter): the fraction of correct predictions, in eval mode, over batches of different sizes."""
    weight, bias = linear(rng)
    data = []
    for number, size in enumerate((8, 8, 3)):
        X, y = one_batch(rng, size)
        best = (X.reshape(size, -1) @ weight.T + bias).argmax(1)
        y[:] = best if number == 2 else np.where(np.arange(size) < 3, best, (best + 1) % CLASSES)
        data.append((X, y))
    correct = [int(((X.reshape(len(X), -1) @ weight.T + bias).argmax(1) == y).sum()) for X, y in data]
    right = sum(correct) / sum(len(y) for _, y in data)
    of_batches = float(np.mean([count / len(y) for count, (_, y) in zip(correct, data, strict=True)]))
    reply = session.ask("child_code.evaluate", weight=weight, bias=bias, batches=data)
    ensure(isinstance(reply, dict), "Your evaluation returned no result that can be checked.")
    result = reply.get("result")
    result = result[-1] if isinstance(result, list) and result else result  # (loss, accuracy) is accepted
    got = float(array(result, (), "The result"))
    got = got / 100 if 1 < got <= 100 else got
    ensure(
        abs(got - of_batches) > 1e-4, "The result is the mean of the batches' accuracies; the last batch is smaller."
    )
    ensure(
        abs(got - right) < 1e-4, f"The accuracy is {right:.4f}, but the result is {got:.4f}. Is dropout still active?"
    )
    ensure(reply.get("is_training") is True, "The network was in training mode, and is not put back into it.")
    return "right for batches of different sizes, with dropout off"


def scores(session, rng):
    """The network gives ten scores for each image, which are no probabilities yet."""
    X = rng.normal(size=(IMAGES, 3, 32, 32)).astype(np.float32)
    Y = array(session.ask("child_code.scores", images=X), (IMAGES, 10), "The output of the network")
    ensure(np.ptp(Y, axis=0).max() > 1e-6, "The scores are the same for every image.")
    is_softmax = Y.min() >= 0 and is_close(Y.sum(1), np.ones(IMAGES))
    ensure(not is_softmax, "The scores of an image sum to 1: there is a softmax before the cross-entropy.")
    alone = array(session.ask("child_code.scores", images=X[:1]), (1, 10), "The output of the network")
    ensure(
        is_close(alone[0], Y[0], 1e-2), "In eval mode, the scores of an image depend on the other images in its batch."
    )
    return "ten scores for each image"


def block_input(rng, shape: list) -> np.ndarray:
    """Return an input of a block; its channels have different means in each image."""
    X = rng.normal(size=(IMAGES, *shape[1:])) + rng.normal(size=(IMAGES, shape[1], 1, 1))
    return X.astype(np.float32)


def gate_of(session, name: str, X) -> np.ndarray:
    """Return the weights (images, k) that the gate of a block gives for this input of the block."""
    return array(session.ask("child_code.block", name=name, X=X)["gate"], (len(X), None), "The output of the gate")


def gate(session, rng, name: str, drawn: dict):
    """The gate gives each image its own weights, and computes them from the mean of X over the map alone."""
    X = block_input(rng, drawn["first"]["input"])
    a = gate_of(session, name, X)
    ensure(a.shape[1] > 1, f"The gate of {name} gives a single weight, so there is nothing to choose.")
    ensure(np.ptp(a, axis=0).max() > 1e-6, f"The gate of {name} gives every image the same weights.")
    other = block_input(rng, X.shape)
    other += (X - other).mean((2, 3), keepdims=True)
    b = gate_of(session, name, other)
    ensure(is_close(a, b, 1e-2), f"The gate of {name} changes although the mean of each channel stays the same.")
    alone = gate_of(session, name, X[:1])
    ensure(is_close(alone[0], a[0]), f"The weights of an image in {name} depend on the other images in its batch.")
    return f"{a.shape[1]} weights for each image, from the mean of X"


def weighted_sum(session, rng, name: str, drawn: dict):
    """The output depends on gate and branches only through the sum over i of a_i times branch i, for each image."""
    X, shapes = block_input(rng, drawn["first"]["input"]), drawn["first"]["branches"]
    k = array(session.ask("child_code.block", name=name, X=X)["gate"], (IMAGES, None), "The output of the gate").shape[
        1
    ]
    if len(shapes) != k:
        raise Unclear(f"{name} has {k} gate weights, but it calls {len(shapes)} branches that are separate modules")
    shape = (IMAGES, *shapes[0][1:])
    ensure(all(other[1:] == shapes[0][1:] for other in shapes), f"The branches of {name} have different shapes.")
    B = rng.normal(size=(k, *shape)).astype(np.float32)
    a = rng.uniform(0.1, 1.0, size=(IMAGES, k)).astype(np.float32)
    total = np.einsum("nk,kn...->n...", a, B).astype(np.float32)

    def output(gate, branches):
        reply = session.ask("child_code.block", name=name, X=X, gate=gate, branches=branches)
        return array(reply["output"], (IMAGES, *(None,) * (len(shape) - 1)), f"The output of {name}")

    first = output(a, B)
    only = np.zeros_like(a)
    only[:, -1] = 1.0
    others = rng.normal(size=B.shape).astype(np.float32)
    others[-1] = total
    ensure(
        is_close(first, output(only, others)), f"The output of {name} is not the sum of a_i times branch i, per image."
    )
    ensure(not is_close(first, output(a, 2 * B)), f"The output of {name} does not depend on its branches.")
    return "the sum of a_i times branch i for each image"


def structure(faults: list[str]):
    """The backbone and the classifier are the assigned ones, as far as the network's layers show."""
    ensure(not faults, "; ".join(faults)[:300].capitalize() + ".")
    return "as far as its layers show"


def each_block(question, session, rng, looks: dict):
    """Ask a question about every block; `looks` keeps what was seen of each."""
    for name, drawn in looks.items():
        if "first" not in drawn:
            reply = session.ask(
                "child_code.block", name=name, images=rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
            )
            shapes = [reply["input"], *reply["branches"][:MOST_BRANCHES]]
            for shape in shapes:
                is_shape = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int and n > 0 for n in shape)
                ensure(is_shape and int(np.prod(shape[1:])) <= LARGEST_MAP, f"{name} has a shape that can't be judged.")
            drawn["first"] = {"input": shapes[0], "branches": shapes[1:]}
        reason = question(session, rng, name, drawn)
    return f"{reason}, in {len(looks)} {'block' if len(looks) == 1 else 'blocks'}"
