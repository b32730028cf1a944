"""The synthetic images: the same bytes everywhere."""

import ast
import hashlib
import inspect

import numpy as np
import pytest

from utils.data.cifar10 import CLASSES
from utils.data.sources import synthetic, synthetic_shapes

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
