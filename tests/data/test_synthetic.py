"""The synthetic images: the same bytes everywhere, neither trivial nor hopeless to learn."""

import ast
import hashlib
import inspect

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from utils.data.cifar10 import CLASSES
from utils.data.sources import synthetic, synthetic_shapes
from utils.data.sources.synthetic_shapes import FIGURES, box, ellipse, limb, polygon

PINNED = "50534a332c81b0919e1a8e4c7698caa2155f21cdcc6878507388300cb5d31f6d"
# Of numpy's float functions these round in one way only; the others here move, compare or make integers.
EXACT = {"sqrt", "minimum", "maximum", "abs", "floor", "where", "zeros_like"}
PLUMBING = {
    "arange",
    "argsort",
    "ascontiguousarray",
    "empty",
    "empty_like",
    "flatnonzero",
    "meshgrid",
    "repeat",
    "stack",
}
PLUMBING |= {"tile", "zeros", "float32", "int64", "uint8", "uint64"}


@pytest.fixture(scope="module")
def images():
    return synthetic.draw()


def digests(images):
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def same(a, b):
    return len(a) == len(b) and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# The same bytes everywhere.


def test_the_default_images_and_labels_are_these_bytes(images):
    whole = hashlib.sha256()
    for array in images:
        whole.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    assert whole.hexdigest() == PINNED


@pytest.mark.parametrize("module", [synthetic, synthetic_shapes])
def test_only_operations_that_round_alike_on_every_machine_are_used(module):
    tree = ast.parse(inspect.getsource(module))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np"}
    assert used <= EXACT | PLUMBING
    inexact = {"sum", "mean", "dot", "prod", "std", "cumsum", "random", "math"}
    assert not inexact & {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= {"numpy", "concurrent.futures"}
    assert not any(isinstance(node, ast.MatMult) for node in ast.walk(tree))
    powers = [node.left for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)]
    assert all(isinstance(base, ast.Constant) for base in powers)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_chunks_leave_the_images_alone(chunk, monkeypatch):
    usual = synthetic.draw(60, 9)
    monkeypatch.setattr(synthetic, "CHUNK", chunk)
    assert same(usual, synthetic.draw(60, 9))


# What an image depends on.


def test_each_split_is_the_same_however_large_the_other_is():
    train, test = synthetic.draw(40, 3)[:2], synthetic.draw(2, 30)[2:]
    assert same(synthetic.draw(40, 30), (*train, *test))


def test_a_smaller_set_is_part_of_a_larger_one_in_the_same_order():
    small, small_labels, large, large_labels = *synthetic.draw(20, 0)[:2], *synthetic.draw(70, 0)[:2]
    place = {digest: i for i, digest in enumerate(digests(large))}
    found = [place[digest] for digest in digests(small)]
    assert found == sorted(found)
    assert np.array_equal(small_labels, large_labels[found])


def test_one_class_drawn_alone_gives_the_training_images_of_the_whole_set(images):
    for label, name in enumerate(CLASSES):
        alone = digests(synthetic.draw_class(name, 3))
        assert set(alone) <= set(digests(images[0][images[1] == label]))


# What the sets hold.


def test_shapes_types_and_class_names_are_those_of_cifar10(images):
    assert tuple(synthetic.FIGURES) == CLASSES
    assert [(a.shape, a.dtype) for a in images] == [
        ((10_000, 3, 32, 32), np.uint8), ((10_000,), np.int64), ((2_000, 3, 32, 32), np.uint8), ((2_000,), np.int64)
    ]  # fmt: skip
    assert all(array.flags.c_contiguous and array.flags.writeable for array in images)


def test_classes_are_balanced_and_shuffled(images):
    for labels, per_class in ((images[1], 1000), (images[3], 200)):
        assert np.bincount(labels).tolist() == [per_class] * 10
        # In a shuffle one neighbour in ten is alike: 10 % of 2,000 has a standard error of 0.7 %.
        assert abs((labels[1:] == labels[:-1]).mean() - 0.1) < 0.03
        assert abs(np.corrcoef(labels, np.arange(len(labels)))[0, 1]) < 0.1


def test_no_image_comes_twice_within_or_between_train_and_test(images):
    assert len({*digests(images[0]), *digests(images[2])}) == 12_000


# The figures as data.


def test_every_polygon_is_convex_and_clockwise_as_its_distance_needs():
    shapes = [shape for layers in FIGURES.values() for _, *shapes in layers for shape in shapes]
    polygons = [numbers for shape, *numbers in shapes if shape is polygon]
    assert len(polygons) > 10
    for numbers in polygons:
        corners = np.reshape(numbers, (-1, 2))
        a, b = np.roll(corners, -1, 0) - corners, np.roll(corners, -2, 0) - np.roll(corners, -1, 0)
        assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0).all(), numbers


@pytest.mark.parametrize(
    ("shape", "numbers", "points"),
    [  # points: x, y, distance
        (ellipse, (0.2, 0.1, 0.5, 0.5), [(0.7, 0.1, 0), (0.2, 0.63, 0.03), (0.2, -0.37, -0.03)]),
        (ellipse, (0, 0, 0.8, 0.2), [(0.8, 0, 0), (0, 0.21, 0.01), (0, -0.19, -0.01)]),
        (limb, (0, 0, 1, 0, 0.1, 0.3), [(-0.5, 0, 0.4), (0.5, 0.5, 0.3), (1.2, 0, -0.1)]),
        (box, (0.1, 0, 0.4, 0.2), [(0.6, 0, 0.1), (0.1, -0.1, -0.1), (0.1, 0.5, 0.3)]),
        (
            polygon,
            (0, 0, 0.4, 0, 0.4, 0.2, 0, 0.2),
            [(0.5, 0.1, 0.1), (0.2, 0.1, -0.1), (0.2, -0.3, 0.3)],
        ),
    ],
)
def test_a_shape_measures_the_distance_from_its_outline(shape, numbers, points):
    x, y, distance = np.float32(points).T
    columns = (np.float32([[number]]) for number in numbers)
    assert np.allclose(shape(x[None], y[None], *columns)[0], distance, atol=0.01)


# What there is to learn. One thread each: little slower than two, and not slowed by other work on the same cores.


def test_colour_does_not_give_the_class_away(images):
    train, train_labels, test, test_labels = images
    net = KNeighborsClassifier(100).fit(train.mean((2, 3)), train_labels)
    accuracy = net.score(test.mean((2, 3)), test_labels)
    print(f"synthetic images, 100 nearest neighbours by mean colour: test accuracy {accuracy:.3f}")
    assert accuracy < 0.15  # chance is 0.1


def test_a_linear_model_fails(images):
    train, train_labels, test, test_labels = images
    scale = StandardScaler().fit(train.reshape(len(train), -1).astype(np.float32))
    X, X_test = (scale.transform(a.reshape(len(a), -1).astype(np.float32)) for a in (train, test))
    net = LogisticRegression(max_iter=500, warm_start=True)
    accuracies = {}
    for penalty in (1.0, 0.3, 0.1):  # per example, strong to weak: each fit starts where the last one ended
        with threadpool_limits(1):
            net.set_params(C=1 / (penalty * len(X))).fit(X, train_labels)
        assert net.n_iter_[0] < net.max_iter
        accuracies[penalty] = round(net.score(X_test, test_labels), 3)
    print(f"synthetic images, linear model on pixels: test accuracy by L2 penalty {accuracies}")
    assert 0.15 < max(accuracies.values()) < 0.5


@pytest.fixture
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small_net(widths=(32, 64, 128)):
    layers = []
    for before, width in zip((3, *widths), widths, strict=False):
        layers += [torch.nn.Conv2d(before, width, 3, padding=1, bias=False), torch.nn.MaxPool2d(2)]
        layers += [torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(widths[-1] * 16, 10))


def train(net, X, y, num_epochs, batch_size=64, lr=6e-3):
    """Train with Adam, one cycle of the learning rate and random flips."""
    steps = len(X) // batch_size
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_epochs * steps)
    for _ in range(num_epochs):
        for rows in torch.randperm(len(X))[: steps * batch_size].split(batch_size):
            flipped = torch.where(torch.rand(batch_size, 1, 1, 1) < 0.5, X[rows].flip(3), X[rows])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(flipped), y[rows]).backward()
            optimizer.step()
            schedule.step()


def test_a_small_convolutional_net_learns_them_in_three_epochs(images, one_thread, seeded):
    X, y, X_test, y_test = map(torch.from_numpy, images)
    X, X_test = ((a.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last) for a in (X, X_test))
    net = small_net().to(memory_format=torch.channels_last)
    train(net, X, y, num_epochs=3)
    net.eval()
    with torch.no_grad():
        y_hat = torch.cat([net(batch) for batch in X_test.split(500)]).argmax(1)
    accuracy = (y_hat == y_test).float().mean().item()
    print(f"synthetic images, small convolutional net, 3 epochs: test accuracy {accuracy:.3f}")
    assert 0.85 < accuracy < 0.99
