"""Owns the choice of runs by clicking, around the figure of their curves. Without a kernel a plain figure stays."""

from __future__ import annotations

import ipywidgets

from utils.data.browse import show_controls, show_live
from utils.experiments.compare import labels
from utils.experiments.plots import show_curves
from utils.runs.run import all_runs

STATIC = "(The runs can be chosen here once the notebook runs in JupyterLab or Colab.)"
FIRST = 4  # runs that are drawn before anybody chooses


def choose_runs(found=None, chosen=None):
    """Show the curves of runs that can be picked from a list, the newest first; chosen are drawn at the beginning."""
    found = [run for run in (all_runs() if found is None else found) if run.history().rows][::-1]
    options = {f"{run.name}  {_reached(run)}": run for run in found}
    names = {run.name for run in (found[:FIRST] if chosen is None else chosen)}
    begin = tuple(words for words, run in options.items() if run.name in names)
    layout = ipywidgets.Layout(width="38em")
    box = ipywidgets.SelectMultiple(options=list(options), value=begin, rows=8, description="runs", layout=layout)

    def figure():
        picked = [options[words] for words in box.value]
        images = ", ".join(dict.fromkeys(run.data for run in picked)) or "none is chosen"
        return show_curves(picked, title=f"{_best(picked)} ({images})")

    show_controls(box, STATIC)
    show_live(figure, [box])


def _watched(run):
    row = run.history().rows[-1]
    return row.get(f"{run.record.get('watched') or 'val'}_acc")


def _reached(run):
    value = _watched(run)
    return "" if value is None else f"{100 * value:.1f} %"


def _best(picked):
    known = {run.name: _watched(run) for run in picked if _watched(run) is not None}
    if not known:
        return "No run with an accuracy"
    best = max(known, key=known.get)
    return f"Ahead at its end: {labels(picked)[best]}, at {known[best]:.1%}"
