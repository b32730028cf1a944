"""Labels of mixed images (B, classes): every step can train on them; evaluation and some losses refuse them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_parts import images, parts

from utils.data.augment import CutMix, Mixup
from utils.data.loader import BatchLoader
from utils.errors import CourseworkError
from utils.my_utils import accuracy, evaluate_accuracy, train_ch3, train_epoch_ch3
from utils.optim.losses import LOSSES, make_loss
from utils.training.step import Step

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]


def mixing_loader(batch_size=24, device=None):
    return BatchLoader(images(), batch_size, augment=(Mixup(1.0), CutMix(p=0.5)), shuffle=True, device=device)


def test_the_class_with_the_largest_share_counts():
    y_hat = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3], [0.0, 0.1, 0.9]])
    y = torch.tensor([[0.4, 0.6, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
    assert accuracy(y_hat, y) == 2
    assert accuracy(y_hat, F.one_hot(torch.tensor([1, 0, 0]), 3).float()) == accuracy(y_hat, torch.tensor([1, 0, 0]))


def test_an_epoch_has_the_loss_and_the_accuracy_of_a_loop_by_hand():
    net, _, _, optimizer = parts()
    net[3].p = 0.0  # no dropout, so that both trainings are the same
    by_hand = copy.deepcopy(net)
    hand_optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.05, momentum=0.9)
    total = correct = 0.0
    by_hand.train()
    for X, y in mixing_loader():
        y_hat = by_hand(X)
        # The mean over the images, and for each image the mean of its classes' losses, weighted by their shares.
        loss = -(y * y_hat.log_softmax(1)).sum(1).mean()
        hand_optimizer.zero_grad()
        loss.backward()
        hand_optimizer.step()
        total += float(loss.detach()) * len(X)
        correct += int((y_hat.argmax(1) == y.argmax(1)).sum())
    measured = train_epoch_ch3(net, mixing_loader(), nn.CrossEntropyLoss(), optimizer)
    assert measured == pytest.approx((total / 100, correct / 100), abs=1e-5)
    torch.testing.assert_close(net.state_dict(), by_hand.state_dict())


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_each_loss_is_the_shares_mean_of_the_losses_of_the_classes(name, smoothing):
    generator = torch.Generator().manual_seed(0)
    scores, y = torch.randn(6, 10, generator=generator), torch.rand(6, 10, generator=generator).softmax(1)
    loss = make_loss(name, label_smoothing=smoothing, reduction="none")
    of_each_class = torch.stack([loss(scores, torch.full((6,), label)) for label in range(10)], 1)
    torch.testing.assert_close(loss(scores, y), (y * of_each_class).sum(1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("step", [Step(micro_batch=7), Step("bf16"), Step(cuda_graph=True), Step(clip_norm=100.0)])
def test_other_steps_train_on_them_as_the_plain_step_does(step, device):
    results = []
    for chosen in (Step(), step):
        net, _, _, _ = parts()
        net = net[:1].append(nn.Flatten()).append(nn.LazyLinear(10))  # without a norm, whose statistics would differ
        net(torch.zeros(1, 3, 8, 8))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            nn.init.normal_(net[2].weight, std=0.05)
            nn.init.zeros_(net[2].bias)
        net.to(device)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        train_iter = mixing_loader(10, device)
        history = train_ch3(
            net, train_iter, None, nn.CrossEntropyLoss(), 2, optimizer, step=chosen, curves=False, record=False
        )
        results.append(history["train_loss"])
    assert results[0] == pytest.approx(results[1], rel=0.01 if step.precision == "bf16" else 1e-3)


def use_in(place, labels):
    """Train on labels, or evaluate with them."""
    net, train_iter, _, optimizer = parts()
    X, y = train_iter.batch(0, 0)
    batch = [(X, labels if isinstance(labels, torch.Tensor) else labels(y))]
    if place == "evaluate_accuracy":
        return evaluate_accuracy(net, batch)
    train, test = (batch, None) if place == "train_iter" else ([(X, y)], batch)
    return train_ch3(net, train, test, nn.CrossEntropyLoss(), 1, optimizer, curves=False, record=False)


@pytest.mark.parametrize("place", ["evaluate_accuracy", "test_iter"])
def test_evaluation_refuses_them(place):
    with pytest.raises(CourseworkError, match=r"Labels must have the shape \(24,\)") as caught:
        use_in(place, lambda y: F.one_hot(y, 10).float())
    assert "Mixup" in caught.value.next_step


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (lambda y: F.one_hot(y, 11).float(), "(24, 11)"),
        (lambda y: F.one_hot(y, 10).float()[:, :1], "(24, 1)"),
        (lambda y: F.one_hot(y, 10).float()[:23], "(23, 10)"),
        (lambda y: 2 * F.one_hot(y, 10).float(), "2.0"),
        (lambda y: torch.zeros(24, 10), "0.0"),
    ],
)
def test_training_refuses_labels_that_are_no_shares(labels, problem):
    with pytest.raises(CourseworkError) as caught:
        use_in("train_iter", labels)
    assert problem in caught.value.what


@pytest.mark.parametrize(
    "loss",
    [
        lambda y_hat, y: F.nll_loss(y_hat.log_softmax(1), y),
        nn.MultiMarginLoss(),
        lambda y_hat, y: -y_hat.log_softmax(1)[torch.arange(len(y)), y].mean(),
        lambda y_hat, y: y_hat.gather(1, y).mean(),
        lambda y_hat, y: (F.one_hot(y, 10) - y_hat).square().mean(),
        nn.CrossEntropyLoss(ignore_index=3),
    ],
)
def test_a_loss_that_needs_one_class_per_image_is_refused_with_a_way_out(loss):
    net, _, _, optimizer = parts()
    with pytest.raises(CourseworkError, match="mixed images") as caught:
        train_epoch_ch3(net, mixing_loader(), loss, optimizer)
    assert "CrossEntropyLoss" in caught.value.next_step
