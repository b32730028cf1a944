"""Owns the last lines of `make run`: what came out, where it lies, where to look next. Measures nothing."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lines(images):
    """Return them for the run on these images whose report was written last; none if there is none."""
    from utils import runs

    reported = [run for run in runs.all_runs() if run.evaluation and run.data == images and _reports(run)]
    if not reported:
        return []
    run = max(reported, key=lambda run: _reports(run)[0].stat().st_mtime)
    result = run.evaluation
    low, high = (100 * value for value in result["interval"])
    said = f"{100 * result['accuracy']:.2f} % of {result['images']:,} test images ({images}), 95 % interval"
    found = [
        ("accuracy", f"{said} {low:.1f} to {high:.1f} %"),
        ("run", f"{run.name}, {run.state}"),
        *[("report", _short(path)) for path in _reports(run)],
        ("next", "make lab opens the notebooks, 06 and make compare put all runs side by side"),
    ]
    return [f"{name:<8}  {text}" for name, text in found]


def _reports(run):
    return [path for path in (run.folder / "report.pdf", run.folder / "report.html") if path.exists()]


def _short(path):
    return os.path.relpath(path, ROOT) if ROOT in path.parents else str(path)
