"""Starts the confined child for one submission, asks it questions, and ends it at a limit.

with Nursery(folder) as nursery, Session(nursery, submission, shown, Limits()) as session:
    session.ask("run_cells", cells=[...])
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tools.grading import messages
from tools.grading.surroundings import Limits, environment, kill_all_below, shown_of_python, usage

ROOT = Path(__file__).resolve().parents[2]
SUITE, SUBMISSION = "/suite", "/submission"
HOME = f"{SUITE}/notebooks"  # where notebooks are in the suite, so that their set-up cells find it
LIBRARY = (ROOT / "utils", ROOT / "tools" / "grading")  # the grader's copy; a submission's own utils/ is not used
SHOWN_LIBRARY = {str(path): str(path) for path in LIBRARY} | {f"{SUITE}/utils": str(LIBRARY[0])}
LOOK_EVERY = 0.1  # seconds between two looks at the memory and the number of processes
START = "import sys; sys.path[:0] = sys.argv[1:2]; from tools.grading.nursery import main; main(sys.argv[2])"


MOST_ERRORS = 20  # of a notebook's cells that are kept


class ChildEnded(Exception):
    """The child is gone, or its reply can't be read; the text is the reason."""


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


class Session:
    """One child process."""

    def __init__(
        self,
        nursery: Nursery,
        submission: Path,
        shown: dict,
        limits: Limits,
        is_confined: bool = True,
        notebook_folder: Path | None = None,
    ):
        """shown: {path in the child: a file or folder of the parent that the child may read}.

        notebook_folder: the folder of the submission whose files lie beside the notebook when it runs.
        """
        self.limits, self.is_confined, self.why_ended = limits, is_confined, None
        self.last_cell, self.cell_errors = None, []
        self._lock, self._finished = threading.Lock(), threading.Event()
        self._scratch = Path(tempfile.mkdtemp(dir=nursery.folder))
        self._shown = {SUBMISSION: str(submission), **shown}
        self.home = HOME if is_confined else str(self._scratch / "notebooks")
        beside = (notebook_folder or submission).relative_to(submission).as_posix()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (what is written before student code runs)
        requests, to_child = os.pipe()
        from_child, replies = os.pipe()
        spec = {
            "box": str(self._scratch) if is_confined else None,
            "shown": shown_of_python() | SHOWN_LIBRARY | self._shown,
            "submission": f"{self.path(SUBMISSION)}/{beside}",
            "home": self.home,
            "disk": limits.disk,
            "limits": limits.of_process(),
            "environment": environment(self.home, nursery.threads),
        }
        self._pid = nursery.start(spec, [requests, replies, self._log.fileno()])
        os.close(requests)
        os.close(replies)
        self._to_child, self._from_child = os.fdopen(to_child, "wb", buffering=0), os.fdopen(from_child, "rb")
        threading.Thread(target=self._watch, daemon=True).start()

    def path(self, shown: str) -> str:
        """Return the path under which the child finds a shown path, or a file below it."""
        if self.is_confined:
            return shown
        prefix = max((known for known in self._shown if shown.startswith(known)), key=len)
        return self._shown[prefix] + shown[len(prefix) :]

    def ask(self, do: str, seconds: float = 60.0, **arguments):
        """Return the child's result; raise ChildEnded if there is none, or ValueError with the error in the child."""
        if self.why_ended:
            raise ChildEnded(self.why_ended)
        try:
            self._to_child.write(messages.encode({"do": do, "seconds": seconds, **arguments}))
            message = self._read_reply()
        except OSError:
            self.end(self._how_it_ended())
        except (ValueError, TypeError, OverflowError):
            self.end("its replies can't be read")
        except ChildEnded as error:
            self.end(str(error))
        if self.why_ended:
            raise ChildEnded(self.why_ended)
        if "error" in message:
            raise ValueError(str(message["error"])[:300])
        return message.get("result")

    def _read_reply(self) -> dict:
        while True:
            line = self._from_child.readline(messages.LONGEST)
            if not line.endswith(b"\n"):
                raise ChildEnded(self._how_it_ended() if len(line) < messages.LONGEST else "it sent too much")
            message = messages.decode(line)
            if not isinstance(message, dict):
                raise ValueError("a reply is not an object")
            if "cell" not in message:
                return message
            self.last_cell = int(message["cell"])
            if message.get("error") and len(self.cell_errors) < MOST_ERRORS:
                self.cell_errors.append(f"Code cell {self.last_cell + 1}: {str(message['error'])[:200]}")

    def _how_it_ended(self):
        self._log.seek(0)
        lines = self._log.read(20_000).decode(errors="replace").strip().splitlines()
        return (
            f"its process ended: {lines[-1]}"
            if lines and self.last_cell is None
            else "the notebook ended its own process"
        )

    def _watch(self):
        """End the child at a limit of time, memory or processes."""
        started = time.monotonic()
        while not self._finished.wait(LOOK_EVERY):
            memory, processes = usage(self._pid)
            if memory > self.limits.memory and processes <= self.limits.processes:
                memory, _ = usage(self._pid, is_shared_counted_once=True)
            if time.monotonic() - started > self.limits.seconds:
                self.end(f"it used more than {self.limits.seconds:g} seconds")
            elif processes > self.limits.processes:
                self.end(f"it started more than {self.limits.processes} processes")
            elif memory > self.limits.memory:
                self.end(f"it used more than {self.limits.memory / 2**30:g} GiB of memory")

    def end(self, why: str):
        """Kill the child and all that it started."""
        with self._lock:
            if self._finished.is_set():
                return
            self._finished.set()
            self.why_ended = why
            if not self.is_confined:  # in a namespace, all processes die with the first one
                kill_all_below(self._pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end("it is finished")
        for file in (self._to_child, self._from_child, self._log):
            with contextlib.suppress(OSError):
                file.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def missing_confinement(nursery: Nursery) -> str | None:
    """Try the confinement; return why this machine can't confine a child, or None."""
    with (
        tempfile.TemporaryDirectory(dir=nursery.folder) as empty,
        Session(nursery, Path(empty), {}, Limits()) as session,
    ):
        try:
            session.ask("names_of_files", folder="/")
        except ChildEnded as error:
            return str(error)
    return None
