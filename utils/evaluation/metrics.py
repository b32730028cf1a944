"""Compute a network's scores in one pass over the images, and metrics from the scores.

y_hat, y = scores(net, test_iter)
confusion = confusion_matrix(y_hat.argmax(1), y, classes=10)
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Callable, Iterable

import torch
from torch import nn

from utils.data.cifar10 import CLASSES
from utils.errors import CourseworkError, require
from utils.models.count import find_gates
from utils.training.checked_batches import CheckedBatches
from utils.training.measure import in_mode

BINS = 15  # bins of the confidence, equally wide
ROUNDING = 2**-8  # that of a softmax in bfloat16
WORST = 20  # how many of the most confident mistakes are listed


@torch.no_grad()
def scores(
    net: nn.Module, data_iter: Iterable, predict: Callable | None = None, *, gates: dict | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (scores float32 (n, classes), labels (n,)) of one pass in eval mode, both on the CPU.

    If predict is given, predict(net, X) is called in place of net(X). If gates is a dict, the outputs (n, k) of each
    gate are added to it.
    """
    all_scores, all_labels = [], []
    gate_outputs = _GateOutputs(net if gates is not None else None)
    batches = CheckedBatches(data_iter, net, None, "data_iter")
    with batches, in_mode(net, training=False), gate_outputs.recording():
        for X, y in batches:
            y_hat = net(X) if predict is None else predict(net, X)
            batches.check(y_hat)
            all_scores.append(y_hat.float().cpu())
            all_labels.append(y.cpu())
            gate_outputs.close_batch(len(y))
    require(all_scores, "There is no batch to measure on.", "data_iter", "Give an iterable of batches (X, y).")
    if gates is not None:
        gates.update(gate_outputs.joined())
    return _finite(torch.cat(all_scores)), torch.cat(all_labels).long()


class _GateOutputs:
    """Collect the outputs of a network's gates, batch by batch: of all submodules called `gate` that return (B, k).

    A gate is left out if it returns another number of rows, such as one for each token, or if it is called several
    times for the same images.
    """

    def __init__(self, net):
        self._net = net
        self._count = None  # the number of images in the network's present call
        self._called = set()  # the gates that this call has used
        self._gates = find_gates(net) if net is not None else {}
        self._of_batch = {name: [] for name in self._gates}
        self._batches = {name: [] for name in self._gates}

    @contextlib.contextmanager
    def recording(self):
        with contextlib.ExitStack() as hooks:
            if self._gates:
                hooks.callback(self._net.register_forward_pre_hook(self._begin).remove)
            for name, gate in self._gates.items():
                hooks.callback(gate.register_forward_hook(self._hook(name)).remove)
            yield

    def _begin(self, net, inputs):
        self._count = len(inputs[0]) if inputs else None
        self._called.clear()

    def _hook(self, name):
        def note(module, inputs, output):
            is_table = isinstance(output, torch.Tensor) and output.ndim == 2
            if not is_table or len(output) != (self._count or len(output)) or name in self._called:
                self._batches.pop(name, None)
            self._called.add(name)
            self._of_batch[name].append(output)

        return note

    def close_batch(self, count):
        """Keep each gate's last `count` rows: there are more if memory ran out and the batch was computed again."""
        self._called.clear()
        for name, outputs in self._of_batch.items():
            if name in self._batches and sum(len(output) for output in outputs) >= count:
                self._batches[name].append(torch.cat(outputs)[-count:].float().cpu())
            else:
                self._batches.pop(name, None)  # the gate was not used for all images
            outputs.clear()

    def joined(self):
        return {name: torch.cat(batches) for name, batches in self._batches.items() if batches}


def _finite(values):
    if not values.isfinite().all():
        next_step = "Its training diverged. Plot its history and train again, for example with a lower learning rate."
        raise CourseworkError("The network's scores contain NaN or Inf.", next_step=next_step)
    return values


def names_of_outputs(count: int, classes: Iterable | None = None) -> tuple[str, ...]:
    """Return names for a network's outputs without its data: `classes`, else CIFAR-10's for ten, else numbers."""
    return class_names(count, None, CLASSES if classes is None and count == len(CLASSES) else classes)


def class_names(
    count: int, data_iter=None, classes: Iterable | None = None, y: torch.Tensor | None = None
) -> tuple[str, ...]:
    """Return names for `count` classes: those in `classes`, else those of the data, else the numbers 0, 1, ...

    The data's names are an attribute `classes` of the loader, of its split or of its dataset, also if that is a Subset
    of another one. They are not used if there are fewer names than labels in y.
    """
    if classes is not None:
        classes = tuple(str(name) for name in classes)
        what = f"There are {len(classes)} names, but the network has {count} classes."
        require(len(classes) == count, what, f"classes={classes}", "Give one name for each score of the network.")
        return classes
    labels = 0 if y is None else int(y.max()) + 1
    numbers = tuple(map(str, range(count)))
    for names in _names_of(data_iter):
        if labels <= len(names) <= count:  # a network may have more outputs than the data have classes
            return (*map(str, names), *numbers[len(names) :])
    return numbers


def _names_of(data_iter):
    owner = data_iter
    while owner is not None:  # a loader, its dataset, and the dataset in a Subset, as random_split makes them
        if hasattr(owner, "classes"):
            yield owner.classes
        owner = getattr(owner, "dataset", None)
    if hasattr(data_iter, "split"):
        yield getattr(data_iter.split, "classes", CLASSES)


def probabilities(y_hat: torch.Tensor) -> torch.Tensor:
    """Return softmax(y_hat), or y_hat itself if the network ends in a softmax, as report B's does."""
    return y_hat if are_probabilities(y_hat) else y_hat.softmax(1)


def are_probabilities(y_hat: torch.Tensor) -> bool:
    """Return True if no score is negative and the scores of each image sum to 1."""
    # A network's layers don't tell: the softmax that it lists last may be its gate's.
    return bool((y_hat >= 0).all() and ((y_hat.sum(1) - 1).abs() < ROUNDING).all())


def wilson_interval(correct: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's confidence interval (low, high) for the accuracy if `correct` of `count` images are right."""
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    accuracy = correct / count
    spread = z**2 / count
    centre = (accuracy + spread / 2) / (1 + spread)
    half = (spread * (accuracy * (1 - accuracy) + spread / 4)) ** 0.5 / (1 + spread)
    # At the ends the formula gives exactly 0 and 1, but floating point would give values slightly beside them.
    low = centre - half if correct else 0.0
    high = centre + half if correct < count else 1.0
    return low, high


def top_k(y_hat: torch.Tensor, y: torch.Tensor, k: int) -> float:
    """Return the fraction of images whose class is among the k best scores; if scores are equal, the first counts."""
    score_of_label = y_hat.gather(1, y[:, None])
    is_earlier = torch.arange(y_hat.shape[1]) < y[:, None]
    is_better = (y_hat > score_of_label) | ((y_hat == score_of_label) & is_earlier)
    return float((is_better.sum(1) < k).double().mean())


def confusion_matrix(predicted: torch.Tensor, y: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the counts, int64 (classes, classes): one row per true class, one column per predicted class."""
    return torch.bincount(y * classes + predicted, minlength=classes**2).view(classes, classes)


def per_class(confusion: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return {"precision", "recall", "f1"}, each float64 (classes,); 0 for a class without images or predictions."""
    correct = confusion.diagonal().double()
    true = confusion.sum(1)
    predicted = confusion.sum(0)
    return {
        "precision": correct / predicted.clamp(min=1),
        "recall": correct / true.clamp(min=1),
        "f1": 2 * correct / (true + predicted).clamp(min=1),
    }


def calibration(p: torch.Tensor, y: torch.Tensor, bins: int = BINS) -> dict:
    """Compare confidence and accuracy in equally wide bins of the highest probability.

    Return edges (bins + 1), for each bin count, confidence and accuracy (the last two None if it is empty), and ece,
    the expected calibration error: the mean distance of confidence and accuracy, weighted by the counts.
    """
    confidence, predicted = p.double().max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    bin_of = torch.bucketize(confidence, edges[1:-1])  # a bin contains its upper edge
    count = torch.bincount(bin_of, minlength=bins)
    confidences = torch.bincount(bin_of, weights=confidence, minlength=bins) / count  # NaN where a bin is empty
    accuracies = torch.bincount(bin_of, weights=(predicted == y).double(), minlength=bins) / count
    ece = ((confidences - accuracies).abs() * count).nansum() / len(y)
    return {
        "edges": edges.tolist(),
        "count": count.tolist(),
        "confidence": _without_nan(confidences),
        "accuracy": _without_nan(accuracies),
        "ece": float(ece),
    }


def _without_nan(values):
    return [None if math.isnan(value) else value for value in values.tolist()]


def confident_mistakes(p: torch.Tensor, y: torch.Tensor, count: int = WORST) -> list[dict]:
    """List {"row", "label", "predicted", "confidence"} of the wrong predictions, the most confident first."""
    confidence, predicted = p.max(1)
    wrong = torch.nonzero(predicted != y).squeeze(1)
    rows = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    return [
        {"row": row, "label": int(y[row]), "predicted": int(predicted[row]), "confidence": float(confidence[row])}
        for row in rows.tolist()
    ]


def class_gates(gates: dict, y: torch.Tensor, classes: int) -> dict | None:
    """Return {name: mean gate output (classes, k)} of the gates that `scores` recorded, or None without gates.

    The row of a class without images is NaN.
    """
    return {name: torch.stack([a[y == c].mean(0) for c in range(classes)]) for name, a in gates.items()} or None
