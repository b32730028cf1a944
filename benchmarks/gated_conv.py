"""Measures the forms of the gated convolution against the loop, forward and backward, shape by shape in one run.

    python -m benchmarks.gated_conv [--json PATH]

The shapes are the ten blocks of a network of widths 3 to 1024 that halves its maps after every second block, which are
those of report A's, see utils/nets.py. utils.gated.choose_form rests on this table.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time

import torch

from utils.devices import describe, try_gpu
from utils.gated import FORMS, GatedConv, choose_form
from utils.plans import SOFTMAX_GATED

SHAPES = [(*block.widths, 32 >> i // 2) for i, block in enumerate(SOFTMAX_GATED.blocks)]
KERNEL_LIMIT = 2**31  # bytes of kernels, one for each image, above which "aggregated" is left out


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--branches", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="PATH", help="write the record here")
    args = parser.parse_args(argv)
    device = try_gpu()
    print(f"{describe(device)}\nbatches of {args.batch_size}, {args.branches} branches of 3x3 kernels, forward and")
    print(f"backward in ms, median of {args.repeats}\n\n| in, out, size | {' | '.join(FORMS)} | auto | loop / auto |")
    print("|---|" + "---:|" * len(FORMS) + "---|---:|")
    rows = []
    for shape in SHAPES:
        rows.append({"shape": shape, **measure(shape, device, args)})
        print_row(rows[-1])
    loop, auto = (sum(statistics.median(row["ms"][form(row)]) for row in rows) for form in (lambda _: "loop", chosen))
    print(f"\nAll ten: loop {loop:,.0f} ms, auto {auto:,.0f} ms, ratio {loop / auto:.2f}")
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name != "json"}
        record = {"machine": describe(device), "settings": settings, "rows": rows}
        pathlib.Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


def measure(shape, device, args):
    """Return the form that auto takes and {form: milliseconds of each repeat}, the forms measured in turns."""
    inside, out, size = shape
    X = torch.randn(args.batch_size, inside, size, size, device=device, requires_grad=True)
    a = torch.rand(args.batch_size, args.branches, device=device, requires_grad=True)
    layer = GatedConv(inside, out, (3,) * args.branches).to(device)
    kernels = 4 * args.batch_size * layer.weights[0][0].numel()
    names = [name for name in FORMS if name != "aggregated" or kernels <= KERNEL_LIMIT]
    ms = {name: [] for name in names}
    for repeat in range(args.repeats + 1):
        for name in names:
            layer.form = name
            seconds = time_step(layer, X, a)
            if repeat:  # the first is a warm-up
                ms[name].append(1e3 * seconds)
    return {"auto": choose_form(X, args.branches), "ms": ms}


def time_step(layer, X, a):
    """Run forward and backward once and return the seconds it took."""
    synchronize = torch.cuda.synchronize if X.is_cuda else lambda: None
    synchronize()
    start = time.perf_counter()
    layer(X, a).sum().backward()
    synchronize()
    return time.perf_counter() - start


def chosen(row):
    return row["auto"]


def print_row(row):
    medians = {name: statistics.median(times) for name, times in row["ms"].items()}
    cells = [f"{medians[name]:.1f}" if name in medians else "-" for name in FORMS]
    ratio = medians["loop"] / medians[row["auto"]]
    print(f"| {', '.join(map(str, row['shape']))} | {' | '.join(cells)} | {row['auto']} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
