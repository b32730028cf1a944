"""What students bring along as callbacks: torch's schedulers, metrics, functions; early stopping and the best epoch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from training_parts import StopAfter, parts, same

from utils.errors import CheckpointError, CourseworkError
from utils.my_utils import loss_and_accuracy, train_ch3
from utils.runs.checkpoint_files import newest
from utils.runs.checkpoints import Checkpoints, weights_of
from utils.runs.run import all_runs
from utils.training.average import Average
from utils.training.best_epoch import EarlyStopping, KeepBest
from utils.training.callbacks import Metric
from utils.training.scheduler_callbacks import EachBatch, EachEpoch

pytestmark = pytest.mark.usefixtures("ledger_folder")
BATCHES, EPOCHS = 5, 4


def train(make=lambda optimizer: [], *, epochs=EPOCHS, measure=True, seed=0, folder=None, **options):
    """Train with make(optimizer) as callbacks; return (history, net, optimizer, the rate of each batch)."""
    net, train_iter, test_iter, optimizer = parts()
    torch.manual_seed(seed)
    rates = []
    callbacks = [*make(optimizer), lambda training: None]
    callbacks += [Checkpoints(folder)] if folder else []
    options = {"watched": "val", "curves": False, "record": False, "callbacks": callbacks, **options}

    def step(net, X, y, loss, optimizer):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        y_hat = net(X)
        value = loss(y_hat, y)
        value.backward()
        optimizer.step()
        return value.detach(), y_hat.detach()

    history = train_ch3(
        net, train_iter, test_iter if measure else None, F.cross_entropy, epochs, optimizer, step=step, **options
    )
    return history, net, optimizer, rates


PER_EPOCH = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "multi step": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [1, 3]),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS),
    "restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    "sequential": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.5)],
        [2],
    ),
}
PER_BATCH = {
    "one cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=BATCHES * EPOCHS),
    "cyclic": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, step_size_up=3),
    "asked for": lambda optimizer: EachBatch(lr_scheduler.ExponentialLR(optimizer, 0.9)),
}


def rates_by_torch(make, per_batch):
    """Return the rates of all batches by torch's own loop."""
    optimizer = parts()[3]
    scheduler = make(optimizer)
    scheduler = getattr(scheduler, "scheduler", scheduler)
    rates = []
    for _ in range(EPOCHS):
        for _ in range(BATCHES):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if per_batch:
                scheduler.step()
        if not per_batch:
            scheduler.step()
    return rates


@pytest.mark.parametrize("name", [*PER_EPOCH, *PER_BATCH])
def test_torchs_schedulers_move_the_rate_as_in_torchs_own_loop(name):
    make = {**PER_EPOCH, **PER_BATCH}[name]
    rates = train(lambda optimizer: [make(optimizer)])[3]
    assert rates == rates_by_torch(make, name in PER_BATCH) and len(set(rates)) > 1


@pytest.mark.parametrize(("mode", "column"), [("min", "val_loss"), ("max", "val_acc")])
def test_a_plateau_scheduler_steps_by_the_watched_loss_or_accuracy(mode, column):
    make = lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=0, threshold=0.02)  # noqa: E731
    history, _, _, rates = train(lambda optimizer: [make(optimizer)], epochs=6)
    optimizer = parts()[3]
    scheduler, expected = make(optimizer), []
    for value in history[column]:
        expected += BATCHES * [optimizer.param_groups[0]["lr"]]
        scheduler.step(value)
    assert rates == expected and rates[-1] < rates[0]


def plateau(optimizer):
    return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5)


@pytest.mark.parametrize("batches", [5, 12])
@pytest.mark.parametrize("name", [*PER_EPOCH, *PER_BATCH, "plateau"])
def test_every_scheduler_resumes_to_the_last_bit(tmp_path, name, batches):
    make = {**PER_EPOCH, **PER_BATCH, "plateau": plateau}[name]
    whole = train(lambda optimizer: [make(optimizer)])
    stopped = train(lambda optimizer: [make(optimizer), StopAfter(batches)], folder=tmp_path)
    resumed = train(lambda optimizer: [make(optimizer)], folder=tmp_path, seed=9)
    assert stopped[3] + resumed[3] == whole[3]
    assert same(whole[1].state_dict(), resumed[1].state_dict())
    assert whole[2].param_groups[0]["lr"] == resumed[2].param_groups[0]["lr"]


def test_another_scheduler_is_another_training(tmp_path):
    train(lambda optimizer: [lr_scheduler.StepLR(optimizer, 2)], folder=tmp_path)
    for other in (lr_scheduler.StepLR, lambda optimizer, n: lr_scheduler.ExponentialLR(optimizer, 0.5)):
        with pytest.raises(CheckpointError):
            train(lambda optimizer: [other(optimizer, 3)], folder=tmp_path)  # noqa: B023


@pytest.mark.parametrize(
    ("make", "name", "lr"),
    [
        (PER_BATCH["one cycle"], "OneCycleLR", 0.2),
        (PER_BATCH["cyclic"], "CyclicLR", 0.1),
        (PER_EPOCH["step"], "StepLR", 0.05),
        (plateau, "ReduceLROnPlateau", 0.05),
    ],
)
def test_the_record_names_the_scheduler_and_its_peak(make, name, lr):
    train(lambda optimizer: [make(optimizer)], record=True)
    settings = all_runs()[-1].record["settings"]
    assert (settings["schedule"], settings["lr"]) == (name, pytest.approx(lr))


class F1Score:
    """A metric as torchmetrics has them: the mean over classes of the F1 score."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.predicted, self.labels = [], []

    def update(self, y_hat, y):
        self.predicted.append(y_hat.argmax(1))
        self.labels.append(y)

    def compute(self):
        predicted, labels = torch.cat(self.predicted), torch.cat(self.labels)
        scores = []
        for k in range(10):
            hits = ((predicted == k) & (labels == k)).sum()
            scores.append(2 * hits / ((predicted == k).sum() + (labels == k).sum()).clamp(min=1))
        return torch.stack(scores).mean()


def test_a_metric_becomes_a_column_measured_on_the_watched_images_after_each_epoch():
    metric = F1Score()
    history, net, _, _ = train(lambda optimizer: [metric], record=True)
    other, test_iter = F1Score(), parts()[2]
    loss_and_accuracy(net, test_iter, None, metrics=[other])
    assert history["val_f1_score"][-1] == float(other.compute())
    assert len(set(history["val_f1_score"])) > 1
    assert all_runs()[-1].history()["val_f1_score"] == history["val_f1_score"]


def test_columns_are_called_like_their_classes():
    names = ["F1Score", "Accuracy", "MulticlassAUROC", "MeanSquaredError", "top_k"]
    columns = [Metric(type(name, (F1Score,), {})()).name for name in names]
    assert columns == ["f1_score", "accuracy", "multiclass_auroc", "mean_squared_error", "top_k"]


def test_a_metric_of_several_numbers_is_an_error_that_names_it():
    class Confusion(F1Score):
        def compute(self):
            return torch.zeros(10, 10)

    with pytest.raises(CourseworkError, match="one number") as caught:
        train(lambda optimizer: [Confusion()])
    assert caught.value.where == "Confusion"


def test_a_function_is_called_after_each_epoch():
    epochs = []
    train(lambda optimizer: [lambda training: epochs.append((training.epoch, len(training.history)))])
    assert epochs == [(1, 1), (2, 2), (3, 3), (4, 4)]


class Losses:
    """Replace the watched loss of each epoch by one of these."""

    column = "val_loss"

    def __init__(self, *values):
        self.values = values

    def after_epoch(self, training):
        training.history.rows[-1][self.column] = self.values[training.epoch - 1]


class Accuracies(Losses):
    """Replace the watched accuracy of each epoch by one of these."""

    column = "val_acc"


CURVE = (3.0, 2.0, 2.5, 1.9, 2.0, 1.95, 1.0, 1.0)


@pytest.mark.parametrize(("patience", "min_delta", "last", "best"), [(1, 0, 3, 2), (2, 0, 6, 4), (3, 0.2, 5, 2)])
def test_early_stopping_ends_where_the_loss_has_not_fallen_for_so_long(patience, min_delta, last, best):
    stopping = EarlyStopping("val_loss", patience, min_delta)
    history = train(lambda optimizer: [Losses(*CURVE), stopping], epochs=8, record=True)[0]
    assert len(history) == last and not history.stopped
    facts = {"epoch": last, "column": "val_loss", "best": CURVE[best - 1], "best_epoch": best, "patience": patience}
    (run,) = all_runs()
    assert run.state == "finished" and run.record["ended_early"] == facts == run.history().ended_early


def test_early_stopping_by_an_accuracy_waits_for_higher_ones_and_a_nan_is_no_better():
    accuracies = Accuracies(0.1, 0.3, float("nan"), 0.2, 0.25, 0.9)
    history = train(lambda optimizer: [accuracies, EarlyStopping("val_acc", 3)], epochs=6)[0]
    assert len(history) == 5 and history.ended_early["best_epoch"] == 2


def test_the_last_epoch_is_never_an_early_end():
    history = train(lambda optimizer: [Losses(1.0, 2.0, 3.0), EarlyStopping("val_loss", 2)], epochs=3)[0]
    assert len(history) == 3 and history.ended_early is None


@pytest.mark.parametrize("epochs", [1, 3, 5])
def test_early_stopping_counts_on_after_a_resume_and_an_early_end_stays_the_end(tmp_path, epochs, capsys):
    make = lambda optimizer: [Losses(*CURVE), EarlyStopping("val_loss", 2)]  # noqa: E731
    whole = train(make, epochs=8)
    train(lambda optimizer: [*make(optimizer), StopAfter(epochs * BATCHES)], epochs=8, folder=tmp_path)
    for _ in range(2):  # the second time there is nothing left to do
        resumed = train(make, epochs=8, folder=tmp_path, seed=9)
        assert same(whole[1].state_dict(), resumed[1].state_dict())
        assert resumed[0].ended_early == whole[0].ended_early and len(resumed[0]) == 6
    assert resumed[3] == [] and "complete" in capsys.readouterr().out


@pytest.mark.parametrize("averaged", [False, True])
def test_the_best_weights_are_put_back_at_the_end_and_are_those_of_the_checkpoint(tmp_path, averaged):
    def make(optimizer):
        return [Accuracies(0.1, 0.5, 0.2, 0.3), *[Average(0.5)] * averaged, KeepBest(restore=True)]

    short = train(lambda optimizer: make(optimizer)[:-1], epochs=2, folder=tmp_path / "short")[1].state_dict()
    net = train(make, folder=tmp_path / "whole")[1].state_dict()
    weights = weights_of(newest(tmp_path / "whole")[1])
    if averaged:  # the network that was measured is the average
        short = weights_of(newest(tmp_path / "short")[1])
    else:
        assert same(net, short)
        again = train(make, folder=tmp_path / "whole", seed=9)[1].state_dict()
        assert same(again, short)
    assert same(weights, short)


def test_of_two_callbacks_of_a_kind_the_one_that_restores_says_which_weights_count(tmp_path):
    def make(optimizer):
        losses = Losses(1.0, 4.0, 3.0, 2.0)  # by the loss, the first epoch is the best
        return [Accuracies(0.1, 0.5, 0.2, 0.3), losses, KeepBest("val_loss", restore=True), KeepBest()]

    first = train(lambda optimizer: make(optimizer)[:2], epochs=1)[1].state_dict()
    net = train(make, folder=tmp_path)[1].state_dict()
    assert same(net, first) and same(weights_of(newest(tmp_path)[1]), first)


def test_the_best_epoch_by_another_column_is_another_training(tmp_path):
    train(lambda optimizer: [KeepBest(), StopAfter(BATCHES)], folder=tmp_path)
    with pytest.raises(CourseworkError, match="val_loss"):
        train(lambda optimizer: [KeepBest("val_loss")], folder=tmp_path)


def test_early_stopping_follows_the_watched_loss_by_default():
    history = train(lambda optimizer: [EarlyStopping(min_delta=9.0, patience=2)], epochs=8, watched="test")[0]
    assert len(history) == 3 and history.ended_early["column"] == "test_loss"


def other_optimizer():
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


class TwoArguments:
    def __call__(self, training, loss):
        """Fit for nothing that calls it with one."""


class Misspelt:
    def after_epochs(self, training):
        """Never called."""


class HalfMisspelt(StopAfter):
    def on_epoch_end(self, training):
        """Never called, although after_batch of this class is."""


REFUSED = {
    "a misspelt method": (lambda optimizer: Misspelt(), "after_epochs"),
    "a misspelt method beside a right one": (lambda optimizer: HalfMisspelt(9), "on_epoch_end"),
    "a class": (lambda optimizer: Average, "Average is a class"),
    "a text": (lambda optimizer: "Average", "type str"),
    "nothing": (lambda optimizer: None, "NoneType"),
    "an object without events": (lambda optimizer: object(), "type object"),
    "a network": (lambda optimizer: nn.Linear(2, 2), "type Linear"),
    "the optimizer": (lambda optimizer: optimizer, "type SGD"),
    "a function of two arguments": (lambda optimizer: TwoArguments(), "one argument"),
    "a scheduler of another optimizer": (lambda o: lr_scheduler.StepLR(other_optimizer(), 2), "a different optimizer"),
    "no scheduler": (lambda optimizer: EachEpoch(print), "must have step"),
    "a plateau for each batch": (lambda optimizer: EachBatch(plateau(optimizer)), "after each epoch"),
    "a cycle that is too short": (lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=19), "19 steps.*needs 20"),
    "a column that is not there": (lambda optimizer: EarlyStopping("val_f1"), "val_f1"),
    "a best column that is not there": (lambda optimizer: KeepBest("test_acc"), "test_acc"),
    "a metric called like a column": (lambda optimizer: type("Loss", (F1Score,), {})(), "val_loss"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_before_anything_is_written(name):
    make, reason = REFUSED[name]
    with pytest.raises(CourseworkError, match=reason) as caught:
        train(lambda optimizer: [make(optimizer)], record="refused", curves=True)
    assert caught.value.next_step and not all_runs()


def test_a_cycle_that_ends_before_a_training_of_unknown_length_is_refused():
    class Unknown:
        def __iter__(self):
            return iter([(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))] * 3)

    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5)
    with pytest.raises(CourseworkError, match="more steps of OneCycleLR"):
        train_ch3(net, Unknown(), None, F.cross_entropy, 2, optimizer, callbacks=[cycle], curves=False, record=False)


@pytest.mark.parametrize("make", [plateau, lambda optimizer: F1Score(), lambda optimizer: EarlyStopping()])
def test_what_needs_watched_images_is_refused_without(make):
    with pytest.raises(CourseworkError):
        train(lambda optimizer: [make(optimizer)], measure=False, record=True)
    assert not all_runs()


def test_callbacks_must_be_a_list():
    with pytest.raises(CourseworkError, match="must be a list"):
        train(callbacks=EarlyStopping())
