"""The benchmarks: each really measures, in seconds, and what readers see is made of the committed records alone."""

import copy
import io

import pytest
import torch
from PIL import Image

from tools.bench import _parts, _shared, data_path, gated_conv, loop, page, recipes, run_log, small_maps, startup, where
from utils.recipes import OURS, find_system

pytestmark = pytest.mark.usefixtures("one_thread", "close_figures")
CPU = torch.device("cpu")
ONE_OF_OURS = min(OURS.values(), key=lambda recipe: recipe.macs()).name
SETTINGS = {module: {} for module in (data_path, gated_conv, small_maps, loop, startup, run_log)} | {
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
def test_each_benchmark_runs_and_shows_its_tables_and_its_figure(measured, module):
    record = measured(module)
    assert record["benchmark"] == _shared.name_of(module) and record["device"] == "cpu" and record["machine"]
    for table in module.tables(record):
        assert table.rows and all(len(row) == len(table.header) for row in table.rows)
        assert "nan" not in table.markdown() and "inf" not in table.markdown()
    picture = Image.open(io.BytesIO(page.draw(module, {"cpu": record, "cuda": None})))
    assert picture.width > 800 and picture.info["Source"] == page.digest({"cpu": record, "cuda": None})


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
    small_maps: (
        {"rows": [{"widths": (5, 10), "batch_size": 2, "ms": {"conv": [6, 3, 9], "matrix": [2]}}]}
        | {"matrix_macs_per_s": 4.8e6},
        ("5 → 10, 2 images", "6.0", "2.0", "3.00", "50 %"),
    ),
    startup: (
        {
            "rows": [
                {"case": name, "seconds": [4 - i], "peak_bytes": [2**20]}
                for i, name in enumerate(["make help", "python"])
            ]
        },
        ("make help", "4.00", "+1.00", "1"),
    ),
}


@pytest.mark.parametrize("module", KNOWN, ids=_shared.name_of)
def test_its_table_shows_medians_ratios_and_distances_to_the_limit(module):
    record, row = KNOWN[module]
    assert module.tables(record)[0].rows[0] == row


def test_the_parts_of_a_step_make_up_the_whole_of_it(measured):
    for row in measured(where)["rows"]:
        assert list(row["shares"]) == list(_parts.PARTS)
        assert sum(row["shares"].values()) == pytest.approx(1)
        found = {part for part, share in row["shares"].items() if share > 0}
        assert found >= set(_parts.PARTS) - {_parts.GATE} and row["seconds"] > 0
        assert (_parts.GATE in found) == ("gated" in str(find_system(row["system"]).network))


def test_the_committed_pages_and_figures_are_what_the_records_give(committed):
    assert page.stale(committed) == [], "run python -m tools.bench.page"


def test_every_committed_record_lies_where_the_page_looks_for_it(committed):
    names = {f"{_shared.name_of(module)}-{kind}.json" for module in committed for kind in _shared.DEVICES}
    assert {path.name for path in _shared.RECORDS.glob("*.json")} <= names


@pytest.mark.parametrize("spoil", ["record", "page"])
def test_what_is_stale_is_found(committed, tmp_path, monkeypatch, spoil):
    copied = tmp_path / "PAGE"
    copied.write_text(page.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", copied)
    records = {module: copy.deepcopy(each) for module, each in committed.items()}
    if spoil == "record":
        rates = records[data_path]["cpu"]["rows"][0]["images_per_s"]
        rates["BatchLoader"] = [2 * rate for rate in rates["BatchLoader"]]
        assert page.stale(records) == [page.figure_path(data_path), page.PAGE]
    else:
        copied.write_text(copied.read_text(encoding="utf-8").replace("| CPU", "| cpu", 1), encoding="utf-8")
        assert page.stale(records) == [page.PAGE]


@pytest.mark.parametrize("missing", _shared.DEVICES)
def test_a_device_without_a_record_is_not_yet_run(measured, missing):
    records = dict.fromkeys(_shared.DEVICES, measured(data_path)) | {missing: None}
    shown = page.section(data_path, records)
    assert f"- {_shared.DEVICES[missing]}: not yet run" in shown
    rows = [line for line in shown.splitlines() if line.startswith("| flip")]
    assert len(rows) == len(data_path.CASES) and all(row.count("not yet run") == 1 for row in rows)
    assert page.headline_table({data_path: records}).count("not yet run") == 1


def test_without_any_record_there_is_neither_table_nor_figure():
    shown = page.section(data_path, dict.fromkeys(_shared.DEVICES))
    assert shown.count("not yet run") == len(_shared.DEVICES) and "|" not in shown and "![" not in shown


def test_a_trial_is_called_one_wherever_its_figures_are_shown(measured):
    full = measured(data_path) | {"settings": _shared.settings_of(data_path, "full")}
    for record, count in ((measured(data_path), 1), (full, 0)):
        records = {"cpu": record, "cuda": None}
        assert page.section(data_path, records).count(page.TRIAL) == count
        assert page.headline_table({data_path: records}).count(page.TRIAL) == count


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
    both = {"cpu": measured(loop), "cuda": on_gpu}
    assert Image.open(io.BytesIO(page.draw(loop, both))).width > 800


@pytest.mark.parametrize("module", SETTINGS, ids=_shared.name_of)
def test_two_devices_stand_in_one_table_or_below_each_other(measured, module):
    both = {"cpu": measured(module), "cuda": {**measured(module), "machine": "a GPU"}}
    for text, table in zip(page.joined(module, both), module.tables(measured(module)), strict=True):
        lines = [line for line in text.splitlines() if line.startswith("|")]
        numbers = len(table.header) - 1
        columns = 2 * numbers if numbers <= page.BESIDE else numbers
        assert {line.count("|") for line in lines} == {columns + 2}
        assert "not yet run" not in text
    assert Image.open(io.BytesIO(page.draw(module, both))).width > 800
