"""Learning curves of finished trainings, side by side: show_learning_curves({"loss": {"training": [...], ...}})."""

from __future__ import annotations

import matplotlib.pyplot as plt

from utils.figures.basics import CURVES

LOOKS = {look["label"]: look for look in CURVES.values()}
BEST = {"label": "lowest validation loss", "color": "#555555", "linestyle": "-.", "linewidth": 1.2, "zorder": 0}
THIRD = {"color": "#009E73", "linestyle": ":", "marker": "^"}  # of a curve with any other label


def show_learning_curves(panels, *, columns=2, ylabel=None, marked=None, epochs=None, title=None) -> plt.Figure:
    """Draw one panel for each {name: {"training": values, "validation": values}}, with one value per epoch.

    With a ylabel all panels show the same quantity, on one scale. marked: (count, text) shades the first `count` epochs
    and writes the text there. epochs: {name of a panel: the epoch with the lowest validation loss} draws
    a vertical line at that epoch.
    """
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    size = (9.0, 0.7 + 2.6 * lines)
    one_scale = ylabel is not None
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, sharey=one_scale, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (name, curves) in zip(axes.flat, panels.items(), strict=False):
        for label, values in curves.items():
            ax.plot(
                range(1, len(values) + 1),
                values,
                clip_on=False,
                **{**LOOKS.get(label, THIRD), "label": label, "markersize": 4},
            )
        ax.set_title(name, fontsize=11)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.tick_params(labelbottom=True)
        ax.grid(axis="y")
        ax.set_xlabel("epoch")
        if epochs and name in epochs:
            ax.axvline(epochs[name], **BEST)
        if marked is not None and marked[0] > 0:
            ax.axvspan(0.5, marked[0] + 0.5, color="#EEEEEE", zorder=0)
            ax.annotate(marked[1], (0.6, 0.97), xycoords=("data", "axes fraction"), fontsize=10, va="top")
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    drawn = {line.get_label(): line for ax in axes.flat for line in ax.get_legend_handles_labels()[0]}
    figure.legend(handles=drawn.values(), loc="outside lower center", ncols=3, fontsize=10)
    figure.suptitle(title, x=0.01, ha="left")
    return figure
