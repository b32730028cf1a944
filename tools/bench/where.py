"""Measures where the time of a training step goes: the profiler's view of one step of each recipe.

    python -m tools.bench.where

The step is that of `Recipe.train`: batch, augmentation, forward, backward and optimizer, in the device's best
precision, after some that warm up, on images of full size. On a GPU no CUDA graph is used, because the profiler
cannot tell which of its kernels belong to what: the launches and the idle share are those that CUDA graphs save. On a
CPU the shares are of the step's seconds, as the thread that calls every operation spends them; on a GPU of the seconds
that its kernels run, and the step's own seconds, measured without the profiler, tell how long the GPU waited idle.
"rest" is loss, head, dropout, casts, guards and, on a CPU, Python.
"""

from __future__ import annotations

import sys
import time

import torch

from tools.bench._parts import PARTS, label, shares
from tools.bench._shared import Setting, Table, main, note
from tools.bench._ways import noise, of_whole_images, ours
from utils.devices import best_precision
from utils.recipes import OURS, SYSTEMS, find_system

TITLE = "Where the time goes"
SETTINGS = {
    "systems": Setting("", "dropout_cnn", "names of systems, with commas"),
    "batch_size": Setting(0, 4, "instead of each recipe's own; 0 leaves it"),
    "steps": Setting(2, 1, "to warm up, and as many on the clock, before the profiled one"),
}


def measure(device, settings):
    """Return {"rows", "precision"}."""
    systems = settings["systems"].split(",") if settings["systems"] else [*SYSTEMS, *OURS]
    rows = [measure_recipe(of_whole_images(find_system(name)), device, settings) for name in systems]
    return {"rows": rows, "precision": best_precision(device)}


def measure_recipe(recipe, device, settings):
    """Return a recipe's row: seconds of a step, shares of its parts; on a GPU also launches and idle share."""
    size, steps = settings["batch_size"] or recipe.batch_size, settings["steps"]
    watch = Watch(device, steps)
    ours(recipe.change(batch_size=size, num_epochs=1), noise((2 * steps + 1) * size), device, watch, cuda_graph=False)
    row = {"system": recipe.name, "batch_size": size, "seconds": watch.seconds}
    note(f"{recipe.name}: {watch.seconds:.3f} s a step")
    return row | shares(watch.profile.events(), device, watch.seconds)


class Watch:
    """A callback of a training: lets some steps warm up, times as many, and profiles the next one."""

    def __init__(self, device, steps):
        kinds = torch.profiler.ProfilerActivity
        self.profile = torch.profiler.profile(activities=[kinds.CPU, *[kinds.CUDA] * (device.type == "cuda")])
        self.wait, self.whole = getattr(torch, device.type).synchronize, torch.profiler.record_function("step")
        self.steps, self.done, self.seconds = steps, 0, 0.0

    def on_start(self, training):
        label(training.net, training.train_iter)

    def after_batch(self, training):
        self.wait()
        self.done += 1
        if self.done == self.steps:
            self.begun = time.perf_counter()
        elif self.done == 2 * self.steps:
            self.seconds = (time.perf_counter() - self.begun) / self.steps
            self.profile.start()
            self.whole.__enter__()
        elif self.done > 2 * self.steps:
            self.whole.__exit__(None, None, None)
            self.profile.stop()


def tables(record):
    found = []
    for row in record["rows"]:
        cells = [f"{100 * row['shares'].get(part, 0):.0f}" for part in PARTS]
        gpu = [f"{row['launches']:,}", f"{100 * row['idle']:.0f}"] if "idle" in row else []
        found.append((row["system"], f"{1e3 * row['seconds']:,.0f}", *cells, *gpu))
    extra = ("launches", "idle, %") if any("idle" in row for row in record["rows"]) else ()
    return [Table("A step in ms, and the shares of its parts in percent:", ("system", "ms", *PARTS, *extra), found)]


def headlines(record):
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
