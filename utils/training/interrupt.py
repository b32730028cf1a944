"""Show an interrupt (Ctrl+C, or the square in Jupyter) as one line instead of a traceback: @quietly_interrupted."""

from __future__ import annotations

import functools


class Interrupted(KeyboardInterrupt):
    """An interrupt outside the batches of a training; a notebook shows it as one line."""

    def _render_traceback_(self):
        """Let IPython show this line in place of a traceback through the library."""
        return ["Interrupted. Run the cell again: it starts again, or resumes from its last checkpoint."]


def quietly_interrupted(function):
    """Make a function raise Interrupted in place of another KeyboardInterrupt."""

    @functools.wraps(function)
    def call(*arguments, **options):
        try:
            return function(*arguments, **options)
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted from None

    return call
