"""What is computed from a split: a checksum that sees every bit, and a stratified validation split."""

import itertools

import pytest
import torch

from utils.data import cifar10 as datasets
from utils.data.cifar10 import Split, checksum_of_images, class_rows, stratified_split
from utils.data.sources import synthetic
from utils.errors import DataError


@pytest.fixture
def splits():
    train, train_labels, test, test_labels = synthetic.draw(train_per_class=4, test_per_class=2)
    return tuple(Split(*map(torch.from_numpy, pair)) for pair in ((train, train_labels), (test, test_labels)))


def join(first, second):
    return Split(torch.cat([first.images, second.images]), torch.cat([first.labels, second.labels]))


def test_the_checksum_does_not_depend_on_order(splits):
    train, test = splits
    shuffled = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0)))
    assert checksum_of_images(shuffled, test) == checksum_of_images(train, test)


def test_the_checksum_changes_with_any_bit_of_any_image(splits, rng):
    train, test = splits
    seen = {checksum_of_images(train, test)}
    for split, _ in itertools.product(range(2), range(100)):
        images = splits[split].images.clone()
        images.view(-1)[rng.integers(images.numel())] ^= 1 << int(rng.integers(8))
        changed = list(splits)
        changed[split] = Split(images, splits[split].labels)
        seen.add(checksum_of_images(*changed))
    assert len(seen) == 201


def test_the_checksum_changes_with_a_label_a_missing_image_and_a_swap_of_splits(splits):
    train, test = splits
    labels = train.labels.clone()
    labels[3] = (labels[3] + 1) % 10
    variants = [
        (train, test),
        (Split(train.images, labels), test),
        (train.subset(torch.arange(len(train) - 1)), test),
        (train.subset(torch.arange(1, len(train))), join(test, train.subset(torch.arange(1)))),
        (test, train),
    ]
    assert len({checksum_of_images(*variant) for variant in variants}) == len(variants)


def test_the_rows_of_a_class_are_all_of_it(splits):
    train, _ = splits
    assert (train.labels[class_rows(train, datasets.CLASSES, "frog")] == 6).all()
    assert len(class_rows(train, datasets.CLASSES, "frog")) == (train.labels == 6).sum()
    assert len(class_rows(train, datasets.CLASSES, "all")) == len(train)


@pytest.mark.parametrize("per_class, held_out", [(5000, 5000), (40, 37), (3, 29), (3, 1)])
def test_a_stratified_split_keeps_the_classes_in_proportion(per_class, held_out):
    labels = torch.arange(10).repeat(per_class)
    images = torch.arange(10 * per_class, dtype=torch.int32).view(-1, 1, 1, 1)
    rest, chosen = stratified_split(Split(images, labels), held_out, seed=3)
    assert len(chosen) == held_out and len(rest) == 10 * per_class - held_out
    assert sorted(torch.cat([rest.images, chosen.images]).flatten().tolist()) == list(range(10 * per_class))
    counts = torch.bincount(chosen.labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert torch.equal(rest.labels, labels[rest.images.flatten().long()])


def test_a_stratified_split_follows_its_seed_and_leaves_the_global_one_alone(splits):
    train, _ = splits
    before = torch.get_rng_state()
    first, second, third = (stratified_split(train, 20, seed)[1].images for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("held_out", [0, -1, 40, 41])
def test_a_split_that_leaves_nothing_is_refused(splits, held_out):
    with pytest.raises(DataError, match="Cannot hold out"):
        stratified_split(splits[0], held_out)
