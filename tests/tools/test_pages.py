"""Tests of tools/pages.py and tools/marks.py: tables say what the records say, and compare like with like."""

import pytest

from tools import marks, pages
from utils.errors import CourseworkError
from utils.experiments.records import CHOICE_RESULTS, read_records
from utils.files import plain
from utils.recipes import ABLATIONS, CHOICES, OURS, SYSTEMS
from utils.recipes.tables import C_ROWS, D_ROWS

CPU, OTHER_CPU = "AMD EPYC (2 cores), torch 2.11", "Xeon (2 cores), torch 2.11"


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


def test_a_row_has_mean_spread_and_seeds_and_another_recipe_is_not_yet_run():
    quick = OURS["quick"]
    (row,) = pages.rows_of("quick", quick, [record(), record(seed=1, accuracy=0.92)])
    assert row["ours, test"] == "**91.00** ± 1.41\u00a0% (single prediction: 88.00\u00a0%)"
    assert (row["seeds"], row["images"], row["time"], row["on"]) == ("2", "copies", "1 min 40 s", "AMD EPYC (2 cores)")
    (row,) = pages.rows_of("other", quick.change(lr=1.0), [record()])
    assert row["ours, test"] == pages.NOT_RUN
    assert len(pages.rows_of("quick", quick, [record(), record(device="H100 (79 GiB), torch 2.11")])) == 2


def test_the_time_is_that_of_the_fastest_machine_and_of_undisturbed_runs():
    def run(device, seconds, **changes):
        return record(device=device, seconds={"training": seconds, "answers": 10.0}, **changes)

    runs = [run(OTHER_CPU, 290), run(CPU, 80, seed=1), run(CPU, 100, seed=2)]
    assert pages.measured_figures(runs)["time"] == "1 min 40 s"
    assert pages.measured_figures(runs[:2])["time"] == "1 min 30 s (one run)"
    assert pages.measured_figures([run(CPU, 80, beside=4)])["time"] == "1 min 30 s at most"
    assert pages.measured_figures([run(CPU, 290), run(CPU, 80, beside=4)])["time"] == "5 min 0 s (one run)"


def test_a_gpu_is_named_without_its_memory():
    assert pages.machine("NVIDIA H200 (140 GiB), torch 2.11") == "NVIDIA H200"
    assert pages.machine(CPU) == "AMD EPYC (2 cores)"


def test_a_table_leaves_out_what_is_empty_and_names_what_is_alike_below():
    rows = pages.rows_of("a", OURS["quick"], [record(), record(seed=1, protocol="watch_test")])
    rows += pages.rows_of("b", OURS["fast"], [])
    assert pages.markdown_table(rows).splitlines() == [
        "|  | ours, test | protocol | epochs | time |",
        "|---|---|---|---|---|",
        "| a | **90.00**\u00a0% (single prediction: 88.00\u00a0%) | tested once | 8 | 1 min 40 s |",
        "| a | **90.00**\u00a0% (single prediction: 88.00\u00a0%) | test set watched | 8 | 1 min 40 s |",
        "| b | not yet run |  |  |  |",
        "",
        "Images of all rows: copies. Seeds of all rows: 1. Machine of all rows: AMD EPYC (2 cores).",
    ]


def test_what_was_not_run_comes_last_and_a_report_without_any_run_has_no_table():
    lines = pages.results_table([record(OURS["fast"])]).splitlines()
    assert "`fast`" in lines[2] and pages.NOT_RUN not in lines[2]
    assert sum(pages.NOT_RUN in line for line in lines) == len(pages.systems()) - 1
    assert pages.report_table(C_ROWS, []) == f"None of its {len(C_ROWS)} rows has been run yet.\n"
    assert pages.report_table(C_ROWS, [record(C_ROWS[3].recipe)]).count(pages.NOT_RUN) == len(C_ROWS) - 1


def test_the_short_table_shows_each_measured_system_once_and_names_the_others():
    runs = [record(), record(seed=1, plain_accuracy=0.9), record(device="H100 (79 GiB), torch 2.11")]
    runs.append(record(SYSTEMS["plain_cnn"], protocol="watch_test", plain_accuracy=0.84, accuracy=0.84))
    lines = pages.short_table(runs).splitlines()
    assert lines[2] == "| C `plain_cnn` | 84.00 % | 84.00\u00a0% |  | 1 | 1 min 40 s, AMD EPYC (2 cores) |"
    assert lines[3].startswith("| ours: `quick` |  | 89.00 ± 1.41\u00a0% | 90.00 ± 0.00\u00a0% | 2 |")
    (_, _, row, *_) = pages.short_table([record(beside=1)]).splitlines()
    assert "not timed alone yet" in row and "1 min" not in row
    assert len(lines) == 6 and lines[-1].count("`") == 2 * (len(pages.systems()) - 2)


def test_what_was_tried_is_a_table_of_its_own():
    original = {"name": pages.ORIGINAL, "checksum": "89ab"}
    tried = {"protocol": "validation", "data": original, "measured": "held-out training images"}
    first, *_, last = CHOICES["best_gated"].values()
    records = [record(first, accuracy=0.93, **tried), record(last, accuracy=0.95, **tried)]
    table = pages.choice_table([*records, record(first, accuracy=0.5, protocol="validation")])
    assert "held-out images" in table and pages.ACCURACY not in table
    assert table.count("93.00") == table.count("95.00") == 1 and "50.00" not in table
    assert table.count(pages.NOT_RUN) == sum(map(len, CHOICES.values())) - 2
    assert "Protocol of all rows: validation split." in table


def test_a_rival_has_a_row_with_what_it_published():
    (row,) = pages.rows_of_rival("airbench", [record(), rival(accuracy=0.91)])
    assert row[""] == "[airbench](https://example.org)" and "94.00 %" in row["reported"]
    assert row["ours, test"].startswith("**91.00**")


def test_ours_are_compared_with_a_rival_on_the_same_machine_and_images():
    ours = record(OURS["fast"], accuracy=0.91, seconds={"training": 60.0, "answers": 4.0})
    theirs = rival(accuracy=0.9, seconds={"training": 80.0, "answers": 0.0})
    (text,) = pages.comparisons_with_rivals([ours, theirs])
    assert text.startswith("`fast` against `airbench`") and "+1.00 points, by a single seed in 0.80 times" in text
    again = [ours | {"seed": 1, "accuracy": 0.94}, theirs | {"seed": 1, "accuracy": 0.91}]  # 1 and 3 points more
    (text,) = pages.comparisons_with_rivals([ours, theirs, *again])
    assert "+2.00 points (95 % interval -10.71 to +14.71) in 0.80 times" in text
    assert text.endswith("with 1.00 times the parameters.")
    adapted = theirs | {"rival": theirs["rival"] | {"adapted": "no GPU"}}
    assert pages.comparisons_with_rivals([ours, adapted])[-1] == "`airbench` was adapted: no GPU."
    assert pages.comparisons_with_rivals([ours]) == []


@pytest.mark.parametrize("change", [{"device": OTHER_CPU}, {"protocol": "watch_test"}, {"data": {"checksum": "4567"}}])
def test_what_ran_under_other_conditions_is_not_compared(change):
    assert pages.comparison([record()], [record(OURS["fast"], **change)]) == ""


def test_a_time_that_is_an_upper_limit_is_not_compared():
    text = pages.comparison([record(accuracy=0.91)], [record(OURS["fast"], beside=2)])
    assert "+1.00 points, by a single seed, with 1.00 times the parameters." in text


def test_an_ablation_is_compared_with_its_own_recipe():
    ablation = record(ABLATIONS["quick_one_branch"], accuracy=0.88, parameters=500)
    texts = pages.comparisons_of_ablations([record(), ablation, record(OURS["fast"])])
    assert len(texts) == 1 and texts[0].startswith("`quick_one_branch` against `quick`")
    assert "-2.00 points" in texts[0] and "0.50 times the parameters" in texts[0]


def test_a_page_that_is_out_of_date_is_found_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "RESULTS", tmp_path / "results" / "accuracy")
    original = record(data={"name": "CIFAR-10", "checksum": "89ab"}, accuracy=0.95)
    monkeypatch.setattr(pages, "read_records", lambda *folder: {} if folder else {"one": record(), "two": original})
    (tmp_path / "results").mkdir()
    text = "before\n<!-- results -->\nold\n<!-- /results -->\nafter\n"
    (tmp_path / "README.md").write_text(text)
    for name in ("ablations", "report C", "report D", "choices", "other images"):
        text += f"<!-- {name} -->\n<!-- /{name} -->\n"
    (tmp_path / "results" / "README.md").write_text(text)
    assert pages.main(["--check"]) == 1
    assert pages.main([]) == 0 and pages.main(["--check"]) == 0
    written = (tmp_path / "README.md").read_text()
    assert written.startswith("before\n") and written.endswith("\nafter\n")
    assert "`quick`" in written and "old" not in written
    assert "95.00" in written and "90.00" not in written  # README shows the original images only
    tables = (tmp_path / "results" / "README.md").read_text().split("<!-- other images -->")
    assert ["95.00" in part for part in tables] == [True, False]
    assert ["90.00" in part for part in tables] == [False, True]


@pytest.mark.parametrize("text", ["<!-- x -->\nold\n", "", 2 * "<!-- x -->\n<!-- /x -->\n"])
def test_a_page_without_exactly_one_pair_of_marks_is_refused(text):
    with pytest.raises(CourseworkError, match="one pair of marks for x"):
        marks.filled(text, "x", "new\n", "page.md")
