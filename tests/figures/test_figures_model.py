"""The figures of notebook 02: every number in its place, on a scale that does not mislead."""

import numpy as np
import pytest
from figure_checks import check_whole

from utils.figures.model import show_data_flow, show_gate_spread, show_responses


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


def test_responses_that_are_never_negative_are_grey_from_black_at_zero(image, rng):
    figure = show_responses(image, {"blur": np.ones((3, 3))}, {"blur": rng.random((30, 30))}, title="Finding")
    (drawn,) = figure.axes[1].images
    assert drawn.get_cmap().name == "gray" and drawn.get_clim()[0] == 0
    check_whole(figure)


def test_a_flow_draws_every_stage_from_left_to_right_with_its_shape(image, rng):
    maps = rng.random((16, 8, 8))
    figure = show_data_flow({"image": image, "block": maps, "scores": np.array([0.5, -1.0])}, most=3, title="Finding")
    ax = figure.axes[0]
    shapes = [text for text in texts(ax) if text.startswith("(")]
    assert shapes == ["(3, 32, 32)", "(16, 8, 8)", "(2,)"]
    front = sorted(ax.images, key=lambda drawn: (drawn.get_extent()[0], -drawn.get_zorder()))
    assert len(front) == 1 + 3 and np.array_equal(front[0].get_array(), image.transpose(1, 2, 0))
    assert np.array_equal(front[1].get_array(), maps[0])
    sides = [drawn.get_extent()[1] - drawn.get_extent()[0] for drawn in front[:2]]
    assert sides[0] > sides[1]  # smaller maps are drawn smaller
    lengths = [bar.get_width() for bar in ax.patches[-2:]]
    assert lengths[0] == pytest.approx(-lengths[1] / 2) and lengths[0] > 0
    check_whole(figure)


def test_the_boxes_of_gates_hold_the_middle_half_of_the_images(rng):
    weights = {"block 1": rng.dirichlet(np.ones(4), 200), "block 2": rng.dirichlet(np.ones(2), 200)}
    figure = show_gate_spread({"untrained": weights, "trained": weights}, title="Finding")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["block 1", "block 2"] * 2
    assert [figure.axes[i].get_ylabel().split("\n")[0] for i in (0, 2)] == ["untrained", "trained"]
    for ax, values in zip(figure.axes, [*weights.values()] * 2, strict=True):
        assert len(ax.patches) == values.shape[1]
        for box, column in zip(ax.patches, values.T, strict=True):
            heights = box.get_path().vertices[:, 1]
            assert [heights.min(), heights.max()] == pytest.approx(np.percentile(column, (25, 75)))
        assert ax.lines[-1].get_ydata()[0] == 1 / values.shape[1]  # the equal share
    check_whole(figure)
