"""Draw networks and gated blocks, from a network or from its summary in a run's network.json.

draw_network(net, "My network")
draw_networks({"mine": net, "yours": other_net})
draw_block(net.block1)
"""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections import Counter

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon
from matplotlib.path import Path
from torch import nn

from utils.errors import CourseworkError
from utils.figures.style import COLOURS
from utils.models.count import example_image, gate_outputs, measured
from utils.models.summary import gated_facts, shape_of, summarise

BLUE, RED, GREEN, PINK, ORANGE, _, BLACK = COLOURS
MIDDLE, FLOOR = 2.12, 1.1  # heights in inches: of the arrows, and of the first line under the boxes
STEP = 2.1  # width in inches of one step of a branch in draw_block
WIDTH, HEIGHT = 11.0, 3.5  # inches of one row of a drawing, at most
BOXES_IN_A_ROW = 16
LINE = 0.135  # inches from one line of text under a box to the next
SMALL = 0.62  # the scale of the boxes in draw_networks
LABEL = 3.6  # width in inches, before scaling, of the name beside a row of draw_networks


@dataclasses.dataclass
class Box:
    """One box of a drawing: a layer that has weights or changes the shape, and the texts of the layers after it."""

    kind: str  # a kind of layer in summarise, or "image"
    before: tuple  # the shape of its input
    shape: tuple
    texts: list
    gated: dict | None = None

    @property
    def steps(self):
        return self.gated["steps"] if self.gated else 1

    @property
    def slot(self):
        """The width in inches, before all boxes are scaled to fit into the figure."""
        return 0.72 if len(self.shape) != 3 or (self.texts and self.colour == ORANGE) else 0.9 * self.steps

    @property
    def colour(self):
        if self.kind == "image":
            return BLACK
        if len(self.shape) != 3:
            return GREEN
        return BLUE if self.kind in ("gated", "conv", "other") else ORANGE


def draw_network(net: nn.Module | dict, title: str | None = None, image: torch.Tensor | None = None) -> plt.Figure:
    """Draw a network, or its summary, from left to right: heights show the map's size, bold numbers the channels."""
    summary = net if isinstance(net, dict) else summarise(net, image)
    boxes = list_boxes(summary)
    row_count = -(-len(boxes) // BOXES_IN_A_ROW)
    per_row = -(-len(boxes) // row_count)
    rows = [boxes[start : start + per_row] for start in range(0, len(boxes), per_row)]
    natural = max(sum(box.slot for box in row) for row in rows)
    width = min(WIDTH, max(7.0, natural + 0.3))
    blocks = [box.gated for box in boxes if box.gated]
    bottom = 0 if blocks else 0.4
    more = LINE * max(0, max(len(lines_of(box)) for box in boxes) - 4)  # room for many lines under a box
    heights = [HEIGHT - 0.4 + more] * (len(rows) - 1) + [HEIGHT - bottom + more]
    figure = plt.figure(figsize=(width, sum(heights)), layout="none")
    top = sum(heights)
    for row, height in zip(rows, heights, strict=True):
        top -= height
        low = HEIGHT - height
        ax = figure.add_axes(
            (0, top / sum(heights), 1, height / sum(heights)), xlim=(0, width), ylim=(low, low + height)
        )
        ax.set_axis_off()
        _draw_row(ax, row, width, boxes[0].shape)
    _draw_legend(figure, blocks)
    counts = f"{summary['parameters']:,} parameters, {summary['macs']:,} multiply-adds per image"
    figure.suptitle(counts if title is None else f"{title}: {counts}", x=0.01, ha="left", fontsize=11)
    return figure


def list_boxes(summary: dict) -> list[Box]:
    """Return the boxes of a drawing: the image, then each layer that has weights or changes the shape."""
    shape = tuple(summary["input"])
    boxes = [Box("image", shape, shape, ["image"])]
    for layer in summary["layers"]:
        shape = tuple(layer["shape"])
        has_weights = layer["kind"] in ("gated", "conv", "linear") or (layer["kind"] == "other" and layer["parameters"])
        texts = [text for text in layer["gated"]["after"].split(", ") if text] if layer["gated"] else [layer["text"]]
        if layer["gated"] and layer["text"] not in ("GatedBlock", "GatedConv"):
            texts = [layer["text"], *texts]
        if shape != boxes[-1].shape or has_weights:
            boxes.append(Box(layer["kind"], boxes[-1].shape, shape, texts, layer["gated"]))
        else:
            boxes[-1].texts += texts
    return boxes


def lines_of(box: Box) -> list[str]:
    """Return the lines of text under a box; a long class name is broken between its words."""
    lines = []
    for text in box.texts:
        if len(text) > 10:
            text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text)
        lines += textwrap.wrap(text, 10)
    return lines


def draw_networks(networks: dict, title: str | None = None) -> plt.Figure:
    """Draw {name: network or its summary} below one another, small: map sizes, channels, gates and shortcuts."""
    summaries = {name: net if isinstance(net, dict) else summarise(net) for name, net in networks.items()}
    rows = {
        name: [dataclasses.replace(box, texts=[]) for box in list_boxes(facts)] for name, facts in summaries.items()
    }
    width = min(WIDTH / SMALL, LABEL + max(sum(box.slot for box in boxes) for boxes in rows.values()) + 0.3)
    low, high = FLOOR - 0.12, MIDDLE + 1.05
    row_height = SMALL * (high - low)
    below, above = 0.35, 0.35
    total = row_height * len(networks) + below + above
    figure = plt.figure(figsize=(SMALL * width, total), layout="none")
    for row, (name, boxes) in enumerate(rows.items()):
        summary = summaries[name]
        bottom = total - above - row_height * (row + 1)
        place = (0, bottom / total, 1, row_height / total)
        ax = figure.add_axes(place, xlim=(0, width), ylim=(low, high))
        ax.set_axis_off()
        _draw_row(ax, boxes, width - LABEL, boxes[0].shape, start=LABEL)
        top = MIDDLE + _height(boxes[0].shape, boxes[0].shape[-1]) / 2 + 0.04  # where the first number of channels is
        ax.text(LABEL, top, "channels", ha="right", va="bottom", fontsize=8)
        ax.text(LABEL, FLOOR, "map size", ha="right", fontsize=8)
        counts = f"{summary['parameters'] / 1e6:.1f} M parameters\n{summary['macs'] / 1e6:,.0f} M multiply-adds"
        ax.text(0.15, MIDDLE + 0.12, name, fontsize=10, weight="bold", va="bottom")
        ax.text(0.15, MIDDLE + 0.02, counts, fontsize=8, va="top")
    handles = _handles_of([box for boxes in rows.values() for box in boxes])
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=9, borderaxespad=0.2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _handles_of(boxes):
    """Return the entries of the legend for what these boxes show, and for nothing else."""
    colours = {box.colour for box in boxes}
    gated = [box.gated for box in boxes if box.gated]
    handles = {
        Patch(facecolor=_pale(BLUE), edgecolor=BLUE, label="convolution"): BLUE in colours,
        Patch(facecolor=_pale(ORANGE), edgecolor=ORANGE, hatch="////", label="pooling"): ORANGE in colours,
        Patch(facecolor=_pale(GREEN), edgecolor=GREEN, hatch="....", label="vector"): GREEN in colours,
        _gate_handle(label="gate"): bool(gated),
        _shortcut_handle(label="shortcut"): any(facts["shortcut"] is not None for facts in gated),
    }
    return [handle for handle, is_shown in handles.items() if is_shown]


def _gate_handle(**options):
    return Line2D([], [], marker="o", color="none", markeredgecolor=RED, markerfacecolor="white", **options)


def _shortcut_handle(**options):
    return Line2D([], [], color=PINK, linestyle=(0, (3, 1.2)), **options)


def _draw_row(ax, boxes, width, image_shape, start=None):
    """Draw boxes from left to right within this width: in its middle, or from `start` on."""
    natural = sum(box.slot for box in boxes)
    scale = min(1.0, (width - 0.1) / natural)
    left = (width - scale * natural) / 2 if start is None else start
    size = 8 if scale > 0.85 else 7  # of the letters: narrow boxes have no room for larger ones
    end = None  # the right edge of the previous box
    for box in boxes:
        slot = scale * box.slot
        gap = scale * 0.11
        _draw_box(ax, box, left + gap, left + slot - gap, image_shape[-1], size)
        if end is not None:
            _arrow(ax, (end, MIDDLE), (left + gap, MIDDLE))
        left += slot
        end = left - gap


def _height(shape, largest):
    """Return the height of a box in inches: of a map by its size, of a vector by the logarithm of its length."""
    if len(shape) != 3:
        return 0.25 + 0.075 * math.log2(max(1, math.prod(shape)))
    return 0.18 + 1.12 * (shape[1] / largest) ** 0.6


def _draw_box(ax, box, left, right, largest, size):
    before = _height(box.before, largest)
    after = _height(box.shape, largest)
    if len(box.shape) != 3 and len(box.before) != 3:
        before = after  # a vector is drawn as a bar
    lanes = box.gated["k"] if box.gated else 1
    hatch = {GREEN: "....", ORANGE: "////"}.get(box.colour)
    for lane in range(lanes):
        for step in range(box.steps):
            x0, x1 = (left + (right - left) * x / box.steps for x in (step, step + 1))
            h0, h1 = ((before + (after - before) * x / box.steps) / lanes for x in (step, step + 1))
            low0, low1 = (MIDDLE + h * (lane - lanes / 2) for h in (h0, h1))
            corners = [(x0, low0), (x1, low1), (x1, low1 + h1), (x0, low0 + h0)]
            ax.add_patch(Polygon(corners, facecolor=_pale(box.colour), edgecolor=box.colour, hatch=hatch, lw=0.8))
    middle = (left + right) / 2
    top = MIDDLE + max(before, after) / 2
    channels = f"{box.shape[0]:,}" if box.shape else ""
    if box.gated:
        _draw_gate(ax, box.gated, left, right, (before + after) / 4, max(before, after) / 2)
        top = MIDDLE + (before + after) / 4 + 0.11
        channels = " \u2192 ".join(f"{width:,}" for width in box.gated["channels"][1:])
    ax.text(middle, top + 0.04, channels, ha="center", va="bottom", fontsize=9, weight="bold")
    lines = lines_of(box)
    if len(box.shape) == 3:
        ax.text(middle, FLOOR, f"{box.shape[1]}x{box.shape[2]}", ha="center", fontsize=8)
    for number, line in enumerate(lines, 1):
        ax.text(middle, FLOOR - 0.03 - LINE * number, line, ha="center", fontsize=size, color="#333333")


def _draw_gate(ax, block, left, right, half, depth):
    """Draw the gate as a circle on the upper edge, and the shortcut as a dashed line under the block."""
    middle = (left + right) / 2
    ax.add_patch(Circle((middle, MIDDLE + half), 0.1, facecolor="white", edgecolor=RED, lw=1.4, zorder=3))
    ax.text(
        middle, MIDDLE + half - 0.005, "a", ha="center", va="center", fontsize=8, color=RED, style="italic", zorder=4
    )
    if block["shortcut"] is not None:
        low = MIDDLE - depth - 0.1
        points = [(left - 0.05, MIDDLE), (left - 0.05, low), (right + 0.05, low), (right + 0.05, MIDDLE)]
        ax.add_patch(PathPatch(Path(points), fill=False, edgecolor=PINK, linestyle=(0, (3, 1.2)), lw=1.6, zorder=2))


def _draw_legend(figure, blocks):
    """Draw the legend of branches, gates and shortcuts, with the blocks' numbers if the blocks differ."""
    handles = {
        "branches": Patch(facecolor=_pale(BLUE), edgecolor=BLUE),
        "gate": _gate_handle(),
        "shortcut": _shortcut_handle(),
    }
    entries = []
    for name, handle in handles.items():
        numbers_of = {}
        for number, block in enumerate(blocks, 1):
            text = _text_of_branches(block) if name == "branches" else block[name]
            if text is not None:
                numbers_of.setdefault(text, []).append(str(number))
        for text, numbers in numbers_of.items():
            where = ""
            if len(numbers) < len(blocks):
                where = f" ({'blocks' if len(numbers) > 1 else 'block'} {', '.join(numbers)})"
            entries.append((handle, f"{name}: {text}{where}"))
    if entries:
        columns = 2 if len(entries) > 2 and figure.get_figwidth() > 9 else 1
        figure.legend(*zip(*entries, strict=True), loc="lower left", ncols=columns, fontsize=9, borderaxespad=0.2)


def _text_of_branches(block):
    """Return a text such as "4 of (conv 3x3)", or "1 \u00d7 conv 3x3, 2 \u00d7 conv 1x1" if the branches differ."""
    branches = [" ".join(re.sub(r", \d+", "", step) for step in steps) for steps in block.get("branch_steps") or ()]
    counts = Counter(branches)
    if len(counts) > 1:
        return ", ".join(f"{count} \u00d7 {text}" for text, count in counts.items())
    return f"{block['k']} of ({block['branches'] or 'unknown'})"


def draw_block(block: nn.Module, title: str | None = None) -> plt.Figure:
    """Draw one gated block in detail: its branches, its gate, the weighted sum, and the layers after it."""
    facts = facts_of_block(block)
    k, steps = facts["k"], facts["steps"]
    longest = max((len(text) for texts in facts["branch_steps"] for text in texts), default=0)
    pitch = 0.5 if longest <= 50 else 0.65  # inches between branches: three lines need more room than two
    high = max(1.95, 1.15 + pitch * k)
    if facts["shortcut"] is not None:
        high += 0.55
    width = 4.3 + STEP * steps
    figure = plt.figure(figsize=(width, high), layout="none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, high))  # its units are inches
    ax.set_axis_off()
    lanes = [high - 1.35 - pitch * row for row in range(k)]
    middle, gate = sum(lanes) / len(lanes), high - 0.65
    right = 1.0 + STEP * steps  # end of the branches
    times, plus = right + 0.3, right + 1.1
    _line(ax, (0.35, middle), (0.35, gate), (1.0, gate))
    _text_box(ax, 1.0, right - 0.2, gate, f"gate: {facts['gate']}", RED)
    weights = "weight $a_1$" if k == 1 else f"weights $a_1, \\dots, a_{{{k}}}$"
    ax.text(times + 0.06, gate, weights, va="center", fontsize=10, color=RED)
    _line(ax, (right - 0.2, gate), (times, gate), colour=RED)
    for j, y in enumerate(lanes):
        _draw_branch(ax, facts, j, (middle, y), times, plus)
        # the weight's way from the gate, right of the branches
        _line(ax, (right + 0.02, gate), (right + 0.02, y + 0.25), (times, y + 0.25), (times, y + 0.12), colour=RED)
    if facts["shortcut"] is not None:
        _line(ax, (0.72, middle), (0.72, 0.25), (1.0, 0.25), colour=PINK)
        _text_box(ax, 1.0, right - 0.2, 0.25, f"shortcut: {facts['shortcut']}", PINK)
        _line(ax, (right - 0.2, 0.25), (plus, 0.25), (plus, middle - 0.14), colour=PINK)
    _map_box(ax, 0.1, middle, "X", facts["channels"][0])
    _circle(ax, plus, middle, "+", BLACK)
    end = plus + 0.12
    if facts["after"]:
        _text_box(ax, plus + 0.35, plus + 1.35, middle, facts["after"].replace(", ", "\n"), ORANGE)
        _line(ax, (end, middle), (plus + 0.35, middle))
        end = plus + 1.35
    _map_box(ax, plus + 1.6, middle, "O", facts["channels"][-1])
    _line(ax, (end, middle), (plus + 1.6, middle))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def facts_of_block(block: nn.Module) -> dict:
    """Return gated_facts of a block; its shapes are found by calling it with an image of zeros."""
    channels = getattr(block, "in_channels", None)
    image = example_image(block) if channels is None else example_image(block)[:, :1].expand(1, channels, -1, -1)
    weights = gate_outputs(block, image).get("network")
    if weights is None:
        raise CourseworkError(
            "This module has no gate that returns one weight for each branch, so it can't be drawn as a gated block.",
            where=f"draw_block({type(block).__name__})",
            next_step="Give a module whose submodule `gate` returns (B, k), or use draw_network.",
        )
    with measured(block):
        O = block(image)  # noqa: E741  (the formula's own letter)
    return gated_facts(block, weights.shape[1], [image.shape[1]], shape_of(O))


def _draw_branch(ax, facts, j, heights, times, plus):
    """Draw branch j at its height, from X to the sum, times its weight."""
    middle, y = heights
    _line(ax, (0.6, middle), (0.8, middle), (0.8, y), (1.0, y))
    texts = facts["branch_steps"][j] if j < len(facts["branch_steps"]) else [facts["branches"] or "branch"]
    for step, text in enumerate(texts):
        start = 1.0 + STEP * step
        _text_box(ax, start, start + STEP - 0.2, y, text, BLUE)
        following = start + STEP if step < len(texts) - 1 else times - 0.12
        _line(ax, (start + STEP - 0.2, y), (following, y))
    _circle(ax, times, y, "x", RED)
    ax.text(times + 0.06, y + 0.17, f"$a_{{{j + 1}}}$", fontsize=10, color=RED)
    _line(ax, (times + 0.12, y), (plus - 0.35, y), (plus - 0.35, middle), (plus - 0.12, middle))


def _text_box(ax, left, right, y, text, colour):
    """Draw a rounded box about a line of text, wrapped to fit it."""
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, int((right - left) * 13.5))]
    high = max(0.3, 0.15 * len(lines) + 0.1)
    style = FancyBboxPatch((left, y - high / 2), right - left, high, "round,pad=0,rounding_size=0.06")
    style.set(facecolor=_pale(colour), edgecolor=colour, linewidth=1.2, zorder=3)
    ax.add_patch(style)
    ax.text((left + right) / 2, y, "\n".join(lines), ha="center", va="center", fontsize=9, zorder=4)


def _map_box(ax, left, y, name, channels):
    """Draw the box of an input or output, with its number of channels below it."""
    _text_box(ax, left, left + 0.5, y, name, BLACK)
    ax.text(left + 0.25, y - 0.3, f"{channels}\nchannels", ha="center", va="center", fontsize=8)


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
