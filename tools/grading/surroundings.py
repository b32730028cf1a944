"""What a child may use: its limits, its environment, the files that it sees; and what its processes use."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys

import psutil

SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    seconds: float = 300.0  # for everything together
    cell_seconds: float = 120.0  # for one cell
    memory: int = 4 * 2**30  # bytes, of all its processes together
    disk: int = 2**30  # bytes of files that it writes; they are in memory, and vanish with it
    processes: int = 64

    def of_process(self) -> dict:
        """Return the limits that Linux enforces for each process."""
        return {
            "AS": 4 * self.memory,  # address space, of which torch reserves much more than it uses
            "CPU": int(4 * self.seconds) + 10,
            "FSIZE": self.disk,
            "NOFILE": 1024,
            "NPROC": 4 * self.processes,  # with threads; not enforced if the grader is root
            "CORE": 0,
        }


def environment(home: str, threads: int) -> dict:
    """Return the environment of the child: nothing of the grader's own."""
    return {
        "HOME": home,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "COURSEWORK_EFFORT": "check",
        "COURSEWORK_RUNS": f"{home}/runs",
        "CIFAR10_SOURCE": "synthetic",
        "CIFAR10_CACHE": f"{home}/.cache/images",
        "CI": "true",  # no live figures
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "1000",
    }


@functools.cache
def shown_of_python() -> dict:
    """Return the files that Python needs: {path: path}."""
    own = {sys.prefix, sys.base_prefix, *(entry for entry in sys.path if "site-packages" in entry)}
    return {path: path for path in (*SYSTEM, *sorted(map(os.path.abspath, own))) if os.path.exists(path)}


def usage(pid: int, is_shared_counted_once: bool = False) -> tuple[int, int]:
    """Return (bytes of memory, number of processes) of a process and all below it.

    Forked processes share memory. To count it once takes longer.
    """
    memory = count = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0, 0
    for process in family:
        try:
            count += 1
            memory += process.memory_full_info().pss if is_shared_counted_once else process.memory_info().rss
        except psutil.Error:
            continue
    return memory, count


def kill_all_below(pid: int):
    """Kill all processes below this one."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()
