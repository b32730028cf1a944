"""Figures of experiments: continued trainings, intervals, power, searches, our accuracies beside reported ones."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from utils.figures.style import COLOURS, DASHES, signed

GREY = "#595959"
SPLITS = {"val": "validation", "test": "test"}
MEASURED = {  # what each protocol means for the images of an accuracy
    "validation": "some training images held out",
    "watch_test": "test images measured after each epoch",
    "train_on_all": "test images measured once",
}
LIGHT_BLUES = LinearSegmentedColormap.from_list("light blues", plt.get_cmap("Blues")([0.0, 0.35, 0.7]))
FEW_BARS = 12  # more have no room for the numbers


def show_continued(parents, children, *, title=None):
    """Draw parents, one Run per seed, and the runs that continue them, {label: Runs}, in one panel for each seed."""
    figure, axes = plt.subplots(1, len(parents), figsize=(9.6, 3.2), sharey=True, squeeze=False)
    column = f"{parents[0].watched}_acc"
    for j, (ax, parent) in enumerate(zip(axes[0], parents, strict=True)):
        before = [(row["epoch"], 100 * row[column]) for row in parent.rows]
        ax.plot(*zip(*before, strict=True), marker="o", color="black", linestyle="-", label="the parent")
        end = before[-1]
        for i, (label, runs) in enumerate(children.items()):
            after = [(end[0] + row["epoch"], 100 * row[column]) for row in runs[j].rows]
            epochs, accuracies = zip(end, *after, strict=True)
            without_first = slice(1, None)  # the first point is the parent's, which has a marker
            look = {"marker": "s^Dv"[i % 4], "markevery": without_first} | _line_style(i)
            ax.plot(epochs, accuracies, label=label, **look)
        ax.axvline(end[0], color=GREY, linewidth=1, linestyle=":")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set(title=f"seed {parent.record['seed']}", xlabel="epoch")
        ax.grid(axis="y")
    axes[0, 0].set_ylabel(f"{SPLITS[parents[0].watched]} accuracy (%)")
    _legend(figure, axes[0, 0], ncols=3)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_tails(positions, heights, is_tail, *, lines=(), xlabel=None, ylabel=None, title=None):
    """Draw a bar of this height at each position; the bars for which is_tail is true are coloured and hatched.

    A few bars have their heights written on them. lines are positions that are marked by a line and their number.
    """
    figure, ax = plt.subplots(figsize=(7.0, 2.9))
    width = 0.9 * (positions[1] - positions[0])
    bars = ax.bar(positions, heights, width=width, color="#BBBBBB")
    for bar, is_coloured in zip(bars, is_tail, strict=True):
        if is_coloured:
            bar.set(facecolor=COLOURS[1], hatch="//", edgecolor="white")
    if len(positions) <= FEW_BARS:
        ax.set_xticks(positions)
        ax.bar_label(bars, fmt="{:.3f}" if max(heights) < 1 else "{:g}", padding=2, fontsize=9)
    for x in map(float, lines):
        ax.axvline(x, color="black", linewidth=1, linestyle="--")
        ax.annotate(f"{x:.3g}", (x, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_intervals(rows, *, xlabel="difference (points)", title=None):
    """Draw the mean and its 95 % interval for each row {"label", "mean", "half", "values"}, with a line at zero.

    rows may be {heading: rows}, with a panel for each heading.
    """
    panels = rows if isinstance(rows, dict) else {"": rows}
    rows = [row for group in panels.values() for row in group]
    lines = max(row["label"].count("\n") for row in rows) + 1
    heights = [len(group) for group in panels.values()]
    size = (8.6, 0.9 + (0.36 + 0.14 * lines) * len(rows) + 0.4 * len(panels))
    figure, axes = plt.subplots(len(panels), 1, figsize=size, sharex=True, height_ratios=heights, squeeze=False)
    for ax, (heading, group) in zip(axes[:, 0], panels.items(), strict=True):
        for i, row in enumerate(group):
            _draw_interval(ax, i, row)
        ax.axvline(0, color="black", linewidth=1, linestyle="--")
        ax.set_yticks(range(len(group)), [row["label"] for row in group])
        ax.set(ylim=(len(group) - 0.5, -0.5), title=heading)
        ax.grid(axis="x")
    ax.set_xlabel(xlabel)
    _legend(figure, ax, ncols=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_interval(ax, i, row):
    """Draw a mean with its interval at height i, a short line for each value below it, and the numbers at the right."""
    first = not i  # only these have a label, so that the legend names them once
    look = {"color": COLOURS[0], "capsize": 5, "markersize": 7, "label": "mean with its 95 % interval" if first else ""}
    ax.errorbar(row["mean"], i, xerr=row["half"], fmt="o", **look)
    ticks = {"color": GREY, "markersize": 8, "markeredgewidth": 1.4, "label": "one seed" if first else ""}
    ax.plot(row["values"], [i + 0.25] * len(row["values"]), "|", **ticks)
    text = f"{signed(row['mean'], 2)} ± {row['half']:.2f}"
    ax.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=10)


def show_power(curves, seeds, *, title=None):
    """Draw the power, fractions of experiments, against the number of seeds for each {label: fractions}."""
    figure, ax = plt.subplots(figsize=(7.6, 3.6))
    for i, (label, power) in enumerate(curves.items()):
        ax.plot(seeds, [100 * share for share in power], marker="os^D"[i % 4], label=label, **_line_style(i))
    ax.axhline(80, color=GREY, linewidth=1, linestyle=":")
    ax.annotate("80 %", (1.01, 80), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=GREY)
    ax.set(xlabel="number of seeds", ylabel="power: difference found (%)", xscale="log", ylim=(0, 104))
    ax.set_xticks(seeds, [str(n) for n in seeds])
    ax.set_xticks([], minor=True)
    ax.grid(axis="y")
    _legend(figure, ax, ncols=3)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_search(searches, x, y, *, title=None):
    """Draw trials, {name of the search: [{x, y, "val_acc"}]}, at their settings; dark dots have a high accuracy."""
    figure, axes = plt.subplots(1, len(searches), figsize=(9.6, 3.7), sharex=True, sharey=True)
    accuracies = [100 * trial["val_acc"] for trials in searches.values() for trial in trials]
    look = {"vmin": min(accuracies), "vmax": max(accuracies), "cmap": LIGHT_BLUES, "edgecolor": "black", "s": 110}
    for ax, (name, trials) in zip(axes, searches.items(), strict=True):
        settings = [trial[x] for trial in trials], [trial[y] for trial in trials]
        dots = ax.scatter(*settings, c=[100 * trial["val_acc"] for trial in trials], clip_on=False, **look)
        best = max(trials, key=lambda trial: trial["val_acc"])
        ax.plot(best[x], best[y], "o", markersize=19, markerfacecolor="none", markeredgecolor=COLOURS[1])
        text = f"best: {100 * best['val_acc']:.1f} %"
        ax.annotate(text, (1, 1.02), xycoords="axes fraction", ha="right", va="bottom", fontsize=10)
        ax.set(title=name, xlabel=_name_of(x), xscale="log", yscale="log")
        ax.margins(0.12)
    axes[0].set_ylabel(_name_of(y))
    figure.colorbar(dots, ax=axes, label="validation accuracy (%)")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _name_of(setting):
    return "learning rate" if setting == "lr" else setting.replace("_", " ")


def show_reported(rows, *, title=None):
    """Draw the reported accuracy and ours, from the rows of beside_reported, with the conditions of ours.

    Conditions that all of ours share stand once under the axis, the others beside each row.
    """
    figure, ax = plt.subplots(figsize=(8.8, 1.4 + 0.5 * len(rows)))
    shared = [fact for fact in _conditions(rows[0]) if all(fact in _conditions(row) for row in rows)]
    for i, row in enumerate(rows):
        reported, ours = 100 * row["reported"], 100 * row["mean"]
        ax.plot([reported, ours], [i, i], color="#BBBBBB", linestyle="-", linewidth=1.5, zorder=1)
        ax.plot(reported, i, "s", color=COLOURS[0], markersize=8, label="" if i else "reported")
        ax.plot(ours, i, "o", color=COLOURS[1], markersize=9, label="" if i else "ours")
        text = "\n".join(fact for fact in _conditions(row) if fact not in shared)
        ax.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=GREY)
    ax.set_yticks(range(len(rows)), [f"{row['report']}  {row['system']}" for row in rows])
    xlabel = "test accuracy (%), original images"
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=f"{xlabel}\nours: {', '.join(shared)}" if shared else xlabel)
    ax.margins(x=0.08)
    ax.grid(axis="x")
    _legend(figure, ax, ncols=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _conditions(row):
    """Return the conditions of our accuracy: protocol and number of epochs."""
    return [MEASURED[row["protocol"]], f"{row['epochs']} epochs"]


def _legend(figure, ax, ncols):
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=ncols, fontsize=9)


def _line_style(i):
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[(i + i // len(COLOURS)) % len(DASHES)]}
