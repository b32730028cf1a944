"""Fixtures of the tests that load images: a place of the test's own, and a small folder of pictures."""

import functools

import pytest

from utils.data import cifar10 as datasets
from utils.data.sources import download, synthetic


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Keep a test away from the user's data, network and environment; let drawing be quick."""
    for name in ("CIFAR10_ROOT", "CIFAR10_SOURCE", "CIFAR10_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets, "DATA", tmp_path / "data")
    monkeypatch.setattr(download, "fetch", lambda target: pytest.fail("went to the network"))
    monkeypatch.setattr(synthetic, "draw", functools.partial(synthetic.draw, train_per_class=4, test_per_class=2))


@pytest.fixture
def folder(tmp_path, write_files, image_files):
    return write_files(tmp_path / "pictures", image_files(6, 2))
