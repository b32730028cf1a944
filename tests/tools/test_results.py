"""Tests of tools/reproduce.py: what is kept, what is left to do, and that trainings resume."""

import pytest
import torch

from tools import pages, reproduce
from utils.errors import CourseworkError
from utils.experiments import records
from utils.experiments.records import read_records
from utils.recipes import ABLATIONS, OURS, SYSTEMS, WITHOUT_SOFTMAX
from utils.recipes.tables import C_ROWS, D_ROWS
from utils.training.effort import Effort

pytestmark = pytest.mark.usefixtures("ledger_folder")
CPU = torch.device("cpu")
FEW = Effort("few", images=200, epochs=2)


def test_the_jobs_are_all_there_and_each_system_comes_once_before_any_comes_twice():
    found = reproduce.jobs()
    assert len(set(map(str, found))) == len(found)
    rows = {row.recipe.name for row in (*C_ROWS, *D_ROWS)}
    reported = {*SYSTEMS, WITHOUT_SOFTMAX.name}
    wanted = {"train_on_all": {*OURS, *ABLATIONS}, "watch_test": {*reported, *rows}, "validation": reported}
    for protocol, names in wanted.items():
        assert {job.recipe.name for job in found if job.protocol == protocol} == names
    first = [job.recipe.name for job in found[: len(OURS) + len(reported)]]
    assert sorted(first) == sorted([*OURS, *reported])
    assert sum(job.recipe.name == "best_gated" for job in found) == 3


@pytest.fixture
def only_tiny(tiny, data, tmp_path, monkeypatch):
    """Let the tool know two jobs of the tiny recipe only, and keep its records in a folder of the test."""
    monkeypatch.setattr(
        reproduce, "jobs", lambda seeds=3: [reproduce.Job(tiny, "train_on_all", seed) for seed in (0, 1)]
    )
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reproduce, "EFFORTS", {"full": FEW})
    monkeypatch.setattr(reproduce, "load_cifar10", lambda: data)
    monkeypatch.setattr(reproduce, "try_gpu", lambda: CPU)
    return tmp_path / "results"


def test_jobs_are_done_once_and_one_cut_off_by_the_time_is_resumed(only_tiny, capsys):
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
    ("protocol", "schedule"), [("train_on_all", "constant"), ("watch_test", "plateau"), ("validation", "plateau")]
)
def test_a_warm_up_keeps_nothing_and_changes_nothing(tiny, data, tmp_path, protocol, schedule):
    """A plateau schedule goes by the images that are watched, so that a warm-up has to watch them, too."""
    state = torch.get_rng_state()
    reproduce.warm_up(reproduce.Job(tiny.change(schedule=schedule), protocol, 0), data, CPU)
    assert not (tmp_path / "runs").exists() and torch.equal(state, torch.get_rng_state())


def test_only_a_gpu_is_warmed_up_and_before_the_clock(tiny, data, monkeypatch, only_tiny):
    warmed = []
    monkeypatch.setattr(reproduce, "warm_up", lambda job, data, device: warmed.append(device.type))
    job = reproduce.Job(tiny, "train_on_all", 0)
    reproduce.train(job, data, CPU, reproduce.Deadline(), FEW)
    assert not warmed
    with pytest.raises(CourseworkError, match="cuda:99"):  # no such GPU
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


def test_trainings_beside_others_are_marked_and_their_time_is_not_shown(only_tiny):
    reproduce.main(["--seeds", "2", "--beside", "4"])
    marked = list(read_records(only_tiny).values())
    assert [record["beside"] for record in marked] == [4, 4]
    alone = [{name: value for name, value in record.items() if name != "beside"} for record in marked]
    assert pages.measured_figures(marked)["time"] is None and pages.measured_figures(alone)["time"]


@pytest.fixture
def two_choices(only_tiny, tiny, tmp_path, monkeypatch):
    """Let the tool know one alternative to the tiny recipe only; return the folder of the records."""
    other = tiny.change(name="tiny_slow", lr=0.001)
    monkeypatch.setattr(reproduce, "CHOICES", {"tiny": {"as in the recipe": tiny, "smaller steps": other}})
    monkeypatch.setattr(reproduce, "CHOICE_RESULTS", tmp_path / "choices")
    return tmp_path / "choices"


def test_alternatives_are_measured_on_held_out_images_and_the_test_images_are_not_used(
    two_choices, only_tiny, data, monkeypatch, capsys
):
    def refuse(*arguments):
        raise AssertionError("the test images are measured")

    seen = []
    train = reproduce.train
    monkeypatch.setattr(records, "measure_test_accuracy", refuse)
    monkeypatch.setattr(reproduce, "train", lambda job, images, *rest: seen.append(images) or train(job, images, *rest))
    assert reproduce.main(["--choices", "tiny", "--seeds", "1"]) == 0
    assert "held-out training images" in capsys.readouterr().out and not only_tiny.exists()
    found = list(read_records(two_choices).values())
    assert [record["system"] for record in found] == ["tiny", "tiny_slow"]
    for record in found:
        assert record["protocol"] == "validation" and "test_images" not in record
        assert record["accuracy"] == record["plain_accuracy"] == record["history"]["val_acc"][-1]
    for images in seen:
        assert torch.equal(images.train.images, data.train.images) and not images.test.images.any()


def test_a_single_alternative_can_be_named(two_choices, capsys):
    assert reproduce.main(["--choices", "tiny_slow", "--seeds", "2", "--rehearse"]) == 0
    assert "2 trainings" in capsys.readouterr().out and not two_choices.exists()
    assert reproduce.main(["--choices", "resnet"]) == 1


def test_an_unknown_name_is_refused_with_those_that_are_known(only_tiny, capsys):
    assert reproduce.main(["resnet"]) == 1
    assert "resnet" in capsys.readouterr().err
