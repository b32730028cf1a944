"""The schedules: the shape of each curve, torch's own schedulers, and what is refused."""

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.optim.schedules import SCHEDULES, lr_curve, make_schedule

LR, EPOCHS, BATCHES = 0.1, 10, 12
NAMES = list(SCHEDULES)
BY_EPOCH = [name for name, (_, each, _) in SCHEDULES.items() if each == "epoch"]
PARTS = ["warmup", "constant", "linear", "polynomial", "exponential", "step", "cosine", "cyclic"]
LOSSES = [1.0, 0.9, 0.95, 0.95, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9]


def curve(name, num_epochs=EPOCHS, batches=BATCHES, **settings):
    losses = [1.0] * num_epochs if name == "plateau" else None
    return lr_curve(name, LR, num_epochs=num_epochs, batches=batches, **{"losses": losses, **settings})[1]


def rises(values):
    return all(later > earlier for earlier, later in zip(values, values[1:], strict=False))


def falls(values):
    return rises(values[::-1])


def is_straight(values):
    steps = [later - earlier for earlier, later in zip(values, values[1:], strict=False)]
    return max(steps) - min(steps) < 1e-9


def by_epoch(values):
    """Return one rate for each epoch, after a check that it does not move within one; the end is left out."""
    epochs = [values[i : i + BATCHES] for i in range(0, EPOCHS * BATCHES, BATCHES)]
    assert all(len(set(epoch)) == 1 for epoch in epochs)
    return [epoch[0] for epoch in epochs]


def test_constant_never_moves():
    assert set(curve("constant")) == {LR}


@pytest.mark.parametrize("end", [0.0, 0.25])
def test_linear_is_a_straight_line_to_its_end(end):
    lrs = curve("linear", end=end)
    assert lrs[0] == LR and lrs[-1] == pytest.approx(end * LR, abs=1e-12) and falls(lrs) and is_straight(lrs)


@pytest.mark.parametrize("power", [1.0, 2.0, 0.9])
def test_polynomial_is_a_power_of_what_is_left(power):
    lrs = curve("polynomial", power=power)
    total = EPOCHS * BATCHES
    assert lrs == pytest.approx([LR * (1 - t / total) ** power for t in range(total + 1)], abs=1e-12)


def test_exponential_loses_the_same_share_after_each_epoch_and_ends_at_a_hundredth():
    lrs = curve("exponential")
    assert by_epoch(lrs) == pytest.approx([LR * 0.01 ** (epoch / EPOCHS) for epoch in range(EPOCHS)])
    assert lrs[-1] == pytest.approx(LR / 100)
    assert by_epoch(curve("exponential", gamma=0.5))[3] == pytest.approx(LR / 8)


def test_step_has_three_stairs_of_a_tenth_each():
    assert by_epoch(curve("step")) == pytest.approx([LR] * 4 + [LR / 10] * 4 + [LR / 100] * 2)
    assert by_epoch(curve("step", step_size=6, gamma=0.5)) == pytest.approx([LR] * 6 + [LR / 2] * 4)


def test_cosine_is_half_a_cosine():
    lrs = curve("cosine")
    expected = LR / 2 * (1 + torch.linspace(0, torch.pi, len(lrs), dtype=torch.float64).cos())
    assert lrs == pytest.approx(expected.tolist(), abs=1e-12) and lrs[-1] == 0
    assert curve("cosine", eta_min=0.01)[-1] == pytest.approx(0.01)


def test_triangular_goes_straight_up_and_straight_down_to_0():
    lrs = curve("triangular")
    top = lrs.index(max(lrs))
    assert top == round(0.2 * EPOCHS * BATCHES) and lrs[0] == pytest.approx(0.2 * LR) and lrs[top] == pytest.approx(LR)
    assert lrs[-1] == pytest.approx(0, abs=1e-12)
    assert rises(lrs[: top + 1]) and is_straight(lrs[: top + 1]) and falls(lrs[top:]) and is_straight(lrs[top:])
    assert curve("triangular", peak=0.5, start=0.1).index(max(curve("triangular", peak=0.5))) == EPOCHS * BATCHES // 2


def test_cyclic_goes_up_and_down_four_times_and_ends_low():
    lrs = curve("cyclic")
    half = EPOCHS * BATCHES // 8
    for start in range(0, EPOCHS * BATCHES, 2 * half):
        up, down = lrs[start : start + half + 1], lrs[start + half : start + 2 * half + 1]
        assert rises(up) and falls(down) and is_straight(up) and is_straight(down)
        assert (up[0], up[-1], down[-1]) == pytest.approx((LR / 10, LR, LR / 10))
    shrinking = curve("cyclic", mode="triangular2", cycles=2)
    assert shrinking[30] == pytest.approx(LR) and shrinking[90] == pytest.approx(0.55 * LR)


def test_one_cycle_climbs_for_three_tenths_and_ends_at_almost_nothing():
    lrs = curve("one_cycle")
    top = lrs.index(max(lrs))
    assert abs(top / (EPOCHS * BATCHES) - 0.3) < 0.02 and rises(lrs[: top + 1]) and falls(lrs[top:])
    assert (lrs[0], lrs[-1]) == pytest.approx((LR / 25, LR / 25e4)) and lrs[top] == pytest.approx(LR, rel=0.01)


def test_plateau_cuts_to_a_tenth_once_the_loss_has_not_fallen_for_more_than_patience_epochs():
    assert curve("plateau", num_epochs=11)[-1] == LR  # the first sets the mark, and ten more are borne
    assert curve("plateau", num_epochs=12)[-1] == pytest.approx(LR / 10)
    lrs = curve("plateau", losses=LOSSES, patience=1)
    assert by_epoch(lrs) == pytest.approx([LR] * 4 + [LR / 10] * 3 + [LR / 100] * 2 + [LR / 1000])


def test_sequential_warms_up_for_a_tenth_and_then_follows_a_cosine():
    lrs = curve("sequential")
    early = EPOCHS * BATCHES // 10
    assert lrs[0] == pytest.approx(LR / 100) and rises(lrs[: early + 1]) and is_straight(lrs[: early + 1])
    expected = LR / 2 * (1 + torch.linspace(0, torch.pi, len(lrs) - early, dtype=torch.float64).cos())
    assert lrs[early:] == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize("first", PARTS)
@pytest.mark.parametrize("then", PARTS)
def test_any_two_parts_in_turn_are_each_the_same_curve_as_alone(first, then):
    lrs = curve("sequential", num_epochs=2, first=first, then=then, share=0.5)

    def alone(name):
        if name == "warmup":
            return [LR * (0.01 + 0.99 * t / BATCHES) for t in range(BATCHES)]
        epoch_wise = name in BY_EPOCH
        return curve(name, **({"num_epochs": BATCHES, "batches": 1} if epoch_wise else {"num_epochs": 1}))[:BATCHES]

    assert lrs[:BATCHES] == pytest.approx(alone(first), abs=1e-12)
    assert lrs[BATCHES:-1] == pytest.approx(alone(then), abs=1e-12)


@pytest.mark.parametrize("num_epochs, batches", [(1, 1), (1, 2), (2, 1), (1, 9), (3, 3), (4, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_the_shortest_runs_have_a_schedule_too(name, num_epochs, batches):
    lrs = curve(name, num_epochs, batches)
    assert len(lrs) == num_epochs * batches + 1
    assert all(0 < lr <= LR * (1 + 1e-9) for lr in lrs[:-1]) and 0 <= lrs[-1] <= LR


@pytest.mark.parametrize("share", [0.1, 0.5, 0.25, 1.0])
def test_one_cycle_may_climb_for_any_share_of_a_short_run(share):
    for batches in (1, 3, 9, 19):
        assert max(curve("one_cycle", 1, batches, pct_start=share)) <= LR


def test_a_curve_has_the_positions_of_its_batches_in_epochs():
    epochs, lrs = lr_curve("cosine", LR, num_epochs=2, batches=4)
    assert epochs == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2] and len(lrs) == 9


TORCHS = {
    "each epoch": (torch.optim.lr_scheduler.StepLR, {"step_size": 2, "gamma": 0.5}),
    "the steps of the run": (lambda optimizer, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps), {}),
    "the epochs of the run": (
        lambda optimizer, num_epochs: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num_epochs),
        {},
    ),
    "one cycle": (
        lambda optimizer, steps, low: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, steps, div_factor=low),
        {"low": 10},
    ),
    "chained": (
        lambda optimizer: torch.optim.lr_scheduler.ChainedScheduler(
            [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), torch.optim.lr_scheduler.StepLR(optimizer, 3)]
        ),
        {},
    ),
}


def by_hand(function, settings, by_batch):
    """Return the learning rate of each batch under a scheduler that is stepped by hand, and the one after the last."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR, momentum=0.9)
    lengths = {"steps": EPOCHS * BATCHES, "num_epochs": EPOCHS}
    given = {name: value for name, value in (lengths | settings).items() if name in function.__code__.co_varnames}
    scheduler = function(optimizer, **given)
    lrs = [optimizer.param_groups[0]["lr"]]
    for i in range(1, EPOCHS * BATCHES + 1):
        if by_batch or i % BATCHES == 0:
            optimizer.step()
            scheduler.step()
        lrs.append(optimizer.param_groups[0]["lr"])
    return lrs


@pytest.mark.parametrize("kind", TORCHS)
def test_torchs_own_schedulers_step_after_each_batch_or_epoch(kind):
    function, settings = TORCHS[kind]
    by_batch = kind in ("the steps of the run", "one cycle")
    if isinstance(function, type):
        expected = by_hand(lambda optimizer: function(optimizer, 2, 0.5), {}, by_batch)
    else:
        expected = by_hand(function, settings, by_batch)
    assert len(set(expected)) > 3
    assert curve(function, **settings) == expected


def other_optimizer():
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)


@pytest.mark.parametrize(
    "name, settings, told",
    [
        ("warm_restarts", {}, ", ".join(NAMES)),
        ("cosine", {"T_max": 3}, "eta_min=0.0"),
        ("constant", {"factor": 3}, "It has no settings"),
        ("plateau", {"factor": 1.5}, "Factor"),
        ("triangular", {"peak": 1.0}, "fraction"),
        ("sequential", {"share": 0}, "fraction"),
        ("sequential", {"then": "plateau"}, "two of"),
        ("cyclic", {"mode": "square"}, "mode"),
        ("cosine", {"num_epochs": 0}, "num_epochs"),
        ("cosine", {"batches": 1.5}, "batches"),
        (torch.optim.lr_scheduler.StepLR, {}, "step_size"),
        (lambda optimizer: "none", {}, "LRScheduler"),
        (lambda optimizer: torch.optim.lr_scheduler.StepLR(other_optimizer(), 1), {}, "another optimizer"),
        (3, {}, "object of the class int"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_the_optimizer_alone(name, settings, told):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=LR, momentum=0.5)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(CourseworkError) as caught:
        make_schedule(name, optimizer, **{"num_epochs": 3, "batches": 4, **settings})
    assert told in str(caught.value) and len(str(caught.value).splitlines()) < 10
    assert optimizer.param_groups[0] == before


def test_the_curve_of_plateau_needs_a_loss_for_each_epoch():
    for losses in (None, [1.0, 2.0]):
        with pytest.raises(CourseworkError, match="depends on the losses"):
            lr_curve("plateau", LR, num_epochs=3, batches=2, losses=losses)
