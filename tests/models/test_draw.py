"""The drawings of networks: every text is readable and none lies upon another, whoever wrote the network."""

import itertools

import matplotlib.pyplot as plt
import pytest
import torch
import torchvision
from networks import small_gated
from networks_by_hand import Gated, NetByHand, Wrapper
from torch import nn

from utils.errors import CourseworkError
from utils.figures.style import STYLE
from utils.models import NETWORKS, REPORTED_NETWORKS, TABLE_NETWORKS, GatedBlock, make_gate, summarise
from utils.models.blocks import conv
from utils.models.draw import FLOOR, MIDDLE, draw_block, draw_network, draw_networks, list_boxes

pytestmark = pytest.mark.usefixtures("close_figures")
DRAWN = {name: make for name, make in NETWORKS.items() if name not in TABLE_NETWORKS}
DRAWN["resnet18"] = torchvision.models.resnet18


def on_meta(make, *args):
    """Make a network without its numbers: drawings need only shapes."""
    with torch.device("meta"):
        return make(*args)


def texts(figure):
    return [" ".join(text.get_text().split()) for ax in figure.axes for text in ax.texts if text.get_text()]


def patches(figure, kind):
    return [patch for ax in figure.axes for patch in ax.patches if type(patch).__name__ == kind]


def check_readable(figure):
    """Assert that every text lies in the picture and that no two overlap."""
    figure.draw_without_rendering()  # places the legend
    renderer = figure.canvas.get_renderer()
    everything = [text for ax in figure.axes for text in ax.texts]
    everything += [text for legend in figure.legends for text in legend.get_texts()] + [figure._suptitle]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in everything if text and text.get_text()]
    assert len(boxes) > 5
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    for (text, box), (other, beside) in itertools.combinations(boxes, 2):
        assert not box.shrunk(0.98, 0.8).overlaps(beside.shrunk(0.98, 0.8)), (text, other)


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_network_is_readable_and_is_the_one_in_its_summary(name):
    summary = summarise(on_meta(DRAWN[name]))
    for style in ({}, STYLE):
        with plt.rc_context(style):
            figure = draw_network(summary, name)
            check_readable(figure)
            assert figure.get_figwidth() <= 11
    with plt.rc_context(STYLE):
        again = draw_network(on_meta(DRAWN[name]), name)
    assert texts(again) == texts(figure) and again.get_suptitle() == figure.get_suptitle()
    assert [p.get_xy().tolist() for p in patches(again, "Polygon")] == [
        p.get_xy().tolist() for p in patches(figure, "Polygon")
    ]


@pytest.mark.parametrize("make", [lambda: NetByHand(1, 3), lambda: Wrapper(NetByHand()), small_gated])
def test_any_network_can_be_drawn(make):
    net = on_meta(make)
    figure = draw_network(net)
    check_readable(figure)
    assert figure.get_suptitle() == "{parameters:,} parameters, {macs:,} multiply-adds per image".format(
        **summarise(net)
    )


def test_networks_below_one_another_are_readable_and_in_order():
    networks = {name: on_meta(make) for name, make in REPORTED_NETWORKS.items()}
    for style in ({}, STYLE):
        with plt.rc_context(style):
            figure = draw_networks(networks, "The five networks")
            check_readable(figure)
    assert [texts_of[-2] for texts_of in ([text.get_text() for text in ax.texts] for ax in figure.axes)] == [*networks]
    gates = [sum(text.get_text() == "a" for text in ax.texts) for ax in figure.axes]
    assert gates == [10, 11, 0, 2, 0]
    assert "2.1 M parameters 163 M multiply-adds" in texts(figure)


def test_the_legend_of_several_networks_lists_only_what_they_have():
    names = ("sigmoid_gated", "dropout_cnn")
    legends = [draw_networks({name: on_meta(REPORTED_NETWORKS[name])}).legends[0].texts for name in names]
    assert [[text.get_text() for text in named] for named in legends] == [
        ["convolution", "vector", "gate"],
        ["convolution", "pooling", "vector"],
    ]


def test_an_image_of_another_size_can_be_given():
    figure = draw_network(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten()), image=torch.zeros(1, 2, 8, 6))
    assert {"8x6", "6x4", "2", "96"} <= set(texts(figure))


def test_a_drawing_shows_channels_sizes_layers_and_counts():
    figure = draw_network(on_meta(NETWORKS["dropout_cnn"]), "Report E")
    assert figure.get_suptitle() == "Report E: 2,075,562 parameters, 162,956,544 multiply-adds per image"
    shown = texts(figure)
    channels = [text for text in shown if text.replace(",", "").isdigit()]
    assert channels == ["3", "32", "32", "64", "64", "64", "128", "128", "128", "128", "6,272", "256", "128", "10"]
    sizes = [text.get_text() for text in figure.axes[0].texts if text.get_position()[1] == FLOOR]
    assert sizes == ["32x32"] * 5 + ["16x16"] * 4 + ["7x7"]
    assert shown.count("LeakyReLU") == 9 and not figure.legends


def test_a_gated_block_has_a_lane_for_each_branch_and_step_and_a_gate():
    stacks = [nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 16), nn.ReLU()) for _ in range(4)]
    blocks = [GatedBlock(3, 16, branches=stacks), GatedBlock(16, 16, shortcut=nn.Identity())]
    figure = draw_network(nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)))
    assert len(patches(figure, "Polygon")) == 1 + 4 * 2 + 3 + 2  # the image, two blocks, mean and linear
    assert texts(figure).count("a") == 2 and "8 \N{RIGHTWARDS ARROW} 16" in texts(figure)
    assert len(patches(figure, "PathPatch")) == 1  # the shortcut
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "branches: 4 of (2 times (conv 3x3, ReLU)) (block 1)",
        "branches: 3 of (conv 3x3) (block 2)",
        "gate: mean over the map, linear 4, softmax (block 1)",
        "gate: mean over the map, linear 3, softmax (block 2)",
        "shortcut: X itself (block 2)",
    ]


def test_the_lanes_of_a_block_lie_side_by_side_about_the_middle_and_fill_its_height():
    figure = draw_network(nn.Sequential(GatedBlock(3, 8, (3,) * 4), nn.ReLU()))
    image, *lanes = [polygon.get_xy() for polygon in patches(figure, "Polygon")]
    assert len(lanes) == 4
    for low, high in itertools.pairwise(lanes):
        assert low[3][1] == pytest.approx(high[0][1]) and low[2][1] == pytest.approx(high[1][1])
    bottom, top = lanes[0][0][1], lanes[-1][3][1]
    assert (bottom + top) / 2 == pytest.approx(MIDDLE) and top - bottom == pytest.approx(image[3][1] - image[0][1])


def test_a_legend_names_blocks_only_where_they_differ():
    gates = [make_gate(8, 2), make_gate(8, 2, nn.Sigmoid()), make_gate(8, 2)]
    figure = draw_network(nn.Sequential(*(GatedBlock(8, 8, (3, 3), gate=gate) for gate in gates)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "branches: 2 of (conv 3x3)",
        "gate: mean over the map, linear 2, softmax (blocks 1, 3)",
        "gate: mean over the map, linear 2, sigmoid (block 2)",
    ]


def test_boxes_are_as_high_as_their_maps_and_tell_kinds_by_hatch():
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 512), nn.Linear(512, 10)]
    figure = draw_network(nn.Sequential(conv(3, 4), nn.MaxPool2d(2), conv(4, 4), *head))
    _, first, pool, second, mean, long, short = patches(figure, "Polygon")
    sides = [[abs(p.get_xy()[i][1] - p.get_xy()[3 - i][1]) for i in (0, 1)] for p in (first, pool, second, mean)]
    assert sides[0][0] == sides[0][1] == sides[1][0] > sides[1][1] == sides[2][0] == sides[3][0]
    assert len({patch.get_hatch() for patch in (first, pool, long)}) == 3
    high, low = (bar.get_xy()[3][1] - bar.get_xy()[0][1] for bar in (long, short))
    assert high > low and long.get_xy()[2][1] - long.get_xy()[1][1] == pytest.approx(high)


def boxes_of(*layers):
    return [box.texts for box in list_boxes(summarise(nn.Sequential(*layers)))]


def test_layers_without_weights_that_keep_the_shape_join_the_box_before_them():
    assert boxes_of(conv(3, 4), nn.ReLU(), nn.BatchNorm2d(4), conv(4, 4), nn.MaxPool2d(2), nn.Dropout(0.1)) == [
        ["image"],
        ["conv 3x3", "ReLU", "batch norm"],
        ["conv 3x3"],
        ["max-pool 2x2", "dropout 0.1"],
    ]
    linears = boxes_of(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    assert linears == [["image"], ["mean over the map"], ["linear 3", "ReLU"], ["linear 3"]]


REPORTED_BLOCKS = {
    "plain": lambda: NETWORKS["gated_backbone"]().block1,
    "with a shortcut": lambda: NETWORKS["softmax_gated"]().block2,
    "with a 1x1 shortcut": lambda: NETWORKS["shortcut_gated"]().block4,
    "stacks": lambda: NETWORKS["sigmoid_gated"]().block2,
    "many": lambda: GatedBlock(16, 16, (3,) * 9, shortcut=nn.Identity()),
    "one and nothing after": lambda: GatedBlock(16, 32, (3,)),
}


@pytest.mark.parametrize("name", REPORTED_BLOCKS)
def test_a_drawn_block_is_readable(name):
    block = on_meta(REPORTED_BLOCKS[name])
    for style in ({}, STYLE):
        with plt.rc_context(style):
            check_readable(draw_block(block, name))


def test_a_drawn_block_names_its_parts_and_one_weight_for_each_branch():
    branches = [nn.Sequential(conv(16, 32, size), nn.ReLU()) for size in (1, 3, 5)]
    shortcut = nn.Sequential(conv(16, 32, 1), nn.BatchNorm2d(32))
    after = nn.Sequential(nn.BatchNorm2d(32), nn.LeakyReLU())
    shown = texts(draw_block(GatedBlock(16, 32, branches=branches, shortcut=shortcut, after=after)))
    assert {f"$a_{{{j}}}$" for j in (1, 2, 3)} <= set(shown)
    assert [text for text in shown if text.startswith("conv")] == [f"conv {n}x{n}, 32, ReLU" for n in (1, 3, 5)]
    assert {"gate: mean over the map, linear 3, softmax", "shortcut: conv 1x1, batch norm"} <= set(shown)
    assert {"X", "O", "16 channels", "32 channels", "batch norm LeakyReLU"} <= set(shown)


def test_a_block_of_another_author_can_be_drawn():
    figure = draw_block(Gated(5, 6, (3, 3)))
    assert {"5 channels", "6 channels", "$a_{2}$", "gate: mean over the map, linear 2, softmax"} <= set(texts(figure))
    assert len(patches(figure, "FancyBboxPatch")) == 5  # X, the gate, two branches, O: nothing follows the sum


def test_a_block_without_a_gate_is_refused():
    for module in (conv(3, 4), nn.Sequential(GatedBlock(3, 4))):
        with pytest.raises(CourseworkError, match="draw_network"):
            draw_block(module)
