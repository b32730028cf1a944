"""The figures of notebook 05: confusion matrix, per-class metrics, Grad-CAM, gates, embedding, robustness and TTA."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from utils.figures.style import COLOURS, MARKERS, signed

GREY = "#EEEEEE"
MAP_COLOURS = "plasma"  # of Grad-CAM, from dark blue to bright yellow
DOTS = 2_500  # of an embedding: of more images, every second or third one and so on is drawn
CHUNKS = 8  # of an embedding: they are drawn one after the other, so that no class covers all others
PER_CLASS = {
    "recall": ("recall", COLOURS[0], "o"),
    "precision": ("precision", COLOURS[1], "s"),
    "f1": ("F1", "#000000", "|"),
}
UNITS = {
    "shift": "shift (pixels)",
    "noise": "noise (standard deviation)",
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
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=GREY, edgecolor="#666666", clip_on=False))
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


def show_class_gates(blocks, classes, branches=None, *, title=None):
    """Draw each gate's mean output (classes, k) as a table, with the mean of each branch subtracted, times 100.

    branches: a description of each branch, such as "3x3". A class without images has NaN or None, and an empty row.
    """
    tables = {name: 100 * np.asarray(table, dtype=float) for name, table in blocks.items()}
    tables = {name: table - np.nanmean(table, axis=0) for name, table in tables.items()}
    largest = max(1.0, *(float(np.nanmax(np.abs(table))) for table in tables.values()))
    widths = [table.shape[1] for table in tables.values()]
    size = (1.4 + 0.53 * sum(widths), 1.3 + 0.3 * len(classes))
    figure, axes = plt.subplots(1, len(tables), figsize=size, sharey=True, squeeze=False, width_ratios=widths)
    for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
        drawn = ax.imshow(table, cmap="PuOr", vmin=-largest, vmax=largest, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            if not np.isnan(value):
                colour = "white" if abs(value) > 0.58 * largest else "black"
                ax.text(j, i, signed(value, 0), ha="center", va="center", fontsize=9, color=colour)
        ax.set_title(name, fontsize=10)
        names = [f"$a_{{{j}}}$\n{text}".strip() for j, text in enumerate(branches or [""] * table.shape[1], 1)]
        ax.set_xticks(range(table.shape[1]), names, fontsize=9)
        ax.set_yticks(range(len(classes)), classes)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="percentage points", pad=0.01)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_embedding(panels, labels, classes, *, title=None):
    """Draw points (n, 2), one per image, for each {name: points}; each class has a colour, a marker and its name.

    Of many images only some are drawn, at most DOTS; the names stand at the means of all.
    """
    labels = np.asarray(labels)
    every = math.ceil(len(labels) / DOTS)
    shown = labels[::every]
    numbers = np.unique(labels)
    colours = plt.get_cmap("tab10").colors
    looks = {i: {"color": colours[i % len(colours)], "marker": MARKERS[i % len(MARKERS)]} for i in numbers}
    chunk_of = np.random.default_rng(0).integers(CHUNKS, size=len(shown))
    figure, axes = plt.subplots(1, len(panels), figsize=(5.6 * len(panels), 5.1), squeeze=False)
    for ax, (heading, points) in zip(axes[0], panels.items(), strict=True):
        points = np.asarray(points)
        for chunk in range(CHUNKS):
            for i in numbers:
                here = points[::every][(shown == i) & (chunk_of == chunk)]
                ax.scatter(*here.T, s=14, alpha=0.6, linewidth=0, **looks[i])
        means = {i: points[labels == i].mean(0) for i in numbers}
        places = _apart(means, 0.16 * np.ptp(points[:, 0]), 0.055 * np.ptp(points[:, 1]))
        for i, place in places.items():
            box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": looks[i]["color"]}
            ax.text(*place, classes[i], ha="center", va="center", fontsize=9, weight="bold", bbox=box)
        ax.set_title(heading, fontsize=11)
        ax.set_xlabel("first principal component")
    axes[0, 0].set_ylabel("second principal component")
    handles = [Line2D([], [], linestyle="", markersize=7, label=classes[i], **looks[i]) for i in numbers]
    columns = math.ceil(len(handles) / math.ceil(len(handles) / 10))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=9, columnspacing=1)
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
            f"{signed(value)} ± {half:.1f}", (value, row), (0, 8), textcoords="offset points", ha="center", bbox=box
        )
    ax.axvline(0, color="#000000", linestyle="--", linewidth=1.2)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.7)
    ax.set_xlabel(unit)
    ax.grid(axis="x")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_drops(changes, base, *, title=None):
    """Draw the accuracy on changed images, one panel for each {change: {strength: (points lost, half-width)}}.

    base: the accuracy on the unchanged images in percent, which a dashed line marks.
    """
    figure, axes = plt.subplots(1, len(changes), figsize=(2.7 * len(changes), 3.3), sharey=True, squeeze=False)
    for ax, (name, drops) in zip(axes[0], changes.items(), strict=True):
        values, halves = zip(*drops.values(), strict=True)
        look = {"color": COLOURS[0], "marker": "o", "markersize": 6, "capsize": 4, "linewidth": 1.6}
        ax.errorbar(range(len(drops)), base - np.array(values), yerr=halves, **look)
        ax.axhline(base, color="#000000", linestyle="--", linewidth=1.2, label="unchanged images")
        ax.set_xticks(range(len(drops)), [str(strength) for strength in drops])
        ax.set_xlim(-0.4, len(drops) - 0.6)
        ax.set_xlabel(name, fontsize=10)
        ax.grid(axis="y")
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[0, 0].set_ylim(0, 100)
    axes[0, 0].legend(loc="lower left", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_maps(images, maps, captions, *, title=None):
    """Draw images, uint8 (n, 3, h, w), in a row, and below them a row of maps (n, h, w) with captions for each entry.

    captions: for each row of maps a text for each map. The values of a map go from 0 (dark blue) to 1 (yellow).
    """
    pictures = np.asarray(images).transpose(0, 2, 3, 1)
    rows, columns = 1 + len(maps), len(pictures)
    figure, axes = plt.subplots(rows, columns, figsize=(1.75 * columns + 1, 1.75 * rows + 0.4), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, picture in zip(axes[0], pictures, strict=True):
        ax.imshow(picture)
    for row, row_of_maps, texts in zip(axes[1:], maps, captions, strict=True):
        for ax, values, text in zip(row, np.asarray(row_of_maps), texts, strict=True):
            drawn = ax.imshow(values, cmap=MAP_COLOURS, vmin=0, vmax=1)
            ax.set_title(text, fontsize=9)
    figure.colorbar(drawn, ax=axes, pad=0.01, aspect=30, label="value of the map")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_robustness(record, *, title=None):
    """Draw accuracy against strength for each change of the images: {change: {"strengths", "accuracy"}}."""
    names = [name for name in UNITS if name in record]
    figure, axes = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.0), sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        strengths = [f"{strength:g}" if strength else "none" for strength in record[name]["strengths"]]
        accuracy = [100 * value for value in record[name]["accuracy"]]
        ax.plot(strengths, accuracy, color=COLOURS[0], linestyle="-", marker="o")
        ax.set_xlabel(UNITS[name])
        ax.set_ylim(0, 100)
        ax.yaxis.set_tick_params(labelleft=True)
        ax.grid(axis="y")
    axes[0, 0].set_ylabel("accuracy (%)")
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
