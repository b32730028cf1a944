"""The facts in a report: which caveats apply, which band, what is cut, and what is unknown."""

import json

import pytest
from report_parts import COPIES, SYNTHETIC, evaluation, fake_run, layer, metrics, network, record, record_by_hand

from utils.data import augment
from utils.optim import losses, optimizers
from utils.recipes.reported import SYSTEMS
from utils.report import content
from utils.report.accuracy import GATE_COLUMNS, LISTED_CLASSES
from utils.report.document import plain_text
from utils.report.facts import NETWORK_ROWS, facts
from utils.report.formats import count, duration, number, percent, setting
from utils.report.template import render
from utils.runs.run import Run


def text_of(run):
    return render(facts(run)).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("choices", "explanations"),
    [(losses.LOSSES, losses.EXPLANATIONS), (optimizers.OPTIMIZERS, optimizers.EXPLANATIONS)],
    ids=["losses", "optimizers"],
)
def test_every_choice_is_explained(choices, explanations):
    assert choices.keys() == explanations.keys()


def test_every_augmentation_is_explained():
    names = {name for name, value in vars(augment).items() if hasattr(value, "draw")}
    assert augment.EXPLANATIONS.keys() == augment.AUGMENTATIONS.keys() == names


def test_numbers_are_written_in_plain_words():
    assert percent(0.84567) == "84.57\u00a0%"
    assert percent(None) == percent(float("nan")) == "unknown"
    assert (number(1234567), number(0.00012345), number(None)) == ("1,234,567", "0.0001234", "unknown")
    assert [number(value, 3) for value in (1068.4, 999.6, 999.4)] == ["1,068", "1,000", "999"]
    assert (number(1.5e12), number(-12345.6)) == ("1.5e+12", "-12,346")
    assert (count(1, "epoch"), count(0, "epoch"), count(2, "batch", "batches")) == ("1 epoch", "0 epochs", "2 batches")
    assert [duration(s) for s in (0.04, 59.4, 61, 3661)] == ["0.0 s", "59.4 s", "1 min 1 s", "1 h 1 min"]
    assert (
        setting({"betas": [0.9, 0.999], "nesterov": True, "x": None}) == "betas = 0.9, 0.999, nesterov = yes, x = none"
    )


@pytest.mark.parametrize(
    "changes, caveat",
    [
        ({"recipe": None}, "by_hand"),
        ({"effort": "check", "images": 180, "num_epochs": 2}, "effort"),
        ({"effort": "demo", "images": 44_999}, "effort"),
        ({"protocol": "watch_test", "watched": "test"}, "test_images_watched"),
        ({"unsaved": "No space left on device"}, "unsaved"),
        ({"tests": [{"accuracy": 0.8}, {"accuracy": 0.84}]}, "tested_often"),
        ({"state": "stopped"}, "tested_unfinished"),
        ({"effort": "demo"}, None),  # an effort that cut nothing off
        ({}, None),
    ],
)
def test_what_makes_a_figure_worth_less_is_a_caveat(tmp_path, changes, caveat):
    run = fake_run(tmp_path / "run", about=record(**changes))
    assert facts(run)["caveats"] == ([caveat] if caveat else [])


@pytest.mark.parametrize(
    "changes, caveat",
    [
        ({"images": 545}, "few_test_images"),
        ({"data": COPIES}, "tested_on_other_images"),
        ({"checkpoint": "checkpoint-00001-0000000-old.pt"}, "tested_earlier"),
    ],
)
def test_what_limits_the_evaluation_is_a_caveat(tmp_path, changes, caveat):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"checkpoint-00030-0000000-{'0' * 32}.pt").write_bytes(b"")
    run = fake_run(tmp_path / "run", tested=evaluation(**changes))
    assert run.checkpoint is not None
    assert facts(run)["caveats"] == [caveat]


def test_a_training_that_stopped_early_and_lines_that_cannot_be_read_are_caveats(tmp_path):
    run = fake_run(tmp_path / "run", lines=metrics(12))
    assert facts(run)["caveats"] == ["ended_early"]
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3\nnonsense\n')
    assert facts(Run(run.folder))["bad_lines"] == 2 and "bad_lines" in facts(Run(run.folder))["caveats"]


@pytest.mark.parametrize("caveat", ["bad_lines", "tested_earlier", "tested_on_other_images", "unsaved"])
def test_every_caveat_has_its_sentence(tmp_path, caveat):
    known = facts(fake_run(tmp_path / "run"))
    known["caveats"], known["bad_lines"], known["unsaved"] = [caveat], 2, "The disk is full."
    before, after = (render(known | {"caveats": caveats}).splitlines()[2] for caveats in ([], [caveat]))
    assert after.startswith("> ") and after != before


@pytest.mark.parametrize("value", [3, True, "text", ["a"], {"name": "SGD"}])
def test_settings_recorded_by_hand_may_have_any_type(tmp_path, value):
    names = ("loss", "optimizer", "schedule", "lr", "batch_size", "clip_norm")
    run = fake_run(tmp_path / "run", about=record_by_hand(settings=dict.fromkeys(names, value)))
    assert run.state == "finished" and text_of(run)


def test_what_the_learning_rate_did_is_read_from_the_curves(tmp_path):
    lines = metrics(10)
    for line, rate in zip([line for line in lines if "point" in line], [0.1, 0.5, *[0.2] * 7, 0.01], strict=True):
        line["point"][2] = rate
    seen = facts(fake_run(tmp_path / "run", lines=lines))["optimization"]["seen"]
    assert seen == {"first": 0.1, "highest": 0.5, "epoch": 2, "last": 0.01, "is_constant": False}


@pytest.mark.parametrize(
    "parts, marks, others",
    [
        ({"tested": evaluation(951)}, 20, [15]),
        ({"tested": evaluation(950)}, 15, [20]),
        ({"tested": evaluation(900)}, 15, []),
        ({"about": record(data=COPIES), "tested": evaluation(900, data=COPIES)}, 15, []),
        ({"about": record(data=SYNTHETIC), "tested": evaluation(990, data=SYNTHETIC)}, None, []),
        ({"tested": evaluation(990, classes=("cat", "dog", "bird"))}, None, []),
        ({"tested": {}}, None, []),
    ],
)
def test_the_band_is_that_of_cifar_10_itself(tmp_path, parts, marks, others):
    marking = facts(fake_run(tmp_path / "run", **parts))["marking"]
    assert (marking["band"] and marking["band"]["marks"]) == marks
    assert [other["marks"] for other in marking["other_bands"]] == others


def test_a_long_network_is_cut_and_its_norms_and_activations_join_their_layer(tmp_path):
    layers = []
    for i in range(50):
        layers.append(layer(f"conv{i}", "conv", "conv 3x3", (8, 32, 32), 100, 1000))
        layers.append(layer(f"norm{i}", "norm", "batch norm", (8, 32, 32), 16))
    found = facts(fake_run(tmp_path / "run", net=network(layers)))["network"]
    assert len(found["rows"]) == NETWORK_ROWS and found["rows_left_out"] == 50 - NETWORK_ROWS
    assert found["rows"][0]["text"] == "conv 3x3, batch norm" and found["rows"][0]["parameters"] == 116


def test_a_network_has_the_name_of_the_function_or_class_that_made_it(tmp_path):
    for path, name in {"mine.make_net": "make_net", "gated_backbone": "gated_backbone", None: "Sequential"}.items():
        run = fake_run(tmp_path / name, net=network([]) | {"path": path, "class": "Sequential"})
        assert facts(run)["network"]["name"] == name


def test_gates_that_fit_side_by_side_are_drawn_and_classes_without_a_mean_left_out(tmp_path):
    gates = {f"layers.{i}": [[0.2] * 5] * 9 + [[0.1, 0.3, 0.2, 0.2, 0.2]] for i in range(10)}
    gates["layers.3"] = [[None] * 5, *gates["layers.3"][1:]]
    found = facts(fake_run(tmp_path / "run", tested=evaluation(gates=gates)))["accuracy"]["gates"]
    assert list(found["tables"]) == ["layers.8", "layers.9"] and GATE_COLUMNS == 12
    assert (found["modules"], found["classes_left_out"], len(found["classes"])) == (10, 1, 9)
    assert found["spread"] == pytest.approx(0.1)
    nothing = evaluation(gates={"gate": [[None] * 3] * 10})
    assert facts(fake_run(tmp_path / "none", tested=nothing))["accuracy"]["gates"] is None


@pytest.mark.parametrize("classes, rows", [(3, None), (12, None), (20, 20), (100, LISTED_CLASSES)])
def test_up_to_twelve_classes_make_a_matrix_and_more_a_list(tmp_path, blank_figures, classes, rows):
    names = [f"kind {i}" for i in range(classes)]
    tested = evaluation(classes=names, images=100 * classes)
    if rows == LISTED_CLASSES:
        tested["confusion"][7] = [0, 100, *[0] * (classes - 2)]
    run = fake_run(tmp_path / "run", tested=tested)
    found = facts(run)["accuracy"]["class_rows"]
    assert (found and len(found)) == rows
    if rows == LISTED_CLASSES:
        assert {"name": "kind 7", "confused_with": "kind 1", "count": 100} in [
            {key: row[key] for key in ("name", "confused_with", "count")} for row in found
        ]
    assert names[-1] in plain_text(content(run)["sections"][4]["blocks"]) or rows == LISTED_CLASSES


def test_a_report_beside_its_own_system_names_what_differs(tmp_path):
    recipe = json.loads(json.dumps(SYSTEMS["dropout_cnn"].describe()))
    same = facts(fake_run(tmp_path / "same", about=record(recipe)))["reported"]
    other = facts(fake_run(tmp_path / "other", about=record({**recipe, "lr": 0.02})))["reported"]
    assert (same["differences"], other["differences"]) == ([], ["lr"])
    assert {"name": "test_acc", "theirs": 0.8565, "ours": 0.84} in same["figures"]


def test_an_empty_folder_and_a_loss_that_is_not_a_number_are_reported(tmp_path):
    lines = metrics(4)
    lines[-1] |= {"train_loss": None, "train_acc": None, "val_loss": None, "val_acc": None}
    texts = [
        text_of(fake_run(tmp_path / "empty", about={"state": "running"}, lines=[], tested={}, net={})),
        text_of(fake_run(tmp_path / "diverged", lines=lines)),
    ]
    assert not any("None" in text or "nan" in text for text in texts)
