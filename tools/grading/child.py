"""Runs in the confined child: answers the parent's requests, first about the run, then about the student's code.

Once a cell of the notebook was run, student code shares this process, so that no answer can be believed as such. The
parent therefore asks for values, computed for inputs that it drew at random, and judges them itself.
"""

from __future__ import annotations

import contextlib
import importlib
import signal

from tools.grading import messages

ACTIONS = {  # the name of each request, and the module that answers it
    "names_of_files": "child_run",
    "read_run": "child_run",
    "predict_library_network": "child_run",
    "replay": "child_run",
    "run_cells": "child_code",
    "call": "child_code",
    "batches": "child_code",
    "train_epoch": "child_code",
    "evaluate": "child_code",
    "make_network": "child_code",
    "scores": "child_code",
    "block": "child_code",
    "predict_own_network": "child_code",
}
send = None  # the function that sends a message to the parent


class TimeUp(BaseException):
    """A request took too long. It is no Exception, so that `except Exception` in a submission does not catch it."""


@contextlib.contextmanager
def time_limit(seconds: float):
    """Raise TimeUp inside the block after these seconds, again and again; the parent has a limit that kills."""

    def stop(number, frame):
        raise TimeUp(f"It takes longer than {seconds:g} seconds.")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def describe(error: BaseException) -> str:
    """Return an error's type and first line."""
    try:
        line = (str(error).strip().splitlines() or [""])[0]
    except BaseException:
        line = ""
    return f"{type(error).__name__}: {line}".rstrip(": ")[:200]


def answer(request: dict) -> dict:
    """Return the reply to a request: {"result": ...} or {"error": text}."""
    name, seconds = request.pop("do"), request.pop("seconds")
    try:
        with time_limit(seconds):
            module = importlib.import_module(f"tools.grading.{ACTIONS[name]}")
            return {"result": getattr(module, name)(**request)}
    except BaseException as error:
        return {"error": describe(error)}


def main(requests: int, replies: int):
    """Answer requests until the parent closes the pipe; both are the numbers of open files."""
    global send
    with open(requests, "rb") as incoming, open(replies, "wb", buffering=0) as outgoing:
        send = lambda message: outgoing.write(messages.encode(message))  # noqa: E731
        for line in incoming:
            send(answer(messages.decode(line)))
