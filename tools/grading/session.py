"""The process that forks all children, and the child for one submission, as the parent sees them.

with Nursery(folder, Limits()) as nursery, Session(nursery, submission, images) as session:
    session.ask("run_cell", source="1 + 1")
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import torch

from tools.grading import messages

ROOT = Path(__file__).resolve().parents[2]
SUITE, SUBMISSION, IMAGES = "/suite", "/submission", "/images"  # where a child finds them
HOME = f"{SUITE}/notebooks"  # where its notebook runs: set-up cells find the suite from there
ENVIRONMENT = {  # of all children: nothing of the grader's own
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "COURSEWORK_EFFORT": "check",
    "CIFAR10_SOURCE": "synthetic",
    "CI": "true",  # no live figures
    "MPLBACKEND": "agg",
    "GOMP_SPINCOUNT": "1000",
}
START = "import sys; sys.path[:0] = sys.argv[1:2]; from tools.grading import child; child.nursery(sys.argv[2])"
LOOK_EVERY = 0.1  # seconds between two looks at the memory and the number of processes


class ChildEnded(Exception):
    """The child is gone, or its reply can't be read; the text is the reason."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    seconds: float = 300.0  # for everything together
    cell_seconds: float = 120.0  # for one cell
    memory: int = 4 * 2**30  # bytes, of all its processes together
    disk: int = 2**30  # bytes of files that it writes; they are in memory, and vanish with it
    processes: int = 64


class Nursery:
    """The process that forks the children."""

    def __init__(self, folder: Path, limits: Limits | None = None):
        """folder: is made for files that nobody needs later; what a call that was killed left there is removed."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder, self.limits, self.is_confined = folder, limits or Limits(), True
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", START, str(ROOT), str(other.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(other.fileno(),),
            env=ENVIRONMENT | {"HOME": str(folder), "OMP_NUM_THREADS": str(torch.get_num_threads())},
            cwd=folder,
            start_new_session=True,  # Ctrl+C is for the parent, which ends it
        )
        other.close()
        if self._channel.recv(100) != b"ready":
            raise ChildEnded("the library can't be imported (see above)")

    def start(self, connection: int) -> int:
        """Start a child with its end of a connection, an open file; return its process id."""
        socket.send_fds(self._channel, [b"start"], [connection])
        return int(self._channel.recv(100))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._channel.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Session:
    """One child process. It is asked questions, and ended at a limit."""

    def __init__(self, nursery: Nursery, submission: Path, images: Path, beside: Path | None = None):
        """Start a child that may read two folders. beside: whose files lie beside the notebook, in the submission."""
        self.limits = nursery.limits
        self.why_ended = None
        self._finished = threading.Event()
        self._latest = time.monotonic() + self.limits.seconds
        self._box = Path(tempfile.mkdtemp(dir=nursery.folder))
        self._root = "" if nursery.is_confined else str(self._box)
        self._shown = {SUBMISSION: submission, IMAGES: images, f"{SUITE}/utils": ROOT / "utils"}
        self._connection, other = multiprocessing.Pipe()
        with other:
            self._pid = nursery.start(other.fileno())
        spec = {
            "is_confined": nursery.is_confined,
            "box": str(self._box),
            "shown": {target: str(source) for target, source in self._shown.items()},
            "beside": self.path(beside or submission),
            "home": self._root + HOME,
            "limits": {name: getattr(self.limits, name) for name in ("memory", "disk", "processes")},
        }
        self._connection.send(spec)
        threading.Thread(target=self._watch, daemon=True).start()

    def path(self, path: Path) -> str:
        """Return where the child finds a file or folder that it may read."""
        shown, source = next(pair for pair in self._shown.items() if path.is_relative_to(pair[1]))
        return f"{self._root}{shown}/{path.relative_to(source).as_posix()}"

    def ask(self, do: str, seconds: float = 60.0, **arguments):
        """Return the child's result; raise ChildEnded if there is none, or ValueError with the error in the child."""
        reply = {}
        if not self.why_ended:
            try:
                self._connection.send_bytes(pickle.dumps((do, seconds, arguments)))
                reply = messages.decode(self._connection.recv_bytes(messages.LONGEST))
            except (EOFError, ConnectionError):
                self.end("its process ended by itself")
            except (OSError, ValueError, TypeError, OverflowError):
                self.end("its replies can't be read")
        if self.why_ended:
            raise ChildEnded(self.why_ended)
        if isinstance(error := reply.get("error"), str):
            raise ValueError(error[:300])
        return reply.get("result")

    def _watch(self):
        while not self._finished.wait(LOOK_EVERY):
            self.look()

    def look(self):
        """End the child if it uses more time, processes or memory than it may."""
        family = family_of(self._pid)
        if time.monotonic() > self._latest:
            self.end(f"it used more than {self.limits.seconds:g} seconds")
        elif len(family) > self.limits.processes:
            self.end(f"it started more than {self.limits.processes} processes")
        elif memory_of(family) > self.limits.memory:
            self.end(f"it used more than {self.limits.memory / 2**30:g} GiB of memory")

    def end(self, why: str):
        """Kill the child and all that it started; the first reason counts."""
        if self._finished.is_set():
            return
        self._finished.set()
        self.why_ended = why
        for process in family_of(self._pid):
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end("it is finished")
        self._connection.close()
        shutil.rmtree(self._box, ignore_errors=True)


def family_of(pid: int) -> list[psutil.Process]:
    """List a process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def memory_of(family: list[psutil.Process]) -> int:
    """Return the bytes of memory that these processes use; what several share is divided among them."""
    used = 0
    for process in family:
        with contextlib.suppress(psutil.Error):
            used += process.memory_full_info().pss
    return used


def missing_confinement(nursery: Nursery) -> str | None:
    """Try the confinement; return why this machine can't confine a child, or None."""
    with (
        tempfile.TemporaryDirectory(dir=nursery.folder) as empty,
        Session(nursery, Path(empty), Path(empty)) as session,
    ):
        try:
            session.ask("run_cell", source="")
        except (ChildEnded, ValueError) as error:
            return str(error)
    return None
