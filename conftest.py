"""Set up pytest for the suite: no download, threads shared among processes, notebooks first."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from patience import PATIENCE

MARK = "nbval-check-output"


def pytest_configure(config):
    """Set the environment of this process, and so of its workers and kernels, before any test imports torch."""
    root = os.environ.get("CIFAR10_ROOT")
    if root:  # notebooks work in a folder of their own
        os.environ["CIFAR10_ROOT"] = os.path.abspath(os.path.expanduser(root))
    else:
        os.environ.setdefault("CIFAR10_SOURCE", "synthetic")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # idle threads keep no core busy, see utils/notebook.py
    os.environ.setdefault("CI", "true")  # no live figures
    os.environ.setdefault("COURSEWORK_EFFORT", "check")
    # A run log for each process: otherwise trainings of earlier tests would be resumed, and two at once refused.
    config.trainings = os.environ["COURSEWORK_RUNS"] = tempfile.mkdtemp(prefix="coursework-")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's job in the background hands that on to all others
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workers = config.getoption("numprocesses", None)
    if workers:  # each would start a thread for every core, and they would wait for each other
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // workers)))
    if config.option.color == "auto" and not sys.stdout.isatty() and not hasattr(config, "workerinput"):
        config.option.color = "no"  # nbval colours its messages otherwise
    config.option.nbval_kernel_startup_timeout = PATIENCE
    os.environ.setdefault("MPLBACKEND", "agg")  # no windows; notebooks switch to inline themselves


def pytest_unconfigure(config):
    """Remove the trainings that the tests made."""
    shutil.rmtree(getattr(config, "trainings", ""), ignore_errors=True)


def pytest_terminal_summary(terminalreporter):
    """Print what tests recorded under the name "says": counts that are worth seeing when all is well, too."""
    for report in (*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())):
        for name, text in getattr(report, "user_properties", ()):
            if name == "says":
                terminalreporter.line(text)


def pytest_collection_modifyitems(items):
    """Put the notebooks, the longest work, first, so that no process is left with them at the end."""
    seconds = {}
    for item in items:
        if item.path.suffix == ".ipynb":
            item.output_timeout = PATIENCE  # nbval's own 5 seconds are few on a busy machine
            # Also the strict --nbval compares marked cells only: the others depend on the images and on the machine.
            item.options["check"] = MARK in item.cell.metadata.get("tags", [])
            if item.path not in seconds:
                seconds[item.path] = _seconds(item.path)
    items.sort(key=lambda item: -seconds.get(item.path, -1.0))  # stable: the others stay in order


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _seconds(path):
    """Return how long a notebook took when it was last run for the repository."""
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return sum(cell["metadata"].get("seconds", 0.0) for cell in cells)
