"""The door to the images: the right source in the right order, nothing silent, a checksum that sees every bit."""

import concurrent.futures
import functools
import hashlib
import itertools
import multiprocessing
import shutil
import tarfile

import numpy as np
import pytest
import torch
from servers import closed_port

from utils.data import cifar10 as datasets
from utils.data.cifar10 import (
    Split,
    channel_statistics,
    checksum_of_images,
    class_rows,
    load_cifar10,
    load_images,
    stratified_split,
)
from utils.data.dataset import ImageDataset
from utils.data.loader import BatchLoader, to_device
from utils.data.sources import Images, archives, cache, download, find, official, pictures, synthetic
from utils.errors import DataError, DownloadError

FETCH = download.fetch


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Keep every test away from the user's data, cache, network and environment; let drawing be quick."""
    for name in ("CIFAR10_ROOT", "CIFAR10_SOURCE", "CIFAR10_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CIFAR10_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "DATA", tmp_path / "data")
    monkeypatch.setattr(download, "fetch", lambda target: pytest.fail("went to the network"))
    monkeypatch.setattr(synthetic, "draw", functools.partial(synthetic.draw, train_per_class=4, test_per_class=2))


@pytest.fixture
def folder(tmp_path, write_files, image_files):
    return write_files(tmp_path / "pictures", image_files(6, 2))


@pytest.fixture
def official_folder(tmp_path, write_files, python2_batch, monkeypatch):
    """Write tiny official batches, and let their md5s stand as the published ones."""
    name = "cifar-10-batches-py"
    files = {file: python2_batch() for file in official.BATCHES[name]}
    table = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(official.BATCHES, name, table)
    return write_files(tmp_path / "official" / name, files)


@pytest.fixture
def official_archive(official_folder, tmp_path, monkeypatch):
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(official_folder, official_folder.name)
    monkeypatch.setitem(official.ARCHIVES, archive.name, hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def no_network(target):
    raise DownloadError("No address answered.", next_step="Try again later.")


def test_all_of_the_synthetic_images_come_as_tensors_of_the_promised_form(monkeypatch):
    monkeypatch.setattr(synthetic, "draw", synthetic.draw.func)
    data = load_cifar10(source="synthetic")
    assert data.train.images.shape == (10_000, 3, 32, 32) and data.train.images.dtype == torch.uint8
    assert data.test.labels.shape == (2_000,) and data.test.labels.dtype == torch.int64
    assert (data.source, data.name) == ("synthetic", "synthetic images") and len(data.classes) == 10
    assert data.checksum in str(data) and "10,000 training and 2,000 test" in str(data)


def test_the_old_spelling_of_the_synthetic_images_is_still_understood(monkeypatch):
    assert load_cifar10(source="drawn").source == "synthetic"
    monkeypatch.setenv("CIFAR10_SOURCE", "drawn")
    assert load_cifar10().source == "synthetic"


def test_an_unknown_source_is_refused():
    with pytest.raises(DataError, match="no source 'imagenet'"):
        load_cifar10(source="imagenet")


def test_the_environment_replaces_auto_but_nothing_that_was_asked_for(monkeypatch, folder):
    monkeypatch.setenv("CIFAR10_SOURCE", "synthetic")
    assert load_cifar10().source == "synthetic"
    assert load_cifar10(folder).source == "image folder"
    assert load_cifar10(folder, source="cifar10").source == "image folder"


def test_a_root_may_be_each_kind_of_thing(folder, official_folder, official_archive, tmp_path, monkeypatch):
    packed = shutil.make_archive(tmp_path / "packed" / "pictures", "xztar", folder)
    roots = [folder, packed, tmp_path / "packed", official_folder, official_folder.parent, official_archive]
    found = [load_cifar10(str(root)) for root in roots]
    assert [data.source for data in found] == ["image folder"] * 3 + ["official"] * 3
    assert len({data.checksum for data in found[:3]}) == len({data.checksum for data in found[3:]}) == 1
    monkeypatch.setenv("CIFAR10_ROOT", str(folder))
    assert load_cifar10().checksum == found[0].checksum


def test_official_files_go_before_pictures_and_pictures_before_archives(folder, official_folder, tmp_path):
    shutil.make_archive(folder / "old", "zip", folder)
    assert load_cifar10(folder).source == "image folder"
    shutil.copytree(official_folder, folder / official_folder.name)
    assert load_cifar10(folder).source == "official"


def test_only_the_official_files_are_called_cifar10(folder, official_folder):
    assert load_cifar10(official_folder).name == "CIFAR-10"
    assert load_cifar10(folder).name == "part of CIFAR-10 from image folder pictures"


@pytest.mark.parametrize(
    "formats, name", [(["JPEG"], "JPEG copies of CIFAR-10"), (["PNG"], "CIFAR-10 from image folder x")]
)
def test_a_whole_set_of_jpeg_pictures_is_named_as_copies(tmp_path, formats, name):
    labels = [np.repeat(np.arange(10), count) for count in (5000, 1000)]
    images = Images(None, labels[0], None, labels[1])
    assert find.picture_name(tmp_path / "x", images, formats) == name


@pytest.fixture
def own_folder(tmp_path, write_files, picture):
    """Write an image folder of three classes, with pictures of two sizes."""
    sizes = {"cup": (32, 32), "apple": (32, 32), "book": (40, 60)}
    files = {
        f"{split}/{name}/{i}.png": picture(size=size)
        for split, count in (("train", 4), ("test", 2))
        for name, size in sizes.items()
        for i in range(count)
    }
    return write_files(tmp_path / "things", files)


def test_own_images_of_other_classes_carry_the_names_of_their_folders(own_folder, tmp_path):
    data = load_images(own_folder)
    classes = ("apple", "book", "cup")
    assert data.classes == data.train.classes == data.test.classes == classes
    assert data.train.origin == data.test.origin
    assert data.train.origin["classes"] == list(classes) and data.train.origin["checksum"] == data.checksum
    assert torch.bincount(data.train.labels).tolist() == [4] * 3 and data.test.images.shape == (6, 3, 32, 32)
    assert (data.source, data.name) == ("image folder", "images of things") and "3 classes" in str(data)
    again = load_images(str(own_folder))  # from the cache
    assert again.classes == classes and torch.equal(again.train.images, data.train.images)
    packed = shutil.make_archive(tmp_path / "packed" / "things", "zip", own_folder)
    assert load_images(packed).checksum == data.checksum


def test_what_is_made_of_a_split_keeps_its_classes(own_folder):
    data = load_images(own_folder)
    train, val = stratified_split(data.train, 3)
    splits = [train, val, data.test.subset(torch.tensor([1, 0])), to_device(data.test, "cpu")]
    assert {split.classes for split in splits} == {data.classes}
    assert all(split.origin == data.train.origin for split in splits)
    assert ImageDataset(val).classes == list(data.classes)
    assert BatchLoader(val, 2, device="cpu").split.classes == data.classes


def test_cifar10_has_its_ten_classes_and_nothing_else(own_folder, folder):
    with pytest.raises(DataError, match="is not one of CIFAR-10's classes") as caught:
        load_cifar10(own_folder)
    assert "load_images(folder)" in caught.value.next_step
    assert load_cifar10(folder).classes == load_images(folder).classes == datasets.CLASSES
    assert load_cifar10(source="synthetic").train.origin["classes"] == list(datasets.CLASSES)


def test_the_same_folder_read_in_both_ways_is_kept_apart(folder, picture):
    (folder / "train/cat/large.png").write_bytes(picture(size=(64, 64)))
    assert len(load_cifar10(folder).set_aside) == 1 and load_images(folder).set_aside == ()
    assert len(load_cifar10(folder).train) + 1 == len(load_images(folder).train)


def test_own_images_that_are_not_there_are_an_error(tmp_path, official_folder):
    (tmp_path / "empty").mkdir()
    for path in ("nowhere", "empty", official_folder, official_folder.parent):
        with pytest.raises(DataError) as caught:
            load_images(tmp_path / path)
        assert caught.value.where and "train/<class>/" in caught.value.next_step


def test_a_root_that_is_missing_or_empty_is_an_error_not_a_fallback(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("hello")
    for root, what in (("nowhere", "does not exist"), ("empty", "contains nothing"), ("file.txt", "contains nothing")):
        monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / root))
        with pytest.raises(DataError, match=what) as caught:
            load_cifar10()
        assert root in str(caught.value) and len(str(caught.value).splitlines()) < 10


def test_several_archives_in_one_folder_are_not_guessed_at(folder, tmp_path):
    for name in ("a", "b"):
        shutil.make_archive(tmp_path / "many" / name, "zip", folder)
    with pytest.raises(DataError, match="a.zip, b.zip"):
        load_cifar10(tmp_path / "many")


def test_auto_reads_data_before_it_asks_the_network(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    assert load_cifar10().source == "image folder"


def test_auto_downloads_into_data_when_there_is_nothing_yet(official_archive, tmp_path, monkeypatch):
    def fetch(target):
        assert target == tmp_path / "data" / "cifar-10-python.tar.gz"
        target.parent.mkdir(exist_ok=True)
        return shutil.copy(official_archive, target) and target

    monkeypatch.setattr(download, "fetch", fetch)
    assert load_cifar10(source="cifar10").source == "official"
    assert load_cifar10().source == "official"  # now it is there: the real fetch is not asked


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("80", 80), ("200", 100)])
def test_without_network_auto_draws_and_a_notice_that_fits_the_terminal_says_so(
    monkeypatch, capsys, tmp_path, columns, widest
):
    folder = tmp_path / "a long path with spaces, which must not be broken"
    monkeypatch.setattr(datasets, "DATA", folder)
    monkeypatch.setattr(download, "fetch", FETCH)
    monkeypatch.setattr(download, "URLS", [closed_port() for _ in range(2)])
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setenv("COLUMNS", columns)
    data = load_cifar10()
    out, err = capsys.readouterr()
    assert data.source == "synthetic" and "SYNTHETIC IMAGES, not CIFAR-10" in out and "refused" in out
    assert max(len(line) for line in out.splitlines() if str(folder) not in line) == widest
    assert str(folder / download.NAME) in out.splitlines() and err == ""


def test_without_network_cifar10_never_falls_back(monkeypatch):
    monkeypatch.setattr(download, "fetch", no_network)
    with pytest.raises(DownloadError, match="No address answered"):
        load_cifar10(source="cifar10")


def test_damaged_data_is_an_error_also_under_auto(official_folder, tmp_path):
    shutil.copytree(official_folder, tmp_path / "data" / official_folder.name)
    file = tmp_path / "data" / official_folder.name / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="not the official file") as caught:
        load_cifar10()
    assert "data_batch_3" in str(caught.value)


def test_pictures_are_decoded_once_and_found_again_wherever_they_lie(folder, tmp_path, monkeypatch, capsys):
    first = load_cifar10(folder)
    assert "once" in capsys.readouterr().out
    monkeypatch.setattr(pictures, "read_image_folder", lambda *_: pytest.fail("decoded again"))
    moved = folder.rename(tmp_path / "another place")
    again = load_cifar10(moved)
    assert again.checksum == first.checksum and torch.equal(again.train.images, first.train.images)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("asked", ["in the folder", "default"])
def test_a_cache_inside_the_folder_of_the_pictures_is_no_part_of_it(folder, tmp_path, monkeypatch, asked):
    shutil.copytree(folder, tmp_path / "data")
    if asked == "default":
        monkeypatch.delenv("CIFAR10_CACHE")
        monkeypatch.setattr(cache, "__file__", str(tmp_path / "utils" / "data" / "sources" / "cache.py"))
    else:
        monkeypatch.setenv("CIFAR10_CACHE", str(tmp_path / "data" / "cache"))
    first = load_cifar10()
    (kept,) = (tmp_path / "data" / "cache").glob("*.npz")
    assert cache.folder() == kept.parent
    monkeypatch.setattr(archives, "FILE_LIMIT", kept.stat().st_size - 1)  # all of CIFAR-10's is larger than that
    monkeypatch.setattr(pictures, "read_image_folder", lambda *_: pytest.fail("decoded again"))
    assert load_cifar10().checksum == first.checksum


def test_the_cache_is_never_in_a_folder_that_all_users_share(tmp_path, monkeypatch):
    monkeypatch.delenv("CIFAR10_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cache.os, "access", lambda *_: False)  # the suite's own folder is read-only
    assert tmp_path in cache.folder().parents


def test_a_changed_picture_is_not_served_from_the_cache(folder, picture):
    first = load_cifar10(folder)
    (folder / "train/cat/0.png").write_bytes(picture())
    assert load_cifar10(folder).checksum != first.checksum


@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.faults)])
def test_a_damaged_cache_is_found_and_made_again(folder, rng, capsys, count):
    first = load_cifar10(folder)
    (kept,) = cache.folder().glob("*.npz")
    whole = kept.read_bytes()
    for bit, cut in zip(rng.integers(0, len(whole) * 8, count), rng.integers(0, len(whole), count), strict=True):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << (bit % 8)
        for content in (bytes(changed), whole[:cut]):
            kept.write_bytes(content)
            again = load_cifar10(folder)
            assert again.checksum == first.checksum and torch.equal(again.test.images, first.test.images)
    assert "damaged; decoding them again" in capsys.readouterr().out


def in_directory(content, place, value):
    """Change a byte of each entry in a zip's directory."""
    head, *entries = content.split(b"PK\x01\x02")
    return b"PK\x01\x02".join([head, *(entry[: place - 4] + value + entry[place - 3 :] for entry in entries)])


DAMAGES = {
    "a password": lambda content: in_directory(content, 8, b"\x01"),
    "an unknown way of packing": lambda content: in_directory(content, 10, b"\x63"),
    "a header that is no Python": lambda content: content.replace(b"{'descr'", b"{'desc\n("),
    "a header of fewer images": lambda content: content.replace(b"'shape': (60, 3", b"'shape': (30, 3"),
    "a header of another type": lambda content: content.replace(b"'<i8'", b"'<u4'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_damaged_where_a_reader_might_not_look_is_made_again(folder, capsys, damage):
    first = load_cifar10(folder)
    (kept,) = cache.folder().glob("*.npz")
    whole = kept.read_bytes()
    changed = DAMAGES[damage](whole)
    assert changed != whole and len(changed) == len(whole)
    kept.write_bytes(changed)
    again = load_cifar10(folder)
    assert again.checksum == first.checksum and len(again.train) == 60
    assert "damaged; decoding them again" in capsys.readouterr().out
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CIFAR10_CACHE", str(tmp_path / "file" / "cache"))
    assert load_cifar10(folder).source == "image folder"


def test_a_full_disk_costs_time_only(folder, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert load_cifar10(folder).source == "image folder"
    assert "No space left" in capsys.readouterr().out
    assert [file.suffix for file in cache.folder().iterdir()] == [".lock"]


def _load_and_count(root):
    calls = []
    decode = pictures.read_image_folder
    pictures.read_image_folder = lambda *settings: (calls.append(1), decode(*settings))[1]
    return load_cifar10(root).checksum, len(calls)


def test_notebooks_that_open_at_once_decode_once(folder):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        results = list(pool.map(_load_and_count, [folder] * 3))
    assert len({found for found, _ in results}) == 1
    assert sum(count for _, count in results) == 1


def test_pictures_set_aside_are_told_and_kept_in_mind(folder, capsys):
    (folder / "train/cat/bad.png").write_bytes(b"bad")
    for _ in range(2):  # decoded, then from the cache
        data = load_cifar10(folder)
        assert data.set_aside == (("train/cat/bad.png", "not a PNG or JPEG picture"),)
        assert "1 picture was left out" in capsys.readouterr().out


def test_a_test_set_that_was_trained_on_is_refused(folder):
    shutil.copy(folder / "train/cat/0.png", folder / "test/cat/0.png")
    with pytest.raises(DataError, match="1 of the 20 test images"):
        load_cifar10(folder)


# The checksum


@pytest.fixture
def splits():
    train, train_labels, test, test_labels = synthetic.draw()
    return tuple(Split(*map(torch.from_numpy, pair)) for pair in ((train, train_labels), (test, test_labels)))


def join(first, second):
    return Split(torch.cat([first.images, second.images]), torch.cat([first.labels, second.labels]))


def test_the_checksum_does_not_depend_on_order(splits):
    train, test = splits
    shuffled = train.subset(torch.randperm(len(train), generator=torch.Generator().manual_seed(0)))
    assert checksum_of_images(shuffled, test) == checksum_of_images(train, test)


def test_the_checksum_changes_with_any_bit_of_any_image(splits, rng):
    train, test = splits
    seen = {checksum_of_images(train, test)}
    for split, _ in itertools.product(range(2), range(100)):
        images = splits[split].images.clone()
        images.view(-1)[rng.integers(images.numel())] ^= 1 << int(rng.integers(8))
        changed = list(splits)
        changed[split] = Split(images, splits[split].labels)
        seen.add(checksum_of_images(*changed))
    assert len(seen) == 201


def test_the_checksum_changes_with_a_label_a_missing_image_and_a_swap_of_splits(splits):
    train, test = splits
    labels = train.labels.clone()
    labels[3] = (labels[3] + 1) % 10
    variants = [
        (train, test),
        (Split(train.images, labels), test),
        (train.subset(torch.arange(len(train) - 1)), test),
        (train.subset(torch.arange(1, len(train))), join(test, train.subset(torch.arange(1)))),
        (test, train),
    ]
    assert len({checksum_of_images(*variant) for variant in variants}) == len(variants)


# The split and the statistics


def test_channel_statistics_are_those_of_numpy(rng):
    images = rng.integers(0, 256, (70, 3, 32, 32), dtype=np.uint8)
    images[:, 1] //= 2
    found = channel_statistics(torch.from_numpy(images), chunk=32)
    values = images.astype(np.float64) / 255
    expected = values.mean((0, 2, 3)), values.std((0, 2, 3)), values.std((2, 3)).mean(0)
    assert all(np.allclose(a, b, rtol=1e-9) for a, b in zip(found.values(), expected, strict=True))


def test_the_rows_of_a_class_are_all_of_it(splits):
    train, _ = splits
    assert (train.labels[class_rows(train, datasets.CLASSES, "frog")] == 6).all()
    assert len(class_rows(train, datasets.CLASSES, "frog")) == (train.labels == 6).sum()
    assert len(class_rows(train, datasets.CLASSES, "all")) == len(train)


@pytest.mark.parametrize("per_class, held_out", [(5000, 5000), (40, 37), (3, 29), (3, 1)])
def test_a_stratified_split_keeps_the_classes_in_proportion(per_class, held_out):
    labels = torch.arange(10).repeat(per_class)
    images = torch.arange(10 * per_class, dtype=torch.int32).view(-1, 1, 1, 1)
    rest, chosen = stratified_split(Split(images, labels), held_out, seed=3)
    assert len(chosen) == held_out and len(rest) == 10 * per_class - held_out
    assert sorted(torch.cat([rest.images, chosen.images]).flatten().tolist()) == list(range(10 * per_class))
    counts = torch.bincount(chosen.labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert torch.equal(rest.labels, labels[rest.images.flatten().long()])


def test_a_stratified_split_follows_its_seed_and_leaves_the_global_one_alone(splits):
    train, _ = splits
    before = torch.get_rng_state()
    first, second, third = (stratified_split(train, 20, seed)[1].images for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("held_out", [0, -1, 40, 41])
def test_a_split_that_leaves_nothing_is_refused(splits, held_out):
    with pytest.raises(DataError, match="Cannot hold out"):
        stratified_split(splits[0], held_out)
