"""Tests of what is committed: the notebooks, as files, and the calls in the suite's code. Nothing is run here."""

import pytest
from suites import ROOT

from tools import notebooks, publish, rules

MODULES = sorted([*(ROOT / "utils").rglob("*.py"), *(ROOT / "tools").rglob("*.py")])


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_a_notebook_keeps_every_rule(path):
    assert rules.check(path) == []


def test_no_name_is_defined_twice_among_notebooks_and_utils():
    assert rules.defined_twice(notebooks.paths(), sorted((ROOT / "utils").rglob("*.py"))) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_holds_a_forbidden_call(path):
    assert rules.forbidden(path.read_text(encoding="utf-8")) == []


def test_badges_and_set_up_cells_are_up_to_date():
    assert publish.stale_files() == {}
