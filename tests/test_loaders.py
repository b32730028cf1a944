"""Tests utils.loaders and its parts: what a batch holds and depends on, where a pass goes on, what is refused."""

import collections
import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import InterpolationMode, v2

from utils.augment import Affine, AlternatingFlip, ColorJitter, Crop, Cutout, Flip, Shrink
from utils.datasets import CLASSES, Split, stratified_split
from utils.errors import CourseworkError, DataError
from utils.loaders import (
    MEAN,
    STD,
    BatchLoader,
    ImageDataset,
    augmented,
    make_iters,
    to_device,
    torch_loader,
    v2_transform,
)

N = 50
EVERYTHING = (
    Flip(),
    AlternatingFlip(),
    Crop(4),
    Crop(2, "reflect"),
    Affine(10),
    ColorJitter(0.2, 0.2, 0.2, 0.1),
    Cutout(8),
)
IN_V2 = (Flip(), Crop(4), Affine(10), ColorJitter(0.2, 0.2, 0.2, 0.1), Cutout(8))
Data = collections.namedtuple("Data", "train test")


def make_split(n=N, seed=0, size=32):
    """Return images of noise; the labels count through the classes, so that an order can be read from them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(n) % 10)


def numbered_split(n=N):
    """Return images that are all their own number in every pixel, with that number as label."""
    numbers = torch.arange(n)
    return Split(numbers.to(torch.uint8).view(n, 1, 1, 1).repeat(1, 3, 32, 32), numbers)


SPLIT, NUMBERED = make_split(), numbered_split()


def one_pass(loader):
    return [(X.clone(), y.clone()) for X, y in loader]


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


def normalised(images):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def both_ways(split=SPLIT, batch_size=16, **settings):
    return BatchLoader(split, batch_size, **settings), torch_loader(split, batch_size, num_workers=0, **settings)


def global_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


# What both ways promise


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [(16, False, [16, 16, 16, 2]), (16, True, [16] * 3), (25, True, [25, 25]), (64, False, [50]), (1, False, [1] * 50)],
)
def test_batches_have_the_promised_shapes_types_and_number(way, batch_size, drop_last, sizes):
    loader = both_ways(batch_size=batch_size, drop_last=drop_last, augment=(Flip(),), shuffle=True)[way]
    batches = one_pass(loader)
    assert len(loader) == len(sizes)
    assert [tuple(X.shape) for X, _ in batches] == [(size, 3, 32, 32) for size in sizes]
    assert [tuple(y.shape) for _, y in batches] == [(size,) for size in sizes]
    assert {(X.dtype, y.dtype) for X, y in batches} == {(torch.float32, torch.int64)}


@pytest.mark.parametrize("way", [0, 1])
def test_without_shuffle_and_augmentation_the_images_come_in_order_normalised(way):
    batches = one_pass(both_ways()[way])
    assert torch.allclose(torch.cat([X for X, _ in batches]), normalised(SPLIT.images), atol=1e-5)
    assert torch.equal(torch.cat([y for _, y in batches]), SPLIT.labels)


@pytest.mark.parametrize("shuffle", [False, True])
def test_both_ways_give_the_same_order_and_the_same_unaugmented_pixels(shuffle):
    ours, usual = both_ways(NUMBERED, shuffle=shuffle, seed=3)
    for _ in range(2):
        for (X, y), (X_usual, y_usual) in zip(ours, usual, strict=True):
            assert torch.equal(y, y_usual)
            assert torch.allclose(X, X_usual, atol=1e-6)
    assert ours.epoch == usual.epoch == 2


@pytest.mark.parametrize("way", [0, 1])
def test_a_shuffled_epoch_shows_every_image_once_with_its_label_and_another_epoch_another_order(way):
    loader = both_ways(NUMBERED, shuffle=True)[way]
    orders = []
    for _ in range(3):
        batches = one_pass(loader)
        orders.append(torch.cat([y for _, y in batches]))
        assert torch.equal(orders[-1].sort().values, torch.arange(N))
        for X, y in batches:
            assert torch.allclose(X, normalised(NUMBERED.images[y]), atol=1e-5)
    assert len({tuple(order.tolist()) for order in orders}) == 3


@pytest.mark.parametrize("way", [0, 1])
def test_a_seed_names_its_order_and_augmentation(way):
    def make(seed):
        return one_pass(both_ways(shuffle=True, augment=(Flip(), Crop(4)), seed=seed)[way])

    first, again, other = make(1), make(1), make(2)
    assert same(first, again)
    assert not torch.equal(first[0][0], other[0][0]) and not torch.equal(first[0][1], other[0][1])


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("first", range(5))
def test_a_pass_goes_on_from_any_batch_of_any_epoch(way, first):
    def make():
        return both_ways(shuffle=True, augment=IN_V2)[way]

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


@pytest.mark.parametrize("way", [0, 1])
def test_a_pass_broken_off_is_made_again_and_one_finished_is_not(way):
    loader = both_ways(shuffle=True, augment=(Flip(),))[way]
    begun = next(iter(loader))
    assert loader.epoch == 0
    first = one_pass(loader)
    assert torch.equal(begun[0], first[0][0]) and loader.epoch == 1
    assert not same(first, one_pass(loader)) and loader.epoch == 2
    loader.set_position(0)
    assert same(first, one_pass(loader))


@pytest.mark.parametrize("way", [0, 1])
def test_no_random_state_of_the_caller_is_read_or_changed(way, monkeypatch):
    loader = both_ways(shuffle=True, augment=IN_V2)[way]
    before = global_states()
    with monkeypatch.context() as patch:
        patch.delattr(torch, "manual_seed")  # it would seed a GPU's generator too
        first = one_pass(loader)
    assert global_states() == before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        loader.set_position(0)
        assert same(one_pass(loader), first)


@pytest.mark.parametrize("way", [0, 1])
def test_the_images_given_are_never_changed(way):
    split = make_split()
    one_pass(both_ways(split, augment=IN_V2, shuffle=True)[way])
    assert torch.equal(split.images, SPLIT.images) and torch.equal(split.labels, SPLIT.labels)


# BatchLoader


@pytest.mark.parametrize("augment", [(), EVERYTHING], ids=["plain", "augmented"])
def test_any_batch_made_alone_is_the_batch_of_the_pass(augment):
    loader = BatchLoader(SPLIT, 16, augment=augment, shuffle=True)
    epochs = [one_pass(loader) for _ in range(3)]
    fresh = BatchLoader(SPLIT, 16, augment=augment, shuffle=True)
    for epoch, i in [(2, 3), (0, 0), (1, 2), (0, 3), (2, 1)]:
        assert same([fresh.batch(epoch, i)], [epochs[epoch][i]])
    assert fresh.epoch == 0


def test_what_an_image_looks_like_in_an_epoch_does_not_depend_on_its_batch():
    def images_of(batch_size, **settings):
        loader = BatchLoader(numbered_noise, batch_size, augment=EVERYTHING[:4] + EVERYTHING[5:], **settings)
        X, y = (torch.cat(parts) for parts in zip(*one_pass(loader), strict=True))
        return X[y.argsort()]

    numbered_noise = Split(SPLIT.images, torch.arange(N))
    expected = images_of(N)
    for batch_size, settings in [(1, {}), (7, {}), (16, {"shuffle": True}), (50, {"shuffle": True})]:
        assert torch.equal(images_of(batch_size, **settings), expected)


def test_a_large_batch_is_the_same_whether_made_in_parts_or_not():
    split = make_split(300)  # more than a CPU's part, and no multiple of it
    whole = BatchLoader(split, 300, augment=EVERYTHING).batch(0, 0)[0]
    small = torch.cat([X for X, _ in BatchLoader(split, 20, augment=EVERYTHING)])
    assert torch.equal(whole, small)


def test_two_equal_augmentations_draw_apart():
    twice = BatchLoader(SPLIT, N, augment=(Flip(), Flip())).batch(0, 0)[0]
    plain = normalised(SPLIT.images)
    mirrored = [not torch.allclose(image, original, atol=1e-5) for image, original in zip(twice, plain, strict=True)]
    assert 10 < sum(mirrored) < 40  # two flips with one draw would undo each other


def test_augmentations_are_applied_in_their_order():
    white, crop = Cutout(32, (255, 255, 255)), Crop(16)
    last, first = (BatchLoader(SPLIT, N, augment=augment).batch(0, 0)[0] for augment in ((crop, white), (white, crop)))
    assert torch.allclose(last, normalised(torch.full_like(SPLIT.images, 255)), atol=1e-5)
    assert (first < 0).any()  # black came in from outside after the painting


def test_epochs_are_augmented_anew():
    loader = BatchLoader(SPLIT, N, augment=(Flip(), Crop(4)))
    looks = torch.stack([loader.batch(epoch, 0)[0] for epoch in range(6)])
    unlike = [(looks[a] != looks[b]).flatten(1).any(1).double().mean() for a in range(6) for b in range(a)]
    assert min(unlike) > 0.9


def test_an_alternating_flip_shows_both_sides_in_two_epochs():
    loader = BatchLoader(SPLIT, N, augment=(AlternatingFlip(),))
    looks = [loader.batch(epoch, 0)[0] for epoch in range(3)]
    assert torch.equal(looks[0], looks[1].flip(3)) and torch.equal(looks[0], looks[2])


def test_batches_are_small_while_an_augmentation_shrinks_them():
    loader = BatchLoader(SPLIT, 16, augment=(Flip(), Shrink(24, epochs=1)), shuffle=True, channels_last=True)
    sizes = [{X.shape[1:] for X, _ in loader} for _ in range(3)]
    assert sizes == [{(3, 24, 24)}, {(3, 32, 32)}, {(3, 32, 32)}]
    assert loader.batch(0, 0)[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", [(), EVERYTHING], ids=["plain", "augmented"])
def test_channels_last_changes_the_memory_and_no_value(augment):
    plain = BatchLoader(SPLIT, 16, augment=augment)
    last = BatchLoader(SPLIT, 16, augment=augment, channels_last=True)
    assert same(one_pass(plain), one_pass(last))
    X = last.batch(0, 0)[0]
    assert X.is_contiguous(memory_format=torch.channels_last) and not X.is_contiguous()
    assert plain.batch(0, 0)[0].is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_batch_of_another_type_is_the_float32_batch_rounded(dtype):
    X = BatchLoader(SPLIT, 16, augment=EVERYTHING).batch(0, 0)[0]
    assert torch.equal(BatchLoader(SPLIT, 16, augment=EVERYTHING, dtype=dtype).batch(0, 0)[0], X.to(dtype))


def test_mean_and_std_are_applied_channel_by_channel():
    X = BatchLoader(SPLIT, N, mean=(0.1, 0.2, 0.3), std=(1, 2, 4)).batch(0, 0)[0]
    pixels = SPLIT.images.double() / 255
    for channel, (mean, std) in enumerate([(0.1, 1), (0.2, 2), (0.3, 4)]):
        assert torch.allclose(X[:, channel].double(), (pixels[:, channel] - mean) / std, atol=1e-6)


def test_a_yielded_batch_is_never_changed_later():
    loader = BatchLoader(SPLIT, 16, augment=EVERYTHING, shuffle=True)
    yielded = list(loader)
    copies = [(X.clone(), y.clone()) for X, y in yielded]
    one_pass(loader)
    assert same(yielded, copies)
    yielded[0][0].zero_()
    assert same([loader.batch(0, 1)], [copies[1]])
    loader.set_position(0)
    assert same(one_pass(loader), copies)


def test_loaders_of_one_split_share_its_images():
    a, b = BatchLoader(SPLIT, 16), BatchLoader(SPLIT, 8, device="cpu")
    assert a.split.images.data_ptr() == b.split.images.data_ptr() == SPLIT.images.data_ptr()
    assert to_device(SPLIT) is SPLIT


class HostWatch(TorchDispatchMode):
    """Remember every operation that touches the memory of the CPU."""

    def __init__(self):
        super().__init__()
        self.touched = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        leaves = torch.utils._pytree.tree_leaves((args, kwargs, made))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" for leaf in leaves):
            self.touched.append(str(operation))
        return made


def test_a_pass_needs_no_value_from_the_device_and_sends_none_to_it():
    # A fake tensor says that it is on a GPU and has no values: what would make the CPU wait for one fails on it.
    with FakeTensorMode():
        images = torch.empty(N, 3, 32, 32, dtype=torch.uint8, device="cuda")
        labels = torch.empty(N, dtype=torch.int64, device="cuda")
        loader = BatchLoader(Split(images, labels), 16, augment=EVERYTHING, shuffle=True)
        with HostWatch() as watch:
            batches = list(loader)
            assert len(batches) == 4 and batches[0][0].device.type == "cuda"
            assert watch.touched == []
            torch.tensor([1.0], device="cuda")  # what a forgotten constant would do
            assert watch.touched
        with pytest.raises(RuntimeError):
            batches[0][1].sum().item()
        with pytest.raises(RuntimeError):
            batches[0][0][batches[0][0] > 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_makes_the_same_batches_and_never_waits():
    cpu = BatchLoader(SPLIT, 16, augment=EVERYTHING, shuffle=True)
    cuda = BatchLoader(SPLIT, 16, augment=EVERYTHING, shuffle=True, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(cuda)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    std = torch.tensor(STD).view(3, 1, 1)
    for (X, y), (X_cuda, y_cuda) in zip(cpu, batches, strict=True):
        assert torch.equal(y, y_cuda.cpu())
        apart = (X - X_cuda.cpu()).abs() * std * 255  # in levels
        assert apart.max() < 6 and (apart > 1.01).double().mean() < 1e-3


# The usual way


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.faults)])
def test_the_number_of_workers_changes_nothing(workers):
    def make(num_workers, **options):
        return torch_loader(SPLIT, 16, augment=IN_V2, shuffle=True, num_workers=num_workers, **options)

    alone = make(0)
    expected = [one_pass(alone) for _ in range(3)]
    before = global_states()
    loader = make(workers, persistent_workers=True)
    assert [same(one_pass(loader), batches) for batches in expected] == [True] * 3
    fresh = make(workers)
    fresh.set_position(1, 2)
    assert same(one_pass(fresh), expected[1][2:])
    assert global_states() == before


def test_the_augmentation_of_the_usual_way_is_a_function_of_seed_epoch_and_index():
    numbered_noise = Split(SPLIT.images, torch.arange(N))

    def images_of(epoch, batch_size, **settings):
        loader = torch_loader(numbered_noise, batch_size, augment=IN_V2, num_workers=0, **settings)
        loader.set_position(epoch)
        X, y = (torch.cat(parts) for parts in zip(*one_pass(loader), strict=True))
        return X[y.argsort()]

    expected = images_of(1, N)
    assert torch.equal(images_of(1, 7, shuffle=True), expected)
    for other in (images_of(0, N), images_of(1, N, seed=1)):
        assert (other != expected).flatten(1).any(1).double().mean() > 0.9


def test_an_image_dataset_is_like_torchvisions():
    dataset = ImageDataset(SPLIT)
    image, label = dataset[7]
    assert isinstance(image, Image.Image) and type(label) is int and label == 7
    assert np.array_equal(np.asarray(image), SPLIT.images[7].permute(1, 2, 0).numpy())
    assert len(dataset) == N and dataset.classes == list(CLASSES)
    assert dataset.data.shape == (N, 32, 32, 3) and dataset.targets == SPLIT.labels.tolist()
    doubled = ImageDataset(SPLIT, transform=lambda picture: picture.resize((64, 64)))
    assert doubled[0][0].size == (64, 64)


def test_a_v2_pipeline_has_the_same_settings_step_by_step():
    steps = v2_transform(
        (Flip(0.3), Crop(3, "reflect"), Affine(10, (0.1, 0.2), (0.9, 1.1), 5), ColorJitter(0.4, 0, 0, 0.1), Cutout(8))
    ).transforms
    flip, crop, affine, jitter, _, erase, _, normalise = steps
    assert flip.p == 0.3
    assert (crop.size, crop.padding, crop.padding_mode) == ((32, 32), [3, 3, 3, 3], "reflect")
    assert (affine.degrees, affine.translate, affine.scale, affine.shear) == (
        [-10, 10],
        (0.1, 0.2),
        (0.9, 1.1),
        [-5, 5],
    )
    assert affine.interpolation == InterpolationMode.BILINEAR
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == ((0.6, 1.4), None, None, (-0.1, 0.1))
    assert [type(step) for step in steps[4:7]] == [v2.ToImage, v2.RandomErasing, v2.ToDtype] and erase.p == 1
    assert (normalise.mean, normalise.std) == (list(MEAN), list(STD))


@pytest.mark.parametrize("size", [1, 2, 8, 31])
def test_v2s_cutout_erases_a_square_of_the_size_in_the_colour(size):
    images = v2_transform((Cutout(size, (255, 0, 51)),), mean=(0, 0, 0), std=(1, 1, 1))
    X = images(Image.new("RGB", (32, 32), (10, 10, 10)))
    painted = (X - torch.tensor([1, 0, 0.2]).view(3, 1, 1)).abs().amax(0) < 1e-6
    assert painted.sum() == size * size
    assert painted.any(0).sum() == painted.any(1).sum() == size


def test_both_ways_crop_and_flip_alike_on_average():
    picture = Split(torch.zeros(2000, 3, 32, 32, dtype=torch.uint8), torch.zeros(2000, dtype=torch.int64))
    picture.images[:, :, 8:12, 4:10] = 255
    means = []
    for loader in both_ways(picture, 2000, augment=(Flip(), Crop(4)), mean=(0, 0, 0), std=(1, 1, 1)):
        means.append(next(iter(loader))[0].mean((0, 1)))
    assert (means[0] - means[1]).abs().max() < 0.06
    assert means[0].max() > 0.15 and means[0][:, 16:].max() > 0.15


# make_iters


@pytest.mark.parametrize("workers", [None, 0])
def test_make_iters_shuffles_and_augments_the_training_images_only(workers):
    data = Data(make_split(100), make_split(30, seed=1))
    train, val = stratified_split(data.train, 20, 5)
    train_iter, val_iter, test_iter = make_iters(data, 16, augment=(Flip(1),), val=20, seed=5, workers=workers)
    for loader, split in ((val_iter, val), (test_iter, data.test)):
        X, y = (torch.cat(parts) for parts in zip(*one_pass(loader), strict=True))
        assert torch.allclose(X, normalised(split.images), atol=1e-5) and torch.equal(y, split.labels)
    X, y = (torch.cat(parts) for parts in zip(*one_pass(train_iter), strict=True))
    order = BatchLoader(train, 80, shuffle=True, seed=5).batch(0, 0)[1]
    assert torch.equal(y, order) and len(y) == 80
    expected = normalised(train.images.flip(3))
    assert torch.allclose(X.flatten(1).sum(1).sort().values, expected.flatten(1).sum(1).sort().values, rtol=1e-3)
    assert isinstance(train_iter, BatchLoader) == (workers is None)


def test_both_ways_of_make_iters_hold_out_the_same_images_in_the_same_order():
    data = Data(make_split(100), make_split(30, seed=1))
    for ours, usual in zip(make_iters(data, 16, val=20), make_iters(data, 16, val=20, workers=0), strict=True):
        for (X, y), (X_usual, y_usual) in zip(ours, usual, strict=True):
            assert torch.allclose(X, X_usual, atol=1e-6) and torch.equal(y, y_usual)


# Refusals


LABELS, IMAGES = torch.zeros(4, dtype=torch.int64), torch.zeros(4, 3, 32, 32, dtype=torch.uint8)


@pytest.mark.parametrize("loader", [BatchLoader, torch_loader])
@pytest.mark.parametrize(
    "split",
    [
        Split(IMAGES[:0], LABELS[:0]),
        Split(IMAGES, LABELS[:3]),
        Split(IMAGES.float(), LABELS),
        Split(IMAGES, LABELS.float()),
        Split(IMAGES, LABELS.view(4, 1)),
        Split(IMAGES.permute(0, 2, 3, 1), LABELS),
        Split(IMAGES[:, :1], LABELS),
        Split(IMAGES[:, :, :30], LABELS),
        Split(IMAGES[0], LABELS),
        Split(IMAGES.to("meta"), LABELS),
        Split(IMAGES.numpy(), LABELS.numpy()),
    ],
    ids=[
        "empty",
        "fewer labels",
        "float",
        "float labels",
        "labels 2-d",
        "hwc",
        "grey",
        "oblong",
        "one",
        "devices",
        "numpy",
    ],
)
def test_a_split_that_is_not_what_it_promises_is_refused(loader, split):
    with pytest.raises(DataError) as caught:
        loader(split, 4)
    assert caught.value.where and caught.value.next_step


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        *({"batch_size": size} for size in (0, -1, 2.0, True, None, "64")),
        *({"mean": mean} for mean in ((0.5,), (0.5, 0.5), (0.1, 0.2, 0.3, 0.4))),
        *({"std": std} for std in ((0.5,), (1, 1, 0), (1, -1, 1), (1, 1, float("nan")))),
        *({"augment": augment} for augment in (Flip(), (Flip,), ("flip",), None)),
        {"batch_size": N + 1, "drop_last": True},
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused_with_a_way_out(way, settings):
    with pytest.raises(CourseworkError) as caught:
        both_ways(**settings)[way]
    assert caught.value.where and caught.value.next_step and len(str(caught.value).splitlines()) < 10


@pytest.mark.parametrize(
    "ask",
    [
        lambda: BatchLoader(SPLIT, 16, dtype=torch.int64),
        lambda: torch_loader(SPLIT, 16, num_workers=-1),
        lambda: torch_loader(SPLIT, 16, augment=(AlternatingFlip(),)),
        lambda: torch_loader(SPLIT, 16, augment=(Cutout(32),)),
        lambda: make_iters(Data(SPLIT, SPLIT), 16, val=N),
        lambda: make_iters(Data(SPLIT, SPLIT), 16, val=10, workers=2, device="cuda"),
        lambda: BatchLoader(make_split(4, size=8), 4, augment=(Cutout(9),)).batch(0, 0),
    ],
)
def test_what_a_way_cannot_do_is_refused(ask):
    with pytest.raises(CourseworkError) as caught:
        ask()
    assert caught.value.next_step


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("position", [(-1,), (0, -1), (0, 5), (0.5,), (0, 1.0), ("1",)])
def test_a_position_that_does_not_exist_is_refused_and_the_old_one_kept(way, position):
    loader = both_ways()[way]
    loader.set_position(2, 3)
    with pytest.raises(CourseworkError):
        loader.set_position(*position)
    assert loader.epoch == 2 and len(one_pass(loader)) == 1


@pytest.mark.parametrize("place", [(0, 4), (0, -1), (-1, 0)])
def test_a_batch_that_does_not_exist_is_refused(place):
    with pytest.raises(CourseworkError):
        BatchLoader(SPLIT, 16).batch(*place)


def test_numpys_whole_numbers_are_whole_numbers():
    loader = BatchLoader(SPLIT, np.int64(16), seed=np.int32(3), shuffle=True)
    loader.set_position(np.int64(1), np.int64(0))
    assert same(one_pass(loader)[:1], [BatchLoader(SPLIT, 16, seed=3, shuffle=True).batch(1, 0)])


def test_the_usual_loaders_images_can_be_sent_to_a_worker_that_starts_afresh():
    loader = torch_loader(SPLIT, 16, augment=IN_V2, num_workers=0)
    sent = pickle.loads(pickle.dumps(loader.dataset))
    assert torch.equal(sent[(3, 7)][0], loader.dataset[(3, 7)][0])


def test_augmented_shows_what_a_batch_will_hold():
    loader = BatchLoader(SPLIT, 7, augment=EVERYTHING, seed=3)
    X, _ = loader.batch(epoch=2, i=1)
    rows = torch.arange(7, 14)
    shown = augmented(SPLIT, rows, EVERYTHING, seed=3, epoch=2)
    std, mean = (torch.tensor(v).view(3, 1, 1) for v in (STD, MEAN))
    assert shown.dtype == torch.uint8 and torch.allclose((X * std + mean) * 255, shown.float(), atol=1e-3)


@pytest.mark.parametrize("workers", [None, 0])
def test_without_validation_images_all_are_trained_on(workers):
    data = Data(make_split(100), make_split(30, seed=1))
    train_iter, val_iter, test_iter = make_iters(data, 16, val=0, workers=workers, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert val_iter is None
    assert sum(len(y) for _, y in train_iter) == 100
    X, _ = (torch.cat(parts) for parts in zip(*one_pass(test_iter), strict=True))
    assert torch.allclose(X, data.test.images / 127.5 - 1, atol=1e-5)
