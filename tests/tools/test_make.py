"""Tests of tools/make.py: the environment and its stamp, the targets, and what people read when something fails."""

import ast
import importlib.util
import zipfile

import pytest
from packaging.requirements import Requirement
from suites import ROOT, make_suite, run_python

from tools import make


class Workshop:
    """Stands in for the two slow commands, making the environment and filling it, and for the Python inside."""

    def __init__(self):
        self.done, self.version, self.pip = [], "3.12.1 (main)", lambda log: 0

    def run(self, command):
        words = [str(word) for word in command]
        self.done.append(words[2])
        if words[2] == "venv":
            python = make.Path(words[3]) / ("Scripts/python.exe" if make.os.name == "nt" else "bin/python")
            python.parent.mkdir(parents=True)
            python.write_text("")
            return 0
        return self.pip(make.Path(words[words.index("--log") + 1]))

    def version_of(self, python):
        return self.version if python.exists() else None


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """Return the stand-in, for a suite in tmp_path whose environment is not made yet."""
    stand_in = Workshop()
    (tmp_path / "requirements.txt").write_text("torch\n")
    monkeypatch.setattr(make, "ROOT", tmp_path)
    monkeypatch.setattr(make, "run", stand_in.run)
    monkeypatch.setattr(make, "version_of", stand_in.version_of)
    monkeypatch.delenv("VENV", raising=False)
    return stand_in


def test_an_environment_is_made_and_filled_once(workshop):
    python = make.environment()
    assert workshop.done == ["venv", "pip"]
    assert make.environment() == python
    assert workshop.done == ["venv", "pip"]


def test_changed_requirements_are_installed_into_the_same_environment(workshop, tmp_path):
    make.environment()
    (tmp_path / "requirements.txt").write_text("torch\nnumpy\n")
    make.environment()
    make.environment()
    assert workshop.done == ["venv", "pip", "pip"]


def test_another_python_in_the_environment_is_filled_again(workshop):
    make.environment()
    workshop.version = "3.13.0 (main)"
    make.environment()
    assert workshop.done == ["venv", "pip", "pip"]


def test_an_environment_whose_python_is_gone_is_made_anew(workshop):
    make.environment().unlink()
    make.environment()
    assert workshop.done == ["venv", "pip"] * 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_install_is_redone_from_the_start(workshop, tmp_path, end):
    def interrupted(log):
        (tmp_path / ".venv" / "half").write_text("")
        raise end

    workshop.pip = interrupted
    with pytest.raises(end):
        make.environment()
    workshop.pip = lambda log: 0
    make.environment()
    assert workshop.done == ["venv", "pip"] * 2
    assert not (tmp_path / ".venv" / "half").exists()


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("NewConnectionError: Temporary failure in name resolution", "check the network"),
        ("OSError: [Errno 28] No space left on device", "Free some disk space"),
        ("ERROR: No matching distribution found for torch", "try another one"),
        ("something else", "See pip's lines"),
    ],
)
def test_a_failed_install_says_what_helps_and_is_tried_again(workshop, said, helps):
    def fails(log):
        log.write_text(said)
        return 1

    workshop.pip = fails
    with pytest.raises(SystemExit) as stop:
        make.environment()
    assert helps in str(stop.value) and "run the same command again" in str(stop.value)
    assert len(str(stop.value).splitlines()) < 10
    workshop.pip = lambda log: 0
    make.environment()
    assert workshop.done[-1] == "pip"


def test_a_folder_that_is_not_ours_is_never_removed(workshop, tmp_path, monkeypatch):
    precious = tmp_path / "mine" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("words")
    monkeypatch.setenv("VENV", str(precious.parent))
    with pytest.raises(SystemExit, match="did not make it"):
        make.environment()
    assert precious.read_text() == "words" and workshop.done == []


def test_a_python_without_ensurepip_names_the_package_that_brings_it(workshop, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))
    with pytest.raises(SystemExit, match=r"sudo apt install python3\.\d+-venv"):
        make.environment()
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(make.os.name == "nt", reason="the programs are shell scripts")
def test_an_old_python_is_refused_in_one_line_that_names_a_newer_one_that_starts(tmp_path, monkeypatch):
    for name, code in (("python3.13", 127), ("python3.12", 0)):  # the first is a name that pyenv has for no Python
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        make.check_python((3, 9, 18), "/usr/bin/python3")
    assert "3.10 or newer" in str(stop.value) and "PYTHON=python3.12" in str(stop.value)
    assert len(str(stop.value).splitlines()) == 1


def read_requirements(name, python):
    """Return the requirements in a file that concern this version of Python, by their package's name."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]  # no option, such as an index, is a requirement
    valid = [each for each in requirements if each.marker is None or each.marker.evaluate({"python_version": python})]
    assert len({each.name for each in valid}) == len(valid)
    return {each.name: each.specifier for each in valid}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_constraints_fix_one_version_of_every_requirement_that_meets_its_bounds(python):
    fixed = read_requirements("constraints.txt", python)
    assert all(str(version).startswith("==") and "*" not in str(version) for version in fixed.values())
    for name, bounds in read_requirements("requirements.txt", python).items():
        assert bounds.contains(str(fixed[name]).removeprefix("==")), name


def test_make_py_can_be_parsed_by_the_pythons_that_it_refuses():
    ast.parse((ROOT / "tools" / "make.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_every_stage_is_run_and_judged_even_after_a_failure(capfd):
    def leaves_with(code):
        return [make.sys.executable, "-c", f"raise SystemExit({code})"]

    assert make.stages({"style": leaves_with(1), "tests": leaves_with(0)}) == 1
    assert capfd.readouterr().out.splitlines()[-2:] == [f"{'style':<24} FAILED (exit code 1)", f"{'tests':<24} ok"]
    assert make.stages({"style": leaves_with(0)}) == 0


def test_commands_are_printed_as_they_can_be_typed_in_the_suites_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "ROOT", tmp_path)
    if make.os.name != "nt":
        assert make.by_hand([tmp_path / ".venv/bin/python", "x y", tmp_path / "a b"]) == ".venv/bin/python 'x y' 'a b'"


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


@pytest.mark.parametrize("user", [0, 1000])
def test_jupyterlab_is_told_if_root_starts_it(monkeypatch, user):
    commands = []
    monkeypatch.setattr(make, "environment", lambda: "python")
    monkeypatch.setattr(make, "run", commands.append)
    monkeypatch.setattr(make.os, "geteuid", lambda: user, raising=False)
    make.lab(["--no-browser"])
    assert ("--allow-root" in commands[0]) == (user == 0) and commands[0][-1] == "--no-browser"


def test_an_unknown_target_names_the_known_ones(tmp_path):
    done = run_python(ROOT / "tools" / "make.py", "tset", cwd=tmp_path)
    assert done.returncode == 1 and "no target 'tset'" in done.stderr and "test" in done.stderr
    assert len(done.stderr.splitlines()) < 10
