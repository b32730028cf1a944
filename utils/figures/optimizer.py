"""Owns the figures of notebook 03: losses, ways down a valley, short trainings, schedules. Computes no result."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np

from utils.figures.style import COLOURS, DASHES

GREY = "#999999"


def show_confidence(p, curves, *, floor=None, title=None):
    """Draw {name: (loss, size of its gradient)} against p, the share that the network gives the right class."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.3))
    for (name, values), look in zip(curves.items(), _looks(), strict=False):
        for ax, what in zip(axes, values, strict=True):
            ax.plot(np.asarray(p), np.asarray(what), label=name, **look)
    if floor is not None:
        axes[0].axhline(floor, color=GREY, linewidth=1, zorder=0)
        axes[0].annotate(f"{floor:.4f}", (0, floor), (2, -3), textcoords="offset points", va="top", color="#555555")
    for ax, what in zip(axes, ("loss (nats)", "size of the gradient"), strict=True):
        ax.set_title(what, fontsize=10, loc="left")
        ax.set_xlabel("confidence in the right class")
        ax.set_ylim(bottom=0)
        ax.grid(axis="y")
    axes[0].legend(handlelength=3.5)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_paths(x, y, heights, paths, *, goal, title=None):
    """Draw ways down a surface, heights (y, x), and how high each is after each step.

    paths is {name: (places (steps + 1, 2), their heights)}; goal the place of the minimum.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.0, 3.9), width_ratios=(6, 5))
    x, y, heights = (np.asarray(values) for values in (x, y, heights))
    levels = np.geomspace(max(heights.min(), 1e-2), heights.max(), 14)
    axes[0].contourf(x, y, heights, levels, cmap="Greys", norm="log", extend="min", alpha=0.45)
    for (name, (places, height)), look in zip(paths.items(), _looks(), strict=False):
        places = np.asarray(places)
        axes[0].plot(places[:, 0], places[:, 1], linewidth=1.6, **look)
        axes[0].plot(*places[-1], marker="o", color=look["color"], markeredgecolor="white", markersize=8, zorder=3)
        axes[1].plot(np.asarray(height), label=name, **look)
    axes[0].plot(*places[0], marker="s", color="black", zorder=3)
    axes[0].annotate("start", places[0], (0, 7), textcoords="offset points", ha="right")
    axes[0].plot(*goal, marker="*", color="white", markeredgecolor="black", markersize=20, zorder=2)
    axes[0].set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="first weight", ylabel="second weight")
    axes[0].set_title("the ways (dot: end, star: minimum)", fontsize=10, loc="left")
    axes[1].set(yscale="log", xlabel="steps")
    axes[1].set_title("height above the minimum", fontsize=10, loc="left")
    axes[1].grid(axis="y")
    axes[1].legend(handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_runs(runs, *, levels=None, title=None):
    """Draw the training loss of {name: Training} against batches; a cross marks where one broke off.

    The legend adds the last held-out accuracy, where there is one. levels is {words: loss} of lines to compare with.
    """
    figure, ax = plt.subplots(figsize=(9.2, 3.6))
    drawn = zip(runs.items(), _looks(), strict=False)
    for (name, run), look in sorted(drawn, key=lambda pair: bool(pair[0][1].error)):
        if run.error and ax.lines:
            ax.set_ylim(ax.get_ylim())  # that of the whole runs: a loss that flew away would flatten them
        points = run.history.points
        places, losses = [point["epoch"] * run.batches for point in points], [point["loss"] for point in points]
        (line,) = ax.plot(places, losses, label=name, **look)
        if not run.error and run.history.rows and "val_acc" in run.history.rows[-1]:
            line.set_label(f"{name} ({run.history.rows[-1]['val_acc']:.1%} held out)")
        if run.error:
            end = run.epoch * run.batches + run.batch + 1
            line.set_label(f"{name}, broken off at batch {end}")
            cross = {"color": look["color"], "markersize": 11, "clip_on": False}
            ax.plot(end, 1.02, "X", transform=ax.get_xaxis_transform(), **cross)
    begun = min((run.history.points[0]["loss"] for run in runs.values() if run.history.points), default=np.inf)
    if ax.get_ylim()[1] > 3 * begun:
        ax.set_ylim(0, 1.5 * begun)  # the same for a whole run whose loss flew away and was still a number
    for words, level in (levels or {}).items():
        ax.axhline(level, color=GREY, linewidth=1, zorder=0)
        beside = {"textcoords": "offset points", "ha": "right", "va": "bottom", "color": "#555555", "fontsize": 9}
        ax.annotate(words, (1, level), (0, 2), xycoords=("axes fraction", "data"), **beside)
    ax.set(xlabel="batches", ylabel="training loss (nats)")
    ax.set_xlim(left=0)
    ax.grid(axis="y")
    lines, labels = ax.get_legend_handles_labels()
    columns = 2 if max(map(len, labels), default=0) > 24 else 4
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_schedules(curves, words, *, added=(), columns=4, title=None):
    """Draw {name: (epochs, rates as shares of the peak)} as small multiples, each with words on what it does.

    added names those to be told from the others, by colour and dash.
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
        beside = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "fontsize": 8}
        ax.annotate(textwrap.fill(words[name], 36), (0, 1), (0, 26), **beside)
        ax.tick_params(labelbottom=True)
        ax.grid(axis="y")
    figure.supxlabel("epoch", fontsize=11)
    figure.supylabel("share of the peak rate", fontsize=11)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_range(test, *, title=None):
    """Draw what find_lr saw: each batch's loss, the smoothed one, its lowest point, and the two rates that it names."""
    figure, ax = plt.subplots(figsize=(9.2, 3.4))
    ax.plot(test.lrs, test.losses, color="#BBBBBB", linestyle="-", linewidth=1.2, label="each batch")
    ax.plot(test.lrs, test.smoothed, color=COLOURS[0], linestyle="-", label="smoothed")
    marks = {"steepest fall": (test.suggestion, 1), "safe start": (test.tenth, 2)}
    for words, (lr, look) in marks.items():
        ax.axvline(lr, color=COLOURS[look], linestyle=DASHES[look], label=f"{words}, {lr:.2g}")
    rate, loss = min(zip(test.lrs, test.smoothed, strict=True), key=lambda point: point[1])
    dot = {"color": COLOURS[0], "markeredgecolor": "white", "markersize": 10, "linestyle": "none", "zorder": 3}
    ax.plot(rate, loss, marker="o", label=f"lowest, {rate:.2g}", **dot)
    lowest = min(test.losses)
    # What flies away at the end would flatten all that is to be seen.
    ax.set_ylim(lowest - 0.1, max(test.losses[0], *test.smoothed[: len(test.smoothed) // 2]) + 0.4)
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss (nats)")
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=3.5, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _looks():
    return ({"color": colour, "linestyle": dash} for colour, dash in zip(COLOURS, DASHES, strict=True))
