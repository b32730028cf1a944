"""Tests what is done with checkpoints that are damaged, of another training, or made to do harm."""

import functools
import hashlib
import io
import os
import pickle
import random
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from victim import Broken, Victim, break_at, differences, images

from utils.data.loader import BatchLoader
from utils.errors import CheckpointError, CheckpointWarning
from utils.my_utils import train_ch3
from utils.optim.losses import make_loss
from utils.runs.checkpoint_files import NAME, dump, listed, newest, write
from utils.runs.checkpoints import Checkpoints

STATE = {"position": {"epoch": 0, "batch": 1}, "about": {}, "net": torch.arange(100.0)}


def two(folder):
    """Write two generations; return the bytes of the newer one, and its path."""
    for batch in (1, 2):
        write(folder, STATE | {"position": {"epoch": 0, "batch": batch}})
    path = listed(folder)[0]
    return path.read_bytes(), path


def falls_back(folder, path, content):
    """Damage the newer of two generations; require the older, and a warning, and the damaged one set aside."""
    path.write_bytes(content)
    with pytest.warns(CheckpointWarning, match=re.escape(path.stem)):
        found, state = newest(folder)
    aside = path.with_suffix(".corrupt")
    assert state["position"]["batch"] == 1 and torch.equal(state["net"], STATE["net"]) and found != path
    assert aside.read_bytes() == content and not path.exists()
    aside.rename(path)


def test_a_checkpoint_cut_short_anywhere_is_passed_over_for_the_one_before(tmp_path):
    content, path = two(tmp_path)
    for size in (0, 1, len(content) // 2, len(content) - 1):
        falls_back(tmp_path, path, content[:size])


def test_zeros_and_additions_are_found_too(tmp_path):
    content, path = two(tmp_path)
    hole = bytearray(content)
    hole[512:1024] = bytes(512)
    for damaged in (bytes(len(content)), content + b"\0", bytes(hole)):
        falls_back(tmp_path, path, damaged)


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.faults)])
def test_every_bit_that_flips_is_found(tmp_path, count):
    content, path = two(tmp_path)
    for place in random.Random(0).sample(range(8 * len(content)), count):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        falls_back(tmp_path, path, bytes(damaged))


def test_where_all_are_damaged_there_is_an_error_at_each_start_and_never_one_from_nothing(tmp_path):
    Victim(tmp_path).train()
    for path in listed(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        resumed = Victim(tmp_path, 99)
        before = [tensor.clone() for tensor in resumed.net.state_dict().values()]
        with pytest.raises(CheckpointError, match="Every checkpoint of this training is damaged: 2 were renamed"):
            resumed.train()
        assert differences(before, [*resumed.net.state_dict().values()]) == []
    assert len([*tmp_path.glob("*.corrupt")]) == 2


def test_a_training_whose_newest_checkpoint_is_damaged_ends_the_same(tmp_path):
    with pytest.raises(Broken):
        Victim(tmp_path).train(break_at(8))
    path = listed(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(CheckpointWarning, match=r"resumes from checkpoint-00001-0000001"):
        resumed = Victim(tmp_path, 99).train()
    assert differences(Victim().train(), resumed) == []


def test_content_just_loaded_can_be_saved_again(tmp_path):
    write(tmp_path, STATE)
    path, state = newest(tmp_path)
    assert write(tmp_path, state) == path and listed(tmp_path) == [path]
    assert torch.equal(newest(tmp_path)[1]["net"], STATE["net"])


class Other(torch.nn.Module):
    """Ten scores of an image of 8 x 8, or as many as asked for."""

    def __init__(self, classes=10):
        super().__init__()
        self.linear = torch.nn.Linear(192, classes)

    def forward(self, X):
        return self.linear(X.flatten(1))


def begin(
    folder, *, classes=10, batch_size=32, seed=0, about=None, callbacks=(), loss=None, optimizer=None, **settings
):
    """Train Other for one epoch with these settings, or go on with them; return it."""
    net = Other(classes)
    optimizer = (optimizer or torch.optim.SGD)(net.parameters(), **{"lr": 0.1, "momentum": 0.9} | settings)
    train_iter = BatchLoader(images(96), batch_size, shuffle=True, seed=seed)
    callbacks = [*callbacks, Checkpoints(folder, about=about)]
    loss, net.before = loss or make_loss("cross_entropy"), net.linear.weight.detach().clone()
    train_ch3(net, train_iter, None, loss, 1, optimizer, callbacks=callbacks, curves=False)
    return net


def two_groups(parameters, split, **settings):
    """Make an SGD with the tensors divided into two groups at one place or at another."""
    parameters = [*parameters, torch.nn.Parameter(torch.zeros(1))]
    return torch.optim.SGD([{"params": parameters[:split]}, {"params": parameters[split:]}], **settings)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"classes": 11}, r"net\.linear\.weight: float32 \[10, 192\] in the checkpoint, now float32 \[11, 192\]"),
        ({"lr": 0.2}, r"optimizer\.0\.lr: 0\.1 in the checkpoint, now 0\.2"),
        ({"momentum": 0.5}, r"optimizer\.0\.momentum: 0\.9 in the checkpoint, now 0\.5"),
        ({"weight_decay": 0.1}, r"optimizer\.0\.weight_decay"),
        ({"optimizer": lambda p, lr, momentum: torch.optim.Adam(p, lr)}, "optimizer: SGD in the checkpoint, now Adam"),
        ({"batch_size": 33}, r"loader\.batch_size: 32 in the checkpoint, now 33"),
        ({"seed": 1}, r"loader\.seed: 0 in the checkpoint, now 1"),
        ({"about": {"data": "b"}}, "data: a in the checkpoint, now b"),
        ({"loss": make_loss("cross_entropy", label_smoothing=0.1)}, "loss: .*label_smoothing.* 0.0"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_with_the_differences(tmp_path, change, line):
    begin(tmp_path, about={"data": "a"})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    seen = []
    watch = type("Watch", (), {"on_end": lambda self, training: seen.append(training)})()
    with pytest.raises(CheckpointError, match=f"another training:\n(.*\n)*.*{line}") as caught:
        begin(tmp_path, **{"about": {"data": "a"}, "callbacks": [watch]} | change)
    assert len(str(caught.value).splitlines()) < 10
    assert torch.equal(seen[0].net.before, seen[0].net.linear.weight) and seen[0].optimizer.state_dict()["state"] == {}
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_same_tensors_in_other_groups_are_refused_before_any_changes(tmp_path):
    begin(tmp_path, optimizer=functools.partial(two_groups, split=1))
    with pytest.raises(CheckpointError, match=r"optimizer\.0\.tensors: 1 in the checkpoint, now 2"):
        begin(tmp_path, optimizer=functools.partial(two_groups, split=2))


def test_an_lr_of_numpy_is_saved_as_the_number_it_is(tmp_path):
    lr = np.logspace(-2, -1, 3)[1]
    first = begin(tmp_path, lr=lr, about={"trial": np.int64(3)})
    assert torch.equal(first.linear.weight, begin(tmp_path, lr=float(lr), about={"trial": 3}).linear.weight)


def test_what_could_not_be_loaded_again_is_refused_before_the_training(tmp_path):
    with pytest.raises(CheckpointError, match="can't hold about.root[.]") as caught:
        begin(tmp_path, about={"root": tmp_path})
    assert "Let about" in str(caught.value) and listed(tmp_path) == []


class Command:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def marked(marker):
    """Return the pickles of several ways to make a marker file when they are loaded."""
    return {
        "os.system": Command(os.system, f"touch {marker}"),
        "eval": Command(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Command(exec, f"open({str(marker)!r}, 'w')"),
        "os.mkdir": Command(os.mkdir, str(marker)),
        "numpy": Command(np.save, str(marker), 1),
        "torch.load": Command(torch.load, str(marker)),
        "torch.save": Command(torch.save, 1, str(marker)),
        "functools": functools.partial(os.mkdir, str(marker)),
    }


WAYS = sorted(marked(""))


def put(folder, content):
    """Write content as a checkpoint with the right hash in its name."""
    folder.mkdir(exist_ok=True)
    path = folder / NAME.format(epoch=0, batch=1, hash=hashlib.sha256(content).hexdigest()[:32])
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["in the state", "as the file", "old format", "nested bytes"])
@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_that_would_run_code_is_refused_and_not_run(tmp_path, way, kind):
    marker = tmp_path / "marker"
    command = marked(marker)[way]
    contents = {
        "in the state": lambda: bytes(dump(STATE | {"about": command})),
        "as the file": lambda: pickle.dumps(command, 2),
        "old format": lambda: old_format(STATE | {"about": command}, tmp_path / "old"),
        "nested bytes": lambda: with_pickle(bytes(dump(STATE)), pickle.dumps(command, 2)),
    }
    put(tmp_path / "kept", contents[kind]())
    (tmp_path / "old").unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="none of its code was run"):
        Victim(tmp_path / "kept").train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"] and len(listed(tmp_path / "kept")) == 1


def old_format(state, path):
    """Return the bytes that torch wrote before its files were zip archives."""
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def with_pickle(content, pickled):
    """Return a checkpoint's zip archive with another pickle in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return out.getvalue()


@pytest.mark.parametrize("count", [60, pytest.param(1500, marks=pytest.mark.faults)])
def test_damage_under_a_name_that_fits_it_is_a_clear_error_or_loads(tmp_path, count):
    draw, content = random.Random(0), bytes(dump(STATE | {"random": random.getstate()[1][:20]}))
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 3, 30))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path = put(tmp_path, bytes(damaged[: draw.choice((None, draw.randrange(len(damaged))))]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert newest(tmp_path)[0] == path
            except CheckpointError as error:
                assert len(str(error).splitlines()) < 10
        path.unlink()


def test_a_file_that_is_no_state_is_refused(tmp_path):
    for thing in ([1, 2], {"net": {}}, 5):
        path = put(tmp_path, bytes(dump(thing)))
        with pytest.raises(CheckpointError, match="not a checkpoint of a training"):
            newest(tmp_path)
        path.unlink()


def test_a_list_of_batches_and_a_plain_dataloader_are_described_as_well(tmp_path):
    split = images(64)
    for train_iter in (
        [(split.images / 255, split.labels)],
        DataLoader(TensorDataset(split.images / 255, split.labels), 32),
    ):
        net, folder = Other(), tmp_path / type(train_iter).__name__
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(2):
            callbacks, loss = [Checkpoints(folder)], make_loss("cross_entropy")
            train_ch3(net, train_iter, None, loss, 1, optimizer, callbacks=callbacks, curves=False)
        assert len(listed(folder)) == 1
