"""Figures of experiments: learning curves, intervals, power, searches, our accuracies beside reported ones."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from utils.experiments.beside_reports import ours_text
from utils.experiments.compare import is_synthetic, label_runs
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


def show_intervals(rows, *, xlabel="difference (points)", title=None):
    """Draw the mean and its confidence interval for each {"label", "mean", "half", "values"}, with a line at zero."""
    lines = max(row["label"].count("\n") for row in rows) + 1
    figure, ax = plt.subplots(figsize=(8.6, 1.1 + (0.3 + 0.16 * lines) * len(rows)))
    for i, row in enumerate(rows):
        ax.plot(row["values"], [i + 0.2] * len(row["values"]), "|", color=GREY, markersize=8, markeredgewidth=1.4)
        ax.errorbar(row["mean"], i, xerr=row["half"], fmt="o", color=COLOURS[0], capsize=5, markersize=7)
        text = f"{row['mean']:+.2f} ± {row['half']:.2f}"
        ax.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    ax.axvline(0, color="black", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(rows)), [plain_label(row["label"]) for row in rows], fontsize=9)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="x")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_power(curves, seeds, *, title=None):
    """Draw the power, fractions of experiments, against the number of seeds for each {label: fractions}."""
    figure, ax = plt.subplots(figsize=(7.6, 3.6))
    for i, (label, power) in enumerate(curves.items()):
        ax.plot(seeds, [100 * share for share in power], marker="os^D"[i % 4], label=label, **_line_style(i))
    ax.axhline(80, color=GREY, linewidth=1, linestyle=":")
    ax.annotate("80 %", (1.01, 80), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=GREY)
    ax.set(xlabel="seeds", ylabel="difference found (%)", xscale="log", ylim=(0, 104))
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
    look = {"vmin": min(accuracies), "vmax": max(accuracies), "cmap": "Blues", "edgecolor": "black", "s": 110}
    for ax, (name, trials) in zip(axes, searches.items(), strict=True):
        settings = [trial[x] for trial in trials], [trial[y] for trial in trials]
        dots = ax.scatter(*settings, c=[100 * trial["val_acc"] for trial in trials], clip_on=False, **look)
        best = max(trials, key=lambda trial: trial["val_acc"])
        ax.plot(best[x], best[y], "o", markersize=19, markerfacecolor="none", markeredgecolor=COLOURS[1])
        beside = {"xytext": (0, 14), "textcoords": "offset points", "ha": "center", "annotation_clip": False}
        ax.annotate(f"{100 * best['val_acc']:.1f}", (best[x], best[y]), **beside)
        ax.set(title=name, xlabel=x.replace("_", " "), xscale="log", yscale="log")
        ax.margins(0.12)
    axes[0].set_ylabel(y.replace("_", " "))
    figure.colorbar(dots, ax=axes, label="validation accuracy (%)")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_reported(rows, *, title=None):
    """Draw the reported accuracy and ours, from the rows of beside_reported, with the images and protocol of ours."""
    figure, ax = plt.subplots(figsize=(8.8, 1.1 + 0.5 * len(rows)))
    for i, row in enumerate(rows):
        reported = 100 * row["reported"]
        ax.plot(reported, i, "s", color=COLOURS[0], markersize=8, label="" if i else "reported (test, CIFAR-10)")
        if row["is_complete"]:
            ours = 100 * row["mean"]
            ax.plot([reported, ours], [i, i], color="#BBBBBB", linestyle="-", linewidth=1.5, zorder=1)
            ax.plot(ours, i, "o", color=COLOURS[1], markersize=9)
            text = f"{row['data']},\n{row['protocol']}, {row['epochs']} epochs"
        else:
            text = ours_text(row)
        ax.annotate(text, (1.01, i), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY)
    if any(row["is_complete"] for row in rows):
        ax.plot([], [], "o", color=COLOURS[1], markersize=9, label="ours")
    ax.set_yticks(range(len(rows)), [f"{row['report']}  {row['system']}" for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy (%)")
    ax.margins(x=0.08)
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
