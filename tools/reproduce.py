"""Owns running what the results rest on: the five systems, ours, ablations, the reports' tables. Keeps small records.

    python -m tools.reproduce [NAME ...] [--minutes 9] [--seeds 3] [--beside 4] [--list] [--rehearse]

Each training is kept in results/ when it is done, and not done again; one that is cut off goes on where it stopped.
The order brings the most telling figures first. With --minutes it stops in time by itself, between two batches.
Small batches leave a GPU idle, so several processes may share it, each with its own NAMEs; --beside says how many
others do, and the records tell that their times are upper limits.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

from utils.data.cifar10 import load_cifar10
from utils.devices import describe, try_gpu
from utils.errors import CourseworkError
from utils.experiments.results import RESULTS, keep, path_of, record_of
from utils.recipes import ABLATIONS, OURS, SYSTEMS, Recipe
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.runs.run import trainings
from utils.training.budget import BUDGETS, Budget

REHEARSAL = Budget("rehearsal", images=200, epochs=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One training: a recipe, under a protocol, with a seed."""

    recipe: Recipe
    protocol: str
    seed: int

    @property
    def passes(self):
        """Multiply-adds of the whole training, roughly: three times the forward pass for each image of each epoch."""
        return 3 * self.recipe.macs() * 50_000 * self.recipe.num_epochs

    def __str__(self):
        return f"{self.recipe.name}, {self.protocol}, seed {self.seed}"


def jobs(seeds=3):
    """Return all jobs, the most telling first: everything once, then more seeds and ablations, then the tables."""
    five = sorted(SYSTEMS.values(), key=lambda recipe: Job(recipe, "report", 0).passes)
    rows = [row.recipe for row in (*C_ROWS, *D_ROWS)]
    return [
        *(Job(recipe, "final", 0) for recipe in OURS.values()),
        *(Job(recipe, "report", 0) for recipe in five),
        *(Job(recipe, "final", seed) for seed in range(1, seeds) for recipe in OURS.values()),
        *(Job(recipe, "final", seed) for seed in range(seeds) for recipe in ABLATIONS.values()),
        *(Job(recipe, "honest", 0) for recipe in five),
        *(Job(recipe, "report", 0) for recipe in rows),
        *(Job(recipe, "report", seed) for seed in range(1, seeds) for recipe in five),
    ]


def main(words=None):
    """Do the jobs that are left, or those of the systems named, until all are done or the time is over."""
    args = parse(words)
    device, data = try_gpu(), load_cifar10()
    chosen = [job for job in jobs(args.seeds) if not args.names or job.recipe.name in args.names]
    unknown = set(args.names) - {job.recipe.name for job in jobs(args.seeds)}
    if unknown:
        known = ", ".join(dict.fromkeys(job.recipe.name for job in jobs(1)))
        print(f"There is no system {', '.join(sorted(unknown))}.\n  next:  choose from {known}.", file=sys.stderr)
        return 1
    folder = trainings() / "rehearsal" if args.rehearse else RESULTS
    paths = {
        job: path_of(job.recipe, data, seed=job.seed, protocol=job.protocol, device=device, folder=folder)
        for job in chosen
    }
    left = [job for job in chosen if not paths[job].exists()]
    print(f"{describe(device)}\n{data.name}, fingerprint {data.fingerprint}")
    print(f"{len(chosen)} trainings, {len(chosen) - len(left)} done before; records in {folder}\n", flush=True)
    if args.list:
        for job in chosen:
            print(f"{'left' if job in left else 'done'}  {job.passes / 1e15:8.2f} x 10^15 multiply-adds  {job}")
        return 0
    deadline = Deadline(args.minutes)
    return _work(left, paths, data, device, deadline, args)


def parse(words):
    parser = argparse.ArgumentParser(prog="python -m tools.reproduce", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these systems")
    parser.add_argument("--minutes", type=float, help="stop in time for these")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--beside", type=int, default=0, help="so many other trainings run on the same device")
    parser.add_argument("--list", action="store_true", help="say what is done and what is left, and run nothing")
    parser.add_argument(
        "--rehearse", action="store_true", help="each for one short epoch, to see that it runs; nothing is kept"
    )
    return parser.parse_args(words)


def _work(left, paths, data, device, deadline, args):
    """Do one job after the other; return how many failed."""
    failed, budget = 0, REHEARSAL if args.rehearse else BUDGETS["full"]
    for job in left:
        if deadline.is_over:
            break
        try:
            record = train(job, data, device, deadline, budget)
        except CourseworkError as error:
            failed += 1
            print(f"{job}: FAILED\n{error}", file=sys.stderr, flush=True)
            continue
        if record is None:
            print(f"{job}: cut off by the time, goes on with the next call", flush=True)
            break
        keep(record | ({"beside": args.beside} if args.beside else {}), paths[job])
        print(line(job, record), flush=True)
    done = sum(paths[job].exists() for job in left)
    print(f"\n{done} done by this call, {len(left) - done} left, {failed} failed.")
    return min(failed, 1)


def train(job, data, device, deadline, budget):
    """Train and measure; return the record, or None if the time was over first."""
    if device.type == "cuda":
        warm_up(job, data, device)
    begun = time.perf_counter()
    how = {"seed": job.seed, "protocol": job.protocol, "budget": budget, "device": device}
    trained = job.recipe.train(data, **how, watchers=[deadline], curves=False, sweep="reproduce")
    if trained.history.stopped:
        return None
    # Of a training that an earlier call began, the history knows all the seconds; of one of this call, the clock more.
    seconds = max(time.perf_counter() - begun, trained.history.rows[-1]["seconds"])
    return record_of(trained, seconds)


def warm_up(job, data, device):
    """Let a GPU load its libraries and kernels before the clock, in two epochs of two batches.

    Nothing is kept of it. Of a recipe that shrinks its images in the first epochs, one epoch is of each size.
    """
    few = Budget("warm-up", images=2 * job.recipe.batch_size, epochs=2)
    how = {"protocol": job.protocol, "budget": few, "device": device}  # some schedules want what the protocol watches
    record_of(job.recipe.train(data, **how, folder=None, curves=False), 0.0)


def line(job, record):
    """Say in a line what a training reached."""
    seconds = sum(record["seconds"].values())
    return f"{job}: {100 * record['accuracy']:.2f} % of the test images, {seconds:,.1f} s"


class Deadline:
    """A watcher that stops a training between two batches when the time is over."""

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
