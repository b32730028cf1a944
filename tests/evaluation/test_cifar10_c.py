"""Tests of CIFAR-10-C in the evaluation: the table of accuracies, and a user's published arrays."""

import numpy as np
import pytest
import torch
from torch import nn
from training_parts import images

from utils.errors import CourseworkError, DataError
from utils.evaluation import cifar10_c
from utils.evaluation.cifar10_c import corrupted_images, names_of_corruptions
from utils.evaluation.corruptions import PUBLISHED, corrupt
from utils.evaluation.robustness import corruption_accuracy

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 20  # test images of the small arrays


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Make arrays of all corruptions: image i at severity s is i + 20 (s - 1) in every pixel, and a class has two."""
    monkeypatch.setattr(cifar10_c, "TEST_IMAGES", COUNT)
    monkeypatch.setenv("CIFAR10_C_ROOT", str(tmp_path))
    shades = np.arange(5 * COUNT, dtype=np.uint8)
    for number, name in enumerate(cifar10_c.ALL):
        array = np.broadcast_to(shades[:, None, None, None] + np.uint8(number), (5 * COUNT, 32, 32, 3))
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(COUNT) % 10, 5).astype(np.uint8))
    return tmp_path


class Shade(nn.Module):
    """Answer with the class that the shade of an image has in the arrays of the first corruption at severity 1."""

    def forward(self, X):
        shade = (255 * X.mean((1, 2, 3))).round().long().clamp(0, COUNT - 1)
        return nn.functional.one_hot(shade % 10, 10).float()


PIXELS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def test_the_arrays_are_read_by_corruption_and_severity(root):
    split = images(30, size=32)
    pictures, labels = corrupted_images(split, "shot_noise", 3)
    assert pictures.shape == (COUNT, 3, 32, 32) and pictures.dtype == torch.uint8
    assert pictures[:, 0, 0, 0].tolist() == [41 + row for row in range(COUNT)]
    assert labels.dtype == torch.int64 and labels.tolist() == [row % 10 for row in range(COUNT)]
    pictures, labels = corrupted_images(split, "shot_noise", 1, count=10)
    assert pictures[:, 0, 0, 0].tolist() == [1 + row for row in range(10)] and sorted(labels.tolist()) == [*range(10)]


def test_the_table_holds_the_accuracies_of_the_arrays(root):
    table, mean = corruption_accuracy(Shade(), images(30, size=32), **PIXELS)
    assert [*table.index] == [*cifar10_c.ALL] and len(table) == 15 and [*table.columns] == [1, 2, 3, 4, 5]
    assert table.loc["gaussian_noise", 1] == 1.0 and table.loc["shot_noise", 1] < 1.0
    assert mean == pytest.approx(table.to_numpy().mean()) and table.attrs["images"] == COUNT
    assert "published" in table.attrs["source"]
    some, mean = corruption_accuracy(Shade(), images(30, size=32), severities=(1, 5), **PIXELS)
    assert some.equals(table[[1, 5]]) and mean == pytest.approx(some.to_numpy().mean())
    with pytest.raises(CourseworkError, match="severity"):
        corruption_accuracy(Shade(), images(30, size=32), severities=(0,), **PIXELS)


def test_a_missing_file_and_a_wrong_shape_are_explained(root):
    split = images(30, size=32)
    (root / "fog.npy").unlink()
    with pytest.raises(DataError, match=r"fog\.npy"):
        corrupted_images(split, "fog", 1)
    np.save(root / "snow.npy", np.zeros((COUNT, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match=rf"\({5 * COUNT}, 32, 32, 3\)"):
        corrupted_images(split, "snow", 1)
    np.save(root / "frost.npy", np.zeros((5 * COUNT, 32, 32, 3), np.float32))
    with pytest.raises(DataError, match="float32"):
        corrupted_images(split, "frost", 1)
    (root / "contrast.npy").write_bytes(b"no array")
    with pytest.raises(DataError):
        corrupted_images(split, "contrast", 1)
    np.save(root / "contrast.npy", np.array([{}] * 3), allow_pickle=True)
    with pytest.raises(DataError):
        corrupted_images(split, "contrast", 1)
    np.save(root / "labels.npy", (np.arange(5 * COUNT) % 10 + np.arange(5 * COUNT) // 50).astype(np.uint8))
    with pytest.raises(DataError, match="labels"):
        corrupted_images(split, "brightness", 1)
    (root / "labels.npy").unlink()
    with pytest.raises(DataError, match=r"labels\.npy"):
        corrupted_images(split, "brightness", 1)


def test_without_arrays_the_images_are_corrupted_here(monkeypatch):
    monkeypatch.delenv("CIFAR10_C_ROOT", raising=False)
    split = images(30, size=32)
    shown = []

    def predict(net, X):
        shown.append(X)
        return torch.eye(10)[torch.zeros(len(X), dtype=torch.long)]

    table, mean = corruption_accuracy(
        nn.Identity(), split, count=20, corruptions=["fog", "contrast"], predict=predict, seed=4, **PIXELS
    )
    rows = cifar10_c.first_of_each_class(split.labels, 20)
    expected = [corrupt(split.images[rows], name, s, seed=4) for name in ("fog", "contrast") for s in range(1, 6)]
    assert all(torch.allclose(X, pictures / 255, atol=1e-6) for X, pictures in zip(shown, expected, strict=True))
    assert table.shape == (2, 5) and table.attrs["images"] == 20
    assert mean == pytest.approx(float((split.labels[rows] == 0).double().mean()))
    assert names_of_corruptions() == [*PUBLISHED] and "frost" not in PUBLISHED


def test_wrong_names_of_corruptions_are_refused(monkeypatch):
    monkeypatch.delenv("CIFAR10_C_ROOT", raising=False)
    for names in ("fog", [], ["frost"], ["fogg"]):
        with pytest.raises(CourseworkError):
            corruption_accuracy(nn.Identity(), images(10, size=32), corruptions=names)
