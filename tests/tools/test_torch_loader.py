"""The DataLoader of the benchmarks has the same work to do as ours."""

import pytest
import torch
from loader_parts import SPLIT, normalised
from PIL import Image
from torchvision.transforms import InterpolationMode

from tools.bench._torch_loader import torch_loader
from tools.bench._ways import of_whole_images
from utils.data.augment import Affine, ColorJitter, Crop, Cutout, Flip
from utils.recipes import OURS, SYSTEMS


def test_without_augmentation_it_gives_the_same_batches():
    X, y = next(iter(torch_loader(SPLIT, 16)))
    assert torch.allclose(X, normalised(SPLIT.images[:16]), atol=1e-5) and torch.equal(y, SPLIT.labels[:16])


def test_its_transforms_have_our_settings():
    augment = (Flip(0.3), Crop(3, "reflect"), Affine(10, (0.1, 0.2), (0.9, 1.1), 5), ColorJitter(0.4, 0, 0, 0.1))
    flip, crop, affine, jitter, *_ = torch_loader(SPLIT, 16, augment=augment).dataset.transform.transforms
    assert flip.p == 0.3
    assert (crop.size, crop.padding, crop.padding_mode) == ((32, 32), [3, 3, 3, 3], "reflect")
    ranges = (affine.degrees, affine.translate, affine.scale, affine.shear)
    assert ranges == ([-10, 10], (0.1, 0.2), (0.9, 1.1), [-5, 5])
    assert affine.interpolation == InterpolationMode.BILINEAR
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == ((0.6, 1.4), None, None, (-0.1, 0.1))


@pytest.mark.parametrize("size", [1, 8])
def test_its_cutout_erases_a_square_of_the_size_in_the_colour(size):
    erase = torch_loader(SPLIT, 16, augment=(Cutout(size, (255, 0, 51)),), mean=(0,) * 3, std=(1,) * 3)
    X = erase.dataset.transform(Image.new("RGB", (32, 32), (10, 10, 10)))
    painted = (X - torch.tensor([1, 0, 0.2]).view(3, 1, 1)).abs().amax(0) < 1e-6
    assert painted.sum() == size * size and painted.any(0).sum() == painted.any(1).sum() == size


@pytest.mark.parametrize("recipe", [*SYSTEMS.values(), *OURS.values()], ids=lambda recipe: recipe.name)
def test_it_knows_every_augmentation_of_the_recipes_that_are_measured(recipe):
    X, _ = next(iter(torch_loader(SPLIT, 4, augment=of_whole_images(recipe).augment)))
    assert X.shape == (4, 3, 32, 32)
