"""Measures images/s of both ways to batches, `BatchLoader` and `DataLoader`, in turns in one run. Needs no data.

    python -m tools.bench.data_path

Both ways shuffle, augment, convert to float32 and normalise noise of CIFAR-10's size, and leave it on the device. The
`DataLoader`'s workers are started before the clock is. The limit is that of the memory: an image has to be read and
written once, 15 KB in all, at the speed of a copy that was measured on the same device in the same run.
"""

from __future__ import annotations

import sys

import torch

from tools.bench._shared import Setting, Table, copy_rate, in_turns, main, median, note, ratio, span, with_spread
from tools.bench._torch_loader import torch_loader
from utils.data.augment import ColorJitter, Crop, Flip
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader

TITLE = "Batches"
SETTINGS = {
    "images": Setting(10_000, 64, "in a pass"),
    "batch_size": Setting(512, 16, "of both ways"),
    "repeats": Setting(5, 1, "of every measurement"),
    "workers": Setting(2, 1, "of the DataLoader"),
}
CASES = {
    "flip + crop": (Flip(), Crop(4)),
    "flip + crop + jitter": (Flip(), Crop(4), ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)),
}
# One pass of a BatchLoader is too short to be timed well.
PASSES = {"BatchLoader": 5, "DataLoader": 1}
BYTES = 3 * 32 * 32 * (1 + 4)  # of an image, read as uint8 and written as float32


def measure(device, settings):
    """Return {"rows", "copy_bytes_per_s"}."""
    images = torch.randint(0, 256, (settings["images"], 3, 32, 32), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), torch.arange(settings["images"]) % 10)
    rows = [measure_case(case, split, device, settings) for case in CASES]
    return {"rows": rows, "copy_bytes_per_s": copy_rate(device)}


def measure_case(case, split, device, settings):
    """Return the row of a case: images/s of both ways, after a pass of each that warms it up."""
    common = {"batch_size": settings["batch_size"], "shuffle": True, "augment": CASES[case]}
    workers = settings["workers"]
    usual = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": device.type == "cuda"}
    loaders = {
        "BatchLoader": BatchLoader(split, device=device, **common),
        "DataLoader": torch_loader(split, **common, **usual),
    }
    for loader in loaders.values():
        use_up(loader, 1, device)
    passes = {
        way: lambda way=way, loader=loader: use_up(loader, PASSES[way], device) for way, loader in loaders.items()
    }
    seconds = in_turns(passes, settings["repeats"], device)
    rates = {way: [PASSES[way] * len(split) / some for some in seconds[way]] for way in loaders}
    note(f"{case}: {gain(rates):.1f}")
    return {"case": case, "images_per_s": rates}


def use_up(loader, passes, device):
    """Take whole passes of batches to the device."""
    for _ in range(passes):
        for X, y in loader:
            X, y = X.to(device, non_blocking=True), y.to(device, non_blocking=True)


def gain(rates):
    return ratio(rates["BatchLoader"], rates["DataLoader"])


def tables(record):
    header = ("augmentation", "BatchLoader", "DataLoader", "ratio", "of the limit")
    rows = []
    for row in record["rows"]:
        rates = row["images_per_s"]
        share = 100 * BYTES * median(rates["BatchLoader"]) / record["copy_bytes_per_s"]
        rows.append(
            (row["case"], *(with_spread(rates[way]) for way in header[1:3]), f"{gain(rates):.1f}", f"{share:.1f} %")
        )
    return [Table("Images/s, median (lowest to highest):", header, rows)]


def headlines(record):
    gains = [gain(row["images_per_s"]) for row in record["rows"]]
    workers = f"{record['settings']['workers']} worker processes"
    return {f"`BatchLoader` against a `DataLoader` with {workers}, images/s": span(gains)}


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
