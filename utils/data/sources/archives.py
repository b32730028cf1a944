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
COUNT_LIMIT = 200_000  # members; all of CIFAR-10 has 60,000
ARCHIVE_LIMIT = TOTAL_LIMIT + COUNT_LIMIT * tarfile.BLOCKSIZE  # bytes of a whole archive, on disk and decompressed
HEADER_LIMIT = 2**20  # bytes of an extended header; a long name has a few hundred
PADDING_LIMIT = 2**20  # bytes after the last file of a tar
END_OF_TAR = b"\0" * 2 * tarfile.BLOCKSIZE
UNSAFE = "No ordinary program makes such an archive. Download it again from its source."
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError)
UNREADABLE += (RuntimeError,)  # zipfile's error for an unknown compression method or a missing password


def is_archive(path):
    """Return True if the file's name ends like an archive that can be read here."""
    return path.name.lower().endswith(SUFFIXES)


def blocks(path):
    """Yield the bytes of an archive as it is on disk; one that is too large for CIFAR-10 is refused at once."""
    _check_archive(path)
    with path.open("rb") as file:
        while block := file.read(2**20):
            yield block


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
        _check_archive(path)
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
    with path.open("rb") as file:
        stream = _Stream(file, path)
        total = 0
        for count, member in enumerate(_members(stream), 1):
            total += member.size
            _check_totals(path, count, total)
            _check_name(path, member.name)
            if not (member.isreg() or member.isdir()):
                kind = "link" if member.issym() or member.islnk() else "special file"
                raise DataError(f"The archive contains a {kind}.", where=f"{path}: {member.name}", next_step=UNSAFE)
            _check_size(path, member.name, member.size)
            content = stream.read_padded(member.size)
            if member.isreg():
                yield member.name, content
        stream.read_end()


def _members(stream):
    """Yield the header of each member of a tar; the caller then reads its content.

    tarfile.open is not used: it follows what extended headers say into loops and quadratic searches.
    """
    changes = {}  # what extended headers say about the next member
    while (block := stream.read(tarfile.BLOCKSIZE)).strip(b"\0"):
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if member.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE):
            records = _records(stream.read_header(member.size))
            changes |= records if member.type != tarfile.XGLTYPE else {}
        elif member.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = stream.read_header(member.size).partition(b"\0")[0]
            changes |= {b"path": text} if member.type == tarfile.GNUTYPE_LONGNAME else {}
        else:
            if b"path" in changes:
                member.name = changes[b"path"].decode("utf-8", "surrogateescape").rstrip("/")
            member.size = int(changes.get(b"size", member.size))
            if member.size < 0 or any(key.startswith(b"GNU.sparse") for key in changes):
                raise ValueError(f"{member.name} has a header that cannot be read")
            changes = {}
            yield member


def _records(header):
    """Return the {key: value} of an extended header, whose records are "LENGTH KEY=VALUE" and a line break."""
    header = header.rstrip(b"\0")
    records, start = {}, 0
    while start < len(header):
        length = header[start : start + 8].partition(b" ")[0]
        if not length.isdigit():
            raise ValueError("an extended header is damaged")
        record = header[start : start + int(length)]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        if not equals or not value.endswith(b"\n") or len(record) != int(length):
            raise ValueError("an extended header is damaged")
        records[key] = value[:-1]
        start += int(length)
    return records


def _open_decompressed(file):
    """Return a reader of a tar file; its first bytes, and not its name, determine how it is decompressed."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return file


class _Stream:
    """A tar file that is read once from its start, and whose bytes are counted on disk and decompressed."""

    def __init__(self, file, path):
        self.path = path
        self.position = 0
        self.tail = b""  # the last bytes read
        self.file = _open_decompressed(_OnDisk(file, self))

    def read(self, size):
        """Return the next bytes; an archive that ends before them is damaged."""
        if self.position + size > ARCHIVE_LIMIT:
            raise _too_large(self.path, f"The archive contains at least {self.position + size:,} bytes", ARCHIVE_LIMIT)
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError("the archive is cut short")
        self._count(data)
        return data

    def read_padded(self, size):
        """Return bytes that are followed by zeros to the end of their block."""
        return self.read(size + -size % tarfile.BLOCKSIZE)[:size]

    def read_header(self, size):
        """Return the bytes of an extended header."""
        if not 0 <= size <= HEADER_LIMIT:
            raise _too_large(self.path, f"The archive has a header of {size:,} bytes", HEADER_LIMIT)
        return self.read_padded(size)

    def read_end(self):
        """Read to the end, where compressed formats have their checksum; a tar ends with two blocks of zeros."""
        last = self.position
        while data := self.file.read(2**16):
            self._count(data)
            if self.position - last > PADDING_LIMIT:
                what = f"The archive has at least {self.position - last:,} bytes after its last file"
                raise _too_large(self.path, what, PADDING_LIMIT)
        if self.tail != END_OF_TAR:
            raise EOFError("the mark at its end is missing")

    def _count(self, data):
        self.position += len(data)
        self.tail = (self.tail + data[-len(END_OF_TAR) :])[-len(END_OF_TAR) :]


class _OnDisk:
    """A compressed file as its decompressor reads it, which is refused if far more is read than comes out.

    Padding between the members of a gzip, or empty members, could be as large as the disk and contain nothing.
    """

    def __init__(self, file, stream):
        self.file = file
        self.stream = stream

    def read(self, size=-1):
        limit = PADDING_LIMIT + 2 * self.stream.position
        if self.file.tell() > limit:
            raise _too_large(self.stream.path, f"The archive has {self.file.tell():,} bytes that hold no file", limit)
        return self.file.read(size)

    def seek(self, position):
        self.file.seek(position)


def _too_large(path, what, limit):
    return DataError(f"{what}, but no copy of CIFAR-10 needs more than {limit:,}.", where=path, next_step=UNSAFE)


def _check_archive(path):
    size = path.stat().st_size  # of a folder only a few thousand
    if size > ARCHIVE_LIMIT:
        raise _too_large(path, f"The archive has {size:,} bytes", ARCHIVE_LIMIT)


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
