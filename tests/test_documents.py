"""The documents beside the README: links lead somewhere, targets exist, orders, marks and minutes are right."""

import collections
import re
from pathlib import Path

import pytest

import utils
from tools import make
from utils.report.marking import BANDS, TASKS

ROOT = Path(__file__).resolve().parents[1]
TEACHING = ("docs/assignment.md", "docs/rubric.md", "docs/teaching.md")
DOCUMENTS = ("CHANGELOG.md", "CONTRIBUTING.md", "docs/developers.md", "docs/lab-notes.md", *TEACHING)


def rows(text, columns):
    """List the cells of the rows of Markdown tables with this number of columns."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if len(cells) == columns]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / name).parent / link).exists(), link
    for target in re.findall(r"\bmake ([a-z]+)", "\n".join(re.findall(r"`[^`]+`|^    .*$", text, re.MULTILINE))):
        assert target in make.TARGETS, target


def test_the_manual_lists_the_rooms_in_their_order():
    text = (ROOT / "docs/developers.md").read_text(encoding="utf-8")
    listed = re.search(r"^errors, files[^.]+", text, re.MULTILINE)[0]
    assert tuple(re.split(r",\s+", listed)) == utils.ROOMS


def test_the_assignment_states_the_marking_scheme():
    text = (ROOT / "docs/assignment.md").read_text(encoding="utf-8")
    tasks = [(int(number), title, int(marks)) for number, title, marks, _ in rows(text, 4) if number.isdigit()]
    assert tasks == [(task.number, task.title, task.marks) for task in TASKS]
    bands = [(name, int(marks)) for name, marks in rows(text, 2) if marks.isdigit()]
    assert bands == [(band.name, band.marks) for band in BANDS]
    parts = [int(marks) for marks in re.findall(r"^- \*\w+, (\d+) marks\.\*", text, re.MULTILINE)]
    assert len(parts) == 4 and sum(parts) == TASKS[3].marks


def test_the_rubric_divides_all_marks_and_its_levels_have_no_gaps():
    text = (ROOT / "docs/rubric.md").read_text(encoding="utf-8")
    marks = collections.Counter()
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        for task, most in re.findall(r"[Tt]ask (\d): [\w ]+ \((\d+) marks\)", section.splitlines()[0]):
            marks[int(task)] += int(most)
        levels = [list(map(int, cells[0].split("–"))) for cells in rows(section, 3) if cells[0][0].isdigit()]
        covered = [mark for level in levels for mark in range(level[-1], level[0] - 1, -1)]
        assert not levels or covered == list(range(int(most), -1, -1))
    assert marks == {task.number: task.marks for task in TASKS}


def test_each_week_has_90_minutes_of_class_and_the_rest_of_the_notebooks_study_time_at_home():
    weeks = [cells for cells in rows((ROOT / "docs/teaching.md").read_text(encoding="utf-8"), 5) if cells[0].isdigit()]
    stated = re.findall(r"\| (\d+) h \|", (ROOT / "notebooks/README.md").read_text(encoding="utf-8"))
    assert len(weeks) == len(stated) == 6
    for (_, notebook, in_class, at_home, _), hours in zip(weeks, stated, strict=True):
        assert sum(map(int, re.findall(r" (\d+)(?:;|$)", in_class))) == 90
        assert notebook.endswith(f", {hours} h") and float(at_home.split()[0]) == int(hours) - 1.5
