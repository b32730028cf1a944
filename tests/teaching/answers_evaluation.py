"""Notebook 05: other right answers, and wrong ones with the hint that each should get."""

import math

import torch
import torch.nn.functional as F

from utils.evaluation import confusion_matrix, scores, wilson_interval


def predictions(*, evals=True, gradients=False, skip=0, softmax=False, stack=True):
    def predict_all(net, data_iter):
        net.train(not evals)
        with torch.set_grad_enabled(gradients):
            parts = [(net(X), y) for X, y in data_iter[: len(data_iter) - skip]]
        y_hat, y = (torch.cat(values) for values in zip(*parts, strict=True))
        y_hat = y_hat.softmax(1) if softmax else y_hat
        return (y_hat, y) if stack else y_hat

    return predict_all


def normal(m, n, z=1.96, *, power=0.5, by_n=True, factor=1.0, ends=True, outside=False):
    p = m / n
    half = z * (p * (1 - p) / (n**2 if outside else n if by_n else 1)) ** power
    return (factor * (p - half), factor * (p + half)) if ends else (p, half)


def wilson(m, n, *, middle=True, divided=True, power=0.5, z2=1.96**2):
    """Return the interval in the form with counts: the ends solve a quadratic equation."""
    p = m / n
    centre = (m + z2 / 2) / n if middle else p * (1 + z2 / n)
    half = (z2 * p * (1 - p) / n + (z2 / (2 * n)) ** 2) ** power
    bottom = 1 + z2 / n if divided else 1
    return (centre - half) / bottom, (centre + half) / bottom


def counted_once(predicted, y, num_classes):
    C = torch.zeros(num_classes, num_classes)
    C[y, predicted] += 1
    return C


def f1(C, *, kind="f1"):
    tp = C.diagonal().double()
    recall, precision = tp / C.sum(1).clamp(min=1), tp / C.sum(0).clamp(min=1)
    both = precision + recall
    harmonic = torch.where(both > 0, 2 * precision * recall / both.clamp(min=1e-12), 0.0)
    values = {
        "f1": harmonic,
        "recall": recall,
        "precision": precision,
        "mean": both / 2,
        "raw": 2 / (1 / recall + 1 / precision),
    }
    return values[kind] if kind in values else harmonic.mean()


def bins_of(
    *, weighted=True, absolute=True, skip_empty=True, divided=True, largest=False, shift=0, last=1, order=(0, 1, 2, 3)
):
    def sort_into_bins(confidence, correct, bins=15):
        rows = [(confidence * bins).long().clamp(max=bins - last) - shift == b for b in range(bins)]
        n_b = torch.tensor([int(row.sum()) for row in rows])
        conf_b = torch.stack([confidence[row].mean() for row in rows])
        acc_b = torch.stack([correct[row].float().mean() for row in rows])
        gaps = acc_b - conf_b
        gaps = gaps.abs() if absolute else gaps
        weights = n_b / (len(correct) if divided else 1) if weighted else torch.ones(bins) / (n_b > 0).sum()
        total = (weights * gaps).nansum() if skip_empty else (weights * gaps).sum()
        ece = gaps[n_b > 0].max() if largest else total
        results = (n_b, conf_b, acc_b, ece.item())
        return [results[i] for i in order]

    return sort_into_bins


def bins_between_edges(confidence, correct, bins=15):
    """Sort with two comparisons: a confidence on an edge falls into the lower bin."""
    rows = [(confidence > b / bins) & (confidence <= (b + 1) / bins) for b in range(bins)]
    means = [(confidence[row].mean(), correct[row].float().mean()) for row in rows]
    ece = sum(row.sum() * abs(a - b) for row, (a, b) in zip(rows, means, strict=True) if row.any()) / len(correct)
    return torch.stack([row.sum() for row in rows]), *map(torch.stack, zip(*means, strict=True)), ece


def temperature(*, low=0.1, step=0.02, multiply=False, worst=False):
    def fit_temperature(y_hat, y):
        candidates = [low + step * i for i in range(int(6 / step))]
        losses = [F.cross_entropy(y_hat * T if multiply else y_hat / T, y).item() for T in candidates]
        return candidates[losses.index(max(losses) if worst else min(losses))]

    return fit_temperature


def paired(*, sign=1, scale=100, power=0.5, z=1.96, correction=1, independent=False, both=True, late=False):
    def paired_loss(before, after):
        d = (before - after).double() if late else before.double() - after.double()
        s = (before.double().var() + after.double().var()).sqrt() if independent else d.std(correction=correction)
        mean, half = sign * scale * d.mean(), scale * z * s / len(d) ** power
        return (mean, half) if both else mean

    return paired_loss


def cam(*, relu=True, mean=(2, 3), early=False, score="label", leave=False, detach=True, factor=1):
    def grad_cam(net, layer, X, label):
        outputs = []
        hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        y_hat = net(X).softmax(1) if score == "softmax" else net(X)
        if not leave:
            hook.remove()
        one_hot = F.one_hot(label, y_hat.shape[1])
        if score == "first":
            one_hot = F.one_hot(label[:1], y_hat.shape[1])
        if score == "predicted":
            one_hot = F.one_hot(y_hat.argmax(1), y_hat.shape[1])
        chosen = y_hat if score == "all" else y_hat[:, label] if score == "each" else y_hat * one_hot
        (G,) = torch.autograd.grad(chosen.sum(), outputs)
        alpha = factor * G.mean(mean, keepdim=True) if mean else G
        maps = alpha * outputs[0]
        maps = (maps.clamp(min=0) if early else maps).sum(1)
        maps = maps.clamp(min=0) if relu else maps
        return maps.detach() if detach else maps

    return grad_cam


def separate(
    change=lambda between, whole: between.sum() / whole.sum(), correction=0, both=True, means=True, pooled=False
):
    def separation(a, y):
        sums = torch.zeros(3, 3).index_add(0, y, a) / torch.bincount(y)[:, None]
        axis = None if pooled else 0
        value = change(sums.var(axis, correction=correction), a.var(axis, correction=correction))
        return (value, sums if means else a) if both else value

    return separation


def merge(*, ways=2, diagonal=False, divided=True, names=True, three=True, total=lambda C: int(C.sum())):
    def best_merge(confusion, classes):
        best, pair = -1, None
        for i in range(len(classes)):
            for j in range(len(classes)):
                if i != j or diagonal:
                    gain = int(confusion[i, j]) + (int(confusion[j, i]) if ways == 2 else 0)
                    if gain > best:
                        best, pair = gain, (i, j)
        found = [classes[i] for i in pair] if names else list(pair)
        return (*found, best / (total(confusion) if divided else 1)) if three else found

    return best_merge


ALSO_RIGHT = {
    "05.predict-all": scores,
    "05.normal-interval": lambda m, n: [m / n + sign * 1.96 * math.sqrt(m * (n - m) / n) / n for sign in (-1, 1)],
    "05.wilson": wilson,
    "05.confusion": confusion_matrix,
    "05.f1": f1,
    "05.ece": bins_between_edges,
    "05.temperature": temperature(),
    "05.grad-cam": cam(),
    "05.separation": separate(),
    "05.paired": paired(correction=0),
    "05.merge": merge(),
}
WRONG = {
    "05.predict-all": {
        "two_tensors": predictions(stack=False),
        "last_batch": predictions(skip=1),
        "probabilities": predictions(softmax=True),
        "training_mode": predictions(evals=False),
        "gradients": predictions(gradients=True),
    },
    "05.normal-interval": {
        "no_root": lambda m, n: normal(m, n, power=1),
        "not_by_n": lambda m, n: normal(m, n, by_n=False),
        "one_sigma": lambda m, n: normal(m, n, z=1),
        "two_ends": lambda m, n: normal(m, n, ends=False),
        "percent": lambda m, n: normal(m, n, factor=100),
        "swapped": lambda m, n: normal(m, n, factor=1)[::-1],
        "root_without_n": lambda m, n: normal(m, n, outside=True),
    },
    "05.wilson": {
        "normal": normal,
        "old_middle": lambda m, n: wilson(m, n, middle=False),
        "not_divided": lambda m, n: wilson(m, n, divided=False),
        "numbers_only": lambda m, n: wilson_interval(int(m), n),
        "no_root": lambda m, n: wilson(m, n, power=1),
        "no_square": lambda m, n: wilson(m, n, z2=1.96),
        "two_ends": lambda m, n: 0.5,
    },
    "05.confusion": {
        "transposed": lambda predicted, y, k: confusion_matrix(y, predicted, k),
        "shares": lambda predicted, y, k: confusion_matrix(predicted, y, k) / len(y),
        "too_small": lambda predicted, y, k: confusion_matrix(predicted, y, int(y.max()) + 1),
        "diagonal": lambda predicted, y, k: confusion_matrix(predicted, y, k).diag().diag(),
        "repeated": counted_once,
    },
    "05.f1": {
        "recall": lambda C: f1(C, kind="recall"),
        "precision": lambda C: f1(C, kind="precision"),
        "arithmetic": lambda C: f1(C, kind="mean"),
        "overall": lambda C: f1(C, kind="macro"),
        "empty": lambda C: 2 * C.diagonal() / (C.sum(0) + C.sum(1)),
    },
    "05.ece": {
        "four": bins_of(order=[3]),
        "exchanged": bins_of(order=[0, 2, 1, 3]),
        "means": bins_of(order=[0, 1, 1, 3]),
        "last_bin": bins_of(last=0),
        "unweighted": bins_of(weighted=False),
        "signed": bins_of(absolute=False),
        "not_finite": bins_of(skip_empty=False),
        "counts": bins_of(shift=1),
        "summed": bins_of(divided=False),
        "largest": bins_of(largest=True),
    },
    "05.temperature": {
        "inverse": temperature(multiply=True),
        "worst": temperature(worst=True),
        "fixed": lambda y_hat, y: 1.0,
        "too_coarse": temperature(step=0.5, low=0.5),
        "loss_itself": lambda y_hat, y: min(F.cross_entropy(y_hat / (i / 50), y) for i in range(5, 300)),
        "position": lambda y_hat, y: torch.stack(
            [F.cross_entropy(y_hat / (i / 50), y) for i in range(5, 300)]
        ).argmin(),
    },
    "05.grad-cam": {
        "no_relu": cam(relu=False),
        "per_position": cam(mean=1),
        "all_labels": cam(score="each"),
        "softmax": cam(score="softmax"),
        "summed": cam(factor=16),
        "early_relu": cam(early=True),
        "all_classes": cam(score="all"),
        "predicted": cam(score="predicted"),
        "one_label": cam(score="first"),
        "hook_left": cam(leave=True),
        "graph": cam(detach=False),
    },
    "05.separation": {
        "two_results": separate(both=False),
        "sample_variance": separate(correction=1),
        "within": separate(lambda between, whole: 1 - between.sum() / whole.sum()),
        "inverse": separate(lambda between, whole: whole.sum() / between.sum()),
        "first_branch": separate(lambda between, whole: between[0] / whole[0]),
        "means_of_ratios": separate(lambda between, whole: (between / whole).mean()),
        "pooled": separate(pooled=True),
        "deviations": separate(lambda between, whole: between.sqrt().sum() / whole.sqrt().sum()),
        "not_means": separate(means=False),
    },
    "05.paired": {
        "unpaired": paired(independent=True),
        "sign": paired(sign=-1),
        "fraction": paired(scale=1),
        "no_root": paired(power=1),
        "one_sigma": paired(z=1),
        "two_numbers": paired(both=False),
        "full_width": paired(z=2 * 1.96),
        "booleans": paired(late=True),
    },
    "05.merge": {
        "one_direction": merge(ways=1),
        "diagonal": merge(diagonal=True),
        "counts": merge(divided=False),
        "three_results": merge(three=False),
        "names": merge(names=False),
        "changed_sum": merge(total=lambda C: 2 * int(C.sum() - C.trace())),
    },
}
