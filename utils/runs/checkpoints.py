"""Save a training in checkpoints and resume it exactly: callbacks=[Checkpoints("runs/mine")]."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from utils.errors import CheckpointError, CheckpointWarning
from utils.runs.checkpoint_files import clean, newest, plain, position, remove_old, remove_unreadable, write
from utils.runs.same_training import compare, describe, named, network_values
from utils.training.checks import is_ours
from utils.training.finite import check_finite
from utils.training.state import SAVING

KEEP = 2  # how many of the newest checkpoints are kept
SHARE = 0.02  # the largest fraction of the time that writing checkpoints may take
HOLDS = "Let about, and each state_dict(), contain tensors, arrays, numbers, texts, lists and dicts"


class Checkpoints:
    """A callback that saves a training in a folder; if the same training is started again, it resumes from there.

    A checkpoint is written every `every` seconds, at the end, and after an interrupt; less often if writing would take
    more than the fraction SHARE of the time. With a loader without set_position, a training can only resume at the
    start of an epoch, so checkpoints are also written after epochs, as often as SHARE allows. about: a dict of further
    settings that must be equal to resume. advice: the next step in the error that is raised if the folder contains
    another training. The Recorder, which train_ch3 adds, makes sure that no other process trains in the folder.
    """

    order = SAVING  # called after the callbacks whose state is saved

    def __init__(self, folder, *, every=60.0, about=None, advice=None):
        self.folder = Path(folder)
        self.every = every
        self.extra = about or {}
        self.advice = advice
        self.unsaved = None  # why the last checkpoint could not be written
        self._about = None
        self._values = {}
        self._newest = None  # the path of the checkpoint that was written or read last
        self._due = 0.0
        self._affordable = 0.0

    def on_start(self, training):
        """Resume from the newest intact checkpoint, if there is one."""
        self._about = plain({**describe(training), **self.extra})
        self._values = network_values(training.net)
        present = capture(training, self._about)
        if unreadable := remove_unreadable(present):
            what = f"A checkpoint can't hold {', '.join(unreadable)}."
            raise CheckpointError(what, where=self.folder, next_step=f"{HOLDS} in place of other objects.")
        saved = self._find()
        if saved is not None:
            path, state = saved
            compare(state["about"], self._about, path, self.advice)
            check_parts(state, present, path)
            restore(training, state)
            self._newest = path
            epochs = "1 epoch" if training.epoch == 1 else f"{training.epoch} epochs"
            resumed = f"Resumed after {epochs} and {training.batch} batches"
            print(f"{'This training is complete' if training.complete else resumed} ({path.name}).")
        self._due = time.monotonic() + self.every

    def after_batch(self, training):
        """Write a checkpoint if it is due, and if the loader can resume in the middle of an epoch."""
        if time.monotonic() >= self._due and hasattr(training.train_iter, "set_position"):
            self.save(training)

    def after_epoch(self, training):
        """Write a checkpoint if it is due, or if the loader can only start whole epochs, as often as SHARE allows."""
        due = self._due if hasattr(training.train_iter, "set_position") else self._affordable
        if time.monotonic() >= due:
            self.save(training)

    def on_end(self, training):
        """Write a checkpoint of the end or of an interrupted training, but not of one that failed."""
        at_boundary = training.batch == 0 or hasattr(training.train_iter, "set_position")
        if training.error is None and at_boundary and not self.is_saved(training):
            self.save(training)

    def is_saved(self, training):
        """Return whether the newest checkpoint contains the present state of the training."""
        if self._newest is None or not os.path.exists(self._newest):  # the folder may have been deleted
            return False
        return position(self._newest) == (training.epoch, training.batch)

    def save(self, training):
        """Write a checkpoint and remove the oldest; if that fails, warn, keep the old ones and try again later."""
        check_finite(training)  # so that a good checkpoint is never replaced by one with NaN
        begun = time.monotonic()
        problem = "This checkpoint could not be written"
        try:
            state = capture(training, self._lasting(training.net))
            if unreadable := remove_unreadable(state):
                state["unreadable"] = unreadable
            self._newest = write(self.folder, state)
            problem = "The checkpoint was written, but the oldest one could not be removed"
            remove_old(self.folder, KEEP)
            if unreadable:
                what = f"The checkpoint was written without {', '.join(unreadable)}, so the training can't resume"
                self._warn(f"{what}; its weights are saved.", f"{HOLDS}, and start the training anew.")
            else:
                self.unsaved = None
        except OSError as error:
            self._warn(f"{problem}: {error}", _space(self.folder))
        now = time.monotonic()
        pause = (now - begun) / SHARE
        self._affordable = now + pause
        self._due = now + max(self.every, pause)
        if not self.every:  # every=0 means a checkpoint after each batch, however long that takes
            self._due = self._affordable = now

    def _lasting(self, net):
        """Return the description at the start, without what the training has changed since then."""
        now = network_values(net)
        changed = {name for name, value in self._values.items() if now.get(name) != value}
        return {name: value for name, value in self._about.items() if name not in changed}

    def _find(self):
        """Remove partial files of earlier attempts; return (path, state) of the newest intact checkpoint, or None."""
        try:
            clean(self.folder)
            return newest(self.folder)
        except OSError as error:
            what = f"The checkpoints cannot be read: {error}"
            next_step = "Mount or repair the folder, or choose another one."
            raise CheckpointError(what, where=self.folder, next_step=next_step) from None

    def _warn(self, what, next_step):
        if what != self.unsaved:  # the same warning is shown once
            warnings.warn(f"{what}\n  where: {self.folder}\n  next:  {next_step}", CheckpointWarning, stacklevel=2)
        self.unsaved = what


def capture(training, about):
    """Return everything that the rest of a training depends on, as tensors, numbers, texts, lists and dicts."""
    # While an epoch is measured, the loader's position is already the start of the next epoch.
    loader_epoch = training.loader_epoch if training.batch else getattr(training.train_iter, "epoch", None)
    state = {
        "net": training.net.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "step": training.step.state_dict() if hasattr(training.step, "state_dict") else {},
        "callbacks": {name: callback.state_dict() for name, callback in _with_state(training).items()},
        "history": training.history.state_dict(),
        "metric": training.metric.data,
        "position": {
            "epoch": training.epoch,
            "batch": training.batch,
            "loader": loader_epoch,
            "seconds": training.seconds,
        },
        "random": random_state(training.device),
        "about": about,
    }
    state["random"]["generators"] = [generator.get_state() for generator in _generators(training.train_iter)]
    if not is_ours(training.step):  # a step of the user's own may add up the gradients of several batches
        weights = training.net.named_parameters()
        state["gradients"] = {name: value.grad for name, value in weights if value.grad is not None}
    return plain(state)


def restore(training, state):
    """Put a training back into the state that `capture` returned."""
    training.net.load_state_dict(state["net"])
    training.optimizer.load_state_dict(state["optimizer"])
    if hasattr(training.step, "load_state_dict"):
        training.step.load_state_dict(state["step"])
    for name, callback in _with_state(training).items():
        callback.load_state_dict(state["callbacks"][name])
    training.history.load_state_dict(state["history"])
    training.metric.data = [_to(value, training.device) for value in state["metric"]]
    gradients = state.get("gradients", {})
    for name, value in training.net.named_parameters():
        value.grad = _to(gradients.get(name), training.device)
    for generator, saved in zip(_generators(training.train_iter), state["random"].get("generators", ()), strict=False):
        generator.set_state(saved)
    position = state["position"]
    training.epoch, training.batch, training.earlier = position["epoch"], position["batch"], position["seconds"]
    training.loader_epoch = position["loader"]
    if hasattr(training.train_iter, "set_position"):
        training.train_iter.set_position(position["loader"], position["batch"])
    set_random_state(state["random"], training.device)  # last, since the lines above may use the generators


def weights_of(state) -> dict:
    """Return the weights in a checkpoint that are the training's result: the best epoch's, the averaged or the last."""
    best = [kept for kept in _states_of("KeepBest", state) if kept.get("restore") and kept["weights"] is not None]
    if best:
        return best[-1]["weights"]
    averages = _states_of("Average", state)
    if averages:
        prefix = "module."
        return {key.removeprefix(prefix): value for key, value in averages[-1].items() if key.startswith(prefix)}
    return state["net"]


def _states_of(key, state):
    """Return the states of all callbacks with a key, in the order in which they act (see `named`)."""
    numbered = re.compile(rf"{key}\d*")
    return [kept for name, kept in state["callbacks"].items() if numbered.fullmatch(name)]


def check_parts(state, present, path):
    """Raise an error, before any of it is used, if a checkpoint lacks some of the state that this training saves."""
    optional = ("gradients", "device", "generators")  # earlier versions, or other devices, do not save them
    missing = state.get("unreadable", []) + [name for name in present if name not in state and name not in optional]
    for entry in {"net", "optimizer", "step", "callbacks", "history", "position", "random"} - set(missing):
        missing += [f"{entry}.{name}" for name in present[entry] if name not in state[entry] and name not in optional]
    if missing:
        raise CheckpointError(
            f"This checkpoint lacks {', '.join(sorted(missing))}. A training cannot resume exactly without it.",
            where=path,
            next_step="Remove it, to resume from the checkpoint before it; or remove the folder, to start anew.",
        )
    before, now = (
        [len(group["params"]) for group in kept["optimizer"].get("param_groups", ())] for kept in (state, present)
    )
    if before != now:
        raise CheckpointError(
            f"The optimizer had groups of {before} tensors in the checkpoint, but has {now} now.",
            where=path,
            next_step="Give the optimizer all groups when you make it, instead of add_param_group in a callback, and "
            "start the training anew. load_run still loads the weights.",
        )


def _with_state(training):
    return {name: callback for name, callback in named(training.callbacks).items() if hasattr(callback, "state_dict")}


def _generators(train_iter):
    """Return the random generators of a DataLoader, its dataset and its samplers, each once."""
    sampler = getattr(train_iter, "batch_sampler", None)
    places = [train_iter, getattr(train_iter, "dataset", None), getattr(train_iter, "sampler", None)]
    places += [sampler, getattr(sampler, "sampler", None)]
    values = [value for place in places for value in getattr(place, "__dict__", {}).values()]
    return [*dict.fromkeys(value for value in values if isinstance(value, torch.Generator))]


def _to(value, device):
    return value.to(device) if isinstance(value, torch.Tensor) else value


def random_state(device):
    """Return the states of the random generators that a training may use."""
    kind, keys, *numbers = np.random.get_state()
    state = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": [kind, keys.tolist(), *numbers]}
    if device.type in ("cuda", "mps"):
        state["device"] = getattr(torch, device.type).get_rng_state()
    return state


def set_random_state(state, device):
    """Restore the generators' states; on another kind of device than before, the device's generator is not changed."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *numbers = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *numbers))
    if "device" in state and device.type in ("cuda", "mps"):
        getattr(torch, device.type).set_rng_state(state["device"])


def _space(folder):
    parent = next((path for path in (folder, *folder.parents) if os.path.isdir(path)), None)
    free = f"{shutil.disk_usage(parent).free / 2**20:,.0f} MiB are free there" if parent else "the disk does not exist"
    return f"free some disk space or repair the folder ({free}). The training continues and will try again."
