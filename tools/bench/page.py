"""Write the page of the benchmarks, results/speed/README.md, from their records.

python -m tools.bench.page
"""

from __future__ import annotations

import importlib
import sys

from tools.bench._shared import DEVICES, RECORDS, read_records
from utils.files import write_bytes

ORDER = ("recipes", "data_path", "gated_conv", "loop", "where")
PAGE = RECORDS / "README.md"
NOT_RUN = "not yet run"
BESIDE = 5  # columns of numbers; a wider table has the devices below each other
TOP = """\
# Benchmarks

`make bench` runs all of these, `make bench ARGS="loop"` one of them, `make bench ARGS="--check"` a rehearsal that keeps
no record. Ours and a rival ran in turns, and the figure is their ratio; some tables also show a limit that was measured
in the same run. The tables are made from the records in this folder by `python -m tools.bench.page`.

The baseline is a `DataLoader`, float32, and k convolutions for a gated convolution with k branches. Our training
computes in the fastest precision of the device, and on a GPU with CUDA graphs. The GPU's figures, and those of a CPU
that are older than 30 November 2026, are of an earlier form of the code.
"""


def main():
    """Write the page; return an exit code."""
    write_bytes(PAGE, page(all_records()).encode())
    print(f"written: {PAGE}")
    return 0


def all_records():
    """Return {benchmark's module: {kind of device: record or None}}."""
    modules = [importlib.import_module(f"tools.bench.{name}") for name in ORDER]
    return {module: read_records(module) for module in modules}


def page(found):
    """Return results/speed/README.md."""
    return "\n".join(
        [TOP, f"{headline_table(found)}\n", *(section(module, records) for module, records in found.items())]
    )


def section(module, records):
    """Return what the page says of one benchmark: its docstring, its machines, its tables."""
    lines = [f"## {module.TITLE}\n", module.__doc__.rstrip() + "\n"]
    for kind, record in records.items():
        lines.append(f"- {DEVICES[kind]}: {conditions(record) if record else NOT_RUN}")
    for table in joined(module, records):
        lines.append(f"\n{table}")
    return "\n".join(lines) + "\n"


def conditions(record):
    """Return a record's machine, date and settings as one line."""
    settings = ", ".join(f"{name} {value or 'all'}" for name, value in record["settings"].items())
    facts = [record["machine"], f"torch {record['torch']}", *([record["precision"]] if "precision" in record else [])]
    return f"{', '.join(facts)}, {record['date']}; threads {record['threads']}, {settings}"


def joined(module, records):
    """Return a benchmark's tables as Markdown, the devices in columns side by side, wide tables below each other."""
    tables = {kind: module.tables(record) if record else None for kind, record in records.items()}
    some = next((each for each in tables.values() if each), ())
    texts = []
    for i, one in enumerate(some):
        each = {DEVICES[kind]: found[i] if found else None for kind, found in tables.items()}
        beside = len(one.header) - 1 <= BESIDE
        texts.append(f"{one.caption}\n\n{side_by_side(each).markdown() if beside else below_each_other(each)}")
    return texts


def side_by_side(tables):
    """Join {device: Table or None} into one table, each device's columns under its name."""
    some = next(table for table in tables.values() if table)
    labels = list(dict.fromkeys(row[0] for table in tables.values() if table for row in table.rows))
    header, rows = [some.header[0]], [[label] for label in labels]
    for device, table in tables.items():
        header += [f"{device}: {name}" for name in table.header[1:]] if table else [device]
        cells = {row[0]: row[1:] for row in table.rows} if table else {}
        missing = ["-"] * (len(table.header) - 1) if table else [NOT_RUN]
        rows = [[*row, *cells.get(row[0], missing)] for row in rows]
    return some._replace(header=tuple(header), rows=rows)


def below_each_other(tables):
    """Join {device: Table or None} as one text."""
    return "\n\n".join(
        f"{device}:\n\n{table.markdown()}" if table else f"{device}: {NOT_RUN}" for device, table in tables.items()
    )


def headline_table(found):
    """Return the few ratios that sum up the page, a column for each device."""
    claims = {}
    for module, records in found.items():
        for kind, record in records.items():
            for claim, value in module.headlines(record).items() if record else ():
                empty = {each: "–" if records[each] else NOT_RUN for each in DEVICES}  # measured on the other only
                claims.setdefault(claim, empty)[kind] = value
    lines = [f"| | {' | '.join(DEVICES.values())} |", "|---|" + "---:|" * len(DEVICES)]
    lines += [f"| {claim} | {' | '.join(values[kind] for kind in DEVICES)} |" for claim, values in claims.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
