"""Owns the figures that compare runs: curves, grids, one change at a time, what was reported. Computes no result."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from utils.experiments.compare import labels, ours_in_words
from utils.figures.style import COLOURS, DASHES

SOFT, PALE = "#595959", "#9CC9E4"
WATCHED = {"val": "validation accuracy (%)", "test": "test accuracy (%)", "": "accuracy (%)"}


def show_curves(found, *, title=None):
    """Draw the watched accuracy of Runs on top of each other, by epoch and by seconds of training."""
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 3.6), sharey=True)
    kinds, words = {run.record.get("watched") or "val" for run in found}, labels(found)
    for i, run in enumerate(found):
        rows, column = run.history().rows, f"{run.record.get('watched') or 'val'}_acc"
        for ax, unit in zip(axes, ("epoch", "seconds"), strict=True):
            values = [(row[unit], 100 * row[column]) for row in rows if row.get(column) is not None]
            if values:
                ax.plot(*zip(*values, strict=True), marker="o", **_look(i), label=words[run.name])
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax, unit in zip(axes, ("epoch", "seconds of training"), strict=True):
        ax.set_xlabel(unit)
        ax.set_xlim(left=0)
        ax.grid(axis="y")
    axes[0].set_ylabel(WATCHED.get(kinds.pop() if len(kinds) == 1 else "", WATCHED[""]))
    axes[1].yaxis.set_tick_params(labelleft=True)
    if found:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_trials(table, axis, *, title=None):
    """Draw a grid's accuracies against one axis, a dot a trial, a line through the means, a cross for a failure."""
    figure, ax = plt.subplots(figsize=(7.0, 3.4))
    values = list(dict.fromkeys(table[axis]))
    done = table[table["state"] == "finished"]
    column = "val_acc" if "val_acc" in table else "test_acc"
    means = [100 * done.loc[done[axis] == value, column].mean() for value in values]
    ax.plot(range(len(values)), means, color=COLOURS[0], linestyle="-", marker="_", markersize=22, label="mean")
    places = [values.index(value) for value in done[axis]]
    ax.plot(places, 100 * done[column], "o", color=COLOURS[1], label="a trial")
    broken = table[table["state"].isin(("diverged", "failed"))]
    if len(broken):
        places, low = [values.index(value) for value in broken[axis]], ax.get_xaxis_transform()
        ax.plot(places, [0.04] * len(broken), "X", color="black", markersize=10, transform=low, label="broken off")
    words = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    ax.set_xticks(range(len(values)), words)
    ax.set(xlabel=axis.replace("_", " "), ylabel=WATCHED[column[:-4]], xlim=(-0.5, len(values) - 0.5))
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_changes(base, changes, *, title=None):
    """Draw a bar for the base and for each Change: the mean over seeds, its standard deviation, and every seed."""
    groups = [base, *(change.group for change in changes)]
    names = ["the base", *(f"{change}\n(base: {change.before})" for change in changes)]
    figure, ax = plt.subplots(figsize=(8.6, 0.8 + 0.52 * len(groups)))
    means = [100 * group.mean for group in groups]
    spreads = [100 * group.std if group.std == group.std else 0.0 for group in groups]
    colours, hatches = ["#C4C4C4", *[PALE] * len(changes)], ["//", *[""] * len(changes)]
    ax.barh(range(len(groups)), means, xerr=spreads, color=colours, hatch=hatches, edgecolor="white", capsize=4)
    for i, group in enumerate(groups):
        ax.plot([100 * acc for acc in group.accuracies], [i] * len(group.accuracies), "o", color="black", markersize=4)
        end = max(means[i] + spreads[i], *(100 * acc for acc in group.accuracies))
        beside = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 10}
        beside["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # the base's line may pass behind it
        ax.annotate(f"{means[i]:.1f}" + (f" ± {spreads[i]:.1f}" if spreads[i] else ""), (end, i), **beside)
    ax.axvline(means[0], color=SOFT, linewidth=1, linestyle="--")
    ax.set_yticks(range(len(groups)), names, fontsize=10)
    ax.invert_yaxis()
    ax.margins(x=0.14)
    ax.set_xlabel(f"{base.kind} accuracy (%): mean, ± one standard deviation over seeds, a dot a seed")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_going_on(parents, children, *, title=None):
    """Draw the accuracy of parents, a Run a seed, and after each that of its child in each of {label: Runs}."""
    figure, ax = plt.subplots(figsize=(7.6, 3.4))
    column = f"{parents[1].record.get('watched') or 'val'}_acc"
    ends = []
    for n, parent in enumerate(parents):
        before = [(row["epoch"], 100 * row[column]) for row in parent.history().rows]
        ax.plot(*zip(*before, strict=True), marker="o", color="black", linestyle="-", label="" if n else "the parents")
        ends.append(before[-1])
    for i, (label, found) in enumerate(children.items()):
        look = {"marker": "os^D"[i % 4], **_look(i)}
        for n, (end, run) in enumerate(zip(ends, found, strict=True)):
            after = [(end[0] + row["epoch"], 100 * row[column]) for row in run.history().rows]
            ax.plot(*zip(end, *after, strict=True), label="" if n else label, **look)
    ax.axvline(ends[0][0], color=SOFT, linewidth=1, linestyle=":")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch (including the parent's)", ylabel=WATCHED[column[:-4]])
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_reported(rows, *, title=None):
    """Draw what each report gives and what ours reached in full, of rows as compare.beside_reported returns them."""
    figure, ax = plt.subplots(figsize=(8.0, 0.9 + 0.5 * len(rows)))
    for i, row in enumerate(rows):
        in_full = row["is_trial"] is False
        ends = [100 * row["reported"], 100 * (row["ours"] if in_full else row["reported"])]
        ax.plot(ends, [i, i], color="#BBBBBB", linestyle="-", linewidth=1.5, zorder=1)
        ax.plot(ends[0], i, "s", color=COLOURS[0], markersize=8, label="reported (test)" if i == 0 else None)
        if in_full:
            fill = "white" if row["is_drawn"] else COLOURS[1]
            ax.plot(ends[1], i, "o", color=COLOURS[1], markerfacecolor=fill, markersize=9)
        words = f"{row['kind']}, {row['data']}, budget {row['budget']}" if in_full else ours_in_words(row)
        side = "center" if not in_full else "left" if ends[1] < ends[0] else "right"
        beside = {"xytext": (0, 8), "textcoords": "offset points", "ha": side, "fontsize": 8, "color": SOFT}
        ax.annotate(words, (ends[1], i), **beside)
    if any(row["is_trial"] is False for row in rows):
        ax.plot([], [], "o", color=COLOURS[1], markersize=9, label="ours (hollow: drawn images)")
    ax.set_yticks(range(len(rows)), [f"{row['report']}  {row['system']}" for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.7), xlabel="accuracy (%)")
    ax.margins(x=0.14)
    ax.grid(axis="x")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _look(i):
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[(i + i // len(COLOURS)) % len(DASHES)]}
