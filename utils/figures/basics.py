"""Figures of images, histograms and training curves: each function takes numbers and returns a figure."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

CURVES = {
    "train": {"label": "training", "color": "#0072B2", "linestyle": "-", "marker": "o"},
    "val": {"label": "validation", "color": "#D55E00", "linestyle": "--", "marker": "s"},
    "test": {"label": "test", "color": "#D55E00", "linestyle": "--", "marker": "s"},
}
POINTS = {"label": "training, mean of a few batches", "color": "#BBBBBB", "linestyle": "-", "linewidth": 1.2}
CHANNELS = {"red": ("#CC3311", "-"), "green": ("#009E73", "--"), "blue": ("#0072B2", ":")}
GAP = 3  # white pixels between two images
CAPTION = 0.24  # inches above an image with a caption of one line
LINE = 0.17  # inches for each further line of a caption
HEADS = 0.25  # inches above the first row with the names of the columns
TICKS = 5  # labelled epochs on an axis, about
MINIMAL_SPAN = 10.0  # points on an axis of accuracies, at least: a tenth of a point must not look like a leap


def show_grid(
    images, captions=None, *, columns=10, rows=None, heads=None, framed=(), title=None, size=0.72
) -> plt.Figure:
    """Draw images, uint8 (n, 3, h, w), in rows of `columns` images, each with its caption.

    rows and heads are labels of the rows and the columns. framed: for each image, whether it gets a frame. size is the
    width of one image in inches.
    """
    images = np.asarray(images).transpose(0, 2, 3, 1)
    height, width = images.shape[1:3]
    above = 0 if captions is None else math.ceil(_caption_height(captions) / size * (width + GAP))
    row_height = height + above + GAP
    column_width = width + GAP
    sheet = np.full((math.ceil(len(images) / columns) * row_height, columns * column_width, 3), 255, np.uint8)
    inches = np.array(sheet.shape[1::-1]) * size / column_width
    margin = 1.2 if rows else 0.0
    figure, axes = plt.subplots(figsize=(inches[0] + margin, inches[1] + 0.35 + (HEADS if heads else 0.0)))
    small, large = (8, 9) if size < 1 else (10, 11)  # font sizes: a large image has room for large letters
    for i, image in enumerate(images):
        top = (i // columns) * row_height + above
        left = (i % columns) * column_width
        sheet[top : top + height, left : left + width] = image
        if captions is not None:
            axes.text(left + width / 2, top - 1.5, captions[i], ha="center", va="bottom", fontsize=small)
    axes.imshow(sheet, interpolation="nearest")
    for i, is_framed in enumerate(framed):
        if is_framed:
            corner = (i % columns) * column_width - 0.5, (i // columns) * row_height + above - 0.5
            look = {"fill": False, "edgecolor": "#D55E00", "linewidth": 2.5, "clip_on": False}
            axes.add_patch(plt.Rectangle(corner, width, height, **look))
    for i, name in enumerate(rows or ()):
        axes.text(-4, i * row_height + above + height / 2, name, ha="right", va="center", fontsize=large)
    for i, name in enumerate(heads or ()):
        axes.text(i * column_width + width / 2, -3, name, ha="center", va="bottom", fontsize=small)
    axes.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _caption_height(captions):
    """Return the inches above each image that the longest caption needs."""
    return CAPTION + LINE * max(caption.count("\n") for caption in captions)


def show_pixels(image, top, left, size=6, *, title=None) -> plt.Figure:
    """Draw an image, uint8 (3, h, w), with a frame around a square, and the numbers in that square for each channel."""
    image = np.asarray(image)
    figure, axes = plt.subplots(1, 4, figsize=(11.0, 3.1))
    axes[0].imshow(image.transpose(1, 2, 0))
    axes[0].add_patch(plt.Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor="black", linewidth=3))
    axes[0].add_patch(plt.Rectangle((left - 0.5, top - 0.5), size, size, fill=False, edgecolor="white", linewidth=1.2))
    axes[0].set(title="image", xlabel="column", ylabel="row")
    for ax, name, channel in zip(axes[1:], CHANNELS, image, strict=True):
        square = channel[top : top + size, left : left + size]
        extent = (left - 0.5, left + size - 0.5, top + size - 0.5, top - 0.5)
        ax.imshow(square, cmap="gray", vmin=0, vmax=255, extent=extent)
        for (i, j), value in np.ndenumerate(square):
            colour = "black" if value > 120 else "white"
            look = {"fontsize": 10, "fontweight": "bold", "color": colour}
            ax.text(left + j, top + i, value, ha="center", va="center", **look)
        ax.set(title=name, xlabel="column", xticks=range(left, left + size), yticks=range(top, top + size))
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_channels(images, mean, std, *, title=None) -> plt.Figure:
    """Draw a histogram of each channel of images, uint8 (n, 3, h, w), over pixel values and over standardised values.

    A line marks the channel's mean, and a band reaches one standard deviation to either side.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11.0, 3.4), sharey=True)
    images = np.asarray(images)
    for i, (name, (colour, _)) in enumerate(CHANNELS.items()):
        counts = np.bincount(images[:, i].reshape(-1), minlength=256)
        axes[i].bar(np.arange(256), 100 * counts / counts.sum(), width=1.0, color=colour)
        middle, reach = 255 * mean[i], 255 * std[i]
        axes[i].axvspan(middle - reach, middle + reach, color="#000000", alpha=0.15, linewidth=0)
        axes[i].axvline(middle, color="black", linestyle="--", linewidth=1.4)
        axes[i].set(xlabel=f"{name}: pixel value", xlim=(-2, 257), xticks=(0, 64, 128, 192, 255))
        above = axes[i].secondary_xaxis("top", functions=_standardising(middle, reach))
        above.set_xlabel("standardised value")
    axes[0].set_ylabel("pixels (%)")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _standardising(mean, std):
    """Return the two functions that convert a pixel value to a standardised value, and back."""
    return (lambda value: (value - mean) / std, lambda value: value * std + mean)


def show_history(history, *, num_epochs=None, title=None) -> plt.Figure:
    """Draw a history: the loss with the finer training curve behind it, the accuracy, and a learning rate that changes.

    If an epoch lacks a value, its curve has a gap there. Where there is no value at all, the figure says so.
    """
    rows, points = history.rows, history.points
    rate_changes = len({point["lr"] for point in points}) > 1
    widths = (5, 5, 3) if rate_changes else (5, 5)
    figure, axes = plt.subplots(1, len(widths), figsize=(11.0, 3.2), width_ratios=widths)
    loss_ax, accuracy_ax = axes[:2]
    positions = [point["epoch"] for point in points]
    if points:
        loss_ax.plot(positions, [point["loss"] for point in points], **POINTS)
    for name, look in CURVES.items():
        _plot_curve(loss_ax, rows, f"{name}_loss", look)
        _plot_curve(accuracy_ax, rows, f"{name}_acc", look, scale=100)
    _widen(accuracy_ax)
    if rate_changes:
        axes[2].plot(positions, [point["lr"] for point in points], color="#000000", linestyle="-")
        axes[2].set_title("learning rate", fontsize=10)
        axes[2].set_ylim(bottom=0)
        axes[2].yaxis.set_major_formatter("{x:g}")  # without a factor above the axis, where the title is
    last_epoch = max([1, num_epochs or 0, *(row["epoch"] for row in rows)])
    ticks = [tick for tick in MaxNLocator(TICKS, integer=True).tick_values(0, last_epoch) if tick <= last_epoch]
    for ax in axes:
        ax.set_xlabel("epoch")
        ax.set_xlim(0, last_epoch)
        ax.set_xticks(ticks)  # the same in all panels
        ax.grid(axis="y")
        if not ax.has_data():
            ax.set_yticks([])
            ax.text(0.5, 0.5, "no value yet", transform=ax.transAxes, ha="center", color="#777777")
    loss_ax.set_title("loss", fontsize=10)
    accuracy_ax.set_title("accuracy (%)", fontsize=10)
    if rows:
        handles = [*loss_ax.lines[: bool(points)], *accuracy_ax.get_legend_handles_labels()[0]]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _widen(ax):
    """Widen an axis of accuracies that spans less than MINIMAL_SPAN points, within 0 and 100 %."""
    low, high = ax.get_ylim()
    if ax.has_data() and high - low < MINIMAL_SPAN:
        low = min(max(0.0, (low + high - MINIMAL_SPAN) / 2), 100.0 - MINIMAL_SPAN)
        ax.set_ylim(low, low + MINIMAL_SPAN)


def _plot_curve(ax, rows, name, look, scale=1):
    """Draw a value of every epoch, with a gap if an epoch lacks it; draw nothing if all epochs lack it."""
    if any(name in row for row in rows):
        values = [scale * row.get(name, math.nan) for row in rows]
        # Without clipping, which would cut the last marker in half at the edge.
        ax.plot([row["epoch"] for row in rows], values, clip_on=False, **look)
