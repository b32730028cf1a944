"""Notebook 04: other right answers, and wrong ones with the hint that each should get."""

import copy

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from utils import my_utils
from utils.teaching.loops import Watched
from utils.training import Step


def loop(*, zero="before", steps=True, mode=True, means=False, late=False, skip=0, give=None):
    """Return a training epoch, with switches for its mistakes."""

    def train_epoch(net, train_iter, loss, optimizer):
        net.train(mode)
        rows = []
        for X, y in train_iter[: 1 if skip == "rest" else len(train_iter) - skip]:
            if zero == "before":
                optimizer.zero_grad()
            y_hat = net(X)
            batch_loss = loss(y_hat, y)
            batch_loss.backward()
            if zero == "between":
                optimizer.zero_grad()
            if steps:
                optimizer.step()
            if late:
                y_hat = net(X)
            value = loss(y_hat, y)
            rows.append((value, (y_hat.argmax(1) == y).sum().item(), len(y)))
        total = sum(n for _, _, n in rows)
        if give is not None:
            return give(rows, total)
        if means:
            return sum(a.item() for a, _, _ in rows) / len(rows), sum(c / n for _, c, n in rows) / len(rows)
        return sum(a.item() * n for a, _, n in rows) / total, sum(c for _, c, _ in rows) / total

    return train_epoch


def evaluation(*, evals=True, gradients=False, means=False, skip=0, factor=1.0, counts=False):
    def evaluate_accuracy(net, data_iter):
        if evals:
            net.eval()
        with torch.set_grad_enabled(gradients):
            rows = [((net(X).argmax(1) == y).float().sum().item(), len(y)) for X, y in data_iter]
        rows = rows[: len(rows) - skip]
        if means:
            return sum(c / n for c, n in rows) / len(rows)
        return factor * sum(c for c, _ in rows) / (1 if counts else sum(n for _, n in rows))

    return evaluate_accuracy


NAMES = ("epoch", "train_loss", "train_acc", "val_acc")


def epochs(*, count=0, calls="all", early=False, on="val", keys=NAMES, first=1, factor=1):
    def train_epochs(net, train_iter, val_iter, loss, num_epochs, optimizer, callbacks=()):
        rows = []
        for number in range(num_epochs + count):
            measured = train_iter if on == "train" else val_iter
            before = my_utils.evaluate_accuracy(net, measured)
            train_loss, train_acc = my_utils.train_epoch_ch3(net, train_iter, loss, optimizer)
            after = my_utils.evaluate_accuracy(net, measured)
            values = (number + first, train_loss, factor * train_acc, before if early else after)
            rows.append(dict(zip(keys, values, strict=True)))
            if calls == "all":
                [callback(rows) for callback in callbacks]
            if calls == "last":
                [callback(rows[-1]) for callback in callbacks]
        if calls == "end":
            [callback(rows) for callback in callbacks]
        return rows

    return train_epochs


class Sums:
    def __init__(self, n):
        self.sums = dict.fromkeys(range(n), 0)

    def add(self, *values):
        for i, value in enumerate(values):
            self.sums[i] = self.sums[i] + value

    def __getitem__(self, i):
        return self.sums[i]


class SharedSums:
    data = [0, 0, 0]

    def __init__(self, n):
        pass

    def add(self, *values):
        for i, value in enumerate(values):
            self.data[i] = self.data[i] + value

    def __getitem__(self, i):
        return self.data[i]


class LastValues(Sums):
    def add(self, *values):
        self.sums = dict(enumerate(values))


class NoIndex:
    def __init__(self, n):
        self.data = [0] * n


class OneSum(Sums):
    def __init__(self, n):
        self.sums = {0: 0}


class Floats(Sums):
    def add(self, *values):
        super().add(*map(float, values))


def step(*, autocast=True, inside=False, clip="norm", zero=True, steps=True, graph=False, pair=True, kind="bfloat16"):
    def my_step(net, X, y, loss, optimizer):
        if zero:
            optimizer.zero_grad()
        if kind == "all":
            net, X = net.bfloat16(), X.bfloat16()
        with torch.autocast("cpu", dtype=torch.float16 if kind == "float16" else torch.bfloat16, enabled=autocast):
            y_hat = net(X)
        batch_loss = loss(y_hat if inside else y_hat.float(), y)
        if clip == "early":
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        batch_loss.backward()
        if clip == "norm":
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if clip == "value":
            nn.utils.clip_grad_value_(net.parameters(), 1.0)
        if steps:
            optimizer.step()
        if clip == "late":
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if not pair:
            return batch_loss.detach()
        return (batch_loss, y_hat) if graph else (batch_loss.detach(), y_hat.detach())

    return my_step


def average(*, old=0.9, new=0.1, copies=True, begins=None, updates=True, shown=True, spoils=False, named=True):
    class MyAverage:
        def __init__(self, d):
            self.net = None

        @torch.no_grad()
        def after_batch(self, training):
            if self.net is None:
                self.net = copy.deepcopy(training.net) if copies else training.net
                if begins is not None:
                    [weight.fill_(begins) for weight in self.net.parameters()]
                if shown:
                    training.measured_net = self.net
            if updates and copies:
                for mean, weight in zip(self.net.parameters(), training.net.parameters(), strict=True):
                    mean.copy_(old * mean + new * weight)
            if spoils:
                [weight.zero_() for weight in training.net.parameters()]
            if not named:
                self.average = self.__dict__.pop("net")

    return MyAverage


def checkpoint(**changes):
    net = Watched()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer)
    parts = {"network": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    parts |= {"position": 6, "random state": torch.random.get_rng_state()}
    return {name: value for name, value in (parts | changes).items() if value is not None}


def confidence(*, chosen="wrong", logits=False, true=False, means=False, empty=0.0, evals=True, share=False, row=False):
    @torch.no_grad()
    def confidence_when_wrong(net, data_iter):
        if evals:
            net.eval()
        batches = []
        for X, y in data_iter:
            y_hat = net(X)
            is_wrong = y_hat.argmax(1) != y
            p = y_hat if logits else F.softmax(y_hat, 1)
            values = p[torch.arange(len(y)), y] if true else p.sum(1) if row else p.amax(1)
            batches.append(values[{"wrong": is_wrong, "right": ~is_wrong, "all": is_wrong | True}[chosen]])
        if means:
            return torch.stack([values.mean() for values in batches if len(values)]).mean().item()
        values = torch.cat(batches)
        if share:
            return values.sum() / sum(len(y) for _, y in data_iter)
        return values.mean().item() if len(values) or empty is None else empty

    return confidence_when_wrong


def plot(*, first=1, lines=2, legend=True, labels=True, swap=False, give=lambda figure: figure):
    def plot_train_test(train_accs, test_accs):
        ax = plt.figure().gca()
        for name, values in list({"training": train_accs, "test": test_accs}.items())[:lines]:
            values = sorted(values, reverse=True) if swap else values
            ax.plot([first + i for i in range(len(values))], values, label=name)
        if labels:
            plt.xlabel("epoch")
            plt.ylabel("accuracy")
        if legend:
            plt.legend()
        return give(ax.figure)

    return plot_train_test


class Running:
    """Report C's loss: the sums at the end of the last group of batches, with switches for the mistakes."""

    reset, whole, each, single, by_batches = True, False, False, False, False

    def __init__(self, every=100):
        self.every, self.losses, self.old, self.sums = every, [], [0.0, 0], [0.0, 0]

    def after_batch(self, training):
        total, _, count = training.metric
        if training.batch == 1 and self.reset:
            self.old, self.sums = [0.0, 0], [0.0, 0]
        if self.each or training.batch % self.every == 0:
            old = self.sums if self.single else [0.0, 0] if self.whole else self.old
            self.losses.append(float(total - old[0]) / (self.every if self.by_batches else (count - old[1]) or 1))
            self.old = [float(total), count]
        self.sums = [float(total), count]


class NoList:
    def __init__(self, every):
        pass

    def after_batch(self, training):
        pass


def running(**switches):
    return type("Changed", (Running,), switches)


ACCURACY = {
    "share": lambda y_hat, y: (y_hat.argmax(1) == y).float().mean(),
    "wrong_dimension": lambda y_hat, y: (y_hat.argmax(0) == y).sum(),
    "not_one_number": lambda y_hat, y: y_hat.argmax(1) == y,
    "counts_errors": lambda y_hat, y: (y_hat.argmax(1) != y).sum(),
}
LOOP = {
    "no_step": loop(zero="between"),
    "no_zero_grad": loop(zero="never"),
    "last_batch": loop(skip=1),
    "one_batch": loop(skip="rest"),
    "batch_means": loop(means=True),
    "not_weighted": loop(give=lambda rows, n: (sum(a for a, _, _ in rows).item() / n, sum(c for _, c, _ in rows) / n)),
    "late": loop(late=True),
    "counts": loop(give=lambda rows, total: (sum(a.item() for a, _, _ in rows), sum(c for _, c, _ in rows) / total)),
}
EVALUATION = {
    "batch_means": evaluation(means=True),
    "last_batch": evaluation(skip=1),
    "counts": evaluation(counts=True),
    "percent": evaluation(factor=100),
    "gradients": evaluation(gradients=True),
}
ALSO_RIGHT = {
    "04.accumulator": Sums,
    "04.accuracy": lambda y_hat, y: sum(int(row.argmax()) == int(label) for row, label in zip(y_hat, y, strict=True)),
    "04.epoch": my_utils.train_epoch_ch3,
    "04.evaluate": my_utils.evaluate_accuracy,
    "04.mistake": "net.eval()  # dropout off",
    "04.epochs": epochs(),
    "04.step": Step("bf16", clip_norm=1.0),
    "04.average": average(),
    "04.checkpoint": checkpoint(**{"random state": torch.get_rng_state(), "epoch": 0}),
    "04.confidence": confidence(),
    "04.plot": plot(give=lambda figure: figure.axes[0]),
    "04.running-loss": Running,
}
WRONG = {
    "04.accumulator": {
        "shared": SharedSums,
        "overwrites": LastValues,
        "wrong_length": OneSum,
        "no_index": NoIndex,
        "waits": Floats,
    },
    "04.accuracy": ACCURACY,
    "04.epoch": LOOP
    | {
        "eval_mode": loop(mode=False),
        "swapped": loop(
            give=lambda rows, n: (sum(c for _, c, _ in rows) / n, sum(a.item() * m for a, _, m in rows) / n)
        ),
        "graph": loop(give=lambda rows, total: (sum(a * n for a, _, n in rows) / total, 0.5)),
        "wrong_type": loop(give=lambda rows, total: [sum(a.item() * n for a, _, n in rows) / total]),
    },
    "04.evaluate": EVALUATION | {"training_mode": evaluation(evals=False)},
    "04.mistake": {
        "not_a_line": 7,
        "gradients": "torch.no_grad()",
        "step": "optimizer.zero_grad()",
        "softmax": "scores = scores.softmax(1)",
        "trains": "model.train()",
        "brackets": "model.eval",
        "other_line": "model.cuda()",
    },
    "04.epochs": {
        "no_rows": epochs(keys=("epoch", "loss", "acc", "val_acc")),
        "number": epochs(count=-1),
        "callbacks": epochs(calls="end"),
        "too_early": epochs(early=True),
        "wrong_images": epochs(on="train"),
        "from_zero": epochs(first=0),
        "training": epochs(factor=100),
        "nothing": lambda *arguments, **settings: None,
    },
    "04.step": {
        "no_autocast": step(autocast=False),
        "half_loss": step(inside=True),
        "no_clip": step(clip="early"),
        "other_half": step(kind="float16"),
        "half_weights": step(kind="all"),
        "late_clip": step(clip="late"),
        "by_value": step(clip="value"),
        "no_zero_grad": step(zero=False),
        "no_step": step(steps=False),
        "graph": step(graph=True),
        "two_results": step(pair=False),
    },
    "04.average": {
        "same_object": average(copies=False),
        "exchanged": average(old=0.1, new=0.9),
        "from_zero": average(begins=0.0),
        "never": average(updates=False),
        "not_measured": average(shown=False),
        "changes_net": average(spoils=True),
        "no_net": average(named=False),
    },
    "04.checkpoint": {
        "missing": checkpoint(optimizer=None),
        "object": checkpoint(network=Watched()),
        "position": checkpoint(position=12),
        "random_state": checkpoint(**{"random state": 0}),
        "no_weights": checkpoint(network={}),
        "wrong_type": [1, 2],
    },
    "04.confidence": {
        "all_answers": confidence(chosen="all"),
        "right_answers": confidence(chosen="right"),
        "all_counted": confidence(share=True),
        "all_classes": confidence(row=True),
        "logits": confidence(logits=True),
        "true_class": confidence(true=True),
        "batch_means": confidence(means=True),
        "no_mistakes": confidence(empty=None),
        "training_mode": confidence(evals=False),
    },
    "04.plot": {
        "no_figure": plot(give=lambda figure: 3),
        "two_curves": plot(lines=1),
        "no_legend": plot(legend=False),
        "no_labels": plot(labels=False),
        "from_zero": plot(first=0),
        "other_values": plot(swap=True),
        "nothing": plot(give=lambda figure: None),
    },
    "04.running-loss": {
        "no_losses": NoList,
        "whole_epoch": running(whole=True),
        "last_only": running(single=True),
        "not_reset": running(reset=False),
        "every_batch": running(each=True),
        "per_batch": running(by_batches=True),
    },
}
