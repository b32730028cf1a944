"""Tests of tools/publish.py: the address is written into badges and set-up cells, and a set-up cell finds the suite."""

import shutil
import subprocess

import pytest
from suites import add_notebook, make_suite, run_python

from tools import make, notebooks, publish

ADDRESS = "https://github.com/some-one/cifar10.course"
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/some-one/cifar10.course/blob/main/notebooks/02_two.ipynb)"
)


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Return a suite of two notebooks that publish works on."""
    suite = make_suite(tmp_path / "suite")
    monkeypatch.setattr(publish, "ROOT", suite)
    monkeypatch.setattr(notebooks, "FOLDER", suite / "notebooks")
    add_notebook(suite, "01_one", "x = 1")
    add_notebook(suite, "02_two", "y = 2")
    return suite


def contents(suite):
    """Return every file's text."""
    return {path: path.read_text(encoding="utf-8") for path in sorted(suite.rglob("*")) if path.is_file()}


def test_an_address_reaches_the_settings_the_badges_and_the_set_up_cells(suite):
    assert publish.main([ADDRESS + ".git"]) == 0
    assert f'repository = "{ADDRESS}"' in (suite / "pyproject.toml").read_text()
    nb = notebooks.read(suite / "notebooks" / "02_two.ipynb")
    assert nb.cells[0].source.splitlines()[:3] == ["<!-- badges -->", BADGE, "<!-- /badges -->"]
    assert f'repository = "{ADDRESS}"' in nb.cells[1].source
    readme = (suite / "README.md").read_text()
    assert f"{ADDRESS}/actions/workflows/ci.yml" in readme and "[01](" in readme and "[02](" in readme
    assert readme.startswith("# The suite\n") and readme.endswith("Words.\n")


def test_without_an_address_readme_and_notebooks_say_how_to_upload(suite):
    publish.main([])
    top = notebooks.read(suite / "notebooks" / "01_one.ipynb").cells[0].source
    for text in (top, (suite / "README.md").read_text()):
        assert "File > Upload notebook" in text and "cifar10-coursework.zip" in text
    assert "# 01_one" in top and "colab-badge" not in top


@pytest.mark.parametrize("address", [[], [ADDRESS]])
def test_publishing_again_changes_nothing(suite, address):
    publish.main(address)
    before = contents(suite)
    assert publish.main(address) == 0
    assert contents(suite) == before


def test_an_address_can_be_taken_back(suite):
    publish.main([])
    before = contents(suite)
    publish.main([ADDRESS])
    assert contents(suite) != before
    publish.main([""])
    assert contents(suite) == before


@pytest.mark.parametrize("name", ["README.md", "notebooks/01_one.ipynb"])
def test_check_finds_a_stale_badge_and_changes_nothing(suite, name, capsys):
    publish.main([ADDRESS])
    assert publish.main(["--check"]) == 0
    path = suite / name
    path.write_text(path.read_text(encoding="utf-8").replace("cifar10.course", "other"), encoding="utf-8")
    before = contents(suite)
    assert publish.main(["--check"]) == 1
    assert name.rpartition("/")[2] in capsys.readouterr().out.splitlines()[-1] and contents(suite) == before


def test_check_finds_a_changed_set_up_cell(suite):
    publish.main([])
    path = suite / "notebooks" / "02_two.ipynb"
    nb = notebooks.read(path)
    nb.cells[1].source += "\nprint()"
    notebooks.write(nb, path)
    assert publish.main(["--check"]) == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://github.com/a/b",
        "https://example.org/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "a/b",
        'x"',
    ],
)
def test_what_colab_cannot_open_from_is_refused_and_nothing_is_written(suite, address):
    before = contents(suite)
    with pytest.raises(SystemExit, match="https://github.com/OWNER/NAME"):
        publish.main([address])
    assert contents(suite) == before


def test_a_readme_without_marks_for_badges_is_refused(suite):
    (suite / "README.md").write_text("# The suite\n")
    with pytest.raises(SystemExit, match="<!-- badges -->"):
        publish.main([])


def set_up(folder):
    """Run the set-up cell as a notebook in this folder does, then print which suite it found."""
    cell = publish.setup_cell() + '\nprint(__import__("utils").__path__[0])'
    return run_python("-c", cell, cwd=folder)


def pack(suite, content):
    """Pack the suite as `make zip` does and put the archive into a folder; return the archive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "ROOT", suite)
        make.pack([])
    content.mkdir(exist_ok=True)
    return shutil.move(suite / make.ZIP, content / make.ZIP)


def test_the_set_up_cell_finds_the_suite_that_its_notebook_lies_in(suite):
    done = set_up(suite / "notebooks")
    assert done.stdout.splitlines() == ["ready", str(suite / "utils")], done.stderr


@pytest.mark.parametrize("name", [make.ZIP, "cifar10-coursework (1).zip", "cifar10.course-main (1).zip"])
def test_the_set_up_cell_unpacks_an_uploaded_suite(suite, tmp_path, name):
    content = tmp_path / "content"
    pack(suite, content).rename(content / name)
    (content / "notes.zip").write_text("not even a zip")
    done = set_up(content)
    assert done.stdout.splitlines() == ["ready", str(content / "cifar10-coursework" / "utils")], done.stderr


def test_the_set_up_cell_unpacks_only_once_so_that_edits_stay(suite, tmp_path):
    content = tmp_path / "content"
    pack(suite, content)
    set_up(content)
    edited = content / "cifar10-coursework" / "utils" / "notebook.py"
    edited.write_text(edited.read_text().replace("ready", "edited"))
    assert set_up(content).stdout.startswith("edited\n")


def test_the_set_up_cell_clones_the_published_suite(suite, tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("no git here")
    as_someone = ["git", "-C", str(suite), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*as_someone, *words], check=True)
    monkeypatch.setattr(publish, "settings", lambda: (suite.as_uri(), "main"))
    content = tmp_path / "content"
    content.mkdir()
    done = set_up(content)
    assert done.stdout.splitlines() == ["ready", str(content / "cifar10-coursework" / "utils")], done.stderr


def test_the_set_up_cell_unpacks_what_github_packs_under_any_name(suite, tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    shutil.copytree(suite, tmp_path / "packed" / "cifar10.course-main")
    shutil.make_archive(content / "cifar10.course-main (1)", "zip", tmp_path / "packed")
    done = set_up(content)
    assert done.stdout.splitlines() == ["ready", str(content / "cifar10.course-main" / "utils")], done.stderr


def test_the_set_up_cell_asks_to_wait_for_an_upload_that_is_not_complete(suite, tmp_path):
    content = tmp_path / "content"
    archive = pack(suite, content)
    archive.write_bytes(archive.read_bytes()[:-100])
    done = set_up(content)
    assert done.returncode == 1 and make.ZIP in done.stderr and len(done.stderr.splitlines()) == 1
    assert "Files" not in done.stderr and list(content.iterdir()) == [archive]


def test_the_set_up_cell_asks_for_an_upload_when_it_finds_nothing(tmp_path, suite):
    content = tmp_path / "content"
    content.mkdir()
    done = set_up(content)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert make.ZIP in done.stderr and "Files pane" in done.stderr
