"""The figures: every picture in its place, unchanged, with its words beside it."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_checks import check_whole

from utils.figures.basics import GAP, show_bars, show_channels, show_grid, show_history
from utils.figures.style import STYLE
from utils.training.history import History

pytestmark = pytest.mark.usefixtures("close_figures")


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("count, columns", [(6, 3), (7, 3), (1, 10), (10, 10)])
@pytest.mark.parametrize("captions", [False, True])
def test_a_grid_holds_every_picture_unchanged_and_in_order(rng, count, columns, captions):
    images = torch.from_numpy(rng.integers(0, 200, (count, 3, 32, 32), dtype=np.uint8))
    names = [f"picture {i}" for i in range(count)]
    figure = show_grid(images, names if captions else None, columns=columns)
    (sheet,) = (np.asarray(image.get_array()) for image in figure.axes[0].images)
    over = 11 if captions else 0
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = (i // columns) * (32 + over + GAP) + over, (i % columns) * (32 + GAP)
        assert np.array_equal(sheet[top : top + 32, left : left + 32], image)
    assert texts(figure) == (names if captions else [])
    assert (sheet < 200).sum() <= count * 3072  # all else is white


def test_a_grid_names_its_rows_columns_and_finding():
    figure = show_grid(np.zeros((4, 3, 8, 8), np.uint8), rows=["a", "b"], heads=["c", "d"], columns=2, title="Finding")
    assert texts(figure) == ["a", "b", "c", "d"] and figure.get_suptitle() == "Finding"


def test_channels_differ_by_more_than_colour(rng):
    values = {channel: rng.random(100) for channel in ("red", "green", "blue")}
    figure = show_channels({"before": values, "after": values}, title="Finding")
    for axes, name in zip(figure.axes, ("before", "after"), strict=True):
        assert axes.get_xlabel() == name and axes.get_ylabel()
        assert len({patch.get_linestyle() for patch in axes.patches}) == 3
    assert [text.get_text() for text in figure.legends[0].texts] == ["red", "green", "blue"]


def test_bars_have_their_values_written_on_them():
    figure = show_bars({"first": {"a": 1234.4, "b": 10}, "second": {"a": 5, "b": 6}}, unit="images per second")
    assert texts(figure) == ["1,234", "10", "5", "6"]
    assert [axes.get_title() for axes in figure.axes] == ["first", "second"]
    assert figure.axes[-1].get_xlabel() == "images per second"
    assert len({patch.get_hatch() for patch in figure.axes[0].patches}) == 2


def test_an_epoch_that_lacks_a_figure_is_a_gap_in_its_curve():
    history = History()
    history.add_row(epoch=1, train_loss=2.0, train_acc=0.25)
    history.add_row(epoch=2, train_loss=1.0, val_acc=0.5)
    history.add_row(epoch=3, train_loss=0.5, train_acc=0.75, val_loss=1.5, val_acc=0.75)
    loss, accuracy, _ = show_history(history).axes
    drawn = {line.get_label(): line.get_ydata() for line in accuracy.lines}
    assert np.array_equal(drawn["training"], [25, np.nan, 75], equal_nan=True)
    assert np.array_equal(drawn["validation"], [np.nan, 50, 75], equal_nan=True)
    assert np.array_equal(loss.lines[-1].get_ydata(), [np.nan, np.nan, 1.5], equal_nan=True)


@pytest.mark.parametrize("points", [[], [{"epoch": 0.5, "loss": 2.0, "lr": 0.1}]])
def test_axes_without_a_value_say_so_and_epochs_are_whole_numbers(close_figures, points):
    figure = show_history(types.SimpleNamespace(rows=[], points=points), num_epochs=2)
    figure.canvas.draw()
    for ax in figure.axes:
        assert bool(ax.texts) != ax.has_data() and bool(ax.texts) != bool(len(ax.get_yticks()))
        assert all(float(tick).is_integer() for tick in ax.get_xticks())
    assert [ax.has_data() for ax in figure.axes] == [bool(points), False, bool(points)]


def test_no_marker_of_a_history_is_cut_at_the_edge():
    history = History()
    for epoch in (1, 2):
        figures = {"train_loss": 2.0 / epoch, "train_acc": 0.5, "val_loss": 1.5 / epoch, "val_acc": 0.75}
        history.add_row(epoch=epoch, lr=0.1, seconds=1.0, **figures)
    with plt.rc_context(STYLE):
        figure = show_history(history, num_epochs=2, title="Finding")
        check_whole(figure)
    marked = [line for axes in figure.axes for line in axes.lines if line.get_marker() in ("o", "s")]
    assert len(marked) == 4 and not any(line.get_clip_on() for line in marked)
    assert [text.get_text() for text in figure.legends[0].texts] == ["training", "validation"]
