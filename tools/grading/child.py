"""The child process, in which a submission is run, and the nursery from which all children are forked.

The nursery is a process that has imported the library once, so that no child waits for imports. It never holds a test
label or a secret, since its children inherit its memory. For each child the parent sends it a spec and three open
files, and gets the child's process id.

The child confines itself and answers the parent's requests, first about the run, then about the student's code. Once a
cell of the notebook was run, student code shares this process, so that no answer can be believed as such. The parent
therefore asks for values, computed for inputs that it drew at random, and judges them itself.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import traceback

from tools.grading import confine, messages
from utils.teaching.guard import TimeUp, time_limit

LONGEST_SPEC = 2**18
send = None  # in a child, the function that sends a message to the parent


def nursery(number: str):
    """Start a child for each message on the socket with this file number."""
    import matplotlib.pyplot  # noqa: F401
    from IPython.core.interactiveshell import InteractiveShell  # noqa: F401

    import utils.evaluation  # noqa: F401
    from tools.grading import child_code, child_run  # noqa: F401

    confine.die_with_parent()
    channel = socket.socket(fileno=int(number))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that children that end leave nothing behind
    channel.send(b"ready")
    while True:
        message, files, _, _ = socket.recv_fds(channel, LONGEST_SPEC, 3)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            become_child(json.loads(message), *files)
        for file in files:
            os.close(file)
        channel.send(str(pid).encode())


def become_child(spec: dict, requests: int, replies: int, log: int):
    """Confine this process as the spec says, and answer requests; this function does not return."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        confine.die_with_parent()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        if spec["box"]:
            is_root = confine.enter_namespaces()
            if inner := os.fork():
                for file in (requests, replies):
                    os.close(file)
                os.waitpid(inner, 0)
                os._exit(0)
            confine.enter_box(spec["box"], spec["shown"], spec["disk"])
            confine.copy_submission(spec["submission"], spec["home"])
            confine.drop_privileges(spec["home"], is_root)
        else:
            os.symlink(spec["shown"]["/suite/utils"], os.path.join(os.path.dirname(spec["home"]), "utils"))
            confine.copy_submission(spec["submission"], spec["home"])
        os.chdir(spec["home"])
        os.environ.clear()
        os.environ.update(spec["environment"])
        confine.set_limits(spec["limits"])
        answer_requests(requests, replies)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def answer_requests(requests: int, replies: int):
    """Answer requests until the parent closes the pipe; both are the numbers of open files."""
    global send
    with open(requests, "rb") as incoming, open(replies, "wb", buffering=0) as outgoing:
        send = outgoing.write
        for line in incoming:
            send(answer(**messages.decode(line)))


def answer(do: str, seconds: float, **arguments) -> bytes:
    """Return the reply to a request, such as do="child_run.read_run": {"result": ...} or {"error": text}."""
    module, _, name = do.partition(".")
    try:
        with time_limit(seconds):
            function = getattr(importlib.import_module(f"tools.grading.{module}"), name)
            return messages.encode({"result": function(**arguments)})
    except BaseException as error:
        return messages.encode({"error": describe(error, seconds)})


def describe(error: BaseException, seconds: float) -> str:
    """Return an error's type and first line, or that the time is up."""
    if isinstance(error, TimeUp):
        return f"It takes longer than {seconds:g} seconds."
    try:
        line = (str(error).strip().splitlines() or [""])[0]
    except BaseException:
        line = ""
    return f"{type(error).__name__}: {line}".rstrip(": ")[:200]
