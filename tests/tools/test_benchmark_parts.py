"""What the benchmarks share: the baseline, the parts of a step, turns, memory, and records that are kept or not."""

import json
import sys

import pytest
import torch
from torch import nn

from tools.bench import _parts, _shared, _ways, data_path, recipes, where
from utils.data.augment import Shrink
from utils.errors import CourseworkError
from utils.models import GatedBlock
from utils.models.gated import GatedConv, set_form
from utils.recipes import OURS, SYSTEMS

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


class Counter:
    """Stands in for Turns: ends a training after some batches."""

    def __init__(self, batches):
        self.left = batches

    def after_batch(self, training=None):
        self.left -= 1
        if not self.left:
            raise EOFError


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_baseline_trains_each_system_as_the_reports_did(system, monkeypatch):
    made = []
    for name in ("set_form", "make_optimizer"):
        real = getattr(_ways, name)
        monkeypatch.setattr(_ways, name, lambda *a, real=real, **k: made.append(real(*a, **k)) or made[-1])
    recipe = SYSTEMS[system].change(batch_size=2)
    torch.manual_seed(0)
    before = recipe.make_network()
    with pytest.raises(EOFError):
        _ways.baseline(recipe, _ways.noise(6, colours_last=True), CPU, Counter(4), workers=0)  # into a second epoch
    net, optimizer = made
    assert not any(layer.form != "loop" for layer in net.modules() if isinstance(layer, GatedConv))
    assert not optimizer.defaults.get("fused")
    weights = zip(net.parameters(), before.parameters(), strict=True)
    assert all(torch.isfinite(new).all() for new in net.parameters()) and any(
        (new != old).any() for new, old in weights
    )


def test_a_training_that_fails_in_its_process_is_no_measurement(capfd):
    settings = _shared.settings_of(recipes, "check")
    way = _ways.Way("no such system", "ours", CPU, settings)
    try:
        with pytest.raises(CourseworkError, match="no such system, ours: the process ended with exit code 1"):
            way.answer()
    finally:
        way.close()
    assert "no such system" in capfd.readouterr().err


def test_no_image_is_shrunk_where_speed_is_measured():
    found = _ways.of_whole_images(OURS["fast"])
    assert found.augment and not any(isinstance(op, Shrink) for op in found.augment)
    assert found == OURS["fast"].change(augment=found.augment)


def test_backward_operations_belong_to_the_part_of_their_forward_ones():
    after = nn.Sequential(nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2))
    block = GatedBlock(3, 4, (3, 3), after=after)
    net = set_form(nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)), "scaled")
    loader = type("Loader", (), {"batch": staticmethod(lambda: torch.randn(2, 3, 8, 8))})()
    _parts.label(net, loader)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        net(loader.batch()).square().sum().backward()
    events = profile.events()
    forward = _parts._forward_parts(events)
    parts = {event.name: _parts.part_of(event, forward) for event in events}
    assert parts["aten::randn"] == "data"
    assert parts["aten::mkldnn_convolution"] == "convolution forward"
    assert parts["aten::convolution_backward"] == "convolution backward"
    assert parts["aten::native_batch_norm_backward"] == "norms"
    assert parts["aten::gelu_backward"] == "activations"
    assert parts["aten::max_pool2d_with_indices_backward"] == "pooling"
    assert parts["aten::_softmax_backward_data"] == _parts.GATE
    assert parts["aten::pow"] == "rest"


@pytest.mark.parametrize(("kernels", "size", "product"), [((1, 1), 16, "aten::baddbmm"), ((3, 3), 2, "aten::linear")])
def test_a_gated_convolutions_own_products_are_convolutions_and_its_gates_are_not(kernels, size, product):
    net = nn.Sequential(GatedBlock(3, 4, kernels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    X = torch.randn(32, 3, size, size)
    _parts.label(net, type("Loader", (), {"batch": None}))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        net(X).square().sum().backward()
    events = profile.events()
    forward = _parts._forward_parts(events)
    parts = {name: {_parts.part_of(e, forward) for e in events if e.name == name} for name in (product, "aten::linear")}
    products = len(kernels) if product == "aten::linear" else 1
    assert sum(e.name == product and _parts.part_of(e, forward) == "convolution forward" for e in events) == products
    assert _parts.GATE in parts["aten::linear"]  # the gate has a linear layer
    assert "convolution backward" in {_parts.part_of(event, forward) for event in events if "mm" in event.name}


def test_ways_take_turns_in_either_order():
    order = []
    ways = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = _shared.in_turns(ways, 3, CPU)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_the_most_memory_of_a_process_is_its_own_and_not_that_of_the_one_that_started_it():
    code = "import tools.bench._memory as m; x = bytearray(2**26); del x; print(m.resident(), m.resident(most=True))"
    _, line = _shared.in_new_process(code)
    now, most = map(int, line.split())
    here = torch.ones(2**26)  # 256 MB
    assert most < 2**27 <= here.nbytes
    if sys.platform == "linux":
        assert most - now > 2**25


@pytest.fixture
def own_records(tmp_path, monkeypatch):
    monkeypatch.setattr(_shared, "RECORDS", tmp_path)
    monkeypatch.setattr(data_path, "measure", lambda device, settings: {"rows": [], "copy_bytes_per_s": 1.0})
    return tmp_path


@pytest.mark.parametrize("words", [["--check"], ["--quick"], ["--repeats", "1"], ["--no-record"]], ids=str)
def test_a_trial_leaves_the_committed_record_alone(own_records, words, capsys):
    assert _shared.main(data_path, words) == 0
    assert list(own_records.iterdir()) == [] and "No record" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--repeats", "5"]], ids=str)
def test_a_full_run_writes_the_record_of_its_device(own_records, words):
    _shared.main(data_path, words)
    (path,) = own_records.iterdir()
    assert path.name == f"data_path-{_shared.try_gpu().type}.json"
    assert json.loads(path.read_text())["settings"] == _shared.settings_of(data_path, "full")
    _shared.main(data_path, ["--check", "--json", str(own_records / "of trials" / "a.json")])
    assert json.loads((own_records / "of trials" / "a.json").read_text())["settings"]["images"] == 64


class Cut(Exception):
    pass


@pytest.mark.parametrize("level", ["full", "quick"])
def test_a_benchmark_that_is_interrupted_resumes_with_the_next_row(own_records, monkeypatch, level):
    monkeypatch.setenv("COURSEWORK_RUNS", str(own_records / "runs"))
    done = []

    def row_of(name, last="c"):
        if name == last:
            raise Cut
        done.append(name)
        return {"name": name}

    where_from = recipes, CPU, _shared.settings_of(recipes, level), ["a", "b", "c"]
    with pytest.raises(Cut):
        _shared.row_by_row(*where_from, row_of)
    rows = _shared.row_by_row(*where_from, lambda name: row_of(name, last=None))
    assert rows == [{"name": name} for name in "abc"]
    assert done == [*"abc"] if level == "full" else [*"ababc"]  # of a trial nothing is kept
    assert list(own_records.glob("runs/*")) == []


def test_rows_of_another_machine_or_day_are_measured_anew(own_records, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", str(own_records / "runs"))
    settings = _shared.settings_of(recipes, "full")

    def row_of(name):
        if name == "b":
            raise Cut
        return {"name": name}

    with pytest.raises(Cut):
        _shared.row_by_row(recipes, CPU, settings, ["a", "b"], row_of)
    monkeypatch.setattr(_shared, "machine", lambda device: "another")
    assert _shared.row_by_row(recipes, CPU, settings, ["a"], lambda name: {"name": "anew"}) == [{"name": "anew"}]


def test_a_system_that_there_is_not_is_named_without_a_traceback(capsys):
    assert _shared.main(where, ["--systems", "resnet"]) == 1
    assert "resnet" in capsys.readouterr().err
