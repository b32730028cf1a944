"""Tests of results.py, tools/reproduce.py and tools/results.py: what is kept, what is left, what the tables say."""

import json

import pytest
import torch

from tools import reproduce, results
from utils.errors import CourseworkError
from utils.experiments.results import groups, keep, path_of, read_results, record_of, table
from utils.files import plain
from utils.models.blocks import Plan
from utils.recipes import ABLATIONS, OURS, SYSTEMS, Recipe
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.training.budget import Budget

CPU = torch.device("cpu")
FEW = Budget("few", images=200, epochs=2)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Return a recipe that trains in a second, with its trainings in a folder of the test."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    plan = Plan(layers=("conv 8", "norm", "relu", "pool 2", "mean", "linear 10"))
    return Recipe("tiny", plan, batch_size=48, num_epochs=2, lr=0.01, views="flip", reported={"test_acc": 0.5})


def train(recipe, data, protocol="final", **how):
    return recipe.train(data, protocol=protocol, budget=FEW, device="cpu", curves=False, **how)


@pytest.fixture
def record(tiny, data):
    return json.loads(json.dumps(record_of(train(tiny, data), 12.5)))


def test_a_record_says_what_was_reached_on_what_and_in_what_time(tiny, data, record):
    assert record["system"] == "tiny" and record["protocol"] == "final" and record["seed"] == 0
    assert record["data"]["fingerprint"] == data.fingerprint and record["images"] == 200
    assert record["test_images"] == 100 and record["epochs"] == 2 and record["seconds"]["training"] == 12.5
    assert record["views"] == "flip" and {record["accuracy"], record["plain_accuracy"]} <= {i / 100 for i in range(101)}
    low, high = record["interval"]
    assert low < record["accuracy"] < high
    assert "torch" in record["device"] and len(record["history"]["train_loss"]) == 2
    assert results.same(record, tiny)
    assert not any(results.same(record, tiny.change(**change)) for change in ({"lr": 0.02}, {"views": "plain"}))


def test_each_look_at_the_test_images_is_noted_in_the_run(tiny, data):
    trained = train(tiny, data)
    found = record_of(trained, 1.0)
    assert [test["accuracy"] for test in trained.run.record["tests"]] == [found["accuracy"]]


def test_under_the_reports_protocol_the_last_epoch_counts_and_the_best_is_named(tiny, data):
    trained = train(tiny.change(views="plain"), data, "report")
    found = record_of(trained, 1.0)
    assert found["accuracy"] == found["plain_accuracy"] == trained.history["test_acc"][-1]
    assert found["best_epoch"]["accuracy"] == max(trained.history["test_acc"])


def test_an_unfinished_training_gives_no_record(tiny, data):
    stopped = train(tiny, data, watchers=[reproduce.Deadline(0.0)])
    assert stopped.history.stopped
    with pytest.raises(CourseworkError, match="tiny is not finished"):
        record_of(stopped, 1.0)


def test_each_recipe_seed_protocol_device_and_kind_of_images_has_a_file_of_its_own(tiny, data):
    how = {"seed": 0, "protocol": "final", "device": CPU}
    changes = [{"seed": 1}, {"protocol": "report"}, {"device": torch.device("cuda", 0)}]
    paths = {path_of(tiny, data, **(how | change)) for change in [{}, *changes]} | {
        path_of(tiny.change(lr=1), data, **how)
    }
    assert len(paths) == 5 and path_of(tiny, data, **how) == path_of(tiny, data, **how)


def test_what_is_kept_is_read_again_and_damage_is_said(tmp_path, record):
    keep(record, tmp_path / "results" / "one.json")
    assert list(read_results(tmp_path / "results").values()) == [record]
    (tmp_path / "results" / "two.json").write_text('{"half')
    with pytest.raises(CourseworkError, match="no record"):
        read_results(tmp_path / "results")


def test_the_jobs_are_all_there_and_each_system_comes_once_before_any_comes_twice():
    found = reproduce.jobs()
    assert len(set(map(str, found))) == len(found)
    wanted = {"final": {*OURS, *ABLATIONS}, "report": {*SYSTEMS, *(row.recipe.name for row in (*C_ROWS, *D_ROWS))}}
    for protocol, names in (wanted | {"honest": {*SYSTEMS}}).items():
        assert {job.recipe.name for job in found if job.protocol == protocol} == names
    first = [job.recipe.name for job in found[: len(OURS) + len(SYSTEMS)]]
    assert sorted(first) == sorted([*OURS, *SYSTEMS])
    assert sum(job.recipe.name == "best_gated" for job in found) == 3


@pytest.fixture
def only_tiny(tiny, data, tmp_path, monkeypatch):
    """Let the tool know two jobs of the tiny recipe only, and keep its records in a folder of the test."""
    monkeypatch.setattr(reproduce, "jobs", lambda seeds=3: [reproduce.Job(tiny, "final", seed) for seed in (0, 1)])
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reproduce, "BUDGETS", {"full": FEW})
    monkeypatch.setattr(reproduce, "load_cifar10", lambda: data)
    monkeypatch.setattr(reproduce, "try_gpu", lambda: CPU)
    return tmp_path / "results"


def test_jobs_are_done_once_and_one_cut_off_by_the_time_goes_on(only_tiny, capsys):
    assert reproduce.main(["--minutes", "0"]) == 0 and not only_tiny.exists()
    assert reproduce.main([]) == 0
    out = capsys.readouterr().out
    assert "2 done by this call, 0 left, 0 failed" in out and len(read_results(only_tiny)) == 2
    assert reproduce.main([]) == 0
    assert "2 trainings, 2 done before" in capsys.readouterr().out


def test_a_record_made_again_of_a_finished_training_knows_how_long_that_took(only_tiny, capsys):
    reproduce.main([])
    before = read_results(only_tiny)
    for path in before:
        path.unlink()
    reproduce.main([])
    for path, record in read_results(only_tiny).items():
        assert record["seconds"]["training"] >= before[path]["history"]["seconds"][-1]
        assert record["history"] == before[path]["history"] and record["accuracy"] == before[path]["accuracy"]


@pytest.mark.parametrize(
    ("protocol", "schedule"), [("final", "constant"), ("report", "plateau"), ("honest", "plateau")]
)
def test_a_warm_up_keeps_nothing_and_changes_nothing(tiny, data, tmp_path, protocol, schedule):
    """A plateau schedule goes by the images that are watched, so that a warm-up has to watch them, too."""
    state = torch.get_rng_state()
    reproduce.warm_up(reproduce.Job(tiny.change(schedule=schedule), protocol, 0), data, CPU)
    assert not (tmp_path / "runs").exists() and torch.equal(state, torch.get_rng_state())


def test_only_a_gpu_is_warmed_up_and_before_the_clock(tiny, data, monkeypatch, only_tiny):
    warmed = []
    monkeypatch.setattr(reproduce, "warm_up", lambda job, data, device: warmed.append(device.type))
    job = reproduce.Job(tiny, "final", 0)
    reproduce.train(job, data, CPU, reproduce.Deadline(), FEW)
    assert not warmed
    with pytest.raises((AssertionError, RuntimeError)):  # no such GPU
        reproduce.train(job, data, torch.device("cuda", 99), reproduce.Deadline(), FEW)
    assert warmed == ["cuda"]


def test_a_job_that_the_time_cuts_off_in_the_middle_is_resumed(only_tiny, monkeypatch, capsys):
    class Late(reproduce.Deadline):
        is_over = property(lambda self: next(self.answers))
        answers = iter([False, False, False, True])

    with monkeypatch.context() as patch:
        patch.setattr(reproduce, "Deadline", Late)
        reproduce.main([])
    assert "cut off by the time" in capsys.readouterr().out and not only_tiny.exists()
    reproduce.main([])
    assert "Going on after" in capsys.readouterr().out
    assert [found["attempts"] for found in read_results(only_tiny).values()] == [2, 1]


def test_a_rehearsal_keeps_nothing_among_the_results(only_tiny, tmp_path, capsys):
    assert reproduce.main(["--rehearse", "tiny"]) == 0
    assert not only_tiny.exists() and len(read_results(tmp_path / "runs" / "rehearsal")) == 2
    assert reproduce.main(["--list"]) == 0 and capsys.readouterr().out.count("left  ") == 2


def test_trainings_beside_others_are_marked_and_their_time_is_an_upper_limit(only_tiny):
    reproduce.main(["--seeds", "2", "--beside", "4"])
    marked = list(read_results(only_tiny).values())
    assert [record["beside"] for record in marked] == [4, 4]
    alone = [{name: value for name, value in record.items() if name != "beside"} for record in marked]
    assert results.figures(marked)[-2] == results.figures(alone)[-2] + " at most"


def test_an_unknown_name_is_refused_with_those_that_are_known(only_tiny, capsys):
    assert reproduce.main(["resnet"]) == 1
    assert "There is no system resnet" in capsys.readouterr().err


def test_the_pages_in_the_repository_are_those_of_the_records():
    assert results.main(["--check"]) == 0
    for path, found in read_results().items():
        recipe = next((r for r in recipes() if r.name == found["system"]), None)
        assert "rival" in found or results.same(found, recipe), f"{path.name} is of an earlier recipe"


def recipes():
    return [*SYSTEMS.values(), *OURS.values(), *ABLATIONS.values(), *(row.recipe for row in (*C_ROWS, *D_ROWS))]


def test_a_table_says_mean_spread_and_seeds_and_what_was_not_run(tiny, record):
    other = record | {"seed": 1, "accuracy": record["accuracy"] + 0.02}
    (row,) = results.lines("tiny", tiny, [record, other])
    mean = 100 * record["accuracy"] + 1
    assert f"**{mean:.2f}** ± 1.41" in row[2] and row[5] == "2" and row[3] == record["data"]["name"]
    assert results.lines("other", tiny.change(lr=1.0), [record])[0][2] == "not yet run"
    assert len(results.lines("tiny", tiny, [record, record | {"device": "H100 (79 GiB), torch 2.11"}])) == 2
    empty = results.headline([])
    assert [line[2] for line in empty] == ["not yet run"] * len(empty) and len(empty) == len(SYSTEMS) + len(OURS)


def test_seeds_of_several_machines_have_one_accuracy_and_the_time_of_the_fastest(tiny, record, tmp_path):
    def run(seed, device, seconds):
        return record | {"seed": seed, "device": device, "seconds": {"training": seconds, "answers": 10.0}}

    slow, quick = "slow (2 cores), torch 2", "quick (2 cores), torch 2"
    runs = [run(0, slow, 290), run(1, quick, 80), run(2, quick, 100)]
    (row,) = results.lines("tiny", tiny, runs)
    assert row[5] == "3" and row[7:] == ("1 min 40 s", "quick (2 cores)")
    assert results.lines("tiny", tiny, runs[:2])[0][7] == "1 min 30 s (one run)"
    for one in runs:
        keep(one, tmp_path / f"{one['seed']}.json")
    assert table(tmp_path).loc["tiny", ["seconds", "on"]].tolist() == [100, quick]
    others = [run(seed, slow, 140) for seed in (3, 4)]
    assert "0.00 points lower, which is within the spread over seeds, in 2.00 times" in results.compared(runs, others)
    assert results.compared(runs[1:], others) == ""


def test_the_table_has_a_row_for_runs_that_differ_in_their_seed_only_and_the_best_comes_first(tmp_path, record):
    assert table(tmp_path).empty
    better = record | {"system": "other", "accuracy": 1.0}
    for name, one in {"a": record, "b": record | {"seed": 1}, "c": better}.items():
        keep(one, tmp_path / f"{name}.json")
    found = table(tmp_path)
    assert list(found.index) == ["other", "tiny"] and list(found["seeds"]) == [1, 2]
    assert found.loc["tiny", "test accuracy"] == pytest.approx(100 * record["accuracy"])
    assert found.loc["tiny", "spread"] == 0 and found.loc["tiny", "seconds"] > 12.5


def test_a_rival_has_a_row_with_what_it_published_and_ours_are_compared_with_it(record):
    rival = {"address": "https://example.org", "accuracy": 0.94, "seconds": 3.83, "on": "an A100"}
    ours = record | {"system": "fast", "accuracy": 0.91, "seconds": {"training": 60.0, "answers": 4.0}}
    theirs = record | {"system": "record", "rival": rival, "accuracy": 0.9, "views": "six"}
    theirs |= {"recipe": None, "seconds": {"training": 80.0, "answers": 0.0}}
    (row,) = [row for row in results.headline([ours, theirs]) if "record" in row[0]]
    assert row[0] == "[record](https://example.org)" and "94.00 %" in row[1] and "**90.00**" in row[2]
    said = results.beside([ours, theirs])
    assert "`fast` against `record`" in said and "1.00 points higher by a single seed in 0.80 times the time" in said
    assert results.beside([ours, theirs | {"device": "another"}]) == results.beside([ours]) == ""
    adapted = theirs | {"rival": rival | {"adapted": "no GPU"}}
    assert "\n- `record` was adapted: no GPU." in results.beside([ours, adapted])
    again = [one | {"seed": 1, "accuracy": one["accuracy"] + 0.03} for one in (ours, theirs)]
    assert "higher, which is within the spread over seeds, in 0.80" in results.beside([ours, theirs, *again])
    shared = [one | {"beside": 2, "parameters": 5} for one in (ours, theirs, *again)]  # so that no time is said
    assert "which is within the spread over seeds, with 1.00 times the parameters." in results.beside(shared)


def test_an_ablation_is_compared_with_its_recipe_under_the_same_conditions_only(record):
    quick = record | {"system": "quick", "accuracy": 0.9, "seconds": {"training": 80.0, "answers": 20.0}}
    less = record | {"system": "quick_one_branch", "accuracy": 0.88, "seconds": {"training": 45.0, "answers": 5.0}}
    said = results.beside_ablations([quick, less, record | {"system": "fast"}])
    assert (
        "`quick_one_branch` against `quick`" in said
        and "2.00 points lower by a single seed in 0.50 times the time" in said
    )
    assert "with 1.00 times the parameters" in said and said.count("against") == 1
    assert "by a single seed, with 1.00 times" in results.beside_ablations([quick, less | {"beside": 2}])  # no time
    assert results.beside_ablations([quick, less | {"protocol": "report"}]) == results.beside_ablations([less]) == ""


def test_what_was_not_run_comes_last_and_a_table_without_any_run_has_no_empty_columns(record, monkeypatch):
    fast = record | {"system": "fast", "recipe": plain(OURS["fast"].describe()), "views": OURS["fast"].views}
    rows = results.headline([fast])
    assert "`fast`" in rows[0][0] and [row[2] == "not yet run" for row in rows] == [False, *[True] * (len(rows) - 1)]
    table = results.whole([fast]).partition("## Report C's table")[2].partition("## Report D's table")[0]
    assert table == "\n\nNone of its 15 rows has been run yet.\n\n"
    ran = fast | {"system": C_ROWS[3].recipe.name, "recipe": plain(C_ROWS[3].recipe.describe()), "views": "plain"}
    table = results.whole([ran]).partition("## Report C's table")[2].partition("## Report D's table")[0]
    assert table.startswith("\n\n|  | reported | ours, test | epochs | time |\n") and table.count("not yet run") == 14
    values = {
        "Images": ran["data"]["name"],
        "Protocol": "test images once",
        "Seeds": 1,
        "Machine": results.hardware(ran),
    }
    assert table.endswith("\n\n" + " ".join(f"{name} of all rows: {value}." for name, value in values.items()) + "\n\n")


def test_a_column_stays_where_rows_differ_and_goes_where_all_are_empty():
    rows = [("a", "", "1 %", "copies", "p", seeds, "3", "1 s", "x") for seeds in "12"]
    assert results.tabulated(rows).startswith("|  | ours, test | seeds | epochs | time |\n")
    assert results.tabulated(rows).endswith(
        "\nImages of all rows: copies. Protocol of all rows: p. Machine of all rows: x.\n"
    )


def test_a_gpu_is_named_without_its_memory(record):
    assert results.hardware(record | {"device": "NVIDIA H200 (140 GiB), torch 2.11"}) == "NVIDIA H200"
    assert results.hardware(record | {"device": "AMD EPYC (2 cores), torch 2.11"}) == "AMD EPYC (2 cores)"


def test_an_apple_gpu_does_not_count_as_a_cpu(record):
    devices = ["Apple M4 GPU (10 cores), torch 2.11", "Apple M4 (10 cores), torch 2.11"]
    assert len(groups([record | {"device": device} for device in devices])) == 2


def test_a_stale_page_is_found_and_mended(tmp_path, monkeypatch, record):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results" / "accuracy")
    monkeypatch.setattr(results, "read_results", lambda: {"one": record})
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    assert results.main(["--check"]) == 1
    assert results.main([]) == 0 and results.main(["--check"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "not yet run" in text and "old" not in text


def test_a_page_that_lost_a_mark_is_left_as_it_is(tmp_path, monkeypatch, record):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("before\n<!-- results -->\nold\nand all that follows\n")
    with pytest.raises(CourseworkError, match="no one place for results"):
        results.pages([record])
