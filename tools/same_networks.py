"""Proves that every recipe still has the network it had before networks became plain nn.Modules.

    python -m tools.same_networks

The old code is taken from git's history into a temporary folder. For each recipe both codes make the network: the
numbers of parameters, the weights that one seed gives, and, in float64 with the old network's weights carried over, the
scores and all gradients are compared.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "feb3f1b"  # the last commit whose networks were written as strings
TOLERANCE = 1e-6  # relative, of scores and gradients

OLD = """
from utils.nets import build
from utils.systems import ABLATIONS, OURS, SYSTEMS
from utils.tables import C_ROWS, D_ROWS
def make(recipe): return build(recipe.network)
"""
NEW = """
from utils.recipes import ABLATIONS, C_ROWS, D_ROWS, OURS, SYSTEMS
def make(recipe): return recipe.make_network()
"""
MEASURE = """
import sys
from pathlib import Path
import torch
folder, tag = Path(sys.argv[1]), sys.argv[2]
recipes = (*SYSTEMS.values(), *OURS.values(), *ABLATIONS.values(), *(row.recipe for row in (*C_ROWS, *D_ROWS)))
print(*(recipe.name for recipe in recipes), flush=True)
for recipe in recipes:
    sys.stdin.readline()
    torch.manual_seed(0)
    net = make(recipe)
    seeded = [value.clone() for value in net.state_dict().values()]
    if tag == "old":  # other weights than the first ones, so that none of them is zero or one
        torch.manual_seed(1)
        changed = [value + 0.05 * torch.rand_like(value) if value.is_floating_point() else value for value in seeded]
        torch.save(changed, folder / "weights")
    weights = torch.load(folder / "weights", weights_only=True)
    net.double().load_state_dict(dict(zip(net.state_dict(), weights, strict=True)))
    net.eval()
    X = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    scores = net(X)
    torch.nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.requires_grad]
    torch.save({"seeded": seeded, "scores": scores.detach(), "gradients": gradients}, folder / tag)
    print("done", flush=True)
"""


def start(code: str, root: Path, folder: str, tag: str) -> subprocess.Popen:
    """Start a process in which the code of a checkout makes and measures one network for each line that it reads."""
    command = [sys.executable, "-c", code + MEASURE, folder, tag]
    return subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the relative difference of two tensors of the same shape; infinity for other shapes."""
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).norm() / one.norm().clamp(min=1e-300))


def compare(folder: Path) -> tuple[float, bool, bool]:
    """Return (largest relative difference, as many parameters, same weights from the same seed) of one network."""
    before, now = (torch.load(folder / tag, weights_only=True) for tag in ("old", "new"))
    same_seeded = len(before["seeded"]) == len(now["seeded"])
    same_seeded = same_seeded and all(map(torch.equal, before["seeded"], now["seeded"]))
    same_shapes = [g.shape for g in before["gradients"]] == [g.shape for g in now["gradients"]]
    gradients = [torch.cat([g.flatten() for g in measured["gradients"]]) for measured in (before, now)]
    return max(difference(before["scores"], now["scores"]), difference(*gradients)), same_shapes, same_seeded


def compare_all(old: subprocess.Popen, new: subprocess.Popen, folder: Path) -> dict:
    """Let both processes measure one network after the other; return {recipe: what compare returns}."""
    names = old.stdout.readline().split()
    if names != new.stdout.readline().split():
        raise SystemExit("The two codes do not have the same recipes.")
    results = {}
    for name in names:
        for process in (old, new):  # the old code writes the weights that the new one reads
            process.stdin.write("next\n")
            process.stdin.flush()
            if process.stdout.readline() != "done\n":
                raise SystemExit(f"{name} could not be measured: see the error above.")
        results[name] = worst, same_shapes, same_seeded = compare(folder)
        print(
            f"{name:28} difference {worst:.1e}, parameters {same_shapes}, weights of a seed {same_seeded}", flush=True
        )
    return results


def main() -> int:
    """Compare all networks, print one line for each and the result; return an exit code."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(checkout), BEFORE], check=True)
        try:
            with start(OLD, checkout, folder, "old") as old, start(NEW, ROOT, folder, "new") as new:
                results = compare_all(old, new, Path(folder))
        finally:
            subprocess.run([*git, "remove", "--force", str(checkout)], check=True)
    same = [worst < TOLERANCE and same_shapes for worst, same_shapes, _ in results.values()]
    seeded = sum(same_seeded for *_, same_seeded in results.values())
    print(f"{sum(same)} of {len(same)} networks are the same; {seeded} start from the same weights with the same seed.")
    return 0 if same and all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
