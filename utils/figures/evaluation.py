"""The figures of notebook 05: confusion matrix, per-class metrics, calibration, mistakes, robustness and TTA."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from utils.figures.style import COLOURS, DASHES

MARKERS = "osD^vPX"
GREY = "#EEEEEE"
ENOUGH = 20  # images; the accuracy of a bin with fewer images is mostly chance
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


def show_per_class(figures, classes, *, title=None):
    """Draw the precision and recall of each class, best F1 first, from {"precision", "recall", "f1"} as fractions."""
    order = np.argsort(-np.asarray(figures["f1"]), kind="stable")
    figure, ax = plt.subplots(figsize=(7.0, 1.1 + 0.36 * len(classes)))
    looks = {
        "recall": {"color": COLOURS[0], "label": "recall: of the images of this class"},
        "precision": {"color": COLOURS[4], "hatch": "//", "label": "precision: of the predictions of this class"},
    }
    for offset, (name, look) in zip((-0.2, 0.2), looks.items(), strict=True):
        values = 100 * np.asarray(figures[name])[order]
        bars = ax.barh(np.arange(len(order)) + offset, values, 0.38, ec="white", **look)
        ax.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    ax.set_yticks(range(len(order)), [classes[i] for i in order])
    ax.invert_yaxis()
    ax.set_xlim(0, 105)
    ax.set_xlabel("correct (%)")
    figure.legend(loc="outside lower right", ncols=2, fontsize=9)
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


def show_views(views, *, title=None):
    """Draw the accuracy without and with test-time augmentation (TTA), {name of the views: fraction}, as bars."""
    figure, ax = plt.subplots(figsize=(7.0, 0.75 + 0.36 * len(views)))
    colours = ["#BBBBBB", *[COLOURS[0]] * (len(views) - 1)]
    bars = ax.barh(list(views), [100 * value for value in views.values()], color=colours)
    ax.bar_label(bars, fmt="%.1f", padding=3)
    ax.invert_yaxis()
    ax.set_xlim(0, 105)
    ax.set_xlabel("accuracy (%)")
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
    ax.set_xlim(0, 112)
    ax.set_xlabel("probability (%)")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _lit(pictures, maps):
    """Return the images in grey with their maps on top in colour, from dark blue to bright yellow."""
    grey = pictures.mean(3, keepdims=True).repeat(3, 3)
    colours = plt.get_cmap("plasma")(maps)[..., :3]
    return 0.4 * grey + 0.6 * colours
