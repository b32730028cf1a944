"""What a child may use and see, and the process that forks all children, as the parent sees it."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT, SUITE = Path(__file__).resolve().parents[2], "/suite"
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
START = "import sys; sys.path[:0] = sys.argv[1:2]; from tools.grading import child; child.nursery(sys.argv[2])"


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

    def of_process(self) -> dict:
        """Return the limits that Linux enforces for each process."""
        return {
            "AS": 4 * self.memory,  # address space, of which torch reserves much more than it uses
            "CPU": int(4 * self.seconds) + 10,
            "FSIZE": self.disk,
            "NOFILE": 1024,
            "NPROC": 4 * self.processes,  # with threads; not enforced if the grader is root
            "CORE": 0,
        }


def environment(home: str, threads: int) -> dict:
    """Return the environment of the child: nothing of the grader's own."""
    return {
        "HOME": home,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "COURSEWORK_EFFORT": "check",
        "COURSEWORK_RUNS": f"{home}/runs",
        "CIFAR10_SOURCE": "synthetic",
        "CI": "true",  # no live figures
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "1000",
    }


@functools.cache
def shown_to_all() -> dict:
    """Return what every child sees, {path there: path here}: Python, and the grader's copy of the library."""
    own = {sys.prefix, sys.base_prefix, *(entry for entry in sys.path if "site-packages" in entry)}
    paths = [*SYSTEM, *sorted(map(os.path.abspath, own)), str(ROOT / "utils"), str(ROOT / "tools" / "grading")]
    return {path: path for path in paths if os.path.exists(path)} | {f"{SUITE}/utils": str(ROOT / "utils")}


class Nursery:
    """The process that forks the children. Its environment holds nothing of the grader's own."""

    def __init__(self, folder: Path, threads: int | None = None):
        """folder: for files that nobody needs later. threads: of a child; default: one for each core."""
        self.threads = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        self.folder = folder
        self.home = Path(tempfile.mkdtemp(dir=folder))
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", START, str(ROOT), str(other.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(other.fileno(),),
            env=environment(str(self.home), self.threads),
            cwd=self.home,
            start_new_session=True,  # Ctrl+C is for the parent, which ends it
        )
        other.close()
        if self._channel.recv(100) != b"ready":
            raise ChildEnded("the library can't be imported (see above)")

    def start(self, spec: dict, files: list[int]) -> int:
        """Start a child; return its process id."""
        socket.send_fds(self._channel, [json.dumps(spec).encode()], files)
        return int(self._channel.recv(100))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._channel.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
