"""One process at a time in a folder: it holds a file there and keeps touching it, as some drives know no locks."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path

from utils.errors import CourseworkError
from utils.files import read_json

NAME = "alive.json"
BEAT, STALE = 5.0, 60.0  # seconds from one touch to the next, and after which nobody is thought to work there
WRITING = 1.0  # seconds after which a file that names nobody was left by a process killed while it made it
PATIENCE = 3.0  # seconds to wait for one that is just ending, such as a kernel whose server was killed


class Claim:
    """A folder held by this process from take() to release(); a thread touches the file meanwhile.

    It works on mounted drives that know no locks: the file is made in one step that fails if it is there, and one that
    was left by a dead process is renamed in one step that only one of several can do.
    """

    _held = set()  # the tokens that this process holds: a file with its number and another token is an older one's

    def __init__(self, folder, beat=BEAT):
        self.path, self.beat, self.lost = Path(folder) / NAME, beat, False
        self.token = uuid.uuid4().hex
        self._end = threading.Event()

    def take(self):
        """Hold the folder, or raise an error that says who does."""
        until = time.monotonic() + PATIENCE
        mine = {"host": platform.node(), "pid": os.getpid(), "token": self.token, "since": time.strftime("%F %T")}
        mine |= {"machine": _machine(), "start": _state_and_start(os.getpid())[1]}
        while True:
            try:
                with open(self.path, "x", encoding="utf-8") as file:
                    json.dump(mine, file)
                break
            except FileExistsError:
                self._remove_stale(until)
        Claim._held.add(self.token)
        threading.Thread(target=self._touch, name="heartbeat", daemon=True).start()

    def release(self):
        """Let others have the folder."""
        self._end.set()
        Claim._held.discard(self.token)
        if (read_json(self.path) or {}).get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def _remove_stale(self, until):
        holder = read_json(self.path) or {}
        if is_alive(self.path.parent):
            if time.monotonic() >= until or holder.get("pid") == os.getpid():
                raise _taken(holder, self.path.parent)
            time.sleep(0.1)
            return
        aside = self.path.with_name(f"{NAME}.{self.token}.stale")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:  # somebody else was faster
            return
        found = read_json(aside) or {}
        if found.get("token") != holder.get("token"):  # and has made a new one, which this must not take away
            os.rename(aside, self.path)
            raise _taken(found, self.path.parent)
        aside.unlink(missing_ok=True)

    def _touch(self):
        while not self._end.wait(self.beat):
            found = read_json(self.path)  # None while a drive drops out for a moment
            if found is not None and found.get("token") != self.token:
                self.lost = True  # this machine slept for so long that another process took over
                return
            now = time.time()
            try:
                os.utime(self.path, (now, now))
            except OSError:  # the next beat tries again
                continue


def is_alive(folder):
    """Tell whether a process works in this folder now.

    Of a process of this machine and container /proc knows, whatever the clocks say; of another one it shows in the time
    of its last touch.
    """
    path = Path(folder) / NAME
    try:
        found = path.stat()
    except OSError:
        return False
    age, holder = abs(time.time() - found.st_mtime), read_json(path) or {}
    if not found.st_size:
        return age < WRITING
    machine = _machine()
    is_here = holder.get("host") == platform.node() and holder.get("machine", machine) == machine
    runs = _runs(holder) if is_here else None
    return age < STALE if runs is None else runs


def _machine():
    """Return what names this machine since its last start, and the container: in there a number means one process.

    None where /proc does not tell.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _state_and_start(pid):
    """Return a process's state, a letter, and when it began, in ticks since the machine did; None twice if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None


def _runs(holder):
    """Tell whether the process that holds a folder of this machine is there; None if that cannot be known."""
    pid = holder.get("pid")
    if pid == os.getpid():
        return holder.get("token") in Claim._held
    if os.name == "nt" or not isinstance(pid, int):  # there, asking would end the process
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        pass
    state, start = _state_and_start(pid)
    if state == "Z":  # a process that was killed keeps its number until somebody asks how it ended
        return False
    known = start is not None and holder.get("start") is not None
    return start == holder["start"] if known else None  # another process may have got the number of a dead one


def _taken(holder, folder):
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
    next_step = (
        "Wait for it, stop it (in a notebook: interrupt that kernel), or give this training a folder of its own."
    )
    return CourseworkError(f"This run is already under way: {who}.", where=folder, next_step=next_step)
