"""Notebook 05: examinations of predictions, intervals, the confusion matrix and calibration."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from utils.evaluation import per_class, wilson_interval
from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, number_of, numbers_of, tensor_of
from utils.teaching.loops import Watched, make_batches


@exercise(
    "05.predict-all",
    "the scores of all images",
    two_tensors="Two tensors are expected, in this order: the scores (n, classes) and the labels (n,).",
    last_batch="Some images are missing. Is the last, smaller batch left out?",
    probabilities="The scores are expected as the network returns them, without a softmax.",
    training_mode="The network is in training mode while it predicts.",
    gradients="PyTorch prepares gradients here, which costs memory. Which line switches that off?",
)
def examine_predict_all(answer):
    net, batches = Watched().train(), make_batches(seed=2)
    X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    result = call(answer, net, batches, may_change=True)
    ensure(isinstance(result, (tuple, list)) and len(result) == 2, "two_tensors")
    scores = net.linear(X)
    ensure(all(isinstance(part, torch.Tensor) for part in result), "two_tensors")
    ensure(result[0].ndim == 2 and result[1].ndim == 1, "two_tensors")
    ensure(len(result[0]) == len(X), "last_batch")
    compare(tensor_of(result[0], scores.shape), scores, {"probabilities": scores.softmax(1)})
    compare(tensor_of(result[1], y.shape, whole=True), y)
    ensure(not any(gradients for _, _, gradients in net.uses), "gradients")
    ensure(not any(training for _, training, _ in net.uses), "training_mode")


INTERVAL_HINTS = {
    "no_root": "The standard deviation is a square root.",
    "not_by_n": "The standard deviation of a mean falls with the number of images.",
    "one_sigma": "95 % of the values lie within 1.96 standard deviations, not within one.",
    "two_ends": "Two numbers are expected: the lower and the upper end.",
    "swapped": "The lower end comes first.",
    "root_without_n": "The number of images stands under the root, too.",
    "percent": "Fractions from 0 to 1 are expected.",
}


@exercise("05.normal-interval", "the normal interval of an accuracy", **INTERVAL_HINTS)
def examine_normal_interval(answer):
    m, n = 72, 90
    p = m / n
    sigma = math.sqrt(p * (1 - p) / n)
    result = call(answer, m, n)
    with hint_is("two_ends"):
        ends = numbers_of(result, 2)
    mistakes = {
        "no_root": [p - 1.96 * sigma**2, p + 1.96 * sigma**2],
        "not_by_n": [p - 1.96 * sigma * math.sqrt(n), p + 1.96 * sigma * math.sqrt(n)],
        "one_sigma": [p - sigma, p + sigma],
        "two_ends": [p, 1.96 * sigma],
        "percent": [100 * (p - 1.96 * sigma), 100 * (p + 1.96 * sigma)],
        "swapped": [p + 1.96 * sigma, p - 1.96 * sigma],
        "root_without_n": [p - 1.96 * sigma / math.sqrt(n), p + 1.96 * sigma / math.sqrt(n)],
    }
    compare(ends, [p - 1.96 * sigma, p + 1.96 * sigma], mistakes)


def _ends(p, s):
    """Return the ends of Wilson's interval, with s for the square of z divided by n."""
    half = math.sqrt(s * p * (1 - p) + s**2 / 4)
    return [(p + s / 2 - half) / (1 + s), (p + s / 2 + half) / (1 + s)]


@exercise(
    "05.wilson",
    "Wilson's interval",
    normal="This is the normal interval: it has no width if all answers are right.",
    old_middle="The middle of the interval is not the measured accuracy. It lies closer to 1/2.",
    not_divided="In the formula 1 + s divides both, the middle and the root. Look at your brackets.",
    no_square="s stands for the square of z, divided by n.",
    numbers_only="m may be a tensor of many counts. Which functions take numbers only?",
    **{name: INTERVAL_HINTS[name] for name in ("two_ends", "no_root")},
)
def examine_wilson(answer):
    m, n = 18, 20
    p, s = m / n, 1.96**2 / n
    inside = s * p * (1 - p) + s**2 / 4
    half, middle = math.sqrt(inside), p + s / 2
    sigma = 1.96 * math.sqrt(p * (1 - p) / n)
    with hint_is("two_ends", in_place_of=["wrong_type"]):
        ends = numbers_of(call(answer, m, n), 2)
    mistakes = {
        "normal": [p - sigma, p + sigma],
        "old_middle": [p - half / (1 + s), p + half / (1 + s)],
        "not_divided": [middle - half, middle + half],
        "no_square": _ends(p, 1.96 / n),
        "no_root": [(middle - inside) / (1 + s), (middle + inside) / (1 + s)],
    }
    ensure(not is_close(ends, [middle - half / (1 + s), middle + half / (1 + s)], 1e-3), "not_divided")
    right = wilson_interval(m, n)
    compare(ends, right, mistakes, tolerance=1e-3)
    counts = torch.tensor([0, 7, 20])
    try:
        low, high = call(answer, counts, n)
        compare(torch.stack([low, high], 1), [wilson_interval(m, n) for m in (0, 7, 20)], tolerance=1e-3)
    except (Wrong, TypeError, ValueError):
        raise Wrong("numbers_only") from None


@exercise(
    "05.confusion",
    "the confusion matrix",
    transposed="Rows are true classes, columns are predictions. You exchange them.",
    shares="Counts are expected, not shares.",
    too_small="A class that does not occur has a row and a column, too.",
    diagonal="Mistakes are counted as well as right answers.",
    repeated="A pair that occurs several times is counted once: `C[y, predicted] += 1` adds 1 only once to a place.",
)
def examine_confusion(answer):
    y = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = torch.tensor([0, 1, 1, 1, 2, 2, 0, 0, 0])
    right = torch.zeros(4, 4).index_put((y, predicted), torch.ones(9), accumulate=True)
    C = call(answer, predicted, y, 4)
    ensure(not isinstance(C, torch.Tensor) or C.shape != (3, 3), "too_small")
    ensure(not is_close(C, right / 9) and not is_close(C, right / right.sum(1, keepdim=True).clamp(min=1)), "shares")
    compare(C, right, {"transposed": right.T, "diagonal": right.diag().diag(), "repeated": right.clamp(max=1)})
    ensure(C.shape == (4, 4), "too_small")


@exercise(
    "05.f1",
    "the F1 score of each class",
    recall="This is the recall, along the rows.",
    precision="This is the precision, down the columns.",
    arithmetic="This is the ordinary mean of precision and recall. The harmonic mean is lower.",
    overall="One number for each class is expected.",
    empty="A class that is never predicted, or does not occur, should get 0, and not `nan`.",
)
def examine_f1(answer):
    C = torch.tensor([[8, 2, 0], [3, 5, 2], [1, 4, 15]])
    recall, precision = C.diagonal() / C.sum(1), C.diagonal() / C.sum(0)
    result = call(answer, C)
    ensure(not isinstance(result, (int, float)) and getattr(result, "ndim", 1) == 1, "overall")
    mistakes = {"recall": recall, "precision": precision, "arithmetic": (recall + precision) / 2}
    compare(tensor_of(result, (3,)), per_class(C)["f1"], mistakes)
    for row in ([3, 0, 5], [0, 0, 0]):  # the second class is never predicted; then it does not even occur
        C = torch.tensor([[8, 0, 2], row, [0, 0, 4]])
        with hint_is("empty"):
            compare(tensor_of(call(answer, C), (3,)), [16 / (18 + row[0]), 0.0, 8 / (10 + row[2])])


@exercise(
    "05.ece",
    "the bins and the calibration error",
    four="Four results are expected: counts, mean confidences, accuracies, and the ECE.",
    unweighted="A bin counts by the share of its images. You give all bins the same weight.",
    signed="Gaps of opposite signs cancel. What is missing around the difference?",
    not_finite="An empty bin makes the sum `nan`. Leave it out.",
    counts="The counts of the bins are not right. Bin b holds the confidences from b/bins to (b + 1)/bins.",
    last_bin="Where is a confidence of exactly 1? It belongs to the last bin.",
    exchanged="The second result is the mean confidence of each bin, the third one the accuracy.",
    means="The mean confidence or the accuracy of a bin is not right. Over which predictions is the mean?",
    summed="The gaps are multiplied by counts. By which number must the sum be divided?",
    largest="This is the largest gap. The mean gap is wanted.",
)
def examine_ece(answer):
    confidence = torch.tensor([0.95, 0.9, 0.85, 1.0, 0.55, 0.62, 0.52, 0.3, 0.25, 0.81])  # none on an inner edge
    correct = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 1, 0])
    bins = 5
    result = call(answer, confidence, correct, bins)
    ensure(isinstance(result, (tuple, list)) and len(result) == 4, "four")
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(bin_of, minlength=bins)
    conf = torch.stack([confidence[bin_of == b].mean() for b in range(bins)])
    acc = torch.stack([correct[bin_of == b].float().mean() for b in range(bins)])
    gaps = (acc - conf).nan_to_num()
    mistakes = {
        "unweighted": gaps.abs().sum() / (counts > 0).sum(),
        "signed": (counts / 10 * gaps).sum().abs(),
        "summed": (counts * gaps.abs()).sum(),
        "largest": gaps.abs().max(),
    }
    if not is_close(result[0], counts):
        raise Wrong(
            "last_bin" if is_close(result[0], torch.bincount(bin_of[confidence < 1], minlength=bins)) else "counts"
        )
    compare(number_of(result[3]), (counts / 10 * gaps.abs()).sum(), mistakes | {"signed": (counts / 10 * gaps).sum()})
    filled = counts > 0
    means = [torch.as_tensor(part)[filled] for part in result[1:3]]
    ensure(not is_close(means[0], acc[filled]) or not is_close(means[1], conf[filled]), "exchanged")
    ensure(is_close(means[0], conf[filled]) and is_close(means[1], acc[filled]), "means")


@exercise(
    "05.temperature",
    "a temperature fitted to the loss",
    inverse="The logits are divided by T. You seem to multiply.",
    worst="The loss is higher than without a temperature. Do you look for the smallest loss?",
    fixed="Other predictions need another temperature. Which values do you try?",
    too_coarse="The loss can still be lowered. Try temperatures below and above 1 that are closer together.",
    loss_itself="This is the smallest loss. Which temperature gives it?",
    position="This is the position in your list of temperatures. Which temperature stands there?",
)
def examine_temperature(answer):
    generator = torch.Generator().manual_seed(0)
    y_hat = 2 * torch.randn(3000, 4, generator=generator)
    y = torch.multinomial(y_hat.softmax(1), 1, generator=generator)[:, 0]
    found = []
    for factor in (2.7, 0.6):
        result = call(answer, factor * y_hat, y)
        ensure(not isinstance(result, torch.Tensor) or result.is_floating_point(), "position")
        T = number_of(result)
        ensure(T > 0, "worst")
        best = min((i / 100 for i in range(20, 600)), key=lambda T: F.cross_entropy(factor * y_hat / T, y))
        ensure(not is_close(T, F.cross_entropy(factor * y_hat / best, y), 3e-3), "loss_itself")
        if abs(T - best) > 0.08 and abs(T - 1 / best) < 0.08:
            raise Wrong("inverse")
        found.append((T, best, factor))
    for T, _, factor in found:
        ensure(F.cross_entropy(factor * y_hat / T, y) <= F.cross_entropy(factor * y_hat, y), "worst")
    ensure(abs(found[0][0] - found[1][0]) > 0.01, "fixed")
    ensure(all(abs(T - best) <= 0.08 for T, best, _ in found), "too_coarse")
