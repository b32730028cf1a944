"""Efforts: how many images and epochs are left, and which effort is chosen."""

import pytest

from utils.errors import CourseworkError
from utils.training.effort import EFFORTS, Effort, choose_effort


def test_efforts_cut_images_and_epochs_and_keep_all_classes(data):
    images, epochs = EFFORTS["check"].cut(data, 40, 1e9)
    assert (len(images.train), len(images.test), epochs) == (200, 100, 2)
    assert len(images.train.labels.unique()) == 10
    assert EFFORTS["full"].cut(data, 40, 1e9) == (data, 40)
    assert EFFORTS["check"].cut(data, 1, 1e9)[1] == 1


@pytest.mark.parametrize(
    ("macs_per_image", "num_epochs", "expected"),
    [
        (1e4, 40, (10_000, 40)),  # a small network: all of it
        (1e6, 40, (10_000, 20)),  # fewer epochs first
        (1e7, 40, (6_666, 3)),  # then fewer images
        (1e7, 2, (10_000, 2)),
        (1e9, 40, (100, 3)),
    ],
)
def test_an_effort_in_multiply_adds_gives_up_epochs_first_and_then_images(data, macs_per_image, num_epochs, expected):
    images, epochs = Effort("some", macs=6e11).cut(data, num_epochs, macs_per_image)
    assert (len(images.train), epochs) == expected


def test_the_effort_is_named_or_follows_the_hardware(monkeypatch):
    monkeypatch.delenv("COURSEWORK_EFFORT", raising=False)
    assert [choose_effort(None, device).name for device in ("cpu", "cuda")] == ["demo", "full"]
    monkeypatch.setenv("COURSEWORK_EFFORT", "check")
    assert choose_effort(None, "cuda").name == "check"
    assert choose_effort("full").name == "full"
    monkeypatch.setenv("COURSEWORK_EFFORT", "tiny")
    with pytest.raises(CourseworkError, match="no effort 'tiny'") as error:
        choose_effort()
    assert error.value.where == "COURSEWORK_EFFORT"
