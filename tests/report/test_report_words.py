"""The report's first line names everything that makes a figure less than it looks; numbers are said in plain words."""

import pytest
from report_parts import COPIES, DRAWN, evaluation, fake_run, metrics, record

from utils.report.words import duration, first_line, many, number, percent, said


def line(folder, **parts):
    return " ".join(first_line(fake_run(folder / "run", **parts)))


def test_a_whole_honest_run_on_cifar_10_has_nothing_to_warn_of(tmp_path):
    assert line(tmp_path) == "A finished run, measured on test images that it never saw."


DIVERGED = {"kind": "diverged", "what": "The loss is nan.", "epoch": 4, "batch": 7}


@pytest.mark.parametrize(
    "state, words",
    [
        ("running", "Interrupted: it ended without a word after 3 epochs of 30."),  # nobody keeps its heartbeat
        ("stopped", "Stopped by its user after 3 epochs of 30."),
        ("diverged", "Diverged after 3 epochs of 30: The loss is nan."),
        ("failed", "Failed after 3 epochs of 30."),
    ],
)
def test_how_a_run_ended_too_early_is_said(tmp_path, state, words):
    about = record(state=state)
    assert words in line(tmp_path, about=about, lines=metrics(3), faults=[DIVERGED])


def test_a_budget_that_cut_nothing_off_is_no_warning(tmp_path):
    assert "budget" not in line(tmp_path, about=record(budget="quick"))
    assert "Cut to the budget quick: 44,999 training" in line(tmp_path, about=record(budget="quick", images=44_999))


def test_a_run_that_is_still_training_is_said_to_be_unfinished(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.runs.run.is_alive", lambda folder: True)
    words = line(tmp_path, about=record(state="running"), lines=metrics(1), tested={})
    assert words.startswith("Unfinished: it is still training, after 1 epoch of 30.")
    assert "Not measured on the test images." in words


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data": DRAWN}, "Made with drawn images, not with CIFAR-10: no figure here says anything about CIFAR-10."),
        ({"data": COPIES}, "Made with JPEG copies of CIFAR-10, not with the original files of CIFAR-10."),
        ({"data": None}, "Which images it was made with is not recorded."),
        ({"recipe": None}, "Trained by hand, without a recipe"),
        (
            {"budget": "smoke", "images": 180, "num_epochs": 2},
            "Cut to the budget smoke: 180 training images, 2 epochs where its recipe says 30.",
        ),
        ({"protocol": "report", "watched": "test"}, "its test accuracy is not independent."),
        ({"unsaved": "No space left on device"}, "Its newest weights are not saved: No space left on device"),
        (
            {"tests": [{"accuracy": 0.8}, {"accuracy": 0.84}]},
            "Measured on the test images 2 times: a choice between the figures would be one made on",
        ),
        ({"state": "stopped"}, "Measured on the test images before its training was finished."),
    ],
)
def test_what_limits_a_figure_is_said_first(tmp_path, changes, words):
    assert words in line(tmp_path, about=record(**changes))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"images": 545}, "Measured on 545 test images only."),
        ({"data": DRAWN}, "Tested on other images than it was trained with: drawn images, f7b7b2588362a7e4."),
        ({"checkpoint": "checkpoint-00001-0000000-old.pt"}, "those of an earlier checkpoint."),
    ],
)
def test_what_limits_the_evaluation_is_said_first(tmp_path, changes, words):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"checkpoint-00030-0000000-{'0' * 32}.pt").write_bytes(b"")
    run = fake_run(tmp_path / "run", tested=evaluation(**changes))
    assert run.checkpoint is not None
    assert words in " ".join(first_line(run))


def test_lines_that_cannot_be_read_are_counted(tmp_path):
    run = fake_run(tmp_path / "run")
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3\nnonsense\n')
    assert "2 lines of its metrics cannot be read and left gaps." in " ".join(first_line(run))


def test_a_record_that_cannot_be_read_is_said(tmp_path):
    run = fake_run(tmp_path / "run")
    (run.folder / "run.json").write_text("{torn")
    assert "Its record cannot be read: what it held is missing here." in first_line(type(run)(run.folder))


def test_an_accuracy_without_an_evaluation_counts_as_measured(tmp_path):
    words = line(tmp_path, about=record(tests=[{"accuracy": 0.8}]), tested={})
    assert "Not measured" not in words


def test_numbers_are_said_in_plain_words():
    assert percent(0.84567) == "84.57\u00a0%"
    assert percent(None) == percent(float("nan")) == "unknown"
    assert (number(1234567), number(0.00012345), number(None)) == ("1,234,567", "0.0001234", "unknown")
    assert (number(1068.4, 3), number(999.6, 3), number(999.4, 3), number(-12345.6)) == (
        "1,068",
        "1,000",
        "999",
        "-12,346",
    )
    assert (number(1.5e12), number(float("inf")), number(float("nan"))) == ("1.5e+12", "inf", "nan")
    assert (many(1, "epoch"), many(0, "epoch"), many(2, "entry", "entries")) == ("1 epoch", "0 epochs", "2 entries")
    assert [duration(s) for s in (0.04, 59.4, 61, 3661, None)] == [
        "0.0 s",
        "59.4 s",
        "1 min 1 s",
        "1 h 1 min",
        "unknown",
    ]
    assert said({"betas": [0.9, 0.999], "nesterov": True, "x": None}) == "betas = 0.9, 0.999, nesterov = yes, x = none"
