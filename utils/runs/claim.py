"""Let only one process at a time train in a folder, also on drives that do not support file locks.

The process creates a file in the folder and updates the file's time every few seconds.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
import warnings
from pathlib import Path

from utils.errors import CourseworkError, RecordWarning
from utils.files import read_json

NAME = "alive.json"
BEAT = 5.0  # seconds between two updates of the file's time
STALE = 60.0  # seconds without an update after which the process counts as dead
WRITING = 1.0  # seconds after which an empty file means that its process was killed while it created the file
PATIENCE = 3.0  # seconds to wait for a process that is just ending, such as a kernel whose server was killed


class Claim:
    """Claim a folder for this process from take() to release(); meanwhile a thread updates the file's time.

    This works on mounted drives without file locks: creating the file fails if the file exists, and if a dead process
    has left its file behind, only one of several processes can rename it.
    """

    # The tokens of this process's own claims. A file with this process's number and any other token was left by an
    # older process that had the same number.
    _held = set()

    def __init__(self, folder, beat=BEAT):
        self.path, self.beat, self.lost = Path(folder) / NAME, beat, False
        self.token = uuid.uuid4().hex
        self._end = threading.Event()
        self._mine = {"host": platform.node(), "pid": os.getpid(), "token": self.token, "since": time.strftime("%F %T")}
        self._mine |= {"machine": _machine(), "start": _state_and_start(os.getpid())[1]}

    def take(self):
        """Claim the folder and return the Claim, or raise an error that names the process that has claimed it."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._create()
                break
            except FileExistsError:
                self._remove_stale(until)
        Claim._held.add(self.token)
        threading.Thread(target=self._touch, name="heartbeat", daemon=True).start()
        return self

    def _create(self):
        with open(self.path, "x", encoding="utf-8") as file:
            try:
                file.write(json.dumps(self._mine))
                file.flush()
            except OSError:  # on a full disk; half a file would keep everybody out of the folder for a minute
                self.path.unlink(missing_ok=True)
                raise

    def keep(self):
        """Create the file again if the folder was deleted; raise an error if another process has claimed it since."""
        try:
            self._create()
        except FileExistsError:
            self.lost = self.lost or (read_json(self.path) or self._mine).get("token") != self.token
        self.require()

    def require(self):
        """Raise an error if another process has claimed the folder while this one was paused."""
        if self.lost:
            raise CourseworkError(
                "Another process is now training in this folder; this one was paused for too long.",
                where=self.path.parent,
                next_step="Let the other process finish, or stop it and train again: the training resumes.",
            )

    def release(self):
        """Remove the file, so that other processes can claim the folder; if that fails, warn."""
        self._end.set()
        Claim._held.discard(self.token)
        try:
            if (read_json(self.path) or {}).get("token") == self.token:
                self.path.unlink(missing_ok=True)
        except OSError as error:  # the folder has become read-only
            what = f"Other processes will think that this run is training until this process ends: {error}"
            next_step = "make the folder writable, and remove the file after this process has ended."
            warnings.warn(f"{what}\n  where: {self.path}\n  next:  {next_step}", RecordWarning, stacklevel=2)

    def _remove_stale(self, until):
        holder = read_json(self.path) or {}
        if is_alive(self.path.parent):
            if time.monotonic() >= until or holder.get("pid") == os.getpid():
                raise _taken(holder, self.path.parent)
            time.sleep(0.1)
            return
        stale = self.path.with_name(f"{NAME}.{self.token}.stale")
        try:
            os.rename(self.path, stale)
        except FileNotFoundError:  # another process was faster
            return
        renamed = read_json(stale) or {}
        if renamed.get("token") != holder.get("token"):  # another process has created a new file: put it back
            os.rename(stale, self.path)
            raise _taken(renamed, self.path.parent)
        stale.unlink(missing_ok=True)

    def _touch(self):
        while not self._end.wait(self.beat):
            holder = read_json(self.path)  # None while a drive is unavailable for a moment
            if holder is not None and holder.get("token") != self.token:
                self.lost = True  # this process was paused for so long that another one has claimed the folder
                return
            now = time.time()
            try:
                os.utime(self.path, (now, now))
            except OSError:  # tried again after the next BEAT seconds
                continue


def is_alive(folder):
    """Return True if a process is training in this folder now.

    For a process on this machine and in this container, /proc gives the answer; for any other one, the time at which
    its file was last updated.
    """
    path = Path(folder) / NAME
    try:
        status = path.stat()
    except OSError:
        return False
    age, holder = abs(time.time() - status.st_mtime), read_json(path) or {}
    if not status.st_size:
        return age < WRITING
    machine = _machine()
    is_here = holder.get("host") == platform.node() and holder.get("machine", machine) == machine
    runs = _runs(holder) if is_here else None
    return age < STALE if runs is None else runs


def _machine():
    """Return a text that identifies this machine since its last start, and the container; None where /proc lacks it.

    Within one container, a process number belongs to one process.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _state_and_start(pid):
    """Return a process's state (a letter) and start (ticks since the machine's start), or (None, None) if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None


def _runs(holder):
    """Return whether the process that has claimed a folder on this machine still runs, or None if that is unknown."""
    pid = holder.get("pid")
    if pid == os.getpid():
        return holder.get("token") in Claim._held
    if os.name == "nt" or not isinstance(pid, int):  # on Windows, os.kill would end the process
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        pass
    state, start = _state_and_start(pid)
    if state == "Z":  # a zombie: it has ended, but its parent has not read its exit status yet
        return False
    is_known = start is not None and holder.get("start") is not None
    return start == holder["start"] if is_known else None  # the number may have been given to a new process


def _taken(holder, folder):
    process = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
    next_step = (
        "Wait for it, stop it (in a notebook: interrupt that kernel), or choose another folder for this training."
    )
    return CourseworkError(f"Another process is training this run now: {process}.", where=folder, next_step=next_step)
