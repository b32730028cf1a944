"""Figures that compare runs: learning curves, grids, one change at a time, our accuracies beside reported ones."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from utils.experiments.beside_reports import ours_text
from utils.experiments.compare import Group, is_synthetic, label_runs
from utils.figures.style import COLOURS, DASHES

GREY, PALE = "#595959", "#9CC9E4"
LABELS = {"val": "validation accuracy (%)", "test": "test accuracy (%)"}
UNITS = {"epoch": "epoch", "seconds": "seconds of training"}
MARKED = 30  # a curve of more points has no markers


def watched_column(run) -> str:
    """Return the name of the history's column with the accuracy measured after every epoch."""
    return f"{run.record.get('watched') or 'val'}_acc"


def last_accuracy(run) -> float | None:
    """Return the watched accuracy after a run's last epoch, or None if it has none."""
    rows = run.history().rows
    return rows[-1].get(watched_column(run)) if rows else None


def show_curves(runs, *, title=None):
    """Draw the learning curves of runs in one figure: watched accuracy by epoch and by seconds of training."""
    figure, axes = plt.subplots(1, 2, figsize=(10.0, 3.6), sharey=True)
    for ax, unit in zip(axes, UNITS, strict=True):
        draw_curves(ax, runs, unit)
    axes[1].set_ylabel("")
    axes[1].yaxis.set_tick_params(labelleft=True)
    if runs:
        _legend(figure, axes[0], ncols=2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def draw_curves(ax, runs, unit):
    """Draw the watched accuracy of runs against "epoch" or "seconds"; the i-th run's line has the gid "curve-i"."""
    labels = label_runs(runs)
    for i, run in enumerate(runs):
        column = watched_column(run)
        points = [(row.get(unit), row.get(column)) for row in run.history().rows]
        points = [(x, 100 * accuracy) for x, accuracy in points if x is not None and accuracy is not None]
        if points:
            marker = "o" if len(points) <= MARKED else ""
            style = {"marker": marker, "markeredgewidth": 0, **_line_style(i)}
            ax.plot(*zip(*points, strict=True), label=plain_label(labels[run.name]), gid=f"curve-{i}", **style)
    if unit == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=UNITS[unit], ylabel=_accuracy_label(runs))
    ax.set_xlim(left=0)
    ax.grid(axis="y")


def show_best_runs(runs, *, count=20, title=None):
    """Draw the best watched accuracy of each run, for the best `count` of them."""
    best = []
    for run in runs:
        column = watched_column(run)
        accuracies = [row[column] for row in run.history().rows if row.get(column) is not None]
        accuracies = [accuracy for accuracy in accuracies if not math.isnan(accuracy)]
        if accuracies:
            best.append((100 * max(accuracies), run))
    best = sorted(best, key=lambda pair: pair[0], reverse=True)[:count]
    figure, ax = plt.subplots(figsize=(5.2, 1.3 + 0.24 * max(len(best), 4)))
    beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
    for i, (accuracy, run) in enumerate(best):
        ax.plot(accuracy, i, "^" if is_synthetic(run) else "o", color=COLOURS[0], markersize=6, markeredgewidth=0)
        ax.annotate(f"{accuracy:.1f}", (accuracy, i), **beside)
    ax.set_yticks(range(len(best)), [plain_label(run.name, 28) for _, run in best], fontsize=9)
    xlabel = f"best {_accuracy_label([run for _, run in best])}"
    if any(is_synthetic(run) for _, run in best):
        xlabel += "\n(triangle: synthetic images)"
    ax.set(ylim=(max(len(best), 1) - 0.5, -0.5), xlabel=xlabel)
    ax.margins(x=0.12)
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
    ax.set(xlabel=axis.replace("_", " "), ylabel=LABELS[column[:-4]], xlim=(-0.5, len(values) - 0.5))
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
    column = watched_column(parents[0])
    ends = []
    for parent in parents:
        before = [(row["epoch"], 100 * row[column]) for row in parent.history().rows]
        label = "" if ends else "the parents"
        ax.plot(*zip(*before, strict=True), marker="o", color="black", linestyle="-", label=label)
        ends.append(before[-1])
    for i, (name, runs) in enumerate(children.items()):
        for end, run in zip(ends, runs, strict=True):
            after = [(end[0] + row["epoch"], 100 * row[column]) for row in run.history().rows]
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
        fill = "white" if row["is_synthetic"] else COLOURS[1]
        ax.plot([reported, ours], [i, i], color="#BBBBBB", linestyle="-", linewidth=1.5, zorder=1)
        ax.plot(ours, i, "o", color=COLOURS[1], markerfacecolor=fill, markersize=9)
        text = f"{row['kind']}, {row['data']}, effort {row['effort']}"
        ax.annotate(text, (ours, i), ha="left" if ours < reported else "right", **beside)
    if any(row["is_complete"] for row in rows):
        ax.plot([], [], "o", color=COLOURS[1], markersize=9, label="ours (hollow: synthetic images)")
    ax.set_yticks(range(len(rows)), [f"{row['report']}  {row['system']}" for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.7), xlabel="accuracy (%)")
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
    kinds = {run.record.get("watched") or "val" for run in runs}
    return LABELS.get(kinds.pop(), "accuracy (%)") if len(kinds) == 1 else "accuracy (%)"


def _legend(figure, ax, ncols):
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=ncols, fontsize=9)


def _line_style(i):
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[(i + i // len(COLOURS)) % len(DASHES)]}
