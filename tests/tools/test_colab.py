"""Tests of tools/colab.py: a notebook that contains the library needs no other file."""

import io
import json
import lzma
import re
import zipfile

import pytest
from suites import add_notebook, make_suite, on_colab, run_python

from tools import colab, make, notebooks, publish

FOUND = '\nprint(__import__("utils").__path__[0])'


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Return a tiny suite whose notebooks are made to contain it."""
    suite = make_suite(tmp_path / "suite")
    for module in (make, colab, publish):
        monkeypatch.setattr(module, "ROOT", suite)
    monkeypatch.setattr(notebooks, "FOLDER", suite / "notebooks")
    monkeypatch.setattr(colab, "FOLDER", suite / "dist" / "colab")
    add_notebook(suite, "01_one", "# [the page](../docs/page.md), [`02`](02_two.ipynb), <https://example.org/x.md>")
    (suite / "docs").mkdir()
    (suite / "docs" / "page.md").write_text("A page.\n")
    return suite


@pytest.fixture
def cells(suite):
    """Return the two cells that start a notebook with the library, as text."""
    return as_text(colab.self_contained(notebooks.read(suite / "notebooks" / "01_one.ipynb")))


@pytest.fixture
def content(tmp_path):
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


def as_text(nb):
    position = publish.setup_position(nb)
    return "\n".join(cell.source for cell in nb.cells[position - 1 : position + 1]) + "\n"


def test_it_runs_from_an_empty_folder_and_unpacks_once(cells, content):
    done = run_python("-c", cells + FOUND, cwd=content)
    (folder,) = content.iterdir()
    assert done.stdout.splitlines() == ["ready", str(folder / "utils")], done.stderr
    assert (folder / "docs" / "page.md").is_file() and not (folder / "README.md").exists()
    edited = folder / "utils" / "notebook.py"
    edited.write_text(edited.read_text().replace("ready", "edited"))
    assert run_python("-c", cells, cwd=content).stdout == "edited\n"


def test_on_colab_the_drive_keeps_what_it_writes(cells, content):
    cells = cells.replace("use_drive = False", "use_drive = True") + "\nPath('my_network.py').write_text('')" + FOUND
    done = on_colab(content, cells)
    assert done.stdout.splitlines()[0] == "ready" and str(content / "drive") not in done.stdout, done.stderr
    assert (content / "drive" / "MyDrive" / "cifar10-coursework" / "my_network.py").is_file()


def test_a_library_that_was_changed_is_refused_and_nothing_is_written(cells, content):
    line = max(cells.splitlines(), key=len)
    done = run_python("-c", cells.replace(line, line[::-1]), cwd=content)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and not list(content.iterdir())


def test_all_notebooks_share_one_folder_and_another_library_gets_another(suite, content):
    add_notebook(suite, "02_two", "load_pretrained()")
    (suite / "results" / "weights").mkdir(parents=True)
    weights = suite / "results" / "weights" / "quick.pt"
    weights.touch()
    texts = [as_text(colab.self_contained(notebooks.read(path))) for path in notebooks.paths()]
    for text in texts:
        assert run_python("-c", text, cwd=content).returncode == 0
    (folder,) = content.iterdir()
    assert (folder / "results" / "weights" / "quick.pt").is_file()
    weights.write_text("other")
    assert colab.folder_name() != folder.name


def test_the_same_suite_gives_the_same_files_whose_library_is_folded(suite):
    assert colab.main() == 0
    path = suite / "dist" / "colab" / "01_one.ipynb"
    first = path.read_bytes()
    assert colab.main() == 0 and path.read_bytes() == first
    library, setup = json.loads(first)["cells"][1:3]
    assert library["metadata"]["jupyter"]["source_hidden"] and setup["metadata"]["tags"] == ["setup"]


@pytest.mark.parametrize("address", ["", "https://github.com/a/b"])
def test_links_lead_to_the_published_page_or_name_a_page_that_comes_along(suite, address):
    publish.main([address])
    nb = colab.self_contained(notebooks.read(suite / "notebooks" / "01_one.ipynb"))
    page = f"[the page]({address}/blob/main/docs/page.md)" if address else "the page (`docs/page.md`)"
    assert nb.cells[-1].source == f"# {page}, [`02`](02_two.ipynb), <https://example.org/x.md>"


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_the_real_notebooks_contain_what_they_use(path, tmp_path):
    nb = notebooks.read(path)
    code = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "code")
    needed = set(colab.needed_files(nb))
    assert {name for name in colab.suite_files() if name.startswith(("utils/", "results/accuracy/"))} <= needed
    for program in re.findall(r'"-m", "(tools\.\w+)"', code):
        with zipfile.ZipFile(io.BytesIO(lzma.decompress(colab.pack(sorted(needed), "suite")))) as archive:
            archive.extractall(tmp_path)
        assert run_python("-m", program, "--help", cwd=tmp_path / "suite").returncode == 0
    assert ("results/weights/quick.pt" in needed) == ("load_pretrained" in code)
