"""Archives are read in place: honest ones whole, hostile ones refused, with nothing written and little memory."""

import bz2
import gzip
import io
import lzma
import os
import pathlib
import re
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from utils.data.sources import archives, official
from utils.data.sources.archives import read_files
from utils.errors import DataError

FILES = {"a/1.txt": b"one", "a/2.txt": b"", "b c/ü.bin": bytes(range(256)) * 40}


def tar_bytes(files=FILES, change=None, form=tarfile.PAX_FORMAT):
    """Pack a tar; change(info) may falsify each header before it is written."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out.getvalue()


def zip_file(path, files=FILES, change=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                change(info)
            archive.writestr(info, content)
    return path


PACKERS = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.xz": lzma.compress,
    ".tar.bz2": bz2.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_kind_of_tar_gives_its_files(tmp_path, suffix):
    path = tmp_path / f"some pictures{suffix}"
    path.write_bytes(PACKERS[suffix](tar_bytes()))
    assert archives.is_archive(path) and dict(read_files(path)) == FILES


def test_a_zip_and_a_folder_give_the_same_files(tmp_path, write_files):
    assert dict(read_files(zip_file(tmp_path / "x.zip"))) == FILES
    assert dict(read_files(write_files(tmp_path / "folder", FILES))) == FILES


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_odd_times_are_read_in_every_format_of_tar(tmp_path, form):
    deep = {"train/" + "b" * 90 + "/" + "c" * 60: b"1" * 513, "x" * 90: b"", "last": b"2"}
    if form != tarfile.USTAR_FORMAT:
        deep["ü" * 300] = b"3"
    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes(deep, lambda info: setattr(info, "mtime", 1.5), form))
    assert dict(read_files(path)) == deep


def test_a_tar_is_known_by_its_bytes_not_by_its_name(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(lzma.compress(tar_bytes()))
    assert dict(read_files(path)) == FILES


HOSTILE_NAMES = ["../x", "a/../../x", "/etc/x", "..\\x", "C:/x"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_leads_outside_is_refused(tmp_path, kind, name):
    path = tmp_path / "inner" / f"x.{kind}"
    path.parent.mkdir()
    if kind == "tar":
        path.write_bytes(tar_bytes({"good": b"1", name: b"bad"}))
    else:
        zip_file(path, {"good": b"1", name: b"bad"})
    with pytest.raises(DataError, match="unpacked outside its folder"):
        list(read_files(path))
    assert [p.name for p in tmp_path.rglob("*")] == ["inner", path.name]


TYPES = {
    "symlink": (tarfile.SYMTYPE, "link"),
    "hard link": (tarfile.LNKTYPE, "link"),
    "device": (tarfile.CHRTYPE, "special file"),
    "pipe": (tarfile.FIFOTYPE, "special file"),
}


@pytest.mark.parametrize("kind", TYPES)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    def falsify(info):
        info.type, info.linkname, info.size = TYPES[kind][0], "/etc/passwd", 0

    path = tmp_path / "x.tar"
    path.write_bytes(tar_bytes({"train/cat/1.png": b""}, falsify))
    with pytest.raises(DataError, match=f"contains a {TYPES[kind][1]}") as caught:
        list(read_files(path))
    assert "train/cat/1.png" in str(caught.value)


def test_a_link_in_a_zip_is_refused(tmp_path):
    def falsify(info):
        info.create_system, info.external_attr = 3, 0o120777 << 16

    with pytest.raises(DataError, match="contains a link"):
        list(read_files(zip_file(tmp_path / "x.zip", {"a": b"/etc/passwd"}, falsify)))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_two_files_of_one_name_are_refused(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    if kind == "tar":
        path.write_bytes(tar_bytes({"a": b"1", "b": b"2"}, lambda info: setattr(info, "name", "same")))
    else:
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("same", b"1")
            archive.writestr("same", b"2")
    with pytest.raises(DataError, match="same name"):
        list(read_files(path))


def with_size(header, size):
    """Rewrite a tar header's size field, in base 256 as GNU tar does for what octal cannot say, and its checksum."""
    header = bytearray(header)
    header[124:136] = (b"\x80" if size >= 0 else b"\xff") + (size % 2**88).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


def one_member(size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo("train/cat/1.png")
    info.type = kind
    return with_size(info.tobuf(tarfile.USTAR_FORMAT)[:512], size) + b"\0" * 4096


BOMBS = {
    "10 GB announced": lambda: one_member(10 * 2**30),
    "10 GB of extended header": lambda: one_member(10 * 2**30, tarfile.XHDTYPE),
    "10 GB of long name": lambda: one_member(10 * 2**30, tarfile.GNUTYPE_LONGNAME),
    "negative size": lambda: one_member(-512),
    "negative extended header": lambda: one_member(-512, tarfile.XHDTYPE),
    "a negative size that loops": lambda: tar_bytes({"a": b"1"})[:1024] + one_member(-1536),
    "200,001 members": lambda: tarfile.TarInfo("d/").tobuf()[:512] * 200_001,
    "more than a gigabyte in pieces": lambda: one_member(2**26) + b"\0" * 2**26,
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_within_bounded_memory(tmp_path, monkeypatch, bomb, packed):
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 2**25 if "gigabyte" in bomb else archives.TOTAL_LIMIT)
    path = tmp_path / "bomb.tar"
    content = BOMBS[bomb]()
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            list(read_files(path))
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


MEBIBYTE = bytes(2**20)
PADDED = {  # 64 MiB that hold no file, a few kB on disk where they are compressed
    "zeros in .gz": gzip.compress(tar_bytes()) + gzip.compress(MEBIBYTE) * 64,
    "zeros in .bz2": bz2.compress(tar_bytes()) + bz2.compress(MEBIBYTE) * 64,
    "zeros in .xz": lzma.compress(tar_bytes()) + lzma.compress(MEBIBYTE) * 64,
    "zeros in .tar": tar_bytes() + MEBIBYTE * 3,
    "zeros after a .gz": gzip.compress(tar_bytes()) + MEBIBYTE * 3,
    "empty members": gzip.compress(tar_bytes()) + gzip.compress(b"") * 150_000,
}


@pytest.mark.parametrize("padded", PADDED)
def test_padding_is_refused_after_little_more_than_a_mebibyte(tmp_path, padded):
    path = tmp_path / "bomb.tar"
    path.write_bytes(PADDED[padded])
    with pytest.raises(DataError) as caught:
        list(read_files(path))
    count = int(re.search(r"([\d,]+) bytes", caught.value.what)[1].replace(",", ""))
    assert 2**20 < count < 1.3 * 2**20


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("header", [b"1" * 20_000, b"-9 a=b\n", b"99999999999999 a=b\n", b"6 a b\n", b"5 a=b"])
def test_an_extended_header_that_is_no_list_of_records_is_refused(tmp_path, kind, header):
    path = tmp_path / "bomb.tar"
    padding = bytes(-len(header) % 512)
    path.write_bytes(one_member(len(header), kind)[:512] + header + padding + tar_bytes())
    with pytest.raises(DataError):
        list(read_files(path))


@pytest.mark.parametrize("read", [official.read_archive, lambda path: list(read_files(path))])
def test_a_file_larger_than_any_copy_is_refused_before_it_is_read(tmp_path, monkeypatch, read):
    path = tmp_path / "cifar-10-python.tar.gz"
    with path.open("wb") as file:
        file.truncate(2**33)  # takes no place on most disks
    monkeypatch.setattr(pathlib.Path, "open", lambda *_, **__: pytest.fail("read it"))
    with pytest.raises(DataError, match="8,589,934,592"):
        read(path)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path, monkeypatch):
    path = zip_file(tmp_path / "x.zip", {"a": b"\0" * 2**20})
    honest = struct.pack("<I", 2**20)
    raw = path.read_bytes()
    assert raw.count(honest) == 2  # once before the file, once in the directory at the end
    path.write_bytes(raw.replace(honest, struct.pack("<I", 10)))
    with pytest.raises(DataError):
        list(read_files(path))


def test_a_zip_with_too_much_in_it_is_refused_by_its_directory(tmp_path, monkeypatch):
    path = zip_file(tmp_path / "x.zip", {"a": b"\0" * 2**20})
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 2**19)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *a: pytest.fail("unpacked something"))
    with pytest.raises(DataError, match="more than any copy"):
        list(read_files(path))


def test_an_encrypted_zip_is_refused_with_the_reason(tmp_path):
    path = zip_file(tmp_path / "x.zip", {"a": b"1"})
    raw = bytearray(path.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    raw[6] |= 1
    raw[directory + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="encrypted"):
        list(read_files(path))


@pytest.mark.parametrize("flags, method", [(0x40, 8), (0x20, 8), (0, 99)], ids=["password", "patch", "method"])
def test_a_zip_packed_in_a_way_that_nobody_here_knows_is_an_error_of_the_data(tmp_path, flags, method):
    path = zip_file(tmp_path / "x.zip", {"a": b"1"})
    raw = bytearray(path.read_bytes())
    for flag, way in ((6, 8), [raw.index(b"PK\x01\x02") + place for place in (8, 10)]):
        raw[flag] |= flags
        raw[way] = method
    path.write_bytes(raw)
    with pytest.raises(DataError, match="It cannot be read to its end"):
        list(read_files(path))


@pytest.mark.parametrize("suffix", [*PACKERS, ".zip"])
def test_an_archive_cut_anywhere_never_passes_for_a_whole_one(tmp_path, rng, suffix):
    files = {f"f{i}": rng.bytes(700) for i in range(20)}
    path = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        zip_file(path, files)
    else:
        path.write_bytes(PACKERS[suffix](tar_bytes(files)))
    whole = path.read_bytes()
    # A tar may be padded with more zeros than its end mark needs: without those nothing is lost.
    end = len(tar_bytes(files).rstrip(b"\0")) + 1024 if suffix == ".tar" else len(whole)
    for cut in {0, 1, end - 1, *rng.choice(end, 40).tolist()}:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError) as caught:
            list(read_files(path))
        assert str(path) in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read_is_named(tmp_path):
    path = zip_file(tmp_path / "x.zip")
    path.chmod(0)
    with pytest.raises(DataError, match="PermissionError"):
        list(read_files(path))
