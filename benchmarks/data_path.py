"""Measures images/s of both ways to batches, in turns in one run, on noise of CIFAR-10's size. Needs no data.

    python -m benchmarks.data_path [--json PATH]

Both ways shuffle, augment, convert to float32 and normalise. The DataLoader's workers are started before the clock is.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time

import torch

from utils.augment import ColorJitter, Crop, Flip
from utils.datasets import Split
from utils.devices import describe, try_gpu
from utils.loaders import BatchLoader, torch_loader

CASES = {
    "flip + crop": (Flip(), Crop(4)),
    "flip + crop + jitter": (Flip(), Crop(4), ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)),
}
# One pass of a BatchLoader is too short to be timed well.
PASSES = {"BatchLoader": 5, "DataLoader": 1}


def main(argv=None):
    args = parse(argv)
    devices = [torch.device("cpu")] + [device for device in [try_gpu()] if device.type == "cuda"]
    machine = [describe(device) for device in devices]
    print(
        f"{' · '.join(machine)}\n{args.images} images, batches of {args.batch_size}, {args.workers} workers, "
        f"median of {args.repeats} (lowest to highest)\n"
    )
    rows = [row for device in devices for row in measure_device(device, args)]
    print_table(rows)
    settings = {name: value for name, value in vars(args).items() if name != "json"}
    record = {"machine": machine, "settings": settings, "threads": torch.get_num_threads(), "rows": rows}
    if devices[-1].type == "cuda":
        record["copy_gb_per_s"] = copy_bandwidth(devices[-1])
        print(f"\nA copy on the GPU, for scale: {record['copy_gb_per_s']:,.0f} GB/s read and written")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="in a pass")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5, help="of every measurement")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument("--json", help="write the record to this file")
    return parser.parse_args(argv)


def measure_device(device, args):
    """Yield a row for each case: the rates of both ways, measured in turns so that both meet the same disturbances."""
    images = torch.randint(0, 256, (args.images, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), torch.arange(args.images) % 10)
    common = {"batch_size": args.batch_size, "shuffle": True}
    for case, augment in CASES.items():
        usual = {
            "num_workers": args.workers,
            "persistent_workers": args.workers > 0,
            "pin_memory": device.type == "cuda",
        }
        loaders = {
            "BatchLoader": BatchLoader(split, augment=augment, device=device, **common),
            "DataLoader": torch_loader(split, augment=augment, **common, **usual),
        }
        for loader in loaders.values():
            seconds_of(loader, 1, device)
        rates = {way: [] for way in loaders}
        for _ in range(args.repeats):
            for way, loader in loaders.items():
                rates[way].append(PASSES[way] * args.images / seconds_of(loader, PASSES[way], device))
        yield {"device": device.type, "case": case, "images_per_s": rates}


def seconds_of(loader, passes, device):
    """Return the time of whole passes, until the last batch is on the device."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(passes):
        for X, y in loader:
            X, y = X.to(device, non_blocking=True), y.to(device, non_blocking=True)
    wait()
    return time.perf_counter() - start


def copy_bandwidth(device, repeats=20):
    """Return GB/s read and written by a copy of 1 GiB on the device."""
    source, target = (torch.zeros(2**30, dtype=torch.uint8, device=device) for _ in range(2))
    target.copy_(source)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        target.copy_(source)
    torch.cuda.synchronize()
    return 2 * 2**30 * repeats / (time.perf_counter() - start) / 1e9


def print_table(rows):
    print(f"| device | augmentation | {'BatchLoader, images/s':>30} | {'DataLoader, images/s':>30} | ratio |")
    print(f"|---|---|{'-' * 31}:|{'-' * 31}:|---:|")
    for row in rows:
        ours, theirs, ratio = summary(row)
        print(f"| {row['device']} | {row['case']} | {ours:>30} | {theirs:>30} | {ratio} |")


def summary(row):
    """Return a row's three figures as text: median (lowest to highest) of both ways, and the medians' ratio."""
    rates = [row["images_per_s"][way] for way in ("BatchLoader", "DataLoader")]
    ours, theirs = map(statistics.median, rates)
    spread = [f"{statistics.median(r):,.0f} ({min(r):,.0f} to {max(r):,.0f})" for r in rates]
    return [*spread, f"{ours / theirs:.1f}"]


if __name__ == "__main__":
    main()
