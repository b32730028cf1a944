"""Measures how the seconds to read the run log grow with the number of runs: `runs.table()` and the comparison page.

    python -m tools.bench.run_log

The runs are folders written for this purpose, with the files that a training on CIFAR-10 leaves: a record, a row for
every epoch and an evaluation. They differ in learning rate and seed, as the trials of a grid do. The table is read as
in notebook 06, the page is what `make compare` writes. The seconds are those of the processor, so other programs do not
count. If the work per run is constant, the milliseconds per run do not grow with the number of runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from tools.bench import _figures
from tools.bench._shared import Setting, Table, main, median, note, span
from utils.experiments import write_page
from utils.files import plain
from utils.recipes import find_system
from utils.runs import table

TITLE = "The run log"
SETTINGS = {
    "runs": Setting("100,500,2000", "100,500", "2,4", "numbers of run folders, with commas"),
    "epochs": Setting(20, 20, 2, "of each run"),
    "repeats": Setting(3, 1, 1, "of every measurement"),
}
SEEDS = 5  # runs with the same settings
READERS = {"table": table, "page": write_page}


def measure(device, settings):
    """Return {"rows": seconds of each turn of both readers, and the size of the page, for each number of runs}."""
    rows = []
    for count in map(int, settings["runs"].split(",")):
        with tempfile.TemporaryDirectory() as folder:
            row = measure_reading(Path(folder), count, settings)
        rows.append(row)
        note(f"{count} runs: table {per_run(row, 'table'):.2f} ms a run, page {per_run(row, 'page'):.2f} ms a run")
    return {"rows": rows}


def measure_reading(folder, count, settings):
    """Return the row of this number of runs."""
    write_runs(folder, count, settings["epochs"])
    size = write_page(folder).stat().st_size  # this first call, which warms up, is not measured
    seconds = {name: [] for name in READERS}
    for _ in range(settings["repeats"]):
        for name, read in READERS.items():
            begun = time.process_time()
            read(folder)
            seconds[name].append(time.process_time() - begun)
    return {"runs": count, "seconds": seconds, "page_bytes": size}


def write_runs(folder: Path, count: int, epochs: int):
    """Write this many run folders."""
    for i in range(count):
        run = folder / f"trial-{i:05d}"
        run.mkdir()
        accuracies = [0.9 - 0.8 / (epoch + 1 + i % 7) for epoch in range(1, epochs + 1)]
        lines = [{"attempt": 1, "from": [0, 0.0]}]
        lines += [metrics(epoch, share) for epoch, share in enumerate(accuracies, 1)]
        (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        (run / "run.json").write_text(json.dumps(record(run.name, i, epochs)))
        (run / "evaluation.json").write_text(json.dumps({"accuracy": accuracies[-1], "images": 10_000}))


def metrics(epoch, share):
    """Return an epoch's line of metrics.jsonl."""
    figures = {"train_loss": 2.3 - 2 * share, "train_acc": share, "val_loss": 2.3 - 2 * share, "val_acc": share}
    return {"epoch": epoch, **figures, "lr": 0.001, "seconds": 12.5 * epoch}


def record(name, i, epochs):
    """Return the run.json of the i-th trial of a grid of learning rates and seeds."""
    recipe = find_system("plain_cnn").change(lr=(1 + i // SEEDS) * 1e-5, num_epochs=epochs)
    images = {"name": "CIFAR-10", "source": "official", "checksum": "0123456789abcdef"}
    facts = {"format": 1, "run": name, "system": recipe.name, "state": "finished", "seed": i % SEEDS, "data": images}
    facts |= {"created": f"2026-01-{1 + i // 86400:02d}T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}+00:00"}
    facts |= {"settings": {"optimizer": "Adam", "lr": recipe.lr, "batch_size": 64}, "recipe": plain(recipe.describe())}
    facts |= {"images": 45_000, "watched": "val", "protocol": "validation", "effort": "full", "precision": "fp32"}
    facts |= {"num_epochs": epochs, "batches": 704, "parameters": 1_234_567, "device": "CPU with 2 cores"}
    return facts | {"attempts": [{"from": [0, 0], "how": "finished"}], "seconds": 12.5 * epochs}


def per_run(row, reader):
    """Return the milliseconds per run."""
    return 1e3 * median(row["seconds"][reader]) / row["runs"]


def tables(record):
    rows = []
    for row in record["rows"]:
        cells = [f"{row['runs']:,}"]
        for reader in READERS:
            cells += [f"{median(row['seconds'][reader]):.2f}", f"{per_run(row, reader):.2f}"]
        rows.append((*cells, f"{row['page_bytes'] / 1e6:.2f}"))
    header = ("runs", "table, s", "ms per run", "page, s", "ms per run", "page, MB")
    return [Table("Reading all runs, median:", header, rows)]


def headlines(record):
    last = record["rows"][-1]
    claim = f"reading {last['runs']:,} runs for the comparison page, seconds"
    return {claim: f"{median(last['seconds']['page']):.1f}"}


def draw(records):
    panels, largest = {}, []
    for kind, record in _figures.present(records):
        bars = {}
        for row in record["rows"]:
            times = {reader: per_run(row, reader) for reader in READERS}
            bars[f"{row['runs']:,} runs"] = {reader: (ms, f"{ms:.2f}") for reader, ms in times.items()}
        panels[f"{kind}: milliseconds per run"] = bars
        largest += [per_run(row, "page") for row in record["rows"]]
    title = f"The comparison page takes {span(largest)} ms per run"
    return _figures.bars(panels, title=title, records=records)


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
