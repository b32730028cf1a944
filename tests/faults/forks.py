"""What the programs share that fork trainings and kill them, and how a test runs such a program.

A test does not fork by itself, because a process with threads must not fork.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import traceback

from patience import PATIENCE
from tqdm import tqdm

TESTS = pathlib.Path(__file__).resolve().parents[1]


def result_of(program, *arguments) -> dict:
    """Run a program of this folder; return the JSON in the last line that it prints."""
    command = [sys.executable, program, *map(str, arguments)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def fork(work, *arguments) -> int:
    """Call work in a child process; return its process id."""
    child = os.fork()
    if not child:
        tqdm.set_lock(threading.RLock())  # the one it inherits lies in shared memory: a killed process may hold it
        code = 1
        try:
            work(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()  # nobody else tells of it
        finally:
            os._exit(code)
    return child


def kill_until_done(work, processes, kills, longest, clock) -> int:
    """Call work in so many processes, again and again until none is killed; return how many were killed.

    In each turn, one of them is killed after `longest` seconds at most, until there are so many kills.
    """
    killed, done = 0, False
    while not done:
        children = [fork(work) for _ in range(processes)]
        if killed < kills:
            time.sleep(clock.uniform(0, longest))
            os.kill(children[0], signal.SIGKILL)
        codes = [os.waitpid(child, 0)[1] for child in children]
        assert set(codes) <= {0, signal.SIGKILL}, f"an attempt failed with status {codes}"
        killed += codes.count(signal.SIGKILL)
        done = signal.SIGKILL not in codes
    return killed
