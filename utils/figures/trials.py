"""Figures of the trials of a search or a grid: its table is what run_search and run_grid return."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from utils.figures.style import COLOURS

ACCURACIES = {"val_acc": "validation accuracy (%)", "test_acc": "test accuracy (%)"}
FEW = 5  # values of a setting that are all written on its axis
CLOSE = 0.06  # of two values closer than this share of the axis, one is written
GROUPS = 4  # importances: at most so many groups of trials with similar values of a setting
MUCH = 10.0  # a setting whose largest value is so many times its smallest has a logarithmic axis


def show_trials(table, *, title=None):
    """Draw the accuracy of each trial in the order of the trials, and the best one so far."""
    figure, ax = plt.subplots(figsize=(7.6, 3.6))
    column = _accuracy_column(table)
    for state, marker, fill in (("finished", "o", COLOURS[0]), ("pruned", "o", "white"), ("diverged", "x", None)):
        rows = table[table["state"] == state]
        if len(rows):
            heights = 100 * rows[column].fillna(0.0)
            look = {"color": COLOURS[0], "markerfacecolor": fill, "markersize": 7, "linestyle": ""}
            ax.plot(rows.index, heights, marker, label=state, **look)
    finished = table[table["state"] == "finished"]
    best = 100 * finished[column].cummax().reindex(table.index).ffill()  # up to the last trial
    ax.step(best.index, best, where="post", color=COLOURS[1], linestyle="-", zorder=1, label="best so far")
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="trial", ylabel=ACCURACIES[column])
    ax.grid(axis="y")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show_parallel(table, *, title=None):
    """Draw each finished trial as a line through its settings to its accuracy; dark lines have a high accuracy."""
    column = _accuracy_column(table)
    finished = table[table["state"] == "finished"][::-1].sort_values(column, kind="stable")  # of equals, the first last
    names = setting_names(table)
    figure, ax = plt.subplots(figsize=(2.2 + 1.9 * len(names), 4.2))
    columns = [*names, column]
    heights = np.empty((len(finished), len(columns)))
    for i, name in enumerate(columns):
        heights[:, i] = _draw_scale(ax, i, finished[name] * (100 if name == column else 1))
    for i, line in enumerate(heights):  # the best one is the last, above the others
        is_best = i == len(heights) - 1
        colour = COLOURS[1] if is_best else mpl.colormaps["Blues"](0.25 + 0.65 * line[-1])
        label = "the best trial" if is_best else None
        ax.plot(line, color=colour, linestyle="-", linewidth=2.5 if is_best else 1.4, label=label)
    ax.set_xticks(range(len(columns)), [_label(name, "\n") for name in columns])
    ax.set(xlim=(-0.3, len(columns) - 0.5), ylim=(-0.05, 1.05), yticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0, pad=8)
    figure.legend(*(items[-1:] for items in ax.get_legend_handles_labels()), loc="outside lower left", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _draw_scale(ax, x, values):
    """Draw the vertical scale of a setting at x, with a few of its values; return each value's height, 0 to 1."""
    ax.axvline(x, color="#999999", linewidth=1, linestyle="-", zorder=0)
    if values.empty:
        return np.empty(0)
    if _is_numeric(values):
        numbers = values.to_numpy(float)
        is_log = numbers.min() > 0 and numbers.max() > MUCH * numbers.min()
        scaled = np.log(numbers) if is_log else numbers
        low, high = scaled.min(), scaled.max()
        heights = (scaled - low) / (high - low) if high > low else np.full(len(scaled), 0.5)
        marks = {f"{number:.3g}": height for number, height in zip(numbers, heights, strict=True)}
        if len(marks) > FEW:
            middle = np.exp((low + high) / 2) if is_log else (low + high) / 2
            marks = {f"{numbers.min():.3g}": 0.0, f"{middle:.3g}": 0.5, f"{numbers.max():.3g}": 1.0}
    else:
        choices = sorted(set(map(str, values)))
        marks = {choice: (i + 0.5) / len(choices) for i, choice in enumerate(choices)}
        heights = np.array([marks[str(value)] for value in values])
    written = []
    for text, height in sorted(marks.items(), key=lambda mark: mark[1]):
        if written and height - written[-1] < CLOSE:
            continue
        written.append(height)
        ax.annotate(text, (x, height), (4, 0), textcoords="offset points", va="center", fontsize=9)
    return heights


def show_importances(table, *, title=None):
    """Draw how much of the variance of the accuracies each setting explains on its own, in percent.

    For each setting, the trials are put into groups of equal or similar values; the share is that of the variance
    between the groups, less what groups of this size explain by chance.
    """
    shares = importances(table)
    figure, ax = plt.subplots(figsize=(7.0, 1.3 + 0.4 * len(shares)))
    names = sorted(shares, key=shares.get)
    bars = ax.barh(
        [_label(name, ": ") for name in names], [100 * shares[name] for name in names], color=COLOURS[0], height=0.6
    )
    ax.bar_label(bars, fmt="{:.0f} %", padding=3, fontsize=10)
    ax.set(xlabel="variance of the accuracy that the setting explains (%)", xlim=(0, 100))
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def importances(table) -> dict[str, float]:
    """Return, for each setting, the share of the variance of the accuracy between groups of similar values, 0 to 1."""
    finished = table[table["state"] == "finished"]
    accuracies = finished[_accuracy_column(table)].to_numpy(float)
    n, variance = len(finished), accuracies.var() if len(finished) else 0.0
    shares = {}
    for name in setting_names(table):
        values, shares[name] = finished[name], 0.0
        if _is_numeric(values) and values.nunique() > GROUPS:
            groups = (values.rank(method="first").to_numpy() - 1) * GROUPS // n
        else:
            groups = values.map(str).to_numpy()
        kinds = np.unique(groups)
        if 1 < len(kinds) < n and variance > 0:
            within = sum(accuracies[groups == kind].var() * (groups == kind).sum() for kind in kinds)
            by_chance = (len(kinds) - 1) / (n - len(kinds)) * within
            shares[name] = float(np.clip(1 - (within + by_chance) / (n * variance), 0, 1))
    return shares


def setting_names(table) -> list[str]:
    """Return the columns of the table that are settings: those before the state."""
    return list(table.columns[: table.columns.get_loc("state")])


def _label(name, separator):
    """Return what an axis says for a column of the table: "network: width" for "network_settings.width"."""
    return ACCURACIES.get(name, name.replace("_settings.", separator).replace("_", " "))


def _accuracy_column(table):
    return "test_acc" if "test_acc" in table.columns else "val_acc"


def _is_numeric(values):
    return all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values)
