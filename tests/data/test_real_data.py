"""What holds for real CIFAR-10 images, wherever CIFAR10_ROOT says they are; skipped where it is not set."""

import os

import pytest
import torch

from utils.data.cifar10 import checksum_of_images, load_cifar10

pytestmark = pytest.mark.skipif(not os.environ.get("CIFAR10_ROOT"), reason="CIFAR10_ROOT is not set: no real images")


@pytest.fixture(scope="module")
def data():
    return load_cifar10(source="cifar10")


def test_all_images_of_all_classes_are_there(data):
    assert data.train.images.shape == (50_000, 3, 32, 32) and data.test.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(data.train.labels).tolist() == [5_000] * 10
    assert torch.bincount(data.test.labels).tolist() == [1_000] * 10
    assert not data.set_aside


def test_they_are_not_taken_for_synthetic_images(data):
    synthetic = load_cifar10(source="synthetic")
    assert data.checksum != synthetic.checksum and "synthetic" not in data.name


def test_one_bit_of_one_image_changes_the_checksum(data):
    image = data.train.images[12_345]
    image[1, 2, 3] ^= 1
    changed = checksum_of_images(data.train, data.test)
    image[1, 2, 3] ^= 1
    assert changed != data.checksum and checksum_of_images(data.train, data.test) == data.checksum
