"""Owns the figures: takes numbers and images, returns matplotlib figures. Computes nothing and saves nothing."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np

CHANNELS = {"red": ("#D55E00", "-"), "green": ("#009E73", "--"), "blue": ("#0072B2", ":")}
GAP = 3  # white pixels between two pictures


def show_grid(images, captions=None, *, columns=10, rows=None, heads=None, title=None, size=0.72):
    """Draw pictures, uint8 (n, 3, h, w), in rows of `columns`, a caption over each; rows and heads label the edges.

    size is the width of one picture in inches.
    """
    pictures = np.asarray(images).transpose(0, 2, 3, 1)
    height, width = pictures.shape[1:3]
    lines, over = math.ceil(len(pictures) / columns), 11 if captions is not None else 0
    sheet = np.full((lines * (height + over + GAP), columns * (width + GAP), 3), 255, np.uint8)
    scale = size / (width + GAP)
    figure, axes = plt.subplots(figsize=(sheet.shape[1] * scale + 1.2 * bool(rows), sheet.shape[0] * scale + 0.35))
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + over + GAP) + over, (i % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
        if captions is not None:
            axes.text(left + width / 2, top - 1.5, captions[i], ha="center", va="bottom", fontsize=8)
    axes.imshow(sheet, interpolation="nearest")
    for i, name in enumerate(rows or ()):
        axes.text(-4, i * (height + over + GAP) + over + height / 2, name, ha="right", va="center", fontsize=9)
    for i, name in enumerate(heads or ()):
        axes.text(i * (width + GAP) + width / 2, -3, name, ha="center", va="bottom", fontsize=9)
    axes.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_channels(panels, *, title=None):
    """Draw a histogram panel for each {name: {channel: values}}, the channels told apart by colour and by dash."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.0))
    for ax, (name, values) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for channel, (colour, dash) in CHANNELS.items():
            ax.hist(
                values[channel],
                bins=64,
                density=True,
                histtype="step",
                color=colour,
                linestyle=dash,
                linewidth=1.6,
                label=channel,
            )
        ax.set_xlabel(name)
        ax.set_ylabel("share of pixels, per unit")
        ax.grid(axis="y")
    figure.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside right upper")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_bars(panels, *, unit, title=None):
    """Draw horizontal bars, one group per panel of {name: value}, each with its value written at its end."""
    figure, axes = plt.subplots(len(panels), 1, figsize=(7.0, 0.55 + 0.95 * len(panels)), sharex=True)
    for ax, (name, bars) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        drawn = ax.barh(
            list(bars), list(bars.values()), color=["#0072B2", "#E69F00"], hatch=["", "//"], edgecolor="white"
        )
        ax.bar_label(drawn, fmt="{:,.0f}", padding=3)
        ax.set_title(name, fontsize=10)
        ax.invert_yaxis()
        ax.margins(x=0.15)
    np.atleast_1d(axes)[-1].set_xlabel(unit)
    np.atleast_1d(axes)[-1].xaxis.set_major_formatter("{x:,.0f}")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_history(history, *, num_epochs=None, title=None):
    """Draw a history: loss with the finer training curve behind it, accuracy, and the learning rate.

    A figure that an epoch lacks is a gap in its curve.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11.0, 3.2), width_ratios=(5, 5, 3))
    rows, points = history.rows, history.points
    epochs = [row["epoch"] for row in rows]
    if points:
        axes[0].plot(
            [p["epoch"] for p in points], [p["loss"] for p in points], color="#BBBBBB", linestyle="-", linewidth=1.2
        )
        axes[2].plot([p["epoch"] for p in points], [p["lr"] for p in points], color="#000000", linestyle="-")
    looks = {"train": ("training", "#0072B2", "-", "o"), "val": ("validation", "#D55E00", "--", "s")}
    looks["test"] = ("test", *looks["val"][1:])
    for name, (label, colour, dash, marker) in looks.items():
        for ax, what, scale in ((axes[0], "loss", 1), (axes[1], "acc", 100)):
            if any(f"{name}_{what}" in row for row in rows):
                values = [scale * row.get(f"{name}_{what}", math.nan) for row in rows]
                look = {"color": colour, "linestyle": dash, "marker": marker, "label": label}
                ax.plot(epochs, values, clip_on=False, **look)  # or the edge would halve the last marker
    for ax, unit in zip(axes, ("loss (cross-entropy, nats)", "accuracy (%)", "learning rate"), strict=True):
        ax.set_xlabel("epoch")
        ax.set_title(unit, fontsize=10)
        ax.set_xlim(0, max(num_epochs or 0, *epochs, 1) if epochs else num_epochs or 1)
        ax.grid(axis="y")
    axes[0].set_title("loss (grey: every few batches)" if points else "loss", fontsize=10)
    if rows:
        figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    axes[2].set_ylim(bottom=0)
    axes[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    figure.suptitle(title, x=0.01, ha="left")
    return figure
