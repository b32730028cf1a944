"""Draw the figures of the benchmarks from their records: bars side by side, and stacked bars."""

from __future__ import annotations

import contextlib
import textwrap

import matplotlib.pyplot as plt

from tools.bench._shared import DEVICES
from utils.figures.style import COLOURS
from utils.notebook import style_figures

WIDTH = 8.6  # inches; at 120 dots an inch somewhat more than README's column
LOOKS = (("#0072B2", ""), ("#E69F00", "///"), ("#009E73", "..."), ("#CC79A7", "\\\\\\"))
# Nine parts need more colours than lines do; the hatches tell neighbours apart without colour.
STACK = (
    ("#CC79A7", ""),
    ("#0072B2", ""),
    ("#56B4E9", "///"),
    ("#009E73", ""),
    ("#8FD3B6", "..."),
    ("#F0E442", ""),
    ("#D55E00", ""),
    ("#E69F00", "///"),
    ("#BBBBBB", ""),
)
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
SMALL = 8.5
ROW = 0.26  # inches of one bar


@contextlib.contextmanager
def style():
    """Draw as the notebooks do, and leave the settings of the caller as they were."""
    with plt.rc_context():
        style_figures()
        yield


def present(records):
    """List (name of the device, record) of those that have been run."""
    return [(DEVICES[kind], record) for kind, record in records.items() if record]


def bars(panels, *, title, records, lines=None, columns=1):
    """Draw {panel: {group: {series: (value, text)}}} as horizontal bars; lines is {value: name} of a vertical line."""
    most = [max(map(len, groups.values()), default=1) for groups in panels.values()]
    heights = [(count + 0.6) * len(groups) for count, groups in zip(most, panels.values(), strict=True)]
    figure, axes = _grid(list(panels), heights, columns, title, records)
    seen = dict.fromkeys(name for groups in panels.values() for series in groups.values() for name in series)
    looks = dict(zip(seen, LOOKS, strict=False))
    for ax, groups in zip(axes, panels.values(), strict=True):
        for place, series in enumerate(groups.values()):
            _group(ax, place, series, looks)
        ax.set_yticks(range(len(groups)), list(groups))
        for value in lines or {}:
            ax.axvline(value, color="#000000", linewidth=1, linestyle="--", zorder=0.5)
        longest = max((len(text) for series in groups.values() for _, text in series.values()), default=0)
        ax.margins(x=0.03 + 0.02 * longest * columns, y=0.02)
        ax.locator_params(axis="x", nbins=10 // columns)  # numbers of several digits need their room
        ax.xaxis.set_major_formatter("{x:,.9g}")
    names = [(_patch(*look), name) for name, look in looks.items()]
    names += [
        (plt.Line2D([], [], color="#000000", linewidth=1, linestyle="--"), name) for name in (lines or {}).values()
    ]
    if len(names) > 1:
        handles, texts = zip(*names, strict=True)
        across = len(names) if len(names) <= 4 else 3  # the machines stand beside them
        figure.legend(handles, texts, loc="outside lower right", ncols=across, fontsize=9)
    return figure


def _group(ax, place, series, looks):
    """Draw a group's bars around its place, from the top down, each with its text at its end."""
    width = 0.76 / len(series)
    for i, (name, (value, text)) in enumerate(series.items()):
        colour, hatch = looks[name]
        middle = place + (i - (len(series) - 1) / 2) * width
        drawn = ax.barh(middle, value, min(0.92 * width, 0.5), color=colour, hatch=hatch, edgecolor="white")
        ax.bar_label(drawn, [text], padding=3, fontsize=SMALL)
        ax.texts[-1].set_bbox(BEHIND)  # a line that crosses the text would make it unreadable


def stacks(panels, parts, *, title, records):
    """Draw {panel: {group: {part: share}}} as bars of the whole, the larger shares written on them in percent."""
    figure, axes = _grid(list(panels), [1.5 * len(groups) for groups in panels.values()], 1, title, records)
    for ax, groups in zip(axes, panels.values(), strict=True):
        starts = [0.0] * len(groups)
        for part, look in zip(parts, STACK, strict=True):
            values = [100 * shares.get(part, 0) for shares in groups.values()]
            colour, hatch = look
            drawn = ax.barh(list(groups), values, 0.75, left=starts, color=colour, hatch=hatch, edgecolor="white")
            texts = [f"{value:.0f}" if value >= 4 else "" for value in values]
            for text in ax.bar_label(drawn, texts, label_type="center", fontsize=SMALL):
                text.set_bbox(BEHIND if text.get_text() else None)
            starts = [start + value for start, value in zip(starts, values, strict=True)]
        ax.set_xlim(0, 100)
        ax.set_xlabel("%", fontsize=9)
    handles = [_patch(*look) for look in STACK]
    figure.legend(handles, parts, loc="outside right center", fontsize=9)
    return figure


def _patch(colour, hatch):
    return plt.Rectangle((0, 0), 1, 1, facecolor=colour, hatch=hatch, edgecolor="white")


def _grid(names, heights, columns, title, records):
    """Return a figure and its axes, as high as their bars need; the machines stand below in small print."""
    rows = [max(heights[i : i + columns]) for i in range(0, len(heights), columns)]
    inches = ROW * sum(rows) + 0.62 * len(rows) + 1.1
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(WIDTH, inches),
        height_ratios=rows,
        squeeze=False,
        sharey="row" if columns > 1 else False,
    )
    for ax, name in zip(axes.flat, names, strict=True):
        ax.set_title(name, fontsize=10)
        ax.tick_params(labelsize=9)
        ax.tick_params(axis="y", length=0)
    for row in axes:
        row[0].invert_yaxis()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    machines = [f"{name}: {record['machine']}, torch {record['torch']}" for name, record in present(records)]
    lines = [textwrap.fill(machine, 75, subsequent_indent="    ") for machine in machines]  # the legend is beside them
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color=COLOURS[-1], alpha=0.6)
    return figure, list(axes.flat)
