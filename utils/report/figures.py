"""Owns the report's figures: the suite's own, as SVG text that is the same for the same numbers. Draws no other."""

from __future__ import annotations

import io

import matplotlib
import matplotlib.pyplot as plt

from utils.figures.basics import show_history
from utils.figures.evaluation import show_calibration, show_robustness
from utils.figures.model import show_gates
from utils.figures.style import STYLE
from utils.models.draw import draw_network

# Letters as outlines, so that they look the same everywhere; names inside the file that no clock or chance goes into.
SVG = {"svg.fonttype": "path", "svg.hashsalt": "report"}
FULL = 10 * 72  # points from which on a diagram fills the line
GATES = 12  # columns of weights that can still be read


def diagram(net):
    """Draw a built network; one on the "meta" device will do, for only shapes are looked at."""
    return _svg(draw_network, net)


def curves(history, num_epochs=None):
    """Draw loss, accuracy and learning rate."""
    return _svg(show_history, history, num_epochs=num_epochs)


def calibration(record):
    """Draw how often it was right against how sure it was."""
    return _svg(show_calibration, record, size=(4.4, 4.0))


def robustness(record):
    """Draw the accuracy under shift, noise and compression."""
    return _svg(show_robustness, {"this run": record}, size=(11, 2.2))


def gates(tables, classes):
    """Draw the mean weights of as many of the last blocks as can be read: (svg, their names)."""
    shown = {}
    for name in reversed(tables):
        if shown and sum(len(table[0]) for table in (*shown.values(), tables[name])) > GATES:
            break
        shown = {name: tables[name]} | shown
    columns = sum(len(table[0]) for table in shown.values())
    return _svg(show_gates, shown, classes, size=(min(11.0, 2.4 + 0.72 * columns), 2.4)), list(shown)


def _svg(draw, *args, size=None, **options):
    """Draw in the suite's look, whatever look the caller's figures have; leave no figure open."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | SVG)
        figure = draw(*args, **options)
        try:
            if size:
                figure.set_size_inches(size)
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        finally:
            plt.close(figure)
    return out.getvalue()
