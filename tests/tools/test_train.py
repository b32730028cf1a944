"""Tests of tools/train.py: it trains a recipe, resumes it, prints its accuracy, and explains mistakes."""

import pytest
from networks import bare_cnn

from tools import train
from utils.recipes import Recipe
from utils.recipes import reported as systems


@pytest.fixture
def tiny(monkeypatch):
    """Put a recipe that trains in a second among the systems."""
    monkeypatch.setitem(systems.SYSTEMS, "tiny", Recipe("tiny", bare_cnn, {"channels": 4}, batch_size=60, num_epochs=2))
    monkeypatch.setenv("CIFAR10_SOURCE", "synthetic")
    return "tiny"


def test_it_trains_saves_checkpoints_and_resumes(tiny, tmp_path, capsys):
    words = [tiny, "--effort", "check", "--folder", str(tmp_path), "--device", "cpu"]
    assert train.main(words) == 0
    out = capsys.readouterr().out
    assert "epoch 2" in out and str(tmp_path) in out
    assert list(tmp_path.glob("*.pt"))
    assert train.main(words) == 0
    assert "This training is complete" in capsys.readouterr().out


def test_an_unknown_name_is_explained_without_a_traceback(capsys):
    assert train.main(["resnet"]) == 1
    error = capsys.readouterr().err
    assert "'resnet'" in error and "plain_cnn" in error


@pytest.mark.parametrize("words", [[], ["plain_cnn", "--effort", "huge"], ["plain_cnn", "--protocol", "best"]])
def test_wrong_arguments_are_refused_before_anything_is_loaded(words, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(words)
    assert stop.value.code == 2
