"""The figures of notebook 05: confusion matrix, per-class metrics, calibration, mistakes, robustness and TTA."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from utils.figures.style import COLOURS, DASHES

MARKERS = "osD^vPX"
GREY = "#EEEEEE"
ENOUGH = 20  # images; the accuracy of a bin with fewer images is mostly chance
PER_CLASS = {
    "recall": ("recall", COLOURS[0], "o"),
    "precision": ("precision", COLOURS[1], "s"),
    "f1": ("F1", "#000000", "|"),
}
UNITS = {
    "shift": "shift (pixels)",
    "noise": "noise (standard deviation, levels of 255)",
    "jpeg": "JPEG (quality)",
}


def show_confusion(confusion, classes, *, title=None):
    """Draw counts (true class, predicted class): mistakes from white to blue, correct predictions in grey frames."""
    counts = np.asarray(confusion)
    mistakes = counts * (1 - np.eye(len(classes), dtype=int))
    largest = max(1, mistakes.max())
    figure, ax = plt.subplots(figsize=(1.9 + 0.62 * len(classes), 1.6 + 0.4 * len(classes)))
    ax.imshow(mistakes, cmap="Blues", vmin=0, vmax=1.15 * largest, aspect="auto")
    for (i, j), count in np.ndenumerate(counts):
        if i == j:
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=GREY, edgecolor="#666666"))
        look = {"weight": "bold"} if i == j else {"color": "white" if count > 0.6 * largest else "black"}
        ax.text(j, i, f"{count:,}" if count else "·", ha="center", va="center", fontsize=9, **look)
    ax.set_xticks(range(len(classes)), classes, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(classes)), classes)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_per_class(values, classes, *, title=None):
    """Draw {"recall", "precision", "f1"} of each class, as fractions: one marker each, sorted by F1, best first."""
    percent = {name: 100 * np.asarray(values[name], dtype=float) for name in PER_CLASS}
    order = np.argsort(-percent["f1"], kind="stable")
    positions = np.arange(len(order))
    figure, ax = plt.subplots(figsize=(7.6, 1.3 + 0.3 * len(classes)))
    both = np.stack([percent["recall"], percent["precision"]])[:, order]
    ax.hlines(positions, both.min(0), both.max(0), color="#999999", linewidth=1.5, zorder=1)
    for name, (label, colour, marker) in PER_CLASS.items():
        ax.scatter(percent[name][order], positions, s=42, color=colour, marker=marker, label=label, zorder=2)
    ax.set_yticks(positions, [classes[i] for i in order])
    ax.invert_yaxis()
    ax.set_xlim(10 * np.floor(min(both.min(), 99) / 10), 100.5)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.set_xlabel("percent (the axis does not start at 0)")
    ax.grid(axis="x")
    figure.legend(loc="outside lower right", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


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
        count, confidence, accuracy = (np.asarray(values, dtype=float) for values in bins[:3])
        left, width = 100 * np.arange(len(count)) / len(count), 100 / len(count)
        colours = [COLOURS[0] if images >= ENOUGH else COLOURS[5] for images in count]
        look = {"align": "edge", "edgecolor": "white"}
        ax.bar(left, 100 * np.nan_to_num(accuracy), width, color=colours, **look)
        ax.plot([0, 100], [0, 100], color="#000000", linestyle="--", linewidth=1.2, label="perfect calibration")
        gap = {"color": COLOURS[1], "linewidth": 2, "label": "gap between accuracy and mean confidence"}
        ax.vlines(100 * confidence, 100 * confidence, 100 * accuracy, **gap)
        ax.set_title(f"{name}: ECE {bins[3]:.3f}", fontsize=11)
        ax.set_ylim(0, 100)
        below.bar(left, count, width, color="#999999", **look)
        below.set_xlabel("confidence (%)")
        below.set_xlim(0, 100)
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[1, 0].set_ylabel("images")
    bar = Patch(facecolor=COLOURS[0], label=f"accuracy (pale: of fewer than {ENOUGH} images)")
    handles = [bar, *axes[0, 0].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_class_gates(blocks, classes, branches, *, title=None):
    """Draw each gate's mean output (classes, k) as a table, in percent, with the mean of each branch subtracted.

    branches: a description of each branch, such as "3x3".
    """
    tables = {name: 100 * np.asarray(table, dtype=float) for name, table in blocks.items()}
    tables = {name: table - np.nanmean(table, axis=0) for name, table in tables.items()}
    largest = max(float(np.nanmax(np.abs(table))) for table in tables.values())
    shape = {"figsize": (1.4 + 1.6 * len(tables), 1.3 + 0.3 * len(classes)), "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(1, len(tables), **shape)
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        drawn = ax.imshow(table, cmap="PuOr", vmin=-largest, vmax=largest, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            if not np.isnan(value):
                colour = "white" if abs(value) > 0.65 * largest else "black"
                text = f"{value:+.0f}" if round(value) else "0"
                ax.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
        ax.set_title(name, fontsize=10)
        names = [f"$a_{{{j}}}$\n{text}" for j, text in enumerate(branches, 1)]
        ax.set_xticks(range(table.shape[1]), names, fontsize=9)
        ax.set_yticks(range(len(classes)), classes)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="difference (percent)", pad=0.01)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_embedding(panels, labels, classes, *, title=None):
    """Draw points (n, 2), one per image, for each {name: points}; each class has a colour, a marker and its name."""
    labels = np.asarray(labels)
    colours = plt.get_cmap("tab10").colors
    figure, axes = plt.subplots(1, len(panels), figsize=(5.6 * len(panels), 4.9), squeeze=False)
    for ax, (heading, points) in zip(axes[0], panels.items(), strict=True):
        points = np.asarray(points)
        means = {}
        for number in np.unique(labels):
            own = points[labels == number]
            look = {"color": colours[number % len(colours)], "marker": MARKERS[number % len(MARKERS)]}
            ax.scatter(*own.T, s=7, alpha=0.45, linewidth=0, **look)
            means[number] = own.mean(0)
        places = _apart(means, 0.16 * np.ptp(points[:, 0]), 0.055 * np.ptp(points[:, 1]))
        for number, place in places.items():
            box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colours[number % len(colours)]}
            ax.text(*place, classes[number], ha="center", va="center", fontsize=9, weight="bold", bbox=box)
        ax.set_title(heading, fontsize=11)
        ax.set_xlabel("first principal component")
    axes[0, 0].set_ylabel("second principal component")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _apart(means, width, height):
    """Return the places of labels, {key: (x, y)}: each at its mean, or lower if a label of this size is there."""
    places = {}
    for key, (x, y) in sorted(means.items(), key=lambda entry: -entry[1][1]):
        for other_x, other_y in sorted(places.values(), key=lambda place: -place[1]):
            if abs(x - other_x) < width and abs(y - other_y) < height:
                y = other_y - height
        places[key] = (x, y)
    return places


def show_estimates(values, *, unit, title=None):
    """Draw {label: (value, half-width)} as dots with intervals, one row each, and a line at zero."""
    figure, ax = plt.subplots(figsize=(7.6, 1.2 + 0.42 * len(values)))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # so that no line crosses a number
    for row, (value, half) in enumerate(values.values()):
        ax.errorbar(value, row, xerr=half, color=COLOURS[0], marker="o", markersize=7, capsize=4, linestyle="")
        ax.annotate(
            f"{value:+.1f} ± {half:.1f}", (value, row), (0, 8), textcoords="offset points", ha="center", bbox=box
        )
    ax.axvline(0, color="#000000", linestyle="--", linewidth=1.2)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.7)
    ax.set_xlabel(unit)
    ax.grid(axis="x")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_drops(changes, *, title=None):
    """Draw the accuracy that changes of the images cost: {change: {strength: (points, half-width)}}, a panel each."""
    figure, axes = plt.subplots(1, len(changes), figsize=(2.7 * len(changes), 3.3), sharey=True, squeeze=False)
    for ax, (name, drops) in zip(axes[0], changes.items(), strict=True):
        values, halves = zip(*drops.values(), strict=True)
        look = {"color": COLOURS[0], "marker": "o", "markersize": 6, "capsize": 4, "linewidth": 1.6}
        ax.errorbar(range(len(drops)), values, yerr=halves, **look)
        ax.axhline(0, color="#000000", linestyle="--", linewidth=1.2)
        ax.set_xticks(range(len(drops)), [str(strength) for strength in drops])
        ax.set_xlim(-0.4, len(drops) - 0.6)
        ax.set_xlabel(name, fontsize=10)
        ax.grid(axis="y")
    axes[0, 0].set_ylabel("accuracy lost (points)")
    axes[0, 0].invert_yaxis()
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_mistakes(images, maps, captions, *, columns=4, title=None):
    """Draw images, uint8 (n, 3, h, w), each beside a copy with its Grad-CAM map (n, h, w), bright for high values."""
    pictures = np.asarray(images).transpose(0, 2, 3, 1) / 255
    lit = _lit(pictures, np.asarray(maps))
    rows = math.ceil(len(pictures) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.35 * columns, 1.55 * rows + 0.35), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    gap = np.ones((pictures.shape[1], 1, 3))
    for ax, picture, beside, caption in zip(axes.flat, pictures, lit, captions, strict=False):
        ax.imshow(np.concatenate([picture, gap, beside], 1))
        ax.set_title(caption, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_robustness(records, *, title=None):
    """Draw accuracy against strength for each change, one line for each of {name: robustness}."""
    names = [name for name in UNITS if all(name in record for record in records.values())]
    figure, axes = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.4), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        for number, (label, record) in enumerate(records.items()):
            strengths = [f"{strength:g}" if strength else "none" for strength in record[name]["strengths"]]
            look = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}
            accuracy = [100 * value for value in record[name]["accuracy"]]
            ax.plot(strengths, accuracy, marker=MARKERS[number % len(MARKERS)], label=label, **look)
        ax.set_xlabel(UNITS[name], fontsize=9)
        ax.set_ylim(0, 100)
        ax.yaxis.set_tick_params(labelleft=True)
        ax.grid(axis="y")
    axes[0, 0].set_ylabel("accuracy (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_answer(picture, answer, *, most=5, title=None):
    """Draw a picture, uint8 (3, h, w), at the size of the network's input, and its most probable classes."""
    figure, (left, ax) = plt.subplots(1, 2, figsize=(6.4, 2.3), width_ratios=(2, 3))
    left.imshow(np.asarray(picture).transpose(1, 2, 0))
    left.set_axis_off()
    best = dict(list(answer.items())[:most])
    colours = [COLOURS[0], *["#BBBBBB"] * (len(best) - 1)]
    bars = ax.barh(list(best), [100 * p for p in best.values()], color=colours)
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel("probability (%)")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _lit(pictures, maps):
    """Return the images in grey with their maps on top in colour, from dark blue to bright yellow."""
    grey = pictures.mean(3, keepdims=True).repeat(3, 3)
    colours = plt.get_cmap("plasma")(maps)[..., :3]
    return 0.4 * grey + 0.6 * colours
