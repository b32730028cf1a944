"""What examinations of intervals and of simulated experiments share: right values, and those of typical mistakes."""

from __future__ import annotations

import torch

from utils.experiments import t_interval
from utils.teaching.exercises import Wrong

NEAR = 0.035  # how far two simulated shares may differ by chance
INTERVAL_HINTS = {
    "normal": "The factor 1.96 is that of the normal distribution. Few numbers need the larger one of the table.",
    "freedom": "The mean has used up one of the n numbers. In which row of the table do you look?",
    "no_error": "The mean varies less than a single number. Divide by the root of n.",
    "population": "The standard deviation of n numbers divides by n - 1.",
    "by_n": "The standard error divides by the root of n.",
    "no_factor": "This is the standard error. By which number of the table is it multiplied?",
    "spread": "This is the standard deviation of single numbers. Which two other numbers does the formula have?",
    "full_width": "Half the width is expected: what stands behind the ± sign.",
    "ends": "The mean and half the width are expected, not the two ends.",
}


def t_factor(x):
    """Return the number of the t-table that belongs to the interval of these numbers."""
    return t_interval(x)[1] / float(x.std() / len(x) ** 0.5)


def intervals(x):
    """Return the right mean and half-width, and those of the typical mistakes."""
    x = torch.as_tensor(x, dtype=torch.float64)
    n, mean, s = len(x), x.mean(), x.std()
    right = t_interval(x)
    t, t_n = t_factor(x), t_factor(torch.stack([*x, mean]))  # that of n + 1 numbers, too
    mistakes = {
        "normal": 1.96 * s / n**0.5,
        "freedom": t_n * s / n**0.5,
        "no_error": t * s,
        "population": t * x.std(correction=0) / n**0.5,
        "by_n": t * s / n,
        "no_factor": s / n**0.5,
        "spread": s,
        "full_width": 2 * right[1],
    }
    ends = [mean - right[1], mean + right[1]]
    return right, {hint: [mean, half] for hint, half in mistakes.items()} | {"ends": ends}


def share_found(difference, spread, n, *, factor=None, error=True, is_known=False):
    """Return the share of 6,000 simulated experiments whose interval lies above zero."""
    d = difference + spread * torch.randn(6000, n, generator=torch.Generator().manual_seed(1))
    half = (factor or t_factor(d[0])) * (spread if is_known else d.std(1)) / (n**0.5 if error else 1)
    return float((d.mean(1) > half).double().mean())


def compare_shares(values, right, others, tolerance=NEAR):
    """Compare shares that were simulated, which differ a little by chance."""

    def distance(shares):
        return max(abs(a - b) for a, b in zip(values, shares, strict=True))

    if distance(right) > tolerance:
        nearest = min(others, key=lambda hint: distance(others[hint]))
        raise Wrong(nearest if distance(others[nearest]) <= NEAR else "wrong_value")
