"""What README and guide say: the accuracy is the notebook's, links lead somewhere, targets and imported names exist."""

import ast
import re
import sys
import types
from pathlib import Path

import pytest

import utils
from tools import make
from utils.runs import find

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
MANUAL = (ROOT / "docs" / "developers.md").read_text(encoding="utf-8")


def test_the_accuracy_of_make_run_is_what_notebook_05_shows():
    (accuracy,) = re.findall(r"classified\s+(\d+\.\d+)\s%\s+of\s+the\s+test\s+images\s+correctly", README)
    shown = (ROOT / "notebooks" / "05_evaluation.ipynb").read_text(encoding="utf-8")
    assert f"of 10,000 test images are right: {accuracy} % (CIFAR-10)" in shown


@pytest.mark.parametrize("link", re.findall(r"(?:\]\(|src=\")([^)#:\"]+)[)\"]", README))
def test_every_link_to_a_file_leads_to_one(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", GUIDE))
def test_every_link_of_the_guide_leads_to_a_file(link):
    assert (ROOT / "docs" / link).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)", README + GUIDE))))
def test_every_make_target_exists(target):
    assert target in make.TARGETS


@pytest.mark.parametrize("room", utils.ROOMS)
def test_the_map_has_a_row_for_each_room(room):
    name = f"{room}.py" if (ROOT / "utils" / f"{room}.py").exists() else f"{room}/"
    assert f"| `{name}` |" in MANUAL


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", README + GUIDE, re.DOTALL | re.MULTILINE))
def test_code_is_python_and_imports_names_that_exist(block):
    imports = [node for node in ast.parse(block).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, type_ignores=[]), "README.md", "exec"), {})


def test_the_readmes_example_trains_resumes_and_reports(data, ledger_folder, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    for long, short in {"load_cifar10()": "images", "val=5000": "val=50", ", 10, optimizer": ", 1, optimizer"}.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)  # evaluate looks for the images that it was trained on
    module = types.ModuleType("readme")  # its network is found again by this name
    module.images = data
    monkeypatch.setitem(sys.modules, "readme", module)
    exec(compile(code, "README.md", "exec"), module.__dict__)
    assert (find("mine").folder / "report.html").exists()
    exec(compile(code, "README.md", "exec"), module.__dict__)  # the same cells again: nothing is trained twice
    assert len(find("mine").record["attempts"]) == 1
