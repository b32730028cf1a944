"""The benchmarks: each really measures, in seconds, and what readers see is made of the committed records alone."""

import json
import sys

import pytest
import torch
from suites import ROOT, run_python
from torch import nn

from tools.bench import _parts, _shared, _ways, data_path, gated_conv, loop, page, recipes, where
from utils.data.augment import Shrink
from utils.errors import CourseworkError
from utils.models import GatedBlock
from utils.models.gated import GatedConv, set_form
from utils.recipes import OURS, SYSTEMS, find_system

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
ONE_OF_OURS = min(OURS.values(), key=lambda recipe: recipe.macs()).name
SETTINGS = {module: {} for module in (data_path, gated_conv, loop)} | {
    where: {"systems": f"dropout_cnn,{ONE_OF_OURS}"},
    recipes: {"systems": ONE_OF_OURS},
}


@pytest.fixture(scope="module")
def committed():
    return page.all_records()


def measure(module):
    settings = _shared.settings_of(module, "check") | SETTINGS[module]
    return _shared.measured(module, CPU, settings)


@pytest.fixture(scope="module")
def measured():
    """Return a function that runs a benchmark for some seconds, once for all tests of this file."""
    kept = {}

    def run(module):
        if module not in kept:
            kept[module] = measure(module)
        return kept[module]

    return run


@pytest.mark.parametrize("module", SETTINGS, ids=_shared.name_of)
def test_each_benchmark_runs_and_shows_its_tables(measured, module):
    record = measured(module)
    assert record["benchmark"] == _shared.name_of(module) and record["device"] == "cpu" and record["machine"]
    for table in module.tables(record):
        assert table.rows and all(len(row) == len(table.header) for row in table.rows)
        assert "nan" not in table.markdown() and "inf" not in table.markdown()


@pytest.mark.parametrize("module", [module for module in SETTINGS if module is not where], ids=_shared.name_of)
def test_its_headlines_are_ratios(measured, module):
    claims = module.headlines(measured(module))
    numbers = [float(word) for text in claims.values() for word in text.split() if word not in ("to", ":")]
    assert len(numbers) >= len(claims) > 0 and min(numbers) >= 0  # rounded: on a busy machine one may be 0.00


def test_a_recipes_row_has_every_single_measurement(measured):
    (row,) = measured(recipes)["rows"]
    assert {way: len(rates) for way, rates in row["images_per_s"].items()} == {"baseline": 1, "ours": 1}
    assert all(rate > 0 for rates in row["images_per_s"].values() for rate in rates)
    assert all(peak > 0 for peak in row["peak_bytes"].values())
    assert 0 < recipes.share_of_limit(row, measured(recipes)) < 2


SIZES = {"baseline": 2**21, "ours": 2**20}
KNOWN = {  # a record whose figures can be worked out in the head, and the row that its first table then has
    data_path: (
        {"rows": [{"case": "c", "images_per_s": {"BatchLoader": [1e3, 4e3, 3e3], "DataLoader": [1e3]}}]}
        | {"copy_bytes_per_s": 15360 * 6e3},
        ("c", "3,000 (1,000 to 4,000)", "1,000 (1,000 to 1,000)", "3.0", "50.0 %"),
    ),
    gated_conv: (
        {
            "rows": [
                {
                    "kernels": (1, 1),
                    "shape": (1, 2, 3),
                    "named": "scaled",
                    "ms": {"loop": [6], "scaled": [2], "auto": [1.5], "one": [1]},
                }
            ]
        }
        | {"networks": []},
        ("1 → 2, 3x3, 1x1", "6.0", "**3.00**", "-", "4.00", "6.00"),
    ),
    loop: (
        {"loops": [{"network": "n", "images_per_s": {"bare": [800], "ours": [600], "guarded": [400], "course": [200]}}]}
        | {"checkpoints": []},
        ("n", "800", "0.750", "0.500", "3.00"),
    ),
    recipes: (
        {"rows": [{"system": "s", "macs": 10, "images_per_s": {"baseline": [2], "ours": [5]}, "peak_bytes": SIZES}]}
        | {"matrix_macs_per_s": 300},
        ("s", "2", "5", "2.50", "50 %"),
    ),
}


@pytest.mark.parametrize("module", KNOWN, ids=_shared.name_of)
def test_its_table_shows_medians_ratios_and_distances_to_the_limit(module):
    record, row = KNOWN[module]
    assert module.tables(record)[0].rows[0] == row


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


def test_the_parts_of_a_step_make_up_the_whole_of_it(measured):
    for row in measured(where)["rows"]:
        assert list(row["shares"]) == list(_parts.PARTS)
        assert sum(row["shares"].values()) == pytest.approx(1)
        found = {part for part, share in row["shares"].items() if share > 0}
        assert found >= set(_parts.PARTS) - {_parts.GATE} and row["seconds"] > 0
        assert (_parts.GATE in found) == ("gated" in str(find_system(row["system"]).network))


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
    now, most = map(int, run_python("-c", code, cwd=ROOT).stdout.split())
    here = torch.ones(2**26)  # 256 MB
    assert most < 2**27 <= here.nbytes
    if sys.platform == "linux":
        assert most - now > 2**25


@pytest.fixture
def own_records(tmp_path, monkeypatch):
    monkeypatch.setattr(_shared, "RECORDS", tmp_path)
    monkeypatch.setattr(data_path, "measure", lambda device, settings: {"rows": [], "copy_bytes_per_s": 1.0})
    return tmp_path


@pytest.mark.parametrize("words", [["--check"], ["--repeats", "1"]], ids=str)
def test_a_trial_leaves_the_committed_record_alone(own_records, words, capsys):
    assert _shared.main(data_path, words) == 0
    assert list(own_records.iterdir()) == [] and "No record" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--repeats", "5"]], ids=str)
def test_a_full_run_writes_the_record_of_its_device(own_records, words):
    _shared.main(data_path, words)
    (path,) = own_records.iterdir()
    assert path.name == f"data_path-{_shared.try_gpu().type}.json"
    assert json.loads(path.read_text())["settings"] == _shared.settings_of(data_path, "full")


def test_a_system_that_there_is_not_is_named_without_a_traceback(capsys):
    assert _shared.main(where, ["--systems", "resnet"]) == 1
    assert "resnet" in capsys.readouterr().err


def test_the_committed_page_is_what_the_records_give(committed):
    assert page.PAGE.read_text(encoding="utf-8") == page.page(committed), "run python -m tools.bench.page"


def test_every_committed_record_lies_where_the_page_looks_for_it(committed):
    names = {f"{_shared.name_of(module)}-{kind}.json" for module in committed for kind in _shared.DEVICES}
    assert {path.name for path in _shared.RECORDS.glob("*.json")} <= names


@pytest.mark.parametrize("missing", _shared.DEVICES)
def test_a_device_without_a_record_is_not_yet_run(measured, missing):
    present = next(kind for kind in _shared.DEVICES if kind != missing)
    shown = page.section(
        data_path, {kind: measured(data_path) if kind == present else None for kind in _shared.DEVICES}
    )
    assert f"- {_shared.DEVICES[missing]}: not yet run" in shown
    rows = [line for line in shown.splitlines() if line.startswith("| flip")]
    assert len(rows) == len(data_path.CASES) and all(row.count("not yet run") == 1 for row in rows)
    assert page.headline_table({data_path: {present: measured(data_path), missing: None}}).count("not yet run") == 1


WITH_CUDA_GRAPH = {"bare": [800], "ours": [600], "guarded": [400], loop.CUDA_GRAPH: [2400], "course": [200]}


def test_what_only_a_gpu_does_has_no_figure_of_a_cpu(measured):
    on_gpu = measured(loop) | {"loops": [{"network": "linear", "images_per_s": WITH_CUDA_GRAPH}]}
    assert loop.tables(on_gpu)[0].rows[0] == ("linear", "800", "0.750", "0.500", "3.000", "3.00")
    (line,) = [
        line
        for line in page.headline_table({loop: {"cpu": measured(loop), "cuda": on_gpu}}).splitlines()
        if "CUDA graphs" in line
    ]
    assert line.endswith("| – | 3.00 |")


def test_without_any_record_there_is_no_table():
    shown = page.section(data_path, dict.fromkeys(_shared.DEVICES))
    assert shown.count("not yet run") == len(_shared.DEVICES) and "|" not in shown


@pytest.mark.parametrize("module", SETTINGS, ids=_shared.name_of)
def test_two_devices_stand_in_one_table_or_below_each_other(measured, module):
    both = {"cpu": measured(module), "cuda": {**measured(module), "machine": "a GPU"}}
    for text, table in zip(page.joined(module, both), module.tables(measured(module)), strict=True):
        lines = [line for line in text.splitlines() if line.startswith("|")]
        numbers = len(table.header) - 1
        columns = 2 * numbers if numbers <= page.BESIDE else numbers
        assert {line.count("|") for line in lines} == {columns + 2}
        assert "not yet run" not in text


def test_no_image_is_shrunk_where_speed_is_measured():
    found = _ways.of_whole_images(OURS["fast"])
    assert found.augment and not any(isinstance(op, Shrink) for op in found.augment)
    assert found == OURS["fast"].change(augment=found.augment)
