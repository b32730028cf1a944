"""Owns the order in which a GPU that is at hand for a while is used. Measures nothing itself.

    python -m tools.on_gpu [--minutes 9] [--rehearse] [--list]

Does what has not been done on a GPU yet: the tests that need one, the notebooks, the benchmarks without a record, the
trainings; then renews the pages. Each step is a command that may be typed by hand. Whatever ends it, the same call goes
on with what is left; with --minutes it ends in time by itself. A rehearsal does a little of each step, on any device,
and keeps nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import subprocess
import sys
import time

from benchmarks import page
from benchmarks._shared import RECORDS
from tools import notebooks
from tools.make import by_hand
from tools.run import INTERRUPTED
from utils.devices import try_gpu
from utils.records import read_json, write_json
from utils.runs import trainings

ROOT = notebooks.ROOT
JUPYTER = ("nbclient", "nbconvert", "ipykernel")  # what notebooks want beside the rest
TO_END = 10.0  # seconds that a step is given to end by itself when the time is over


@dataclasses.dataclass(frozen=True)
class Step:
    """A command, and whether it has to be run."""

    name: str
    words: tuple  # after `python -m`
    left: bool = True
    stops: bool = False  # it takes --minutes, and stops in time by itself
    brief: bool = False  # it takes seconds, and is done though the time is over
    jupyter: bool = False  # it wants Jupyter
    environ: tuple = ()


def steps(rehearse=False):
    """Return all steps in order."""
    if rehearse:
        smoke = (("COURSEWORK_BUDGET", "smoke"),)
        return [
            Step("tests", tests()),
            Step("notebooks", ("tools.run", "--anew"), jupyter=True, environ=smoke),
            *(benchmark(name, "--smoke") for name in page.ORDER),
            Step("trainings", ("tools.reproduce", "--rehearse", "--seeds", "1"), stops=True),
        ]
    without = [path.name[:2] for path in notebooks.paths() if not ran_on_gpu(path)]
    ran = (read_json(marks()) or {}).get("tests") == digest()
    return [
        Step("tests", tests(), not ran),
        Step("notebooks", ("tools.run", "--in-place", "--only", *without), bool(without), jupyter=True),
        *(benchmark(name, left=not (RECORDS / f"{name}-cuda.json").exists()) for name in page.ORDER),
        Step("trainings", ("tools.reproduce",), stops=True),
        Step("page of benchmarks", ("benchmarks.page",), brief=True),
        Step("page of results", ("tools.results",), brief=True),
    ]


def benchmark(name, *words, left=True):
    return Step(
        name, (f"benchmarks.{name}", *words), left, jupyter=name == "startup"
    )  # it imports what a notebook does


def tests():
    """Return the call of the tests that need a GPU; a file without one is not collected."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    names = [path.relative_to(ROOT).as_posix() for path in files]
    return "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *names


def has_jupyter():
    """Tell whether notebooks can be executed here."""
    return all(importlib.util.find_spec(name) for name in JUPYTER)


def ran_on_gpu(path):
    """Tell whether the outputs in a notebook are a GPU's: the set-up cell names the device, a CPU with its cores."""
    code = [cell for cell in notebooks.read(path).cells if notebooks.is_run(cell)]
    text = "".join(text for place, text in notebooks.texts(code[0]) if place == "stdout")
    return bool(text) and " core" not in text


def marks():
    """Return the file that keeps which tests have passed."""
    return trainings() / "on_gpu.json"


def digest():
    """Return 16 hexadecimal digits of the library and its tests."""
    found = hashlib.sha256()
    for path in sorted(path for folder in ("utils", "tests") for path in (ROOT / folder).rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def main(words=None):
    """Do the steps that are left, one after the other, until the time is over; return an exit code."""
    args = parse(words)
    if not args.rehearse and not args.list and try_gpu().type != "cuda":
        print(
            "There is no GPU here.\n  next:  --rehearse tries each step on the CPU, and keeps nothing.", file=sys.stderr
        )
        return 1
    end = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    ways, todo = {}, steps(args.rehearse)
    try:
        for step in todo:
            ways[step.name] = "left" if step.left else "done before"
            if step.left and step.jupyter and not has_jupyter():
                ways[step.name] = "left out: Jupyter is not installed here"
            elif step.left and not args.list and (step.brief or end is None or time.monotonic() < end):
                ways[step.name] = do(step, end, keep=not args.rehearse)
    except KeyboardInterrupt:
        print("Stopped. The same call goes on with what is left.")
        return INTERRUPTED
    finally:
        print("\n" + "\n".join(f"{name:<20}{way}" for name, way in ways.items()))
    return int(any("FAILED" in way for way in ways.values()))


def do(step, end, keep):
    """Do a step and say how it went; passed tests are kept in mind, as nothing else tells of them."""
    began, code = time.monotonic(), run(step, end)
    if step.name == "tests" and code == 0 and keep:
        marks().parent.mkdir(parents=True, exist_ok=True)
        write_json(marks(), {"tests": digest()})
    way = {0: "done", None: "cut off by the time"}.get(code, f"FAILED, exit code {code}")
    return f"{way}, {time.monotonic() - began:.0f} s"


def parse(words):
    parser = argparse.ArgumentParser(prog="python -m tools.on_gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="stop in time for these")
    parser.add_argument("--rehearse", action="store_true", help="a little of each step, on any device; nothing is kept")
    parser.add_argument("--list", action="store_true", help="say what is done and what is left, and run nothing")
    return parser.parse_args(words)


def run(step, end=None):
    """Run a step's command; return its exit code, or None if the time was over first."""
    words = [sys.executable, "-m", *step.words]
    left = None if end is None or step.brief else max(1.0, end - time.monotonic())
    if step.stops and left is not None:
        words += ["--minutes", f"{left / 60:.2f}"]
        left += 60  # a safeguard: it stops between two batches
    print("\n$ " + by_hand(words), flush=True)
    process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **dict(step.environ)})
    try:
        return process.wait(left)
    except subprocess.TimeoutExpired:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TO_END)
        process.kill()
        process.wait()
        return None
    except KeyboardInterrupt:  # the command got it as well
        process.wait()
        raise


if __name__ == "__main__":
    sys.exit(main())
