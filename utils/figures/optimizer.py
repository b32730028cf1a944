"""The figures of notebook 03: losses, a computation graph, a valley, trainings, schedules, the range test."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from utils.figures.style import COLOURS, DASHES

GREY = "#999999"
LOSS = "validation loss (nats)"
BROWN = "#A04000"  # COLOURS[1], dark enough for text


def show_confidence(p, curves, *, floor=None, title=None):
    """Draw {name: (loss, norm of its gradient)} against p, the network's probability for the right class."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.3))
    for (name, values), look in zip(curves.items(), _looks(), strict=False):
        for ax, curve in zip(axes, values, strict=True):
            ax.plot(np.asarray(p), np.asarray(curve), label=name, **look)
    if floor is not None:
        axes[0].axhline(floor, color=COLOURS[1], linewidth=1, zorder=0)
        look = {"textcoords": "offset points", "ha": "right", "va": "top", "color": BROWN, "fontsize": 9}
        axes[0].annotate(f"lowest possible with two: {floor:.4f}", (1, floor), (0, -3), **look)
    for ax, panel in zip(axes, ("loss (nats)", "norm of the gradient"), strict=True):
        ax.set_title(panel, fontsize=10, loc="left")
        ax.set_xlabel("probability of the right class")
        ax.set_ylim(bottom=0)
        ax.grid(axis="y")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3.5)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_graph(nodes, edges, *, title=None):
    """Draw a computation graph: each node with its value and, below, the gradient of the loss with respect to it.

    nodes is {name: (column, row, value, gradient or None)}; edges is {(from, to): the local derivative as text}. A
    black arrow leads forward, and a dashed brown one backward, with the local derivative beside it.
    """
    figure, ax = plt.subplots(figsize=(11.0, 4.4))
    columns, rows = zip(*(node[:2] for node in nodes.values()), strict=True)
    ax.set(xlim=(min(columns) - 0.45, max(columns) + 0.45), ylim=(min(rows) - 0.45, max(rows) + 0.45))
    ax.set_axis_off()
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
    forward, backward = {"color": "black"}, {"color": BROWN, "linestyle": "--"}
    for (source, target), derivative in edges.items():
        (x0, y0), (x1, y1) = nodes[source][:2], nodes[target][:2]
        start, end = _node_frame(ax, x0, y0), _node_frame(ax, x1, y1)
        up = 0.06  # the forward arrow above the line between the nodes, the backward one below it
        ax.annotate("", (x1, y1 + up), (x0, y0 + up), arrowprops=arrow | forward | {"patchA": start, "patchB": end})
        ax.annotate("", (x0, y0 - up), (x1, y1 - up), arrowprops=arrow | backward | {"patchA": end, "patchB": start})
        if y0 == y1:
            place, right, down = 0.5, 0.0, 0.18
        else:  # an arrow upwards has its label near its end, where the next column has no box
            place, right, down = (0.6, 0.1, 0.15) if y0 < y1 else (0.5, -0.14, 0.13)
        beside = {"ha": "center", "va": "center", "fontsize": 10, "color": BROWN}
        ax.text(x0 + place * (x1 - x0) + right, y0 + place * (y1 - y0) - down, _with_minus(derivative), **beside)
    for name, (x, y, value, gradient) in nodes.items():
        ax.text(x, y + 0.19, _with_minus(name), ha="center", va="center", weight="bold")
        ax.text(x, y, _with_minus(f"value {value:g}"), ha="center", va="center", color=COLOURS[0], fontsize=10)
        if gradient is not None:
            text = _with_minus(f"gradient {gradient:g}")
            ax.text(x, y - 0.19, text, ha="center", va="center", color=BROWN, fontsize=10)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _with_minus(text):
    """Return the text with minus signs in place of hyphens, as on the axes of matplotlib."""
    return text.replace("-", "\N{MINUS SIGN}")


def _node_frame(ax, x, y):
    """Draw the box of a node of a computation graph."""
    box = {"boxstyle": "round,pad=0.02", "facecolor": "#F2F2F2", "edgecolor": "black"}
    return ax.add_patch(FancyBboxPatch((x - 0.26, y - 0.3), 0.52, 0.6, **box))


def show_paths(height, paths, *, goal, x=(-2.7, 3.4), y=(-0.6, 2.6), title=None):
    """Draw each path {name: points (steps + 1, 2)} in a column: above on the surface, below the height of each step.

    height maps weights (2, ...) to heights (...); goal is the position of the minimum.
    """
    shape = {"figsize": (2.75 * len(paths), 4.4), "sharex": "row", "sharey": "row", "squeeze": False}
    figure, axes = plt.subplots(2, len(paths), **shape)
    for above, below, (name, points) in zip(*axes, paths.items(), strict=True):
        _draw_surface(above, height, goal, x, y)
        _draw_path(above, points)
        above.set_title(name, fontsize=10, loc="left")
        below.plot(height(points.T), color=COLOURS[0], linestyle="-", linewidth=1.6)
        below.set(yscale="log", xlabel="steps", ylabel="height")
        below.grid(axis="y")
        above.label_outer()
        below.label_outer()
        above.set_xlabel("first weight")
        above.tick_params(labelbottom=True)
    _add_path_legend(figure, axes[0, 0])
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_valleys(height, paths, *, goal, x=(-2.7, 3.2), y=(-1.6, 3.6), title=None):
    """Draw each path {name: points (steps + 1, 2)} in a separate panel, with its first and its last height."""
    columns = min(4, len(paths))
    rows = -(-len(paths) // columns)
    width, height_of_row = (2.75, 2.2) if columns > 1 else (5.5, 3.1)
    shape = {"figsize": (width * columns, height_of_row * rows + 0.4), "sharex": True, "sharey": True}
    figure, axes = plt.subplots(rows, columns, squeeze=False, **shape)
    for ax in axes.flat[len(paths) :]:
        ax.set_axis_off()
    for ax, (name, points) in zip(axes.flat, paths.items(), strict=False):
        _draw_surface(ax, height, goal, x, y)
        _draw_path(ax, points)
        first, last = (float(height(point)) for point in (points[0], points[-1]))
        ax.set_title(f"{name}\nheight {first:.3g} to {last:.3g}", fontsize=10, loc="left")
    for ax in axes.flat:
        ax.label_outer()
    _add_path_legend(figure, axes[0, 0])
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_path(ax, points):
    look = {"color": COLOURS[0], "linestyle": "-", "linewidth": 1.2, "marker": "o", "markersize": 3}
    ax.plot(points[:, 0], points[:, 1], label="the weights after each step", **look)
    ax.plot(*points[0], marker="s", color="black", markersize=7, linestyle="", label="start")


def _add_path_legend(figure, ax):
    handles, _ = ax.get_legend_handles_labels()  # the minimum first, since it is drawn first
    figure.legend(handles=handles[::-1], loc="outside lower center", ncols=3, fontsize=9)


def _draw_surface(ax, height, goal, x, y):
    """Draw a surface in grey, with a star at its minimum; what leaves the limits is cut off."""
    # Made from goal, so that they are of its kind: height may be a function of tensors.
    across = goal.new_tensor(np.linspace(*x, 160))
    along = goal.new_tensor(np.linspace(*y, 160))
    grid = goal.new_zeros(2, 160, 160)
    grid[0], grid[1] = across, along[:, None]
    heights = np.asarray(height(grid))
    levels = np.geomspace(max(heights.min(), 0.05), heights.max(), 12)
    ax.contourf(across, along, heights, levels, cmap="Greys", norm="log", extend="min", alpha=0.3)
    star = {"marker": "*", "color": "white", "markeredgecolor": "black", "markersize": 17, "linestyle": ""}
    ax.plot(*goal, label="minimum", zorder=2, **star)
    ax.set(xlim=x, ylim=y, xlabel="first weight", ylabel="second weight")


def show_circles(matrices, *, title=None):
    """Draw what each matrix {name: (2, 2)} makes of the unit circle: its half axes are the singular values."""
    figure, axes = plt.subplots(1, len(matrices), figsize=(11.0, 2.9), sharex=True, sharey=True)
    angles = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        matrix = np.asarray(matrix)
        directions, lengths, _ = np.linalg.svd(matrix)
        ax.plot(*circle, color=GREY, linestyle=":", linewidth=1.5, label="unit circle")
        ax.plot(*(matrix @ circle), color=COLOURS[0], linestyle="-", label="what the matrix makes of it")
        for number, (direction, length) in enumerate(zip(directions.T, lengths, strict=True)):
            look = {"color": COLOURS[1], "linestyle": "--", "linewidth": 1.4}
            label = "" if number else "axes (half their lengths: the singular values)"
            ax.plot(*np.outer(direction, (-length, length)), label=label, **look)
        ax.set_title(f"{name}\nsingular values {lengths[0]:.2f}, {lengths[1]:.2f}", fontsize=9, loc="left")
        ax.set_aspect("equal")
        ax.grid()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, handlelength=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_losses(curves, *, every=1, levels=None, title=None):
    """Draw {name: curves (seeds, points)}: thin lines for single seeds, a thick one for their mean.

    every: batches between two points. levels is {name: the lowest possible value of this curve}.
    """
    figure, ax = plt.subplots(figsize=(9.2, 3.6))
    for (name, values), look in zip(curves.items(), _looks(), strict=False):
        values = np.atleast_2d(np.asarray(values))
        positions = every * np.arange(1, values.shape[1] + 1)
        ax.plot(positions, values.T, linewidth=0.8, alpha=0.45, **look)
        ax.plot(positions, values.mean(0), linewidth=2.4, label=name, **look)
        if levels:
            ax.axhline(levels[name], linewidth=1.2, zorder=0, **look)
            place = {"textcoords": "offset points", "ha": "left", "va": "bottom", "color": look["color"], "fontsize": 9}
            box = {
                "facecolor": "white",
                "edgecolor": "none",
                "pad": 0.5,
            }  # so that no line of the grid crosses the text
            ax.annotate(f"lowest possible, {name}", (0, levels[name]), (4, 4), bbox=box, **place)
    ax.set(xlabel="batches", ylabel="training loss (nats)")
    ax.set_xlim(left=0)
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_comparison(searched, final, *, guess=None, title=None):
    """Draw the search {name: {learning rate: value}} and, beside it, {name: values of other seeds} at each one's best.

    A ring marks the lowest value of each search; a vertical line marks the mean over the other seeds. guess is the
    value of a network that has learned nothing, a horizontal line.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.0, 4.2), width_ratios=(6, 5))
    markers = ("o", "s", "^", "D", "v")
    highest = max(value for values in searched.values() for value in values.values() if np.isfinite(value))
    for number, ((name, values), look) in enumerate(zip(searched.items(), _looks(), strict=False)):
        drawn = [min(value, highest) if np.isfinite(value) else highest for value in values.values()]
        axes[0].plot(list(values), drawn, marker=markers[number], label=name, linewidth=1.6, **look)
        best = min(values, key=values.get)
        ring = {"color": "none", "markeredgecolor": look["color"], "markersize": 13, "markeredgewidth": 1.6}
        axes[0].plot(best, values[best], marker="o", **ring)
        axes[1].plot(
            final[name], [number] * len(final[name]), marker=markers[number], linestyle="none", color=look["color"]
        )
        axes[1].plot(
            [np.mean(final[name])] * 2, (number - 0.3, number + 0.3), color="black", linestyle="-", linewidth=1.5
        )
    lowest = min(min(values.values()) for values in searched.values())
    axes[0].set(xscale="log", xlabel="learning rate", ylabel=LOSS)
    axes[0].set_ylim(top=min(highest + 0.05, lowest + 1.2))  # a loss that diverged would flatten the other curves
    if guess is not None:
        axes[0].axhline(guess, color="#555555", linestyle=":", linewidth=1.4, zorder=0)
        look = {"textcoords": "offset points", "va": "center", "color": "#555555", "fontsize": 9}
        axes[0].annotate("nothing\nlearned", (1, guess), (3, 0), xycoords=("axes fraction", "data"), **look)
    axes[0].set_title("search, one seed (ring: lowest)", fontsize=10, loc="left")
    axes[0].grid(axis="y")
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=5, handlelength=3.5, fontsize=9)
    axes[1].set(xlabel=LOSS, yticks=range(len(searched)), yticklabels=list(searched), ylim=(len(searched) - 0.5, -0.5))
    axes[1].set_title("at that rate, other seeds (line: mean)", fontsize=10, loc="left")
    axes[1].grid(axis="x")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_schedules(groups, formulas, *, title=None):
    """Draw schedules in small panels, one row for each purpose, with the formula of each above its panel.

    groups is {purpose: {name: (epochs, learning rates as fractions of the peak)}}.
    """
    columns = max(map(len, groups.values()))
    shape = {"figsize": (2.75 * columns, 2.0 * len(groups) + 0.5), "sharex": True, "sharey": True}
    figure, axes = plt.subplots(len(groups), columns, squeeze=False, **shape)
    for number, (row, (purpose, curves)) in enumerate(zip(axes, groups.items(), strict=True)):
        look = {"color": COLOURS[number], "linestyle": "-"}
        row[0].set_ylabel(textwrap.fill(purpose, 18), fontsize=10, weight="bold")
        for ax in row[len(curves) :]:
            ax.set_axis_off()
        for ax, (name, (epochs, rates)) in zip(row, curves.items(), strict=False):
            ax.plot(epochs, rates, **look)
            ax.set_title(f"{name.replace('_', ' ')}\n{formulas[name]}", fontsize=10, loc="left")
            ax.tick_params(labelbottom=True)
            ax.grid(axis="y")
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel("fraction of the peak learning rate", fontsize=11)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_range(test, *, title=None):
    """Draw the result of find_lr: the loss of each batch, smoothed, and the zones "too small", "useful", "diverges".

    The useful zone reaches from a tenth of the rate with the lowest smoothed loss to this rate.
    """
    figure, ax = plt.subplots(figsize=(9.2, 3.8))
    ax.plot(test.lrs, test.losses, color="#AAAAAA", linestyle="-", linewidth=1.2, label="each batch")
    ax.plot(test.lrs, test.smoothed, color=COLOURS[0], linestyle="-", label="smoothed")
    for number, (label, lr) in enumerate({"steepest fall": test.suggestion, "minimum / 10": test.tenth}.items(), 1):
        ax.axvline(lr, color=COLOURS[number], linestyle=DASHES[number], label=f"{label}, {lr:.2g}")
    best_lr, loss = min(zip(test.lrs, test.smoothed, strict=True), key=lambda point: point[1])
    dot = {"color": COLOURS[0], "markeredgecolor": "white", "markersize": 10, "linestyle": "none", "zorder": 3}
    ax.plot(best_lr, loss, marker="o", label=f"minimum, {best_lr:.2g}", **dot)
    lowest = min(test.losses)
    # Otherwise the steep rise at the end would flatten the rest of the curve.
    ax.set_ylim(lowest - 0.1, max(test.losses[0], *test.smoothed[: len(test.smoothed) // 2]) + 0.6)
    useful = sorted((min(test.tenth, test.suggestion), best_lr))
    ax.axvspan(*useful, color="#009E73", alpha=0.12, linewidth=0)
    zones = {"too small": (test.lrs[0], useful[0]), "useful": useful, "diverges": (useful[1], test.lrs[-1])}
    look = {"ha": "center", "va": "bottom", "weight": "bold"}  # above the axes, where no line is hidden
    for label, (left, right) in zones.items():
        middle = (left * right) ** 0.5  # of a logarithmic axis
        if right > 1.2 * left:  # a test may end before the loss grows
            ax.text(middle, 1.01, label, transform=ax.get_xaxis_transform(), **look)
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats)")
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _looks():
    return ({"color": colour, "linestyle": dash} for colour, dash in zip(COLOURS, DASHES, strict=True))
