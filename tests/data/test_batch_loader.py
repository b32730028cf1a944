"""BatchLoader: a batch is the same alone and in a pass, an image in any batch, and the device is never waited for."""

import pytest
import torch
from loader_parts import EVERYTHING, SPLIT, N, make_split, normalised, one_pass, same
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from utils.data.augment import Crop, Cutout, Flip, Shrink
from utils.data.cifar10 import Split
from utils.data.loader import MEAN, STD, BatchLoader, augmented, to_device


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


def test_batches_are_small_while_an_augmentation_shrinks_them():
    loader = BatchLoader(SPLIT, 16, augment=(Flip(), Shrink(24, epochs=1)), shuffle=True)
    sizes = [{X.shape[1:] for X, _ in loader} for _ in range(3)]
    assert sizes == [{(3, 24, 24)}, {(3, 32, 32)}, {(3, 32, 32)}]


def test_augmented_shows_what_a_batch_will_hold():
    loader = BatchLoader(SPLIT, 7, augment=EVERYTHING, seed=3)
    X, _ = loader.batch(epoch=2, i=1)
    rows = torch.arange(7, 14)
    shown = augmented(SPLIT, rows, EVERYTHING, seed=3, epoch=2)
    std, mean = (torch.tensor(v).view(3, 1, 1) for v in (STD, MEAN))
    assert shown.dtype == torch.uint8 and torch.allclose((X * std + mean) * 255, shown.float(), atol=1e-3)


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
