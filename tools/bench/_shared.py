"""What all benchmarks share: their command line, settings, timing in turns, and records.

A benchmark is a module with a docstring for the page, TITLE, SETTINGS and three functions: measure(device, settings)
returns the facts of its record, tables(record) shows them, and headlines(record) names the ratios at the page's top.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from utils.devices import describe, try_gpu
from utils.errors import CourseworkError
from utils.files import read_json, write_json
from utils.training.cuda_graph import FIRST

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "results" / "speed"
DEVICES = {"cpu": "CPU", "cuda": "GPU"}
GPU_SHARE = 1 / 3  # of a turn's seconds on a CPU, in which a GPU does a hundred batches
median = statistics.median


class Setting(NamedTuple):
    """A setting's value for the record and for a check, and what it means."""

    full: object
    check: object
    help: str


class Table(NamedTuple):
    """A table as text: its caption, its columns' names, and rows whose first cell is the label."""

    caption: str
    header: tuple
    rows: list

    def markdown(self):
        """Return its lines in Markdown, the numbers to the right."""
        lines = [self.header, ("---", *["---:"] * (len(self.header) - 1)), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(module, argv=None):
    """Measure as the command line says, print the tables, keep the record; return an exit code."""
    args = parse(module, argv)
    device = try_gpu()
    given = {name: getattr(args, name) for name in module.SETTINGS if getattr(args, name) is not None}
    settings = settings_of(module, "check" if args.check else "full") | given
    print(f"{name_of(module)}: {machine(device)}, torch {torch.__version__}", flush=True)
    try:
        record = measured(module, device, settings)
    except CourseworkError as error:  # for example an unknown system
        print(error, file=sys.stderr)
        return 1
    for table in module.tables(record):
        print(f"\n{table.caption}\n\n{table.markdown()}")
    if settings == settings_of(module, "full"):
        write_json(record_path(module, device.type), record)
        print(f"\nwritten: {record_path(module, device.type)}")
    else:
        print("\nNo record is written of a trial.")
    return 0


def parse(module, argv):
    """Read the command line: --check, and any setting by its name."""
    parser = argparse.ArgumentParser(description=module.__doc__.splitlines()[0], prog=f"tools.bench.{name_of(module)}")
    parser.add_argument("--check", action="store_true", help="only check that it works: seconds, no record")
    for name, setting in module.SETTINGS.items():
        text = f"{setting.help} ({setting.full or 'all'})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(setting.full), help=text)
    return parser.parse_args(argv)


def settings_of(module, level):
    """Return {setting: value} at a level: full or check."""
    return {name: getattr(setting, level) for name, setting in module.SETTINGS.items()}


def measured(module, device, settings):
    """Return a whole record: the machine and the settings, then what the benchmark measures."""
    facts = {"benchmark": name_of(module), "device": device.type, "machine": machine(device)}
    facts |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    facts |= {"date": datetime.date.today().isoformat(), "settings": settings}
    return json.loads(json.dumps(facts | module.measure(device, settings)))  # as it is when read back


def name_of(module):
    """Return a benchmark's name, also where it is run as __main__."""
    return module.__spec__.name.rpartition(".")[2]


def machine(device):
    """Name the device, and beside a GPU the processor that feeds it."""
    names = [describe(each).rpartition(", torch")[0] for each in dict.fromkeys((device.type, "cpu"))]
    return " with ".join(names)


def record_path(module, kind):
    """Return where the record of a benchmark on this kind of device lies."""
    return RECORDS / f"{name_of(module)}-{kind}.json"


def read_records(module):
    """Return {kind of device: record, or None where it has not been run}."""
    return {kind: read_json(record_path(module, kind)) for kind in DEVICES}


def turn_of(settings, device):
    """Return about how many seconds a turn takes."""
    return settings["seconds"] * (GPU_SHARE if device.type == "cuda" else 1)


def seconds_of(work, device):
    """Return the seconds until the work is done, on the device as well."""
    wait = getattr(torch, device.type).synchronize
    wait()
    begun = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begun


def in_turns(ways, repeats, device):
    """Return {name: seconds of each turn}; the ways alternate, so that all meet the same disturbances."""
    seconds = {name: [] for name in ways}
    for repeat in range(repeats):
        for name in list(ways)[:: 1 if repeat % 2 == 0 else -1]:
            seconds[name].append(seconds_of(ways[name], device))
    return seconds


def milliseconds(ways, repeats, device):
    """Return {name: milliseconds of each turn}, after a turn that warms up."""
    seconds = in_turns(ways, repeats + 1, device)
    return {name: [1e3 * some for some in values[1:]] for name, values in seconds.items()}


def captured(work, device):
    """Return the work as a training does it: on a GPU as a CUDA graph, else unchanged."""
    if device.type != "cuda":
        return work
    for _ in range(FIRST):
        work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def matrix_rate(device, dtype):
    """Return the multiply-adds per second of the fastest of five large matrix products: the limit of any network."""
    size = 8192 if device.type == "cuda" else 2048
    A, B = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return size**3 / min(in_turns({"": lambda: A @ B}, 6, device)[""][1:])


def copy_rate(device):
    """Return the bytes per second, read and written, of the fastest of five copies on the device."""
    size = 2**27
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * size / min(in_turns({"": lambda: target.copy_(source)}, 6, device)[""][1:])


def note(text):
    """Say how far a long measurement has come."""
    print(f"  {text}", flush=True)


def ratio(numerators, denominators):
    """Return the ratio of two medians."""
    return median(numerators) / median(denominators)


def span(values, form="{:.1f}"):
    """Return numbers as text: the lowest to the highest, or the only one."""
    texts = dict.fromkeys(form.format(value) for value in (min(values), max(values)))
    return " to ".join(texts)


def with_spread(values):
    """Return measurements as text: median (lowest to highest)."""
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"
