"""Tests of the set-up cell: it finds the suite on one's own computer, beside it, and on a stand-in for Colab."""

import os
import shutil
import subprocess
import zipfile

import pytest
from suites import make_suite, on_colab, run_python

from tools import make, publish

FOUND = '\nprint(__import__("utils").__path__[0])'  # the line after a set-up cell that says which suite it found


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return make_suite(tmp_path_factory.mktemp("packed") / "suite")


@pytest.fixture(scope="module")
def archive(suite):
    """Return the suite's zip file, as `make zip` writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "ROOT", suite)
        make.pack([])
    return suite / make.ZIP


@pytest.fixture
def content(tmp_path):
    """Return an empty folder to start a notebook in."""
    (tmp_path / "content").mkdir()
    return tmp_path / "content"


@pytest.fixture
def my_drive(content):
    """Return the Google Drive of the stand-in for Colab."""
    (content / "drive" / "MyDrive").mkdir(parents=True)
    return content / "drive" / "MyDrive"


def set_up(folder, times=1, cell=None):
    """Run the set-up cell as a notebook in this folder does, then print which suite it found."""
    return run_python("-c", (cell or publish.setup_cell()) * times + FOUND, cwd=folder)


def set_up_on_colab(content, use_drive=False, upload=(), times=1):
    """Run the set-up cell on the stand-in for Colab; it uploads these files when the cell asks for one."""
    cell = publish.setup_cell().replace("use_drive = False", f"use_drive = {use_drive}")
    return on_colab(content, (cell + "\n") * times + FOUND, upload)


def unpacked(done, content, name="cifar10-coursework"):
    """Tell whether the set-up cell started the suite that it unpacked beside itself, and said nothing else."""
    return done.stdout.splitlines()[-2:] == ["ready", str(content / name / "utils")] and not done.stderr


def asks_for_the_zip(done):
    return done.returncode == 1 and len(done.stderr.splitlines()) == 1 and make.ZIP in done.stderr


def test_it_finds_the_suite_that_its_notebook_lies_in(suite):
    done = set_up(suite / "notebooks")
    assert done.stdout.splitlines() == ["ready", str(suite / "utils")], done.stderr


@pytest.mark.parametrize("name", [make.ZIP, "cifar10-coursework (1).zip"])
def test_it_unpacks_a_zip_file_beside_it(archive, content, name):
    shutil.copy(archive, content / name)
    (content / "cifar10-coursework (2).zip").write_bytes(archive.read_bytes()[:-100])  # its upload has not finished
    assert unpacked(set_up(content), content)
    assert unpacked(set_up_on_colab(content), content)


def test_it_unpacks_the_newest_of_several_zip_files(archive, content, tmp_path):
    shutil.copytree(archive.parent, tmp_path / "newer" / "cifar10-coursework-newer", ignore=lambda *_: [make.ZIP])
    shutil.make_archive(content / "cifar10-coursework (1)", "zip", tmp_path / "newer")
    os.utime(shutil.copy(archive, content / make.ZIP), (1e9, 1e9))
    assert unpacked(set_up(content), content, "cifar10-coursework-newer")


def test_it_unpacks_only_once_so_that_edits_stay(archive, content):
    shutil.copy(archive, content)
    set_up(content)
    edited = content / "cifar10-coursework" / "utils" / "notebook.py"
    edited.write_text(edited.read_text().replace("ready", "edited"))
    assert set_up(content).stdout.startswith("edited\n")


def test_of_a_zip_file_the_module_that_it_looks_for_is_unpacked_last(archive):
    """So an interrupted unpacking is not taken for the suite."""
    with zipfile.ZipFile(archive) as file:
        assert file.namelist()[-1] == "cifar10-coursework/utils/notebook.py"


@pytest.mark.parametrize("name", [None, make.ZIP])
def test_without_a_complete_zip_file_it_says_what_to_do_and_writes_nothing(archive, content, name):
    if name:
        (content / name).write_bytes(archive.read_bytes()[:-100])
    before = list(content.iterdir())
    assert asks_for_the_zip(set_up(content)) and list(content.iterdir()) == before
    assert asks_for_the_zip(set_up_on_colab(content)) and list(content.iterdir()) == before


def test_a_zip_file_without_the_suite_is_no_suite(content):
    with zipfile.ZipFile(content / make.ZIP, "w") as file:
        file.writestr("notes.txt", "")
    assert asks_for_the_zip(set_up(content))


def test_on_colab_a_button_uploads_the_zip_file(archive, content):
    done = set_up_on_colab(content, upload=[archive])
    assert unpacked(done, content) and make.ZIP in done.stdout.splitlines()[0]


@pytest.mark.parametrize("place", [".", "cifar10-coursework"])
def test_a_zip_file_on_the_drive_is_unpacked_on_the_machine_once(archive, content, my_drive, place):
    (my_drive / place).mkdir(exist_ok=True)
    shutil.copy(archive, my_drive / place / make.ZIP)
    assert unpacked(set_up_on_colab(content, use_drive=True, times=2), content)
    assert not list(my_drive.glob("**/utils"))


def test_a_folder_on_the_drive_is_used_where_it_is(suite, content, my_drive):
    shutil.copytree(suite, my_drive / "cifar10-coursework")
    assert unpacked(set_up_on_colab(content, use_drive=True), my_drive)


def test_what_is_uploaded_and_written_with_the_drive_serves_the_next_machine(archive, content):
    write = "\nPath('my_network.py').write_text('')"
    cell = publish.setup_cell().replace("use_drive = False", "use_drive = True")
    assert on_colab(content, cell + write, [archive]).returncode == 0
    shutil.rmtree(content / "cifar10-coursework")  # what a new machine lacks
    assert unpacked(set_up_on_colab(content, use_drive=True), content)
    assert {path.name for path in (content / "drive" / "MyDrive" / "cifar10-coursework").iterdir()} == {
        "my_network.py",
        make.ZIP,
    }


def test_outside_colab_the_flag_for_the_drive_changes_nothing(suite):
    cell = publish.setup_cell().replace("use_drive = False", "use_drive = True")
    assert set_up(suite / "notebooks", cell=cell).stdout.startswith("ready\n")


def test_it_clones_the_published_suite(suite, content, tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("no git here")
    published = shutil.copytree(suite, tmp_path / "published")
    as_someone = ["git", "-C", str(published), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*as_someone, *words], check=True)
    monkeypatch.setattr(publish, "settings", lambda: (published.as_uri(), "main"))
    done = set_up(content)
    assert done.stdout.splitlines() == ["ready", str(content / "cifar10-coursework" / "utils")], done.stderr
    shutil.rmtree(content / "cifar10-coursework")
    published.rename(tmp_path / "gone")
    assert make.ZIP in set_up(content).stderr.splitlines()[-1]
