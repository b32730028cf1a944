"""The order of the rooms: a module imports from its own room and from earlier ones, inside functions too."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import utils
from utils import ROOMS

FOLDER = Path(utils.__file__).parent


def imported(path):
    """List (line, room) of everything that a file imports from utils, wherever in the file it does so."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "utils":
            rooms = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            found += [(node.lineno, room) for room in rooms]
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found += [(node.lineno, name[1]) for name in names if name[0] == "utils" and len(name) > 1]
    return found


def wrong_imports(folder=FOLDER):
    """List the imports that point to a later room, each as "file, line: room"."""
    wrong = []
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for line, room in imported(path):
            if ROOMS.index(room) > ROOMS.index(own):
                wrong.append(f"{path.relative_to(folder)}, line {line}: {room}")
    return wrong


def test_every_room_stands_in_the_order():
    names = {path.name.removesuffix(".py") for path in FOLDER.iterdir() if not path.name.startswith("__")}
    assert names == set(ROOMS)


def test_no_import_points_to_a_later_room():
    assert wrong_imports() == []


def test_an_import_inside_a_function_counts_too(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.py").write_text("def f():\n    from utils.report import write_report\n")
    assert wrong_imports(tmp_path) == ["data/x.py, line 2: report"]


def test_no_two_modules_share_a_name():
    names = [path.stem for path in FOLDER.rglob("*.py") if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


def test_no_two_rooms_offer_the_same_name():
    rooms = [importlib.import_module(f"utils.{room}") for room in ROOMS if (FOLDER / room).is_dir()]
    names = [name for room in rooms for name in room.__all__]
    assert sorted(names) == sorted(set(names))
    assert all(hasattr(room, name) for room in rooms for name in room.__all__)
    # Figures are many and their names are all of one kind, show_...
    assert all(len(room.__all__) <= (40 if room.__name__ == "utils.figures" else 24) for room in rooms)


def test_trainings_and_records_need_no_package_of_notebooks():
    code = "import sys\nfor name in ('ipywidgets', 'IPython', 'nbformat', 'jupyterlab'): sys.modules[name] = None\n"
    code += "import tools.reproduce, tools.pages, tools.bench.recipes, utils.recipes, utils.evaluation, utils.report"
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, check=True)
