"""The loaders: what BatchLoader promises of order, pixels and seeds, and what make_iters makes."""

import pytest
import torch
from loader_parts import (
    EVERYTHING,
    NUMBERED,
    SPLIT,
    Data,
    N,
    global_states,
    make_split,
    normalised,
    one_pass,
    same,
)

from utils.data.augment import Crop, Flip
from utils.data.cifar10 import stratified_split
from utils.data.loader import BatchLoader, make_iters


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [(16, False, [16, 16, 16, 2]), (16, True, [16] * 3), (25, True, [25, 25]), (64, False, [50]), (1, False, [1] * 50)],
)
def test_batches_have_the_promised_shapes_types_and_number(batch_size, drop_last, sizes):
    loader = BatchLoader(SPLIT, batch_size, drop_last=drop_last, augment=(Flip(),), shuffle=True)
    batches = one_pass(loader)
    assert len(loader) == len(sizes)
    assert [tuple(X.shape) for X, _ in batches] == [(size, 3, 32, 32) for size in sizes]
    assert [tuple(y.shape) for _, y in batches] == [(size,) for size in sizes]
    assert {(X.dtype, y.dtype) for X, y in batches} == {(torch.float32, torch.int64)}


def test_without_shuffle_and_augmentation_the_images_come_in_order_normalised():
    batches = one_pass(BatchLoader(SPLIT, 16))
    assert torch.allclose(torch.cat([X for X, _ in batches]), normalised(SPLIT.images), atol=1e-5)
    assert torch.equal(torch.cat([y for _, y in batches]), SPLIT.labels)


def test_a_shuffled_epoch_shows_every_image_once_with_its_label_and_another_epoch_another_order():
    loader = BatchLoader(NUMBERED, 16, shuffle=True)
    orders = []
    for _ in range(3):
        batches = one_pass(loader)
        orders.append(torch.cat([y for _, y in batches]))
        assert torch.equal(orders[-1].sort().values, torch.arange(N))
        for X, y in batches:
            assert torch.allclose(X, normalised(NUMBERED.images[y]), atol=1e-5)
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_a_seed_names_its_order_and_augmentation():
    def make(seed):
        return one_pass(BatchLoader(SPLIT, 16, shuffle=True, augment=(Flip(), Crop(4)), seed=seed))

    first, again, other = make(1), make(1), make(2)
    assert same(first, again)
    assert not torch.equal(first[0][0], other[0][0]) and not torch.equal(first[0][1], other[0][1])


@pytest.mark.parametrize("first", range(5))
def test_a_pass_continues_from_any_batch_of_any_epoch(first):
    def make():
        return BatchLoader(SPLIT, 16, shuffle=True, augment=EVERYTHING)

    whole = make()
    epochs = [one_pass(whole) for _ in range(3)]
    resumed = make()
    resumed.set_position(1, first)
    if first == 4:  # after the last batch: nothing of epoch 1 is left
        assert resumed.epoch == 2
        assert same(one_pass(resumed), epochs[2])
    else:
        assert resumed.epoch == 1
        assert same(one_pass(resumed), epochs[1][first:])
        assert same(one_pass(resumed), epochs[2])
    assert len(resumed) == 4


def test_an_interrupted_pass_is_repeated_and_a_complete_one_is_not():
    loader = BatchLoader(SPLIT, 16, shuffle=True, augment=(Flip(),))
    begun = next(iter(loader))
    assert loader.epoch == 0
    first = one_pass(loader)
    assert torch.equal(begun[0], first[0][0]) and loader.epoch == 1
    assert not same(first, one_pass(loader)) and loader.epoch == 2
    loader.set_position(0)
    assert same(first, one_pass(loader))


def test_no_random_state_of_the_caller_is_read_or_changed(monkeypatch):
    loader = BatchLoader(SPLIT, 16, shuffle=True, augment=EVERYTHING)
    before = global_states()
    with monkeypatch.context() as patch:
        patch.delattr(torch, "manual_seed")  # it would seed a GPU's generator too
        first = one_pass(loader)
    assert global_states() == before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        loader.set_position(0)
        assert same(one_pass(loader), first)


def test_make_iters_shuffles_and_augments_the_training_images_only():
    data = Data(make_split(100), make_split(30, seed=1))
    train, val = stratified_split(data.train, 20, 5)
    train_iter, val_iter, test_iter = make_iters(data, 16, augment=(Flip(1),), val=20, seed=5)
    for loader, split in ((val_iter, val), (test_iter, data.test)):
        X, y = (torch.cat(parts) for parts in zip(*one_pass(loader), strict=True))
        assert torch.allclose(X, normalised(split.images), atol=1e-5) and torch.equal(y, split.labels)
    X, y = (torch.cat(parts) for parts in zip(*one_pass(train_iter), strict=True))
    assert len(y) == 80 and not torch.equal(y, train.labels)
    assert torch.equal(y, BatchLoader(train, 80, shuffle=True, seed=5).batch(0, 0)[1])
    assert torch.equal(y.sort().values, train.labels.sort().values)
    expected = normalised(train.images.flip(3))
    assert torch.allclose(X.flatten(1).sum(1).sort().values, expected.flatten(1).sum(1).sort().values, rtol=1e-3)


def test_what_is_measured_may_come_in_other_batches_than_what_is_trained_on():
    data = Data(make_split(100), make_split(30, seed=1))
    iters = make_iters(data, 16, val=20, measured_at_a_time=10)
    assert [max(len(y) for _, y in batches) for batches in iters] == [16, 10, 10]


def test_without_validation_images_all_are_trained_on():
    data = Data(make_split(100), make_split(30, seed=1))
    train_iter, val_iter, test_iter = make_iters(data, 16, val=0, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert val_iter is None
    assert sum(len(y) for _, y in train_iter) == 100
    X, _ = (torch.cat(parts) for parts in zip(*one_pass(test_iter), strict=True))
    assert torch.allclose(X, data.test.images / 127.5 - 1, atol=1e-5)
