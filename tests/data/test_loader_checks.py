"""What a loader is given: what makes no sense is refused with a way out, and nothing is changed."""

import numpy as np
import pytest
import torch
from loader_parts import SPLIT, Data, N, make_split, one_pass, same

from utils.data.augment import Cutout, Flip, Shrink
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader, make_iters
from utils.errors import CourseworkError, DataError

LABELS, IMAGES = torch.zeros(4, dtype=torch.int64), torch.zeros(4, 3, 32, 32, dtype=torch.uint8)


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
def test_a_split_that_is_not_what_it_promises_is_refused(split):
    with pytest.raises(DataError) as caught:
        BatchLoader(split, 4)
    assert caught.value.where and caught.value.next_step


@pytest.mark.parametrize(
    "settings",
    [
        *({"mean": mean} for mean in ((0.5,), (0.5, 0.5), (0.1, 0.2, 0.3, 0.4))),
        *({"std": std} for std in ((0.5,), (1, 1, 0), (1, -1, 1), (1, 1, float("nan")))),
        *({"augment": augment} for augment in (Flip(), (Flip,), ("flip",), None)),
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(CourseworkError) as caught:
        BatchLoader(SPLIT, 16, **settings)
    assert caught.value.where and caught.value.next_step and len(str(caught.value).splitlines()) < 10


@pytest.mark.parametrize(
    "settings",
    [*({"batch_size": size} for size in (0, -1, 2.0, True, None, "64")), {"batch_size": N + 1, "drop_last": True}],
    ids=repr,
)
def test_a_batch_size_that_makes_no_sense_is_refused(settings):
    with pytest.raises(CourseworkError) as caught:
        BatchLoader(SPLIT, **settings)
    assert caught.value.where and caught.value.next_step


def test_no_augmentation_may_follow_one_that_shrinks():
    with pytest.raises(CourseworkError, match="Shrink must be the last augmentation") as caught:
        BatchLoader(SPLIT, 16, augment=(Shrink(24), Flip()))
    assert "Move Shrink to the end" in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: make_iters(Data(SPLIT, SPLIT), 16, val=N),
        lambda: BatchLoader(make_split(4, size=8), 4, augment=(Cutout(9),)).batch(0, 0),
    ],
)
def test_what_a_loader_cannot_do_is_refused(ask):
    with pytest.raises(CourseworkError) as caught:
        ask()
    assert caught.value.next_step


@pytest.mark.parametrize("position", [(-1,), (0, -1), (0, 5), (0.5,), (0, 1.0), ("1",)])
def test_a_position_that_does_not_exist_is_refused_and_the_old_one_kept(position):
    loader = BatchLoader(SPLIT, 16)
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
