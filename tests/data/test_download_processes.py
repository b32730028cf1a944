"""A download among processes and on bad disks: many at once, killed, stopped by Ctrl-C, without room or permission."""

import io
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from download_parts import CONTENT, HALF, MD5, SIZE, failure, fetch, is_whole, part, part_holds, wait_until
from servers import Reply, closed_port, serving

from utils.data.sources import download

CHILD = """
import signal, sys
from utils.data.sources import download
signal.signal(signal.SIGINT, signal.default_int_handler)
target, md5, size, largest_file, *urls = sys.argv[1:]
if int(largest_file):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))
download.fetch(target, urls, md5, int(size))
"""


@pytest.fixture
def start_child(target, tmp_path):
    """Return a function that starts fetch in a process of its own; what it prints goes to process.log."""
    children = []

    def start(server, largest_file=0):
        log = tmp_path / f"log{len(children)}"
        command = [sys.executable, "-c", CHILD, target, MD5, SIZE, largest_file, server.url]
        with open(log, "w") as stderr:
            root = pathlib.Path(download.__file__).parents[3]
            children.append(subprocess.Popen([str(word) for word in command], cwd=root, stderr=stderr))
        children[-1].log = log
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_eight_processes_at_once_download_one_file_once(target, start_child):
    with serving(CONTENT, Reply(pace=120_000)) as server:
        children = [start_child(server) for _ in range(8)]
        assert [child.wait(60) for child in children] == [0] * 8
        assert server.starts == [0]
    assert is_whole(target)
    assert any("another process is downloading (pid" in child.log.read_text() for child in children)


def test_when_the_downloading_process_is_killed_another_takes_over_and_resumes(target, start_child):
    with serving(CONTENT, Reply(pace=60_000), Reply()) as server:
        first = start_child(server)
        wait_until(part_holds(target, 10_000))
        second = start_child(server)
        wait_until(lambda: f"another process is downloading (pid {first.pid})" in second.log.read_text())
        first.kill()
        first.wait()
        killed, left = time.monotonic(), part(target).stat().st_size
        assert second.wait(30) == 0
        assert server.starts == [0, left] and 0 < left < SIZE
        assert server.times[1] - killed < 5
    assert is_whole(target)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(5))
def test_a_download_killed_again_and_again_ends_in_the_same_bytes(target, start_child, seed):
    rng, kills = random.Random(seed), 0
    with serving(CONTENT, Reply(pace=100_000)) as server:
        while not target.exists():
            child = start_child(server)
            try:
                child.wait(rng.uniform(0.2, 1.5))
            except subprocess.TimeoutExpired:
                child.kill()
                kills += child.wait() != 0
        assert kills > 0 and server.starts == sorted(server.starts)
    assert is_whole(target)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to whole groups of processes")
def test_ctrl_c_says_how_far_it_came_and_the_next_run_goes_on_from_there(target, start_child):
    with serving(CONTENT, Reply(pace=60_000)) as server:
        child = start_child(server)
        wait_until(part_holds(target, 10_000))
        child.send_signal(signal.SIGINT)
        assert child.wait(20) != 0
    left, said = part(target).stat().st_size, child.log.read_text()
    assert f"stopped at {100 * left / SIZE:.1f} %; the next run goes on from there" in said
    assert "KeyboardInterrupt" in said and not target.exists()
    with serving(CONTENT) as server:
        fetch(target, server)
        assert server.starts == [left]
    assert is_whole(target)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit how large a file becomes")
def test_a_disk_that_fills_up_is_named_and_the_bytes_that_fitted_are_kept(target, start_child):
    with serving(CONTENT) as server:
        child = start_child(server, largest_file=100_000)
        assert child.wait(20) == 1
        said = child.log.read_text()
        assert f"DownloadError: no room for archive.tar.gz: {SIZE - 100_000:,} more bytes are needed" in said
        assert "goes on from byte 100,000" in said
        assert part(target).read_bytes() == CONTENT[:100_000] and not target.exists()
        fetch(target, server)
        assert server.starts == [0, 100_000]
    assert is_whole(target)


def test_a_disk_that_takes_only_a_part_of_each_write_still_gets_every_byte(target, monkeypatch):
    class Reluctant(io.FileIO):
        def write(self, data):
            return super().write(data[:1000])

    def reluctant_open(path, mode, buffering=-1):
        return Reluctant(path, "a") if mode == "ab" else open(path, mode, buffering)

    monkeypatch.setattr(download, "open", reluctant_open, raising=False)
    with serving(CONTENT) as server:
        fetch(target, server)
        assert server.starts == [0]
    assert is_whole(target)


def test_a_disk_without_room_is_noticed_before_anything_is_asked(target, monkeypatch):
    part(target).write_bytes(CONTENT[:HALF])
    with serving(CONTENT) as server:
        usage = shutil.disk_usage(target.parent)._replace(free=HALF - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        assert f"{HALF:,} more bytes are needed, {HALF - 1:,} are free" in failure(target, server)
        assert server.starts == []
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=HALF))
        fetch(target, server)
    assert is_whole(target)


@pytest.fixture
def read_only():
    """Return a function that makes a folder, with these files in it, that this process may read but not write."""
    if os.name == "nt":
        pytest.skip("Windows lets a process write into a folder that is read-only")
    folder, me = pathlib.Path(tempfile.mkdtemp()), os.geteuid()

    def make(**files):
        for name, content in files.items():
            (folder / name).write_bytes(content)
        folder.chmod(0o555)
        if me == 0:  # root may write anywhere
            os.seteuid(65534)
        return folder

    yield make
    os.seteuid(me)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_folder_is_a_clear_error(read_only):
    folder = read_only()
    message = failure(folder / "archive", closed_port())
    assert "cannot write archive: Permission denied" in message and str(folder) in message


def test_a_finished_file_in_a_read_only_folder_is_simply_used(read_only):
    folder = read_only(archive=CONTENT)
    assert fetch(folder / "archive", closed_port()) == folder / "archive"


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    assert "cannot write archive.tar.gz" in failure(tmp_path / "data" / "archive.tar.gz", closed_port())
