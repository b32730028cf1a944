"""The figures of notebook 02: every number in its place, on a scale that does not mislead."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figure_checks import check_whole
from matplotlib.colors import to_hex

from utils.figures.model import show_features, show_forms, show_gates, show_responses
from utils.figures.style import STYLE


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context(STYLE):
        yield
    plt.close("all")


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_responses_share_one_scale_with_zero_in_its_middle(image, rng):
    kernels = {"small": np.eye(3), "large": -2.5 * np.eye(3)}
    responses = {"small": rng.random((30, 30)), "large": -7 * np.ones((30, 30))}
    figure = show_responses(image, kernels, responses, title="Finding")
    first, *panels = figure.axes[:3]
    assert np.array_equal(np.asarray(first.images[0].get_array()), image.transpose(1, 2, 0))
    for ax, (name, response) in zip(panels, responses.items(), strict=True):
        (drawn,) = ax.images
        assert np.array_equal(np.asarray(drawn.get_array()), response) and drawn.get_clim() == (-7, 7)
        assert ax.get_title(loc="left") + ax.get_title() == name
        assert [float(number) for number in ax.get_xlabel().split()] == kernels[name].flatten().tolist()
    check_whole(figure)


@pytest.mark.parametrize("blocks", [1, 3])
def test_features_show_a_blocks_first_channels_and_say_how_many_there_are(image, rng, blocks):
    maps = {f"block{n}": rng.random((16 * n, 8, 12)) for n in range(1, blocks + 1)}
    figure = show_features(image, maps, columns=4, title="Finding")
    grid = np.array(figure.axes).reshape(blocks, 5)
    for row, (name, of_block) in zip(grid, maps.items(), strict=True):
        drawn = [np.asarray(ax.images[0].get_array()) for ax in row[1:]]
        assert np.array_equal(drawn, of_block[:4])
        assert texts(row[1]) == [f"{name}\n{len(of_block)} of 8x12"]
    assert [len(ax.images) for ax in grid[:, 0]] == [1] + [0] * (blocks - 1)
    check_whole(figure)


def test_a_block_with_fewer_channels_than_columns_leaves_the_others_empty(image, rng):
    figure = show_features(image, {"block1": rng.random((2, 8, 8))}, columns=5)
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 0, 0, 0]


def test_gates_write_every_weight_and_colour_it_by_its_difference_from_an_equal_share(rng):
    tables = {"block1": rng.dirichlet(np.ones(4), 3), "block2": rng.dirichlet(np.ones(2), 3)}
    figure = show_gates(tables, ["cat", "dog", "frog"], title="Finding")
    largest = max(abs(tables["block1"] - 0.25).max(), abs(tables["block2"] - 0.5).max())
    for ax, (name, table) in zip(figure.axes, tables.items(), strict=False):
        written = {text.get_position()[::-1]: text.get_text() for text in ax.texts}
        assert written == {place: f"{value:.2f}" for place, value in np.ndenumerate(table)}
        (drawn,) = ax.images
        assert np.allclose(drawn.get_array(), table - 1 / table.shape[1])
        assert drawn.get_clim() == pytest.approx((-largest, largest))
        assert [label.get_text() for label in ax.get_xticklabels()] == [
            f"$a_{{{j}}}$" for j in range(1, 1 + table.shape[1])
        ]
        assert ax.get_title() + ax.get_title(loc="left") == name
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["cat", "dog", "frog"]
    check_whole(figure)


def test_gates_name_the_branches_they_weigh_where_those_are_told(rng):
    words = {"block1": ["3x3", "1x1"]}
    figure = show_gates({"block1": rng.dirichlet(np.ones(2), 3)}, ["a", "b", "c"], branches=words, title="Finding")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["$a_{1}$\n3x3", "$a_{2}$\n1x1"]
    check_whole(figure)


def test_weights_on_a_dark_ground_are_written_in_white():
    figure = show_gates({"block1": np.array([[0.5, 0.5], [0.9, 0.1]])}, ["cat", "dog"])
    assert [to_hex(text.get_color()) for text in figure.axes[0].texts] == ["#000000"] * 2 + ["#ffffff"] * 2


def test_forms_mark_the_chosen_one_by_name_colour_and_hatch():
    panels = {"large": {"loop": 1234.5, "stacked": 20.0}, "small": {"loop": 0.5, "stacked": 2.0}}
    figure = show_forms(panels, {"large": "stacked", "small": "loop"}, title="Finding")
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in figure.axes]
    assert names == [["loop", "stacked (auto)"], ["loop (auto)", "stacked"]]
    for ax, taken, values in zip(figure.axes, (1, 0), ((1234.5, 20.0), (0.5, 2.0)), strict=True):
        assert [bar.get_width() for bar in ax.patches] == list(values)
        looks = [(to_hex(bar.get_facecolor()), bar.get_hatch() or "") for bar in ax.patches]
        assert looks[taken] == ("#0072b2", "") and looks[1 - taken] == ("#bbbbbb", "//")
        assert "ms" in ax.get_xlabel()
    assert texts(figure.axes[1]) == ["0.5", "2"]
    check_whole(figure)


def test_a_class_without_images_has_an_empty_row_of_gates():
    tables = {"block1": [[0.25, 0.75], [None, None], [0.5, 0.5]], "block2": np.array([[1.0], [np.nan], [1.0]])}
    first, second, _ = show_gates(tables, ["cat", "dog", "frog"]).axes
    assert texts(first) == ["0.25", "0.75", "0.50", "0.50"] and texts(second) == ["1.00", "1.00"]
    assert first.images[0].get_clim() == pytest.approx((-0.25, 0.25))
