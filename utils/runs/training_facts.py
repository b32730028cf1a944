"""What the record of a training says about it: how it ended, its settings, its machine, and the suite's version."""

from __future__ import annotations

import datetime
import functools
import platform
import subprocess
import time
from pathlib import Path

import torch

from utils.devices import describe
from utils.errors import DivergedError
from utils.models.count import parameters
from utils.runs.run import safe, trainings
from utils.runs.same_training import settings_of

ROOT = Path(__file__).resolve().parents[2]


def how_it_ended(training):
    """Return how a training ended: "finished", "stopped" (by its user), "diverged" or "failed"."""
    if isinstance(training.error, DivergedError):
        return "diverged"
    if isinstance(training.error, KeyboardInterrupt):
        return "stopped"
    if training.error is not None:
        return "failed"
    return "finished" if training.complete else "stopped"


def facts_of(training):
    """Return the entries that every training's record has: images, network, settings, machine, the suite's version."""
    split = getattr(training.train_iter, "split", None) or getattr(training.train_iter, "dataset", None)
    origin = getattr(split, "origin", None)
    classes = getattr(split, "classes", None)
    loader = training.train_iter.describe() if hasattr(training.train_iter, "describe") else {}
    return {
        "settings": settings_of(training),
        "data": dict(origin) if origin else None,
        "images": len(split) if hasattr(split, "__len__") else None,
        "classes": list(classes) if classes is not None else None,
        "mean": loader.get("mean"),
        "std": loader.get("std"),
        "watched": training.watched,
        "num_epochs": training.num_epochs,
        "batches": training.batches,
        "parameters": parameters(training.net),
        "device": describe(training.device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "git": git_state(),
    }


@functools.lru_cache(maxsize=1)
def git_state():
    """Return the suite's commit, and whether its files were changed since; None without git."""

    def ask(*arguments):
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=10)
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None

    try:
        commit, changes = ask("rev-parse", "--short=10", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "changed": bool(changes)} if commit and (ROOT / ".git").exists() else None


def new_folder(name):
    """Make a new folder, named after the run and the time, with a number if two runs start in the same second."""
    stem = f"{safe(name)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 10_000):
        folder = trainings() / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"10,000 runs of {stem}")


def now():
    """Return the time as text: UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
