"""A process that has imported the library once, and forks a child for each submission: no child waits for imports.

It never holds a test label or a secret, since its children inherit its memory. The parent starts it, sends a spec and
three open files for each child, and receives the child's process id.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import traceback

from tools.grading import confine

LONGEST_SPEC = 2**18


def main(number: str):
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

        from tools.grading import child

        child.main(requests, replies)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
