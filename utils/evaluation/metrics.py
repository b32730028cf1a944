"""Owns a network's scores, taken in one pass, and the figures that follow from them. Draws nothing, knows no file."""

from __future__ import annotations

import contextlib
import statistics

import torch
from torch import nn

from utils.errors import CourseworkError
from utils.models.blocks import GatedBlock
from utils.training.measure import in_mode, place

BINS = 15  # of the confidence, all equally wide
WORST = 20  # mistakes that are listed, the most confident ones


@torch.no_grad()
def scores(net, data_iter, predict=None, *, gates=None):
    """Return (scores float32 (n, classes), labels (n,)) of one pass in eval mode, both on the CPU.

    A dict given as gates is filled with each gated block's weights (n, k).
    """
    device, blocks = place(net, None), {n: part for n, part in net.named_modules() if isinstance(part, GatedBlock)}
    found, labels, seen, weights = [], [], {}, {name: [] for name in blocks}
    with in_mode(net, training=False), contextlib.ExitStack() as hooks:
        for name, block in blocks.items() if gates is not None else ():
            hook = block.gate.register_forward_hook(lambda _, __, a, name=name: seen.setdefault(name, []).append(a))
            hooks.callback(hook.remove)
        for X, y in data_iter:
            X = X.to(device, non_blocking=True)
            found.append((net(X) if predict is None else predict(net, X)).float().cpu())
            labels.append(y.cpu())
            for name in seen:  # the last rows: a batch that was done again in smaller parts was seen twice
                weights[name].append(torch.cat(seen[name])[-len(y) :].float().cpu())
            seen.clear()
    if gates is not None:
        gates.update({name: torch.cat(parts) for name, parts in weights.items() if parts})
    return _finite(torch.cat(found)), torch.cat(labels)


def _finite(values):
    if not values.isfinite().all():
        advice = "Such a network was not trained to its end: look at its history, and train it again."
        raise CourseworkError("The network's scores hold NaN or Inf.", next_step=advice)
    return values


def probabilities(net, y_hat):
    """Return softmax(y_hat), or y_hat itself where the network's own last layer is a softmax."""
    return y_hat if ends_in_softmax(net) else y_hat.softmax(1)


def ends_in_softmax(net):
    """Tell whether the last layer of a network is a softmax, as report B has it."""
    return isinstance([net, *net.children()][-1], nn.Softmax)


def wilson_interval(correct, count, level=0.95):
    """Return (low, high): the accuracies that `correct` of `count` images fit with, by Wilson's formula."""
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    share, spread = correct / count, z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = (spread * (share * (1 - share) + spread / 4)) ** 0.5 / (1 + spread)
    # At both ends the formula gives 0 and 1 exactly, which floats miss by a hair.
    return (middle - half if correct else 0.0), (middle + half if correct < count else 1.0)


def top_k(y_hat, y, k):
    """Return the fraction of images whose class is among the k best scores; of equal scores the first counts more."""
    own, places = y_hat.gather(1, y[:, None]), torch.arange(y_hat.shape[1])
    before = (y_hat > own) | ((y_hat == own) & (places < y[:, None]))
    return float((before.sum(1) < k).double().mean())


def confusion_matrix(said, y, classes):
    """Return counts, int64 (classes, classes): a row for each true class, a column for each class that was said."""
    return torch.bincount(y * classes + said, minlength=classes**2).view(classes, classes)


def per_class(confusion):
    """Return {"precision", "recall", "f1"}, each float64 (classes,); a fraction of nothing counts as 0."""
    right, true, said = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    ratios = {"precision": (right, said), "recall": (right, true), "f1": (2 * right, true + said)}
    return {name: part / whole.clamp(min=1) for name, (part, whole) in ratios.items()}


def calibration(p, y, bins=BINS):
    """Compare confidence and accuracy in equal bins of the highest probability; ece is their mean distance.

    Return edges (bins + 1), and for each bin count, confidence and accuracy, the last two None where it is empty.
    """
    confidence, said = p.double().max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    bin_of = torch.bucketize(confidence, edges[1:-1])  # a bin holds its upper edge
    count, sums = torch.bincount(bin_of, minlength=bins), torch.zeros(2, bins, dtype=torch.float64)
    sums.index_add_(1, bin_of, torch.stack([confidence, (said == y).double()]))
    means = [[total / n if n else None for total, n in zip(row, count.tolist(), strict=True)] for row in sums.tolist()]
    ece = float((sums[0] - sums[1]).abs().sum() / len(y))
    return {"edges": edges.tolist(), "count": count.tolist(), "confidence": means[0], "accuracy": means[1], "ece": ece}


def confident_mistakes(p, y, count=WORST):
    """List {"row", "label", "said", "confidence"} of the wrong answers, the most confident first."""
    confidence, said = p.max(1)
    wrong = torch.nonzero(said != y).squeeze(1)
    rows = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    found = {"row": rows, "label": y[rows], "said": said[rows], "confidence": confidence[rows]}
    return [dict(zip(found, values, strict=True)) for values in zip(*(v.tolist() for v in found.values()), strict=True)]


def class_gates(gates, y, classes):
    """Return {block: mean weights (classes, k)} of the gates that scores filled; nothing of a plain network: None."""
    return {name: torch.stack([a[y == c].mean(0) for c in range(classes)]) for name, a in gates.items()} or None
