"""Schedules in a training: what they do to the optimizer, and resuming at every batch."""

import io
import json
import types
import warnings

import pytest
import torch
from torch import nn

from utils.errors import CourseworkError
from utils.my_utils import train_ch3
from utils.optim.optimizers import make_optimizer
from utils.optim.schedules import SCHEDULES, lr_curve, make_schedule
from utils.runs.same_training import settings_of

LR, EPOCHS = 0.1, 10
NAMES = list(SCHEDULES)
BY_EPOCH = [name for name, (_, each, _) in SCHEDULES.items() if each == "epoch"]
LOSSES = [1.0, 0.9, 0.95, 0.95, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9]


class Run:
    """An optimizer of two groups with its schedule, driven as train_ch3 drives them, and all that it set."""

    def __init__(self, name, lr=LR, optimizer="muon", state=None, **settings):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
        self.optimizer = make_optimizer(optimizer, self.net, lr)
        if state:  # before the schedule is made
            self.optimizer.load_state_dict(state)
        self.schedule = make_schedule(name, self.optimizer, num_epochs=EPOCHS, batches=3, **settings)
        self.training = types.SimpleNamespace(watched="val", history=types.SimpleNamespace(rows=[]))

    def drive(self, begin, end):
        """Go from batch to batch; return what the schedule moves, of each group, as it is for each batch."""
        seen = []
        for i in range(begin, end):
            groups = self.optimizer.param_groups
            seen.append([(g["lr"], g.get("momentum"), g.get("betas")) for g in groups])
            for parameter in self.net.parameters():
                parameter.grad = torch.ones_like(parameter)
            self.optimizer.step()
            self.schedule.after_batch(self.training)
            if i % 3 == 2:
                self.training.history.rows.append({"val_loss": LOSSES[i // 3]})
                self.schedule.after_epoch(self.training)
        return seen


def saved(*states):
    file = io.BytesIO()
    torch.save(states, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_goes_on_exactly_from_any_batch_in_whatever_order_it_is_loaded(name, optimizer):
    settings = {"patience": 1} if name == "plateau" else {}
    whole = Run(name, optimizer=optimizer, **settings).drive(0, 3 * EPOCHS)
    for stop in range(3 * EPOCHS + 1):
        first = Run(name, optimizer=optimizer, **settings)
        assert first.drive(0, stop) == whole[:stop]
        mine, other = saved(first.schedule.state_dict(), first.optimizer.state_dict())
        for order in ("schedule last", "schedule first", "optimizer before the schedule is made"):
            second = Run(name, optimizer=optimizer, state=other if "before" in order else None, **settings)
            if order == "schedule last":
                second.optimizer.load_state_dict(other)
            second.schedule.load_state_dict(mine)
            if order == "schedule first":
                second.optimizer.load_state_dict(other)
            assert second.drive(stop, 3 * EPOCHS) == whole[stop:]


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_leave_the_state_that_was_given_alone(name):
    run = Run(name)
    run.drive(0, 5)
    state = run.schedule.state_dict()
    before = saved(state)[0]
    run.drive(5, 9)
    Run(name).schedule.load_state_dict(state)
    assert state == before


@pytest.mark.parametrize("name", NAMES)
def test_groups_keep_the_proportions_of_their_rates(name):
    run = Run(name)
    rates = 0.1, 0.4
    run.optimizer = torch.optim.SGD(
        [{"params": [p], "lr": lr} for p, lr in zip(run.net[0].parameters(), rates, strict=True)]
    )
    run.schedule = make_schedule(name, run.optimizer, num_epochs=EPOCHS, batches=3)
    for (one, *_), (other, *_) in run.drive(0, 3 * EPOCHS):
        assert other == pytest.approx(4 * one)


@pytest.mark.parametrize("name", ["cyclic", "one_cycle"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_momentum_moves_against_the_rate_but_only_where_there_is_some(name, momentum):
    run = Run(name)
    run.optimizer = torch.optim.SGD(run.net.parameters(), lr=LR, momentum=momentum)
    run.schedule = make_schedule(name, run.optimizer, num_epochs=EPOCHS, batches=3)
    lrs, momenta = zip(*[groups[0][:2] for groups in run.drive(0, 3 * EPOCHS)], strict=True)
    if momentum:
        assert momenta[lrs.index(max(lrs))] == min(momenta) < max(momenta) == momenta[lrs.index(min(lrs[:5]))]
    else:
        assert set(momenta) == {0.0}


@pytest.mark.parametrize("name", ["cyclic", "one_cycle"])
def test_an_optimizer_that_has_no_momentum_can_be_scheduled(name):
    optimizer = torch.optim.Adagrad(torch.nn.Linear(2, 2).parameters(), lr=LR)
    schedule = make_schedule(name, optimizer, num_epochs=EPOCHS, batches=3)
    assert "momentum" not in schedule.scheduler.optimizer.param_groups[0]


@pytest.mark.parametrize("name", NAMES)
def test_after_its_end_a_schedule_stays_where_it_is(name):
    run = Run(name)
    run.drive(0, 3 * EPOCHS)
    end = run.optimizer.param_groups[0]["lr"]
    for _ in range(9):
        run.schedule.after_batch(run.training)
    if name != "plateau":
        run.schedule.after_epoch(run.training)
    assert run.optimizer.param_groups[0]["lr"] == end


def test_a_loaded_schedule_ends_where_it_was_planned_to_end():
    run = Run("cosine")
    run.drive(0, 20)
    schedule = make_schedule("cosine", run.optimizer, num_epochs=2 * EPOCHS, batches=3)
    schedule.load_state_dict(run.schedule.state_dict())
    run.schedule = schedule
    run.drive(20, 3 * EPOCHS)
    for _ in range(5):
        schedule.after_batch(run.training)
    assert run.optimizer.param_groups[0]["lr"] == 0


def test_a_second_schedule_starts_from_the_rate_that_it_finds():
    run = Run("one_cycle", optimizer="sgd")
    run.optimizer.param_groups[0]["lr"] = 0.5
    schedule = make_schedule("linear", run.optimizer, num_epochs=1, batches=4)
    assert run.optimizer.param_groups[0]["lr"] == 0.5
    schedule.after_batch(None)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.375)


@pytest.mark.parametrize("name", NAMES)
def test_a_description_holds_every_setting_and_survives_json(name):
    described = Run(name).schedule.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == name and described["each"] == SCHEDULES[name][1]
    assert described["steps"] == {"constant": None, "plateau": None}.get(name, 10 if name in BY_EPOCH else 30)
    assert Run("plateau", patience=3).schedule.describe()["settings"]["factor"] == 0.1
    described = {"name": "StepLR", "each": "epoch", "steps": None, "settings": {"step_size": 2}}
    assert Run(torch.optim.lr_scheduler.StepLR, step_size=2).schedule.describe() == described


def test_a_saved_schedule_of_another_kind_or_for_other_groups_is_refused():
    state = Run("linear").schedule.state_dict()
    for other in (Run("cosine"), Run("linear", optimizer="sgd")):
        before = other.schedule.state_dict()
        with pytest.raises(CourseworkError, match="another name, or another number"):
            other.schedule.load_state_dict(state)
        assert other.schedule.state_dict() == before


def test_a_schedule_knows_the_peaks_of_all_groups_whatever_torch_writes_over_them():
    def one_cycle(optimizer, steps):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, steps)

    assert Run(one_cycle).schedule.peaks == [0.4, 0.4]
    assert Run("one_cycle").schedule.peaks == [LR, LR]
    assert Run(torch.optim.lr_scheduler.StepLR, step_size=3).schedule.peaks == [LR, LR]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_follows_the_curve_without_a_warning_and_the_run_log_notes_the_rate_that_was_chosen(name):
    X, y = torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)
    net, train_iter = nn.Linear(2, 2), [(X, y)] * 4
    optimizer = make_optimizer("sgd", net, 0.01, momentum=0.9)
    settings = {"patience": 0, "threshold": 0.9} if name == "plateau" else {}
    schedule = make_schedule(name, optimizer, num_epochs=3, batches=4, **settings)
    seen, noted = [], []
    recorder = types.SimpleNamespace(
        after_batch=lambda training: seen.append(training.lr),
        after_epoch=lambda training: noted.append(settings_of(training)["lr"]),
    )
    first = optimizer.param_groups[0]["lr"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {"callbacks": (schedule, recorder), "watched": "val", "curves": False, "record": False}
        history = train_ch3(net, train_iter, train_iter, nn.CrossEntropyLoss(), 3, optimizer, **options)
    losses = history["val_loss"] if name == "plateau" else None
    expected = lr_curve(name, 0.01, num_epochs=3, batches=4, losses=losses, **settings)[1]
    assert first == expected[0]
    # Schedules by epochs move after the callback has looked, and so it sees the batch's own rate.
    assert seen == (expected[:-1] if name in BY_EPOCH else expected[1:])
    assert optimizer.param_groups[0]["lr"] == expected[-1]
    assert noted == [0.01] * 3


def test_a_step_left_out_by_a_grad_scaler_brings_no_warning():
    schedule = Run("cosine").schedule
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.after_batch(None)  # before any step of the optimizer
