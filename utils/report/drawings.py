"""Draw the report's figures as SVG text; the same numbers always give the same text."""

from __future__ import annotations

import io
import math
import types

import matplotlib
import matplotlib.pyplot as plt

from utils.figures.basics import show_history
from utils.figures.calibration import show_reliability
from utils.figures.evaluation import show_class_gates, show_robustness
from utils.figures.style import STYLE
from utils.models.draw import draw_network
from utils.report import document as blocks

# Letters are drawn as outlines, which look the same everywhere; the ids in the file do not depend on time or chance.
SVG = {"svg.fonttype": "path", "svg.hashsalt": "report"}
SHORT = {"airplane": "plane", "automobile": "auto"}
SCORES = {"recall": "rec.", "precision": "prec.", "f1": "F1"}
FULL = 10 * 72  # a figure of at least this width in points fills the line; a narrower one is scaled in proportion


def insert_drawing(name: str, facts: dict, caption: str, alt: str) -> dict:
    """Return the block of a drawing: one of the DRAWINGS as a figure, or the confusion matrix as a table."""
    if name == "confusion":
        return confusion(facts, caption)
    full = FULL if name in NARROWER else None
    return blocks.figure(DRAWINGS[name](facts), alt, caption, full=full)


def confusion(facts, caption):
    """Make the table of the confusion matrix, one row per true class, with recall, precision and F1 at the right."""
    accuracy = facts["accuracy"]
    rows, shade = [], []
    for i, counts in enumerate(accuracy["confusion"]):
        cells = [f"{count:,}" if count else "·" for count in counts]
        cells[i] = blocks.strong(f"{counts[i]:,}")
        scores = [f"{100 * values[i]:.0f}" for values in accuracy["per_class"].values()]
        rows.append([_short(accuracy["classes"][i], 16), *cells, *scores])
        shade.append([None, *(count / max(1, sum(counts)) for count in counts), *(None for _ in scores)])
    names = [SHORT.get(name) or _short(name, 8) for name in accuracy["classes"]]
    head = ["true \\ predicted", *names, *(SCORES[name] for name in accuracy["per_class"])]
    return blocks.table(rows, head, caption=caption, shade=shade, widths=[0] + [1] * (len(head) - 1))


def _short(name, length):
    return name if len(name) <= length else f"{name[: length - 1]}…"


def diagram(facts):
    """Draw the network from left to right."""
    return _svg(draw_network, facts["network"]["summary"])


def curves(facts):
    """Draw loss, accuracy and learning rate over the epochs."""
    rows = [
        {name: math.nan if value is None else value for name, value in row.items()} for row in facts["curves"]["rows"]
    ]
    history = types.SimpleNamespace(rows=rows, points=facts["curves"]["points"])
    return _svg(show_history, history, num_epochs=facts["training"]["planned"])


def calibration(facts):
    """Draw the accuracy of the predictions in each bin of confidence."""
    bins = [facts["accuracy"]["calibration"].get(column) for column in ("count", "confidence", "accuracy", "ece")]
    return _svg(show_reliability, {"": bins}, size=(3.2, 3.9))


def robustness(facts):
    """Draw the accuracy on images that were shifted, made noisy or compressed."""
    return _svg(show_robustness, facts["accuracy"]["robustness"]["measured"], size=(11, 2.2))


def gates(facts):
    """Draw how the mean gate weights of each class differ from those of all classes."""
    tables, classes = facts["accuracy"]["gates"]["tables"], facts["accuracy"]["gates"]["classes"]
    columns = sum(len(rows[0]) for rows in tables.values())
    return _svg(show_class_gates, tables, classes, size=(min(11.0, 2.4 + 0.72 * columns), 0.5 + 0.19 * len(classes)))


DRAWINGS = {drawing.__name__: drawing for drawing in (diagram, curves, calibration, robustness, gates)}
NARROWER = ("diagram", "gates")  # figures that do not fill the line if the network is small or has few gates


def _svg(show, *args, size=None, **options):
    """Draw a figure in the suite's style, independent of the user's settings, close it, and return it as SVG text."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | SVG)
        figure = show(*args, **options)
        try:
            if size:
                figure.set_size_inches(size)
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        finally:
            plt.close(figure)
    return out.getvalue()
