"""Read the files of a folder, tar or zip as (name, bytes), without unpacking; hostile archives raise an error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pathlib
import stat
import tarfile
import zipfile
import zlib

from utils.errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
FILE_LIMIT = 64 * 2**20  # bytes of one member; a CIFAR-10 batch has 31 million
TOTAL_LIMIT = 2**30  # bytes of all members; all of CIFAR-10 has 184 million
END_OF_TAR = b"\0" * 2 * tarfile.BLOCKSIZE
COUNT_LIMIT = 200_000  # members; all of CIFAR-10 has 60,000
UNSAFE = "No ordinary program makes such an archive. Download it again from its source."
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
UNREADABLE += (RuntimeError,)  # zipfile's error for an unknown compression method or a missing password


def is_archive(path):
    """Return True if the file's name ends like an archive that can be read here."""
    return path.name.lower().endswith(SUFFIXES)


def read_files(path):
    """Yield (name, bytes) of every regular file in a folder or archive, never unpacking it to disk."""
    path = pathlib.Path(path)
    if path.is_dir():
        reader = _read_folder
    elif path.name.lower().endswith(".zip"):
        reader = _read_zip
    else:
        reader = _read_tar
    seen = set()
    try:
        for name, content in reader(path):
            if name in seen:
                raise DataError("Two files have the same name.", where=f"{path}: {name}", next_step=UNSAFE)
            seen.add(name)
            yield name, content
    except UNREADABLE as error:
        raise DataError(
            f"It cannot be read to its end ({type(error).__name__}: {error}).",
            where=path,
            next_step="It is damaged or incomplete, or you have no permission to read it. Download it again.",
        ) from error


def _read_folder(folder):
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            size = file.stat().st_size
            name = file.relative_to(folder).as_posix()
            _check_size(folder, name, size)
            yield name, file.read_bytes()


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_totals(path, len(members), sum(m.file_size for m in members))
        for member in members:
            _check_name(path, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError("The archive contains a link.", where=f"{path}: {member.filename}", next_step=UNSAFE)
            if member.flag_bits & 1:
                raise DataError("The archive is encrypted.", where=path, next_step="Save it without a password.")
            if not member.is_dir():
                _check_size(path, member.filename, member.file_size)
                with archive.open(member) as file:
                    # One byte more than its announced size shows that a member is larger.
                    content = file.read(member.file_size + 1)
                if len(content) > member.file_size:
                    raise ValueError(f"{member.filename} is larger than announced")
                yield member.filename, content


def _read_tar(path):
    with _decompressed(path) as raw, tarfile.open(fileobj=(stream := _Forward(raw, path)), mode="r:") as archive:
        total = 0
        for count, member in enumerate(archive, 1):
            total += max(member.size, 0)
            _check_totals(path, count, total)
            _check_name(path, member.name)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                kind = "link" if member.issym() or member.islnk() else "special file"
                raise DataError(f"The archive contains a {kind}.", where=f"{path}: {member.name}", next_step=UNSAFE)
            _check_size(path, member.name, member.size)
            stream.seek(member.offset_data)
            content = stream.read(member.size)
            if len(content) < member.size:
                raise EOFError(f"{member.name} is cut short")
            yield member.name, content
        while stream.read(2**20):  # to the end, where compressed formats have their checksum
            pass
        if stream.tail.strip(b"\0") or len(stream.tail) < len(END_OF_TAR):
            raise EOFError("the mark at its end is missing")


def _decompressed(path):
    """Open a tar file; its first bytes, and not its name, determine how it is decompressed."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if start.startswith(b"\xfd7zXZ"):
        return lzma.open(path)
    if start.startswith(b"BZh"):
        return bz2.open(path)
    return path.open("rb")


class _Forward:
    """A file that is only read forward, with limits, so that a crafted header can't cause a loop or fill the memory.

    tarfile goes back by one byte to check that a member is complete, so one byte is remembered.
    """

    def __init__(self, file, path):
        self.file = file
        self.path = path
        self.position = 0
        self.tail = b""  # the last bytes read
        self.pushed = b""  # the byte that tarfile went back over

    def read(self, size):
        if not 0 <= size <= FILE_LIMIT + tarfile.BLOCKSIZE:
            raise DataError(f"The archive announces a block of {size:,} bytes.", where=self.path, next_step=UNSAFE)
        data = self.pushed[:size]
        self.pushed = self.pushed[len(data) :]
        data += self.file.read(size - len(data))
        self.position += len(data)
        self.tail = (self.tail + data[-len(END_OF_TAR) :])[-len(END_OF_TAR) :]
        return data

    def tell(self):
        return self.position

    def seek(self, position):
        if position == self.position - 1 and not self.pushed:
            self.pushed, self.position, self.tail = self.tail[-1:], position, self.tail[:-1]
        if position < self.position or position > TOTAL_LIMIT + COUNT_LIMIT * tarfile.BLOCKSIZE:
            raise DataError("The archive refers to a position outside itself.", where=self.path, next_step=UNSAFE)
        while self.position < position and self.read(min(position - self.position, 2**20)):
            pass
        return self.position


def _check_name(path, name):
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise DataError("A file would be unpacked outside its folder.", where=f"{path}: {name}", next_step=UNSAFE)


def _check_size(path, name, size):
    if size > FILE_LIMIT:
        raise DataError(
            f"A file has {size:,} bytes, more than any CIFAR-10 file.", where=f"{path}: {name}", next_step=UNSAFE
        )


def _check_totals(path, count, total):
    if count > COUNT_LIMIT or total > TOTAL_LIMIT:
        raise DataError(
            f"The archive contains at least {count:,} files with {total:,} bytes, more than any copy of CIFAR-10.",
            where=path,
            next_step=UNSAFE,
        )
