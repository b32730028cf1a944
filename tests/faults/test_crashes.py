"""Tests that a save that fails, or a process that dies in one, whatever call, leaves the old or the new checkpoint."""

import errno
import os
import pathlib
import re
import warnings

import pytest
import torch
from failing import Disk, death, error
from victim import Happenings, Victim, differences

from utils.errors import CheckpointError, CheckpointWarning
from utils.runs import checkpoint_files
from utils.runs.checkpoint_files import listed, newest, remove_old, write
from utils.training.state import NORMAL

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="follows open files by /proc")
CALLS = 12  # of a save that removes an old one; a test below counts them


def state(number):
    """Return a small checkpoint's state."""
    return {"position": {"epoch": 0, "batch": number}, "about": {}, "net": torch.full((50,), float(number))}


def save(folder, number, keep=1):
    write(folder, state(number))
    remove_old(folder, keep)


def found(folder):
    """Return the number of the checkpoint that a new start would go on from."""
    checkpoint_files.clean(folder)
    path, content = newest(folder)
    assert content["net"].tolist() == [float(content["position"]["batch"])] * 50
    return content["position"]["batch"]


def in_child(work):
    """Do work in a child process; return its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_save_writes_syncs_checks_renames_and_syncs_before_it_removes(tmp_path, monkeypatch):
    save(tmp_path, 1)
    old, disk = listed(tmp_path)[0], Disk(monkeypatch, tmp_path)
    save(tmp_path, 2)
    partial = re.compile(r".*/checkpoint-00000-0000002-[0-9a-f]{32}\.pt\.\d+-\d+\.partial")
    kinds = [
        (name, "partial" if partial.fullmatch(path) else "folder" if path == str(tmp_path) else pathlib.Path(path).name)
        for name, path in disk.calls
    ]
    assert kinds == [
        ("mkdir", "folder"),
        ("open", "partial"),
        ("write", "partial"),
        ("write", "partial"),
        ("fsync", "partial"),
        ("read", "partial"),
        ("replace", "partial"),
        ("unlink", "partial"),
        ("open folder", "folder"),
        ("fsync", "folder"),
        ("list", "folder"),
        ("unlink", old.name),
    ]
    assert len(kinds) == CALLS


@pytest.mark.parametrize("call", range(CALLS))
def test_after_an_error_in_any_call_the_old_or_the_new_checkpoint_loads(tmp_path, call):
    save(tmp_path, 1)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, tmp_path, error(), call)
        with pytest.raises(OSError, match="so the test wants it"):
            save(tmp_path, 2)
    if disk.calls[call][0] != "unlink":
        assert not [*tmp_path.glob("*.partial")]
    assert found(tmp_path) == 1 + (call >= 7)  # the rename is call 6
    save(tmp_path, 3)
    assert [found(tmp_path), *listed(tmp_path)[1:]] == [3] and not [*tmp_path.glob("*.partial")]


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("call", range(CALLS))
def test_after_a_death_in_any_call_the_old_or_the_new_checkpoint_loads(tmp_path, call, keep):
    for number in range(1, keep + 1):
        save(tmp_path, number, keep)

    def die():
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, tmp_path, death, call)
            save(tmp_path, keep + 1, keep)

    assert in_child(die) == 9
    assert len(listed(tmp_path)) == keep + (call >= 7)
    assert found(tmp_path) == keep + (call >= 7)
    assert not [*tmp_path.glob("*.partial")]
    save(tmp_path, 9, keep)
    assert found(tmp_path) == 9 and len(listed(tmp_path)) == keep


def test_the_first_save_of_all_leaves_nothing_or_a_whole_file(tmp_path):
    for call in range(CALLS - 1):
        folder = tmp_path / str(call)

        def die(folder=folder, call=call):
            with pytest.MonkeyPatch.context() as patch:
                Disk(patch, folder, death, call)
                save(folder, 1)

        assert in_child(die) == 9
        assert found(folder) == 1 if call >= 7 else newest(folder) is None


def test_a_file_that_does_not_read_back_the_same_never_gets_its_name(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: b"what a failing disk returns")
    with pytest.raises(OSError, match="does not read back"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert found(tmp_path) == 1 and len([*tmp_path.iterdir()]) == 1


class Full:
    """Makes each call of one kind fail from an event of the training on, until another."""

    def __init__(self, folder, operation, number, events):
        self.folder, self.operation, self.number, self.events, self.patch = folder, operation, number, events, None

    def callbacks(self):
        return [
            Happenings(self.events[0], self.begin, order=NORMAL),
            Happenings(self.events[1], self.end, order=NORMAL),
        ]

    def begin(self, training):
        self.patch = pytest.MonkeyPatch()
        disk = Disk(self.patch, self.folder)
        disk.note = lambda name, path: error(self.number)(name) if name == self.operation else None

    def end(self, training):
        self.patch.undo()


def warned(work):
    """Return what work returns, and its CheckpointWarnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    return result, [str(warning.message) for warning in caught if warning.category is CheckpointWarning]


@pytest.mark.parametrize("operation", ["mkdir", "open", "write", "fsync", "replace"])
def test_on_a_full_disk_a_training_warns_goes_on_and_saves_when_there_is_room_again(tmp_path, operation):
    victim, full = Victim(tmp_path), Full(tmp_path, operation, errno.ENOSPC, (4, 6))
    seen = []
    look = Happenings(5, lambda training: seen.append((victim.checkpoints.unsaved, listed(tmp_path)[0].name[11:24])))
    result, said = warned(lambda: victim.train(*full.callbacks(), look))
    assert differences(Victim().train(), result) == []
    assert len(said) == 1 and re.search(r"No space left.*\n.*\n.*[\d,]+ MiB are free", said[0])  # and not in each try
    assert "No space left" in seen[0][0] and seen[0][1] == "00000-0000003"
    assert victim.checkpoints.unsaved is None and not [*tmp_path.glob("*.partial")]
    assert differences(result, Victim(tmp_path, 99).train()) == []


def test_an_old_checkpoint_that_cannot_be_removed_is_not_called_a_failed_save(tmp_path):
    victim, full = Victim(tmp_path), Full(tmp_path, "list", errno.EACCES, (4, 5))
    said = warned(lambda: victim.train(*full.callbacks()))[1]
    assert len(said) == 1 and said[0].startswith("The checkpoint was written") and "removed" in said[0]


def test_a_folder_that_is_deleted_in_mid_run_is_made_again(tmp_path):
    folder = tmp_path / "kept"
    moving = Happenings(4, lambda training: folder.rename(tmp_path / "away"), order=NORMAL)
    result, said = warned(lambda: Victim(folder).train(moving))
    assert said == [] and differences(result, Victim(folder, 99).train()) == []


@pytest.mark.filterwarnings("ignore:The run log could not be written")
def test_a_folder_replaced_by_a_file_is_warned_of_at_once_and_refused_at_the_next_start(tmp_path):
    folder = tmp_path / "kept"

    def swap(training):
        folder.rename(tmp_path / "away")
        folder.write_text("a file")

    victim = Victim(folder)
    result, said = warned(lambda: victim.train(Happenings(4, swap, order=NORMAL)))
    assert differences(Victim().train(), result) == [] and len(said) == 1 and victim.checkpoints.unsaved
    with pytest.raises(CheckpointError, match="cannot be read"):
        Victim(folder, 99).train()
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert differences(result, Victim(folder, 99).train()) == []
