"""Runs the notebooks from top to bottom, in order, and leaves an executed page of each in runs/coursework/.

    python -m tools.run                 all notebooks, from the data to the experiments
    python -m tools.run 04 05           only these
    python -m tools.run --in-place      all of them, rewritten with their outputs

A run that was stopped keeps its checkpoints: when their cells run again, trainings resume where they were.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path

from tools import notebooks
from tools.command import INTERRUPTED, command
from utils.errors import CourseworkError

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "runs" / "coursework"
FOLDER_VARIABLES = ("CIFAR10_ROOT", "COURSEWORK_RUNS")
QUOTED_LINES = 8  # of a failing cell, and of its error
REDRAW_SECONDS = 0.2
KERNEL_SECONDS = 600  # what a kernel gets to start, and to send its output, on a busy machine
SAVE_SECONDS = 20.0  # what an interrupted training gets to save a checkpoint before its kernel is killed
TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Execution:
    """A notebook that runs in a fresh kernel of this Python, in a separate thread.

    The thread that starts it stays free to show the progress and to receive Ctrl-C.
    """

    def __init__(self, nb):
        self.nb = nb
        self.cell = None  # the cell that runs now, or that ran last
        self.failure = None  # the exception that ended the run
        self._started_at = 0.0
        self._is_stopped = False
        self._ended = threading.Event()  # Thread.join, once interrupted, may take a running thread for a dead one

    def start(self, folder, environ, log):
        """Start the kernel in a folder with these environment variables; what it prints outside cells goes to log."""
        from nbclient import NotebookClient

        self._manager = _kernel_manager()
        hooks = {"on_cell_execute": self._on_cell_execute, "on_cell_executed": self._on_cell_executed}
        options = {"timeout": None, "startup_timeout": KERNEL_SECONDS, "iopub_timeout": KERNEL_SECONDS}
        options |= {"store_widget_state": False, "record_timing": False}
        client = NotebookClient(self.nb, km=self._manager, **hooks, **options)
        self._loop = asyncio.SelectorEventLoop()  # the kind of loop that zmq can use on every system
        coroutine = client.async_execute(cleanup_kc=True, cwd=str(folder), env=environ, stdout=log, stderr=log)
        threading.Thread(target=self._run, args=(coroutine,), daemon=True).start()

    def wait(self, seconds):
        """Wait for the end of the notebook, at most so long; tell whether it has ended."""
        return self._ended.wait(seconds)

    def stop(self):
        """Interrupt the running cell so that its training saves a checkpoint, then stop; a second Ctrl-C kills."""
        self._is_stopped = True
        self._ask(self._manager.interrupt_kernel())
        with contextlib.suppress(KeyboardInterrupt):
            self.wait(SAVE_SECONDS)
        if not self._ended.is_set():
            self._ask(self._manager.shutdown_kernel(now=True))
            self.wait(SAVE_SECONDS)

    def _run(self, coroutine):
        try:
            self._loop.run_until_complete(coroutine)
        except Exception as error:
            self.failure = error
        finally:
            self._loop.close()
            self._ended.set()

    def _ask(self, coroutine):
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _on_cell_execute(self, cell, cell_index):
        if self._is_stopped:
            raise InterruptedError("The notebook was stopped.")
        self.cell = cell
        self._started_at = time.monotonic()

    def _on_cell_executed(self, cell, cell_index, execute_reply):
        cell.metadata["seconds"] = time.monotonic() - self._started_at


def _kernel_manager():
    """Return a manager that starts kernels of the running Python, whatever kernels the user has installed."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())


def show_status(text):
    """On a terminal, show where the run is, in a line that is renewed in place."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + text[:width].ljust(width), end="\r", flush=True)


def position(name, nb, cell):
    """Return "04_training, cell 17 of 24" for the cell that runs, or None before the first one."""
    if cell is None:
        return f"{name}, start of its kernel"
    cells = [other.id for other in nb.cells if notebooks.is_run(other)]
    return f"{name}, cell {cells.index(cell.id) + 1} of {len(cells)}"


def training_progress(cell):
    """Return ["epoch 5 of 8", "validation accuracy 84.00 %"] from what a training shows below its cell, or []."""
    texts = [str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in cell.outputs]
    epochs = re.findall(r"epoch \d+ of \d+", "\n".join(texts))
    accuracies = re.findall(r"\w+ accuracy [\d.]+\s%", "\n".join(texts))
    return [*epochs[-1:], *accuracies[-1:]]


def status_text(name, nb, cell):
    """Return where a run is, and how far the training in the current cell is."""
    return ", ".join([position(name, nb, cell), *(training_progress(cell) if cell else ())])


def run_notebook(name, nb, environ):
    """Run a notebook, whose cells then hold their new outputs; return None, or a text that says what failed."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
            cell.metadata.pop("seconds", None)
    execution = Execution(nb)
    log = PAGES / "kernel.log"
    with open(log, "wb") as file:
        execution.start(notebooks.FOLDER, environ, file)
        try:
            while not execution.wait(REDRAW_SECONDS):
                show_status(status_text(name, nb, execution.cell))
        except KeyboardInterrupt:
            print(f"\nStopping in {position(name, nb, execution.cell)}.", flush=True)
            execution.stop()
            raise
    show_status("")
    if execution.failure is None:
        return None
    return f"{position(name, nb, execution.cell)} failed:\n{failure_text(execution, log)}"


def failure_text(execution, log):
    """Return the first lines of a cell that failed and the last lines of its error, or what happened to its kernel."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    failure = execution.failure
    if isinstance(failure, CellExecutionError):
        source = execution.cell.source.splitlines()
        errors = [output for output in execution.cell.outputs if output.output_type == "error"]
        return "\n".join([*indented(source[:QUOTED_LINES]), "", *last_lines("\n".join(errors[-1].traceback))])
    reason = str(failure)
    if isinstance(failure, DeadKernelError):
        reason = "The kernel died. Often the reason is that the memory was not enough."
    return "\n".join([*last_lines(log.read_text(encoding="utf-8", errors="replace")), reason])


def last_lines(text):
    """Return the last lines of a text that are not empty, indented and without colours."""
    lines = TERMINAL_COLOUR.sub("", text).splitlines()
    return indented([line for line in lines if line.strip()][-QUOTED_LINES:])


def indented(lines):
    """Return lines that are set off from the text around them."""
    return [f"    {line}" for line in lines]


def kernel_environment():
    """Find or download the images while a person can watch, and return the environment variables of the kernels."""
    environ = dict(os.environ)
    for name in FOLDER_VARIABLES:
        if environ.get(name):  # kernels work in another folder
            environ[name] = os.path.abspath(os.path.expanduser(environ[name]))
    from utils.data.cifar10 import load_cifar10

    images = load_cifar10()
    print(images, flush=True)
    if images.source == "synthetic":  # so that no kernel tries the download again
        environ["CIFAR10_SOURCE"] = "synthetic"
    return environ


def closing_lines(started_at):
    """Name the first report that was written since then, and the accuracy in it; return no line if there is none."""
    from utils.runs import Run, all_runs

    reports = [run.folder / "report.html" for run in all_runs()]
    written = [path for path in reports if path.is_file() and path.stat().st_mtime >= started_at]
    if not written:
        return []
    run = Run(min(written, key=lambda path: path.stat().st_mtime).parent)  # the main run; later ones are trials
    if not run.evaluation:
        return []
    low, high = run.evaluation["interval"]
    accuracy = f"{100 * run.evaluation['accuracy']:.2f} % of {run.evaluation['images']:,} test images ({run.data})"
    reports = sorted(run.folder.glob("report.*"), reverse=True)
    return [
        f"Accuracy: {accuracy}, 95 % interval {100 * low:.1f} to {100 * high:.1f} %",
        *(f"Report:   {short_path(path)}" for path in reports),
        "  next:  make lab opens the notebooks; make compare puts all runs side by side",
    ]


def short_path(path):
    """Return a path relative to the suite's folder if it lies in it."""
    return os.path.relpath(path, ROOT) if ROOT in path.parents else str(path)


def run(paths, in_place):
    """Run these notebooks until one fails; return the exit code."""
    from tools.site.chapters import as_page  # with its packages, which `--help` does not need

    started_at = time.time()
    PAGES.mkdir(parents=True, exist_ok=True)
    print(f"Running {', '.join(path.stem for path in paths)}. First the images.", flush=True)
    environ = kernel_environment()
    for number, path in enumerate(paths):
        remaining = " ".join(later.stem[:2] for later in paths[number:])
        command = f'make {"notebooks" if in_place else "run"} ARGS="{remaining}"'
        nb = notebooks.read(path)
        started = time.monotonic()
        try:
            error = run_notebook(path.stem, nb, environ)
        except KeyboardInterrupt:
            print(f"  next:  {command} continues with this notebook; trainings that keep checkpoints resume.")
            return INTERRUPTED
        result = PAGES / f"{path.stem}.html"
        notebooks.write(notebooks.clean(nb), PAGES / path.name)
        result.write_text(as_page(nb, path.stem), encoding="utf-8")
        problems = notebooks.refused(nb) if in_place else []
        if problems and not error:
            error = "\n".join([f"{path.name} was left as it was:", *indented(problems)])
        if error:
            print(f"{error}\nIts page: {short_path(result)}\n  next:  Repair the cause, then {command}.")
            return 1
        if in_place:
            notebooks.write(nb, path)
        print(f"{path.stem:<22} {time.monotonic() - started:6.0f} s  {short_path(result)}", flush=True)
    for line in closing_lines(started_at):
        print(line)
    return 0


def find_notebooks(names):
    """Return the notebooks whose file names start with these names; refuse a name that no notebook starts with."""
    unknown = [name for name in names if not notebooks.paths([name])]
    if unknown:
        known = ", ".join(path.stem for path in notebooks.paths()) or "none at all"
        raise CourseworkError(f"There is no notebook {', '.join(unknown)}.", next_step=f"Choose from {known}.")
    return notebooks.paths(names)


@command
def main(arguments=None):
    """Run the notebooks in order; leave an executed page of each in runs/coursework/."""
    parser = argparse.ArgumentParser(prog="python -m tools.run", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="04", help="the beginnings of their names (default: all)")
    parser.add_argument("--in-place", action="store_true", help="rewrite the notebooks themselves, cleaned")
    options = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="replace")  # a notebook may print what this terminal's encoding lacks
    try:
        return run(find_notebooks(options.names), options.in_place)
    except KeyboardInterrupt:
        print("\nStopped. A download resumes next time. Without CIFAR-10, set CIFAR10_SOURCE=synthetic.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
