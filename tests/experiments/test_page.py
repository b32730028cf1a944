"""The comparison page as a file: it needs nothing else, holds every run, and only its own script may run."""

import base64
import collections
import hashlib
import io
import re
from pathlib import Path

import pytest

from tools import compare
from utils import files as records
from utils.experiments.beside_reports import beside_reported, beside_table
from utils.experiments.page import COLUMNS, comparison_page, write_page
from utils.files import write_json
from utils.recipes import SYSTEMS


def test_the_page_fetches_nothing_and_only_its_own_script_may_run(add):
    add("a", 0.5)
    text = comparison_page(add.top)
    references = re.findall(r"""(?i)\b(?:src|href)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)""", text)
    assert references and all((target or url).startswith("#") for target, url in references)  # within the figures
    assert not re.search(r"(?i)@import|\bimport\s*\(|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text and "'unsafe-eval'" not in text
    (digest,) = re.findall(r"script-src 'sha256-([^']+)'", text)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest


def test_the_table_holds_every_column_of_every_kind_of_run_without_a_script(add):
    add("a", 0.5, float("nan"), system="</script><script>", tests=[{"accuracy": 0.75, "views": "flip"}])
    add("by hand", 0.5, recipe=None, settings={"lr": 0.25})
    (add.top / "broken").mkdir()
    (add.top / "broken" / "run.json").write_text("{half")
    table = re.search(r'<table id="runs">.*?</table>', comparison_page(add.top), re.DOTALL)[0]
    assert re.findall(r'data-key="(\w+)"', table) == list(COLUMNS) and "<script" not in table
    lines = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in table.splitlines() if line.startswith("<tr")]
    cells = {line[COLUMNS.index("run")]: dict(zip(COLUMNS, line, strict=True)) for line in lines}
    assert list(cells) == ["by hand", "a", "broken"]
    assert (cells["a"]["val_acc"], cells["a"]["test_acc"], cells["a"]["test_acc_tta"]) == ("", "", "75.00 %")
    assert cells["by hand"]["lr"] == "0.25" and "unreadable" in cells["broken"]["state"]


def test_every_file_of_a_run_is_read_once(add, monkeypatch):
    opened = collections.Counter()

    def count(file, *arguments, **options):
        if str(file).startswith(str(add.top)) and not str(file).endswith("partial"):
            opened[Path(file).name] += 1
        return open(file, *arguments, **options)

    counts = []
    for runs in (20, 40):
        for i in range(runs - 20, runs):
            run = add(f"run{i:03d}", 0.5, recipe=SYSTEMS["plain_cnn"].change(lr=(i + 1) / 1000))
            write_json(run.folder / "evaluation.json", {"accuracy": 0.5})
        monkeypatch.setattr(io, "open", count)  # by which pathlib opens files
        write_page(add.top)
        monkeypatch.undo()
        monkeypatch.setenv("COURSEWORK_RUNS", str(add.top))
        counts.append({name: opened[name] / runs for name in ("run.json", "metrics.jsonl", "evaluation.json")})
        opened.clear()
    assert counts == [{"run.json": 1, "metrics.jsonl": 1, "evaluation.json": 1}] * 2


def test_unreadable_runs_are_listed_with_their_reasons_above_the_figures(add):
    for i in range(12):
        (add(f"run{i:02d}", 0.5).folder / "evaluation.json").write_text('{"accuracy": "high"}')
    text = comparison_page(add.top)
    listed = re.search(r'<ul class="problems">.*?</ul>', text)[0]
    assert listed.count("accuracy must be") == 10 and "2 more" in listed and text.count("accuracy must be") == 22


def test_reported_accuracies_are_there_without_any_run(tmp_path):
    text = write_page(tmp_path / "new folder").read_text(encoding="utf-8")
    rows = beside_reported([]) + beside_table("C", []) + beside_table("D", [])
    assert text.count("not yet run") == sum(row["ours"] is None for row in rows)
    for figure in ("88.85 %", "83.67 %", "84.00 %", "90.51 %", "85.65 %", "91.38 %"):
        assert figure in text


def test_a_new_page_takes_the_old_ones_place_in_one_step(add, monkeypatch):
    add("a")
    path = write_page(add.top)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(records.os, "replace", fail)
    add("b")
    with pytest.raises(OSError, match="no room"):
        write_page(add.top)
    assert path.read_bytes() == before


def test_the_command_writes_the_page_of_the_run_log_and_prints_its_path(add, capsys):
    add("a")
    assert compare.main([]) == 0
    assert capsys.readouterr().out == f"{(add.top / 'compare.html').resolve()}\n"
    assert compare.main([str(add.top / "nonesuch")]) == 1
    assert "nonesuch" in capsys.readouterr().err
