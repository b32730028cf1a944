"""The figures of notebook 03: every curve in its place, told apart by colour and dash, with its words beside it."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_checks import check_whole

from utils.figures.optimizer import show_confidence, show_paths, show_range, show_runs, show_schedules
from utils.figures.style import STYLE
from utils.optim.range_test import RangeTest


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context(STYLE):
        yield
    plt.close("all")


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def looks(lines):
    return {(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}


def run(losses, every=2, batches=4, error=None, rows=()):
    points = [{"epoch": (i + 1) * every / batches, "loss": loss} for i, loss in enumerate(losses)]
    epoch, batch = divmod(len(losses) * every, batches)
    return SimpleNamespace(
        history=SimpleNamespace(points=points, rows=rows), batches=batches, epoch=epoch, batch=batch, error=error
    )


def test_losses_and_gradients_are_drawn_against_confidence_with_the_floor_named():
    p = torch.linspace(0.1, 0.9, 5)
    curves = {"once": (-p.log(), 1 - p), "twice": (2 - p, p * (1 - p))}
    figure = show_confidence(p, curves, floor=1.4612, title="Finding")
    for ax, which in zip(figure.axes, (0, 1), strict=True):
        for line, name in zip(ax.lines, curves, strict=False):
            assert np.allclose(line.get_xdata(), p) and np.allclose(line.get_ydata(), curves[name][which])
        assert ax.get_xlabel() and ax.get_title(loc="left") and len(looks(ax.lines[:2])) == 2
    assert list(figure.axes[0].lines[2].get_ydata()) == [1.4612, 1.4612]
    assert texts(figure) == ["1.4612"] and figure.get_suptitle() == "Finding"


def test_ways_down_begin_at_the_start_and_end_at_a_dot():
    x = y = torch.linspace(-1, 1, 11)
    ways = {"a": torch.tensor([[-1.0, 1.0], [0.5, 0.5]]), "b": torch.tensor([[-1.0, 1.0], [0.0, 0.2]])}
    paths = {name: (places, (places**2).sum(1)) for name, places in ways.items()}
    figure = show_paths(x, y, x**2 + y[:, None] ** 2, paths, goal=(0, 0), title="Finding")
    surface, heights = figure.axes
    drawn = [line for line in surface.lines if len(line.get_xdata()) == 2]
    dots = [line.get_xydata()[0].tolist() for line in surface.lines if line.get_marker() == "o"]
    for line, way in zip(drawn, ways.values(), strict=True):
        assert np.allclose(line.get_xydata(), way)
    assert np.allclose(dots, [way[-1] for way in ways.values()])
    for line, (_, height) in zip(heights.lines, paths.values(), strict=True):
        assert np.allclose(line.get_ydata(), height)
    assert [text.get_text() for text in heights.get_legend().texts] == ["a", "b"]
    assert len(looks(drawn)) == len(looks(heights.lines)) == 2
    assert [line.get_xydata()[0].tolist() for line in surface.lines if line.get_marker() == "*"] == [[0, 0]]


def test_ways_that_fly_off_leave_the_picture_as_it_is():
    x = torch.linspace(-1, 1, 11)
    path = torch.tensor([[-1.0, 1.0], [1e9, 1e9], [float("nan")] * 2]), torch.tensor([2.0, 1e18, float("inf")])
    figure = show_paths(x, x, x**2 + x[:, None] ** 2, {"SGD": path}, goal=(0, 0))
    figure.canvas.draw()
    assert np.allclose((figure.axes[0].get_xlim(), figure.axes[0].get_ylim()), (-1, 1))


def test_runs_are_drawn_against_batches_and_levels_carry_their_words():
    runs = {"first": run([2.0, 1.5, 1.0]), "second": run([2.2, 2.1])}
    figure = show_runs(runs, levels={"perfect": 0.5}, title="Finding")
    first, second, level = figure.axes[0].lines
    assert list(first.get_xdata()) == [2, 4, 6] and list(first.get_ydata()) == [2.0, 1.5, 1.0]
    assert list(second.get_xdata()) == [2, 4] and len(looks([first, second])) == 2
    assert list(level.get_ydata()) == [0.5, 0.5] and texts(figure) == ["perfect"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["first", "second"]
    assert figure.get_suptitle() == "Finding" and figure.axes[0].get_xlabel() == "batches"


def test_the_legend_gives_the_last_held_out_accuracy_of_each_whole_run():
    rows = [{"val_acc": 0.25}, {"val_acc": 0.5}]
    runs = {"a": run([2.0], rows=rows), "b": run([2.0], rows=[{"train_acc": 0.5}])}
    runs["c"] = run([2.0], rows=rows, error=ValueError())
    figure = show_runs(runs, title="Finding")
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["a (50.0% held out)", "b", "c, stopped at batch 3"]
    check_whole(figure)


def test_a_legend_of_long_names_stays_inside_the_figure():
    rows = [{"val_acc": 0.5}]
    runs = {f"a rather long name, number {i}": run([2.0, 1.0], rows=rows) for i in range(4)}
    check_whole(show_runs(runs, title="Finding"))


@pytest.mark.parametrize("losses, batch", [([2.0, 9.0, 80.0], 7), ([], 1)])
def test_a_run_that_broke_off_is_marked_at_its_batch_even_without_a_point(losses, batch):
    figure = show_runs({"whole": run([2.0, 1.5]), "broken": run(losses, error=ValueError())})
    assert figure.axes[0].get_ylim()[1] < 3  # the whole run keeps its height
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert list(cross.get_xdata()) == [batch] and cross.get_color() == figure.axes[0].lines[1].get_color()
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["whole", f"broken, stopped at batch {batch}"]


def test_a_whole_run_whose_loss_flew_away_does_not_flatten_the_others():
    figure = show_runs({"flown": run([2.3, 9.0, 1e9]), "whole": run([2.2, 1.5, 1.2])})
    assert figure.axes[0].get_ylim() == pytest.approx((0, 3.3))


def test_each_schedule_has_a_panel_with_its_words_and_the_added_ones_look_different():
    curves = {name: ([0, 1, 2], [1.0, 0.5, end]) for name, end in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    words = {name: f"what {name} does" for name in curves}
    figure = show_schedules(curves, words, added=("c",), columns=2, title="Finding")
    panels, empty = figure.axes[:3], figure.axes[3]
    assert not empty.axison and texts(figure) == list(words.values())
    assert [ax.get_title(loc="left").strip() for ax in panels] == ["a", "b", "c"]
    assert [ax.lines[0].get_ydata()[-1] for ax in panels] == [0.1, 0.2, 0.3]
    drawn = [ax.lines[0] for ax in panels]
    assert len(looks(drawn[:2])) == 1 and len(looks(drawn)) == 2


def test_a_range_test_shows_its_lowest_point_and_two_rates_and_is_not_flattened_by_its_end():
    test = RangeTest([1e-3, 1e-2, 1e-1, 1.0], [2.3, 2.0, 1.8, 5000.0], [2.3, 2.1, 1.9, 900.0], 1e-2, 1e-3)
    figure = show_range(test, title="Finding")
    (ax,) = figure.axes
    batches, smoothed, suggestion, tenth, lowest = ax.lines
    assert list(batches.get_ydata()) == test.losses and list(smoothed.get_ydata()) == test.smoothed
    assert suggestion.get_xdata()[0] == test.suggestion and tenth.get_xdata()[0] == test.tenth
    assert lowest.get_xydata().tolist() == [[1e-1, 1.9]]
    assert ax.get_xscale() == "log" and ax.get_ylim()[0] < 1.8 and 2.3 < ax.get_ylim()[1] < 4
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels == ["each batch", "smoothed", "steepest gradient, 0.01", "minimum / 10, 0.001", "minimum, 0.1"]
    assert len(looks([smoothed, suggestion, tenth])) == 3
    check_whole(figure)
