"""Checks of an augmentation's settings."""

from __future__ import annotations

import math
import numbers

from utils.errors import CourseworkError


def check_setting(condition, what, op):
    """Raise an error that names the augmentation and its help, unless the condition is true."""
    if not condition:
        raise CourseworkError(
            what,
            where=repr(op),
            next_step=f"The settings are described in help(utils.data.augment.{type(op).__name__}).",
        )


def is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 0


def is_pair(value):
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(is_number(v) for v in value)


def is_probability(value):
    return is_number(value) and 0 <= value <= 1
