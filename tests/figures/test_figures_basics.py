"""The figures: every picture in its place, unchanged, with its words beside it."""

import types

import numpy as np
import pytest
import torch
from figure_checks import check_whole

from utils.figures.basics import GAP, show_channels, show_grid, show_history, show_pixels
from utils.training.history import History


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("count, columns", [(6, 3), (7, 3), (1, 10), (10, 10)])
@pytest.mark.parametrize("captions", [False, True])
def test_a_grid_holds_every_picture_unchanged_and_in_order(rng, count, columns, captions):
    images = torch.from_numpy(rng.integers(0, 200, (count, 3, 32, 32), dtype=np.uint8))
    names = [f"picture {i}" for i in range(count)]
    figure = show_grid(images, names if captions else None, columns=columns)
    (sheet,) = (np.asarray(image.get_array()) for image in figure.axes[0].images)
    over = 12 if captions else 0
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = (i // columns) * (32 + over + GAP) + over, (i % columns) * (32 + GAP)
        assert np.array_equal(sheet[top : top + 32, left : left + 32], image)
    assert texts(figure) == (names if captions else [])
    assert (sheet < 200).sum() <= count * 3072  # all else is white


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_captions_of_several_lines_touch_no_image_above_them(lines):
    captions = ["\n".join(["caption"] * lines)] * 4
    figure = show_grid(np.zeros((4, 3, 32, 32), np.uint8), captions, columns=2, size=1.35)
    figure.canvas.draw()
    (ax,) = figure.axes
    first_image = np.flatnonzero(np.asarray(ax.images[0].get_array()).min((1, 2)) == 0)[:32]
    for text in ax.texts[2:]:  # the captions of the second row
        edges = ax.transData.inverted().transform(text.get_window_extent())[:, 1]
        assert min(edges) > first_image[-1] + 0.5


def test_a_grid_names_its_rows_columns_and_finding():
    figure = show_grid(np.zeros((4, 3, 8, 8), np.uint8), rows=["a", "b"], heads=["c", "d"], columns=2, title="Finding")
    assert texts(figure) == ["a", "b", "c", "d"] and figure.get_suptitle() == "Finding"


def test_pixels_are_written_as_numbers_at_their_place(rng):
    image = torch.from_numpy(rng.integers(0, 256, (3, 8, 8), dtype=np.uint8))
    figure = show_pixels(image, top=2, left=3, size=2, title="Finding")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["image", "red", "green", "blue"]
    for axes, channel in zip(figure.axes[1:], image, strict=True):
        shown = {text.get_position(): int(text.get_text()) for text in axes.texts}
        assert shown == {(j, i): int(channel[i, j]) for i in (2, 3) for j in (3, 4)}


def test_channels_are_shown_over_both_scales(rng):
    images = torch.from_numpy(rng.integers(0, 256, (5, 3, 8, 8), dtype=np.uint8))
    figure = show_channels(images, (0.5, 0.4, 0.2), (0.25, 0.25, 0.1), title="Finding")
    for i, axes in enumerate(figure.axes[:3]):
        heights = [bar.get_height() for bar in axes.patches[:256]]
        assert np.allclose(heights, 100 * np.bincount(images[:, i].flatten(), minlength=256) / 320)
    (above,) = figure.axes[2].child_axes
    to_standardised, to_pixel = above._functions
    assert to_standardised(255 * 0.3) == pytest.approx(1) and to_pixel(-2.0) == pytest.approx(0)


def test_an_epoch_that_lacks_a_figure_is_a_gap_in_its_curve():
    history = History()
    history.add_row(epoch=1, train_loss=2.0, train_acc=0.25)
    history.add_row(epoch=2, train_loss=1.0, val_acc=0.5)
    history.add_row(epoch=3, train_loss=0.5, train_acc=0.75, val_loss=1.5, val_acc=0.75)
    loss, accuracy = show_history(history).axes
    drawn = {line.get_label(): line.get_ydata() for line in accuracy.lines}
    assert np.array_equal(drawn["training"], [25, np.nan, 75], equal_nan=True)
    assert np.array_equal(drawn["validation"], [np.nan, 50, 75], equal_nan=True)
    assert np.array_equal(loss.lines[-1].get_ydata(), [np.nan, np.nan, 1.5], equal_nan=True)


@pytest.mark.parametrize("points", [[], [{"epoch": 0.5, "loss": 2.0, "lr": 0.1}]])
def test_axes_without_a_value_say_so_and_epochs_are_whole_numbers(points):
    figure = show_history(types.SimpleNamespace(rows=[], points=points), num_epochs=2)
    figure.canvas.draw()
    for ax in figure.axes:
        assert bool(ax.texts) != ax.has_data() and bool(ax.texts) != bool(len(ax.get_yticks()))
        assert all(float(tick).is_integer() for tick in ax.get_xticks())
    assert [ax.has_data() for ax in figure.axes] == [bool(points), False]


def test_all_panels_of_a_history_have_the_same_ticks_and_the_grey_line_is_in_the_legend():
    history = History(1)
    for epoch in range(1, 6):
        history.add_point(epoch, (epoch, 0, epoch), 0.1 / epoch)
        history.add_row(epoch=epoch, train_loss=1.0, train_acc=0.5)
    figure = show_history(history)
    assert [list(ax.get_xticks()) for ax in figure.axes] == [[0, 1, 2, 3, 4, 5]] * 3
    grey = figure.axes[0].lines[0]
    assert [text.get_text() for text in figure.legends[0].texts] == [grey.get_label(), "training"]


def test_only_the_images_that_are_framed_have_a_frame():
    images = np.zeros((4, 3, 5, 5), np.uint8)
    ax = show_grid(images, columns=2, framed=(False, False, True, False)).axes[0]
    (frame,) = ax.patches
    assert frame.get_xy() == (-0.5, 5 + GAP - 0.5) and frame.get_width() == frame.get_height() == 5


@pytest.mark.parametrize(("rates", "panels"), [([0.1, 0.1], 2), ([5e-5, 1e-5], 3)])
def test_only_a_learning_rate_that_changes_has_a_panel(rates, panels):
    points = [{"epoch": i, "loss": 2.0, "lr": rate} for i, rate in enumerate(rates)]
    figure = show_history(types.SimpleNamespace(rows=[], points=points), num_epochs=2)
    figure.canvas.draw()
    assert len(figure.axes) == panels
    assert not any(ax.yaxis.get_offset_text().get_text() for ax in figure.axes)  # it would touch the panel's title


@pytest.mark.parametrize("shares", [(0.5, 0.51), (0.98, 1.0), (0.0, 0.01), (0.2, 0.9)])
def test_an_axis_of_accuracies_never_magnifies_a_small_difference(shares):
    history = History()
    for epoch, share in enumerate(shares, 1):
        history.add_row(epoch=epoch, train_acc=share)
    low, high = show_history(history).axes[1].get_ylim()
    assert high - low >= 9.999 and low <= 100 * shares[0] and 100 * shares[1] <= high


def test_no_marker_of_a_history_is_cut_at_the_edge():
    history = History()
    for epoch in (1, 2):
        figures = {"train_loss": 2.0 / epoch, "train_acc": 0.5, "val_loss": 1.5 / epoch, "val_acc": 0.75}
        history.add_row(epoch=epoch, lr=0.1, seconds=1.0, **figures)
    figure = show_history(history, num_epochs=2, title="Finding")
    check_whole(figure)
    marked = [line for axes in figure.axes for line in axes.lines if line.get_marker() in ("o", "s")]
    assert len(marked) == 4 and not any(line.get_clip_on() for line in marked)
    assert [text.get_text() for text in figure.legends[0].texts] == ["training", "validation"]
