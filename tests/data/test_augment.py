"""Tests augment against torchvision's v2 functions: the same parameters must give the same image, one by one."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from utils.data.augment import Affine, AlternatingFlip, ColorJitter, Crop, Cutout, Flip, Shrink
from utils.data.counter_rng import Draws
from utils.data.loader import MEAN, STD
from utils.errors import CourseworkError


def make_images():
    """Return 24 images: noise, ramps, flat greys, and the colours in which hue and saturation have their corners."""
    noise = torch.randint(0, 256, (10, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ramp = (torch.arange(32) * 8).to(torch.uint8)
    ramps = torch.stack([ramp.expand(32, 32), ramp.view(32, 1).expand(32, 32), ramp.flip(0).expand(32, 32)])
    corners = torch.cartesian_prod(*[torch.tensor([0, 255], dtype=torch.uint8)] * 3)
    greys = torch.tensor([1, 127, 128], dtype=torch.uint8).view(3, 1).expand(3, 3)
    flat = torch.cat((corners, greys)).view(-1, 3, 1, 1).expand(-1, -1, 32, 32)
    return torch.cat((noise, ramps[None], ramps.flip(0)[None], ramps[None].roll(1, 1), flat))


IMAGES = make_images()
INDEX = torch.arange(len(IMAGES))


def flip_by_v2(op, image, mirrored):
    return v2.horizontal_flip(image) if mirrored else image


def crop_by_v2(op, image, top, left):
    padded = v2.pad(image, op.padding, padding_mode={"zero": "constant", "reflect": "reflect"}[op.mode])
    return v2.crop(padded, top, left, 32, 32)


def affine_by_v2(op, image, angle, right, down, scale, shear):
    return v2.affine(image, angle, [right, down], scale, [shear, 0.0], interpolation=InterpolationMode.BILINEAR)


def jitter_by_v2(op, image, **params):
    for name in ("brightness", "contrast", "saturation", "hue"):
        image = getattr(v2, f"adjust_{name}")(image, params[name]) if name in params else image
    return image


def cutout_by_v2(op, image, top, left):
    return v2.erase(image, top, left, op.size, op.size, torch.tensor(op.fill).view(3, 1, 1))


def shrink_by_v2(op, image, size):
    # Of whole levels v2 makes whole levels after each of the two axes, on a CPU; of fractions it rounds nothing.
    small = v2.resize(image.to(torch.float32), [size, size], InterpolationMode.BILINEAR, antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


ORACLE = {
    Flip: flip_by_v2,
    AlternatingFlip: flip_by_v2,
    Crop: crop_by_v2,
    Affine: affine_by_v2,
    ColorJitter: jitter_by_v2,
    Cutout: cutout_by_v2,
    Shrink: shrink_by_v2,
}


def draw(op, seed=0, epoch=0, index=INDEX, purpose=""):
    return op.draw(Draws(seed, epoch, index, purpose), 32)


def by_v2(op, images, params):
    """Apply v2's function to one image after another."""
    rows = [{name: values[i].item() for name, values in params.items()} for i in range(len(images))]
    return torch.stack([ORACLE[type(op)](op, image, **row) for image, row in zip(images, rows, strict=True)])


def levels_apart(made, expected):
    """Return for each pixel by how many of its 256 levels the two differ."""
    assert made.dtype == expected.dtype == torch.uint8 and made.shape == expected.shape
    return (made.int() - expected.int()).abs()


GEOMETRIC = [
    *(Flip(0), Flip(), Flip(1), AlternatingFlip()),
    *(Crop(0), Crop(1), Crop(4), Crop(40), Crop(0, "reflect"), Crop(4, "reflect"), Crop(31, "reflect")),
    *(Cutout(1), Cutout(8), Cutout(31, (0, 255, 7)), Cutout(32)),
]
INTERPOLATED = [
    *(Affine(), Affine(15), Affine(180), Affine(translate=(0.1, 0.25)), Affine(translate=(1, 1)), Affine(shear=80)),
    *(Affine(scale=(0.9, 1.1)), Affine(scale=(0.1, 0.1)), Affine(scale=(1, 8)), Affine(30, (0.2, 0), (0.5, 2), 20)),
    *(Shrink(24), Shrink(17), Shrink(1), Shrink(32)),
]
COLOURS = [
    *(ColorJitter(), ColorJitter(0.4), ColorJitter(contrast=0.4), ColorJitter(saturation=0.4), ColorJitter(hue=0.1)),
    *(ColorJitter(5), ColorJitter(contrast=5), ColorJitter(saturation=5), ColorJitter(hue=0.5)),
    *(ColorJitter(0.2, 0.2, 0.2, 0.1), ColorJitter(1, 1, 1, 0.5), ColorJitter(5, 5, 5, 0.5)),
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("op", GEOMETRIC, ids=repr)
def test_moved_and_painted_pixels_are_exactly_v2s(op, seed):
    params = draw(op, seed)
    assert levels_apart(op.apply(IMAGES, params), by_v2(op, IMAGES, params)).max() == 0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("op", INTERPOLATED + COLOURS, ids=repr)
def test_computed_pixels_are_v2s_to_a_level_and_nearly_all_exactly(op, seed):
    params = draw(op, seed)
    apart = levels_apart(op.apply(IMAGES, params), by_v2(op, IMAGES, params))
    assert apart.max() <= 1
    # A value that lies on the border of two levels may be rounded to either.
    assert (apart > 0).double().mean() < 0.002


@pytest.mark.parametrize("op", [*GEOMETRIC, *INTERPOLATED, *COLOURS], ids=repr)
def test_an_image_is_changed_by_its_own_parameters_only_and_the_input_not_at_all(op):
    images = IMAGES.clone()
    params = draw(op)
    whole = op.apply(images, params)
    alone = torch.cat(
        [op.apply(images[i : i + 1], {name: values[i : i + 1] for name, values in params.items()}) for i in INDEX]
    )
    assert torch.equal(images, IMAGES)
    assert levels_apart(whole, alone).max() <= (1 if isinstance(op, Affine) else 0)


@pytest.mark.parametrize("op", [*GEOMETRIC, *INTERPOLATED, *COLOURS], ids=repr)
def test_parameters_depend_on_seed_epoch_purpose_and_the_images_index_only(op):
    index = torch.arange(200)
    params = draw(op, 3, 5, index)
    backwards = draw(op, 3, 5, index.flip(0))
    part = draw(op, 3, 5, index[50:60])
    for name, values in params.items():
        assert values.shape == (200,)
        assert torch.equal(backwards[name].flip(0), values) and torch.equal(part[name], values[50:60])
        varied = len(values.unique()) > 1
        for other in (draw(op, 4, 5, index), draw(op, 3, 5, index, "1 another")):
            assert torch.equal(other[name], values) != varied


def test_flips_come_with_their_probability():
    index = torch.arange(20_000)
    for p in (0, 0.2, 0.5, 1):
        assert (
            abs(draw(Flip(p), index=index)["mirrored"].double().mean() - p) < 4 * math.sqrt(p * (1 - p) / 20_000) + 1e-9
        )


def test_an_alternating_flip_is_random_once_and_then_shows_each_side_in_turn():
    sides = [draw(AlternatingFlip(), epoch=epoch, index=torch.arange(20_000))["mirrored"] for epoch in range(5)]
    assert abs(sides[0].double().mean() - 0.5) < 0.015
    for epoch in range(4):
        assert torch.equal(sides[epoch + 1], ~sides[epoch])


@pytest.mark.parametrize(("op", "names", "count"), [(Crop(4), ("top", "left"), 9), (Cutout(8), ("top", "left"), 25)])
def test_every_place_of_a_window_is_equally_likely(op, names, count):
    params = draw(op, index=torch.arange(45_000))
    both = torch.bincount(params[names[0]] * count + params[names[1]], minlength=count * count).double()
    expected, freedom = 45_000 / count**2, count**2 - 1
    assert both.min() > 0 and len(both) == count**2
    assert abs((((both - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5) < 4


@pytest.mark.parametrize(
    ("op", "ranges"),
    [
        (ColorJitter(0.4, 0.3, 0.2, 0.1), {"brightness": (0.6, 1.4), "contrast": (0.7, 1.3), "hue": (-0.1, 0.1)}),
        (ColorJitter(0.4, 0.3, 0.2, 0.1), {"saturation": (0.8, 1.2)}),
        (ColorJitter(2), {"brightness": (0, 3)}),
        (Affine(10, (0.125, 0.25), (0.5, 2), 7), {"angle": (-10, 10), "scale": (0.5, 2), "shear": (-7, 7)}),
        (Affine(10, (0.125, 0.25), (0.5, 2), 7), {"right": (-4, 4), "down": (-8, 8)}),
    ],
)
def test_parameters_fill_the_range_of_their_setting_and_never_leave_it(op, ranges):
    params = draw(op, index=torch.arange(5000))
    for name, (low, high) in ranges.items():
        values, margin = params[name].double(), 0.01 * (high - low)
        assert low - 1e-6 <= values.min() < low + margin and high - margin < values.max() <= high + 1e-6
        assert abs(values.mean() - (low + high) / 2) < 2 * margin


def test_shifts_are_whole_pixels_as_in_v2():
    params = draw(Affine(translate=(0.1, 0.3)), index=torch.arange(1000))
    assert torch.equal(params["right"], params["right"].round()) and torch.equal(params["down"], params["down"].round())


def test_a_colour_that_is_not_to_change_costs_no_draw_and_no_work():
    assert draw(ColorJitter()) == {} and set(draw(ColorJitter(hue=0.1))) == {"hue"}
    assert torch.equal(ColorJitter().apply(IMAGES, {}), IMAGES)


def test_images_are_shrunk_in_the_first_epochs_only():
    op = Shrink(20, epochs=2)
    shapes = [op.apply(IMAGES, draw(op, epoch=epoch)).shape[2:] for epoch in range(4)]
    assert shapes == [(20, 20), (20, 20), (32, 32), (32, 32)]
    assert torch.equal(op.apply(IMAGES, draw(op, epoch=2)), IMAGES)


def test_images_cannot_be_shrunk_to_more_than_they_have():
    with pytest.raises(CourseworkError, match="only 32 pixels a side"):
        draw(Shrink(33))


def test_a_cutouts_own_colour_is_about_zero_once_normalised():
    level = (torch.tensor(Cutout(8).fill) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert level.abs().max() < 0.01


@pytest.mark.parametrize(
    ("listed", "op"),
    [
        (Affine(10, [0.1, 0.2], [0.9, 1.1]), Affine(10, (0.1, 0.2), (0.9, 1.1))),
        (Cutout(8, [0, 255, 7]), Cutout(8, (0, 255, 7))),
    ],
)
def test_lists_serve_as_well_as_tuples(listed, op):
    assert torch.equal(listed.apply(IMAGES, draw(listed)), op.apply(IMAGES, draw(op)))


@pytest.mark.parametrize(
    "make",
    [
        *(lambda p=p: Flip(p) for p in (-0.1, 1.1, float("nan"), "often", True)),
        *(lambda padding=padding: Crop(padding) for padding in (-1, 1.5, None, True)),
        lambda: Crop(4, "edge"),
        lambda: Shrink(0),
        lambda: Shrink(24, epochs=-1),
        *(
            lambda kw=kw: Affine(**kw)
            for kw in ({"degrees": -1}, {"degrees": float("inf")}, {"shear": 90}, {"shear": -1})
        ),
        *(lambda t=t: Affine(translate=t) for t in (0.1, (0.1,), (0.1, -0.1), (0.1, 1.1), ("a", "b"))),
        *(lambda s=s: Affine(scale=s) for s in (1.1, (0, 1), (1.1, 0.9), (0.9, 1.0, 1.1), (float("nan"), 1))),
        *(lambda n=n: ColorJitter(**{n: -0.1}) for n in ("brightness", "contrast", "saturation", "hue")),
        *(lambda v=v: ColorJitter(brightness=v) for v in ((0.8, 1.2), None, float("inf"))),
        lambda: ColorJitter(hue=0.6),
        *(lambda size=size: Cutout(size) for size in (0, -1, 2.5, (4, 4))),
        *(lambda fill=fill: Cutout(4, fill) for fill in (0, (1, 2), (1, 2, 256), (0.5, 0.5, 0.5))),
        lambda: draw(Cutout(33)),
        lambda: Crop(32, "reflect").apply(IMAGES, draw(Crop(32, "reflect"))),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_a_way_out(make):
    with pytest.raises(CourseworkError) as caught:
        make()
    name = caught.value.where.partition("(")[0]
    assert caught.value.next_step == f"The settings are described in help(utils.data.augment.{name})."
    assert len(str(caught.value).splitlines()) < 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_draws_the_same_and_makes_the_same_pixels():
    for op in [*GEOMETRIC, *INTERPOLATED, *COLOURS]:
        params, drawn = draw(op), op.draw(Draws(0, 0, INDEX.cuda(), ""), 32)
        assert all(torch.equal(drawn[name].cpu(), values) for name, values in params.items())
        apart = levels_apart(op.apply(IMAGES.cuda(), drawn).cpu(), op.apply(IMAGES, params))
        # Shrinking by 3 : 4 leaves many values right between two levels, which devices round either way.
        share = 0.03 if isinstance(op, Shrink) else 0.002
        assert apart.max() <= (0 if op in GEOMETRIC else 1) and (apart > 0).double().mean() < share, op
