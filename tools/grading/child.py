"""The child process, in which a submission is run, and the nursery from which all children are forked.

The nursery is a process that has imported the library once, so that no child waits for imports. It never holds a test
label or a secret, since its children inherit its memory. For each child the parent sends it an open connection, and
gets the child's process id.

The child confines itself and answers the parent's requests. Once a cell of the notebook was run, student code shares
this process, so that no answer can be believed as such. The parent therefore asks for values, computed for inputs that
it drew at random, and judges them itself.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
from multiprocessing.connection import Connection

import matplotlib.pyplot  # noqa: F401  (so that no child waits for this import)

from tools.grading import child_code, confine, messages
from utils.data.sources import synthetic
from utils.teaching.guard import TimeUp, time_limit


def nursery(number: str):
    """Start a child for each message on the socket with this file number."""
    synthetic.draw = functools.cache(synthetic.draw)
    synthetic.draw()  # so that no child has to draw its images
    confine.die_with_parent()
    channel = socket.socket(fileno=int(number))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that children that end leave nothing behind
    channel.send(b"ready")
    while True:
        message, files, _, _ = socket.recv_fds(channel, 100, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            become_child(*files)
        os.close(*files)
        channel.send(str(pid).encode())


def become_child(file: int):
    """Confine this process as the parent says, and answer its requests; this function does not return."""
    connection = Connection(file)
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        confine.die_with_parent()
        nothing = os.open(os.devnull, os.O_WRONLY)  # so that endless messages don't fill the parent's disk
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        spec = connection.recv()
        home, shown = spec["home"], spec["shown"]
        if spec["is_confined"]:
            is_root = confine.enter_namespaces()
            if inner := os.fork():
                connection.close()
                os.waitpid(inner, 0)
                os._exit(0)
            confine.enter_box(spec["box"], shown, spec["limits"]["disk"])
        else:
            for target, source in shown.items():
                os.makedirs(os.path.dirname(spec["box"] + target), exist_ok=True)
                os.symlink(source, spec["box"] + target)
        ignored = shutil.ignore_patterns("*.pt", "*.corrupt", "*.partial")
        shutil.copytree(spec["beside"], home, ignore=ignored, ignore_dangling_symlinks=True)
        if spec["is_confined"]:
            confine.drop_privileges(home, is_root)
        os.chdir(home)
        os.environ |= {"HOME": home, "COURSEWORK_RUNS": f"{home}/runs"}
        confine.set_limits(**spec["limits"])
        while True:
            connection.send_bytes(answer(*connection.recv()))
    except BaseException as error:
        connection.send_bytes(messages.encode({"error": describe(error)}))  # to nobody, if the parent has closed it
    finally:
        os._exit(0)


def answer(do: str, seconds: float, arguments: dict) -> bytes:
    """Return the reply to a request to do something in child_code.py: {"result": ...} or {"error": text}."""
    try:
        with time_limit(seconds):
            return messages.encode({"result": getattr(child_code, do)(**arguments)})
    except BaseException as error:
        return messages.encode({"error": describe(error, seconds)})


def describe(error: BaseException, seconds: float = 0.0) -> str:
    """Return an error's type and first line, or that the time is up."""
    if isinstance(error, TimeUp):
        return f"It takes longer than {seconds:g} seconds."
    try:
        line = (str(error).strip().splitlines() or [""])[0]
    except BaseException:
        line = ""
    return f"{type(error).__name__}: {line}".rstrip(": ")[:200]
