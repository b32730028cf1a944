"""Starts the confined child for one submission, asks it questions, and ends it at a limit.

with Nursery(folder) as nursery, Session(nursery, submission, shown, Limits()) as session:
    session.ask("child_code.run_cells", cells=[...])
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tools.grading import messages
from tools.grading.nursery import SUITE, ChildEnded, Limits, Nursery, environment, shown_to_all

SUBMISSION = "/submission"
HOME = f"{SUITE}/notebooks"  # where notebooks are in the suite, so that their set-up cells find it
LOOK_EVERY = 0.1  # seconds between two looks at the memory and the number of processes
MOST_ERRORS = 20  # of a notebook's cells that are kept


class Session:
    """One child process."""

    def __init__(
        self, nursery: Nursery, submission: Path, shown: dict, limits: Limits, is_confined=True, notebook_folder=None
    ):
        """shown: {path in the child: a file or folder of the parent that the child may read}.

        notebook_folder: the folder of the submission whose files lie beside the notebook when it runs.
        """
        self.limits, self.is_confined, self.why_ended = limits, is_confined, None
        self.last_cell, self.cell_errors = None, []
        self._lock, self._finished = threading.Lock(), threading.Event()
        self._latest = time.monotonic() + limits.seconds
        self._scratch = Path(tempfile.mkdtemp(dir=nursery.folder))
        self._shown = {SUBMISSION: str(submission), **shown}
        self.home = HOME if is_confined else str(self._scratch / "notebooks")
        beside = (notebook_folder or submission).relative_to(submission).as_posix()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (what is written before student code runs)
        requests, to_child = os.pipe()
        from_child, replies = os.pipe()
        spec = {
            "box": str(self._scratch) if is_confined else None,
            "shown": shown_to_all() | self._shown,
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
        message = None
        if not self.why_ended:
            try:
                self._to_child.write(messages.encode({"do": do, "seconds": seconds, **arguments}))
                message = self._read_reply()
            except OSError:
                self.end(self._how_it_ended())
            except (ValueError, TypeError, OverflowError):
                self.end("its replies can't be read")
        if self.why_ended:
            raise ChildEnded(self.why_ended)
        if isinstance(error := message.get("error"), str):
            raise ValueError(error[:300])
        return message.get("result")

    def _read_reply(self) -> dict:
        while line := self._from_child.readline(messages.LONGEST):
            message = messages.decode(line)
            if not isinstance(message, dict):
                raise ValueError("a reply is not an object")
            if "cell" not in message:
                return message
            self.last_cell = int(message["cell"])
            if message.get("error") and len(self.cell_errors) < MOST_ERRORS:
                self.cell_errors.append(f"Code cell {self.last_cell + 1}: {str(message['error'])[:200]}")
        raise OSError("the child has closed its pipe")

    def _how_it_ended(self):
        self._log.seek(0)
        lines = self._log.read(20_000).decode(errors="replace").strip().splitlines()
        if lines and self.last_cell is None:
            return f"its process ended: {lines[-1]}"
        return "the notebook ended its own process"

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
        elif uses_more_than(self.limits.memory, family):
            self.end(f"it used more than {self.limits.memory / 2**30:g} GiB of memory")

    def end(self, why: str):
        """Kill the child and all that it started."""
        with self._lock:
            if self._finished.is_set():
                return
            self._finished.set()
            self.why_ended = why
            family = [] if self.is_confined else family_of(self._pid)  # in a namespace, all die with the first one
            for process in family[1:]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
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


def family_of(pid: int) -> list[psutil.Process]:
    """List a process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def uses_more_than(most: int, family: list[psutil.Process]) -> bool:
    """Tell whether these processes use more bytes of memory; what they share is counted once, which takes longer."""
    for measure in (lambda process: process.memory_info().rss, lambda process: process.memory_full_info().pss):
        used = 0
        for process in family:
            with contextlib.suppress(psutil.Error):
                used += measure(process)
        if used <= most:
            return False
    return True


def missing_confinement(nursery: Nursery) -> str | None:
    """Try the confinement; return why this machine can't confine a child, or None."""
    with (
        tempfile.TemporaryDirectory(dir=nursery.folder) as empty,
        Session(nursery, Path(empty), {}, Limits()) as session,
    ):
        try:
            session.ask("child_run.names_of_files", folder="/")
        except ChildEnded as error:
            return str(error)
    return None
