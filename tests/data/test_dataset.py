"""The usual way to batches is plain PyTorch, ImageDataset is like torchvision's, and v2's steps have our settings."""

import numpy as np
import pytest
import torch
from loader_parts import IN_V2, SPLIT, N, one_pass, same
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, RandomSampler
from torchvision.transforms import InterpolationMode, v2

from utils.data.augment import Affine, ColorJitter, Crop, Cutout, Flip
from utils.data.cifar10 import CLASSES
from utils.data.dataset import ImageDataset, torch_loader, v2_transform
from utils.data.order import MEAN, STD


def test_it_is_a_plain_dataloader_that_everybody_could_have_written():
    loader = torch_loader(SPLIT, 16, augment=IN_V2, shuffle=True, num_workers=0)
    assert type(loader) is DataLoader and type(loader.dataset) is ImageDataset
    assert type(loader.sampler) is RandomSampler and type(loader.batch_sampler) is BatchSampler
    assert loader.generator is None and not hasattr(loader, "set_position")


def test_torchs_own_seed_decides_the_order_and_the_augmentation():
    loader = torch_loader(SPLIT, 16, augment=IN_V2, shuffle=True, num_workers=0)

    def seeded_pass(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return one_pass(loader)

    assert same(seeded_pass(0), seeded_pass(0)) and not same(seeded_pass(0), seeded_pass(1))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_worker_processes_give_the_same_images():
    alone, with_workers = (one_pass(torch_loader(SPLIT, 16, num_workers=count)) for count in (0, 2))
    assert same(alone, with_workers)


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
