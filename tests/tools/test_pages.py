"""Tests of tools/pages.py and tools/marks.py: tables say what the records say, and compare like with like."""

import pytest

from tools import marks, pages
from utils.errors import CourseworkError
from utils.experiments.records import CHOICE_RESULTS, read_records
from utils.files import plain
from utils.recipes import ABLATIONS, CHOICES, OURS, SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS

CPU, OTHER_CPU = "AMD EPYC (2 cores), torch 2.11", "Xeon (2 cores), torch 2.11"
GPU = "NVIDIA H200 (140 GiB), torch 2.11"


def record(recipe=OURS["quick"], **changes):
    """Return a record of a training as results/accuracy/ keeps it."""
    return {
        "system": recipe.name,
        "protocol": "train_on_all",
        "seed": 0,
        "data": {"name": "copies", "checksum": "0123"},
        "plain_accuracy": 0.88,
        "views": recipe.views,
        "accuracy": 0.9,
        "epochs": 8,
        "seconds": {"training": 80.0, "answers": 20.0},
        "device": CPU,
        "parameters": 1000,
        "recipe": plain(recipe.describe()),
    } | changes


def rival(**changes):
    """Return a record of somebody else's code."""
    published = {"address": "https://example.org", "accuracy": 0.94, "seconds": 3.83, "on": "an A100"}
    return record(recipe=OURS["fast"], system="airbench", rival=published, views="six") | {"recipe": None} | changes


def test_the_pages_in_the_repository_are_those_of_the_records():
    assert pages.main(["--check"]) == 0
    recipes = [recipe for _, recipe in pages.systems()]
    recipes += [*ABLATIONS.values(), *(row.recipe for row in (*C_ROWS, *D_ROWS))]
    for path, kept in read_records().items():
        assert "rival" in kept or any(pages.is_of(kept, recipe) for recipe in recipes), f"{path.name}: another recipe"
    alternatives = [recipe for group in CHOICES.values() for recipe in group.values()]
    for path, kept in read_records(CHOICE_RESULTS).items():
        assert any(pages.is_of(kept, recipe) for recipe in alternatives), f"{path.name}: another recipe"


def test_a_row_has_mean_spread_and_seeds_and_another_recipe_has_none():
    quick = OURS["quick"]
    (row,) = pages.rows_of("quick", quick, [record(), record(seed=1, accuracy=0.92)])
    assert row[pages.SINGLE] == "88.00 ± 0.00\u00a0%" and row[pages.AVERAGED] == "91.00 ± 1.41\u00a0%"
    assert (row["seeds"], row["images"], row["time"], row["on"]) == ("2", "copies", "1 min 40 s", "AMD EPYC (2 cores)")
    assert pages.rows_of("other", quick.change(lr=1.0), [record()]) == []
    (row,) = pages.rows_of("plain", quick.change(views="plain"), [record(views="plain", accuracy=0.88)])
    assert row[pages.SINGLE] == "88.00\u00a0%" and row[pages.AVERAGED] is None
    assert len(pages.rows_of("quick", quick, [record(), record(device="H100 (79 GiB), torch 2.11")])) == 2


def test_the_time_is_that_of_the_fastest_machine_and_of_undisturbed_runs():
    def run(device, seconds, **changes):
        return record(device=device, seconds={"training": seconds, "answers": 10.0}, **changes)

    runs = [run(OTHER_CPU, 290), run(CPU, 80, seed=1), run(CPU, 100, seed=2)]
    assert pages.measured_figures(runs)["time"] == "1 min 40 s"
    assert pages.measured_figures(runs[:2])["time"] == "1 min 30 s (one run)"
    assert pages.measured_figures([run(CPU, 80, beside=4)])["time"] is None
    assert pages.measured_figures([run(CPU, 290), run(CPU, 80, beside=4)])["time"] == "5 min 0 s (one run)"


def test_a_gpu_is_named_without_its_memory():
    assert pages.machine(GPU) == "NVIDIA H200"
    assert pages.machine(CPU) == "AMD EPYC (2 cores)"


def test_without_a_time_the_cores_are_not_named_since_the_seeds_may_have_had_different_ones():
    one_core = record(beside=1, device=CPU.replace("2 cores", "1 core"))
    assert pages.measured_figures([record(beside=1), one_core])["on"] == "AMD EPYC"
    assert pages.measured_figures([record(beside=1), record(beside=1, device=OTHER_CPU)])["on"].count(", ") == 1
    assert pages.measured_figures([record(), one_core])["on"] == "AMD EPYC (2 cores)"


def test_a_table_leaves_out_what_is_empty_and_names_what_is_alike_below():
    rows = pages.rows_of("a", OURS["quick"], [record(), record(seed=1, protocol="watch_test")])
    assert pages.markdown_table(rows).splitlines() == [
        "|  | single prediction | with TTA | protocol | epochs | time |",
        "|---|---|---|---|---|---|",
        "| a | 88.00\u00a0% | 90.00\u00a0% | tested once | 8 | 1 min 40 s |",
        "| a | 88.00\u00a0% | 90.00\u00a0% | test set watched | 8 | 1 min 40 s |",
        "",
        "Images of all rows: copies. Seeds of all rows: 1. Machine of all rows: AMD EPYC (2 cores).",
    ]


def test_a_few_systems_without_a_record_are_named_and_many_are_counted():
    *lines, last = pages.results_table([record(OURS["fast"])]).splitlines()
    assert "`fast`" in lines[2] and "`fast`" not in last
    assert all(title in last for title, recipe in pages.systems() if recipe.name != "fast")
    assert pages.report_table(C_ROWS, []) == f"{len(C_ROWS)} rows are not measured yet.\n"
    table = pages.report_table(C_ROWS, [record(C_ROWS[3].recipe)])
    assert C_ROWS[3].label in table and table.endswith(f"{len(C_ROWS) - 1} rows are not measured yet.\n")


def test_the_short_table_shows_each_measured_system_once():
    runs = [record(), record(seed=1, plain_accuracy=0.9), record(device="H100 (79 GiB), torch 2.11")]
    runs.append(record(SYSTEMS["plain_cnn"], protocol="watch_test", plain_accuracy=0.84, accuracy=0.84))
    lines = pages.short_table(runs).splitlines()
    assert lines[2] == "| C `plain_cnn` | 84.00 % | 84.00\u00a0% |  | 1 | 1 min 40 s |"
    assert lines[3] == "| ours: `quick` |  | 89.00 ± 1.41\u00a0% | 90.00 ± 0.00\u00a0% | 2 | 1 min 40 s |"
    assert len(lines) == 6
    (heading, *_) = pages.short_table([record(beside=1)]).splitlines()
    assert "time" not in heading and "report" not in heading


def test_what_was_tried_is_a_table_of_its_own():
    original = {"name": pages.ORIGINAL, "checksum": "89ab"}
    tried = {"protocol": "validation", "data": original, "measured": "held-out training images"}
    first, *_, last = CHOICES["best_gated"].values()
    records = [record(first, plain_accuracy=0.93, **tried), record(last, plain_accuracy=0.95, **tried)]
    table = pages.choice_table([*records, record(first, plain_accuracy=0.5, protocol="validation")])
    assert table.count("93.00") == table.count("95.00") == 1 and "50.00" not in table
    assert f"{sum(map(len, CHOICES.values())) - 2} rows are not measured yet." in table
    assert "Protocol of all rows: validation split." in table


def test_a_rival_has_a_row_with_what_it_published():
    (row,) = pages.rows_of_rival("airbench", [record(), rival(accuracy=0.91)])
    assert row[""] == "[airbench](https://example.org)" and "94.00 %" in row["reported"]
    assert row[pages.AVERAGED] == "91.00\u00a0%"


def test_ours_are_compared_with_a_rival_on_the_same_machine_and_images():
    ours = record(OURS["fast"], accuracy=0.91, seconds={"training": 60.0, "answers": 4.0})
    theirs = rival(accuracy=0.9, seconds={"training": 80.0, "answers": 0.0})
    (text,) = pages.comparisons_with_rivals([ours, theirs])
    assert text.startswith("`fast` against `airbench`")
    assert "+1.00 points with TTA (one training each, seed 0) in 0.80 times" in text
    again = [ours | {"seed": 1, "accuracy": 0.94}, theirs | {"seed": 1, "accuracy": 0.91}]  # 1 and 3 points more
    (text,) = pages.comparisons_with_rivals([ours, theirs, *again])
    assert "+2.00 points with TTA (95 % interval -10.71 to +14.71, seeds 0, 1)" in text
    assert "in 0.80 times the time (AMD EPYC (2 cores))" in text
    assert text.endswith("with 1.00 times the parameters.")
    adapted = theirs | {"rival": theirs["rival"] | {"adapted": "no GPU"}}
    assert pages.comparisons_with_rivals([ours, adapted])[-1] == "`airbench` was adapted: no GPU."
    assert pages.comparisons_with_rivals([ours]) == []


@pytest.mark.parametrize("change", [{"device": GPU}, {"protocol": "watch_test"}, {"data": {"checksum": "4567"}}])
def test_what_ran_under_other_conditions_is_not_compared(change):
    assert pages.comparison([record()], [record(OURS["fast"], **change)], "accuracy") == ""


def test_a_time_that_is_an_upper_limit_is_not_compared():
    for change in ({"beside": 2}, {"device": OTHER_CPU}):
        text = pages.comparison([record(accuracy=0.91)], [record(OURS["fast"], **change)], "accuracy")
        assert "+1.00 points with TTA (one training each, seed 0), with 1.00 times the parameters." in text


def test_an_ablation_is_compared_with_its_own_recipe():
    ablation = record(ABLATIONS["quick_one_branch"], plain_accuracy=0.86, parameters=500)
    texts = pages.comparisons_of_ablations([record(), ablation, record(OURS["fast"])])
    assert len(texts) == 1 and texts[0].startswith("`quick_one_branch` against `quick`")
    assert "-2.00 points" in texts[0] and "0.50 times the parameters" in texts[0]


def test_readme_shows_what_a_gate_gains_over_the_same_seeds():
    data = {"name": "CIFAR-10", "checksum": "89ab"}
    gated = [record(seed=seed, data=data, plain_accuracy=0.9) for seed in (0, 1, 2)]
    single = [
        record(ABLATIONS["quick_one_branch"], seed=seed, data=data, plain_accuracy=accuracy)
        for seed, accuracy in enumerate([0.89, 0.88, 0.87])
    ]
    heading, _, row = pages.gate_table([*gated, *single]).splitlines()
    assert heading == "|  | `quick` |" and "| +2.00 (-0.48 to +4.48) |" in row
    assert "|" not in pages.gate_table(gated)


def test_a_page_that_is_out_of_date_is_found_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "RESULTS", tmp_path / "results" / "accuracy")
    original = record(data={"name": "CIFAR-10", "checksum": "89ab"}, accuracy=0.95)
    monkeypatch.setattr(pages, "read_records", lambda *folder: {} if folder else {"one": record(), "two": original})
    (tmp_path / "results").mkdir()
    text = "before\n<!-- results -->\nold\n<!-- /results -->\nafter\n"
    (tmp_path / "README.md").write_text("<!-- gate -->\n<!-- /gate -->\n" + text)
    for name in ("ablations", "report C", "report D", "choices", "other images"):
        text += f"<!-- {name} -->\n<!-- /{name} -->\n"
    (tmp_path / "results" / "README.md").write_text(text)
    assert pages.main(["--check"]) == 1
    assert pages.main([]) == 0 and pages.main(["--check"]) == 0
    written = (tmp_path / "README.md").read_text()
    assert "\nbefore\n" in written and written.endswith("\nafter\n")
    assert "`quick`" in written and "old" not in written
    assert "95.00" in written and "90.00" not in written  # README shows the original images only
    tables = (tmp_path / "results" / "README.md").read_text().split("<!-- other images -->")
    assert ["95.00" in part for part in tables] == [True, False]
    assert ["90.00" in part for part in tables] == [False, True]


@pytest.mark.parametrize("text", ["<!-- x -->\nold\n", "", 2 * "<!-- x -->\n<!-- /x -->\n"])
def test_a_page_without_exactly_one_pair_of_marks_is_refused(text):
    with pytest.raises(CourseworkError, match="one pair of marks for x"):
        marks.filled(text, "x", "new\n", "page.md")
