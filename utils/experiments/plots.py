"""Figures that compare runs: learning curves, grids, one change at a time, our accuracies beside reported ones."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from utils.experiments.beside_reports import ours_text
from utils.experiments.compare import KINDS, Group, is_synthetic
from utils.figures.style import COLOURS, DASHES
from utils.runs.labels import label_runs

GREY, PALE = "#595959", "#9CC9E4"
SPLITS = {"val": "validation", "test": "test"}
UNITS = {"epoch": "epoch", "seconds": "seconds of training"}
MARKED = 30  # a curve of more points has no markers


def last_accuracy(run) -> float | None:
    """Return the watched accuracy after a run's last epoch, or None if it has none."""
    return run.rows[-1].get(f"{run.watched}_acc") if run.rows else None


def watched_of(runs) -> str:
    """Return the images of which an axis shows the accuracy: "val", or "test" if no run has any other."""
    return "test" if runs and all(run.watched == "test" for run in runs) else "val"


def mark_watched(run, label: str, watched: str) -> str:
    """Return a run's label; if its accuracy is not that of the axis, the label says so."""
    return label if run.watched == watched else f"{label} ({SPLITS.get(run.watched, run.watched)} accuracy)"


def show_curves(runs, *, title=None, labels=None):
    """Draw the learning curves of runs in one figure: watched accuracy by epoch and by seconds of training.

    labels: {run's name: label}; by default the settings in which these runs differ.
    """
    labels = labels or label_runs(runs)
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 3.6), sharey=True)
    for ax, unit in zip(axes, UNITS, strict=True):
        draw_curves(ax, runs, unit, labels)
    axes[1].set_ylabel("")
    axes[1].yaxis.set_tick_params(labelleft=True)
    if runs:
        _legend(figure, axes[0], ncols=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def draw_curves(ax, runs, unit, labels):
    """Draw the watched accuracy of runs against "epoch" or "seconds"."""
    watched = watched_of(runs)
    for i, run in enumerate(runs):
        points = curve_of(run, unit)
        if points:
            marker = "o" if len(points) <= MARKED else ""
            label = plain_label(mark_watched(run, labels[run.name], watched))
            ax.plot(*zip(*points, strict=True), marker=marker, markeredgewidth=0, label=label, **_line_style(i))
    set_curve_axes(ax, runs, unit)


def curve_of(run, unit: str) -> list[tuple]:
    """Return the points of a learning curve: ("epoch" or "seconds", watched accuracy in percent)."""
    points = [(row.get(unit), row.get(f"{run.watched}_acc")) for row in run.rows]
    return [(x, 100 * accuracy) for x, accuracy in points if x is not None and accuracy is not None]


def set_curve_axes(ax, runs, unit):
    """Label the axes of learning curves, and let them begin at 0."""
    if unit == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=UNITS[unit], ylabel=_accuracy_label(runs))
    ax.set_xlim(left=0)
    ax.grid(axis="y")


def show_best_runs(runs, *, count=20, title=None):
    """Draw the best watched accuracy of each run, for the best `count` of them."""
    best = []
    for run in runs:
        accuracies = [accuracy for _, accuracy in curve_of(run, "epoch") if not math.isnan(accuracy)]
        if accuracies:
            best.append((max(accuracies), run))
    best = sorted(best, key=lambda pair: pair[0], reverse=True)[:count]
    figure, ax = plt.subplots(figsize=(5.2, 1.3 + 0.24 * max(len(best), 4)))
    beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
    shown, labels = [run for _, run in best], label_runs(runs)
    watched = watched_of(shown)
    for i, (accuracy, run) in enumerate(best):
        marker = "^" if is_synthetic(run) else "o"
        fill = COLOURS[0] if run.watched == watched else "white"
        ax.plot(accuracy, i, marker, color=COLOURS[0], markerfacecolor=fill, markersize=6)
        ax.annotate(f"{accuracy:.1f}", (accuracy, i), **beside)
    ax.set_yticks(range(len(best)), [plain_label(labels[run.name], 28) for run in shown], fontsize=9)
    xlabel = f"best {SPLITS[watched]} accuracy (%)"
    if any(run.watched != watched for run in shown):
        xlabel += "\nhollow: test accuracy"
    if any(is_synthetic(run) for run in shown):
        xlabel += "\ntriangle: synthetic images"
    ax.set(ylim=(max(len(best), 1) - 0.5, -0.5), xlabel=xlabel)
    ax.margins(x=0.2)
    ax.grid(axis="both")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_trials(table, axis, *, title=None):
    """Draw a grid's accuracies against one axis: a dot per trial, a line through the means, a cross per failure."""
    figure, ax = plt.subplots(figsize=(7.0, 3.4))
    values = list(dict.fromkeys(table[axis]))
    finished = table[table["state"] == "finished"]
    column = "val_acc" if "val_acc" in table else "test_acc"
    means = [100 * finished.loc[finished[axis] == value, column].mean() for value in values]
    ax.plot(range(len(values)), means, color=COLOURS[0], linestyle="-", marker="_", markersize=22, label="mean")
    positions = [values.index(value) for value in finished[axis]]
    ax.plot(positions, 100 * finished[column], "o", color=COLOURS[1], label="a trial")
    failed = table[table["state"].isin(("diverged", "failed"))]
    if len(failed):
        positions, bottom = [values.index(value) for value in failed[axis]], ax.get_xaxis_transform()
        ax.plot(positions, [0.04] * len(failed), "X", color="black", markersize=10, transform=bottom, label="failed")
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    ax.set_xticks(range(len(values)), texts)
    ax.set(xlabel=axis.replace("_", " "), ylabel=f"{SPLITS[column[:-4]]} accuracy (%)", xlim=(-0.5, len(values) - 0.5))
    ax.grid(axis="y")
    _legend(figure, ax, ncols=3)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_changes(base: Group, changes, *, title=None):
    """Draw a bar for the base and for each Change: the mean over seeds, its standard deviation, and every seed."""
    groups = [base, *(change.group for change in changes)]
    names = ["the base", *(f"{change}\n(base: {change.before})" for change in changes)]
    figure, ax = plt.subplots(figsize=(8.6, 0.8 + 0.52 * len(groups)))
    means = [100 * group.mean for group in groups]
    spreads = [0.0 if math.isnan(group.std) else 100 * group.std for group in groups]
    colours, hatches = ["#C4C4C4", *[PALE] * len(changes)], ["//", *[""] * len(changes)]
    ax.barh(range(len(groups)), means, xerr=spreads, color=colours, hatch=hatches, edgecolor="white", capsize=4)
    # White behind the text, because the base's line may pass there.
    beside = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 10}
    beside["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for i, group in enumerate(groups):
        accuracies = [100 * accuracy for accuracy in group.accuracies]
        ax.plot(accuracies, [i] * len(accuracies), "o", color="black", markersize=4)
        text = f"{means[i]:.1f} ± {spreads[i]:.1f}" if spreads[i] else f"{means[i]:.1f}"
        ax.annotate(text, (max(means[i] + spreads[i], *accuracies), i), **beside)
    ax.axvline(means[0], color=GREY, linewidth=1, linestyle="--")
    ax.set_yticks(range(len(groups)), [plain_label(name) for name in names], fontsize=10)
    ax.invert_yaxis()
    ax.margins(x=0.14)
    ax.set_xlabel(f"{base.kind} accuracy (%): mean, ± one standard deviation over seeds, one dot per seed")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_continued(parents, children, *, title=None):
    """Draw the accuracy of parents, one Run per seed, and of the runs that continue them, {label: Runs per seed}."""
    figure, ax = plt.subplots(figsize=(7.6, 3.4))
    column = f"{parents[0].watched}_acc"
    ends = []
    for parent in parents:
        before = [(row["epoch"], 100 * row[column]) for row in parent.rows]
        label = "" if ends else "the parents"
        ax.plot(*zip(*before, strict=True), marker="o", color="black", linestyle="-", label=label)
        ends.append(before[-1])
    for i, (name, runs) in enumerate(children.items()):
        for end, run in zip(ends, runs, strict=True):
            after = [(end[0] + row["epoch"], 100 * row[column]) for row in run.rows]
            label = name if run is runs[0] else ""
            ax.plot(*zip(end, *after, strict=True), marker="os^D"[i % 4], label=label, **_line_style(i))
    ax.axvline(ends[0][0], color=GREY, linewidth=1, linestyle=":")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch (including the parent's)", ylabel=_accuracy_label(parents))
    ax.grid(axis="y")
    _legend(figure, ax, ncols=3)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_reported(rows, *, title=None):
    """Draw the accuracy in each report and that of our complete runs, from the rows of beside_reported."""
    figure, ax = plt.subplots(figsize=(8.0, 0.9 + 0.5 * len(rows)))
    beside = {"xytext": (0, 8), "textcoords": "offset points", "fontsize": 8, "color": GREY}
    for i, row in enumerate(rows):
        reported = 100 * row["reported"]
        ax.plot(reported, i, "s", color=COLOURS[0], markersize=8, label="" if i else "reported (test)")
        if not row["is_complete"]:
            ax.annotate(ours_text(row), (reported, i), ha="center", **beside)
            continue
        ours = 100 * row["ours"]
        ax.plot([reported, ours], [i, i], color="#BBBBBB", linestyle="-", linewidth=1.5, zorder=1)
        label = f"ours ({row['kind']}{', synthetic images' if row['is_synthetic'] else ''})"
        style = {"marker": "o" if row["kind"] == KINDS["test"] else "D"}
        style["markerfacecolor"] = "white" if row["is_synthetic"] else COLOURS[1]
        is_new = label not in ax.get_legend_handles_labels()[1]
        ax.plot(ours, i, color=COLOURS[1], linestyle="", markersize=9, label=label if is_new else "", **style)
        text = f"{row['kind']}, {row['data']}, effort {row['effort']}"
        ax.annotate(text, (ours, i), ha="left" if ours < reported else "right", **beside)
    ax.set_yticks(range(len(rows)), [f"{row['report']}  {row['system']}" for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.7), xlabel="test accuracy (%), where not marked")
    ax.margins(x=0.14)
    ax.grid(axis="x")
    _legend(figure, ax, ncols=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def plain_label(text: str, longest: int = 60) -> str:
    """Return a label for matplotlib: a long text is cut, and dollar signs do not start a formula."""
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")


def _accuracy_label(runs):
    watched = watched_of(runs)
    is_marked = any(run.watched != watched for run in runs)
    return f"{SPLITS[watched]} accuracy (%)" + (", where not marked" if is_marked else "")


def _legend(figure, ax, ncols):
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=ncols, fontsize=9)


def _line_style(i):
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[(i + i // len(COLOURS)) % len(DASHES)]}
