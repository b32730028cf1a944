"""Tests of tools/environment.py: the environment and its stamp, uv and pip, and what helps after a failure."""

import importlib.util
import os
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from suites import ROOT

from tools import environment


class Workshop:
    """Stands in for the slow commands, making the environment and filling it, and for the Python inside."""

    def __init__(self):
        self.done, self.version = [], "3.12.1 (main)"
        self.commands = []
        self.pip = lambda log: 0
        self.uv_code = 0

    def run(self, command):
        words = [str(word) for word in command]
        self.commands.append(words)
        is_uv = words[0] == "uv"
        self.done.append("uv " + words[1] if is_uv else words[2])
        if "venv" in words:
            python = Path(words[-1]) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            python.parent.mkdir(parents=True)
            python.write_text("")
            return 0
        return self.uv_code if is_uv else self.pip(Path(words[words.index("--log") + 1]))

    def version_of(self, python):
        return self.version if python.exists() else None


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """Return the stand-in, for a suite in tmp_path whose environment is not made yet, on a machine without uv."""
    stand_in = Workshop()
    (tmp_path / "requirements.txt").write_text("torch\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "UV", None)
    monkeypatch.setattr(environment, "run", stand_in.run)
    monkeypatch.setattr(environment, "version_of", stand_in.version_of)
    for variable in ("VENV", "PIP_CONSTRAINT", "UV_TORCH_BACKEND"):
        monkeypatch.delenv(variable, raising=False)
    return stand_in


@pytest.fixture
def without_ensurepip(monkeypatch):
    """Hide the module that Debian and Ubuntu leave to a package of its own."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))


def test_an_environment_is_made_and_filled_once(workshop):
    python = environment.environment()
    assert workshop.done == ["venv", "pip"]
    assert environment.environment() == python
    assert workshop.done == ["venv", "pip"]


def test_changed_requirements_are_installed_into_the_same_environment(workshop, tmp_path):
    environment.environment()
    (tmp_path / "requirements.txt").write_text("torch\nnumpy\n")
    environment.environment()
    environment.environment()
    assert workshop.done == ["venv", "pip", "pip"]


def test_an_environment_whose_python_is_gone_is_made_anew(workshop):
    environment.environment().unlink()
    environment.environment()
    assert workshop.done == ["venv", "pip"] * 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_install_is_redone_from_the_start(workshop, tmp_path, end):
    def interrupted(log):
        (tmp_path / ".venv" / "half").write_text("")
        raise end

    workshop.pip = interrupted
    with pytest.raises(end):
        environment.environment()
    workshop.pip = lambda log: 0
    environment.environment()
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
        environment.environment()
    assert helps in str(stop.value) and "run the same command again" in str(stop.value)
    assert len(str(stop.value).splitlines()) < 10
    workshop.pip = lambda log: 0
    environment.environment()
    assert workshop.done[-1] == "pip"


def test_a_folder_that_is_not_ours_is_never_removed(workshop, tmp_path, monkeypatch):
    precious = tmp_path / "mine" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("words")
    monkeypatch.setenv("VENV", str(precious.parent))
    with pytest.raises(SystemExit, match="did not make it"):
        environment.environment()
    assert precious.read_text() == "words" and workshop.done == []


def test_a_python_without_ensurepip_names_the_package_that_brings_it(workshop, tmp_path, without_ensurepip):
    with pytest.raises(SystemExit, match=r"sudo apt install python3\.\d+-venv"):
        environment.environment()
    assert not (tmp_path / ".venv").exists()


def test_uv_makes_the_environment_for_a_python_without_ensurepip(workshop, monkeypatch, without_ensurepip):
    monkeypatch.setattr(environment, "UV", "uv")
    environment.environment()
    assert workshop.done == ["uv venv", "uv pip"]


def test_uv_installs_the_build_of_torch_that_fits_and_the_versions_that_pip_would(workshop, monkeypatch):
    monkeypatch.setattr(environment, "UV", "uv")
    monkeypatch.setenv("PIP_CONSTRAINT", "constraints.txt")
    environment.environment()
    environment.environment()
    assert workshop.done == ["venv", "uv pip"]
    words = " ".join(workshop.commands[-1])
    assert "--torch-backend=auto" in words and "-r requirements.txt -c constraints.txt" in words
    monkeypatch.setenv("UV_TORCH_BACKEND", "cpu")
    assert "--torch-backend=cpu" in environment.uv_install("python")


def test_pip_installs_what_uv_could_not(workshop, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "UV", "uv")
    workshop.uv_code = 2
    environment.environment()
    environment.environment()
    assert workshop.done == ["venv", "uv pip", "pip"]


@pytest.mark.parametrize("code", [130, -2])
def test_ctrl_c_stops_uv_and_does_not_start_pip(workshop, monkeypatch, code):
    monkeypatch.setattr(environment, "UV", "uv")
    workshop.uv_code = code
    with pytest.raises(SystemExit):
        environment.environment()
    assert workshop.done == ["venv", "uv pip"]
    workshop.uv_code = 0
    environment.environment()
    assert workshop.done == ["venv", "uv pip"] * 2


def test_an_old_python_is_refused_in_one_line():
    with pytest.raises(SystemExit) as stop:
        environment.check_python((3, 9, 18), "/usr/bin/python3")
    assert "3.10 or newer" in str(stop.value) and len(str(stop.value).splitlines()) == 1


SYSTEMS = {"linux": "posix", "darwin": "posix", "win32": "nt"}  # as Python's sys and os name them


def read_requirements(name, python, system):
    """Return the requirements in a file that concern this version of Python on this system, by package."""
    facts = {"python_version": python, "python_full_version": python + ".9"}
    facts |= {"sys_platform": system, "os_name": SYSTEMS[system]}
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    requirements = [Requirement(line) for line in lines if line]  # no option, such as an index, is a requirement
    valid = [each for each in requirements if each.marker is None or each.marker.evaluate(facts)]
    assert len({each.name for each in valid}) == len(valid)
    return {each.name: each.specifier for each in valid}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_constraints_fix_one_version_of_every_requirement_that_meets_its_bounds(python, system):
    fixed = read_requirements("constraints.txt", python, system)
    assert all(str(version).startswith("==") and "*" not in str(version) for version in fixed.values())
    for name, bounds in read_requirements("requirements.txt", python, system).items():
        assert bounds.contains(str(fixed[name]).removeprefix("==")), name
