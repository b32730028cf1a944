"""The drawings of networks: made from the built network, every word readable and none upon another."""

import itertools

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from utils.models.networks import NETWORKS

from utils.models.blocks import Block, Plan, build
from utils.models.draw import LANES, MIDDLE, draw_block, draw_network, list_parts

BLOCKS = {
    "plain": Block((3, 64)),
    "all parts": Block((16, 32), (1, 3, 5), "none", (64,), ("conv", "relu"), ("conv 1x1", "norm")),
    "stacks": NETWORKS["sigmoid_gated"].blocks[1],
    "many": Block((16, 16), (3,) * 9, shortcut=()),
    "one and nothing after": Block((16, 32), (3,), branch=("conv pad 0",), after=()),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(params=[{}, "notebook"], ids=["matplotlib's style", "the suite's style"])
def style(request):
    from utils.figures.style import STYLE

    with plt.rc_context(STYLE if request.param else {}):
        yield


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts if text.get_text()]


def meta(plan, **options):
    """Build a network without its numbers: drawings need only shapes."""
    with torch.device("meta"):
        return build(plan, **options)


def check_readable(figure):
    """Assert that every text lies in the picture and none touches another."""
    figure.draw_without_rendering()  # places the legend
    renderer = figure.canvas.get_renderer()
    found = [text for ax in figure.axes for text in ax.texts if text.get_text()]
    found += [text for legend in figure.legends for text in legend.get_texts()] + [figure._suptitle]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in found if text and text.get_text()]
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    for (text, box), (other, beside) in itertools.combinations(boxes, 2):
        assert not box.shrunk(0.98, 0.8).overlaps(beside.shrunk(0.98, 0.8)), (text, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_drawn_network_is_readable(name, style):
    figure = draw_network(meta(NETWORKS[name]), name)
    check_readable(figure)
    width, height = figure.get_size_inches()
    assert width <= 11 and height <= 3.5


@pytest.mark.parametrize("name", BLOCKS)
def test_a_drawn_block_is_readable(name, style):
    check_readable(draw_block(BLOCKS[name], name))


def test_a_drawing_shows_channels_sizes_words_and_counts():
    figure = draw_network(meta(NETWORKS["dropout_cnn"]), "Report E")
    assert figure.get_suptitle() == "Report E: 2,075,562 parameters, 162,956,544 multiply-adds an image"
    shown = texts(figure)
    channels = [text for text in shown if text.replace(",", "").isdigit()]
    assert channels == ["3", "32", "32", "64", "64", "64", "128", "128", "128", "128", "6,272", "256", "128", "10"]
    assert [text for text in shown if "x" in text] == ["32x32"] * 5 + ["16x16"] * 4 + ["7x7"]
    assert shown.count("leaky_relu") == 9 and "pool 3" in shown and not figure.legends


def test_a_gated_drawing_has_a_lane_for_each_branch_and_step_and_a_gate():
    plan = Plan([Block((3, 8, 16), (3,) * 4, branch=("conv", "relu")), Block((16, 16), shortcut=())])
    figure = draw_network(meta(plan))
    (ax,) = figure.axes
    polygons = [patch for patch in ax.patches if type(patch).__name__ == "Polygon"]
    assert len(polygons) == 1 + 4 * 2 + 3 + 2  # the image, two blocks, mean and linear
    assert texts(figure).count("a") == 2 and "8 \N{RIGHTWARDS ARROW} 16" in texts(figure)
    assert sum(type(patch).__name__ == "PathPatch" for patch in ax.patches) == 1  # the shortcut
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == [
        "branches: 4 of (conv, relu) in 2 steps, kernels 3x3 (block 1)",
        "branches: 3 of (conv), kernels 3x3 (block 2)",
        "gate: mean, linear 4, softmax (block 1)",
        "gate: mean, linear 3, softmax (block 2)",
        "shortcut: X itself (block 2)",
    ]


def test_the_lanes_of_a_block_lie_side_by_side_about_the_middle_and_fill_its_height():
    figure = draw_network(meta(Plan([Block((3, 8), (3,) * 4, after=())])))
    image, *lanes = [patch.get_xy() for patch in figure.axes[0].patches if type(patch).__name__ == "Polygon"][:5]
    for low, high in itertools.pairwise(lanes):
        assert low[3][1] == pytest.approx(high[0][1]) and low[2][1] == pytest.approx(high[1][1])
    bottom, top = lanes[0][0][1], lanes[-1][3][1]
    assert (bottom + top) / 2 == pytest.approx(MIDDLE) and top - bottom == pytest.approx(image[3][1] - image[0][1])


def test_a_legend_tells_which_blocks_are_alike_and_names_none_where_all_are():
    alike, other = Block((8, 8), (3, 3)), Block((8, 8), (3, 3), "none")
    figure = draw_network(meta(Plan([alike, other, alike]), in_channels=8))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "branches: 2 of (conv), kernels 3x3",
        "gate: mean, linear 2, softmax (blocks 1, 3)",
        "gate: mean, linear 2 (block 2)",
    ]
    assert figure.get_suptitle() == "3,696 parameters, 3,539,072 multiply-adds an image"  # and no title


def test_boxes_are_as_high_as_their_maps_and_tell_kinds_by_hatch():
    figure = draw_network(meta(Plan(layers=("conv 4", "pool 2", "conv 4", "mean", "linear 10"))))
    image, first, pool, second, mean, linear = figure.axes[0].patches
    heights = [[abs(p.get_xy()[i][1] - p.get_xy()[3 - i][1]) for i in (0, 1)] for p in (first, pool, second, mean)]
    assert heights[0][0] == heights[0][1] == heights[1][0] > heights[1][1] == heights[2][0] == heights[3][0]
    assert len({patch.get_hatch() for patch in (first, pool, linear)}) == 3


def test_layers_that_keep_the_shape_join_the_box_before_them():
    parts = list_parts(meta(Plan(layers=("conv 4", "relu", "norm", "conv 4", "pool 2", "dropout 0.1", "mean"))))
    assert [part.words for part in parts] == [
        ["image"],
        ["conv 4", "relu", "norm"],
        ["conv 4"],
        ["pool 2", "dropout 0.1"],
        ["mean"],
    ]


def test_a_linear_layer_has_a_box_of_its_own_even_where_it_keeps_the_length():
    parts = list_parts(meta(Plan(layers=("mean", "linear 3", "relu", "linear 3"))))
    assert [part.words for part in parts] == [["image"], ["mean"], ["linear 3", "relu"], ["linear 3"]]


def test_a_longer_vector_is_a_higher_bar_from_end_to_end():
    figure = draw_network(meta(Plan(layers=("mean", "linear 512", "linear 10"))))
    long, short = (patch.get_xy() for patch in figure.axes[0].patches[-2:])
    high, low = (bar[3][1] - bar[0][1] for bar in (long, short))
    assert high > low and all(bar[2][1] - bar[1][1] == pytest.approx(bar[3][1] - bar[0][1]) for bar in (long, short))


def test_a_network_of_torchs_own_and_of_another_size_can_be_drawn():
    figure = draw_network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)), size=8)
    assert {"8x8", "6x6", "Conv2d", "ReLU", "144"} <= set(texts(figure))
    figure = draw_network(meta(Plan(layers=("conv 4", "flatten", "linear 2")), size=6, in_channels=1))
    assert {"6x6", "1", "144"} <= set(texts(figure))


def test_a_drawn_block_names_its_parts_and_one_weight_a_branch():
    shown = [
        " ".join(text.split()) for text in texts(draw_block(build(Plan([BLOCKS["all parts"]]), in_channels=16).block1))
    ]
    assert {f"$a_{{{j}}}$" for j in (1, 2, 3)} <= set(shown)
    assert [text for text in shown if text.startswith("conv")] == [f"conv 32 {n}x{n}, relu" for n in (1, 3, 5)]
    assert "gate: mean, linear 64, relu, linear 3" in shown and "shortcut: conv 1x1, norm" in shown
    assert {"X 16", "O 32", "norm leaky_relu"} <= set(shown)


def test_many_branches_are_shortened_to_dots():
    shown = texts(draw_block(BLOCKS["many"]))
    assert len(BLOCKS["many"].kernels) > LANES and ". . ." in shown
    assert [text for text in shown if text.startswith("$a")] == ["$a_{1}$", "$a_{2}$", "$a_{9}$"]


def test_as_many_branches_as_there_are_lanes_are_all_shown():
    shown = texts(draw_block(Block((16, 16), (3,) * LANES)))
    assert ". . ." not in shown and sum(text.startswith("$a") for text in shown) == LANES == 6


def test_a_drawn_branch_tells_each_steps_width_and_keeps_a_size_that_is_said():
    shown = [" ".join(text.split()) for text in texts(draw_block(Block((3, 8, 16), (5,), branch=("conv", "conv 1x1"))))]
    assert [text for text in shown if text.startswith("conv")] == ["conv 8 5x5, conv 1x1", "conv 16 5x5, conv 1x1"]


def test_where_nothing_follows_no_box_is_drawn():
    (ax,) = draw_block(BLOCKS["one and nothing after"]).axes
    boxes = [patch for patch in ax.patches if type(patch).__name__ == "FancyBboxPatch"]
    assert len(boxes) == 4  # X, the gate, the branch, O
