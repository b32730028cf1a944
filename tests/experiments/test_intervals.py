"""Intervals and tests against the tables of textbooks, against enumeration, and by simulation."""

import itertools

import numpy as np
import pytest

from utils.experiments.intervals import sign_test, t_interval, t_quantile


@pytest.mark.parametrize(
    ("degrees", "level", "expected"),
    [(1, 0.95, 12.706), (2, 0.95, 4.303), (5, 0.95, 2.571), (9, 0.99, 3.250), (30, 0.90, 1.697), (1000, 0.95, 1.962)],
)
def test_quantiles_of_the_t_distribution_are_those_of_the_tables(degrees, level, expected):
    assert t_quantile(degrees, level) == pytest.approx(expected, abs=6e-4)


def test_an_interval_of_three_numbers_by_hand_and_of_one_number():
    assert t_interval([71, 70, 72]) == pytest.approx((71, 4.3027 / 3**0.5), abs=1e-3)
    assert t_interval([5]) == (5, float("inf"))


def test_an_interval_contains_the_true_mean_as_often_as_it_says(rng):
    samples = rng.normal(7, 2, (2000, 4))
    error = samples.std(1, ddof=1) / 2
    covered = np.abs(samples.mean(1) - 7) < t_quantile(3, 0.8) * error
    assert covered.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("one", "other"), [(7, 1), (1, 7), (6, 0), (3, 3), (0, 1), (0, 0)])
def test_a_sign_test_counts_the_outcomes_that_are_at_least_as_uneven(one, other):
    n = one + other
    outcomes = [sum(coins) for coins in itertools.product((0, 1), repeat=n)]
    uneven = [heads for heads in outcomes if abs(2 * heads - n) >= abs(one - other)]
    assert sign_test(one, other) == pytest.approx(len(uneven) / len(outcomes))
