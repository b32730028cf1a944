"""The losses: what cross-entropy is, what a second softmax does to it, and what is refused."""

import functools
import math

import pytest
import torch

from utils.errors import CourseworkError
from utils.optim.losses import LOSSES, make_loss
from utils.training.measure import mean_loss

BOUND = math.log(math.e + 9) - 1  # of the loss on softmaxed scores, for ten classes


def scores(count=6, classes=10):
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(count, classes, generator=generator), torch.arange(count) % classes


def test_cross_entropy_is_the_mean_negative_log_probability_of_the_label():
    y_hat, y = scores()
    expected = -(y_hat.exp() / y_hat.exp().sum(1, keepdim=True)).log()[torch.arange(6), y].mean()
    torch.testing.assert_close(make_loss("cross_entropy")(y_hat, y), expected)


def test_label_smoothing_mixes_the_label_with_all_classes():
    y_hat, y = scores()
    logs = y_hat.log_softmax(1)
    expected = -(0.8 * logs[torch.arange(6), y] + 0.2 * logs.mean(1)).mean()
    torch.testing.assert_close(make_loss("cross_entropy", label_smoothing=0.2)(y_hat, y), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_reductions_agree_and_the_loss_names_its_own(name):
    y_hat, y = scores()
    losses = {reduction: make_loss(name, reduction=reduction) for reduction in ("mean", "sum", "none")}
    assert {reduction: loss.reduction for reduction, loss in losses.items()} == {k: k for k in losses}
    assert losses["none"](y_hat, y).shape == (6,)
    for reduction in ("mean", "none"):
        torch.testing.assert_close(mean_loss(losses[reduction], y_hat, y), losses["mean"](y_hat, y))
    with pytest.raises(CourseworkError, match="sum"):
        mean_loss(losses["sum"], y_hat, y)


def test_softmaxed_scores_keep_even_a_perfect_network_above_a_bound_that_it_reaches():
    y = torch.arange(10)
    loss = make_loss("softmax_cross_entropy")
    perfect = 100 * torch.eye(10, dtype=torch.float64)
    assert float(loss(perfect, y)) == pytest.approx(BOUND, abs=1e-12)
    assert pytest.approx(1.4612, abs=5e-5) == BOUND
    assert float(make_loss("cross_entropy")(perfect, y)) < 1e-30
    y_hat, y = scores(1000)
    assert make_loss("softmax_cross_entropy", reduction="none")(y_hat, y % 10).min() > BOUND


def test_a_second_softmax_all_but_stops_the_gradient_where_the_network_is_sure_and_wrong():
    gradients = {}
    for name in LOSSES:
        y_hat = torch.zeros(1, 10, requires_grad=True)
        with torch.no_grad():
            y_hat[0, 3] = 12.0  # sure of class 3
        make_loss(name)(y_hat, torch.tensor([7])).backward()
        gradients[name] = float(y_hat.grad.norm())
    assert gradients["cross_entropy"] > 1.4
    assert 0 < gradients["softmax_cross_entropy"] < 1e-4


@pytest.mark.parametrize(
    "name, settings, told",
    [
        ("hinge", {}, "cross_entropy, softmax_cross_entropy"),
        ("cross_entropy", {"smoothing": 0.1}, "label_smoothing=0.0"),
        ("cross_entropy", {"label_smoothing": 1.5}, "between 0 and 1"),
        ("softmax_cross_entropy", {"label_smoothing": -0.1}, "between 0 and 1"),
        ("cross_entropy", {"reduction": "average"}, "mean, sum or none"),
        ("cross_entropy", {"label_smoothing": "much"}, "Cannot make the loss"),
        (torch.nn.CrossEntropyLoss(), {"label_smoothing": 0.1}, "label_smoothing=0.1"),
        (torch.nn.CrossEntropyLoss, {"smoothing": 0.1}, "label_smoothing=0.0"),
        (3, {}, "object of the class int"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(name, settings, told):
    with pytest.raises(CourseworkError) as caught:
        make_loss(name, **settings)
    assert told in str(caught.value) and len(str(caught.value).splitlines()) < 10


FUNCTION = torch.nn.functional.cross_entropy


@pytest.mark.parametrize(
    "choice, settings",
    [
        (torch.nn.CrossEntropyLoss, {"label_smoothing": 0.2}),
        (functools.partial(torch.nn.CrossEntropyLoss, label_smoothing=0.2), {}),
        (torch.nn.CrossEntropyLoss(label_smoothing=0.2), {}),
        (FUNCTION, {"label_smoothing": 0.2}),
        (lambda y_hat, y: FUNCTION(y_hat, y, label_smoothing=0.2), {}),
    ],
    ids=["class", "partial of a class", "object", "function with settings", "function"],
)
def test_a_loss_may_be_a_class_an_object_or_a_function(choice, settings):
    y_hat, y = scores()
    expected = make_loss("cross_entropy", label_smoothing=0.2)(y_hat, y)
    torch.testing.assert_close(make_loss(choice, **settings)(y_hat, y), expected)
