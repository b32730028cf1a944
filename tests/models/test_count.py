"""Counting: the numbers that a formula on paper gives, for any network, which is left as it was."""

import copy

import pytest
import torch
import torchvision
from networks import small_cnn, small_gated
from networks_by_hand import NetByHand, Wrapper, lazy_net
from torch import nn

from utils.errors import CourseworkError
from utils.models import GatedBlock, GatedConv, depth, find_gates, macs, network_table, parameters, summarise
from utils.models.blocks import conv
from utils.models.count import gate_outputs
from utils.models.draw import draw_network
from utils.models.gated import FORMS, set_form

BY_HAND = 27 * 4 * 1024 + 4 * 2 + (9 + 1) * 4 * 6 * 1024 + 6 * 10  # multiply-adds of NetByHand
NETS = {
    "small_cnn": (small_cnn, 27 * 8 + 8 + 16 + 90, 27 * 8 * 1024 + 80, 2),
    "by hand": (NetByHand, 112 + 10 + 222 + 30 + 70, BY_HAND, 3),
    "wrapped": (lambda: Wrapper(NetByHand()), 112 + 10 + 222 + 30 + 70, BY_HAND, 3),
    "one channel, three classes": (
        lambda: NetByHand(1, 3),
        40 + 10 + 222 + 30 + 21,
        BY_HAND - 18 * 4 * 1024 - 42,
        3,
    ),
    "lazy": (lazy_net, 112 + 8 + 40_970, 27 * 4 * 1024 + 40_960, 2),
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), 30_730, 30_720, 1),
    "double precision": (lambda: small_cnn().double(), 27 * 8 + 8 + 16 + 90, 27 * 8 * 1024 + 80, 2),
}


@pytest.mark.parametrize("name", NETS)
def test_counts_are_those_of_a_formula_on_paper(name):
    make, parameter_count, mac_count, layer_count = NETS[name]
    net = make()
    assert (parameters(net), macs(net), depth(net)) == (parameter_count, mac_count, layer_count)


@pytest.mark.parametrize(
    ("name", "weights"), [("resnet18", "ResNet18_Weights"), ("mobilenet_v2", "MobileNet_V2_Weights")]
)
def test_torchvisions_networks_count_as_torchvision_says(name, weights):
    facts = getattr(torchvision.models, weights).IMAGENET1K_V1.meta
    with torch.device("meta"):
        net = getattr(torchvision.models, name)()
        assert parameters(net) == facts["num_params"]
        assert macs(net, size=224) / 1e9 == pytest.approx(facts["_ops"], abs=0.001)
        assert depth(net) == {"resnet18": 18, "mobilenet_v2": 53}[name]


class Tokens(nn.Module):
    """Call a layer with the 32 rows of the image as 32 tokens of 96 numbers, and classify the last one."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.linear = layer, nn.Linear(width, 10)

    def forward(self, X):
        tokens = self.layer(X.permute(0, 2, 1, 3).flatten(2))
        tokens = tokens[0] if isinstance(tokens, tuple) else tokens
        return self.linear(tokens[:, -1])


ATTENTION = 32 * 96 * 96 * 4 + 2 * 32 * 32 * 96  # queries, keys, values, output; and two products over all pairs
TOKENS = {
    "transformer": (lambda: encoder(4), 96, 4 * (ATTENTION + 2 * 32 * 96 * 64)),
    "LSTM": (lambda: nn.LSTM(96, 8, batch_first=True), 8, 32 * 4 * 8 * (96 + 8)),
}


def encoder(layers):
    layer = nn.TransformerEncoderLayer(96, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", TOKENS)
def test_attention_and_recurrent_layers_count_as_their_matrix_products(name, device):
    make, width, mac_count = TOKENS[name]
    with torch.device(device):
        net = Tokens(make(), width)
        assert macs(net) == mac_count + 10 * width
        assert summarise(net)["layers"][0]["macs"] == mac_count
    assert torch.backends.mha.get_fastpath_enabled() and torch.backends.mkldnn.enabled


@pytest.mark.parametrize("form", ["auto", *FORMS])
def test_a_gated_network_counts_as_a_loop_in_every_form(form):
    net = set_form(nn.Sequential(GatedBlock(3, 8, (3, 3, 1))), form)
    assert macs(net, size=8) == 3 * 3 + (9 + 9 + 1) * 3 * 8 * 64
    assert net[0].branches.form == form


def test_one_example_gives_size_and_channels():
    gated = nn.Sequential(GatedBlock(1, 4, (3,)), nn.Conv2d(4, 2, 1))
    assert macs(gated, size=8) == 1 + 9 * 4 * 64 + 8 * 64
    net = nn.Sequential(nn.Conv2d(5, 4, 3), nn.ReLU())
    assert macs(net, 8) == 45 * 4 * 36 and macs(net, image=torch.zeros(7, 5, 4, 6)) == 45 * 4 * 2 * 4


def test_frozen_parameters_are_not_counted():
    net = nn.Linear(3, 4)
    net.bias.requires_grad_(False)
    assert parameters(net) == 12


def test_depth_takes_the_longest_way():
    branches = [nn.Sequential(conv(3, 5), nn.ReLU(), conv(5, 5)) for _ in range(2)]
    first = GatedBlock(3, 5, branches=branches, shortcut=conv(3, 5), after=nn.Sequential(conv(5, 5), nn.BatchNorm2d(5)))
    second = GatedBlock(5, 5, shortcut=nn.Sequential(conv(5, 5), conv(5, 5)))
    assert depth(nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 10))) == 3 + 2 + 1


def test_gates_are_found_in_any_network_with_one_weight_for_each_branch():
    torch.manual_seed(0)
    gated, hand = small_gated(), Wrapper(NetByHand())
    assert list(find_gates(gated)) == ["block1", "block2"] and find_gates(gated)["block1"] is gated.block1.gate
    assert list(find_gates(hand)) == ["net"] and list(find_gates(hand.net)) == ["network"]
    assert not find_gates(small_cnn())
    X = torch.randn(1, 3, 32, 32)
    gated.eval()
    outputs = gate_outputs(gated, X)
    torch.testing.assert_close(outputs["block1"], gated.block1.gate(X))
    torch.testing.assert_close(outputs["block2"], gated.block2.gate(gated.block1(X)))
    assert gate_outputs(hand, X)["net"].shape == (1, 2)


def test_a_table_lists_each_network_and_uses_no_random_numbers():
    random = torch.get_rng_state()
    rows = network_table({"plain": small_cnn, "gated": small_gated})
    assert [row["name"] for row in rows] == ["plain", "gated"] and [row["k"] for row in rows] == [(), (3,)]
    assert rows[0] == {"name": "plain", "parameters": 330, "macs": NETS["small_cnn"][2], "k": (), "depth": 2}
    assert torch.equal(torch.get_rng_state(), random)


LOOKS = [macs, depth, gate_outputs, summarise, draw_network]


@pytest.mark.parametrize("look", LOOKS)
def test_looking_at_a_network_changes_nothing_of_it(look, close_figures):
    net = nn.Sequential(set_form(small_gated(), "scaled"), nn.Dropout(0.2)).train()
    net[0].block1.after.eval()
    net[0].block2.gate[2].weight.grad = torch.ones(3, 6)
    calls = []
    net[0].block1.register_forward_hook(lambda *_: calls.append(1))
    modes, hooks = [m.training for m in net.modules()], [len(m._forward_hooks) for m in net.modules()]
    state, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    look(net)
    assert [m.training for m in net.modules()] == modes and [len(m._forward_hooks) for m in net.modules()] == hooks
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and torch.is_grad_enabled()
    assert not any(m._forward_pre_hooks for m in net.modules())
    assert [p.grad is None for p in net.parameters()].count(False) == 1
    assert {m.form for m in net.modules() if isinstance(m, GatedConv)} == {"scaled"}


@pytest.mark.parametrize("look", LOOKS)
def test_a_network_that_fails_is_left_as_it_was_too(look):
    net = small_gated().train()
    net[-1] = nn.Linear(7, 7)
    with pytest.raises(CourseworkError, match="shapes cannot be multiplied"):
        look(net)
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
    assert net.block1.branches.form == "auto" and torch.is_grad_enabled()


@pytest.mark.parametrize("look", [macs, summarise, draw_network])
def test_a_network_for_other_images_is_told_to_bring_one(look, close_figures):
    grey = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))
    with pytest.raises(CourseworkError) as caught:
        look(grey)
    assert "image=X[:1]" in caught.value.next_step
    assert look(grey, image=torch.zeros(1, 1, 28, 28))


@pytest.mark.parametrize("look", [parameters, summarise, draw_network])
def test_a_network_with_lazy_layers_is_first_called(look, close_figures):
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(CourseworkError, match="lazy layers"):
        look(net)
    assert isinstance(net[1], nn.LazyLinear)  # its weights have not been chosen by looking at it
    net(torch.zeros(2, 3, 32, 32))
    assert look(net)
