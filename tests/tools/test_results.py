"""Tests of results.py and tools/reproduce.py: what is kept, what is left to do, what the table says."""

import json

import pytest
import torch
from networks import small_cnn

from tools import pages, reproduce
from utils.errors import CourseworkError
from utils.experiments.records import group_records, make_record, read_records, record_path, results_table, save_record
from utils.recipes import ABLATIONS, OURS, SYSTEMS, Recipe
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.training.budget import Budget

CPU = torch.device("cpu")
FEW = Budget("few", images=200, epochs=2)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Return a recipe that trains in a second, with its trainings in a folder of the test."""
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "runs"))
    return Recipe("tiny", small_cnn, batch_size=48, num_epochs=2, lr=0.01, views="flip", reported={"test_acc": 0.5})


def train(recipe, data, protocol="final", **how):
    return recipe.train(data, protocol=protocol, budget=FEW, device="cpu", curves=False, **how)


@pytest.fixture
def record(tiny, data):
    return json.loads(json.dumps(make_record(train(tiny, data), 12.5)))


def test_a_record_says_what_was_reached_on_what_and_in_what_time(tiny, data, record):
    assert record["system"] == "tiny" and record["protocol"] == "final" and record["seed"] == 0
    assert record["data"]["fingerprint"] == data.fingerprint and record["images"] == 200
    assert record["test_images"] == 100 and record["epochs"] == 2 and record["seconds"]["training"] == 12.5
    assert record["views"] == "flip" and {record["accuracy"], record["plain_accuracy"]} <= {i / 100 for i in range(101)}
    low, high = record["interval"]
    assert low < record["accuracy"] < high
    assert "torch" in record["device"] and len(record["history"]["train_loss"]) == 2
    assert pages.is_of(record, tiny)
    assert not any(pages.is_of(record, tiny.change(**change)) for change in ({"lr": 0.02}, {"views": "plain"}))


def test_each_look_at_the_test_images_is_noted_in_the_run(tiny, data):
    trained = train(tiny, data)
    found = make_record(trained, 1.0)
    assert [test["accuracy"] for test in trained.run.record["tests"]] == [found["accuracy"]]


def test_under_the_reports_protocol_the_last_epoch_counts_and_the_best_is_named(tiny, data):
    trained = train(tiny.change(views="plain"), data, "report")
    found = make_record(trained, 1.0)
    assert found["accuracy"] == found["plain_accuracy"] == trained.history["test_acc"][-1]
    assert found["best_epoch"]["accuracy"] == max(trained.history["test_acc"])


def test_an_unfinished_training_gives_no_record(tiny, data):
    stopped = train(tiny, data, callbacks=[reproduce.Deadline(0.0)])
    assert stopped.history.stopped
    with pytest.raises(CourseworkError, match="tiny is not finished"):
        make_record(stopped, 1.0)


def test_each_recipe_seed_protocol_device_and_kind_of_images_has_a_file_of_its_own(tiny, data):
    how = {"seed": 0, "protocol": "final", "device": CPU}
    changes = [{"seed": 1}, {"protocol": "report"}, {"device": torch.device("cuda", 0)}]
    paths = {record_path(tiny, data, **(how | change)) for change in [{}, *changes]} | {
        record_path(tiny.change(lr=1), data, **how)
    }
    assert len(paths) == 5 and record_path(tiny, data, **how) == record_path(tiny, data, **how)


def test_what_is_kept_is_read_again_and_damage_is_said(tmp_path, record):
    save_record(record, tmp_path / "results" / "one.json")
    assert list(read_records(tmp_path / "results").values()) == [record]
    (tmp_path / "results" / "two.json").write_text('{"half')
    with pytest.raises(CourseworkError, match="no record"):
        read_records(tmp_path / "results")


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
    assert "2 done by this call, 0 open, 0 failed" in out and len(read_records(only_tiny)) == 2
    assert reproduce.main([]) == 0
    assert "2 trainings, 2 done before" in capsys.readouterr().out


def test_a_record_made_again_of_a_finished_training_knows_how_long_that_took(only_tiny, capsys):
    reproduce.main([])
    before = read_records(only_tiny)
    for path in before:
        path.unlink()
    reproduce.main([])
    for path, record in read_records(only_tiny).items():
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
    assert "stopped because the time is over" in capsys.readouterr().out and not only_tiny.exists()
    reproduce.main([])
    assert "Resumed after" in capsys.readouterr().out
    assert [found["attempts"] for found in read_records(only_tiny).values()] == [2, 1]


def test_a_rehearsal_keeps_nothing_among_the_results(only_tiny, tmp_path, capsys):
    assert reproduce.main(["--rehearse", "tiny"]) == 0
    assert not only_tiny.exists() and len(read_records(tmp_path / "runs" / "rehearsal")) == 2
    assert reproduce.main(["--list"]) == 0 and capsys.readouterr().out.count("open  ") == 2


def test_trainings_beside_others_are_marked_and_their_time_is_an_upper_limit(only_tiny):
    reproduce.main(["--seeds", "2", "--beside", "4"])
    marked = list(read_records(only_tiny).values())
    assert [record["beside"] for record in marked] == [4, 4]
    alone = [{name: value for name, value in record.items() if name != "beside"} for record in marked]
    assert pages.measured_figures(marked)["time"] == pages.measured_figures(alone)["time"] + " at most"


def test_an_unknown_name_is_refused_with_those_that_are_known(only_tiny, capsys):
    assert reproduce.main(["resnet"]) == 1
    assert "There is no system resnet" in capsys.readouterr().err


def test_the_table_has_a_row_for_runs_that_differ_in_their_seed_only_and_the_best_comes_first(tmp_path, record):
    assert results_table(tmp_path).empty
    better = record | {"system": "other", "accuracy": 1.0}
    for name, one in {"a": record, "b": record | {"seed": 1}, "c": better}.items():
        save_record(one, tmp_path / f"{name}.json")
    found = results_table(tmp_path)
    assert list(found.index) == ["other", "tiny"] and list(found["seeds"]) == [1, 2]
    assert found.loc["tiny", "test accuracy"] == pytest.approx(100 * record["accuracy"])
    assert found.loc["tiny", "spread"] == 0 and found.loc["tiny", "seconds"] > 12.5


def test_an_apple_gpu_does_not_count_as_a_cpu(record):
    devices = ["Apple M4 GPU (10 cores), torch 2.11", "Apple M4 (10 cores), torch 2.11"]
    assert len(group_records([record | {"device": device} for device in devices])) == 2
