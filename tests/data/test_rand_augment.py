"""RandAugment: each of its operations against torchvision's, one image after the other."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from utils.data.augment import RandAugment
from utils.data.counter_rng import Draws
from utils.data.rand_augment import NAMES
from utils.errors import CourseworkError

GENERATOR = torch.Generator().manual_seed(0)
NOISE = torch.randint(30, 220, (4, 3, 32, 32), generator=GENERATOR, dtype=torch.uint8)
RAMP = (torch.arange(32) * 8).to(torch.uint8)
RAMPS = torch.stack([RAMP.expand(32, 32), RAMP.view(32, 1).expand(32, 32), RAMP.flip(0).expand(32, 32)])
FLAT = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 32, 32)
IMAGES = torch.cat((NOISE, RAMPS[None], FLAT))


def by_v2(name, image, magnitude, sign):
    """Apply an operation with torchvision's function; the setting is spelt out as in torchvision's RandAugment."""
    value = magnitude / 30
    signed = sign * value
    bilinear = {"interpolation": InterpolationMode.BILINEAR}

    def moved(angle=0.0, right=0, down=0, shear_x=0.0, shear_y=0.0):
        shear = [math.degrees(math.atan(shear_x)), math.degrees(math.atan(shear_y))]
        return v2.affine(image, angle, [right, down], 1.0, shear, **bilinear)

    pixels = int(150 / 331 * 32 * value) * sign
    return {
        "identity": lambda: image,
        "rotate": lambda: moved(angle=30 * signed),
        "shear x": lambda: moved(shear_x=0.3 * signed),
        "shear y": lambda: moved(shear_y=0.3 * signed),
        "shift x": lambda: moved(right=pixels),
        "shift y": lambda: moved(down=pixels),
        "brightness": lambda: v2.adjust_brightness(image, 1 + 0.9 * signed),
        "saturation": lambda: v2.adjust_saturation(image, 1 + 0.9 * signed),
        "contrast": lambda: v2.adjust_contrast(image, 1 + 0.9 * signed),
        "sharpness": lambda: v2.adjust_sharpness(image, 1 + 0.9 * signed),
        "posterise": lambda: v2.posterize(image, 8 - round(4 * value)),
        "solarise": lambda: v2.solarize(image, 255 * (1 - value)),
        "autocontrast": lambda: v2.autocontrast(image),
    }[name]()


def params_of(names, signs):
    """Return parameters with which image i gets the operation names[i] and its sign."""
    return {"operation 0": torch.tensor([NAMES.index(name) for name in names]), "sign 0": torch.tensor(signs)}


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_torchvisions(name, sign, magnitude):
    made = RandAugment(1, magnitude).apply(IMAGES, params_of([name] * len(IMAGES), [sign] * len(IMAGES)))
    expected = torch.stack([by_v2(name, image, magnitude, sign) for image in IMAGES])
    apart = (made.int() - expected.int()).abs()
    assert made.dtype == torch.uint8 and apart.max() <= 1 and (apart > 0).double().mean() < 0.03


def test_each_image_gets_its_own_operations_one_after_the_other():
    op, index = RandAugment(3, 20), torch.arange(200)
    images = NOISE[index % 4]
    params = op.draw(Draws(0, 0, index, ""), 32)
    made, expected = op.apply(images, params), images
    for i in range(3):
        names, signs = [NAMES[j] for j in params[f"operation {i}"]], params[f"sign {i}"].tolist()
        chosen = zip(names, expected, signs, strict=True)
        expected = torch.stack([by_v2(name, image, 20, sign) for name, image, sign in chosen])
    # A rounding in one operation may grow in the next: one level becomes several.
    apart = (made.int() - expected.int()).abs()
    assert (apart > 2).double().mean() < 0.01
    alone = torch.cat([op.apply(images[i : i + 1], {n: v[i : i + 1] for n, v in params.items()}) for i in range(40)])
    assert (alone.int() - made[:40].int()).abs().double().mean() < 0.01


def test_all_operations_and_both_directions_are_equally_likely_and_independent():
    params = RandAugment(2).draw(Draws(0, 0, torch.arange(26_000), ""), 32)
    for i in range(2):
        counts = torch.bincount(params[f"operation {i}"], minlength=len(NAMES))
        assert len(counts) == len(NAMES) and (counts - 2000).abs().max() < 200
        assert set(params[f"sign {i}"].tolist()) == {-1, 1} and abs(params[f"sign {i}"].double().mean()) < 0.03
    table = torch.stack([values.double() for values in params.values()])
    assert torch.corrcoef(table).fill_diagonal_(0).abs().max() < 0.03


def test_parameters_depend_on_the_index_only_and_the_images_given_do_not_change():
    op, images = RandAugment(), IMAGES.clone()
    few, many = (op.draw(Draws(0, 0, torch.arange(n), ""), 32) for n in (len(IMAGES), 100))
    assert all(torch.equal(many[name][: len(IMAGES)], values) for name, values in few.items())
    op.apply(images, few)
    assert torch.equal(images, IMAGES)
    assert RandAugment(0).draw(Draws(0, 0, torch.arange(5), ""), 32) == {}


@pytest.mark.parametrize("settings", [(-1,), (1.5,), (2, -1), (2, 31), (2, 4.5), (True,)])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(CourseworkError, match="whole number"):
        RandAugment(*settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_makes_the_same_pixels():
    op, index = RandAugment(1, 20), torch.arange(200)
    images = NOISE[index % 4]
    params, drawn = (op.draw(Draws(0, 0, index.to(device), ""), 32) for device in ("cpu", "cuda"))
    apart = (op.apply(images.cuda(), drawn).cpu().int() - op.apply(images, params).int()).abs()
    assert apart.max() <= 1 and (apart > 0).double().mean() < 0.002
