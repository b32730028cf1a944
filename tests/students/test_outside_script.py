"""A script outside the suite: its own network with a gate, killed and resumed, evaluated, reported and compared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = '''
import dataclasses, os, signal, sys
sys.path.insert(0, {root!r})
import torch
from torch import nn
from utils.data import load_cifar10, make_iters
from utils.evaluation import evaluate
from utils.experiments import write_page
from utils.my_utils import train_ch3
from utils.recipes import Recipe, load_run
from utils.report import write_report
from utils.runs import find, recorder

recorder.SAVE_EVERY = 0.0  # a checkpoint after each batch


class Mixture(nn.Module):
    """Two experts and a gate; nothing of the suite is used."""

    def __init__(self, hidden=6):
        super().__init__()
        self.gate = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 2), nn.Softmax(dim=1))
        self.experts = nn.ModuleList(nn.Sequential(nn.Conv2d(3, hidden, 5), nn.ReLU()) for _ in range(2))
        self.norm = nn.BatchNorm1d(hidden)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(hidden, 10))

    def forward(self, images):
        a = self.gate(images)
        features = sum(a[:, j, None] * expert(images).mean((2, 3)) for j, expert in enumerate(self.experts))
        return self.head(self.norm(features))


class Die:
    seen = 0

    def after_batch(self, training):
        self.seen += 1
        if self.seen == 6:
            os.kill(os.getpid(), signal.SIGKILL)


def train(callbacks, record):
    data = load_cifar10(source="synthetic")
    if way == "recipe":
        recipe = Recipe("mixture", Mixture, {{"hidden": 5}}, batch_size=48, num_epochs=2, lr=0.01)
        folder = "auto" if record else None
        options = {{"effort": "check", "device": "cpu", "curves": False, "save_every": 0.0}}
        trained = recipe.train(data, folder=folder, callbacks=callbacks, **options)
        return trained.net, trained.run
    torch.manual_seed(0)
    net = Mixture()
    few = data.train.subset(torch.arange(0, 10000, 50))
    train_iter, val_iter, _ = make_iters(dataclasses.replace(data, train=few), 48, val=20)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=8)
    torch.manual_seed(1)
    arguments = (net, train_iter, val_iter, nn.CrossEntropyLoss(), 2, optimizer)
    train_ch3(*arguments, callbacks=[scheduler, *callbacks], record=record and "mixture", curves=False, watched="val")
    return net, find("mixture") if record else None


way, mode = sys.argv[1:]
torch.set_num_threads(1)
net, run = train([Die()] if mode == "die" else [], record=mode != "whole")
torch.save(net.state_dict(), f"{{way}}-{{mode}}.pt")
if mode == "resume":
    trained = load_run(run)
    print("accuracy", evaluate(trained)["accuracy"])
    print(*write_report(run), sep="\\n")
    print(write_page())
'''


def run_script(folder, way, mode, code=0):
    environ = {**os.environ, "COURSEWORK_RUNS": str(folder / f"runs {way}"), "CIFAR10_SOURCE": "synthetic"}
    command = [sys.executable, "script.py", way, mode]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a signal that Windows does not have")
@pytest.mark.parametrize("way", ["recipe", "hand"])
def test_a_script_outside_the_suite_is_killed_resumed_evaluated_reported_and_compared(tmp_path, way):
    import torch

    folder = tmp_path / "a folder of mine"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT.format(root=str(ROOT)))
    run_script(folder, way, "whole")
    run_script(folder, way, "die", code=-9)
    printed = run_script(folder, way, "resume")
    assert "Resumed after 1 epoch and" in printed and "accuracy 0." in printed
    whole, resumed = (torch.load(folder / f"{way}-{mode}.pt") for mode in ("whole", "resume"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    runs = folder / f"runs {way}"
    html = next(runs.glob("*/report.html")).read_text(encoding="utf-8")
    assert "Mixture" in html and "image/svg+xml" in html
    assert next(runs.glob("*/report.pdf")).read_bytes().startswith(b"%PDF")
    assert "mixture" in (runs / "compare.html").read_text(encoding="utf-8")
