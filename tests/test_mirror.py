"""The mirror: TensorBoard's files hold the ledger's figures, and who has no TensorBoard is told so in words."""

import builtins

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
