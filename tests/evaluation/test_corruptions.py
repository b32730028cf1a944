"""Tests of corruptions.py: each corruption against its published formula, in NumPy and SciPy, image by image."""

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from training_parts import images

from utils.data.counter_rng import Draws
from utils.errors import CourseworkError
from utils.evaluation import corruptions
from utils.evaluation.corruptions import PUBLISHED, corrupt

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBER, SEED = 3, 5
SEVERITIES = (1, 2, 3, 4, 5)


def pictures():
    """Return three images with edges, gradients and noise, uint8 (3, 3, 32, 32)."""
    made = images(NUMBER, size=32).images.float() / 8
    slope = torch.linspace(0, 180, 32)
    made[0] += slope
    made[1] += slope[:, None]
    made[2, :, 8:20, 5:28] += 200
    return made.clamp(0, 255).to(torch.uint8)


def draws(name):
    return Draws(SEED, 0, torch.arange(NUMBER), name)


def numbers(name, stream, *shape, low=0.0, high=1.0):
    """Return the random numbers that a corruption draws, as an array (3, *shape)."""
    return corruptions._uniform(draws(name), stream, *shape, low=low, high=high).numpy()


def normal(name, stream, *shape):
    return stats.norm.ppf(numbers(name, stream, *shape) + 2.0**-25)


def same_pixels(name, severity, by_hand, share=0.0):
    """Compare with the formula, called with (row, image (32, 32, 3) from 0 to 1); no level may differ by more than 1.

    share: the share of values that may differ at all, because both cut off numbers that are nearly whole.
    """
    corrupted = corrupt(pictures(), name, severity, SEED)
    for row, picture in enumerate(pictures().permute(0, 2, 3, 1).numpy()):
        expected = np.clip(by_hand(row, picture / 255.0), 0, 1) * 255
        levels = np.uint8(expected + 1e-6).astype(int)
        difference = np.abs(corrupted[row].permute(1, 2, 0).numpy().astype(int) - levels)
        assert difference.max() <= 1 and (difference > 0).mean() <= share, (difference.max(), (difference > 0).mean())


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise(severity):
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    noise = normal("gaussian_noise", "noise", 3, 32, 32).transpose(0, 2, 3, 1)
    same_pixels("gaussian_noise", severity, lambda row, x: x + deviation * noise[row], share=1e-3)
    photons = (500, 250, 100, 75, 50)[severity - 1]
    uniform = numbers("shot_noise", "photons", 3, 32, 32).transpose(0, 2, 3, 1)
    same_pixels(
        "shot_noise", severity, lambda row, x: stats.poisson.ppf(uniform[row], x * photons) / photons, share=1e-3
    )
    amount = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    hit = numbers("impulse_noise", "is hit", 3, 32, 32).transpose(0, 2, 3, 1) < amount
    salt = numbers("impulse_noise", "colour", 3, 32, 32).transpose(0, 2, 3, 1) < 0.5
    same_pixels("impulse_noise", severity, lambda row, x: np.where(hit[row], salt[row], x))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_is_a_convolution_with_a_softened_disk(severity):
    radius, blur = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    offsets = np.arange(-8, 9)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    side = np.exp(-np.array([1, 0, 1]) / (2 * blur**2))
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(side, side) / side.sum() ** 2)
    by_channel = lambda row, x: np.stack([ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)], 2)  # noqa: E731
    same_pixels("defocus_blur", severity, by_channel, share=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_copies_neighbours_from_the_bottom_right_upwards(severity):
    sigma, repetitions = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity - 1]

    def by_hand(row, x):
        smooth = lambda x: ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest", truncate=4.0)  # noqa: E731
        x = np.uint8(smooth(x) * 255 + 1e-6)
        for i in range(repetitions):
            up, left = (numbers("glass_blur", f"{side} {i}", 32, 32)[row] < 0.5 for side in ("up", "left"))
            for h in range(31, 1, -1):
                for w in range(31, 1, -1):
                    neighbour = (h - up[h, w], w - left[h, w])
                    x[h, w], x[neighbour] = x[neighbour], x[h, w]  # of arrays: this copies, and does not swap
        return smooth(x / 255)

    same_pixels("glass_blur", severity, by_hand, share=1e-3)


def moved_means(x, radius, sigma, degrees):
    """Return the motion blur of ImageMagick, in levels of 255: a Gaussian's half, along one direction."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    padded = np.pad(x, [(40, 40), (40, 40), (0, 0)], mode="edge")
    blurred = 0
    for step, weight in enumerate(weights / weights.sum()):
        down, right = (math.ceil(step * f(math.radians(degrees)) - 0.5) for f in (math.sin, math.cos))
        blurred = blurred + weight * padded[40 + down : 72 + down, 40 + right : 72 + right]
    return np.round(255 * blurred) / 255


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_has_one_direction_in_each_image(severity):
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    degrees = draws("motion_blur").uniform("degrees", -45, 45).tolist()
    assert len(set(degrees)) == NUMBER
    same_pixels("motion_blur", severity, lambda row, x: moved_means(x, radius, sigma, degrees[row]), share=1e-3)


def zoomed(x, factor):
    """Return the middle of an image (32, 32, channels), enlarged by SciPy and cut to its old size."""
    part = math.ceil(32 / factor)
    top = (32 - part) // 2
    large = ndimage.zoom(x[top : top + part, top : top + part], (factor, factor, 1), order=1, mode="nearest")
    start = (len(large) - 32) // 2
    return large[start : start + 32, start : start + 32]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_is_the_mean_of_enlarged_images(severity):
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)

    def by_hand(row, x):
        return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)

    same_pixels("zoom_blur", severity, by_hand, share=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_has_flakes_from_two_sides_and_lightens_the_image(severity):
    mean, sd, size, threshold, radius, sigma, share = PUBLISHED["snow"][severity - 1]
    degrees = draws("snow").uniform("degrees", -135, -45).tolist()

    def by_hand(row, x):
        flakes = zoomed(mean + sd * normal("snow", "flakes", 32, 32)[row][..., None], size)
        flakes = np.where(flakes < threshold, 0, flakes)
        flakes = np.uint8(np.clip(flakes, 0, 1) * 255) / 255
        flakes = moved_means(flakes, radius, sigma, degrees[row])
        grey = (x @ [0.299, 0.587, 0.114])[..., None]
        x = share * x + (1 - share) * np.maximum(x, grey * 1.5 + 0.5)
        return x + flakes + np.rot90(flakes, 2)

    same_pixels("snow", severity, by_hand, share=2e-3)


def clouds(row, decay):
    """Return the diamond-square clouds of one image, point by point."""
    height, step, move = np.zeros((32, 32)), 32, 100.0
    while step >= 2:
        half, count = step // 2, 32 // step
        drawn = {
            name: numbers("fog", f"{name} {step}", count, count, low=-move, high=move)[row]
            for name in ("centres", "across", "down")
        }
        old = height.copy()
        at = lambda h, w, heights: heights[h % 32, w % 32]  # noqa: E731
        for i in range(count):
            for j in range(count):
                h, w = i * step, j * step
                corners = sum(at(h + a, w + b, old) for a in (0, step) for b in (0, step))
                height[h + half, w + half] = corners / 4 + move * drawn["centres"][i, j]
        for i in range(count):
            for j in range(count):
                h, w = i * step, j * step
                near = at(h + half, w + half, height)
                across = near + at(h - half, w + half, height) + at(h, w, old) + at(h, w + step, old)
                down = near + at(h + half, w - half, height) + at(h, w, old) + at(h + step, w, old)
                height[h, w + half] = across / 4 + move * drawn["across"][i, j]
                height[h + half, w] = down / 4 + move * drawn["down"][i, j]
        step, move = half, move / decay
    height -= height.min()
    return height / height.max()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_is_a_layer_of_clouds(severity):
    density, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]

    def by_hand(row, x):
        return (x + density * clouds(row, decay)[..., None]) * x.max() / (x.max() + density)

    same_pixels("fog", severity, by_hand, share=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_contrast(severity):
    added, share = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1], (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]

    def brighter(row, x):
        hsv = np.apply_along_axis(lambda pixel: colorsys.rgb_to_hsv(*pixel), 2, x)
        hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
        return np.apply_along_axis(lambda pixel: colorsys.hsv_to_rgb(*pixel), 2, hsv)

    same_pixels("brightness", severity, brighter, share=1e-3)
    mean = lambda x: x.mean((0, 1), keepdims=True)  # noqa: E731
    same_pixels("contrast", severity, lambda row, x: (x - mean(x)) * share + mean(x), share=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform_moves_three_points_and_then_every_pixel(severity):
    c = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))[severity - 1]
    shift, sigma, jitter = (32 * value for value in c)
    name = "elastic_transform"

    def by_hand(row, x):
        before = np.array([[26, 26], [26, 6], [6, 6]])  # columns and rows
        after = before + numbers(name, "points", 3, 2, low=-jitter, high=jitter)[row]
        matrix = np.linalg.solve(np.hstack([after, np.ones((3, 1))]), before)  # from the new place to the old one
        rows, columns = np.mgrid[:32, :32]
        sources = np.stack([columns, rows, np.ones((32, 32))], 2) @ matrix
        at = [sources[..., 1], sources[..., 0]]
        x = np.stack([ndimage.map_coordinates(x[..., ch], at, order=1, mode="mirror") for ch in range(3)], 2)
        drawn = [numbers(name, side, 32, 32, low=-1)[row] for side in ("down", "right")]
        moves = [shift * ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3) for field in drawn]
        at = [rows + moves[0], columns + moves[1]]
        return np.stack([ndimage.map_coordinates(x[..., ch], at, order=1, mode="reflect") for ch in range(3)], 2)

    same_pixels(name, severity, by_hand, share=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_and_jpeg_are_what_pillow_makes_of_each_picture(severity):
    share, quality = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1], (80, 65, 58, 50, 40)[severity - 1]

    def compressed(row, x):
        content = io.BytesIO()
        Image.fromarray(np.uint8(np.round(255 * x))).save(content, "JPEG", quality=quality)
        return np.asarray(Image.open(content)) / 255

    same_pixels("jpeg_compression", severity, compressed)
    small = int(32 * share)

    def overlaps(new, old):  # the share of each new pixel that each old one covers, along one side
        edges = np.arange(new + 1) * old / new
        covered = np.minimum(edges[1:, None], np.arange(1, old + 1)) - np.maximum(edges[:-1, None], np.arange(old))
        return np.clip(covered, 0, None) / (old / new)

    corrupted = corrupt(pictures(), "pixelate", severity).double().numpy()
    down, up = overlaps(small, 32), np.eye(small)[((np.arange(32) + 0.5) * small / 32).astype(int)]
    for channel, result in zip(
        pictures().double().numpy().reshape(-1, 32, 32), corrupted.reshape(-1, 32, 32), strict=True
    ):
        exact = up @ (down @ channel @ down.T) @ up.T
        assert np.abs(result - exact).mean() < 12  # Pillow's box takes whole pixels, with no shares of them
    assert len(np.unique(corrupted[0, 0], axis=0)) <= small  # rows are repeated


@pytest.mark.parametrize("name", PUBLISHED)
def test_images_depend_on_the_seed_and_their_row_and_not_on_the_batch(name, monkeypatch):
    originals = images(7, size=32).images
    kept, state = originals.clone(), torch.get_rng_state()
    corrupted = corrupt(originals, name, 4, seed=1)
    assert corrupted.dtype == torch.uint8 and corrupted.shape == originals.shape
    assert (corrupted != originals).flatten(1).any(1).all()
    monkeypatch.setattr(corruptions, "CHUNK", 3)
    assert torch.equal(corrupt(originals, name, 4, seed=1), corrupted)
    assert torch.equal(corrupt(originals[:2], name, 4, seed=1), corrupted[:2])
    assert torch.equal(originals, kept) and torch.equal(torch.get_rng_state(), state)
    is_random = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert torch.equal(corrupt(originals, name, 4, seed=2), corrupted) == (not is_random)


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.zeros(1, 3, 32, 32), "fog", 1),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "fog", 1),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "frost", 1),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "fog", 6),
    ],
)
def test_what_it_cannot_corrupt_is_refused(arguments):
    with pytest.raises(CourseworkError):
        corrupt(*arguments)
