"""Learning curves and a line of progress that are updated while a training runs."""

from __future__ import annotations

import os
import shutil
import sys
import time

from utils.training.callbacks import as_callbacks
from utils.training.state import LAST

LINE_EVERY, FIGURE_EVERY = 0.5, 1.0  # seconds between two updates, at least
SHARE = 0.02  # the largest fraction of the time that drawing may take
BAR = 20  # characters of the progress bar
TITLE = "Loss and accuracy during the training"


class LiveCurves:
    """A callback that shows a line with the time left, and in a notebook also the learning curves, updated in place."""

    order = LAST  # called after the checkpoints, so that it starts at the position of a resumed training

    def __init__(self, title: str = TITLE):
        self.title = title
        self._line = self._figure = None  # display handles
        self._next_line = self._next_figure = self._begun = self._ahead = 0.0

    def on_start(self, training):
        """Start the clock, and remember how many epochs are left: a resumed training has done some of them."""
        self._begun, self._ahead = time.monotonic(), _epochs_left(training)
        self._update(training, final=False)

    def after_batch(self, training):
        """Update the line, and less often the figure."""
        if time.monotonic() >= self._next_line:
            self._update(training, final=False)

    def on_end(self, training):
        """Draw the whole history once more, and show the last epoch's row below it."""
        self._update(training, final=True)

    def _update(self, training, final):
        notebook, ci = in_notebook(), bool(os.environ.get("CI"))
        if not notebook:
            if not ci and sys.stdout.isatty():
                width = shutil.get_terminal_size().columns - 1  # a longer line could not be renewed in place
                end = "\n" if final else ""
                print(f"\r\033[K{'; '.join(self._texts(training, final))[:width]}", end=end, flush=True)
        elif final or not ci:
            self._draw(training, final)
            texts = self._texts(training, final)
            padding = 0 if final else 2 - len(texts)  # always two lines, so that the cell does not jump
            self._line = _show(self._line, "\n".join([*texts, *[" "] * padding]))
        self._next_line = time.monotonic() + LINE_EVERY

    def _draw(self, training, final):
        if self._figure is not None and not final and time.monotonic() < self._next_figure:
            return
        import matplotlib.pyplot as plt

        from utils.figures.basics import show_history

        begun = time.monotonic()
        figure = show_history(training.history, num_epochs=training.num_epochs, title=self.title)
        self._figure = _show(self._figure, figure)
        plt.close(figure)  # or the notebook would show it a second time at the end of the cell
        self._next_figure = time.monotonic() + max(FIGURE_EVERY, (time.monotonic() - begun) / SHARE)

    def _texts(self, training, final):
        return progress(training, self._time_left(training), final)

    def _time_left(self, training):
        """Estimate the seconds left from the speed so far; return None in the first second."""
        epochs_left = _epochs_left(training)
        epochs_done = self._ahead - epochs_left
        seconds = time.monotonic() - self._begun
        return seconds / epochs_done * epochs_left if epochs_done > 0 and seconds > 1 else None


def with_curves(callbacks, curves: bool | str = True):
    """Return the callbacks and a LiveCurves; curves may be the title of its figure."""
    return [*as_callbacks(callbacks), LiveCurves(curves) if isinstance(curves, str) else LiveCurves()]


def progress(training, time_left, final):
    """Return at most two texts: the current epoch and batch with the time left, and the last epoch's measurements."""
    texts = []
    if not final and not training.complete:  # if the training was already complete, there is no current epoch
        position = f"epoch {training.epoch + 1} of {training.num_epochs}, batch {training.batch}"
        if training.batches:
            position += f" of {training.batches}"
        filled = round(BAR * (1 - _epochs_left(training) / max(1, training.num_epochs)))
        remaining = "" if time_left is None else f"; {_duration(time_left)} left"
        texts.append(f"[{'#' * filled}{'.' * (BAR - filled)}] {position}{remaining}")
    if training.history.rows:
        texts.append(row_text(training.history.rows[-1]))
    return texts


def row_text(row):
    """Return an epoch's row as text."""
    names = {"train": "training", "val": "validation", "test": "test"}
    losses = [f"{name} loss {row[f'{key}_loss']:.3f}" for key, name in names.items() if f"{key}_loss" in row]
    accuracies = []
    for key, name in names.items():
        if f"{key}_acc" in row:
            accuracies.append(f"{name} accuracy {100 * row[f'{key}_acc']:.2f} %")
    return f"after epoch {row['epoch']} ({_duration(row['seconds'])}): {', '.join(losses + accuracies)}"


def in_notebook():
    """Return True if this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _epochs_left(training):
    """Return the number of epochs left, with the current epoch as a fraction."""
    return max(0.0, training.num_epochs - training.epoch - training.batch / (training.batches or float("inf")))


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class _Line:
    """Lines of text that a notebook shows without quotes."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def _show(handle, output):
    """Display a text or a figure, in place of the one that the handle shows; return the handle."""
    from IPython.display import display

    output = _Line(output) if isinstance(output, str) else output
    if handle is None:
        return display(output, display_id=True)
    handle.update(output)
    return handle
