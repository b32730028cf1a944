"""The figure of learning curves side by side: every value in its place, and the marked epochs shaded."""

import numpy as np
import pytest
from figure_checks import check_whole

from utils.figures.curves import show_learning_curves

CURVES = {"training": [2.0, 1.0, 0.5], "validation": [2.0, 1.5, 1.75]}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_panel_has_its_curves_at_the_epochs_from_one(count):
    panels = {
        f"panel {i}": {name: [i + value for value in values] for name, values in CURVES.items()} for i in range(count)
    }
    figure = show_learning_curves(panels, columns=3, ylabel="loss", title="Finding")
    check_whole(figure)
    for i in range(count):
        ax = figure.axes[i]
        assert ax.get_title(loc="left") == f"panel {i}"
        for line, values in zip(ax.lines, CURVES.values(), strict=True):
            assert np.array_equal(line.get_xdata(), [1, 2, 3])
            assert np.allclose(line.get_ydata(), np.add(values, i))
    assert [text.get_text() for text in figure.legends[0].texts] == ["training", "validation"]


@pytest.mark.parametrize("count", [0, 2])
def test_the_marked_epochs_are_shaded_and_named(count):
    ax = show_learning_curves({"": CURVES}, ylabel="loss", marked=(count, "small images")).axes[0]
    assert [text.get_text() for text in ax.texts] == ["small images"] * bool(count)
    assert [patch.get_extents().transformed(ax.transData.inverted()).x1 for patch in ax.patches] == [
        count + 0.5
    ] * bool(count)


def test_a_line_marks_the_epoch_in_its_own_panel_only():
    figure = show_learning_curves({"one": CURVES, "two": CURVES}, ylabel="loss", epochs={"two": 3})
    added = [[line for line in ax.lines if line.get_label() == "lowest validation loss"] for ax in figure.axes]
    assert [[list(line.get_xdata()) for line in lines] for lines in added] == [[], [[3, 3]]]
    assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in figure.axes)
    assert [text.get_text() for text in figure.legends[0].texts] == [*CURVES, "lowest validation loss"]


def test_a_training_without_a_complete_epoch_leaves_an_empty_panel():
    ax = show_learning_curves({"": {"training": [], "validation": []}}).axes[0]
    assert all(len(line.get_xdata()) == 0 for line in ax.lines)
