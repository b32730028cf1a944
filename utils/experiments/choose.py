"""Choose runs from a list in a notebook and plot their learning curves; without a kernel, one figure is shown."""

from __future__ import annotations

import ipywidgets

from utils.data.browse import show_controls, show_live
from utils.experiments.plots import SPLITS, last_accuracy, mark_watched, show_curves, watched_of
from utils.runs.labels import label_runs
from utils.runs.run import all_runs

STATIC = "(The runs can be chosen here once the notebook runs in JupyterLab or Colab.)"
FIRST = 4  # how many runs are plotted at first


def choose_runs(runs=None, chosen=None):
    """Plot the learning curves of runs selected in a list, newest first; at first, those in `chosen` are selected."""
    runs = [run for run in (all_runs() if runs is None else runs) if run.rows][::-1]
    labels = label_runs(runs)
    options = {_option(run, labels[run.name]): run for run in runs}
    names = {run.name for run in (runs[:FIRST] if chosen is None else chosen)}
    selected = [option for option, run in options.items() if run.name in names]
    layout = ipywidgets.Layout(width="38em")
    box = ipywidgets.SelectMultiple(options=list(options), value=selected, rows=8, description="runs", layout=layout)

    def figure():
        picked = [options[option] for option in box.value]
        images = ", ".join(dict.fromkeys(run.data for run in picked)) or "no run is chosen"
        return show_curves(picked, title=f"{_best(picked, labels)} ({images})", labels=labels)

    show_controls([box], STATIC)
    show_live(figure, [box])


def _option(run, label):
    accuracy = last_accuracy(run)
    marked = mark_watched(run, label, "val")
    return marked if accuracy is None else f"{marked}  {accuracy:.1%}"


def _best(runs, labels):
    """Return a title with the highest accuracy; validation and test accuracies are not compared with each other."""
    watched = watched_of(runs)
    known = {run.name: last_accuracy(run) for run in runs if run.watched == watched}
    known = {name: accuracy for name, accuracy in known.items() if accuracy is not None}
    if not known:
        return "No run with an accuracy"
    best = max(known, key=known.get)
    return f"Highest {SPLITS[watched]} accuracy after the last epoch: {labels[best]}, {known[best]:.1%}"
