"""Owns running the notebooks headless, in order, and what a person sees of it. What the notebooks compute is theirs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
from pathlib import Path

from nbclient.exceptions import CellExecutionError, DeadKernelError

from tools import closing, notebooks
from tools.finished import Finished
from tools.kernel import execute
from tools.live import Forecast, Screen, View, clock
from tools.pages import page
from tools.run import MAIN

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "coursework"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
FOLDERS = ("CIFAR10_ROOT", "CIFAR10_CACHE", "COURSEWORK_RUNS")  # variables that name one
SHOWN = 8  # lines of a failing cell, and of its error


@dataclasses.dataclass
class Outcome:
    """How the run of one notebook went."""

    path: Path
    cells: int
    seconds: dict  # {cell id: seconds} of the cells that ended well
    before: float = 0.0  # the seconds that it took in an earlier run, which had finished it
    left: Path | None = None  # the page, or the rewritten notebook
    error: str | None = None

    @property
    def total(self):
        """Return the seconds that all its cells took."""
        return self.before + sum(self.seconds.values())


class Timings:
    """The seconds that each cell took in this machine's last run on the same images, kept in a file."""

    def __init__(self, file, images):
        self.file, self.images, self.cells = file, images, {}
        damage = (OSError, ValueError, LookupError, TypeError, AttributeError)  # no file, or not one of ours
        with contextlib.suppress(*damage):
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["images"] == images:
                self.cells = {name: {cell: float(s) for cell, s in of.items()} for name, of in kept["cells"].items()}

    def add(self, outcome):
        """Keep what a notebook's cells took."""
        self.cells[outcome.path.name] = {cell: round(seconds, 2) for cell, seconds in outcome.seconds.items()}
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"images": self.images, "cells": self.cells}, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.file)

    def steps(self, path, nb):
        """Yield ((notebook, cell id), (group, expected seconds)) for a Forecast; a cell never timed counts as 1 s."""
        own = self.cells.get(path.name, {})
        for cell in filter(notebooks.is_run, nb.cells):
            committed = cell.metadata.get("seconds")
            group = "here" if cell.id in own else "elsewhere" if committed is not None else "unknown"
            yield (path.name, cell.id), (group, float(own.get(cell.id, 1.0 if committed is None else committed)))


def ready_images(screen):
    """Find or fetch the images while a person can watch and stop it; return their name and the kernels' environment."""
    environ = dict(os.environ)
    for name in FOLDERS:
        if environ.get(name):  # the kernels work in another folder
            environ[name] = os.path.abspath(os.path.expanduser(environ[name]))
    try:
        from utils.data.cifar10 import load_cifar10

        images = load_cifar10(source=environ.get("CIFAR10_SOURCE", "auto"))
    except KeyboardInterrupt:
        screen.line("\nThis run continues with synthetic images; the download continues next time.")
        return "synthetic images", {**environ, "CIFAR10_SOURCE": "synthetic"}
    screen.line(str(images))
    if images.source == "synthetic":  # so that no kernel looks for the others again
        environ["CIFAR10_SOURCE"] = "synthetic"
    return images.name, environ


def run_notebook(path, nb, view, environ):
    """Execute one notebook and return its Outcome; nb is left with what the cells put out, up to an error."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("seconds", None)
    outcome = Outcome(path, sum(map(notebooks.is_run, nb.cells)), {})
    view.begin(path, nb)
    log = OUT / "kernel.log"
    try:
        with open(log, "wb") as file, contextlib.closing(execute(nb, path.parent, environ, file)) as events:
            for event in events:
                view.see(event)
                if event.what == "end":
                    cell = nb.cells[event.cell]
                    outcome.seconds[cell.id] = cell.metadata["seconds"] = event.value
    except CellExecutionError:
        outcome.error = _cell_error(nb.cells[view.cell])
    except DeadKernelError:
        outcome.error = _quote(log.read_text(errors="replace"), "The kernel died; often the memory was not enough.")
    except RuntimeError as error:  # no kernel could be started
        outcome.error = _quote(log.read_text(errors="replace"), str(error))
    return outcome


def _cell_error(cell):
    traceback = next("\n".join(output.traceback) for output in cell.outputs if output.output_type == "error")
    return "\n".join([*_first(cell.source), "", *_last(COLOURS.sub("", traceback))])


def _quote(log, message):
    return "\n".join([*_last(log), message])


def _first(text):
    lines = text.splitlines()
    return [f"    {line}" for line in lines[:SHOWN]] + (["    ..."] if len(lines) > SHOWN else [])


def _last(text):
    return [f"    {line}" for line in [line for line in text.splitlines() if line.strip()][-SHOWN:]]


def save(nb, path, outcome, in_place):
    """Leave what a run made of a notebook: a copy and a page; or, in place, the notebook itself if it is fit for it."""
    nb = notebooks.clean(nb)
    if in_place and not outcome.error:
        problems = notebooks.refused(nb)
        if not problems:
            notebooks.write(nb, path)
            outcome.left = path
            return
        outcome.error = "\n".join([*(f"    {problem}" for problem in problems), "The notebook was left as it was."])
    notebooks.write(nb, OUT / path.name)
    outcome.left = OUT / f"{path.stem}.html"
    outcome.left.write_text(page(nb, path.stem), encoding="utf-8")


def table(outcomes):
    """Return the lines of the closing table."""
    width = max(len(outcome.path.stem) for outcome in outcomes)
    lines = [f"{'notebook':<{width}}  cells  seconds  page"]
    for outcome in outcomes:
        where = os.path.relpath(outcome.left, ROOT) + (" (failed)" if outcome.error else "")
        lines.append(f"{outcome.path.stem:<{width}}  {outcome.cells:>5}  {outcome.total:>7.1f}  {where}")
    total = sum(outcome.total for outcome in outcomes)
    return [*lines, f"{'together':<{width}}  {sum(outcome.cells for outcome in outcomes):>5}  {total:>7.1f}"]


def run(only, in_place, keep_going, verbose, anew):
    """Run the notebooks whose names start with one of `only`, or all; return the exit code."""
    screen = Screen(sys.stdout)
    books = {path: notebooks.read(path) for path in notebooks.paths(only)}
    if not books:
        known = ", ".join(path.stem for path in notebooks.paths()) or "none at all"
        raise SystemExit(f"There is no notebook {' or '.join(only)} in notebooks/.\n  next:  Choose from {known}.")
    cells = sum(notebooks.is_run(cell) for nb in books.values() for cell in nb.cells)
    screen.line(f"{len(books)} notebook{'s' * (len(books) > 1)} with {cells} cells.")
    screen.line("First the images; Ctrl-C now would continue with synthetic ones.")
    OUT.mkdir(parents=True, exist_ok=True)
    images, environ = ready_images(screen)
    finished = Finished(OUT / "finished.json", images)
    is_main = only == MAIN and not in_place  # another run neither goes on from one that was cut off, nor ends it
    if is_main and anew:
        finished.clear()
    outcomes = {path: _from_before(path, nb, finished) for path, nb in books.items() if is_main}
    outcomes = {path: outcome for path, outcome in outcomes.items() if outcome}
    for outcome in outcomes.values():
        screen.line(f"{screen.good} {outcome.path.stem}  finished before, in {clock(outcome.total)}")
    left = {path: nb for path, nb in books.items() if path not in outcomes}
    timings = Timings(OUT / "timings.json", images)
    forecast = Forecast({key: step for path, nb in left.items() for key, step in timings.steps(path, nb)})
    view = View(screen, forecast, verbose)
    try:
        for path, nb in left.items():
            outcome = outcomes[path] = run_notebook(path, nb, view, environ)
            save(nb, path, outcome, in_place)
            tell(outcome, view, timings)
            if outcome.error and not keep_going:
                break
            if not outcome.error and is_main:
                finished.add(path, nb, outcome.cells, outcome.total)
    finally:
        screen.clear()
    screen.line("\n" + "\n".join(table([outcomes[path] for path in books if path in outcomes])))
    if any(outcome.error for outcome in outcomes.values()):
        return 1
    if is_main:
        finished.clear()
    screen.line("\n".join(["", *closing.lines(images)]).rstrip())
    return 0


def _from_before(path, nb, finished):
    """Return the Outcome of a notebook that a run which was cut off had finished, or None."""
    page = OUT / f"{path.stem}.html"
    found = finished.find(path, nb, page)
    return Outcome(path, found["cells"], {}, before=found["seconds"], left=page) if found else None


def tell(outcome, view, timings):
    """Say how a notebook went, and keep the seconds of one that went well."""
    if outcome.error:
        view.forecast.forget(outcome.path.name)
        view.screen.line(f"{view.screen.bad} {outcome.path.stem} failed in {view.where()}:\n{outcome.error}")
        view.screen.line(f"What ran so far is in {os.path.relpath(OUT / outcome.path.name, ROOT)}.")
    else:
        timings.add(outcome)
        view.screen.line(f"{view.screen.good} {outcome.path.stem}  {clock(outcome.total)}")
