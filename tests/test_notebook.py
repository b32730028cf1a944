"""Tests of utils/notebook.py: what the set-up cell starts changes nothing that it should not."""

import ast
import importlib.metadata
import os
import random
import subprocess
import sys
import zipfile

import matplotlib
import numpy as np
import pytest
import torch
from suites import ROOT

from utils import notebook
from utils.errors import CourseworkError


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Start in the suite's folder, and leave neither the style nor the folder for runs to other tests."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COURSEWORK_RUNS", "")
    monkeypatch.setattr(notebook, "_runs_folder", None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with matplotlib.rc_context():
        yield


def test_start_prints_one_line_on_the_machine_without_a_path(capsys):
    notebook.start()
    (line,) = capsys.readouterr().out.splitlines()
    assert f"torch {torch.__version__}" in line and len(line) < 120
    assert str(ROOT) not in line and str(ROOT.home()) not in line


@pytest.mark.parametrize(
    ("machine", "device", "menu"),
    [
        ("colab", "cpu", "Runtime > Change runtime type"),
        ("kaggle", "cpu", "Settings > Accelerator"),
        ("colab", "cuda", ""),
        ("", "cpu", ""),
    ],
)
def test_start_names_the_menu_that_gives_a_gpu_on_colab_and_kaggle(monkeypatch, capsys, machine, device, menu):
    if machine == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", sys)
    if machine == "kaggle":
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setattr("utils.devices.try_gpu", lambda: torch.device(device))
    monkeypatch.setattr("utils.devices.describe", str)
    notebook.start()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + bool(menu) and menu in lines[-1]


def test_outside_the_suite_the_runs_are_kept_where_the_notebook_works(tmp_path, monkeypatch, capsys):
    for name in ("machine", "drive"):  # the second is chosen by running the set-up cell again, with use_drive = True
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        notebook.work_beside_notebook()
        assert os.environ["COURSEWORK_RUNS"] == str(tmp_path / name / "runs")
        assert str(tmp_path / name / "runs") in capsys.readouterr().out and str(tmp_path / name) in sys.path


def test_a_folder_for_runs_that_the_user_chose_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSEWORK_RUNS", "mine")
    monkeypatch.chdir(tmp_path)
    notebook.work_beside_notebook()
    assert os.environ["COURSEWORK_RUNS"] == "mine"


def test_inside_the_suite_the_runs_stay_where_they_were(monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "notebooks")
    notebook.work_beside_notebook()
    assert os.environ["COURSEWORK_RUNS"] == "" and not capsys.readouterr().out


def test_a_zip_file_that_came_after_the_suite_was_unpacked_is_named(tmp_path, monkeypatch, capsys):
    library = tmp_path / "cifar10-coursework" / "utils" / "notebook.py"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.setattr(notebook, "SUITE", library.parents[1])
    monkeypatch.setattr(notebook, "__file__", str(library))
    monkeypatch.chdir(tmp_path)
    for number, age in enumerate((-10, 10)):
        path = tmp_path / f"cifar10-coursework ({number}).zip"
        with zipfile.ZipFile(path, "w"):
            pass
        os.utime(path, (library.stat().st_mtime + age,) * 2)
    (tmp_path / "cifar10-coursework.zip").write_text("its upload has not finished")
    notebook.work_beside_notebook()
    out = capsys.readouterr().out
    assert "cifar10-coursework (1).zip" in out and "(0)" not in out and "coursework.zip" not in out


def test_a_package_that_cannot_be_imported_is_named_with_the_versions_that_work_together(monkeypatch):
    monkeypatch.setitem(sys.modules, "cycler", None)
    with pytest.raises(CourseworkError, match=r"cycler[\s\S]*constraints\.txt"):
        notebook.start()


def test_start_leaves_every_random_generator_alone():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    notebook.start()
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_lines_of_a_figure_differ_by_colour_and_by_dashes():
    notebook.style_figures()
    cycle = list(matplotlib.rcParams["axes.prop_cycle"])
    assert len({line["color"] for line in cycle}) == len({str(line["linestyle"]) for line in cycle}) == len(cycle) >= 6


def imports(path):
    """Return the packages that a module imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", sorted((ROOT / "utils").rglob("*.py")), ids=lambda path: path.name)
def test_what_utils_imports_is_what_the_set_up_installs(path):
    comes_with_jupyter_or_matplotlib = {"IPython", "matplotlib_inline", "cycler", "mistune"}
    others = imports(path) - set(sys.stdlib_module_names) - {"utils"} - comes_with_jupyter_or_matplotlib
    # Single features need these, and say so where they are missing; scipy comes with scikit-learn.
    others -= {"onnx", "onnxruntime", "optuna", "ray", "scipy"}
    assert others <= set(notebook.NEEDED)


def pretend_missing(monkeypatch, *names):
    """Make it look as if these modules were not installed; return the commands that are then run."""
    commands, found = [], notebook.importlib.util.find_spec
    monkeypatch.setattr(notebook.importlib.util, "find_spec", lambda name: None if name in names else found(name))

    def run(command, **_):
        path = command[command.index("--constraint") + 1]
        with open(path) as file:
            commands.append((command, file.read().splitlines()))
        return subprocess.CompletedProcess(command, int("tqdm" in command), "", "no network")

    monkeypatch.setattr(notebook.subprocess, "run", run)
    return commands


def test_outside_colab_missing_packages_are_named_and_nothing_is_installed(monkeypatch):
    commands = pretend_missing(monkeypatch, "ipywidgets", "PIL")
    with pytest.raises(CourseworkError, match=r"pillow, ipywidgets[\s\S]*make lab") as error:
        notebook.install_missing()
    assert commands == [] and len(str(error.value).splitlines()) < 10


def test_without_typst_the_notebooks_start_because_only_a_pdf_needs_it(monkeypatch):
    assert pretend_missing(monkeypatch, "typst") == []
    notebook.install_missing()


def test_on_colab_only_the_missing_is_installed_and_everything_else_is_held(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    commands = pretend_missing(monkeypatch, "ipywidgets")
    notebook.install_missing()
    ((command, constraints),) = commands
    assert command[-1] == "ipywidgets" and not {"-U", "--upgrade", "torch"} & set(command)
    assert {f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "numpy")} <= set(constraints)
    assert capsys.readouterr().out == "Installed ipywidgets.\n"


def test_on_colab_a_failed_install_says_so_briefly(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    pretend_missing(monkeypatch, "tqdm")
    with pytest.raises(CourseworkError, match="could not install tqdm: no network"):
        notebook.install_missing()
