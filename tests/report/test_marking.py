"""The marking scheme: its marks add up, boundaries fall where the brief puts them, other networks are recognised."""

import pytest
from report_parts import gated_layer, layer, network, plain_network

from utils.report.marking import BANDS, TASKS, backbone_faults, band

BLOCK = gated_layer(1, (3, 8), 16)
MEAN = layer("mean", "pool", "mean over the map", (8,))
LINEAR = layer("classifier", "linear", "linear 10", (10,), 90, 80)


def test_the_five_tasks_give_a_hundred_marks():
    assert [task.number for task in TASKS] == [1, 2, 3, 4, 5]
    assert [task.marks for task in TASKS] == [5, 40, 5, 30, 20]


@pytest.mark.parametrize(
    "accuracy, marks",
    [
        *((1.0, 20), (0.9501, 20), (0.95, 15), (0.85, 15), (0.8499, 10), (0.80, 10), (0.7999, 5), (0.70, 5)),
        *((0.6999, 0), (0.0, 0)),
        *((0.949999988079071, 15), (0.8500000238418579, 15), (0.699999988079071, 5)),  # rounded to float32
    ],
)
def test_exactly_95_percent_is_not_over_95_and_other_boundaries_belong_to_the_band_above(accuracy, marks):
    assert band(accuracy).marks == marks


def test_every_number_of_correct_answers_has_one_band_and_more_never_gives_less():
    marks = [band(right / 10_000).marks for right in range(10_001)]
    assert marks == sorted(marks)
    assert set(marks) == {b.marks for b in BANDS}


@pytest.mark.parametrize("accuracy", [-0.01, 1.01, 84.0])
def test_what_is_not_a_fraction_is_refused(accuracy):
    with pytest.raises(ValueError, match="fraction"):
        band(accuracy)


ACCEPTED = {
    "ours": network()["layers"],
    "a single block": [BLOCK, MEAN, LINEAR],
    "a stem, a norm, dropout and an MLP": [
        layer("stem", "conv", "conv 3x3", (3, 32, 32), 84, 82_944),
        BLOCK,
        layer("norm", "norm", "batch norm", (8, 16, 16), 16),
        MEAN,
        layer("hidden", "linear", "linear 64", (64,), 576, 512),
        layer("act", "activation", "ReLU", (64,)),
        layer("drop", "dropout", "dropout 0.2", (64,)),
        layer("classifier", "linear", "linear 10", (10,), 650, 640),
    ],
    "a mean to 1x1, then flatten": [
        BLOCK,
        layer("pool", "pool", "average pool to 1x1", (8, 1, 1)),
        layer("flatten", "other", "flatten", (8,)),
        LINEAR,
    ],
    "a mean written in forward()": [BLOCK, LINEAR],
    "a gate and branches of other kinds": [
        gated_layer(1, (3, 8), 16, gate="Attention", branches="Conv2d", shortcut="conv 1x1", steps=2),
        MEAN,
        LINEAR,
    ],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_assigned_architecture_may_have_more_than_was_asked_for(name):
    assert backbone_faults(network(ACCEPTED[name])) == []


REFUSED = {
    "no block": (plain_network()["layers"], "no gated block"),
    "no classifier": ([BLOCK, MEAN], "classifier"),
    "no mean": (
        [BLOCK, layer("flatten", "other", "flatten", (2048,)), layer("l", "linear", "l", (10,), 0, 20_480)],
        "clas",
    ),
    "a flattening in forward()": ([BLOCK, layer("l", "linear", "linear 10", (10,), 20_490, 20_480)], "classifier"),
    "a convolution after the blocks": (
        [BLOCK, layer("conv", "conv", "conv 3x3", (8, 16, 16), 584, 147_456), MEAN, LINEAR],
        "classifier",
    ),
    "a maximum": ([BLOCK, layer("pool", "pool", "maximum over the map", (8,)), LINEAR], "classifier"),
    "one branch": ([gated_layer(1, (3, 8), 16, k=1), MEAN, LINEAR], "block1 has a single branch"),
    "no convolution": ([gated_layer(1, (3, 8), 16, branches=None), MEAN, LINEAR], "branches of block1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_departs_from_the_assigned_architecture_is_named(name):
    layers, text = REFUSED[name]
    (fault,) = backbone_faults(network(layers))
    assert text in fault
