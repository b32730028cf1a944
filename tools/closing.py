"""Owns the last lines of `make run`: what came out, where it lies, where to look next. Measures nothing."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lines(images):
    """Return them for the run on these images that was measured last; none if there is none."""
    from utils import runs

    measured = [run for run in runs.all_runs() if run.evaluation and run.data == images]
    if not measured:
        return []
    run = max(measured, key=lambda run: str(run.evaluation.get("when")))
    result = run.evaluation
    low, high = (100 * value for value in result["interval"])
    said = f"{100 * result['accuracy']:.2f} % of {result['images']:,} test images ({images}), 95 % interval"
    found = [
        ("accuracy", f"{said} {low:.1f} to {high:.1f} %"),
        ("run", f"{run.name}, {run.state}"),
        *[("report", place) for place in _reports(run)],
        ("next", "make lab opens the notebooks, 06 and make compare put all runs side by side"),
    ]
    return [f"{name:<8}  {text}" for name, text in found]


def _reports(run):
    there = [run.folder / name for name in ("report.pdf", "report.html") if (run.folder / name).exists()]
    return [os.path.relpath(path, ROOT) if ROOT in path.parents else str(path) for path in there]
