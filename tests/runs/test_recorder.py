"""The ledger's records: every training leaves one, of all that it depends on, in the folder where it belongs."""

import json

import pytest
import torch
import torch.nn.functional as F
from ledger_parts import SMALL, train
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from utils import runs
from utils.data.augment import Shrink
from utils.data.cifar10 import Split
from utils.data.loader import BatchLoader
from utils.my_utils import train_ch3
from utils.runs import recorder as ledger
from utils.runs.checkpoints import Checkpoints
from utils.runs.claim import NAME
from utils.runs.recorder import Recorder, new_folder
from utils.runs.run import Run, find

pytestmark = pytest.mark.usefixtures("ledger_folder")


def test_a_training_by_hand_is_on_the_ledger_without_a_line_for_it():
    history = train()
    (run,) = runs.all_runs()
    assert run.state == "finished" and run.name.startswith("training-")
    assert run.history().rows == history.rows and run.history().points == history.points
    record = run.record
    assert record["settings"]["optimizer"] == "SGD" and record["settings"]["lr"] == 0.05
    assert record["settings"]["batch_size"] == 24 and record["images"] == 100
    assert record["parameters"] == 2350 and record["watched"] == "test"
    assert not (run.folder / NAME).exists()


def test_what_a_callback_adds_to_a_row_is_recorded_and_resumed(ledger_folder):
    def add(training):
        training.history.rows[-1]["doubled"] = torch.tensor(2.0 * training.epoch)

    for epochs in (1, 2):
        history = train(add, record="mine", epochs=epochs)
    assert [*map(float, history["doubled"])] == [2.0, 4.0]
    assert runs.find("mine").history()["doubled"] == [2.0, 4.0]


def test_a_name_may_be_given_and_a_record_may_be_left_out(ledger_folder):
    train(record="my first/net")
    assert runs.all_runs()[0].name == "my_first_net"
    assert runs.find("my first/net").record["system"] == "my first/net"
    train(record=False)
    assert len(runs.all_runs()) == 1


def test_the_record_lies_where_the_checkpoints_lie(tmp_path):
    train(Checkpoints(tmp_path / "mine"))
    assert Run(tmp_path / "mine").state == "finished" and not runs.all_runs()


def test_each_run_has_one_ledger_even_if_one_is_given(tmp_path):
    train(Recorder(tmp_path / "mine", "mine"))
    assert Run(tmp_path / "mine").record["system"] == "mine" and not runs.all_runs()


def test_two_runs_of_one_second_get_two_folders(monkeypatch):
    monkeypatch.setattr(ledger.time, "strftime", lambda *_: "20260101-000000")
    names = [new_folder("x").name for _ in range(3)]
    assert names == ["x-20260101-000000", "x-20260101-000000-2", "x-20260101-000000-3"]


def test_a_recipes_record_holds_all_that_it_depends_on(data, tiny):
    trained = tiny.train(data, seed=3, **SMALL)
    record = trained.run.record
    assert record["recipe"] == json.loads(json.dumps(tiny.describe()))
    origin = {"name": data.name, "source": "synthetic", "checksum": data.checksum, "classes": list(data.classes)}
    assert record["data"] == origin
    assert [record[name] for name in ("system", "seed", "protocol", "effort", "precision", "num_epochs")] == [
        "tiny", 3, "validation", "check", "fp32", 2,
    ]  # fmt: skip
    assert record["macs"] == tiny.macs() and record["torch"] == torch.__version__
    assert trained.run.name == trained.folder.name and "-check-s3-" in trained.run.name
    assert trained.run.history().rows == trained.history.rows


def test_what_a_run_trained_on_is_known_from_any_loader(data):
    few = data.train.subset(torch.arange(60))
    with_origin = TensorDataset(few.images.float(), few.labels)
    with_origin.origin = few.origin
    for train_iter in (BatchLoader(few, 20), DataLoader(with_origin, 20)):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
        train_ch3(net, train_iter, None, F.cross_entropy, 1, torch.optim.SGD(net.parameters(), 0.01), curves=False)
        record = find("last").record
        assert record["data"]["checksum"] == data.checksum and record["images"] == 60


def test_a_run_that_is_called_again_is_one_run_and_not_trained_again(data, tiny):
    first = tiny.train(data, **SMALL)
    before = (first.folder / "run.json").read_bytes(), (first.folder / "metrics.jsonl").read_bytes()
    tiny.train(data, **SMALL)
    assert ((first.folder / "run.json").read_bytes(), (first.folder / "metrics.jsonl").read_bytes()) == before
    assert len(runs.all_runs()) == 1


def test_the_network_is_described_for_whole_images_even_if_the_first_batches_are_shrunk(tmp_path):
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
    loader = BatchLoader(Split(images, torch.arange(20) % 10), 10, augment=(Shrink(24, epochs=1),), shuffle=True)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    train_ch3(
        net,
        loader,
        loader,
        F.cross_entropy,
        1,
        optimizer,
        callbacks=[Recorder(tmp_path / "mine", "mine")],
        curves=False,
    )
    first = Run(tmp_path / "mine").network["layers"][0]
    assert first["shape"] == [4, 30, 30]
