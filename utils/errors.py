"""The errors and warnings of the suite. Each says what is wrong, where, and what to do next, in a few lines.

raise CourseworkError("The loader has no batch.", where="batch_size=500", next_step="Choose a smaller batch_size.")
"""

from __future__ import annotations

import importlib
import numbers


class CourseworkError(Exception):
    """An error with three texts: what is wrong, where, and what to do next."""

    def __init__(self, what, *, where=None, next_step=None):
        self.what = str(what)
        self.where = where
        self.next_step = next_step
        super().__init__(self.what)

    def __str__(self):
        lines = [self.what]
        if self.where is not None:
            lines.append(f"  where: {self.where}")
        if self.next_step is not None:
            lines.append(f"  next:  {self.next_step}")
        return "\n".join(lines)

    def __reduce__(self):
        # Exception's own pickling loses keyword-only arguments, and worker processes send their errors by pickle.
        return (_rebuild, (type(self), self.what, self.where, self.next_step))

    def _render_traceback_(self):
        """Let IPython show these lines in place of a traceback: the mistake is in the input, not in the library."""
        return [f"{type(self).__name__}: {self}"]


def _rebuild(kind, what, where, next_step):
    return kind(what, where=where, next_step=next_step)


class DataError(CourseworkError):
    """The images cannot be read, or are not the images that they should be."""


class DownloadError(DataError):
    """The archive could not be downloaded; the next attempt resumes the download."""


class DivergedError(CourseworkError):
    """A loss, a gradient or a weight became NaN or Inf."""

    is_late = False  # True if it was noticed after the batch that caused it


class CheckpointError(CourseworkError):
    """A training cannot resume from the checkpoints in its folder."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, copied or read; the training continues without it."""


class RecordWarning(UserWarning):
    """A part of a run's record could not be written; the training continues without it."""


def require(condition, what: str, where, next_step: str):
    """Raise a CourseworkError unless the condition holds."""
    if not condition:
        raise CourseworkError(what, where=where, next_step=next_step)


def check_count(name: str, value, least: int, most: int | None = None) -> int:
    """Require a whole number between these limits, and return it; True and 2.0 are not whole numbers here."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    limits = f"{least} or more" if most is None else f"from {least} to {most}"
    fits = is_whole and least <= value and (most is None or value <= most)
    require(fits, f"{name} must be a whole number, {limits}.", f"{name}={value!r}", f"Choose {limits}.")
    return int(value)


def need_package(name: str, feature: str):
    """Import an optional package and return it; if it is not installed, raise an error with the line to type."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = f"{feature} needs the package {name}, which can't be imported: {error}."
        next_step = "Type: python -m pip install -r requirements-extra.txt"
        raise CourseworkError(what, next_step=next_step) from None
