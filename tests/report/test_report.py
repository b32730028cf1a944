"""The report of a run: its five sections say what its record says, unknown is called unknown, files are whole."""

import builtins
import copy
import json
import os

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from report_parts import COPIES, DRAWN, ENDS, evaluation, fake_run, metrics, record

from tools.report import main
from utils.errors import CourseworkError
from utils.models.blocks import Block, Plan, build
from utils.models.count import flops, parameters
from utils.recipes import SYSTEMS, Recipe
from utils.report import SECTIONS, content, write_report
from utils.report.blocks import plain_text
from utils.runs.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="1pt" height="1pt"></svg>'
GATED = Plan(tuple(Block(w, after=ENDS) for w in ((3, 8), (8, 16))), ("mean", "linear 10"))
SMALL = Recipe("gated_small", GATED, optimizer="adamw", schedule="one_cycle", clip_norm=1.0, average=0.98)
GATES = {f"block{i}": [[0.2, 0.3, 0.5]] * 9 + [[0.1, 0.3, 0.6]] for i in (1, 2)}


@pytest.fixture
def drawn():
    """Let this test draw its figures."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Leave the figures blank: drawing takes most of a report's time, and most tests look at its words."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("utils.report.figures._svg", lambda *_, **__: BLANK)


def say(folder, number=None, **parts):
    """Return the report's text, or that of one section (6: the tasks), with plain spaces."""
    sections = content(fake_run(folder / "run", **parts))["sections"]
    chosen = sections if number is None else [sections[number - 1]]
    return plain_text([plain_text(section["blocks"]) + "\n" for section in chosen]).replace("\u00a0", " ")


def test_a_report_has_the_five_sections_and_then_the_five_tasks(tmp_path):
    document = content(fake_run(tmp_path / "run"))
    assert [section["title"] for section in document["sections"]] == [title for title, _, _ in SECTIONS]
    assert [title[0] for title, _, _ in SECTIONS[:5]] == list("12345")
    assert all(section["blocks"] for section in document["sections"])
    assert document["title"] == "CIFAR-10 coursework: plain_cnn"
    assert "fingerprint 0123456789abcdef" in document["about"]
    assert "seed 0" in document["about"] and "torch 2.15.0" in document["about"]


def test_the_data_are_named_with_protocol_normalisation_and_augmentation(tmp_path):
    text = say(tmp_path, 1, about=record("softmax_gated"))
    assert "It was trained on 45,000 of them. Of the training images one in ten was held out" in text
    assert "batches of 150, 750 an epoch" in text
    assert "the statistics of CIFAR-10's own training images" in text
    assert "Crop(padding=4, mode='zero')" in text and "Mirror an image left to right with probability p." in text
    assert "Nothing was held out" in say(tmp_path, 1, about=record(protocol="report", watched="test"))
    assert "No augmentation" in say(tmp_path, 1)


def test_the_model_is_drawn_and_counted_from_its_plan(tmp_path):
    run = fake_run(tmp_path / "run", about=record(SMALL))
    text = plain_text(content(run)["sections"][1]["blocks"])
    # 2 blocks of 3 convolutions 3x3 with biases, gates, norms; a linear layer.
    weights = 3 * (3 * 8 * 9 + 8) + 3 * (8 * 16 * 9 + 16) + (3 * 3 + 3) + (8 * 3 + 3) + 2 * (8 + 16) + 16 * 10 + 10
    assert f"{weights:,}" in text
    assert "2 gated blocks and a classifier on the mean" in text
    assert "gate: mean, linear 3, softmax" in text
    assert "block 2: 8 → 16" in text and "16×8×8" in text


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_parts_of_every_system_add_up_to_its_network(tmp_path, name):
    with torch.device("meta"):
        net = build(SYSTEMS[name].network)
    text = say(tmp_path, 2, about=record(name))
    assert f"{parameters(net):,}" in text and f"{flops(net):,}" in text


def test_loss_optimizer_and_schedule_are_said_with_what_the_rate_did(tmp_path):
    lines = metrics(10)
    for line, rate in zip([line for line in lines if "point" in line], [0.1, 0.5, *[0.2] * 7, 0.01], strict=True):
        line["point"][2] = rate
    text = say(tmp_path, 3, about=record(SMALL), lines=lines)
    assert "up to lr, then down to almost 0 along cosines" in text
    assert "In this run it was 0.1 where first noted, highest with 0.5 in epoch 2 and 0.01 at the end." in text
    assert "A gradient longer than 1 is scaled down" in text
    assert "of which 0.98 stays at each batch" in text
    assert "it was 0.0005 throughout" in say(tmp_path, 3, about=record(SMALL))


def test_the_training_names_its_best_epoch_and_its_gap(tmp_path):
    text = say(tmp_path, 4)
    assert "best in epoch 29 of 30, with 82.00 %, and 80.00 % at the end." in text
    assert "It ended 15.0 points below the training accuracy" in text
    assert "The training took 1 h 1 min" in text
    assert "An iteration took 160 ms" in text
    assert "It ran in one go. Nothing went wrong." in text


def test_resumes_and_faults_are_said(tmp_path):
    attempts = [{"from": [0, 0], "how": None}, {"from": [1, 40], "how": "finished"}]
    faults = [{"kind": "memory", "what": f"Fault {i}.", "epoch": 2, "batch": i} for i in range(5)]
    text = say(tmp_path, 4, about=record(attempts=attempts), faults=faults)
    assert "It ran in 2 attempts and was taken up again in epoch 2 after 40 batches." in text
    assert "Fault 0. (epoch 2, batch 0)" in text and "And 2 more entries in its record." in text


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_hyperparameter_of_a_recipe_is_in_its_report(tmp_path, name):
    recipe, text = SYSTEMS[name], say(tmp_path, about=record(name))
    for value in (recipe.batch_size, recipe.lr, recipe.num_epochs, *recipe.optimizer_settings.values()):
        assert f"{value:g}" in text
    for word in (recipe.optimizer, recipe.loss, recipe.schedule):
        assert word in text


def test_the_final_accuracy_has_interval_classes_confusions_and_mistakes(tmp_path):
    text = say(tmp_path, 5)
    assert "84.00 % of the 10,000 test images were named right (CIFAR-10), with a 95 % interval" in text
    assert "83.30 % to 84.70 %" in text
    assert "5 likeliest for 99.0 %" in text and "85.00 % with flip" in text
    assert "airplane for automobile (160)" in text
    assert "cat for dog, 98.7 % sure (image 4,321)" in text
    assert "64.0 % under a shift by 8 pixels" in text
    assert "Error rate 16.00 %, 1,234,567 parameters, 160 ms an iteration, not settled" in text


def test_what_was_reported_stands_beside_what_was_found(tmp_path):
    text = say(tmp_path, 5, about=record("dropout_cnn"), tested=evaluation(700))
    assert "85.65 %" in text and "70.00 %" in text and "33 min 43 s" in text
    assert "Momentum (0.9 is taken)" in text
    assert "is not the report's" not in text
    changed = SYSTEMS["dropout_cnn"].change(lr=0.02)
    assert "The recipe of this run is not the report's." in say(tmp_path, 5, about=record(changed))
    assert "reported" not in say(tmp_path, 5, about=record(SMALL))


def test_gates_are_drawn_for_gated_networks_only(tmp_path):
    text = say(tmp_path, 5, about=record(SMALL), tested=evaluation(gates=GATES))
    assert "From class to class the mean weight of a branch differs by up to 0.10, most in block1." in text
    assert "mean weight" not in say(tmp_path, 5)


def test_only_the_blocks_that_can_be_read_are_drawn(tmp_path):
    gates = {f"block{i}": [[0.2] * 5] * 10 for i in range(1, 11)}
    assert "in the last 2 blocks of 10" in say(
        tmp_path, 5, about=record("softmax_gated"), tested=evaluation(gates=gates)
    )


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"tested": evaluation(951)}, "95.10 %: in the band over 95 % → 20."),
        ({"tested": evaluation(950)}, "95.00 %: in the band 85 to 95 % → 15. Its interval reaches into over 95 %."),
        ({"tested": evaluation(700)}, "in the band 70 to 80 % → 5. Its interval reaches into less than 70 %."),
        (
            {"about": record(data=COPIES), "tested": evaluation(900, data=COPIES)},
            "90.00 % on JPEG copies of CIFAR-10: the bands are for CIFAR-10's own test images",
        ),
        (
            {"about": record(data=DRAWN), "tested": evaluation(990, data=DRAWN)},
            "no accuracy on CIFAR-10, and in no band.",
        ),
        ({"tested": {}}, "Not measured on the test images, so it falls in no band."),
    ],
)
def test_the_band_is_that_of_cifar_10_itself(tmp_path, parts, words):
    assert words in say(tmp_path, 6, **parts)


def test_on_drawn_images_no_band_is_named_and_every_figure_says_drawn_images(tmp_path):
    run = fake_run(tmp_path / "run", about=record(SMALL, data=DRAWN), tested=evaluation(990, data=DRAWN, gates=GATES))
    document = content(run)
    tasks = plain_text(document["sections"][5]["blocks"])
    assert "in the band" not in tasks and "Read all the same" not in tasks
    assert document["title"] == "Coursework on drawn images: gated_small"
    captions = [block["caption"] for block in figures(document) if "drawn from its plan" not in block["caption"]]
    assert len(captions) == 4 and all("drawn images" in caption for caption in captions)


def test_the_assigned_backbone_is_told_from_other_networks(tmp_path):
    assert "The assigned backbone: 2 gated blocks, k = 3" in say(tmp_path, 6, about=record(SMALL))
    assert "Not the assigned backbone, which alone gets marks here: it has no gated block." in say(tmp_path, 6)
    plain_gate = Plan((Block((3, 8), gate="none"),), ("mean", "linear 10"))
    assert "The gate of block 1 has no activation" in say(tmp_path, 6, about=record(Recipe("other", plain_gate)))


def test_a_training_by_hand_is_reported_and_its_unknowns_are_called_unknown(tmp_path):
    by_hand = {"system": "training", "settings": {"optimizer": "SGD", "lr": 0.1}, "recipe": None, "state": "finished"}
    text = say(tmp_path, about=by_hand | {"num_epochs": 3, "images": 100, "watched": "val", "parameters": 1234})
    assert "The network was built by hand, and its layers are unknown. It has 1,234 parameters." in text
    assert "optimizer = SGD, lr = 0.1" in text
    assert "How pixels were normalised is unknown." in text
    assert "Unknown: a network built by hand leaves no plan in the record." in text
    assert "None" not in text and "nan" not in text


def holes(value, path=()):
    """Yield the path of every key of a nested dict."""
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*path, key)
        yield from holes(item, (*path, key))


def without(value, path):
    """Return a copy of a nested dict that lacks one key."""
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return value


OPTIONAL = [("about", path) for path in holes(record(SMALL)) if path[:2] != ("recipe", "network") or len(path) == 2]
OPTIONAL += [("tested", path) for path in holes(evaluation(gates=GATES)) if path[0] != "calibration" or len(path) == 1]


@pytest.mark.parametrize("part, path", OPTIONAL, ids=lambda value: value if isinstance(value, str) else ".".join(value))
def test_a_record_may_lack_any_key(tmp_path, part, path):
    whole = {"about": record(SMALL), "tested": evaluation(gates=GATES)}
    text = say(tmp_path, **whole | {part: without(whole[part], path)})
    assert "None" not in text and "nan" not in text


def test_an_empty_folder_of_a_run_is_reported(tmp_path):
    text = say(tmp_path, about={"state": "running"}, lines=[], tested={})
    assert "No epoch was finished" in text and "nan" not in text and "None" not in text


def test_a_loss_that_became_no_number_is_reported(tmp_path):
    lines = metrics(4)
    lines[-1] |= {"train_loss": None, "train_acc": None, "val_loss": None, "val_acc": None}
    assert "The validation accuracy was best in epoch 3 of 4" in say(tmp_path, 4, lines=lines)


def figures(thing):
    """List the figures in a document, a section, or blocks."""
    if isinstance(thing, dict):
        inner = [figures(thing[key]) for key in ("sections", "blocks", "columns") if key in thing]
        return [thing] * (thing.get("kind") == "figure") + sum(inner, [])
    return sum((figures(item) for item in thing), []) if isinstance(thing, list) else []


def test_every_figure_says_in_words_what_it_shows(tmp_path):
    found = figures(content(fake_run(tmp_path / "run", about=record(SMALL), tested=evaluation(gates=GATES))))
    assert len(found) == 5
    assert all(len(figure["alt"]) > 40 and figure["caption"].endswith(".") for figure in found)
    (curves,) = [figure for figure in found if figure["caption"].startswith("Loss")]
    assert "validation accuracy from 35.00\u00a0% to 80.00\u00a0%" in curves["alt"]


def test_a_report_is_made_again_with_the_same_bytes_and_with_words_written_meanwhile(tmp_path, drawn):
    run = fake_run(tmp_path / "run")
    paths = write_report(run)
    assert [path.name for path in paths] == ["report.html", "report.pdf"]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_report(run)] == before
    (run.folder / "words" / "loss.md").write_text("We chose the loss with care.")
    html = write_report(run)[0].read_text(encoding="utf-8")
    assert html.index("3 Loss and optimizer") < html.index("We chose the loss with care.") < html.index("4 Training")


def test_the_folder_of_words_says_how_to_use_it(tmp_path):
    run = fake_run(tmp_path / "run")
    write_report(run)
    readme = (run.folder / "words" / "README.txt").read_text()
    assert all(file in readme for _, _, file in SECTIONS if file)
    assert "python -m tools.report run" in readme


def test_a_report_leaves_figures_settings_and_random_numbers_as_they_were(tmp_path, drawn):
    run, state, opened = fake_run(tmp_path / "run"), torch.get_rng_state(), plt.get_fignums()
    with matplotlib.rc_context({"font.size": 23, "svg.fonttype": "none"}):
        look = dict(matplotlib.rcParams)
        write_report(run)
        assert dict(matplotlib.rcParams) == look
    assert torch.equal(torch.get_rng_state(), state)
    assert plt.get_fignums() == opened


def test_a_report_needs_the_record_alone(tmp_path, monkeypatch, drawn):
    run = fake_run(tmp_path / "run", about=record("sigmoid_gated"))
    allowed, opened = builtins.open, []
    monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("a checkpoint was read"))
    monkeypatch.setattr("utils.data.cifar10.load_cifar10", lambda *_, **__: pytest.fail("images were read"))
    monkeypatch.setattr(
        builtins, "open", lambda file, *rest, **named: opened.append(file) or allowed(file, *rest, **named)
    )
    write_report(run)
    assert not [file for file in opened if str(file).endswith((".pt", ".tar.gz", ".npz"))]


def test_a_write_that_fails_leaves_the_older_report_and_no_partial_file(tmp_path, monkeypatch):
    run = fake_run(tmp_path / "run")
    paths = write_report(run)
    before = [path.read_bytes() for path in paths]
    (run.folder / "words" / "data.md").write_text("more")

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(run)
    assert [path.read_bytes() for path in paths] == before
    assert not list(run.folder.rglob("*.partial"))


def test_without_typst_the_html_is_written_and_one_line_says_how_to_get_the_pdf(tmp_path, monkeypatch, capsys):
    run = fake_run(tmp_path / "run")
    write_report(run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    paths = write_report(run)
    assert [path.name for path in paths] == ["report.html"]
    assert not (run.folder / "report.pdf").exists()  # it would be an older one
    (line,) = capsys.readouterr().out.splitlines()
    assert "pip install typst" in line


def test_words_that_typst_cannot_set_cost_the_pdf_and_no_older_one_stays(tmp_path, capsys):
    run = fake_run(tmp_path / "run")
    write_report(run)
    (run.folder / "words" / "data.md").write_text("> " * 100 + "deep")
    assert [path.name for path in write_report(run)] == ["report.html"]
    assert not (run.folder / "report.pdf").exists() and "deep" in (run.folder / "report.html").read_text("utf-8")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("No PDF: typst cannot set this report (") and "print report.html" in line


def test_a_mark_before_the_words_is_no_word(tmp_path):
    run = fake_run(tmp_path / "run", words={"data.md": "\ufeff# My heading\n"})
    (words,) = [block for block in content(run)["sections"][0]["blocks"] if block["kind"] == "words"]
    assert words["blocks"] == [{"kind": "heading", "text": ["My heading"]}]


def test_half_a_character_in_a_record_costs_that_character_only(tmp_path, drawn):
    run = fake_run(tmp_path / "run")
    record_file = run.folder / "run.json"
    record_file.write_text(record_file.read_text().replace("2.15.0", "\\udce9 half"))
    paths = write_report(Run(run.folder))
    assert len(paths) == 2 and "? half" in paths[0].read_text(encoding="utf-8")


def test_gates_of_classes_without_a_mean_are_left_out(tmp_path):
    gates = {name: [[None] * 3 if i == 2 else row for i, row in enumerate(table)] for name, table in GATES.items()}
    text = say(tmp_path, 5, about=record(SMALL), tested=evaluation(gates=gates))
    assert "A class of which no mean is recorded is left out." in text and "differs by up to" in text
    nothing = {name: [[None] * 3] * 10 for name in GATES}
    assert "mean weight" not in say(tmp_path / "none", 5, about=record(SMALL), tested=evaluation(gates=nothing))


def test_a_slow_iteration_is_said_without_an_exponent(tmp_path):
    lines = [line | ({"seconds": 802.6 * line["epoch"]} if "epoch" in line else {}) for line in metrics()]
    assert "An iteration took 1,070 ms" in say(tmp_path, 4, lines=lines)
    assert "1,070 ms an iteration" in say(tmp_path, 5, lines=lines)


def test_a_run_is_found_by_name_or_as_the_last(tmp_path):
    fake_run(tmp_path / "first", about=record(created="2026-11-20T10:00:00+00:00"))
    fake_run(tmp_path / "second")
    assert write_report("first", tmp_path)[0] == tmp_path / "first" / "report.html"
    assert write_report("last", tmp_path)[0] == tmp_path / "second" / "report.html"
    with pytest.raises(CourseworkError, match="first, second"):
        write_report("third", tmp_path)


def test_the_command_prints_the_paths_or_what_is_wrong(tmp_path, capsys, monkeypatch):
    fake_run(tmp_path / "mine")
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    assert main(["last"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "mine" / f"report.{kind}") for kind in ("html", "pdf")]
    assert main(["yours", "--folder", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "There is no run 'yours'." in error and "Choose one of mine." in error


def test_a_run_of_the_suite_s_own_training_is_reported(tmp_path, monkeypatch, drawn):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    trained = SMALL.train(budget="smoke", curves=False, device="cpu", precision="fp32")
    (run,) = (json.loads(path.read_text()) for path in tmp_path.glob("*/run.json"))
    html = write_report("last")[0].read_text(encoding="utf-8")
    assert write_report("last")[0].parent == trained.folder
    assert f"Run {run['run']}." in html and "Not measured on the test images." in html
    assert f"{100 * trained.history['val_acc'][-1]:.2f}\u00a0%" in html


def test_the_command_makes_the_report_again_that_was_written_last_or_that_of_the_last_run(tmp_path, capsys):
    runs = {
        name: fake_run(tmp_path / name, about=record(created=f"2026-01-0{day}")) for day, name in enumerate("abc", 1)
    }
    assert main(["--folder", str(tmp_path)]) == 0
    assert str(runs["c"].folder / "report.html") in capsys.readouterr().out
    write_report(runs["a"])
    os.utime(runs["a"].folder / "report.html", (4e9, 4e9))
    assert main(["--folder", str(tmp_path)]) == 0
    assert str(runs["a"].folder / "report.html") in capsys.readouterr().out
