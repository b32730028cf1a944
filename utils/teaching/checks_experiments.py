"""Notebook 06: examinations of spreads, intervals, tests, the power of an experiment, and a control."""

from __future__ import annotations

import math

import torch

from utils.experiments import sign_test
from utils.teaching.exercises import exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, network_of, number_of, numbers_of, tensor_of
from utils.teaching.samples import INTERVAL_HINTS, compare_shares, intervals, share_found, t_factor


@exercise(
    "06.std",
    "a standard deviation",
    population="Of n numbers, n - 1 are left after the mean is known. What do you divide by?",
    no_root="This is the variance. What turns it into a standard deviation?",
    outside="Look at the formula again: n - 1 stands under the root.",
    absolute="The deviations are squared before they are added.",
    no_mean="The deviations are those from the mean.",
    error="This is the standard error of the mean. The spread itself is wanted.",
)
def examine_standard_deviation(answer):
    x = torch.tensor([70.0, 73.0, 71.5, 78.0, 70.5])
    mistakes = {
        "population": x.std(correction=0),
        "no_root": x.var(),
        "outside": x.std() / 2,  # the root of n - 1
        "absolute": (x - x.mean()).abs().mean(),
        "no_mean": (x.square().sum() / 4).sqrt(),
        "error": x.std() / 5**0.5,
    }
    compare(number_of(call(answer, x)), x.std(), mistakes)


@exercise("06.interval", "a confidence interval of a mean", **INTERVAL_HINTS)
def examine_interval(answer):
    for x in ([80.0, 82, 84, 86, 83.5], torch.tensor([1.0, 3.0, 2.5]), [70, 71, 73]):
        right, mistakes = intervals(x)
        compare(numbers_of(call(answer, x), 2), right, mistakes, tolerance=5e-4)


@exercise(
    "06.equal-weights",
    "a gate that does not look",
    no_share="The weights of an image should add up to 1.",
    one_row="One row of weights for each image is expected: (B, k).",
    learns="This gate has nothing to learn, so it has no parameters.",
    not_equal="Every branch gets the same weight, for every image.",
)
def examine_equal_weights(answer):
    gate = network_of(call(answer, 4))
    ensure(not list(gate.parameters()), "learns")
    for X in (torch.randn(3, 5, 2, 2), torch.randn(6, 4)):
        a = call(gate, X)
        ensure(isinstance(a, torch.Tensor) and a.shape[:1] == (len(X),) and a.ndim > 1, "one_row")
        a = tensor_of(a, (len(X), 4))
        ensure(is_close(a, a[:1, :1].expand_as(a)), "not_equal")
        ensure(is_close(a.sum(1), torch.ones(len(X))), "no_share")
    ensure(call(gate, torch.ones(2, 3, device="meta"), may_change=True).is_meta, "wrong_device")


@exercise(
    "06.bootstrap",
    "a bootstrap interval",
    no_replacement="The samples have the same median. Is each drawn with replacement, and has each its own median?",
    of_means="These are the means of the samples. The medians are wanted.",
    of_values="The quantiles of the numbers themselves are too wide. Take the medians of the samples first.",
    ninety="The interval should hold the middle 95 %. How much is below its lower end?",
    wrong_size="A sample has as many numbers as there are differences.",
    two_ends="Two numbers are expected: the lower and the upper end.",
)
def examine_bootstrap(answer):
    d = -torch.rand(401, generator=torch.Generator().manual_seed(0)).log()  # skewed: its mean is not its median
    with hint_is("two_ends", in_place_of=["wrong_type"]):
        low, high = numbers_of(call(answer, d), 2)
    ensure(high - low > 1e-3, "no_replacement")
    error = float(d.std()) / 401**0.5
    of_means = float(d.mean()) - 1.96 * error, float(d.mean()) + 1.96 * error
    ensure(max(abs(low - of_means[0]), abs(high - of_means[1])) > 0.4 * error, "of_means")
    ranks = [int((d <= end + 1e-6).sum()) for end in (low, high)]
    half = (ranks[1] - ranks[0]) / 401**0.5  # half the width, in standard deviations of the median's rank
    ensure(half < 15, "of_values")
    ensure(not 1.5 < half < 1.8, "ninety")
    ensure(1.8 < half < 2.15, "wrong_size")
    ensure(abs(sum(ranks) / 2 - 201) < 3, "wrong_value")


@exercise(
    "06.coin",
    "the p-value of a sign test",
    one_sided="Both tails count: a result is as extreme on the other side.",
    above_one="A probability is at most 1. Try 4 against 4.",
    one_short="The sum ends too early: the result itself counts, too.",
    one_result="Results that are more extreme count, too.",
    wrong_tail="You add up the large tail. Which of a and b is the smaller number?",
    not_divided="There are 2 to the power of n equally probable results.",
)
def examine_coin_test(answer):
    cases = [(7, 1), (1, 7), (12, 5), (20, 30), (0, 6)]
    values = [number_of(call(answer, a, b)) for a, b in cases]

    def tails(factor=2, single=False, large=False):
        sums = []
        for a, b in cases:
            n, m = a + b, max(a, b) if large else min(a, b)
            sums.append(factor * sum(math.comb(n, i) for i in range(m if single else 0, m + 1)) / 2**n)
        return sums

    mistakes = {
        "one_sided": tails(factor=1),
        "one_result": tails(single=True),
        "wrong_tail": tails(large=True),
        "not_divided": [p * 2 ** (a + b) for p, (a, b) in zip(tails(), cases, strict=True)],
    }
    ensure(not is_close(values, tails(single=True, factor=1)), "one_result")
    ensure(not is_close(values, [min(1.0, p) for p in tails(large=True)]), "wrong_tail")
    right = [sign_test(a, b) for a, b in cases]
    ensure(is_close(values[0], right[0]) == is_close(values[1], right[1]), "wrong_tail")  # 7 to 1, and 1 to 7
    ensure(not is_close(values[0], 2 * 9 / 16), "not_divided")  # divided by 2n
    ensure(not is_close(values[0], 2 * 1 / 256), "one_short")
    compare(values, right, mistakes)
    ensure(number_of(call(answer, 4, 4)) <= 1, "above_one")


@exercise(
    "06.power",
    "how often an experiment finds a difference",
    missed="This is how often the experiment misses the difference.",
    normal=INTERVAL_HINTS["normal"],
    no_error=INTERVAL_HINTS["no_error"],
    known="An experiment does not know the true spread. It computes the standard deviation of its own differences.",
    counts="A share from 0 to 1 is expected.",
    no_spread="Does the argument `spread` reach the simulated differences?",
    single="One experiment is chance. Simulate thousands, and return the share that finds the difference.",
)
def examine_power(answer):
    cases = [(0.5, 0.5, 6), (1.0, 2.0, 10), (0.5, 0.25, 3)]
    values = [number_of(call(answer, *case)) for case in cases]
    ensure(not all(value in (0.0, 1.0) for value in values), "single")
    ensure(max(values) <= 1, "counts")
    right = [share_found(*case) for case in cases]
    others = {
        "missed": [1 - value for value in right],
        "normal": [share_found(*case, factor=1.96) for case in cases],
        "no_error": [share_found(*case, error=False) for case in cases],
        "no_spread": [share_found(d, 1.0, n) for d, _, n in cases],
        "known": [share_found(*case, is_known=True) for case in cases],
    }
    compare_shares(values, right, others)


@exercise(
    "06.control",
    "two rows that differ in a single thing",
    two_rows="Two numbers of rows are expected, such as [1, 2].",
    same="A row can't be compared with itself.",
    unknown="The rows shown are 1, 2, 4, 6 and 9.",
    row_1="Row 1 differs from each other row in the learning rate, the batch size and the epochs, too.",
    convolutions="The number of convolutions differs, and something else, too. Compare the settings.",
)
def examine_control(answer):
    ensure(isinstance(answer, (list, tuple, set)) and len(answer) == 2, "two_rows")
    rows = {number_of(row, what="A row") for row in answer}
    ensure(rows <= {1, 2, 4, 6, 9}, "unknown")
    ensure(len(rows) == 2, "same")
    ensure(1 not in rows, "row_1")
    ensure(rows == {2, 4}, "convolutions")


@exercise("06.by-hand", "a confidence interval by hand", mean="The first number is the mean.", **INTERVAL_HINTS)
def examine_by_hand(answer):
    values = numbers_of(answer, 2, what="The list [mean, half]")
    right, mistakes = intervals([80.0, 82, 84, 86])
    ensure(abs(values[0] - 83) < 0.01 or is_close(values, mistakes["ends"], 2e-3), "mean")
    compare(values, right, mistakes, tolerance=2e-3)  # two decimals are enough


@exercise(
    "06.peeking",
    "false alarms of a student who looks after each seed",
    last_look="Only one look is counted. An alarm in any of the looks ends the experiment.",
    too_often="There are too many alarms. Do the looks share their seeds, and is the factor that of the table?",
    all_looks="You count every alarm. An experiment has one at most, since it ends there.",
    one_side="A difference below zero is an alarm, too.",
    no_alarm="This is how often the student finds nothing.",
)
def examine_false_alarms(answer):
    d = torch.randn(6000, 10, generator=torch.Generator().manual_seed(1))

    def looks(factor=None):
        alarms = []
        for n in range(3, 11):
            x = d[:, :n]
            alarms.append(x.mean(1) / (x.std(1) / n**0.5) / (factor or t_factor(x[0])))
        return torch.stack(alarms)

    z = looks()
    share = float((z.abs() > 1).any(0).double().mean())
    others = {
        "last_look": 0.05,
        "too_often": float((looks(1.96).abs() > 1).any(0).double().mean()),
        "all_looks": float((z.abs() > 1).double().sum(0).mean()),
        "one_side": float((z > 1).any(0).double().mean()),
        "no_alarm": 1 - share,
    }
    value = number_of(call(answer))
    compare_shares([value], [share], {hint: [other] for hint, other in others.items()}, tolerance=0.02)
