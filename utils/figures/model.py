"""The figures of notebook 02: filter responses, feature maps, gates, and the speed of gated convolutions."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from utils.figures.style import COLOURS

SIGNED = "PuOr"  # orange below zero, purple above, pale near zero; colour-blind readers can distinguish them


def show_responses(image, kernels, responses, *, title=None):
    """Draw an image, uint8 (3, h, w), and its signed response (h, w) to each of {name: kernel}, on one colour scale."""
    figure, axes = plt.subplots(1, 1 + len(responses), figsize=(2.35 * (1 + len(responses)), 3.3), layout="compressed")
    axes[0].imshow(np.asarray(image).transpose(1, 2, 0))
    axes[0].set_title("image", fontsize=10)
    largest = max(float(np.abs(np.asarray(response)).max()) for response in responses.values())
    for ax, (name, response) in zip(axes[1:], responses.items(), strict=True):
        drawn = ax.imshow(np.asarray(response), cmap=SIGNED, vmin=-largest, vmax=largest)
        ax.set_title(name, fontsize=10)
        rows = ["  ".join(f"{value:2g}" for value in row) for row in np.asarray(kernels[name]).tolist()]
        ax.set_xlabel("\n".join(rows), family="monospace", fontsize=9)
    for ax in axes:
        _bare(ax)
    figure.colorbar(drawn, ax=axes, label="response", shrink=0.62)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_features(image, blocks, *, columns=8, title=None):
    """Draw an image, uint8 (3, h, w), and the first channels of each block's feature maps (c, h, w), low ones dark."""
    figure, axes = plt.subplots(len(blocks), 1 + columns, figsize=(1.12 * (1 + columns), 1.25 * len(blocks) + 0.35))
    axes = np.atleast_2d(axes)
    for ax in axes.flat:
        ax.set_axis_off()
    axes[0, 0].imshow(np.asarray(image).transpose(1, 2, 0))
    axes[0, 0].set_title("image", fontsize=9, loc="center")
    for row, (name, maps) in zip(axes, blocks.items(), strict=True):
        count, height, width = maps.shape
        label = f"{name}\n{count} of {height}x{width}"
        look = {"rotation": 90, "fontsize": 9, "ha": "center", "va": "center"}
        row[1].text(-0.2, 0.5, label, transform=row[1].transAxes, **look)
        for channel, (ax, values) in enumerate(zip(row[1:], np.asarray(maps), strict=False), 1):
            ax.imshow(values, cmap="gray")
            ax.set_title(f"channel {channel}", fontsize=8, loc="center")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_gates(blocks, classes, *, branches=None, title=None):
    """Draw each gate's mean output (classes, k) as a table of numbers, coloured by the difference from 1/k.

    branches: {block: a description of each branch}, such as "3x3", written under the names of the weights. A class
    without images has NaN or None, and an empty row.
    """
    tables = {name: np.asarray(table, dtype=float) for name, table in blocks.items()}
    widths = [table.shape[1] for table in tables.values()]
    figure, axes = plt.subplots(
        1, len(tables), figsize=(1.9 + 0.66 * sum(widths), 1.1 + 0.3 * len(classes)), sharey=True, width_ratios=widths
    )
    largest = max(float(np.nanmax(np.abs(table - 1 / table.shape[1]))) for table in tables.values())
    for ax, (name, table) in zip(np.atleast_1d(axes), tables.items(), strict=True):
        difference = table - 1 / table.shape[1]
        drawn = ax.imshow(difference, cmap=SIGNED, vmin=-largest, vmax=largest, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            if np.isnan(value):
                continue
            is_dark = abs(difference[i, j]) > 0.65 * largest
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if is_dark else "black")
        ax.set_title(name, fontsize=10)
        texts = branches[name] if branches else [""] * table.shape[1]
        ax.set_xticks(range(table.shape[1]), [f"$a_{{{j}}}$\n{text}".strip() for j, text in enumerate(texts, 1)])
        ax.set_yticks(range(len(classes)), classes)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="difference from 1/k")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_forms(panels, chosen, *, title=None):
    """Draw {shape: {form: milliseconds}} as bars, one panel per shape; the form that "auto" chooses is marked."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 2.5))
    for ax, (shape, times) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        names = [f"{form} (auto)" if form == chosen[shape] else form for form in times]
        looks = {
            "color": [COLOURS[0] if form == chosen[shape] else "#BBBBBB" for form in times],
            "hatch": ["" if form == chosen[shape] else "//" for form in times],
        }
        ax.bar_label(ax.barh(names, list(times.values()), edgecolor="white", **looks), fmt="{:,.3g}", padding=3)
        ax.set_title(shape, fontsize=10)
        ax.set_xlabel("ms, forward and backward")
        ax.invert_yaxis()
        ax.margins(x=0.18)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _bare(ax):
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
