"""Archives are read in place, and a damaged one never passes for a whole one."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest

from utils.data.sources.archives import is_archive, read_files
from utils.errors import DataError

FILES = {"a/1.txt": b"one", "a/2.txt": b"", "b c/ü.bin": bytes(range(256)) * 40}


def tar_bytes(files=FILES):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_file(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
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
    assert is_archive(path) and dict(read_files(path)) == FILES


def test_a_zip_and_a_folder_give_the_same_files(tmp_path, write_files):
    assert dict(read_files(zip_file(tmp_path / "x.zip"))) == FILES
    assert dict(read_files(write_files(tmp_path / "folder", FILES))) == FILES


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
