"""The figures of notebook 03: every curve in its place, told apart by colour and dash, with its words beside it."""

import numpy as np
import pytest
import torch
from figure_checks import check_whole
from matplotlib.patches import FancyBboxPatch

from utils.figures.optimizer import (
    show_circles,
    show_comparison,
    show_confidence,
    show_graph,
    show_losses,
    show_paths,
    show_range,
    show_schedules,
    show_valleys,
)
from utils.optim.range_test import RangeTest


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def looks(lines):
    return {(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}


def test_losses_and_gradients_are_drawn_against_confidence_with_the_floor_named():
    p = torch.linspace(0.1, 0.9, 5)
    curves = {"once": (-p.log(), 1 - p), "twice": (2 - p, p * (1 - p))}
    figure = show_confidence(p, curves, floor=1.4612, title="Finding")
    for ax, which in zip(figure.axes, (0, 1), strict=True):
        for line, name in zip(ax.lines, curves, strict=False):
            assert np.allclose(line.get_xdata(), p) and np.allclose(line.get_ydata(), curves[name][which])
        assert ax.get_xlabel() and ax.get_title(loc="left") and len(looks(ax.lines[:2])) == 2
    assert list(figure.axes[0].lines[2].get_ydata()) == [1.4612, 1.4612]
    assert texts(figure)[0].endswith("1.4612") and figure.get_suptitle() == "Finding"


def bowl(w):
    return w[0] ** 2 + 2 * w[1] ** 2


GOAL = torch.zeros(2)
WALKS = {"a": torch.tensor([[-1.0, 1.0], [0.5, 0.5]]), "b": torch.tensor([[-1.0, 1.0], [0.25, 0.0]])}


def test_a_computation_graph_holds_each_value_gradient_and_local_derivative():
    nodes = {"w": (0, 0, 3.0, 12.0), "u": (1, 0, 6.0, 4.0), "y": (1, -1, 2.0, None)}
    figure = show_graph(nodes, {("w", "u"): "x = 2"}, title="Finding")
    written = texts(figure)
    assert {"w", "u", "y", "value 3", "value 6", "value 2", "gradient 12", "gradient 4", "x = 2"} <= set(written)
    assert sum(text.startswith("gradient") for text in written) == 2
    check_whole(figure)


def test_the_labels_of_a_computation_graph_touch_no_box():
    nodes = {"w": (0, 1, 3.0, 12.0), "x": (0, -1, 2.0, 18.0), "u": (1, 0, 6.0, 6.0), "b": (1, -1, -1.0, 6.0)}
    nodes |= {"z": (2, 0, 5.0, 6.0), "h": (3, 0, 5.0, 6.0), "y": (5, 0, 9.0, 1.0)}
    edges = {("w", "u"): "x = 2", ("x", "u"): "w = 3", ("b", "z"): "1", ("z", "h"): "1 (z > 0)"}
    figure = show_graph(nodes, edges)
    figure.canvas.draw()
    (ax,) = figure.axes
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    labels = [text.get_window_extent() for text in ax.texts if text.get_text() in edges.values()]
    assert len(labels) == 4 and boxes and not any(label.overlaps(box) for label in labels for box in boxes)


def test_each_path_has_a_column_with_its_steps_above_and_its_heights_below():
    figure = show_paths(bowl, WALKS, goal=GOAL, title="Finding")
    above, below = figure.axes[:2], figure.axes[2:]
    for surface, heights, (name, points) in zip(above, below, WALKS.items(), strict=True):
        assert surface.get_title(loc="left") == name
        assert [line.get_xydata()[0].tolist() for line in surface.lines if line.get_marker() == "*"] == [[0, 0]]
        assert any(np.array_equal(line.get_xydata(), points) for line in surface.lines)
        assert np.allclose(heights.lines[0].get_ydata(), [bowl(point) for point in points])
        assert heights.get_yscale() == "log"
    check_whole(figure)


@pytest.mark.parametrize("draw", [show_paths, show_valleys])
def test_paths_that_diverge_leave_the_limits_as_they_are(draw):
    path = torch.tensor([[-1.0, 1.0], [1e9, 1e9], [float("nan")] * 2])
    figure = draw(bowl, {"SGD": path}, goal=GOAL, x=(-1, 1), y=(-2, 2))
    figure.canvas.draw()
    assert np.allclose((figure.axes[0].get_xlim(), figure.axes[0].get_ylim()), [(-1, 1), (-2, 2)])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_path_has_a_panel_with_its_first_and_last_height(count):
    paths = {f"rate {i}": WALKS["b"] for i in range(count)}
    figure = show_valleys(bowl, paths, goal=GOAL, title="Finding")
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.axison]
    assert titles == [f"rate {i}\nheight 3 to 0.0625" for i in range(count)]
    assert np.allclose(figure.axes[0].lines[-2].get_xydata(), WALKS["b"])
    check_whole(figure)


def test_a_matrix_is_drawn_as_the_image_of_the_circle_with_its_singular_values():
    figure = show_circles({"first": np.diag([2.0, 0.5]), "second": np.eye(2)}, title="Finding")
    first = figure.axes[0]
    assert first.get_title(loc="left") == "first\nsingular values 2.00, 0.50"
    assert np.abs(first.lines[1].get_xydata()).max(axis=0) == pytest.approx([2.0, 0.5], rel=1e-3)
    check_whole(figure)


def test_curves_have_a_thin_line_for_each_seed_and_a_thick_one_for_their_mean():
    curves = {"first": [[2.0, 1.0], [3.0, 2.0]], "second": [2.0, 2.0]}
    figure = show_losses(curves, every=5, levels={"first": 0.5, "second": 0.2}, title="Finding")
    *of_first, mean = figure.axes[0].lines[:3]
    assert [list(line.get_ydata()) for line in of_first] == curves["first"]
    assert list(mean.get_ydata()) == [2.5, 1.5] and list(mean.get_xdata()) == [5, 10]
    assert mean.get_linewidth() > 2 * of_first[0].get_linewidth()
    levels = [
        (line.get_ydata()[0], line.get_color()) for line in figure.axes[0].lines if len(set(line.get_xdata())) == 2
    ]
    assert (0.5, mean.get_color()) in levels and len(texts(figure)) == 2
    assert [text.get_text() for text in figure.legends[0].texts] == ["first", "second"]
    check_whole(figure)


def test_a_comparison_rings_the_best_rate_and_shows_every_other_seed():
    nan = float("nan")
    searched = {"SGD": {0.01: 2.0, 0.1: 1.5, 1.0: nan}, "Adam": {0.01: 1.4, 0.1: 2.2, 1.0: 1e9}}
    final = {"SGD": [1.5, 1.6, 1.7], "Adam": [1.3, 1.4, 1.5]}
    figure = show_comparison(searched, final, title="Finding")
    search, seeds = figure.axes
    rings = [line.get_xydata()[0].tolist() for line in search.lines if len(line.get_xdata()) == 1]
    assert rings == [[0.1, 1.5], [0.01, 1.4]] and search.get_ylim()[1] < 3
    dots = [list(line.get_xdata()) for line in seeds.lines[::2]]
    assert dots == list(final.values())
    assert [line.get_xdata()[0] for line in seeds.lines[1::2]] == pytest.approx([1.6, 1.4])
    assert [text.get_text() for text in seeds.get_yticklabels()] == ["SGD", "Adam"]
    check_whole(figure)


def test_each_schedule_has_a_panel_with_its_formula_in_the_row_of_its_purpose():
    groups = {"fall": {"a": ([0, 1], [1.0, 0.1]), "b": ([0, 1], [1.0, 0.2])}, "rise": {"c": ([0, 1], [0.3, 1.0])}}
    figure = show_schedules(groups, {"a": "$t$", "b": "$t^2$", "c": "$1 - t$"}, title="Finding")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a\n$t$", "b\n$t^2$", "c\n$1 - t$", ""]
    assert [list(ax.lines[0].get_ydata()) for ax in figure.axes[:3]] == [[1.0, 0.1], [1.0, 0.2], [0.3, 1.0]]
    assert [ax.get_ylabel() for ax in figure.axes] == ["fall", "", "rise", ""] and not figure.axes[3].axison
    check_whole(figure)


def test_a_range_test_shows_its_lowest_point_and_two_rates_and_is_not_flattened_by_its_end():
    test = RangeTest([1e-4, 1e-2, 1e-1, 1.0], [2.3, 2.0, 1.8, 5000.0], [2.3, 2.1, 1.9, 900.0], 2e-2, 1e-2)
    figure = show_range(test, title="Finding")
    (ax,) = figure.axes
    batches, smoothed, suggestion, tenth, lowest = ax.lines
    assert list(batches.get_ydata()) == test.losses and list(smoothed.get_ydata()) == test.smoothed
    assert suggestion.get_xdata()[0] == test.suggestion and tenth.get_xdata()[0] == test.tenth
    assert lowest.get_xydata().tolist() == [[1e-1, 1.9]]
    assert ax.get_xscale() == "log" and ax.get_ylim()[0] < 1.8 and 2.3 < ax.get_ylim()[1] < 4
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["each batch", "smoothed", "steepest fall, 0.02", "minimum / 10, 0.01", "minimum, 0.1"]
    assert len(looks([smoothed, suggestion, tenth])) == 3
    assert [text.get_text() for text in ax.texts] == ["too small", "useful", "diverges"]
    left, right = (text.get_position()[0] for text in (ax.texts[0], ax.texts[2]))
    assert left < test.tenth and right > lowest.get_xdata()[0]
    check_whole(figure)
