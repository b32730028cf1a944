"""Draw the synthetic images, which replace CIFAR-10 if it is not available; they are the same on every machine.

Random numbers are a hash of (split, class, image), since numpy's generators may change between versions. Pixels
are computed only with + - * / sqrt, min, max, abs, floor and comparisons, whose rounding IEEE 754 defines; the last bit
of a sine, a power or a sum of floats depends on the library and the processor.

n images are painted together. A number for each image is a column (n, 1), a colour (3, n, 1), a plane of pixels
(n, pixels) and a canvas (3, n, pixels), so that they broadcast. Coordinates run from -1 to 1, and y points down.
"""

from __future__ import annotations

import concurrent.futures

import numpy as np

from utils.data.sources.synthetic_shapes import FIGURES, GAP, PALETTE, box, ellipse, fold, unit

SPLITS = ("train", "test")
SIZE = 32  # pixels a side
CHUNK = 50  # images painted together: enough that numpy's calls take little time, few enough for the processor's cache
JITTER = 0.1  # the largest random change of each number of a figure, as a fraction of it

# Random numbers: the k-th number of an image is a hash, so it does not depend on the order of drawing.

STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(a):
    """Scramble a uint64 array with the constants of splitmix64; different values stay different."""
    a = (a ^ (a >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    a = (a ^ (a >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return a ^ (a >> np.uint64(31))


def _numbers(keys, count):
    """Return the first `count` random numbers of each key, uint64 (count, len(keys))."""
    return _mix(keys + np.arange(1, count + 1, dtype=np.uint64)[:, None] * STEP)


def _image_keys(split, name, count):
    """Return the keys of the first `count` images of a class; an image depends only on its key."""
    key = np.zeros(1, np.uint64)
    for number in (0, SPLITS.index(split), list(FIGURES).index(name)):
        key = _mix(_mix(key) + np.uint64(number))
    return _numbers(key, count)[:, 0]


class Dice:
    """The random numbers of n images for one purpose, so that a change to the colours does not change the positions."""

    def __init__(self, keys, purpose, sides=24):
        stream = _mix(keys ^ np.uint64(int.from_bytes(purpose.encode(), "little")))
        fractions = (_numbers(stream, sides) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
        self.remaining = iter(fractions[:, :, None])

    def roll(self, low=0.0, high=1.0):
        """Return the next column, uniform from low to high."""
        return next(self.remaining) * (high - low) + low

    def rolls(self, count, low=0.0, high=1.0):
        """Return the next columns, (count, n, 1)."""
        return np.stack([next(self.remaining) for _ in range(count)]) * (high - low) + low

    def pick(self, count):
        """Return whole numbers from 0 to count - 1, int64 (n,)."""
        return self.roll(0, count)[:, 0].astype(np.int64)

    def colour(self, index):
        """Return the palette's colours at these indices (modulo its length), each changed a little at random."""
        return unit(PALETTE[index % len(PALETTE)].T[:, :, None] + self.rolls(3, -0.07, 0.07))


# Backgrounds: planes with the fraction of the second colour, from 0 to 1.


def _wave(a):
    """Return a triangle wave of period 1 between -1 and 1."""
    return np.abs(a - np.floor(a) - 0.5) * 4 - 1


def _plain(x, y, dice):
    return np.zeros_like(x) + dice.roll()


def _gradient(x, y, dice):
    return unit(x * dice.roll(-0.6, 0.6) + y * dice.roll(-0.6, 0.6) + 0.5)


def _horizon(x, y, dice):
    return unit((y + x * dice.roll(-0.15, 0.15) + dice.roll(-0.5, 0.5)) * 12)


def _stripes(x, y, dice):
    return unit(_wave(x * dice.roll(-1.6, 1.6) + y * dice.roll(-1.6, 1.6) + dice.roll()) * 2 + 0.5)


def _checker(x, y, dice):
    scale = dice.roll(0.8, 1.8)
    return unit(_wave(x * scale + dice.roll()) * _wave(y * scale + dice.roll()) * 6 + 0.5)


def _blobs(x, y, dice):
    spots = [(*dice.rolls(2, -1, 1), *dice.rolls(2, 0.15, 0.5)) for _ in range(4)]
    return unit(0.5 - fold(np.minimum, [ellipse(x, y, *spot) for spot in spots]) * 6)


BACKGROUNDS = (_plain, _gradient, _horizon, _stripes, _checker, _blobs)


def _background(keys, x, y, first, second):
    """Return a canvas of two colours in a random layout for each image."""
    kind = Dice(keys, "kind").pick(len(BACKGROUNDS))
    fraction = np.empty_like(x)
    for number, layout in enumerate(BACKGROUNDS):
        rows = np.flatnonzero(kind == number)
        fraction[rows] = layout(x[rows], y[rows], Dice(keys[rows], "layout"))
    return first + fraction * (second - first)


# Painting, back to front.


def _colours(keys):
    """Return the colour of every role, including the two of the background; colours do not depend on the class."""
    dice = Dice(keys, "colours")
    choices = len(PALETTE) - 2 * GAP + 1
    ground = dice.pick(len(PALETTE))
    body, accent = (ground + GAP + dice.pick(choices) for _ in range(2))
    second = body + GAP + dice.pick(choices)
    indices = {"ground": ground, "second": second, "body": body, "accent": accent}
    colours = {role: dice.colour(index) for role, index in indices.items()}
    body = colours["body"]
    return colours | {"dark": body * 0.3, "light": body * 0.25 + 0.72, "trim": body * dice.roll(0.35, 1.0)}


def _figure_coordinates(keys, x, y):
    """Return the figure's own coordinates of every pixel, and its size as a fraction of the frame."""
    dice = Dice(keys, "place")
    size, squeeze, t = dice.roll(0.55, 0.95), dice.roll(0.85, 1.15), dice.roll(-0.16, 0.16)
    x, y = x - dice.roll(-1, 1) * (1 - size), y - dice.roll(-1, 1) * (1 - size)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)  # up to 18 degrees, without a cosine
    side = np.where(dice.roll() < 0.5, np.float32(-1), np.float32(1))
    x, y = (x * cos + y * sin) * (side / (size * squeeze)), (y * cos - x * sin) * (squeeze / size)
    shear, swell, bend, lift = dice.rolls(4, -0.15, 0.15)
    return x + y * (x * swell + y * bend + shear), y + x * y * lift, size


def _cover(canvas, distance, sharpness, colour):
    """Paint a colour on the canvas where the distance is negative; the sharpness is 1 / (width of the edge)."""
    alpha = unit(0.5 - distance * sharpness)
    canvas += alpha * (colour - canvas)


def _figure(keys, canvas, x, y, sharpness, layers, colours):
    """Paint the layers of a figure; every number of the figure is changed a little at random in every image."""
    dice = Dice(keys, "jitter", sides=sum(len(shape) - 1 for _, *shapes in layers for shape in shapes))
    for role, *shapes in layers:
        distances = []
        for outline, *numbers in shapes:
            jitter = dice.rolls(len(numbers), 1 - JITTER, 1 + JITTER)
            distances.append(outline(x, y, *(np.float32(numbers)[:, None, None] * jitter)))
        _cover(canvas, fold(np.minimum, distances), sharpness, colours[role])


def _occlude(keys, canvas, x, y, sharpness):
    """Cover a part of three images in four with a patch, a horizontal bar or a vertical bar."""
    dice = Dice(keys, "occluder")
    extra_sides = np.float32([(-9, -9), (0, 0), (9, 0), (0, 9)])[dice.pick(4)]
    sides = dice.rolls(2, 0.05, 0.22) + extra_sides.T[:, :, None]
    colour = dice.colour(dice.pick(len(PALETTE)))
    _cover(canvas, box(x, y, *dice.rolls(2, -1, 1), *sides), sharpness, colour)


def _expose(keys, canvas):
    """Return the canvas as uint8, with random contrast, brightness and grain for each image."""
    dice = Dice(keys, "light")
    gain, lift, grain = dice.roll(0.7, 1.1), dice.roll(-0.1, 0.1), dice.roll(0.02, 0.12)
    canvas = (canvas - 0.5) * gain + (lift + 0.5)
    bits = np.ascontiguousarray(_numbers(_mix(keys), canvas.shape[2]).T)
    for channel, plane in enumerate(canvas):
        pair = bits >> np.uint64(16 * channel)
        total = (pair & np.uint64(255)) + (pair >> np.uint64(8) & np.uint64(255))  # of two bytes: a triangular spread
        plane += (total.astype(np.float32) - 255) * (grain * (1 / 128))
    return (unit(canvas) * 255 + 0.5).astype(np.uint8)


def _paint(name, keys):
    """Paint one image of a class for each key, uint8 (n, 3, 32, 32)."""
    axis = (np.arange(SIZE, dtype=np.float32) * 2 + (1 - SIZE)) / SIZE
    x, y = (np.tile(plane.ravel(), (len(keys), 1)) for plane in np.meshgrid(axis, axis))
    colours = _colours(keys)
    canvas = _background(keys, x, y, colours["ground"], colours["second"])
    u, v, scale = _figure_coordinates(keys, x, y)
    focus = Dice(keys, "focus").roll(0.6, 1.1) * (SIZE / 2)
    _figure(keys, canvas, u, v, scale * focus, FIGURES[name], colours)
    _occlude(keys, canvas, x, y, focus)
    return _expose(keys, canvas).transpose(1, 0, 2).reshape(-1, 3, SIZE, SIZE)


def draw_class(name, count):
    """Draw the first training images of one class, uint8 (count, 3, 32, 32)."""
    return _paint(name, _image_keys("train", name, count))


def _draw_split(pool, split, per_class):
    """Return the images and labels of one split in their shuffled order, painted chunk by chunk."""
    keys = np.stack([_image_keys(split, name, per_class) for name in FIGURES])
    # Sorting by a hash shuffles the images; the order of any two images does not depend on the number of others.
    order = np.argsort(_mix(~keys).ravel(), kind="stable")
    rows = np.argsort(order, kind="stable").reshape(keys.shape)
    images = np.empty((keys.size, 3, SIZE, SIZE), np.uint8)

    def paint(name, keys, rows):
        images[rows] = _paint(name, keys)

    chunks = [slice(start, start + CHUNK) for start in range(0, per_class, CHUNK)]
    jobs = [
        pool.submit(paint, name, keys[label, chunk], rows[label, chunk])
        for label, name in enumerate(FIGURES)
        for chunk in chunks
    ]
    for job in jobs:
        job.result()
    return images, np.repeat(np.arange(len(FIGURES)), per_class)[order].astype(np.int64)


def draw(train_per_class=1000, test_per_class=200):
    """Return train images, train labels, test images, test labels: uint8 (n, 3, size, size) and int64 (n,).

    An image depends only on (split, class, its number in the class), so a smaller set is part of a larger one.
    """
    # After freeing one large block, glibc keeps freed pages; otherwise page faults take half the time of a first call.
    np.empty(1 << 24, np.uint8)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return (*_draw_split(pool, "train", train_per_class), *_draw_split(pool, "test", test_per_class))
