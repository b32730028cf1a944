"""Tests that the marking of 60 submissions goes on after it was killed twice, and leaves no process behind.

    python test_grading_kills.py FOLDER

marks the submissions in FOLDER/handed-in, and prints a line for each.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

# Where this file is started as a program of its own:
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

import hand_ins
from patience import PATIENCE

from tools import grade
from tools.grading import mark_run
from tools.grading.session import Limits
from utils.files import read_json

ENDLESS = "import os\nif os.fork() == 0:\n    os.setsid()\nwhile True:\n    pass"
LIMITS = Limits(seconds=60, cell_seconds=1.0)

pytestmark = [pytest.mark.faults, pytest.mark.skipif(sys.platform != "linux", reason="namespaces exist on Linux only")]


def hand_in(folder, count):
    """Write submissions, every fifth of which never ends by itself."""
    for number in range(count):
        cells = (ENDLESS,) if number % 5 == 4 else hand_ins.PERFECT
        hand_ins.write(folder / "handed-in" / f"student {number:02}", *cells, f"number = {number}")


def call(folder):
    """Start a call that marks the submissions."""
    command = [sys.executable, __file__, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_after(process, lines, seconds):
    """Wait until so many submissions are newly marked, and a little longer; kill the call, and check what it leaves."""
    while lines:
        lines -= "points" in process.stdout.readline()
    time.sleep(seconds)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert family and not alive, "a process of a child lives on"


def test_marking_that_is_killed_goes_on(tmp_path, record_property):
    count = 60
    hand_in(tmp_path, count)
    chance = random.Random(0)
    for lines in (17, 20):
        kill_after(call(tmp_path), lines, chance.uniform(0, 2))
    out = tmp_path / "handed-in-graded"
    stored = {path: path.stat().st_mtime_ns for path in out.glob("students/*/result.json")}
    assert 37 <= len(stored) < count and all(read_json(path) for path in stored)
    text, _ = call(tmp_path).communicate(timeout=PATIENCE)
    assert text.count("marked before") == len(stored), text
    assert all(path.stat().st_mtime_ns == time for path, time in stored.items())
    assert len((out / "grades.csv").read_text(encoding="utf-8-sig").splitlines()) == 1 + count
    assert not (out / "work").exists()
    record_property("says", f"marking was killed twice: {len(stored)} of {count} submissions were kept")


if __name__ == "__main__":
    easy = hand_ins.easy_images()
    mark_run.load_cifar10 = lambda: easy
    grade.grade(pathlib.Path(sys.argv[1]) / "handed-in", LIMITS)
