"""The figures of notebook 03: losses, paths down a valley, short trainings, schedules, the learning-rate range test."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np

from utils.figures.style import COLOURS, DASHES

GREY = "#999999"


def show_confidence(p, curves, *, floor=None, title=None):
    """Draw {name: (loss, norm of its gradient)} against p, the network's probability for the right class."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.3))
    for (name, values), look in zip(curves.items(), _looks(), strict=False):
        for ax, curve in zip(axes, values, strict=True):
            ax.plot(np.asarray(p), np.asarray(curve), label=name, **look)
    if floor is not None:
        axes[0].axhline(floor, color=GREY, linewidth=1, zorder=0)
        axes[0].annotate(f"{floor:.4f}", (0, floor), (2, -3), textcoords="offset points", va="top", color="#555555")
    for ax, panel in zip(axes, ("loss (nats)", "norm of the gradient"), strict=True):
        ax.set_title(panel, fontsize=10, loc="left")
        ax.set_xlabel("probability of the right class")
        ax.set_ylim(bottom=0)
        ax.grid(axis="y")
    axes[0].legend(handlelength=3.5)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_paths(x, y, heights, paths, *, goal, title=None):
    """Draw paths down a surface, heights (y, x), and the height of each path after each step.

    paths is {name: (points (steps + 1, 2), their heights)}; goal is the position of the minimum.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.0, 3.9), width_ratios=(6, 5))
    x, y, heights = (np.asarray(values) for values in (x, y, heights))
    levels = np.geomspace(max(heights.min(), 1e-2), heights.max(), 14)
    axes[0].contourf(x, y, heights, levels, cmap="Greys", norm="log", extend="min", alpha=0.45)
    for (name, (points, height)), look in zip(paths.items(), _looks(), strict=False):
        points = np.asarray(points)
        axes[0].plot(points[:, 0], points[:, 1], linewidth=1.6, **look)
        axes[0].plot(*points[-1], marker="o", color=look["color"], markeredgecolor="white", markersize=8, zorder=3)
        axes[1].plot(np.asarray(height), label=name, **look)
    axes[0].plot(*points[0], marker="s", color="black", zorder=3)
    axes[0].annotate("start", points[0], (0, 7), textcoords="offset points", ha="right")
    axes[0].plot(*goal, marker="*", color="white", markeredgecolor="black", markersize=20, zorder=2)
    axes[0].set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="first weight", ylabel="second weight")
    axes[0].set_title("paths (dot: end, star: minimum)", fontsize=10, loc="left")
    axes[1].set(yscale="log", xlabel="steps")
    axes[1].set_title("height above the minimum", fontsize=10, loc="left")
    axes[1].grid(axis="y")
    axes[1].legend(handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_runs(runs, *, levels=None, title=None):
    """Draw the training loss of {name: Training} against batches; a cross marks a training that ended with an error.

    The legend contains the last validation accuracy, if there is one. levels is {label: loss} of horizontal lines.
    """
    figure, ax = plt.subplots(figsize=(9.2, 3.6))
    drawn = zip(runs.items(), _looks(), strict=False)
    for (name, run), look in sorted(drawn, key=lambda pair: bool(pair[0][1].error)):
        if run.error and ax.lines:
            ax.set_ylim(ax.get_ylim())  # keep the limits of the complete runs: a loss that diverged would flatten them
        batches = [point["epoch"] * run.batches for point in run.history.points]
        losses = [point["loss"] for point in run.history.points]
        (line,) = ax.plot(batches, losses, label=name, **look)
        if not run.error and run.history.rows and "val_acc" in run.history.rows[-1]:
            line.set_label(f"{name} ({run.history.rows[-1]['val_acc']:.1%} held out)")
        if run.error:
            end = run.epoch * run.batches + run.batch + 1
            line.set_label(f"{name}, stopped at batch {end}")
            cross = {"color": look["color"], "markersize": 11, "clip_on": False}
            ax.plot(end, 1.02, "X", transform=ax.get_xaxis_transform(), **cross)
    first_loss = min((run.history.points[0]["loss"] for run in runs.values() if run.history.points), default=np.inf)
    if ax.get_ylim()[1] > 3 * first_loss:
        ax.set_ylim(0, 1.5 * first_loss)  # also if the loss of a complete run grew but stayed finite
    for label, level in (levels or {}).items():
        ax.axhline(level, color=GREY, linewidth=1, zorder=0)
        look = {"textcoords": "offset points", "ha": "right", "va": "bottom", "color": "#555555", "fontsize": 9}
        ax.annotate(label, (1, level), (0, 2), xycoords=("axes fraction", "data"), **look)
    ax.set(xlabel="batches", ylabel="training loss (nats)")
    ax.set_xlim(left=0)
    ax.grid(axis="y")
    lines, labels = ax.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) > 24 else 4
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_schedules(curves, descriptions, *, added=(), columns=4, title=None):
    """Draw {name: (epochs, learning rates as fractions of the peak)} in small panels, each with its description.

    Those in `added` are drawn in another colour and dash.
    """
    rows = -(-len(curves) // columns)
    shape = {"figsize": (2.75 * columns, 2.0 * rows + 0.5), "sharex": True, "sharey": True}
    figure, axes = plt.subplots(rows, columns, squeeze=False, **shape)
    for ax in axes.flat[len(curves) :]:
        ax.set_axis_off()
    for ax, (name, (epochs, rates)) in zip(axes.flat, curves.items(), strict=False):
        is_added = name in added
        ax.plot(epochs, rates, color=COLOURS[is_added], linestyle=DASHES[is_added])
        ax.set_title(name, fontsize=10, loc="left", weight="bold", pad=28)
        look = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "fontsize": 8}
        ax.annotate(textwrap.fill(descriptions[name], 36), (0, 1), (0, 26), **look)
        ax.tick_params(labelbottom=True)
        ax.grid(axis="y")
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel("fraction of the peak learning rate", fontsize=11)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_range(test, *, title=None):
    """Draw the result of find_lr: the loss of each batch, smoothed, with its minimum and two learning rates."""
    figure, ax = plt.subplots(figsize=(9.2, 3.4))
    ax.plot(test.lrs, test.losses, color="#BBBBBB", linestyle="-", linewidth=1.2, label="each batch")
    ax.plot(test.lrs, test.smoothed, color=COLOURS[0], linestyle="-", label="smoothed")
    for number, (label, lr) in enumerate({"steepest gradient": test.suggestion, "minimum / 10": test.tenth}.items(), 1):
        ax.axvline(lr, color=COLOURS[number], linestyle=DASHES[number], label=f"{label}, {lr:.2g}")
    best_lr, loss = min(zip(test.lrs, test.smoothed, strict=True), key=lambda point: point[1])
    dot = {"color": COLOURS[0], "markeredgecolor": "white", "markersize": 10, "linestyle": "none", "zorder": 3}
    ax.plot(best_lr, loss, marker="o", label=f"minimum, {best_lr:.2g}", **dot)
    lowest = min(test.losses)
    # Otherwise the steep rise at the end would flatten the rest of the curve.
    ax.set_ylim(lowest - 0.1, max(test.losses[0], *test.smoothed[: len(test.smoothed) // 2]) + 0.4)
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats)")
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _looks():
    return ({"color": colour, "linestyle": dash} for colour, dash in zip(COLOURS, DASHES, strict=True))
