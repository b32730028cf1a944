"""Owns the drawings of networks and gated blocks, made from the built network itself. Computes no result."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path
from torch import nn

from utils.figures.style import COLOURS
from utils.models.blocks import GatedBlock
from utils.models.count import describe, flops, layer_table, one_image, parameters

BLUE, RED, GREEN, PINK, ORANGE, _, BLACK = COLOURS
MIDDLE, FLOOR = 2.12, 1.1  # heights in inches: of the arrows, and of the first line under the boxes
STEP = 2.1  # inches of one step of a detailed branch
LANES = 6  # branches that a detailed block shows before it writes dots


@dataclasses.dataclass
class Part:
    """One box of a drawing: a layer with weights or a change of shape, and the words of the layers that follow it."""

    layer: nn.Module | None
    before: tuple
    shape: tuple
    words: list

    @property
    def steps(self):
        return len(self.layer.plan.widths) - 1 if isinstance(self.layer, GatedBlock) else 1

    @property
    def slot(self):
        """Return the inches from the middle of one gap to the next, before all are fitted into the figure."""
        return 0.72 if len(self.shape) == 1 or len(self.words) and self.colour == ORANGE else 0.9 * self.steps

    @property
    def colour(self):
        if self.layer is None:
            return BLACK
        if len(self.shape) == 1:
            return GREEN
        return BLUE if isinstance(self.layer, (GatedBlock, nn.Conv2d)) else ORANGE


def draw_network(net, title=None, size=None):
    """Draw a built network from left to right: heights show the map's size, numbers above the channels."""
    parts = list_parts(net, size)
    natural = sum(part.slot for part in parts)
    width = min(11.0, max(7.0, natural + 0.3))
    blocks = [layer.plan for layer in net.children() if isinstance(layer, GatedBlock)]
    figure, ax = _canvas(width, 3.5, bottom=0 if blocks else 0.4)
    scale = min(1.0, (width - 0.1) / natural)
    left = (width - scale * natural) / 2
    end = None  # of the box before
    for part in parts:
        slot, gap = scale * part.slot, scale * 0.11
        _draw_part(ax, part, left + gap, left + slot - gap, parts[0].shape[1])
        if end is not None:
            _arrow(ax, (end, MIDDLE), (left + gap, MIDDLE))
        left, end = left + slot, left + slot - gap
    _draw_legend(figure, blocks)
    counts = f"{parameters(net):,} parameters, {flops(net, size):,} multiply-adds an image"
    figure.suptitle(counts if title is None else f"{title}: {counts}", x=0.01, ha="left", fontsize=11)
    return figure


def list_parts(net, size=None):
    """Return the boxes of a drawing: the image, then each layer that has weights of its own or changes the shape."""
    rows, layers = layer_table(net, size), dict(net.named_children())
    shape = tuple(one_image(net, size).shape[1:])
    parts = [Part(None, shape, shape, ["image"])]
    for row in rows:
        layer = layers[row["name"]]
        words = list(layer.plan.after) if isinstance(layer, GatedBlock) else [row["what"]]
        if row["shape"] != parts[-1].shape or isinstance(layer, (GatedBlock, nn.Conv2d, nn.Linear)):
            parts.append(Part(layer, parts[-1].shape, row["shape"], words))
        else:
            parts[-1].words += words
    return parts


def _height(shape, largest):
    """Return a box's inches: a map's by its size, a vector's by the logarithm of its length."""
    if len(shape) == 1:
        return 0.25 + 0.075 * math.log2(shape[0])
    return 0.18 + 1.12 * (shape[1] / largest) ** 0.6


def _draw_part(ax, part, left, right, largest):
    before, after = (_height(shape, largest) for shape in (part.before, part.shape))
    if len(part.shape) == 1 and len(part.before) == 1:
        before = after  # a vector is a bar
    lanes = len(part.layer.plan.kernels) if isinstance(part.layer, GatedBlock) else 1
    for lane in range(lanes):
        for step in range(part.steps):
            ends = [(x / part.steps, before + (after - before) * x / part.steps) for x in (step, step + 1)]
            (x0, h0), (x1, h1) = ((left + (right - left) * x, h / lanes) for x, h in ends)
            low = [MIDDLE + h * (lane - lanes / 2) for h in (h0, h1)]
            corners = [(x0, low[0]), (x1, low[1]), (x1, low[1] + h1), (x0, low[0] + h0)]
            hatch = {GREEN: "....", ORANGE: "////"}.get(part.colour)
            ax.add_patch(Polygon(corners, facecolor=_pale(part.colour), edgecolor=part.colour, hatch=hatch, lw=0.8))
    middle, top, channels = (left + right) / 2, MIDDLE + max(before, after) / 2, f"{part.shape[0]:,}"
    if isinstance(part.layer, GatedBlock):
        _draw_gate(ax, part.layer.plan, left, right, (before + after) / 4, max(before, after) / 2)
        top = MIDDLE + (before + after) / 4 + 0.11
        channels = " \u2192 ".join(f"{width:,}" for width in part.layer.plan.widths[1:])
    ax.text(middle, top + 0.04, channels, ha="center", va="bottom", fontsize=9, weight="bold")
    lines = [line for word in part.words for line in textwrap.wrap(word, 10)]
    if len(part.shape) == 3:
        ax.text(middle, FLOOR, f"{part.shape[1]}x{part.shape[2]}", ha="center", fontsize=8)
    for number, line in enumerate(lines, 1):
        ax.text(middle, FLOOR - 0.03 - 0.12 * number, line, ha="center", fontsize=7, color="#333333")


def _draw_gate(ax, block, left, right, half, depth):
    """Draw the gate as a circle on the upper edge, and the shortcut as a dashed line under the block."""
    middle = (left + right) / 2
    ax.add_patch(Circle((middle, MIDDLE + half), 0.1, facecolor="white", edgecolor=RED, lw=1.4, zorder=3))
    ax.text(
        middle, MIDDLE + half - 0.005, "a", ha="center", va="center", fontsize=8, color=RED, style="italic", zorder=4
    )
    if block.shortcut is not None:
        low = MIDDLE - depth - 0.1
        points = [(left - 0.05, MIDDLE), (left - 0.05, low), (right + 0.05, low), (right + 0.05, MIDDLE)]
        ax.add_patch(PathPatch(Path(points), fill=False, edgecolor=PINK, linestyle=(0, (3, 1.2)), lw=1.6, zorder=2))


def _draw_legend(figure, blocks):
    """Say what lanes, circles and dashed lines stand for, and in which blocks where they are not all alike."""
    handles = {
        "branches": Patch(facecolor=_pale(BLUE), edgecolor=BLUE),
        "gate": Line2D([], [], marker="o", color="none", markeredgecolor=RED, markerfacecolor="white"),
        "shortcut": Line2D([], [], color=PINK, linestyle=(0, (3, 1.2))),
    }
    entries = []
    for name, handle in handles.items():
        found = {}
        for number, block in enumerate(blocks, 1):
            found.setdefault(describe(block)[name], []).append(str(number))
        found.pop("none", None)
        for text, numbers in found.items():
            where = "" if len(numbers) == len(blocks) else f" (block{'s' * (len(numbers) > 1)} {', '.join(numbers)})"
            entries.append((handle, f"{name}: {text}{where}"))
    if entries:
        columns = 2 if len(entries) > 2 and figure.get_figwidth() > 9 else 1
        figure.legend(*zip(*entries, strict=True), loc="lower left", ncols=columns, fontsize=8, borderaxespad=0.2)


def draw_block(block, title=None):
    """Draw one gated block, built or as data, in detail: its branches, its gate, the weighted sum, what follows."""
    plan = getattr(block, "plan", block)
    k, steps = len(plan.kernels), len(plan.widths) - 1
    shown = list(range(k)) if k <= LANES else [0, 1, None, k - 1]
    high = 1.35 + 0.5 * len(shown) + 0.55 * (plan.shortcut is not None)
    figure, ax = _canvas(4.3 + STEP * steps, high)
    lanes = [high - 1.35 - 0.5 * row for row in range(len(shown))]
    middle, gate = sum(lanes) / len(lanes), high - 0.65
    right = 1.0 + STEP * steps  # end of the branches
    times, plus = right + 0.3, right + 1.1
    _line(ax, (0.35, middle), (0.35, gate), (1.0, gate))
    _box(ax, 1.0, right - 0.2, gate, "gate: " + describe(plan)["gate"], RED)
    _line(ax, (right - 0.2, gate), (times, gate), (times, lanes[-1] + 0.12), colour=RED)
    for j, y in zip(shown, lanes, strict=True):
        _draw_branch(ax, plan, j, (middle, y), times, plus)
    if plan.shortcut is not None:
        _line(ax, (0.35, middle), (0.35, 0.25), (1.0, 0.25), colour=PINK)
        _box(ax, 1.0, right - 0.2, 0.25, "shortcut: " + describe(plan)["shortcut"], PINK)
        _line(ax, (right - 0.2, 0.25), (plus, 0.25), (plus, middle - 0.14), colour=PINK)
    _box(ax, 0.1, 0.6, middle, f"X\n{plan.widths[0]}", BLACK)
    _circle(ax, plus, middle, "+", BLACK)
    end = plus + 0.12
    if plan.after:
        _box(ax, plus + 0.35, plus + 1.35, middle, "\n".join(plan.after), ORANGE)
        _line(ax, (end, middle), (plus + 0.35, middle))
        end = plus + 1.35
    _box(ax, plus + 1.6, plus + 2.1, middle, f"O\n{plan.widths[-1]}", BLACK)
    _line(ax, (end, middle), (plus + 1.6, middle))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _draw_branch(ax, plan, j, heights, times, plus):
    """Draw branch j at its height, from X to the sum, times its weight; dots where j is None."""
    middle, y = heights
    if j is None:
        ax.text(2.0, y, ". . .", ha="center", va="center", fontsize=12)
        return
    kernel = f"{plan.kernels[j]}x{plan.kernels[j]}"
    _line(ax, (0.6, middle), (0.8, middle), (0.8, y), (1.0, y))
    for step, width in enumerate(plan.widths[1:]):
        words = [re.sub(r"^conv(?! \d)", f"conv {width} {kernel}", word) for word in plan.branch]
        start = 1.0 + STEP * step
        _box(ax, start, start + STEP - 0.2, y, ", ".join(words), BLUE)
        following = start + STEP if step < len(plan.widths) - 2 else times - 0.12
        _line(ax, (start + STEP - 0.2, y), (following, y))
    _circle(ax, times, y, "x", RED)
    ax.text(times + 0.14, y + 0.06, f"$a_{{{j + 1}}}$", fontsize=10, color=RED)
    _line(ax, (times + 0.12, y), (plus - 0.35, y), (plus - 0.35, middle), (plus - 0.12, middle))


def _canvas(width, height, bottom=0):
    """Return a figure and axes whose units are inches, from (0, bottom) to (width, height)."""
    figure = plt.figure(figsize=(width, height - bottom), layout="none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(bottom, height))
    ax.set_axis_off()
    return figure, ax


def _box(ax, left, right, y, text, colour):
    """Draw a rounded box about a line of text, wrapped to fit it."""
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, int((right - left) * 15))]
    high = max(0.3, 0.14 * len(lines) + 0.1)
    style = FancyBboxPatch((left, y - high / 2), right - left, high, "round,pad=0,rounding_size=0.06")
    style.set(facecolor=_pale(colour), edgecolor=colour, linewidth=1.2, zorder=3)
    ax.add_patch(style)
    ax.text((left + right) / 2, y, "\n".join(lines), ha="center", va="center", fontsize=8, zorder=4)


def _circle(ax, x, y, text, colour):
    ax.add_patch(Circle((x, y), 0.12, facecolor="white", edgecolor=colour, lw=1.4, zorder=3))
    ax.text(x, y, {"x": "\u00d7"}.get(text, text), ha="center", va="center", color=colour, fontsize=10, zorder=4)


def _line(ax, *points, colour="#555555"):
    """Draw a line through the points with an arrow at its end."""
    ax.plot(*zip(*points, strict=True), color=colour, lw=1.1, linestyle="-", solid_joinstyle="round", zorder=2)
    _arrow(ax, points[-2], points[-1], colour)


def _arrow(ax, start, end, colour="#555555"):
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def _pale(colour):
    """Return the colour mixed with white, opaque so that lines behind it do not show."""
    return tuple(0.2 * channel + 0.8 for channel in to_rgb(colour))
