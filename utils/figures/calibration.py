"""Figures that compare confidence with accuracy: reliability diagrams, and what a temperature changes in them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from utils.figures.style import COLOURS

ENOUGH = 20  # images; the accuracy of a bin with fewer images is mostly chance


def show_calibration(calibration, *, title=None):
    """Draw the accuracy in each bin of confidence, and below it the number of predictions in the bin."""
    edges = 100 * np.asarray(calibration["edges"])
    counts = np.asarray(calibration["count"])
    filled = counts > 0  # an empty bin has no accuracy
    accuracy = 100 * np.array(calibration["accuracy"], dtype=float)[filled]
    confidence = 100 * np.array(calibration["confidence"], dtype=float)[filled]
    figure, (ax, below) = plt.subplots(2, 1, figsize=(7.4, 4.9), height_ratios=(3, 1), sharex=True)
    looks = {"align": "edge", "edgecolor": "white"}
    enough = counts >= ENOUGH
    for chosen, colour, label in (
        (enough, COLOURS[0], "accuracy"),
        (~enough, COLOURS[5], f"accuracy of fewer than {ENOUGH} images"),
    ):
        bins = filled & chosen
        if bins.any():
            ax.bar(edges[:-1][bins], accuracy[chosen[filled]], np.diff(edges)[bins], color=colour, label=label, **looks)
    ax.plot([0, 100], [0, 100], color="#000000", linestyle="--", linewidth=1.2, label="perfect calibration")
    ax.plot(confidence, confidence, color=COLOURS[1], linestyle="", marker="D", label="mean confidence")
    lower = np.minimum(accuracy, confidence)
    upper = np.maximum(accuracy, confidence)
    ax.vlines(confidence, lower, upper, color=COLOURS[1], linewidth=1.6)
    ax.set_ylim(0, 100)
    ax.set_ylabel("accuracy (%)")
    figure.legend(loc="outside lower right", ncols=2, fontsize=9)
    below.bar(edges[:-1], counts, np.diff(edges), color="#999999", **looks)
    below.set_ylabel("images")
    below.set_xlabel("confidence (%)")
    below.set_xlim(0, 100)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_reliability(networks, *, title=None):
    """Draw reliability diagrams side by side: {name: (count, confidence, accuracy, ECE)}, the first three per bin."""
    shape = {"height_ratios": (3, 1), "sharex": True, "sharey": "row", "squeeze": False}
    figure, axes = plt.subplots(2, len(networks), figsize=(4.6 * len(networks), 4.4), **shape)
    for ax, below, (name, bins) in zip(*axes, networks.items(), strict=True):
        _draw_bins(ax, below, name, bins)
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[1, 0].set_ylabel("images")
    _add_legend(figure, axes[0, 0])
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
    below.set_ylabel("images")
    for panel, (label, (temperatures, values)) in zip(panels, curves.items(), strict=True):
        best = int(np.argmin(values))
        panel.plot(temperatures, values, color=COLOURS[0])
        panel.plot(temperatures[best], values[best], color=COLOURS[0], marker="o", markersize=7)
        panel.axvline(T, color="#000000", linestyle=":", linewidth=1.4)
        panel.set_title(f"{label}: smallest at T = {temperatures[best]:.2f}", fontsize=11)
        panel.grid(axis="y")
    panel.set_xlabel("temperature T (dotted line: the T of the diagram)")
    _add_legend(figure, ax)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_bins(ax, below, name, bins):
    """Draw the accuracy in each bin of confidence, its gap to the confidence, and below it the number of images."""
    count, confidence, accuracy = (np.asarray(values, dtype=float) for values in bins[:3])
    left, width = 100 * np.arange(len(count)) / len(count), 100 / len(count)
    enough = count >= ENOUGH
    colours = [COLOURS[0] if is_enough else COLOURS[5] for is_enough in enough]
    look = {"align": "edge", "edgecolor": "white"}
    ax.bar(left, 100 * np.nan_to_num(accuracy), width, color=colours, **look)
    ax.plot([0, 100], [0, 100], color="#000000", linestyle="--", linewidth=1.2, label="perfect calibration")
    gap = {"color": COLOURS[1], "linewidth": 2, "label": "gap between accuracy and mean confidence"}
    ax.vlines(100 * confidence[enough], 100 * confidence[enough], 100 * accuracy[enough], **gap)
    ax.set_title(f"{name}: ECE {bins[3]:.3f}", fontsize=11)
    ax.set_ylim(0, 100)
    below.bar(left, count, width, color="#999999", **look)
    below.set_xlabel("confidence (%)")
    below.set_xlim(0, 100)


def _add_legend(figure, ax):
    bar = Patch(facecolor=COLOURS[0], label=f"accuracy (pale: fewer than {ENOUGH} images, no gap drawn)")
    handles = [bar, *ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=9)
