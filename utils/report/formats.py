"""Format numbers and settings for the report: `percent(0.84)` is "84.00 %", `duration(3661)` is "1 h 1 min"."""

from __future__ import annotations

import math

NB = "\u00a0"  # a no-break space


def percent(fraction, digits: int = 2) -> str:
    """Write a fraction as a percentage."""
    if not _is_number(fraction):
        return "unknown"
    return f"{100 * fraction:.{digits}f}{NB}%"


def number(value, digits: int = 4) -> str:
    """Write a number in a few significant digits, with commas between the thousands; any other value as its text."""
    if value is None:
        return "unknown"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or 10**digits - 0.5 <= abs(value) < 1e9:
        return f"{value:,.0f}"  # a float of this size would be written with an exponent
    return f"{value:.{digits}g}"


def count(value: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun: 1 epoch, 2 epochs."""
    noun = singular if value == 1 else plural or f"{singular}s"
    return f"{value:,} {noun}"


def duration(seconds) -> str:
    """Write seconds in hours and minutes, in minutes and seconds, or in seconds."""
    if not _is_number(seconds):
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {rest} s"
    return f"{seconds:.1f} s"


def setting(value) -> str:
    """Write a setting in one line: floats with 4 digits, lists and dicts with commas, True as yes, None as none."""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {setting(item)}" for name, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(item) for item in value) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _is_number(value):
    return isinstance(value, (int, float)) and not math.isnan(value)
