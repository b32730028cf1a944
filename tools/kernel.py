"""Owns running one notebook in a fresh kernel of this Python, told as a stream of events. Prints and saves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import queue
import threading
import time

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient

TICK = 0.1  # seconds between two events, so that whoever listens can redraw and notice Ctrl-C


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened: "start", "text" or "end" of a cell; a "tick" when nothing did."""

    what: str
    cell: int | None = None  # its index in the notebook
    value: str | float | None = None  # the text it printed, or the seconds it took


class _ThisPython(KernelSpecManager):
    """Know one kernel: that of the running Python, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name):
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class _Client(NotebookClient):
    """Tell what happens in the cells."""

    def process_message(self, msg, cell, cell_index):
        data = msg["content"].get("data", {})
        if msg["msg_type"] == "stream":
            self.tell(Event("text", cell_index, msg["content"]["text"]))
        elif msg["msg_type"] in ("display_data", "update_display_data") and set(data) == {"text/plain"}:
            self.tell(Event("text", cell_index, f"\r{data['text/plain']}"))  # a line that is renewed in place
        return super().process_message(msg, cell, cell_index)


def _client(nb, tell):
    started = {}

    def start(cell, cell_index):
        started[cell_index] = time.monotonic()
        tell(Event("start", cell_index))

    def end(cell, cell_index, execute_reply):
        tell(Event("end", cell_index, time.monotonic() - started[cell_index]))

    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
    options = {"store_widget_state": False, "record_timing": False, "iopub_timeout": 30}
    client = _Client(nb, km=manager, timeout=None, on_cell_execute=start, on_cell_executed=end, **options)
    client.tell = tell
    return client


def execute(nb, folder, environ, log):
    """Run nb's code cells, filling in their outputs, and yield Events meanwhile; closing this stops the kernel.

    The kernel works in folder, sees environ, and writes what it says outside of cells to the open file log.
    A cell's error comes out as nbclient's CellExecutionError, a lost kernel as its DeadKernelError.
    """
    events, failures = queue.Queue(), []
    client = _client(nb, events.put)
    # nbclient's loop lives in a thread of its own, so that this one is free to listen, to draw and to be interrupted.
    # It is a selector loop: the kind that zmq can use on every system.
    loop = asyncio.SelectorEventLoop()
    kernel = {"cwd": str(folder), "env": environ, "stdout": log, "stderr": log}
    task = loop.create_task(client.async_execute(cleanup_kc=True, **kernel))

    def work():
        try:
            loop.run_until_complete(task)
        except (asyncio.CancelledError, Exception) as error:
            failures.append(error)
        finally:
            loop.run_until_complete(_end_other_tasks())
            loop.close()
            events.put(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield from _until_none(events)
    except BaseException:  # whoever listens went away in the middle
        client.shutdown_kernel = "immediate"
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself just now
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
    if failures:
        raise failures[0]


async def _end_other_tasks():
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _until_none(events):
    while True:
        try:
            event = events.get(timeout=TICK)
        except queue.Empty:
            event = Event("tick")
        if event is None:
            return
        yield event
