"""Estimates how long a run of the notebooks still takes, from the pace of this machine.

The committed notebooks tell how long each cell took elsewhere. The cells that have run tell how much longer it takes
here.
"""

from __future__ import annotations

from tools import notebooks

FIRST_SHARE = 0.02  # of the whole work: before so much of it is done, the pace says too little
GRACE = 5.0  # seconds that any cell may take longer than expected


class Pace:
    """The measured time of the cells of a run, compared with their time in the committed notebooks."""

    def __init__(self, paths):
        self.expected = _seconds({path.stem: notebooks.read(path) for path in paths})
        self.executed = {}  # {name: notebook whose cells hold the seconds that they took here}

    def remaining(self, name, cell, elapsed) -> str:
        """Return a text such as "about 4 min left" while this cell runs, or "" if too little is known."""
        measured = _seconds(self.executed)
        done = sum(self.expected.get(key, 0.0) for key in measured)
        total = sum(self.expected.values())
        if not done or done < FIRST_SHARE * total:
            return ""
        current = self.expected.get((name, cell.id), 0.0)
        pace = sum(measured.values()) / done
        seconds = pace * (total - done) - elapsed
        is_late = elapsed > pace * current + GRACE
        if is_late:  # the pace is slower than it seemed, and this cell has not shown yet how slow
            pace = (sum(measured.values()) + elapsed) / (done + current)
            seconds = pace * (total - done - current)
        minutes = round(seconds / 60)
        if not minutes:
            return "" if is_late else "less than 1 min left"
        return f"{'more than' if is_late else 'about'} {minutes} min left"


def _seconds(named_notebooks):
    """Return {(name, cell id): seconds} of all cells that hold their time."""
    return {
        (name, cell.id): float(cell.metadata["seconds"])
        for name, nb in named_notebooks.items()
        for cell in nb.cells
        if cell.metadata.get("seconds") is not None
    }
