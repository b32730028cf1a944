"""Run the trials of a grid or a search as tasks of a Ray cluster: run_grid(recipe, axes, engine="ray").

The cluster is the one of RAY_ADDRESS, or the one that `ray start` has started on this machine; if there is none, Ray
starts one with this machine only. All machines need this suite at the same path, and the same runs/ folder on a shared
drive. A trial whose machine is lost continues on another one from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path

from utils.errors import CourseworkError, need_package, require
from utils.runs.run import trainings

ROOT = Path(__file__).resolve().parents[2]
RETRIES = 5  # how often Ray starts a task again whose machine or process was lost
PASSED_ON = ("CIFAR10_", "COURSEWORK_", "CI", "GOMP_")  # the beginnings of the variables that tasks get


def task_runner(engine: str | None, resources: dict | None, device) -> Callable | None:
    """Return the function that runs tasks on this engine, or None if the trials are trained in this process."""
    if engine is None:
        require(resources is None, "resources are those of a Ray task.", f"resources={resources}", 'Add engine="ray".')
        return None
    require(engine == "ray", f"There is no engine {engine!r}.", None, 'Choose "ray", or leave engine out.')
    return functools.partial(run_tasks, {"CPU": 1, "GPU": int(device.type == "cuda")} | (resources or {}))


def run_tasks(resources: dict, work: Callable, items: list, shared, bar) -> list:
    """Call work(item, shared) in a Ray task for each item; return the results in the order of the items.

    If a task can't be run to its end, its result is ("failed", the reason).
    """
    ray = need_package("ray", 'The engine "ray"')
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(log_to_driver=False)
    try:
        _check_resources(ray, resources)
        others = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU")}
        options = {"num_cpus": resources["CPU"], "num_gpus": resources["GPU"], "resources": others}
        options |= {"max_retries": RETRIES, "runtime_env": {"env_vars": _environment()}}
        task, shared = ray.remote(work).options(**options), ray.put(shared)
        numbers = {task.remote(item, shared): number for number, item in enumerate(items)}
        return _collect(ray, numbers, bar)
    finally:
        if is_ours:
            ray.shutdown()


def _collect(ray, numbers, bar):
    """Wait for all tasks; after an interrupt, ask them to stop, which makes each write a checkpoint."""
    results, left, is_interrupted = {}, list(numbers), False
    while left:
        try:
            (done, *_), left = ray.wait(left)
            with contextlib.suppress(ray.exceptions.TaskCancelledError):  # it had not begun
                results[numbers[done]] = _result(ray, done)
            bar.update()
        except KeyboardInterrupt:
            if is_interrupted:
                raise
            is_interrupted = True
            for reference in left:
                ray.cancel(reference)
    return [results.get(number, ("stopped", None)) for number in range(len(numbers))]


def _result(ray, reference):
    try:
        return ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        raise
    except ray.exceptions.RayError as error:
        return "failed", f"{type(error).__name__}: {str(error).splitlines()[0]}"


def _check_resources(ray, resources):
    """Raise an error if no machine of the cluster can ever run a trial, since Ray would wait for one for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(machine.get(name, 0) >= amount for name, amount in resources.items()) for machine in machines):
        what = "No machine of the Ray cluster has what one trial needs."
        raise CourseworkError(what, where=f"resources={resources}", next_step=f"Ask for less. There is: {machines}.")


def _environment():
    """Return the environment variables of a task: the suite's own, the run log's folder, and where modules are."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return passed | {"PYTHONPATH": path, "COURSEWORK_RUNS": str(trainings().resolve())}
