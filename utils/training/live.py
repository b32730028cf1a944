"""The curves and the line of progress shown while a training runs, both renewed in place."""

from __future__ import annotations

import os
import sys
import time

from utils.training.callbacks import as_callbacks
from utils.training.state import LAST

LINE_EVERY, FIGURE_EVERY = 0.5, 1.0  # seconds, at least
SHARE = 0.02  # of the time, at most, that drawing may take
BAR = 20  # characters


class LiveCurves:
    """A callback that shows the curves and a line with the time left: in a notebook renewed in place, else as text."""

    order = LAST  # after the checkpoints, so that it begins where a resumed training is

    def __init__(self):
        self._line = self._figure = None  # display handles
        self._next_line = self._next_figure = self._begun = self._ahead = 0.0

    def on_start(self, training):
        """Begin the clock at what is left to do: a resumed training has done a part."""
        self._begun, self._ahead = time.monotonic(), _left(training)
        self._renew(training, final=False)

    def after_batch(self, training):
        """Renew the line, and more rarely the figure."""
        if time.monotonic() >= self._next_line:
            self._renew(training, final=False)

    def on_end(self, training):
        """Draw the whole history once more, and leave its last line below."""
        self._renew(training, final=True)

    def _renew(self, training, final):
        notebook, ci = in_notebook(), bool(os.environ.get("CI"))
        if not notebook:
            if not ci and sys.stdout.isatty():
                print(f"\r\033[K{progress(training, self._time_left(training), final)}", end="\n" * final, flush=True)
        elif final or not ci:
            self._draw(training, final)
            self._line = _show(self._line, progress(training, self._time_left(training), final))
        self._next_line = time.monotonic() + LINE_EVERY

    def _draw(self, training, final):
        if self._figure is not None and not final and time.monotonic() < self._next_figure:
            return
        import matplotlib.pyplot as plt

        from utils.figures.basics import show_history

        begun = time.monotonic()
        figure = show_history(training.history, num_epochs=training.num_epochs)
        self._figure = _show(self._figure, figure)
        plt.close(figure)  # or the notebook would show it a second time at the end of the cell
        self._next_figure = time.monotonic() + max(FIGURE_EVERY, (time.monotonic() - begun) / SHARE)

    def _time_left(self, training):
        """Estimate the seconds left from the pace of this attempt, or return None if it has no pace yet."""
        done, passed = self._ahead - _left(training), time.monotonic() - self._begun
        return passed / done * _left(training) if done > 0 and passed > 1 else None


def with_curves(callbacks):
    """Return the callbacks and one that draws the curves."""
    return [*as_callbacks(callbacks), LiveCurves()]


def progress(training, time_left, final):
    """Return a line that tells where a training stands: what it measured last, and how long it has still to go."""
    parts = []
    if not final and not training.complete:  # one that was complete before has no place to be in
        place = f"epoch {training.epoch + 1} of {training.num_epochs}, batch {training.batch}"
        place += f" of {training.batches}" if training.batches else ""
        filled = round(BAR * (1 - _left(training) / max(1, training.num_epochs)))
        parts.append(f"[{'#' * filled}{'.' * (BAR - filled)}] {place}")
        parts += [f"{_duration(time_left)} left"] if time_left is not None else []
    if training.history.rows:
        parts.append(in_words(training.history.rows[-1]))
    return "; ".join(parts)


def in_words(row):
    """Return an epoch's row as a sentence."""
    names = {"train": "training", "val": "validation", "test": "test"}
    said = [f"after epoch {row['epoch']} ({_duration(row['seconds'])})"]
    said += [f"{names[n]} loss {row[f'{n}_loss']:.3f}" for n in names if f"{n}_loss" in row]
    said += [f"{names[n]} accuracy {100 * row[f'{n}_acc']:.2f} %" for n in names if f"{n}_acc" in row]
    return f"{said[0]}: {', '.join(said[1:])}"


def in_notebook():
    """Tell whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _left(training):
    """Return how many epochs are left, as a fraction."""
    return max(0.0, training.num_epochs - training.epoch - training.batch / (training.batches or float("inf")))


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class _Line:
    """Text that a notebook shows as it is, without quotes."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def _show(handle, thing):
    """Display a thing, or renew what its handle shows; return the handle."""
    from IPython.display import display

    thing = _Line(thing) if isinstance(thing, str) else thing
    if handle is None:
        return display(thing, display_id=True)
    handle.update(thing)
    return handle
