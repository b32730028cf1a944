"""The plans: the five reported networks are what their reports say, and the words tell other editions' blocks too."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from net_parts import images
from torch import nn
from utils.models.networks import ASSUMPTIONS, NETWORKS

from utils.models.blocks import Block, Plan, build, plan_from

# The later edition of the assignment, an MLP gate, and rows of report D's appendix with the map sizes it gives.
VALID = {"branch": ("conv pad 0",), "after": ()}
VARIANTS = {
    "branches of different sizes, no activation": (Block((3, 8), (1, 3, 5), "none"), (8, 32)),
    "an MLP gate": (Block((3, 8), hidden=(16, 4)), (8, 32)),
    "Xavier Init": ([Block(pair, (5,) * 4, **VALID) for pair in [(3, 16), (16, 32), (32, 64), (64, 128)]], (128, 16)),
    "Linear channels": ([Block(pair, (7,) * 5, **VALID) for pair in [(3, 5), (5, 7), (7, 9), (9, 11)]], (11, 8)),
    "Conv + ReLU + MaxPool": (
        [
            Block(pair, branch=("conv pad 0", "relu", "pool 2 stride 1"), after=())
            for pair in [(3, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
        ],
        (512, 17),
    ),
    "Deeper ConvBlock II": (
        [Block(w, gate="sigmoid", branch=("conv pad 0", "relu", "pool 2")) for w in [(3, 64), (64, 128, 512)]],
        (512, 2),
    ),
    "Deeper ConvBlock IV": (
        [Block(w, (2, 2, 2), branch=("conv", "relu", "pool 2")) for w in [(3, 128, 256), (256, 512, 1028)]],
        (1028, 2),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_vocabulary_tells_the_assignments_other_editions_and_the_appendix(name):
    blocks, (channels, size) = VARIANTS[name]
    head = ("mean", "linear 64", "relu", "linear 32", "relu", "linear 10")
    net = build(Plan(blocks if isinstance(blocks, list) else [blocks], head))
    X = images(size=32, count=2)
    assert net[: -len(head)](X).shape == (2, channels, size, size)
    assert net(X).shape == (2, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_forward_and_backward_and_all_of_it_learns(name):
    torch.manual_seed(0)
    net = build(NETWORKS[name])
    y_hat = net(torch.randn(2, 3, 32, 32))
    assert y_hat.shape == (2, 10)
    F.cross_entropy(y_hat, torch.tensor([3, 5])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.any() for p in net.parameters() if p.ndim > 1)


def test_the_reported_networks_halve_their_maps_where_they_are_said_to():
    sizes = {}
    for name, plan in NETWORKS.items():
        with torch.device("meta"):
            net = build(plan)
            X, seen = torch.zeros(1, 3, 32, 32), []
            for layer in net.eval():
                X = layer(X)
                if X.ndim == 4 and (not seen or seen[-1] != X.shape[-1]):
                    seen.append(X.shape[-1])
        sizes[name] = seen
    assert sizes == {
        "softmax_gated": [32, 16, 8, 4, 2],
        "shortcut_gated": [32, 16, 8, 4, 2],
        "plain_cnn": [32, 16, 2],
        "sigmoid_gated": [8, 2],
        "dropout_cnn": [32, 16, 7],
    }


def test_plain_cnn_is_the_code_in_the_report():
    features, size = [], 3
    for out in (32, 64, 128, 256, 512):
        features += [nn.Conv2d(size, out, 3, 2 if out == 64 else 1, 1), nn.ReLU(True), nn.BatchNorm2d(out)]
        features += [nn.Dropout(0.2)] if out == 256 else []
        size = out
    head = [nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(1), nn.Linear(2048, 512), nn.ReLU(True)]
    report = nn.Sequential(*features, *head, nn.Linear(512, 256), nn.ReLU(True), nn.Linear(256, 10))
    net = build(NETWORKS["plain_cnn"])
    assert all(isinstance(layer, type(theirs)) for layer, theirs in zip(net, report, strict=True))
    net.load_state_dict(dict(zip(net.state_dict(), report.state_dict().values(), strict=True)))
    X = images(size=32)
    for mode in (True, False):  # a seed makes the same dropout in both
        torch.manual_seed(0)
        found = net.train(mode)(X)
        torch.manual_seed(0)
        torch.testing.assert_close(found, report.train(mode)(X))


def test_the_gated_reports_blocks_are_as_stated():
    A, B, D = (NETWORKS[name].blocks for name in ("softmax_gated", "shortcut_gated", "sigmoid_gated"))
    assert (len(A), len(B), len(D)) == (10, 11, 2)
    assert (A[0].widths[0], A[-1].widths[-1], D[-1].widths) == (3, 1024, (256, 512, 1028))
    assert [len(block.kernels) for block in (A[0], D[0])] == [5, 3]
    assert [block.shortcut is not None for block in A] == [False, True] * 5
    assert all((block.widths[0] == block.widths[1]) == (block.shortcut == ()) for block in B)
    assert {block.gate for block in (*A, *B)} == {"softmax"} and {block.gate for block in D} == {"sigmoid"}
    assert set(ASSUMPTIONS) == set(NETWORKS) and not ASSUMPTIONS["plain_cnn"]


def test_the_reports_activations_norms_and_dropout_are_as_stated():
    A, B, C, D, E = NETWORKS.values()
    assert {block.branch for block in A.blocks} == {("conv", "relu")}
    assert {block.shortcut for block in A.blocks} == {None, ("conv", "relu", "norm")}
    assert {block.shortcut for block in B.blocks} == {(), ("conv 1x1", "norm")}
    for blocks in (A.blocks, B.blocks):
        assert {block.after[:2] for block in blocks} == {("norm", "leaky_relu")}
        assert [number for number, block in enumerate(blocks, 1) if block.after[2:] == ("pool 2",)] == [2, 4, 6, 8]
    assert {block.branch for block in D.blocks} == {("conv", "norm", "relu", "pool 2", "dropout 0.2")}
    dropout = [[word for word in plan.layers if word.startswith("dropout")] for plan in (C, E)]
    assert dropout == [["dropout 0.2"], ["dropout 0.35", "dropout2d 0.48", "dropout2d 0.48", "dropout 0.4"]]
    assert {"relu", "sigmoid", "gelu"}.isdisjoint(E.layers)
    assert [plan.layers[-1] for plan in (A, B, C, D, E)] == ["linear 10", "softmax", *["linear 10"] * 3]


def test_the_reports_networks_start_as_stated():
    assert {name: (plan.init, plan.init_of) for name, plan in NETWORKS.items()} == {
        "softmax_gated": ("xavier_normal", "all"),
        "shortcut_gated": ("kaiming_normal", "linear"),
        "plain_cnn": ("default", "all"),
        "sigmoid_gated": ("xavier_uniform", "all"),
        "dropout_cnn": ("default", "all"),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_survives_json(name):
    plan = NETWORKS[name]
    assert plan_from(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan
    assert plan_from(dataclasses.asdict(plan)) == plan


def test_the_same_seed_builds_the_same_network_in_every_form():
    first, second = {}, {}
    for form, state in (("loop", first), ("aggregated", second)):
        torch.manual_seed(3)
        state.update(build(NETWORKS["sigmoid_gated"], form=form).state_dict())
    assert all(torch.equal(first[name], second[name]) for name in first)
