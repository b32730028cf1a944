"""Figures that compare confidence with accuracy: reliability diagrams, and what a temperature changes in them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from utils.figures.style import COLOURS

ENOUGH = 20  # images; the accuracy of a bin with fewer images is mostly chance, so it is not drawn
BAR = "#8CBFDC"  # pale, so that the gaps are visible on the bars, also in a print without colours


def show_reliability(networks, *, title=None):
    """Draw reliability diagrams side by side: {name: (count, confidence, accuracy, ECE)}, the first three per bin.

    A bin without images has NaN or None as its confidence and accuracy. An ECE of None is left out.
    """
    shape = {"height_ratios": (3, 1), "sharex": True, "sharey": "row", "squeeze": False}
    figure, axes = plt.subplots(2, len(networks), figsize=(4.6 * len(networks), 4.4), **shape)
    for ax, below, (name, bins) in zip(*axes, networks.items(), strict=True):
        _draw_bins(ax, below, name, bins)
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[1, 0].set_ylabel("images (%)")
    _add_legend(figure, axes[0, 0], ncols=2 if len(networks) > 1 else 1)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_temperature(name, bins, curves, T, *, title=None):
    """Draw a reliability diagram, and beside it a panel for each {label: (temperatures, values)}, with a line at T."""
    figure = plt.figure(figsize=(9.2, 4.4))
    left, right = figure.add_gridspec(1, 2)
    ax, below = left.subgridspec(2, 1, height_ratios=(3, 1)).subplots(sharex=True)
    panels = right.subgridspec(len(curves), 1).subplots(sharex=True)
    _draw_bins(ax, below, name, bins)
    ax.set_ylabel("accuracy (%)")
    below.set_ylabel("images (%)")
    for panel, (label, (temperatures, values)) in zip(panels, curves.items(), strict=True):
        best = int(np.argmin(values))
        panel.plot(temperatures, values, color=COLOURS[0])
        panel.plot(temperatures[best], values[best], color=COLOURS[0], marker="o", markersize=7)
        panel.axvline(T, color="#000000", linestyle=":", linewidth=1.4)
        panel.set_title(f"{label}: smallest at T = {temperatures[best]:.2f}", fontsize=11)
        panel.grid(axis="y")
    panel.set_xlabel("temperature T (dotted line: the T of the diagram)")
    _add_legend(figure, ax, ncols=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_bins(ax, below, name, bins):
    """Draw the accuracy in each bin of confidence, its gap to the confidence, and below it the share of the images."""
    count, confidence, accuracy = (np.asarray(values, dtype=float) for values in bins[:3])
    left, width = 100 * np.arange(len(count)) / len(count), 100 / len(count)
    enough = count >= ENOUGH
    ax.bar(left[enough], 100 * accuracy[enough], width, align="edge", color=BAR, edgecolor="white")
    ax.plot([0, 100], [0, 100], color="#000000", linestyle="--", linewidth=1.2, label="perfect calibration")
    gap = {"color": COLOURS[1], "linewidth": 3, "label": "gap to the mean confidence"}
    ax.vlines(100 * confidence[enough], 100 * confidence[enough], 100 * accuracy[enough], **gap)
    ece = "" if bins[3] is None else f"ECE {bins[3]:.3f}"
    ax.set_title(": ".join(text for text in (name, ece) if text), fontsize=11)
    ax.set_ylim(0, 100)
    below.bar(left, 100 * count / max(1, count.sum()), width, align="edge", color="#999999", edgecolor="white")
    below.set_ylim(0, 100)  # the same in all diagrams, so that they can be compared
    below.set_xlabel("confidence (%)")
    below.set_xlim(0, 100)


def _add_legend(figure, ax, ncols):
    bars = Patch(facecolor=BAR, label=f"accuracy, in bins of {ENOUGH} images or more")
    handles = [bars, *ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower left", ncols=ncols, fontsize=9)
