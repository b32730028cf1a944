"""Tests of tools/make.py: the targets, and what people read when something fails."""

import ast
import re
import shutil
import zipfile

import pytest
from suites import ROOT, make_suite, run_python

from tools import make


@pytest.mark.parametrize("name", ["make.py", "environment.py"])
def test_the_pythons_that_are_refused_can_read_what_refuses_them(name):
    ast.parse((ROOT / "tools" / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def test_a_target_whose_files_are_not_there_is_not_listed(tmp_path):
    suite = make_suite(tmp_path / "suite")
    shutil.rmtree(suite / "tools" / "bench")
    (suite / "tools" / "grade.py").unlink()
    listed = re.findall(r"(?m)^  (\w+)  ", run_python(suite / "tools" / "make.py", cwd=tmp_path).stdout)
    assert {"run", "lab", "student"} < set(listed) < set(make.TARGETS) - {"grade", "bench"}


def test_the_makefile_knows_every_target():
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("TARGETS"))
    assert set(line.partition("=")[2].split()) == set(make.TARGETS)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Return a suite whose path has a space and letters beyond ASCII, with caches and images that are the user's."""
    suite = make_suite(tmp_path_factory.mktemp("a b") / "süite")
    for name in ("data/README.md", "data/cifar-10-python.tar.gz", "utils/__pycache__/x.pyc", "runs/x.json", "old.zip"):
        (suite / name).parent.mkdir(exist_ok=True)
        (suite / name).write_text("")
    (suite / "env").mkdir()
    (suite / "env" / "pyvenv.cfg").write_text("")
    return suite


def test_an_environment_is_really_made_from_another_folder_with_a_space_in_the_path(suite, tmp_path):
    (suite / "tools" / "bench" / "first.py").write_text(
        "import utils.data.cifar10, sys; print(*sys.argv[1:], 'in', sys.prefix)"
    )
    (suite / "tools" / "bench" / "second.py").write_text("raise SystemExit(3)")
    (suite / "tools" / "bench" / "_common.py").write_text("raise SystemExit(4)")
    (suite / "tools" / "bench" / "page.py").write_text("print('renewed')")
    done = run_python(suite / "tools" / "make.py", "bench", "--quick", cwd=tmp_path, VENV="env 1", PIP_CONSTRAINT="")
    assert done.returncode == 1, done.stderr
    assert f"--quick in {tmp_path / 'env 1'}" in done.stdout
    assert done.stdout.count("renewed") == 1 and done.stdout.splitlines()[-1].startswith("page ")
    assert "FAILED (exit code 3)" in done.stdout and "_common" not in done.stdout
    again = run_python(suite / "tools" / "make.py", "bench", "first", cwd=tmp_path, VENV="env 1", PIP_CONSTRAINT="")
    assert again.returncode == 0 and "pip install" not in again.stdout and "exit code 3" not in again.stdout


@pytest.mark.parametrize("git", [False, True])
def test_zip_packs_the_suite_without_caches_runs_and_images(suite, tmp_path, git):
    if git:
        if not make.shutil.which("git"):
            pytest.skip("no git here")
        make.subprocess.run(["git", "init", "-q", str(suite)], check=True)
        (suite / ".gitignore").write_text((ROOT / ".gitignore").read_text() + "env/\n")
    done = run_python(suite / "tools" / "make.py", "zip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(suite / make.ZIP) as archive:
        names = {name.removeprefix("cifar10-coursework/") for name in archive.namelist()}
    assert {"README.md", "tools/make.py", "utils/notebook.py", "utils/runs/__init__.py", "data/README.md"} <= names
    assert not [
        name for name in names if name.startswith(("data/c", "runs", "env")) or "cache" in name or ".zip" in name
    ]


def test_a_folder_that_cannot_be_written_is_named_without_a_traceback(tmp_path):
    suite = make_suite(tmp_path / "suite")
    (suite / ".venv.py").touch()
    (suite / f"{make.ZIP}.part").mkdir()
    for target, environ, name in (
        ("zip", {}, make.ZIP),
        ("lab", {"VENV": str(suite / ".venv.py" / "env")}, ".venv.py"),
    ):
        done = run_python(suite / "tools" / "make.py", target, cwd=tmp_path, **environ)
        assert done.returncode == 1 and name in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 2


def test_an_unknown_target_names_the_known_ones(tmp_path):
    done = run_python(ROOT / "tools" / "make.py", "tset", cwd=tmp_path)
    assert done.returncode == 1 and "no target 'tset'" in done.stderr and "test" in done.stderr
    assert len(done.stderr.splitlines()) < 10
