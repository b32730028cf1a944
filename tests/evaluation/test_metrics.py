"""Tests of utils/evaluation/metrics.py: scikit-learn is the oracle, hypothesis finds the edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks_by_hand import Gated
from sklearn import metrics as oracle
from torch import nn
from training_parts import images, parts

from utils.data.loader import BatchLoader
from utils.evaluation.metrics import (
    calibration,
    class_gates,
    confident_mistakes,
    confusion_matrix,
    per_class,
    probabilities,
    scores,
    top_k,
    wilson_interval,
)
from utils.my_utils import loss_and_accuracy

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = 4
answers = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=30)


def gated_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(Gated(3, 4, (3, 3), nn.ReLU()), nn.BatchNorm2d(4), Gated(4, 5, (3, 3, 3), nn.ReLU()))
        return net.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 10)])


@settings(deadline=None, max_examples=60)
@given(answers)
def test_counts_are_those_of_scikit_learn(pairs):
    y, said = torch.tensor(pairs).T
    confusion = confusion_matrix(said, y, CLASSES)
    labels = list(range(CLASSES))
    assert np.array_equal(confusion, oracle.confusion_matrix(y, said, labels=labels))
    expected = oracle.precision_recall_fscore_support(y, said, labels=labels, zero_division=0)
    for (name, values), wanted in zip(per_class(confusion).items(), expected, strict=False):
        assert np.allclose(values, wanted, atol=1e-12), name


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10])
def test_top_k_is_that_of_scikit_learn(k):
    rng = np.random.default_rng(k)
    y_hat, y = rng.normal(size=(200, 10)), rng.integers(0, 10, 200)
    expected = oracle.top_k_accuracy_score(y, y_hat, k=k, labels=range(10)) if k < 10 else 1.0
    assert top_k(torch.tensor(y_hat), torch.tensor(y), k) == pytest.approx(expected)


def test_of_equal_scores_the_first_class_counts_as_argmax_has_it():
    y_hat = torch.tensor([[1.0, 1, 0], [1, 1, 0]])
    assert y_hat.argmax(1).tolist() == [0, 0]
    assert top_k(y_hat, torch.tensor([0, 0]), 1) == 1.0 and top_k(y_hat, torch.tensor([1, 1]), 1) == 0.0
    assert top_k(y_hat, torch.tensor([0, 1]), 2) == 1.0


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 20_000), st.floats(0, 1))
def test_the_interval_holds_the_accuracy_and_lies_in_zero_to_one(count, share):
    correct = round(count * share)
    low, high = wilson_interval(correct, count)
    assert 0 <= low <= correct / count <= high <= 1 and low < high
    other_low, other_high = wilson_interval(count - correct, count)
    assert low == pytest.approx(1 - other_high) and high == pytest.approx(1 - other_low)


def test_the_interval_solves_its_own_equation():
    for correct, count in ((8400, 10_000), (3, 7), (1, 40)):
        for bound in wilson_interval(correct, count):
            distance = abs(correct / count - bound) / (bound * (1 - bound) / count) ** 0.5
            assert distance == pytest.approx(1.959964, abs=1e-5)  # 95 % of a normal distribution lie within
    assert all(wilson_interval(0, n)[0] == 0 and wilson_interval(n, n)[1] == 1 for n in range(1, 500))
    narrow, wide = wilson_interval(50, 100, 0.5), wilson_interval(50, 100, 0.99)
    assert wide[0] < narrow[0] and narrow[1] < wide[1]


def test_calibration_counts_every_image_in_the_bin_of_its_confidence():
    p = torch.tensor([[0.75, 0.25], [0.76, 0.24], [0.5, 0.5], [0.0, 1.0]], dtype=torch.float64)
    found = calibration(p, torch.tensor([0, 1, 0, 1]), bins=4)
    assert found["edges"] == [0, 0.25, 0.5, 0.75, 1]
    assert found["count"] == [0, 1, 1, 2]  # an edge belongs to the bin below it
    assert found["accuracy"] == [None, 1, 1, 0.5] and found["confidence"] == [None, 0.5, 0.75, pytest.approx(0.88)]
    assert found["ece"] == pytest.approx((0.5 + 0.25 + 2 * 0.38) / 4)


def test_mistakes_come_with_the_most_confident_first():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.0, 1.0]])
    found = confident_mistakes(p, torch.tensor([0, 0, 0, 1, 0]), count=3)
    assert [m["row"] for m in found] == [4, 1, 3]
    assert found[2] == {"row": 3, "label": 1, "predicted": 0, "confidence": pytest.approx(0.7)}
    assert confident_mistakes(p, p.argmax(1)) == []


def test_scores_are_one_pass_in_order_and_leave_the_modes_alone():
    net, train_iter, test_iter, _ = parts()
    net[3].eval()
    before = [module.training for module in net.modules()]
    y_hat, y = scores(net, test_iter)
    assert [module.training for module in net.modules()] == before
    assert torch.equal(y, test_iter.split.labels) and y_hat.dtype == torch.float32
    assert float((y_hat.argmax(1) == y).double().mean()) == loss_and_accuracy(net, test_iter, None)[1]
    assert torch.equal(scores(net, test_iter, lambda net, X: -net(X))[0], -y_hat)
    assert train_iter.epoch == 0 and not y_hat.requires_grad


def test_a_softmax_at_the_end_is_not_applied_twice():
    y_hat = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
    p = y_hat.softmax(1)
    assert torch.equal(probabilities(y_hat), p) and probabilities(p) is p
    for rounded in (p.half().float(), y_hat.bfloat16().softmax(1).float()):
        assert probabilities(rounded) is rounded
    one_score_below_0, one_other_sum = p.clone(), p.clone()
    one_score_below_0[7, :2] += torch.tensor([-1.0, 1.0])
    one_other_sum[7, 0] += 0.01
    for scores_of_500 in (one_score_below_0, one_other_sum, p * 2, torch.zeros(500, 10)):
        assert torch.equal(probabilities(scores_of_500), scores_of_500.softmax(1))


def test_gate_weights_are_the_mean_by_class_of_what_each_image_gets():
    net, data_iter, gates = gated_net(), BatchLoader(images(50), 20), {}
    y_hat, y = scores(net, data_iter, gates=gates)
    assert torch.equal(y_hat, scores(net, data_iter)[0]) and not net[0].gate._forward_hooks
    assert {name: a.shape for name, a in gates.items()} == {"0": (50, 2), "2": (50, 3)}
    first = torch.cat([net.eval()[0].gate(X) for X, _ in data_iter]).detach()
    assert torch.allclose(gates["0"], first, atol=1e-6)
    means = class_gates(gates, y, 10)
    assert torch.allclose(means["0"][7], first[y == 7].mean(0)) and means["2"].shape == (10, 3)
    assert torch.allclose(means["2"].sum(1), torch.ones(10))


def test_scores_and_gates_of_half_precision_are_handed_out_in_full():
    net, gates = gated_net(), {}

    def in_half(net, X):
        with torch.autocast("cpu", torch.bfloat16):
            return net(X)

    y_hat, _ = scores(net, BatchLoader(images(20), 20), in_half, gates=gates)
    assert {values.dtype for values in (y_hat, *gates.values())} == {torch.float32}


def test_a_batch_that_was_done_again_is_counted_once():
    net, data_iter, gates, once = gated_net(), BatchLoader(images(50), 20), {}, {}

    def again(net, X):
        net(X[:7])  # memory ran out after some parts
        return torch.cat([net(part) for part in X.split(9)])

    scores(net, data_iter, gates=once)
    scores(net, data_iter, again, gates=gates)
    assert torch.allclose(gates["2"], once["2"], atol=1e-5)


def test_a_plain_network_has_no_gates():
    net, _, test_iter, _ = parts()
    gates = {}
    _, y = scores(net, test_iter, gates=gates)
    assert gates == {} and class_gates(gates, y, 10) is None


def test_a_gate_is_any_submodule_of_that_name_that_returns_a_row_for_each_image():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(192, 3)
            self.inner = nn.ModuleDict({"gate": nn.Flatten(0), "gated": nn.Linear(192, 2)})
            self.deep = nn.ModuleDict({"gate": nn.Identity()})
            self.unused = nn.ModuleDict({"gate": nn.Linear(192, 2)})

        def forward(self, X):
            self.deep["gate"](X)  # returns maps
            self.inner["gate"](X)  # returns one row of numbers
            return self.gate(X.flatten(1))

    gates = {}
    scores(Odd(), [(torch.ones(4, 3, 8, 8), torch.arange(4) % 3)] * 2, gates=gates)
    assert {name: a.shape for name, a in gates.items()} == {"network": (8, 3)}


def test_a_gate_of_tokens_and_one_that_is_used_twice_are_left_out():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice = nn.ModuleDict({"gate": nn.Linear(4, 2)})
            self.tokens = nn.ModuleDict({"gate": nn.Linear(4, 3)})
            self.gate = nn.Linear(4, 3)

        def forward(self, X):
            self.tokens["gate"](X.flatten(2).transpose(1, 2).reshape(-1, 4))  # one row for each pixel
            X = X.mean((2, 3))
            return self.gate(X + self.twice["gate"](X).sum() - self.twice["gate"](2 * X).sum())

    net, gates, in_parts = Shared(), {}, {}
    data = [(torch.arange(192.0).view(12, 4, 2, 2) / 100, torch.arange(12) % 3)] * 2
    scores(net, data, gates=gates)
    assert {name: a.shape for name, a in gates.items()} == {"network": (24, 3)}
    scores(net, data, lambda net, X: torch.cat([net(part) for part in X.split(5)]), gates=in_parts)
    assert in_parts.keys() == gates.keys()


def test_the_gates_of_a_class_without_images_are_not_a_number():
    means = class_gates({"block": torch.ones(2, 3)}, torch.tensor([0, 2]), 3)
    assert means["block"].isnan().tolist() == [[False] * 3, [True] * 3, [False] * 3]
