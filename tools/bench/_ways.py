"""Train a recipe in two ways, each in a separate process that trains when told to.

The baseline is what the reports wrote: a Dataset, torchvision's transforms and a DataLoader with worker
processes (torch_loader), float32, k convolutions for a gated one, and the loss and the right answers read as numbers
after each batch. Ours is Recipe.train, on a GPU with CUDA graphs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from tools.bench._memory import resident
from tools.bench._torch_loader import torch_loader
from utils.data.augment import Shrink
from utils.data.cifar10 import Cifar10, Split
from utils.errors import CourseworkError
from utils.models.gated import set_form
from utils.optim.losses import make_loss
from utils.optim.optimizers import FUSED, make_optimizer
from utils.recipes import find_system
from utils.training.effort import Effort

WARM_UP = 4  # batches: the first one creates the optimizer's state, on a GPU the third is captured as a CUDA graph
FOREVER = 10**6  # epochs


class Way:
    """Hold a process that trains a recipe in one way, and answers how long some batches took."""

    def __init__(self, system, way, device, settings):
        words = [system, way, device.type, *(str(settings[name]) for name in ("images", "batch_size", "workers"))]
        code = f"from tools.bench._ways import serve; serve(*{words!r})"
        # Idle threads that wait in a busy loop would slow the DataLoader's workers down, see utils/notebook.py.
        environ = {"GOMP_SPINCOUNT": "1000", **os.environ}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        root = Path(__file__).resolve().parents[2]
        self.process = subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environ, **pipes)
        self.name = f"{system}, {way}"

    def answer(self):
        """Return the seconds of the batches asked for, and the bytes that training has taken at most."""
        line = self.process.stdout.readline()
        if not line:
            what = f"{self.name}: the process ended with exit code {self.process.wait()}."
            next_step = "Its own words stand above. Without any, memory ran out: take a smaller batch_size."
            raise CourseworkError(what, next_step=next_step)
        seconds, peak = line.split()
        return float(seconds), int(peak)

    def train(self, batches):
        """Let it train on this many batches; return the answer."""
        self.process.stdin.write(f"{batches}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        """End the process, whatever it does."""
        self.process.kill()
        self.process.communicate()


def serve(system, way, device, images, batch_size, workers):
    """Train the recipe forever, as many batches at a time as the next line of standard input says."""
    recipe, device = of_whole_images(find_system(system)), torch.device(device)
    recipe = recipe.change(num_epochs=FOREVER, batch_size=int(batch_size) or recipe.batch_size)
    split = noise(max(int(images), recipe.batch_size), colours_last=way == "baseline")
    turns = Turns(device)
    try:
        if way == "ours":
            ours(recipe, split, device, turns, cuda_graph="auto")
        else:
            baseline(recipe, split, device, turns, int(workers))
    except EOFError:  # nobody asks any more
        return


def of_whole_images(recipe):
    """Return a recipe without shrunk images, which would flatter its speed, and without CutMix and Mixup.

    torchvision mixes the images of a batch in another place than it changes single ones, and it takes little time.
    """
    augment = (op for op in recipe.augment if not isinstance(op, Shrink) and not hasattr(op, "mix"))
    return recipe.change(augment=tuple(augment))


class Turns:
    """Count batches; after those asked for, answer with their seconds and wait for the next question."""

    def __init__(self, device):
        self.device, self.left, self.begun = device, WARM_UP, time.perf_counter()
        self.answers, sys.stdout = sys.stdout, sys.stderr  # the suite's own words are no answers
        self.before = 0 if device.type == "cuda" else resident()  # images and libraries, no part of training

    def after_batch(self, training=None):
        """Be told of a batch, by train_ch3 or by the baseline."""
        self.left -= 1
        if self.left:
            return
        getattr(torch, self.device.type).synchronize()
        seconds = time.perf_counter() - self.begun
        print(seconds, self._peak(), file=self.answers, flush=True)
        question = sys.stdin.readline()
        if not question:
            raise EOFError
        self.left, self.begun = int(question), time.perf_counter()

    def _peak(self):
        most = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else resident(most=True)
        return most - self.before


def noise(count, colours_last=False):
    """Return images of CIFAR-10's size; with colours last ImageDataset shares their memory."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, 32, 32, 3) if colours_last else (count, 3, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Split(images.permute(0, 3, 1, 2) if colours_last else images, torch.arange(count) % 10)


def ours(recipe, split, device, callback, **more):
    """Train by the one call, watched; the few test images that it measures after an epoch cost nothing."""
    data = Cifar10(split, split.subset(slice(0, 100)), "noise", "noise", "none")
    options = {"protocol": "watch_test", "effort": Effort("full"), "device": device, "folder": None, "curves": False}
    recipe.train(data, callbacks=[callback], **options, **more)


def baseline(recipe, split, device, turns, workers):
    """Train by the loop that each report has in one form or another."""
    options = {
        "augment": recipe.augment,
        "mean": recipe.mean,
        "std": recipe.std,
        "shuffle": True,
        "num_workers": workers,
    }
    options |= {"persistent_workers": workers > 0, "pin_memory": device.type == "cuda"}
    loader = torch_loader(split, recipe.batch_size, **options)
    torch.manual_seed(0)
    net = set_form(recipe.make_network(), "loop").to(device)
    loss = make_loss(recipe.loss, **recipe.loss_settings)
    unfused = {"fused": None} if recipe.optimizer in FUSED else {}  # as torch makes it when nothing is asked for
    optimizer = make_optimizer(recipe.optimizer, net, recipe.lr, **unfused, **recipe.optimizer_settings)
    while True:
        total = right = 0
        for X, y in loader:
            X, y = X.to(device), y.to(device)
            y_hat = net(X)
            value = loss(y_hat, y)
            optimizer.zero_grad()
            value.backward()
            if recipe.clip_value:
                torch.nn.utils.clip_grad_value_(net.parameters(), recipe.clip_value)
            if recipe.clip_norm:
                torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm)
            optimizer.step()
            total, right = total + value.item() * len(y), right + (y_hat.argmax(1) == y).sum().item()
            turns.after_batch()
