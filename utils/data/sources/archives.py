"""Read the files of a folder, tar or zip as (name, bytes), without unpacking it to disk."""

from __future__ import annotations

import lzma
import pathlib
import tarfile
import zipfile
import zlib

from utils.errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
UNREADABLE += (RuntimeError,)  # zipfile's error for an unknown compression method or a missing password


def is_archive(path):
    """Return True if the file's name ends like an archive that can be read here."""
    return path.name.lower().endswith(SUFFIXES)


def read_files(path):
    """Yield (name, bytes) of every regular file in a folder or archive."""
    path = pathlib.Path(path)
    if path.is_dir():
        reader = _read_folder
    elif path.name.lower().endswith(".zip"):
        reader = _read_zip
    else:
        reader = _read_tar
    try:
        yield from reader(path)
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"It cannot be read to its end ({type(error).__name__}: {reason}).",
            where=path,
            next_step="It is damaged or incomplete, or you have no permission to read it. Download it again.",
        ) from error


def _read_folder(folder):
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.read_bytes()


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, archive.read(member)


def _read_tar(path):
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isreg():
                yield member.name, archive.extractfile(member).read()
        # tarfile ends without an error at a damaged header. A whole tar ends with two blocks of zeros, of which tarfile
        # has read one; at the end of a compressed file is its checksum, which is compared when it is read.
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("the mark at its end is missing")
        while archive.fileobj.read(2**20):
            pass
