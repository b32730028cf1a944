"""The marking scheme: its marks add up, boundaries fall where the brief puts them, the backbone is told from others."""

import dataclasses

import pytest
from utils.models.networks import NETWORKS

from utils.models.blocks import Block, Plan
from utils.recipes import OURS
from utils.report.marking import BANDS, TASKS, backbone_faults, band, plain_gates

GATED = Plan((Block((3, 8)), Block((8, 16))), ("mean", "linear 10"))


def test_the_five_tasks_give_a_hundred_marks():
    assert [task.number for task in TASKS] == [1, 2, 3, 4, 5]
    assert [task.marks for task in TASKS] == [5, 40, 5, 30, 20]


@pytest.mark.parametrize(
    "accuracy, marks",
    [
        *((1.0, 20), (0.9501, 20), (0.95, 15), (0.85, 15), (0.8499, 10), (0.80, 10), (0.7999, 5), (0.70, 5)),
        *((0.6999, 0), (0.0, 0)),
    ],
)
def test_exactly_95_percent_is_not_over_95_and_other_boundaries_belong_to_the_band_above(accuracy, marks):
    assert band(accuracy).marks == marks


@pytest.mark.parametrize("accuracy, marks", [(0.949999988079071, 15), (0.8500000238418579, 15), (0.699999988079071, 5)])
def test_an_accuracy_rounded_to_float32_falls_where_its_number_falls(accuracy, marks):
    assert band(accuracy).marks == marks


def test_every_count_of_right_answers_has_one_band_and_more_never_gives_less():
    marks = [band(right / 10_000).marks for right in range(10_001)]
    assert marks == sorted(marks)
    assert set(marks) == {b.marks for b in BANDS}


@pytest.mark.parametrize("accuracy", [-0.01, 1.01, 84.0])
def test_what_is_no_fraction_is_refused(accuracy):
    with pytest.raises(ValueError, match="fraction"):
        band(accuracy)


@pytest.mark.parametrize("name", ["softmax_gated", "shortcut_gated", "sigmoid_gated"])
def test_the_reports_gated_networks_are_the_assigned_backbone(name):
    assert backbone_faults(NETWORKS[name]) == []


@pytest.mark.parametrize("name", ["quick", "best_gated"])
def test_our_gated_networks_are_the_assigned_backbone(name):
    assert backbone_faults(OURS[name].network) == [] == plain_gates(OURS[name].network)


@pytest.mark.parametrize("name", ["plain_cnn", "dropout_cnn"])
def test_plain_networks_are_not_the_assigned_backbone(name):
    assert backbone_faults(NETWORKS[name]) == ["it has no gated block"]


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"layers": ("flatten", "linear 10")}, "classifier"),
        ({"layers": ("conv 32", "mean", "linear 10")}, "classifier"),
        ({"layers": ("mean",)}, "classifier"),
        ({"blocks": (Block((3, 8)), Block((8, 16), kernels=(3,)))}, "block 2 has one branch"),
        ({"blocks": (Block((3, 8), branch=("norm",)), Block((3, 16)))}, "branches of block 1"),
    ],
)
def test_what_departs_from_the_backbone_is_named(changes, word):
    (fault,) = backbone_faults(dataclasses.replace(GATED, **changes))
    assert word in fault


def test_other_components_may_be_added_and_the_gate_may_be_an_mlp():
    block = Block(
        (3, 8), kernels=(1, 3, 5), hidden=(16,), shortcut=("conv 1x1", "norm"), after=("norm", "gelu", "pool 2")
    )
    assert backbone_faults(Plan((block,), ("mean", "linear 64", "relu", "dropout 0.2", "linear 10"))) == []


def test_a_gate_without_activation_is_named_by_its_block():
    assert plain_gates(Plan((Block((3, 8)), Block((8, 16), gate="none")))) == [2]
