"""Mixup and CutMix against a loop over the images and against torchvision's; what a loader gives with them."""

import math

import pytest
import torch
import torch.nn.functional as F
from loader_parts import SPLIT, Data, make_split, one_pass, same
from torchvision.transforms import v2

from utils.data.augment import AlternatingFlip, Crop, CutMix, Mixup, Shrink
from utils.data.counter_rng import Draws
from utils.data.loader import BatchLoader, augmented, make_iters
from utils.errors import CourseworkError

X = torch.randn(20, 3, 8, 10, generator=torch.Generator().manual_seed(0))
Y = F.one_hot(torch.arange(20) % 7, 7).float()
BOTH = [Mixup(0.2), Mixup(1.0, p=0.5), CutMix(1.0), CutMix(0.3, p=0.5)]


def draw(op, count=20, seed=0, epoch=0, purpose=""):
    return op.draw(Draws(seed, epoch, torch.arange(count), purpose), 32)


def mixed_by_hand(op, X, y, params):
    """Mix one image after the other, pixel by pixel, as the papers describe it."""
    images, labels = X.clone(), y.clone()
    height, width = X.shape[2:]
    for i in range(len(X)):
        lam = float(params["lam"][i])
        if isinstance(op, Mixup):
            images[i] = lam * X[i] + (1 - lam) * X[i - 1]
        else:
            row, column = int(params["row"][i] * height), int(params["column"][i] * width)
            half_height, half_width = (int(0.5 * math.sqrt(1 - lam) * size) for size in (height, width))
            replaced = 0
            for r in range(max(0, row - half_height), min(height, row + half_height)):
                for c in range(max(0, column - half_width), min(width, column + half_width)):
                    images[i, :, r, c] = X[i - 1, :, r, c]
                    replaced += 1
            lam = 1 - replaced / (height * width)
        labels[i] = lam * y[i] + (1 - lam) * y[i - 1]
    return images, labels


@pytest.mark.parametrize("op", BOTH, ids=repr)
def test_images_and_labels_are_those_of_a_loop_over_the_images(op):
    params = draw(op)
    made, expected = op.mix(X, Y, params), mixed_by_hand(op, X, Y, params)
    torch.testing.assert_close(made, expected)
    assert not torch.equal(made[0], X)
    torch.testing.assert_close(made[1].sum(1), torch.ones(20))


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.77, 1.0])
def test_with_one_lam_for_all_images_the_result_is_torchvisions(lam):
    for op, theirs in ((Mixup(), v2.MixUp(num_classes=7)), (CutMix(), v2.CutMix(num_classes=7))):
        params = {"lam": torch.full((20,), lam), "row": torch.full((20,), 0.8), "column": torch.full((20,), 0.35)}
        made = op.mix(X, Y, params)
        labels = Y.argmax(1)
        if isinstance(op, Mixup):
            of_theirs = {"lam": lam}
        else:
            half_height, half_width = (int(0.5 * math.sqrt(1 - lam) * size) for size in (8, 10))
            left, top, right, bottom = max(0, 3 - half_width), max(0, 6 - half_height), 3 + half_width, 8
            bottom = min(8, 6 + half_height)
            area = (right - left) * (bottom - top) / 80
            of_theirs = {"box": (left, top, right, bottom), "lam_adjusted": 1 - area}
        of_theirs |= {"labels": labels, "batch_size": 20}
        torch.testing.assert_close(made[0], theirs.transform(X, of_theirs))
        torch.testing.assert_close(made[1], theirs.transform(labels, of_theirs))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lam_has_the_mean_the_variance_and_the_range_of_the_beta_distribution(alpha):
    lam = draw(Mixup(alpha), 50_000)["lam"].double()
    assert lam.min() >= 0 and lam.max() <= 1
    beta = torch.distributions.Beta(torch.tensor(alpha).double(), torch.tensor(alpha).double())
    assert abs(lam.mean() - 0.5) < 0.01 and abs(lam.var() - beta.variance) < 0.02 * beta.variance
    # The shares below some borders, against samples of torch's own.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        samples = beta.sample((50_000,))
    for border in (0.05, 0.25, 0.5, 0.9):
        assert abs((lam < border).double().mean() - (samples < border).double().mean()) < 0.015


def test_p_is_the_share_of_images_that_are_mixed():
    for op in (Mixup(1.0, p=0.3), CutMix(1.0, p=0.3)):
        assert abs((draw(op, 20_000)["lam"] < 1).double().mean() - 0.3) < 0.015
        assert torch.equal(op.mix(X, Y, draw(type(op)(1.0, p=0)))[0], X)


@pytest.mark.parametrize("op", BOTH, ids=repr)
def test_parameters_depend_on_seed_epoch_purpose_and_index_only(op):
    params, longer = draw(op), draw(op, 50)
    for name, values in params.items():
        assert torch.equal(longer[name][:20], values)
        for other in (draw(op, seed=1), draw(op, epoch=1), draw(op, purpose="1")):
            assert not torch.equal(other[name], values)


MIXING = (AlternatingFlip(), Crop(4), Shrink(24, epochs=1), Mixup(0.4), CutMix(1.0, p=0.5))


def test_a_loader_mixes_its_augmented_images_and_their_labels():
    mixing, plain = (BatchLoader(SPLIT, 16, augment=ops, shuffle=True) for ops in (MIXING, MIXING[:3]))
    for epoch in (0, 1):
        for i in range(4):
            mixed, (images, labels) = mixing.batch(epoch, i), plain.batch(epoch, i)
            shares = F.one_hot(labels, 10).float()
            for position, op in ((3, MIXING[3]), (4, MIXING[4])):
                indices = mixing.indices(epoch, i)
                params = op.draw(Draws(0, epoch, indices, f"{position} {type(op).__name__}"), 32)
                images, shares = mixed_by_hand(op, images, shares, params)
            torch.testing.assert_close(mixed, (images, shares))
            assert mixed[1].dtype == torch.float32 and mixed[0].shape[-1] == (24 if epoch == 0 else 32)


def test_a_mixed_pass_continues_from_any_batch_and_is_the_same_again():
    whole, resumed = (BatchLoader(SPLIT, 16, augment=MIXING, shuffle=True) for _ in range(2))
    one_pass(whole)
    second = one_pass(whole)
    resumed.set_position(1, 2)
    assert same(one_pass(resumed), second[2:])


def test_only_the_training_images_are_mixed():
    data = Data(make_split(100), make_split(30, seed=1))
    train_iter, val_iter, test_iter = make_iters(data, 16, augment=(Mixup(),), val=20)
    assert next(iter(train_iter))[1].shape == (16, 10)
    assert {y.ndim for loader in (val_iter, test_iter) for _, y in loader} == {1}


def test_mixed_images_can_be_looked_at():
    shown = augmented(SPLIT, torch.arange(8), (Mixup(1.0),))
    assert shown.dtype == torch.uint8 and shown.shape == (8, 3, 32, 32) and not torch.equal(shown, SPLIT.images[:8])


@pytest.mark.parametrize("augment", [(Mixup(), Crop(4)), (CutMix(), Shrink(24)), (Shrink(24), Crop(4), Mixup())])
def test_mixing_comes_last(augment):
    with pytest.raises(CourseworkError, match="must"):
        BatchLoader(SPLIT, 16, augment=augment)


@pytest.mark.parametrize("kind", [Mixup, CutMix])
@pytest.mark.parametrize("settings", [(0,), (-1,), (float("nan"),), ("often",), (1.0, 1.1), (1.0, -0.1)])
def test_settings_that_make_no_sense_are_refused(kind, settings):
    with pytest.raises(CourseworkError, match=r"alpha|p must"):
        kind(*settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_mixes_alike():
    on_cpu, on_gpu = (BatchLoader(SPLIT, 16, augment=MIXING, shuffle=True, device=name) for name in ("cpu", "cuda"))
    for (images, labels), (cuda_images, cuda_labels) in zip(on_cpu, on_gpu, strict=True):
        torch.testing.assert_close(cuda_images.cpu(), images, atol=0.02, rtol=0)
        torch.testing.assert_close(cuda_labels.cpu(), labels)
