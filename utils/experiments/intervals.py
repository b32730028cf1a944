"""Intervals and tests for a handful of numbers, such as the accuracies of a few seeds.

t_interval([71, 70, 72])  # (71.0, 2.48): the mean, and half the width of its 95 % confidence interval
sign_test(7, 1)           # 0.0703
"""

from __future__ import annotations

import math
import statistics

import numpy as np

STEPS = 200_000  # of the numerical integral: enough for six digits


def t_quantile(degrees: int, level: float = 0.95) -> float:
    """Return t such that a t distribution with these degrees of freedom has the share `level` between -t and t."""
    # With t = sqrt(degrees) tan(u), the density becomes a multiple of cos(u) ** (degrees - 1).
    edges = np.linspace(0, math.pi / 2, STEPS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    area = np.concatenate([[0.0], np.cumsum(np.cos(middles) ** (degrees - 1))])
    return math.sqrt(degrees) * math.tan(np.interp(level, area / area[-1], edges))


def t_interval(values, level: float = 0.95) -> tuple[float, float]:
    """Return the mean of values and half the width of its confidence interval (infinite for a single value)."""
    values = [float(value) for value in values]
    if len(values) < 2:
        return values[0], math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), t_quantile(len(values) - 1, level) * error


def sign_test(one: int, other: int) -> float:
    """Return the two-sided p-value of `one` against `other` decisions, if each were the toss of a fair coin."""
    n = one + other
    tail = sum(math.comb(n, i) for i in range(min(one, other) + 1))
    return min(1.0, 2 * tail / 2**n)
