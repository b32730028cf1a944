"""What README.md says: the accuracy is the notebook's, every link leads somewhere, every target exists."""

import ast
import re
from pathlib import Path

import pytest

from tools import make

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_accuracy_of_make_run_is_what_notebook_05_shows():
    (said,) = re.findall(r"ended\s+at (\d+\.\d+) % of the test images", README)
    shown = (ROOT / "notebooks" / "05_evaluation.ipynb").read_text(encoding="utf-8")
    assert f"{said}% of 10,000 test images are right (JPEG copies of CIFAR-10)" in shown


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_to_a_file_leads_to_one(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)", README))))
def test_every_make_target_exists(target):
    assert target in make.TARGETS


@pytest.mark.parametrize("path", sorted(p for p in (ROOT / "utils").glob("*.py") if p.name != "__init__.py"), ids=str)
def test_the_map_names_every_module(path):
    assert f"`{path.name}`" in README


def test_imports_point_from_the_bottom_of_the_map_to_its_top():
    rows = re.findall(r"^\| (`.+?) \|", README.partition("Imports in `utils/`")[2].partition("\n## ")[0], re.M)
    named = [re.findall(r"`(\w+)", row) for row in rows]
    place = {name: number for number, names in enumerate(named) for name in names}
    wrong = []
    for path in sorted((ROOT / "utils").rglob("*.py")):
        own = path.relative_to(ROOT / "utils").parts[0].removesuffix(".py")
        if own != "__init__":
            wrong += [f"{path.name}: {name}" for name in imported(path) if name != own and place[name] > place[own]]
    assert not wrong and len(place) > 50


def imported(path):
    """Return which modules of utils/ a file imports at its top."""
    found = []
    for line in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.ImportFrom) and (line.module or "").partition(".")[0] == "utils":
            module = line.module.split(".")[1:2]
            found += module or [alias.name for alias in line.names]
    return found
