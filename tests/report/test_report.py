"""The report of a run: it needs the run's folder alone, its files are whole, and the command finds the run."""

import builtins
import os

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from report_parts import SYNTHETIC, evaluation, fake_run, record

from tools.report import main
from utils.report import content, write_report
from utils.report.facts import facts
from utils.report.template import render
from utils.runs.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
FILES = ("data.md", "model.md", "loss.md", "training.md", "accuracy.md")


def figures_in(thing):
    """List the figures in a document, a section, or blocks."""
    if isinstance(thing, dict):
        inner = [figures_in(thing[key]) for key in ("sections", "blocks", "columns") if key in thing]
        return [thing] * (thing.get("kind") == "figure") + sum(inner, [])
    return sum((figures_in(item) for item in thing), []) if isinstance(thing, list) else []


def test_every_figure_is_described_and_says_when_images_are_synthetic(tmp_path, blank_figures):
    tested = evaluation(990, data=SYNTHETIC)
    found = figures_in(content(fake_run(tmp_path / "run", about=record(data=SYNTHETIC), tested=tested)))
    assert len(found) == 5
    assert all(len(figure["alt"]) > 30 and figure["caption"].endswith(".") for figure in found)
    assert sum("synthetic images" in figure["caption"] for figure in found) == 4  # all but the network's


def test_a_report_is_written_again_with_the_same_bytes_and_with_text_written_meanwhile(tmp_path):
    run = fake_run(tmp_path / "run")
    paths = write_report("run", tmp_path)
    assert paths == [run.folder / "report.html", run.folder / "report.pdf"]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_report(run)] == before
    readme = (run.folder / "words" / "README.txt").read_text()
    assert all(file in readme for file in FILES) and "python -m tools.report run" in readme
    for file in FILES:
        (run.folder / "words" / file).write_text(f"Mine of {file}.")
    html = write_report(run)[0].read_text(encoding="utf-8")
    titles = ["1 Data", "2 Model", "3 Loss", "4 Training", "5 Final", "What this run"]
    order = [text for title, file in zip(titles, [*FILES, ""], strict=True) for text in (title, f"Mine of {file}")[:2]]
    positions = [html.index(text) for text in order[:-1]]
    assert positions == sorted(positions)


def test_a_report_leaves_figures_settings_and_random_numbers_as_they_were(tmp_path):
    run, state, opened = fake_run(tmp_path / "run"), torch.get_rng_state(), plt.get_fignums()
    with matplotlib.rc_context({"font.size": 23, "svg.fonttype": "none"}):
        look = dict(matplotlib.rcParams)
        write_report(run)
        assert dict(matplotlib.rcParams) == look
    assert torch.equal(torch.get_rng_state(), state)
    assert plt.get_fignums() == opened


def test_a_report_needs_the_record_alone(tmp_path, monkeypatch):
    run = fake_run(tmp_path / "run")
    allowed, opened = builtins.open, []
    monkeypatch.setattr("torch.load", lambda *_, **__: pytest.fail("a checkpoint was read"))
    monkeypatch.setattr("utils.data.cifar10.load_cifar10", lambda *_, **__: pytest.fail("images were read"))
    monkeypatch.setattr(
        builtins, "open", lambda file, *rest, **named: opened.append(file) or allowed(file, *rest, **named)
    )
    write_report(run)
    assert not [file for file in opened if str(file).endswith((".pt", ".tar.gz", ".npz"))]


def test_a_write_that_fails_leaves_the_older_report_and_no_partial_file(tmp_path, monkeypatch, blank_figures):
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


def test_without_typst_the_html_is_written_and_one_line_says_how_to_get_the_pdf(
    tmp_path, monkeypatch, capsys, blank_figures
):
    run = fake_run(tmp_path / "run")
    write_report(run)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [path.name for path in write_report(run)] == ["report.html"]
    assert not (run.folder / "report.pdf").exists()  # it would be an older one
    (line,) = capsys.readouterr().out.splitlines()
    assert "pip install typst" in line


def test_text_that_typst_cannot_set_costs_the_pdf_and_no_older_one_stays(tmp_path, capsys, blank_figures):
    run = fake_run(tmp_path / "run")
    write_report(run)
    (run.folder / "words" / "data.md").write_text("> " * 100 + "deep")
    assert [path.name for path in write_report(run)] == ["report.html"]
    assert not (run.folder / "report.pdf").exists() and "deep" in (run.folder / "report.html").read_text("utf-8")
    (line,) = capsys.readouterr().out.splitlines()
    assert "typst" in line and "report.html" in line


def test_half_a_character_in_a_record_costs_that_character_only(tmp_path, blank_figures):
    run = fake_run(tmp_path / "run")
    record_file = run.folder / "run.json"
    record_file.write_text(record_file.read_text().replace("2.15.0", "\\udce9 half"))
    paths = write_report(Run(run.folder))
    assert len(paths) == 2 and "? half" in paths[0].read_text(encoding="utf-8")


def test_the_command_prints_the_paths_or_what_is_wrong(tmp_path, capsys, monkeypatch, blank_figures):
    fake_run(tmp_path / "mine")
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    assert main(["last"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "mine" / f"report.{kind}") for kind in ("html", "pdf")]
    assert main(["yours", "--folder", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "'yours'" in error and "mine" in error


def test_the_command_writes_the_report_again_that_was_written_last(tmp_path, capsys, blank_figures):
    runs = {
        name: fake_run(tmp_path / name, about=record(created=f"2026-01-0{day}")) for day, name in enumerate("abc", 1)
    }
    fake_run(tmp_path / "running", about=record(created="2026-01-09", state="running"), tested={})
    assert main(["--folder", str(tmp_path)]) == 0  # no report yet: that of the newest run that was measured
    first, *files = capsys.readouterr().out.splitlines()
    assert str(runs["c"].folder / "report.html") in files and first.startswith("c ") and "4 runs" in first
    write_report(runs["a"])
    os.utime(runs["a"].folder / "report.html", (4e9, 4e9))
    assert main(["--folder", str(tmp_path)]) == 0
    first, *files = capsys.readouterr().out.splitlines()
    assert str(runs["a"].folder / "report.html") in files and first.startswith("a ")


def test_the_command_says_in_which_state_an_unmeasured_run_is_and_so_does_the_report(tmp_path, capsys, blank_figures):
    for name, state in (("old", "finished"), ("new", "interrupted")):
        fake_run(tmp_path / name, about=record(created=f"2026-01-01 {name == 'new'}", state=state), tested={})
    assert main(["--folder", str(tmp_path)]) == 0
    assert "interrupted" in capsys.readouterr().out.splitlines()[0]
    (quote,) = [line for line in render(facts(Run(tmp_path / "new"))).split("\n\n") if line.startswith(">")]
    assert "Interrupted" in quote and "not measured" in quote


def test_a_run_of_the_library_s_own_training_is_reported(tmp_path, monkeypatch, tiny, own_diagram):
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path))
    trained = tiny.train(effort="check", curves=False, device="cpu", precision="fp32")
    html = write_report("last")[0].read_text(encoding="utf-8")
    assert f"Run {trained.folder.name}." in html
    assert f"{100 * trained.history['val_acc'][-1]:.2f}\u00a0%" in html
