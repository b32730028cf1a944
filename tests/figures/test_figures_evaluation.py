"""The figures of notebook 05: every number in its place, nothing cut off, whatever the record holds."""

import numpy as np
import pytest
from figure_checks import check_whole
from matplotlib.colors import to_hex

from utils.figures.evaluation import (
    GREY,
    show_answer,
    show_class_gates,
    show_confusion,
    show_drops,
    show_embedding,
    show_estimates,
    show_maps,
    show_per_class,
    show_robustness,
)

CLASSES = ("airplane", "automobile", "bird", "cat")
PER_CLASS = {"precision": [0.9, 0.5, 0.0, 0.7], "recall": [0.8, 0.6, 0.0, 0.75], "f1": [0.85, 0.55, 0.0, 0.72]}
RECORD = {
    "images": 100,
    "shift": {"strengths": [0, 1, 2], "accuracy": [0.8, 0.7, 0.6]},
    "noise": {"strengths": [0, 4, 8], "accuracy": [0.8, 0.5, 0.4]},
    "jpeg": {"strengths": [None, 90, 10], "accuracy": [0.8, 0.75, 0.3]},
}


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


@pytest.mark.parametrize("confusion", [np.arange(16).reshape(4, 4), np.diag([3, 4, 5, 1000]), np.zeros((4, 4), int)])
def test_a_confusion_has_each_count_in_its_cell_and_colours_mistakes_only(confusion):
    figure = show_confusion(confusion.tolist(), CLASSES, title="Finding")
    (ax,) = figure.axes
    said = {tuple(map(round, text.get_position())): text.get_text() for text in ax.texts}
    for (i, j), count in np.ndenumerate(confusion):
        assert said[j, i] == (f"{count:,}" if count else "·")
    drawn = np.asarray(ax.images[0].get_array())
    assert np.array_equal(drawn, confusion * (1 - np.eye(4)))
    frames = [
        (round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in ax.patches if to_hex(p.get_fc()) == GREY.lower()
    ]
    assert frames == [(i, i) for i in range(4)]
    assert labels(ax.xaxis) == labels(ax.yaxis) == list(CLASSES)
    check_whole(figure)


def test_classes_stand_with_the_best_first_and_their_own_numbers():
    figure = show_per_class(PER_CLASS, CLASSES, title="Finding")
    (ax,) = figure.axes
    assert labels(ax.yaxis) == ["airplane", "cat", "automobile", "bird"] and ax.yaxis_inverted()
    _, recall, precision, f1 = ax.collections
    assert recall.get_offsets()[:, 0].tolist() == pytest.approx([80, 75, 60, 0])
    assert precision.get_offsets()[:, 0].tolist() == pytest.approx([90, 70, 50, 0])
    assert f1.get_offsets()[:, 0].tolist() == pytest.approx([85, 72, 55, 0])
    assert (
        ax.get_xlim()[0] <= 0 and len({tuple(marker.get_paths()[0].vertices.ravel()) for marker in (recall, f1)}) == 2
    )
    check_whole(figure)


def test_the_mean_of_each_branch_is_subtracted_from_the_gates_weights():
    table = np.array([[0.6, 0.4], [0.2, 0.8], [0.4, 0.6]])
    figure = show_class_gates({"block1": table, "block2": table}, ["a", "b", "c"], ["3x3", "1x1"], title="Finding")
    ax = figure.axes[1]
    assert np.asarray(ax.images[0].get_array()) == pytest.approx(np.array([[20, -20], [-20, 20], [0, 0]]))
    assert [text.get_text() for text in ax.texts][:4] == ["+20", "\N{MINUS SIGN}20", "\N{MINUS SIGN}20", "+20"]
    check_whole(figure)


def test_blocks_may_have_different_numbers_of_branches_and_a_class_without_images_an_empty_row():
    tables = {"block1": [[0.25, 0.75], [None, None], [0.75, 0.25]], "block2": np.array([[1.0], [np.nan], [1.0]])}
    first, second, _ = show_class_gates(tables, ["cat", "dog", "frog"], title="Finding").axes
    written = {text.get_position()[::-1]: text.get_text() for text in first.texts}
    low, high = "\N{MINUS SIGN}25", "+25"
    assert written == {(0, 0): low, (0, 1): high, (2, 0): high, (2, 1): low}
    assert {to_hex(text.get_color()) for text in first.texts} == {"#ffffff"}  # on the darkest ground
    assert [text.get_text() for text in second.texts] == ["0", "0"] and labels(second.xaxis) == ["$a_{1}$"]
    assert first.images[0].get_clim() == pytest.approx((-25, 25))


def test_an_embedding_names_each_class_at_its_mean():
    points, y = np.array([[0.0, 0.0], [2.0, 4.0], [8.0, 1.0]]), np.array([0, 0, 2])
    _, ax = show_embedding({"first": points, "second": points}, y, CLASSES, title="Finding").axes
    names = {text.get_text(): text.get_position() for text in ax.texts}
    assert names == {"airplane": (1, 2), "bird": (8, 1)}


def test_the_names_of_two_classes_in_one_place_do_not_overlap():
    points, y = np.array([[1.0, 1.0], [1.0, 1.1], [9.0, 9.0]]), np.array([0, 1, 2])
    (ax,) = show_embedding({"one": points}, y, CLASSES, title="Finding").axes
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert heights["automobile"] == 1.1 and heights["automobile"] - heights["airplane"] > 0.3


def test_intervals_are_as_long_as_they_say():
    figure = show_estimates({"one": (2.0, 0.5), "two": (-1.0, 3.0)}, unit="points", title="Finding")
    (ax,) = figure.axes
    lengths = [np.ptp(lines.get_segments()[0][:, 0]) for lines in ax.collections]
    assert lengths == pytest.approx([1, 6]) and labels(ax.yaxis) == ["one", "two"]
    check_whole(figure)


def test_drops_have_a_panel_for_each_change_and_hang_below_the_base():
    figure = show_drops({"noise": {4: (2.0, 0.5), 8: (7.0, 1.0)}, "JPEG": {75: (1.0, 2.0)}}, 90.0, title="Finding")
    noise, jpeg = figure.axes
    assert labels(noise.xaxis) == ["4", "8"] and labels(jpeg.xaxis) == ["75"]
    assert list(noise.lines[0].get_ydata()) == [88, 83] and list(noise.lines[-1].get_ydata()) == [90, 90]
    check_whole(figure)


@pytest.mark.parametrize("count", [1, 4])
def test_maps_stand_below_their_image_under_their_captions(count, rng):
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    maps = rng.random((2, count, 32, 32))
    captions = [[f"predicted: cat {i}" for i in range(count)], [f"label: dog {i}" for i in range(count)]]
    figure = show_maps(images, maps, captions, title="Finding")
    used = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title(loc="left") for ax in used] == [""] * count + captions[0] + captions[1]
    drawn = [np.asarray(ax.images[0].get_array()) for ax in used]
    assert np.array_equal(drawn[0], images[0].transpose(1, 2, 0))
    assert np.array_equal(drawn[count], maps[0, 0]) and np.array_equal(drawn[-1], maps[1, -1])
    check_whole(figure)


def test_robustness_has_a_panel_for_each_change():
    figure = show_robustness(RECORD, title="Finding")
    assert [labels(ax.xaxis) for ax in figure.axes] == [["none", "1", "2"], ["none", "4", "8"], ["none", "90", "10"]]
    assert list(figure.axes[2].lines[0].get_ydata()) == pytest.approx([80, 75, 30])
    check_whole(figure)


def test_an_answer_shows_the_picture_and_the_likeliest_classes(rng):
    picture = rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    answer = {"cat": 0.7, "dog": 0.2, "automobile": 0.06, "ship": 0.04}
    figure = show_answer(picture, answer, most=3, title="Finding")
    left, ax = figure.axes
    assert np.array_equal(np.asarray(left.images[0].get_array()), picture.transpose(1, 2, 0))
    assert labels(ax.yaxis) == ["cat", "dog", "automobile"] and widths(ax) == pytest.approx([70, 20, 6])
    check_whole(figure)


@pytest.mark.parametrize("count", [3, 20])
def test_any_number_of_classes_fits_into_its_figures(count):
    names = [f"class number {i}" for i in range(count)]
    confusion = np.arange(count * count).reshape(count, count)
    figure = show_confusion(confusion, names, title="Finding")
    assert labels(figure.axes[0].xaxis) == names and len(figure.axes[0].texts) == count**2
    check_whole(figure)
    figure = show_per_class({name: np.linspace(1, 0, count) for name in PER_CLASS}, names, title="Finding")
    assert labels(figure.axes[0].yaxis) == names
    check_whole(figure)
