"""The usual way: workers change nothing, ImageDataset is like torchvision's, v2's steps have our settings."""

import pickle

import numpy as np
import pytest
import torch
from loader_parts import IN_V2, SPLIT, N, global_states, one_pass, same
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from utils.data.augment import Affine, ColorJitter, Crop, Cutout, Flip
from utils.data.cifar10 import CLASSES, Split
from utils.data.loader import MEAN, STD, ImageDataset, torch_loader, v2_transform


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


def test_the_usual_loaders_images_can_be_sent_to_a_worker_that_starts_afresh():
    loader = torch_loader(SPLIT, 16, augment=IN_V2, num_workers=0)
    sent = pickle.loads(pickle.dumps(loader.dataset))
    assert torch.equal(sent[(3, 7)][0], loader.dataset[(3, 7)][0])


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
