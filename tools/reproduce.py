"""Trains what the results rest on: the five systems, ours, ablations, and the tables of reports C and D.

    python -m tools.reproduce [NAME ...] [--choices] [--minutes 9] [--seeds 3] [--beside 4] [--list] [--rehearse]

Each finished training leaves a record in results/ and is not run again; one that was stopped resumes. The order brings
the most telling figures first. With --minutes the command stops in time by itself, between two batches. Small batches
leave a GPU partly idle, so several processes may share it, each with its own NAMEs; --beside tells how many others do,
and the records then say that their times are upper limits. With --choices it trains the alternatives in
utils/recipes/choices.py and measures them on held-out training images; the test images are not read.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

from tools.command import command, require_writable
from utils.data.cifar10 import load_cifar10
from utils.devices import describe, try_gpu
from utils.errors import CourseworkError
from utils.experiments.records import (
    CHOICE_RESULTS,
    RESULTS,
    make_record,
    record_path,
    save_record,
    without_test_images,
)
from utils.recipes import ABLATIONS, CHOICES, OURS, SYSTEMS, WITHOUT_SOFTMAX, Recipe
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.runs.run import trainings
from utils.training.effort import EFFORTS, Effort

REHEARSAL = Effort("rehearsal", images=200, epochs=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One training: a recipe, under a protocol, with a seed."""

    recipe: Recipe
    protocol: str
    seed: int

    @property
    def multiply_adds(self):
        """Return those of the whole training, roughly: three times the forward pass for each image of each epoch."""
        return 3 * self.recipe.macs() * 50_000 * self.recipe.num_epochs

    def __str__(self):
        return f"{self.recipe.name}, {self.protocol}, seed {self.seed}"


def jobs(seeds=3):
    """Return all jobs, the most telling first: each system once, then more seeds and ablations, then the tables."""
    reported = [*SYSTEMS.values(), WITHOUT_SOFTMAX]
    reported.sort(key=lambda recipe: Job(recipe, "watch_test", 0).multiply_adds)
    rows = [row.recipe for row in (*C_ROWS, *D_ROWS)]
    return [
        *(Job(recipe, "train_on_all", 0) for recipe in OURS.values()),
        *(Job(recipe, "watch_test", 0) for recipe in reported),
        *(Job(recipe, "train_on_all", seed) for seed in range(1, seeds) for recipe in OURS.values()),
        *(Job(recipe, "train_on_all", seed) for seed in range(seeds) for recipe in ABLATIONS.values()),
        *(Job(recipe, "validation", 0) for recipe in reported),
        *(Job(recipe, "watch_test", 0) for recipe in rows),
        *(Job(recipe, "watch_test", seed) for seed in range(1, seeds) for recipe in reported),
    ]


def choice_jobs(seeds=3):
    """Return the jobs for all alternatives: each once, then with more seeds."""
    recipes = [recipe for alternatives in CHOICES.values() for recipe in alternatives.values()]
    return [Job(recipe, "validation", seed) for seed in range(seeds) for recipe in recipes]


@command
def main(arguments=None):
    """Run the jobs that have no record yet, or those of the systems named, until all are done or the time is over."""
    args = parse(arguments)
    device = try_gpu()
    data = load_cifar10()
    every, results = jobs(args.seeds), RESULTS
    if args.choices:
        data = without_test_images(data)
        every, results = choice_jobs(args.seeds), CHOICE_RESULTS
        args.names += [recipe.name for name in args.names for recipe in CHOICES.get(name, {}).values()]
    unknown = set(args.names) - {job.recipe.name for job in every}
    if unknown:
        known = ", ".join(dict.fromkeys(job.recipe.name for job in every))
        print(f"Unknown system: {', '.join(sorted(unknown))}.\n  next:  choose from {known}.", file=sys.stderr)
        return 1
    chosen = [job for job in every if not args.names or job.recipe.name in args.names]
    folder = trainings() / "rehearsal" if args.rehearse else results
    paths = {}
    for job in chosen:
        options = {"seed": job.seed, "protocol": job.protocol, "device": device, "folder": folder}
        paths[job] = record_path(job.recipe, data, **options)
    open_jobs = [job for job in chosen if not paths[job].exists()]
    print(f"{describe(device)}\n{data.name}, checksum {data.checksum}")
    print(f"{len(chosen)} trainings, {len(chosen) - len(open_jobs)} done before; records in {folder}\n", flush=True)
    if args.list:
        for job in chosen:
            state = "open" if job in open_jobs else "done"
            print(f"{state}  {job.multiply_adds / 1e15:8.2f} x 10^15 multiply-adds  {job}")
        return 0
    require_writable(folder)
    require_writable(trainings())
    return _run(open_jobs, paths, data, device, Deadline(args.minutes), args)


def parse(arguments):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.reproduce", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these systems")
    text = "train the alternatives to these systems, or to all that have some, on the validation split"
    parser.add_argument("--choices", action="store_true", help=text)
    parser.add_argument("--minutes", type=float, help="stop before so many minutes are over")
    parser.add_argument("--seeds", type=int, default=3, help="seeds for each system (default: 3)")
    parser.add_argument("--beside", type=int, default=0, help="how many other trainings share the device")
    parser.add_argument("--list", action="store_true", help="list what is done and what is open, and run nothing")
    text = "run each job for one short epoch, to see that it runs; results/ stays as it is"
    parser.add_argument("--rehearse", action="store_true", help=text)
    return parser.parse_args(arguments)


def _run(open_jobs, paths, data, device, deadline, args):
    """Run one job after the other; return 1 if any failed."""
    failed = 0
    effort = REHEARSAL if args.rehearse else EFFORTS["full"]
    for job in open_jobs:
        if deadline.is_over:
            break
        try:
            record = train(job, data, device, deadline, effort, args.choices)
        except CourseworkError as error:
            failed += 1
            print(f"{job}: FAILED\n{error}", file=sys.stderr, flush=True)
            continue
        if record is None:
            print(f"{job}: stopped because the time is over; the next call resumes it", flush=True)
            break
        if args.beside:
            record["beside"] = args.beside
        save_record(record, paths[job])
        print(summary(job, record), flush=True)
    done = sum(paths[job].exists() for job in open_jobs)
    print(f"\n{done} done by this call, {len(open_jobs) - done} open, {failed} failed.")
    return min(failed, 1)


def train(job, data, device, deadline, effort, held_out=False):
    """Train and measure, on held-out or on test images; return the record, or None if the time was over first."""
    if device.type == "cuda":
        warm_up(job, data, device)
    started = time.perf_counter()
    options = {"seed": job.seed, "protocol": job.protocol, "effort": effort, "device": device, "cuda_graph": "auto"}
    trained = job.recipe.train(data, **options, callbacks=[deadline], curves=False, sweep="reproduce")
    if trained.history.stopped:
        return None
    # The history knows the seconds of earlier calls, too; the clock also knows those outside the epochs of this call.
    seconds = max(time.perf_counter() - started, trained.history.rows[-1]["seconds"])
    return make_record(trained, seconds, held_out)


def warm_up(job, data, device):
    """Let a GPU load its libraries and kernels before the clock starts, in two epochs of two batches.

    No file is written. A recipe that shrinks its images in the first epochs then has one epoch of each size.
    """
    effort = Effort("warm-up", images=2 * job.recipe.batch_size, epochs=2)
    # Under the job's own protocol, because some schedules follow what that protocol measures after each epoch.
    options = {"protocol": job.protocol, "effort": effort, "device": device, "cuda_graph": "auto"}
    make_record(job.recipe.train(data, **options, folder=None, curves=False), 0.0)


def summary(job, record):
    """Return a line with the accuracy and the time of a training."""
    seconds = sum(record["seconds"].values())
    measured = record.get("measured", "test images")
    return f"{job}: {100 * record['accuracy']:.2f} % of the {measured}, {seconds:,.1f} s"


class Deadline:
    """A callback that stops a training between two batches when the time is over."""

    def __init__(self, minutes=None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def is_over(self):
        """Tell whether the time is over."""
        return self._end is not None and time.monotonic() > self._end

    def after_batch(self, training):
        training.stop = training.stop or self.is_over


if __name__ == "__main__":
    sys.exit(main())
