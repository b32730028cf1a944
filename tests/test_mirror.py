"""The mirror: TensorBoard's files hold the ledger's figures, and who has no TensorBoard is told so in words."""

import builtins
import sys
from types import SimpleNamespace

import pytest
import torch.nn.functional as F
from training_parts import StopAfter, parts

from utils.checkpoints import Checkpoints
from utils.errors import CourseworkError
from utils.mirror import TensorBoard
from utils.my_utils import train_ch3


def train(folder, *watchers):
    net, train_iter, test_iter, optimizer = parts()
    watchers = [Checkpoints(folder, every=0), TensorBoard(), *watchers]
    return train_ch3(net, train_iter, test_iter, F.cross_entropy, 3, optimizer, watchers=watchers, curves=False)


def test_the_mirror_holds_each_epoch_of_a_resumed_training_once(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (requirements-extra.txt)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tmp_path, StopAfter(12))
    history = train(tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in found.Scalars("test/acc")] == [1, 2, 3]
    values = [event.value for event in found.Scalars("test/acc")]
    assert values == pytest.approx(history["test_acc"])
    assert {"train/loss", "points/loss", "lr"} <= set(found.Tags()["scalars"])


class Writer:
    """Stand in for TensorBoard's writer, and remember what it is told."""

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.told = folder, purge_step, []

    def add_scalar(self, name, value, step):
        self.told.append((name, value, step))

    def flush(self):
        self.told.append("flush")

    def close(self):
        self.told.append("close")


@pytest.fixture
def writers(monkeypatch):
    """List the writers that are made from here on, whether or not TensorBoard is installed."""
    made = []
    module = SimpleNamespace(SummaryWriter=lambda *words, **more: made.append(Writer(*words, **more)) or made[-1])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return made


def test_each_figure_and_point_is_written_once_at_its_own_step_and_seen_after_each_epoch(tmp_path, writers):
    mirror = TensorBoard(tmp_path / "of my own")
    net, train_iter, test_iter, optimizer = parts()
    history = train_ch3(net, train_iter, test_iter, F.cross_entropy, 2, optimizer, watchers=[mirror], curves=False)
    (writer,) = writers
    assert (writer.folder, writer.purge_step) == (str(tmp_path / "of my own"), 1)
    expected = []
    for number, row in enumerate(history.rows, 1):
        figures = {name.replace("_", "/"): value for name, value in row.items() if name != "epoch"}
        points = [point for point in history.points if number - 1 < point["epoch"] <= number]
        expected += [(name, value, number) for name, value in figures.items()]
        expected += [("points/loss", point["loss"], round(1000 * point["epoch"])) for point in points]
        expected += ["flush"]
    assert expected.count("flush") == 2 and ("points/loss", history.points[-1]["loss"], 2000) in expected
    assert writer.told == [*expected, "close"]


def test_a_training_that_is_stopped_before_its_first_epoch_leaves_no_file(tmp_path, writers):
    train(tmp_path, StopAfter(1))
    assert writers == []


def test_without_tensorboard_the_error_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *words, **more):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError("no tensorboard")
        return real(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(CourseworkError, match="needs the package tensorboard") as caught:
        train(tmp_path)
    assert "requirements-extra.txt" in caught.value.next_step
