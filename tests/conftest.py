"""The fixtures that several test files share: threads, tiny image folders, CIFAR-10's batches, a folder for runs."""

import io
import pickle
import struct

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from networks import small_cnn
from PIL import Image

from utils.data.cifar10 import load_cifar10
from utils.data.sources import CLASSES


@pytest.fixture
def one_thread():
    """Compute in one thread: on batches as small as these, several wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def close_figures():
    """Leave no figure open for the next test."""
    yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch, close_figures):
    """Record what a cell with controls shows: (figures, what stands for the controls without a kernel, controls)."""
    import ipywidgets

    figures, bundles, controls = [], [], []

    class Handle:
        update = staticmethod(figures.append)

    def display(what, raw=False, display_id=None):
        (bundles if raw else figures).append(what)
        return Handle

    def row(children):
        controls.extend(children)
        return ipywidgets.VBox(children)

    monkeypatch.setattr("utils.data.browse.display", display)
    monkeypatch.setattr("utils.evaluation.upload_widget.display", display)
    monkeypatch.setattr(ipywidgets, "HBox", row)
    return figures, bundles, controls


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def picture(rng):
    """Return a function that makes the bytes of one random picture."""

    def make(kind="PNG", size=(32, 32), mode="RGB", **options):
        pixels = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
        image = Image.fromarray(pixels[:, :, :3]).convert(mode)
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    return make


@pytest.fixture
def image_files(picture):
    """Return a function that makes {name: bytes} of a small, whole image folder."""

    def make(train=3, test=2, kind="PNG"):
        ending = {"PNG": "png", "JPEG": "jpg"}[kind]
        return {
            f"{split}/{name}/{i}.{ending}": picture(kind)
            for split, count in (("train", train), ("test", test))
            for name in CLASSES
            for i in range(count)
        }

    return make


@pytest.fixture
def write_files():
    """Return a function that writes {name: bytes} below a folder."""

    def write(folder, files):
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return folder

    return write


class Python2Pickler(pickle._Pickler):
    """Write byte strings as Python 2 did, which is how CIFAR-10's batches were pickled in 2009."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch[bytes] = save_bytes


@pytest.fixture
def python2_batch(rng):
    """Return a function that makes the bytes of a batch like data_batch_1, with any key replaced."""

    def make(count=12, **changes):
        batch = {
            "batch_label": b"a batch for a test",
            "labels": [i % 10 for i in range(count)],
            "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
            "filenames": [b"%d.png" % i for i in range(count)],
        } | changes
        out = io.BytesIO()
        Python2Pickler(out, protocol=2).dump({key.encode(): value for key, value in batch.items()})
        return out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")

    return make


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Give the path to download to, with no proxy in between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "archive.tar.gz"


@pytest.fixture
def ledger_folder(tmp_path, monkeypatch):
    """Give the test a ledger of its own."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def data():
    """Return the synthetic images."""
    return load_cifar10(source="synthetic")


@pytest.fixture
def tiny():
    """Return a recipe that trains in a second."""
    from utils.data.augment import Flip  # imported here: it all takes a second, and most test files need none of it
    from utils.recipes import Recipe

    return Recipe("tiny", small_cnn, augment=(Flip(),), batch_size=48, num_epochs=2, lr=0.01)
