"""Owns what a long run shows in a terminal: one live line, plain lines elsewhere, and the time still needed."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time

from tools import notebooks

PULL = 5.0  # seconds of "as expected" that a run starts with, so that its first short cells do not swing the forecast
BAR = 12  # characters


def clock(seconds):
    """Write 83.2 as 1:23."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def about(seconds):
    """Write a forecast no more exactly than it is known."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def short(line):
    """Return the epoch and the accuracy so far out of what a training says of itself; any other line as it is."""
    place, accuracies = re.search(r"epoch \d+ of \d+", line), re.findall(r"\w+ accuracy [\d.]+ %", line)
    return ", ".join([place[0], *accuracies[-1:]]) if place else line


class Forecast:
    """Expect each step's seconds, scaled by how the steps so far compared; keys are (notebook, cell id).

    Steps come in groups that are scaled apart: those timed on this machine, and those only timed elsewhere.
    """

    def __init__(self, steps):
        self.open = dict(steps)  # key: (group, expected seconds)
        self.total = 0.0
        self.seen = {group: [PULL, PULL] for group, _ in self.open.values()}  # group: [expected, taken]

    def finish(self, key, seconds):
        """Learn that a step took so long."""
        self.total += seconds
        if key in self.open:
            group, expected = self.open.pop(key)
            self.seen[group][0] += expected
            self.seen[group][1] += seconds

    def forget(self, name):
        """Leave out the steps that are not going to come: those whose key starts with `name`."""
        self.open = {key: step for key, step in self.open.items() if key[0] != name}

    def remaining(self, key=None, seconds=0.0):
        """Return the seconds still needed, while the step `key` has been running for `seconds`."""
        scales = {group: taken / expected for group, (expected, taken) in self.seen.items()}
        running = 0.0
        if key in self.open:  # a step that takes longer than expected says something about the others, too
            group, expected = self.open[key]
            scales[group] = max(scales[group], (self.seen[group][1] + seconds) / (self.seen[group][0] + expected))
            running = min(seconds, expected * scales[group])
        return sum(expected * scales[group] for group, expected in self.open.values()) - running

    def done(self, key=None, seconds=0.0):
        """Return the share of the whole run, by time, that is behind us."""
        behind = self.total + seconds
        return behind / max(behind + self.remaining(key, seconds), 1e-9)


class Screen:
    """Print lines, and below them on a terminal one line that keeps changing."""

    def __init__(self, stream):
        self.stream = stream
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        encoding = stream.encoding or "ascii"
        self.fancy = "utf" in encoding.lower()
        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if self.fancy else "|/-\\"
        self.good, self.bad = ("✓", "✗") if self.fancy else ("+", "x")
        self.frames = itertools.cycle(frames)
        self.width = 0  # of the live line that is on the screen now
        self.encoding = encoding

    def line(self, text=""):
        """Print a line that stays."""
        self.clear()
        self._write(text + "\n")

    def update(self, text, share=None):
        """Replace the live line; on anything but a terminal show nothing."""
        if not self.live:
            return
        bar = "" if share is None else self._bar(share) + " "
        room = shutil.get_terminal_size().columns - 1
        text = f"{next(self.frames)} {bar}{text}"[:room]
        self._write("\r" + text + " " * (min(self.width, room) - len(text)))
        self.width = len(text)

    def clear(self):
        """Take the live line off the screen."""
        if self.width:
            self._write("\r" + " " * self.width + "\r")
            self.width = 0

    def _bar(self, share):
        full = round(BAR * min(max(share, 0.0), 1.0))
        on, off = ("━", "╌") if self.fancy else ("#", ".")
        return on * full + off * (BAR - full)

    def _write(self, text):
        self.stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        self.stream.flush()


class Patience:
    """Say when something slow deserves another plain line: after 10 s, then every minute."""

    def __init__(self, first=10.0, then=60.0, now=time.monotonic):
        self.start, self.next, self.then, self.now = now(), first, then, now

    @property
    def seconds(self):
        """Return how long it has been running."""
        return self.now() - self.start

    def is_due(self):
        """Say yes once when the time has come."""
        if self.seconds < self.next:
            return False
        self.next += self.then
        return True


class View:
    """Shows a run of notebooks: on a terminal by one live line, elsewhere by a plain line now and then."""

    def __init__(self, screen, forecast, verbose=False):
        self.screen, self.forecast, self.verbose = screen, forecast, verbose
        self.is_known = any(group != "unknown" for group, _ in forecast.open.values())
        self.clock = Patience()

    def begin(self, path, nb):
        """Start on a notebook."""
        self.name, self.nb, self.cell = path.stem, nb, None
        self.order = [number for number, cell in enumerate(nb.cells) if notebooks.is_run(cell)]
        self.running, self.patience, self.said, self.part = None, Patience(), "", ""
        if not self.screen.live:
            self.screen.line(f"{self.name}: {len(self.order)} cells{self._left()}")

    def see(self, event):
        """Take in what happened in the notebook, and show it."""
        if event.what == "start":
            self.cell, self.running = event.cell, (f"{self.name}.ipynb", self.nb.cells[event.cell].id)
            self.patience, self.said = Patience(), ""
        elif event.what == "text":
            self._hear(event.value)
        elif event.what == "end":
            self.forecast.finish(self.running, event.value)
            self.running = None
            self._hear("\n" if self.part else "")
        if self.screen.live:
            self.screen.update(self._status(), self.forecast.done(*self._now()) if self.is_known else None)
        elif self.running and self.patience.is_due():
            said = f" | {short(self.said)}" if self.said else ""
            self.screen.line(f"  {self.where()}: {clock(self.patience.seconds)} so far{self._left()}{said}")

    def where(self):
        """Say which cell is running, and under which heading."""
        if self.cell is None:
            return "its kernel's start"
        before = reversed(self.nb.cells[: self.cell + 1])
        prose = (line for cell in before if cell.cell_type == "markdown" for line in reversed(cell.source.splitlines()))
        heading = next((line.lstrip("# ") for line in prose if line.startswith("#")), "")
        return f"cell {self.order.index(self.cell) + 1} of {len(self.order)}" + (f", {heading}" if heading else "")

    def _hear(self, text):
        """Keep the last line that the cell printed; with --verbose print them all."""
        *lines, self.part = (self.part + text).split("\n")
        lines = [notebooks.last_frames(line) for line in lines]
        spoken = [line.strip() for line in [*lines, notebooks.last_frames(self.part)] if line.strip()]
        self.said = spoken[-1] if spoken else self.said
        if self.verbose:
            for line in lines:
                self.screen.line(f"    {line}")

    def _now(self):
        return (self.running, self.patience.seconds) if self.running else ()

    def _status(self):
        said = f" | {short(self.said)}" if self.said else ""
        return f"{self.name}: {self.where()}  {clock(self.clock.seconds)}{self._left()}{said}"

    def _left(self):
        return f", {about(self.forecast.remaining(*self._now()))} left" if self.is_known else ""
