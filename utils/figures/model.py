"""The figures of notebook 02: the responses of kernels, the flow of data through a network, and the gates."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle

from utils.figures.style import COLOURS

SIGNED = "PuOr"  # orange below zero, purple above, pale near zero; colour-blind readers can distinguish them


def show_responses(image, kernels, responses, *, title=None):
    """Draw an image, uint8 (3, h, w), and its response (h, w) to each of {name: kernel}, on one colour scale.

    Negative and positive responses have different colours. If none is negative, the responses are drawn in grey.
    """
    figure, axes = plt.subplots(1, 1 + len(responses), figsize=(2.35 * (1 + len(responses)), 3.3), layout="compressed")
    axes[0].imshow(np.asarray(image).transpose(1, 2, 0))
    axes[0].set_title("image", fontsize=10)
    largest = max(float(np.abs(np.asarray(response)).max()) for response in responses.values())
    is_signed = min(float(np.asarray(response).min()) for response in responses.values()) < 0
    look = {"cmap": SIGNED, "vmin": -largest} if is_signed else {"cmap": "gray", "vmin": 0}
    for ax, (name, response) in zip(axes[1:], responses.items(), strict=True):
        drawn = ax.imshow(np.asarray(response), vmax=largest, **look)
        ax.set_title(name, fontsize=10)
        rows = ["  ".join(f"{value:2g}" for value in row) for row in np.asarray(kernels[name]).tolist()]
        ax.set_xlabel("\n".join(rows), family="monospace", fontsize=9)
    for ax in axes:
        _bare(ax)
    figure.colorbar(drawn, ax=axes, label="response", shrink=0.62, pad=0.01)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_data_flow(stages, *, most=4, scores=(), title=None) -> plt.Figure:
    """Draw what a network computes, stage by stage: {name: maps (c, h, w) or vector (n,)}, with the shapes.

    Of each stage the first `most` maps are drawn, at a size that follows their number of pixels; an image in colour is
    drawn as it is. Vectors are drawn as bars, with the size of the longest one. scores: the names of the last vector's
    numbers.
    """
    width = 9.8 + (0.7 if len(scores) else 0.0)
    figure = plt.figure(figsize=(width, 2.7), layout="none")
    ax = figure.add_axes((0, 0, 1, 2.35 / 2.7), xlim=(0, width), ylim=(0, 2.35))
    ax.set_axis_off()
    slot = 9.8 / len(stages)
    largest = max(values.shape[-1] for values in stages.values() if values.ndim == 3)
    end = None
    for number, (name, values) in enumerate(stages.items()):
        middle = slot * (number + 0.5)
        values = np.asarray(values)
        if values.ndim == 3:
            side = 0.42 + 0.34 * (values.shape[-1] / largest)
            half = _draw_maps(ax, values, middle, side, most)
        else:
            half = _draw_vector(ax, values, middle, scores if number == len(stages) - 1 else ())
        if end is not None:
            look = {"arrowstyle": "-|>", "color": "#555555", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (middle - half - 0.03, 1.4), (end + 0.03, 1.4), arrowprops=look)
        end = middle + half
        ax.text(middle, 0.42, name, ha="center", va="top", fontsize=11)
        ax.text(middle, 0.5, str(tuple(values.shape)), ha="center", va="bottom", fontsize=10, weight="bold")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_maps(ax, maps, middle, side, most):
    """Draw maps one behind the other, the first in front; return half the width that they take."""
    is_image = maps.shape[0] == 3 and maps.dtype == np.uint8
    layers = [maps.transpose(1, 2, 0)] if is_image else list(maps[:most])
    shift = 0.055
    extent = side + shift * (len(layers) - 1)
    left, bottom = middle - extent / 2, 1.4 - extent / 2
    for number, layer in reversed(list(enumerate(layers))):
        x, y = left + shift * number, bottom + shift * number
        ax.imshow(layer, cmap="gray", extent=(x, x + side, y, y + side), zorder=3 + len(layers) - number, aspect="auto")
        frame = Rectangle((x, y), side, side, fill=False, edgecolor=COLOURS[0], linewidth=1)
        frame.set_zorder(3 + len(layers) - number)
        ax.add_patch(frame)
    return extent / 2


def _draw_vector(ax, values, middle, names=()):
    """Draw the values of a vector as bars from left to right of zero; return half the width that they take."""
    largest = max(float(np.abs(values).max()), 1e-9)
    edges = np.linspace(2.1, 0.72, len(values) + 1)
    for value, top, bottom in zip(values, edges[:-1], edges[1:], strict=True):
        length = 0.3 * float(value) / largest
        colour = COLOURS[0] if value >= 0 else COLOURS[1]
        ax.add_patch(Rectangle((middle, bottom), length, 0.85 * (top - bottom), facecolor=colour, linewidth=0))
    ax.text(middle, 2.14, f"longest: {largest:.2g}", ha="center", va="bottom", fontsize=8)
    for name, height in zip(names, (edges[:-1] + edges[1:]) / 2, strict=False):
        ax.text(middle + 0.33, height, name, va="center", fontsize=9)
    ax.plot([middle, middle], [0.7, 2.12], color="#000000", linestyle="-", linewidth=0.8)
    return 0.35


def show_gate_spread(panels, *, title=None) -> plt.Figure:
    """Draw the weights of gates, {row: {block: (images, k)}}, as one box per branch: the middle half of the images.

    The whiskers span from the 5th to the 95th percentile of the images; the dashed line is the equal share 1/k.
    """
    columns = max(len(blocks) for blocks in panels.values())
    box = {"facecolor": COLOURS[5], "edgecolor": "#000000"}
    shape = {"figsize": (2.3 * columns + 0.6, 2.0 * len(panels) + 0.8), "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(len(panels), columns, **shape)
    for row, (label, blocks) in zip(axes, panels.items(), strict=True):
        for ax, (name, weights) in zip(row, blocks.items(), strict=True):
            weights = np.asarray(weights)
            k = weights.shape[1]
            middle = {"color": "#000000", "linestyle": "-", "linewidth": 2}
            line = {"color": "#000000", "linestyle": "-"}
            ax.boxplot(
                weights, whis=(5, 95), showfliers=False, widths=0.6, patch_artist=True,
                boxprops=box, medianprops=middle, whiskerprops=line, capprops=line,
            )  # fmt: skip
            share = ax.axhline(
                1 / k, color=COLOURS[1], linestyle="--", linewidth=1.2, zorder=0, label="equal share 1/k"
            )
            ax.set_xticks(range(1, k + 1), [f"$a_{{{j}}}$" for j in range(1, k + 1)])
            ax.set_title(name, fontsize=10)
        row[0].set_ylabel(f"{label}\nweight")
    handles = [Patch(label="middle half of the images, and median", **box), share]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if columns > 2 else 1, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _bare(ax):
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
