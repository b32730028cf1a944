"""Loading images: the right source in the right order, and nothing silent."""

import hashlib
import shutil
import tarfile

import pytest
import torch
from servers import closed_port

from utils.data import cifar10 as datasets
from utils.data.cifar10 import (
    load_cifar10,
    load_images,
    stratified_split,
)
from utils.data.loader import BatchLoader, to_device
from utils.data.sources import download, find, official, synthetic
from utils.errors import DataError, DownloadError

pytestmark = pytest.mark.usefixtures("alone")
FETCH = download.fetch


@pytest.fixture
def official_folder(tmp_path, write_files, python2_batch, monkeypatch):
    """Write tiny official batches, and let their md5s stand as the published ones."""
    name = "cifar-10-batches-py"
    files = {file: python2_batch() for file in official.BATCHES[name]}
    table = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(official.BATCHES, name, table)
    return write_files(tmp_path / "official" / name, files)


@pytest.fixture
def official_archive(official_folder, tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(official_folder, official_folder.name)
    return archive


@pytest.mark.parametrize("depth", range(4))
def test_official_files_are_found_in_a_data_set_attached_on_kaggle(official_folder, tmp_path, monkeypatch, depth):
    attached = tmp_path.joinpath("input", *"abc"[:depth])
    attached.mkdir(parents=True)
    (tmp_path / "input" / "notes.txt").touch()
    (attached / "cifar-10-python.tar.gz").mkdir()  # a folder of this name is no archive
    monkeypatch.setattr(find, "ATTACHED", tmp_path / "input")
    assert find.find_attached() is None
    official_folder.rename(attached / official_folder.name)
    monkeypatch.setattr("utils.data.cifar10.DATA", tmp_path / "data")
    assert load_cifar10().source == "official"


def test_an_attached_archive_is_found_but_nothing_deeper_than_three_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "ATTACHED", tmp_path)
    for folders, is_found in (("a/b/c/d", False), ("a/b/c", True)):
        path = tmp_path / folders / "cifar-10-binary.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert find.find_attached() == (path if is_found else None)


def no_network(target):
    raise DownloadError("No address answered.", next_step="Try again later.")


def test_all_of_the_synthetic_images_come_as_tensors_of_the_promised_form(monkeypatch):
    monkeypatch.setattr(synthetic, "draw", synthetic.draw.func)
    data = load_cifar10(source="synthetic")
    assert data.train.images.shape == (10_000, 3, 32, 32) and data.train.images.dtype == torch.uint8
    assert data.test.labels.shape == (2_000,) and data.test.labels.dtype == torch.int64
    assert (data.source, data.name) == ("synthetic", "synthetic images") and len(data.classes) == 10
    assert data.checksum in str(data) and "10,000 training and 2,000 test" in str(data)


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
    assert load_cifar10(folder).name == "CIFAR-10 from image folder pictures"


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
    again = load_images(str(own_folder))
    assert again.classes == classes and torch.equal(again.train.images, data.train.images)
    packed = shutil.make_archive(tmp_path / "packed" / "things", "zip", own_folder)
    assert load_images(packed).checksum == data.checksum


def test_what_is_made_of_a_split_keeps_its_classes(own_folder):
    data = load_images(own_folder)
    train, val = stratified_split(data.train, 3)
    splits = [train, val, data.test.subset(torch.tensor([1, 0])), to_device(data.test, "cpu")]
    assert {split.classes for split in splits} == {data.classes}
    assert all(split.origin == data.train.origin for split in splits)
    assert BatchLoader(val, 2, device="cpu").split.classes == data.classes


def test_cifar10_has_its_ten_classes_and_nothing_else(own_folder, folder):
    with pytest.raises(DataError, match="is not one of CIFAR-10's classes") as caught:
        load_cifar10(own_folder)
    assert "load_images(folder)" in caught.value.next_step
    assert load_cifar10(folder).classes == load_images(folder).classes == datasets.CLASSES
    assert load_cifar10(source="synthetic").train.origin["classes"] == list(datasets.CLASSES)


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


def test_without_network_auto_draws_and_says_so_and_why(monkeypatch, capsys):
    monkeypatch.setattr(download, "fetch", FETCH)
    monkeypatch.setattr(download, "URLS", [closed_port() for _ in range(2)])
    data = load_cifar10()
    out, err = capsys.readouterr()
    assert data.source == "synthetic" and datasets.NOTICE in out and "refused" in out
    assert str(datasets.DATA / download.NAME) in out and err == ""


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


def test_a_test_set_that_was_trained_on_is_refused(folder):
    shutil.copy(folder / "train/cat/0.png", folder / "test/cat/0.png")
    with pytest.raises(DataError, match="1 of the 20 test images"):
        load_cifar10(folder)
