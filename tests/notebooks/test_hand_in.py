"""What a student types in notebooks 02 and 04 is a model and a training script, without anything from utils.models."""

import ast
import os
import re
import subprocess
import sys

from suites import ROOT

from tools import notebooks
from tools.student import solutions

MODEL = ("GatedConv", "GatedBlock", "GatedNet")
LOOP = ("Accumulator", "accuracy", "train_epoch", "evaluate_accuracy")
HEAD = """
import sys

import torch
from torch import nn

from utils.data import BatchLoader, load_cifar10
from utils.devices import try_gpu

seed, batch_size, device, loss = 0, 64, try_gpu(), nn.CrossEntropyLoss()
data = load_cifar10()
few = data.train.subset(slice(0, 1000))
val_iter = BatchLoader(data.train.subset(slice(1000, 1500)), 500, device=device)
"""
TAIL = 'print("of utils.models:", [name for name in sys.modules if name.startswith("utils.models")])'


def cells(number):
    """Return the code cells of a notebook."""
    (path,) = notebooks.paths([number])
    return [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]


def typed(number, names):
    """Return the text of what a student defines under these names in a notebook."""
    texts = {}
    for cell in cells(number):
        for node in ast.parse(cell.source).body if solutions(cell) else ():
            if getattr(node, "name", None) in names:
                first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
                texts[node.name] = "\n".join(cell.source.splitlines()[first - 1 : node.end_lineno])
    return [texts[name] for name in names]


def test_notebooks_02_and_04_lead_to_a_training_script_of_ones_own(tmp_path):
    (training,) = [cell.source for cell in cells("04") if cell.id == "train-by-hand"]
    script = tmp_path / "train.py"
    parts = [HEAD, *typed("02", MODEL), *typed("04", LOOP), training, TAIL]
    script.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    environ = os.environ | {"PYTHONPATH": str(ROOT), "CIFAR10_SOURCE": "synthetic"}
    run = subprocess.run([sys.executable, script], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (train_loss,) = re.findall(r"epoch 1: training loss ([\d.]+), accuracy [\d.]+%; validation [\d.]+%", run.stdout)
    assert float(train_loss) < 3  # guessing costs 2.3, and a training that diverges far more
    assert "of utils.models: []" in run.stdout
