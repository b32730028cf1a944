"""The five reported networks are what their reports say, layer by layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from utils.models import ASSUMPTIONS, NETWORKS, REPORTED_NETWORKS, GatedConv, network_table

COUNTS = {  # parameters, multiply-adds, depth, k
    "softmax_gated": (53_949_931, 759_937_583, 12, (5,)),
    "shortcut_gated": (37_888_514, 540_523_148, 12, (4,)),
    "plain_cnn": (2_753_546, 403_147_264, 8, ()),
    "sigmoid_gated": (18_676_077, 690_989_873, 5, (3,)),
    "dropout_cnn": (2_075_562, 162_956_544, 10, ()),
    "gated_backbone": (804_172, 59_673_528, 8, (3,)),
    "plain_backbone": (1_972_514, 118_147_360, 8, ()),
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_networks_counts_are_as_published(name):
    (row,) = network_table({name: NETWORKS[name]})
    assert row == dict(zip(("name", "parameters", "macs", "depth", "k"), (name, *COUNTS[name]), strict=True))


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {name: make() for name, make in REPORTED_NETWORKS.items()}


def kinds(layers):
    return [type(layer) for layer in layers]


def test_plain_cnn_is_the_code_in_report_c():
    features, size = [], 3
    for width in (32, 64, 128, 256, 512):
        features += [nn.Conv2d(size, width, 3, 2 if width == 64 else 1, 1), nn.ReLU(True), nn.BatchNorm2d(width)]
        features += [nn.Dropout(0.2)] if width == 256 else []
        size = width
    head = [nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(1), nn.Linear(2048, 512), nn.ReLU(True)]
    report = nn.Sequential(*features, *head, nn.Linear(512, 256), nn.ReLU(True), nn.Linear(256, 10))
    net = REPORTED_NETWORKS["plain_cnn"]()
    net.load_state_dict(report.state_dict())
    X = torch.randn(4, 3, 32, 32)
    for mode in (True, False):  # a seed makes the same dropout in both
        torch.manual_seed(0)
        scores = net.train(mode)(X)
        torch.manual_seed(0)
        torch.testing.assert_close(scores, report.train(mode)(X))


def test_softmax_gated_is_as_report_a_says(networks):
    *blocks, _, _, hidden, _, last = networks["softmax_gated"]
    assert len(blocks) == 10 and (blocks[0].in_channels, blocks[-1].out_channels) == (3, 1024)
    assert [block.shortcut is not None for block in blocks] == [False, True] * 5
    for number, block in enumerate(blocks, start=1):
        assert kinds(block.gate) == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, nn.Softmax]
        assert len(block.branches) == 5
        for branch in block.branches:
            assert kinds(branch) == [nn.Conv2d, nn.ReLU]
            assert (branch[0].kernel_size, branch[0].padding) == ((3, 3), (1, 1))
        if block.shortcut is not None:
            assert kinds(block.shortcut) == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d]
        pool = [nn.MaxPool2d] if number in (2, 4, 6, 8) else []
        assert kinds(block.after) == [nn.BatchNorm2d, nn.LeakyReLU, *pool]
    assert (hidden.in_features, hidden.out_features, last.out_features) == (1024, 512, 10)


def test_shortcut_gated_is_as_report_b_says(networks):
    *blocks, _, _, last, softmax = networks["shortcut_gated"]
    assert len(blocks) == 11 and (last.in_features, last.out_features) == (512, 10)
    assert isinstance(softmax, nn.Softmax) and softmax.dim == 1
    assert isinstance(NETWORKS["shortcut_gated"](last_softmax=False)[-1], nn.Linear)
    for number, block in enumerate(blocks, start=1):
        assert kinds(block.gate)[2:] == [nn.Linear, nn.Softmax]
        assert isinstance(block.branches, GatedConv) and block.branches.kernel_sizes == (3, 3, 3, 3)
        if block.in_channels == block.out_channels:
            assert isinstance(block.shortcut, nn.Identity)
        else:
            assert kinds(block.shortcut) == [nn.Conv2d, nn.BatchNorm2d] and block.shortcut[0].kernel_size == (1, 1)
        pool = [nn.MaxPool2d] if number in (2, 4, 6, 8) else []
        assert kinds(block.after) == [nn.BatchNorm2d, nn.LeakyReLU, *pool]


def test_sigmoid_gated_is_as_report_d_says(networks):
    first, second, _, _, last = networks["sigmoid_gated"]
    assert (last.in_features, last.out_features) == (1028, 10)
    for block, channels in ((first, (3, 128, 256)), (second, (256, 512, 1028))):
        assert kinds(block.gate)[2:] == [nn.Linear, nn.Sigmoid] and isinstance(block.after, nn.BatchNorm2d)
        assert len(block.branches) == 3 and block.shortcut is None
        for branch in block.branches:
            assert kinds(branch) == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Dropout] * 2
            assert (branch[0].in_channels, branch[0].out_channels, branch[5].out_channels) == channels
            assert branch[4].p == branch[9].p == 0.2


def test_dropout_cnn_is_as_report_e_says(networks):
    net = list(networks["dropout_cnn"])
    convolutions = [number for number, layer in enumerate(net) if isinstance(layer, nn.Conv2d)]
    linears = [number for number, layer in enumerate(net) if isinstance(layer, nn.Linear)]
    assert len(convolutions) == 7 and len(linears) == 3 and kinds(net).count(nn.BatchNorm2d) == 6
    assert all(isinstance(net[number + 1], nn.LeakyReLU) for number in convolutions + linears[:2])
    assert not any(isinstance(layer, (nn.ReLU, nn.GELU, nn.Sigmoid)) for layer in net)
    assert net[convolutions[3] - 1].p == 0.35  # after the third convolution
    fourth, last = net[convolutions[3] : convolutions[4]], net[convolutions[6] : linears[0]]
    assert kinds(fourth)[-2:] == [nn.MaxPool2d, nn.Dropout2d] and (fourth[-2].kernel_size, fourth[-1].p) == (2, 0.48)
    assert (last[2].kernel_size, last[2].stride, last[3].p) == (3, 2, 0.48)
    assert (type(net[linears[0] + 2]), net[linears[0] + 2].p) == (nn.Dropout, 0.4)


def test_maps_shrink_where_the_reports_and_assumptions_say(networks):
    sizes = {}
    for name, net in networks.items():
        with torch.no_grad():
            X, sizes[name] = torch.zeros(1, 3, 32, 32), []
            for layer in net.eval():
                X = layer(X)
                if X.ndim == 4 and X.shape[-1] > 1 and X.shape[-1] not in sizes[name]:
                    sizes[name].append(X.shape[-1])
    assert sizes == {
        "softmax_gated": [32, 16, 8, 4, 2],
        "shortcut_gated": [32, 16, 8, 4, 2],
        "plain_cnn": [32, 16, 2],
        "sigmoid_gated": [8, 2],
        "dropout_cnn": [32, 16, 7],
    }


def spread(weight):
    """Return a weight's standard deviation and largest value, as multiples of what Xavier's formula gives."""
    pixels = weight[0, 0].numel()
    xavier = (2 / (pixels * (weight.shape[0] + weight.shape[1]))) ** 0.5
    return weight.std().item() / xavier, weight.abs().max().item() / xavier


def test_the_networks_start_as_stated(networks):
    A, B, C, D, _ = networks.values()
    for weight in (A.block5.branches[2][0].weight, A.block6.shortcut[0].weight, A[-1].weight, A.block9.gate[2].weight):
        deviation, largest = spread(weight)
        assert deviation == pytest.approx(1, rel=0.1) and largest > 2.5  # xavier_normal
    for weight in (D.block2.branches[1][0].weight, D.block2.branches[1][5].weight, D[-1].weight):
        deviation, largest = spread(weight)
        assert deviation == pytest.approx(1, rel=0.05) and largest < 1.74  # xavier_uniform
    linear = next(layer for layer in B if isinstance(layer, nn.Linear)).weight
    assert linear.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.1)  # kaiming_normal, of linear layers only
    for weight in (B.block6.branches.kernels()[3][0], C[0].weight):
        assert weight.abs().max().item() <= weight[0].numel() ** -0.5  # as torch initialises its convolutions


def test_what_a_report_does_not_say_is_listed():
    assert set(ASSUMPTIONS) == set(REPORTED_NETWORKS) and not ASSUMPTIONS["plain_cnn"]
    assert all(ASSUMPTIONS[name] for name in ASSUMPTIONS if name != "plain_cnn")


@pytest.mark.parametrize("name", COUNTS)
def test_every_network_runs_forward_and_backward_and_all_of_it_learns(name):
    torch.manual_seed(0)
    net = NETWORKS[name](num_classes=3)
    scores = net(torch.randn(2, 3, 32, 32))
    assert scores.shape == (2, 3)
    F.cross_entropy(scores, torch.tensor([0, 2])).backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad.any() for p in trained if p.ndim > 1)


def test_what_reports_a_and_b_leave_open_can_be_chosen():
    with torch.device("meta"):  # shapes only
        X = torch.randn(2, 3, 32, 32)
        of_a = REPORTED_NETWORKS["softmax_gated"](channels=(3, *[8] * 9, 100), halving=(2, 5))
        assert of_a[:10](X).shape == (2, 100, 8, 8) and of_a(X).shape == (2, 10)
        of_b = REPORTED_NETWORKS["shortcut_gated"](k=2, gate="sigmoid", halving=(3,))
        assert of_b[:3](X).shape == (2, 64, 16, 16) and of_b.block1.gate(X).shape == (2, 2)
        mlp = REPORTED_NETWORKS["shortcut_gated"](gate="mlp").block11.gate
    assert isinstance(of_b.block2.gate[-1], nn.Sigmoid) and of_b.block2.branches.kernel_sizes == (3, 3)
    assert (mlp[2].out_features, mlp[4].out_features) == (128, 4) and isinstance(mlp[-1], nn.Softmax)
