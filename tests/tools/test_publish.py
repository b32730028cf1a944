"""Tests of tools/publish.py: the address is written into badges and set-up cells."""

import pytest
from suites import add_notebook, make_suite

from tools import notebooks, publish

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
    assert f'"--branch", "main", "{ADDRESS}"]' in nb.cells[1].source and "files.upload" not in nb.cells[1].source
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


def test_colab_opens_the_long_notebooks_on_a_gpu(suite):
    add_notebook(suite, "04_four", "x = 1")
    publish.main([])
    assert notebooks.clean(notebooks.read(suite / "notebooks" / "04_four.ipynb")).metadata["accelerator"] == "GPU"
    assert "accelerator" not in notebooks.read(suite / "notebooks" / "01_one.ipynb").metadata


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
