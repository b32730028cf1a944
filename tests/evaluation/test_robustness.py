"""Tests of robustness.py: what is done to the pixels, and that it is done before they are normalised."""

import pytest
import torch
from torch import nn
from training_parts import images

from utils.data.cifar10 import Split
from utils.evaluation.cifar10_c import first_of_each_class
from utils.evaluation.robustness import (
    CHANGE_PASSES,
    STRENGTHS,
    VIEW_PASSES,
    VIEWS,
    accuracy_of_views,
    averaged_views,
    jpeg,
    moved,
    noise,
    robustness,
    shift,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Darkness(nn.Module):
    """Say class 0 for images that are dark on the whole, else class 1; remember what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, X):
        self.shown.append(X.clone())
        bright = self.mean(X).mean(1, keepdim=True)
        return torch.cat([-bright, bright, torch.full((len(X), 8), -99.0)], 1)


@pytest.fixture
def split():
    shades = torch.tensor([10, 60, 200, 250, 90, 160], dtype=torch.uint8)
    pixels = images(6, size=32).images // 8
    return Split((shades.view(-1, 1, 1, 1) // 2 + pixels // 2), torch.tensor([0, 0, 1, 1, 0, 1]))


def test_only_the_views_that_are_asked_for_are_looked_at(split):
    net = Darkness()
    assert list(averaged_views(net, split, ("plain",))) == ["plain"] and len(net.shown) == 1
    net.shown.clear()
    assert list(accuracy_of_views(net, split, ("flip", "plain"))) == ["flip", "plain"] and len(net.shown) == 2


def test_a_picture_that_moves_repeats_its_edge():
    picture = torch.arange(9).view(1, 1, 3, 3)
    assert moved(picture, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert moved(picture, 0, -2)[0, 0].tolist() == [[2, 2, 2], [5, 5, 5], [8, 8, 8]]
    assert torch.equal(moved(picture, 0, 0), picture)
    assert moved(picture[..., :2, :], 1, 2)[0, 0].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert moved(picture[..., :2, :], 0, -1)[0, 0].tolist() == [[1, 2, 2], [4, 5, 5]]


def test_a_shift_moves_each_image_whole_in_one_of_four_directions():
    pictures = images(60, size=8).images
    shifted = shift(pictures, 2, seed=1)
    directions = [(-2, 0), (2, 0), (0, -2), (0, 2)]
    fits = torch.stack([(moved(pictures, *way) == shifted).flatten(1).all(1) for way in directions])
    assert fits.sum(0).eq(1).all() and fits.any(1).all()  # each image went one way, and every way was taken


def test_noise_has_its_strength_and_stays_within_the_pixels():
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    assert noise(grey, 16).float().std() == pytest.approx(16, rel=0.02)
    assert noise(grey, 16).float().mean() == pytest.approx(128, abs=0.2)
    weak, strong = noise(grey, 4).float() - 128, noise(grey, 32).float() - 128
    assert torch.corrcoef(torch.stack([weak.flatten(), strong.flatten()]))[0, 1] > 0.98
    white = noise(torch.full((4, 3, 8, 8), 255, dtype=torch.uint8), 32)
    assert white.max() == 255 and white.min() > 100  # clipped, and not wrapped around to black


@pytest.mark.parametrize(("change", "strength"), [(shift, 2), (noise, 16), (jpeg, 40)])
def test_a_change_is_the_same_for_a_seed_and_leaves_the_images_and_the_generators_alone(change, strength):
    pictures = images(30, size=32).images
    kept, state = pictures.clone(), torch.get_rng_state()
    first = change(pictures, strength, seed=3)
    assert torch.equal(first, change(pictures, strength, seed=3)) and first.shape == pictures.shape
    assert torch.equal(pictures, kept) and torch.equal(torch.get_rng_state(), state)
    if change is not jpeg:
        assert not torch.equal(first, change(pictures, strength, seed=4))


def test_rows_are_spread_over_the_classes_and_are_the_first_of_each():
    labels = torch.tensor([0] * 50 + [1] * 50 + [2] * 2)
    assert first_of_each_class(labels, 8).tolist() == [0, 1, 2, 50, 51, 52, 100, 101]
    assert first_of_each_class(labels, 102).tolist() == list(range(102))
    assert first_of_each_class(labels, 3).tolist() == [0, 50, 100]


def test_a_networks_images_are_changed_before_they_are_normalised(split):
    net = Darkness()
    record = robustness(net, split, mean=(0.3,) * 3, std=(0.25,) * 3, seed=3)
    assert torch.allclose(net.shown[0], (split.images / 255 - 0.3) / 0.25, atol=1e-6)
    for number, (change, name) in enumerate([(c, n) for n, c in (("shift", shift), ("noise", noise), ("jpeg", jpeg))]):
        for place, strength in enumerate(STRENGTHS[name][1:]):
            expected = (change(split.images, strength, seed=3) / 255 - 0.3) / 0.25
            assert torch.allclose(net.shown[1 + 4 * number + place], expected, atol=1e-6), (name, strength)
    assert record["images"] == 6 and all(len(record[name]["accuracy"]) == 5 for name in STRENGTHS)
    assert {record[name]["accuracy"][0] for name in STRENGTHS} == {1.0}


def test_the_numbers_of_passes_that_work_is_reckoned_by_are_those_that_are_made(split):
    net = Darkness()
    averaged_views(net, split)
    assert len(net.shown) == VIEW_PASSES
    net.shown.clear()
    robustness(net, split)
    assert len(net.shown) == CHANGE_PASSES


def test_answers_are_given_in_the_way_that_is_asked_for(split):
    def contrary(net, X):
        return -net(X)[:, :2]

    how = {"mean": (0.3,) * 3, "std": (0.25,) * 3}
    assert set(accuracy_of_views(Darkness(), split, **how).values()) == {1.0}
    assert set(accuracy_of_views(Darkness(), split, predict=contrary, **how).values()) == {0.0}
    assert robustness(Darkness(), split, predict=contrary, **how)["noise"]["accuracy"][0] == 0.0


def test_views_are_the_mean_of_the_probabilities_of_mirrored_and_moved_images(split):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    how = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    found = averaged_views(net, split, **how)

    def p(pictures):
        return net((pictures / 255 - 0.5) / 0.25).softmax(1).detach()

    mirror = split.images.flip(3)
    assert torch.allclose(found["plain"], p(split.images), atol=1e-6)
    assert torch.allclose(found["flip"], (p(split.images) + p(mirror)) / 2, atol=1e-6)
    ways = [(0, 0), (1, 1), (-1, -1)]
    every = sum(p(moved(x, *way)) for x in (split.images, mirror) for way in ways) / 6
    assert torch.allclose(found["flip + shifts"], every, atol=1e-6)
    accuracies = accuracy_of_views(net, split, **how)
    assert accuracies == {n: float((q.argmax(1) == split.labels).double().mean()) for n, q in found.items()}
    assert list(accuracies) == list(VIEWS)
