"""Who works in a folder: one process, known while it lives, forgotten when it is dead, on drives without locks, too."""

import json
import os
import platform
import subprocess
import sys
import threading
import time

import pytest
from patience import PATIENCE, wait_until

from utils.errors import CourseworkError
from utils.runs import claim as claims
from utils.runs.claim import NAME, STALE, Claim, is_alive

OTHER = {"host": "another-machine", "pid": 1, "token": "theirs", "since": "yesterday"}


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    """Wait for nobody."""
    monkeypatch.setattr(claims, "PATIENCE", 0.0)


@pytest.fixture
def dead():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def put(folder, holder, age=0.0):
    (folder / NAME).write_text(json.dumps(holder))
    then = time.time() - age
    os.utime(folder / NAME, (then, then))


def test_a_folder_has_one_worker_at_a_time(tmp_path):
    assert not is_alive(tmp_path)
    first = Claim(tmp_path)
    first.take()
    assert is_alive(tmp_path)
    with pytest.raises(CourseworkError, match=f"process {os.getpid()} on {platform.node()}") as caught:
        Claim(tmp_path).take()
    assert caught.value.where == tmp_path and len(str(caught.value).splitlines()) < 10
    first.release()
    assert not is_alive(tmp_path) and not [*tmp_path.iterdir()]
    second = Claim(tmp_path)
    second.take()
    second.release()


def test_a_worker_on_another_machine_counts_until_it_is_silent_for_long(tmp_path):
    put(tmp_path, OTHER, STALE / 2)
    with pytest.raises(CourseworkError, match="another-machine"):
        Claim(tmp_path).take()
    assert json.loads((tmp_path / NAME).read_text()) == OTHER
    put(tmp_path, OTHER, STALE + 5)
    assert not is_alive(tmp_path)
    claim = Claim(tmp_path)
    claim.take()
    claim.release()
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(os.name == "nt", reason="there, only the file's time tells")
def test_a_dead_process_of_this_machine_is_known_to_be_dead_at_once(tmp_path, dead):
    put(tmp_path, OTHER | {"host": platform.node(), "pid": dead})
    assert not is_alive(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
def test_a_killed_process_that_nobody_has_asked_after_is_dead(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    put(tmp_path, OTHER | {"host": platform.node(), "pid": process.pid})
    assert is_alive(tmp_path)
    process.kill()
    wait_until(lambda: not is_alive(tmp_path))  # and yet a process of this number exists
    process.wait()


def test_a_number_that_this_process_got_from_a_dead_one_is_no_worker(tmp_path):
    put(tmp_path, OTHER | {"host": platform.node(), "pid": os.getpid()})
    assert not is_alive(tmp_path)


@pytest.fixture
def alive():
    """Return a process of this machine that lives until the test is over."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def holder_of(process):
    """Return what a claim of this process says of it."""
    here = {"host": platform.node(), "machine": claims._machine()}
    return OTHER | here | {"pid": process.pid, "start": claims._state_and_start(process.pid)[1]}


@pytest.mark.parametrize("whose", ["nobody's", "another's", "mine"])
def test_in_another_container_of_the_same_name_a_number_means_another_process(tmp_path, dead, alive, whose):
    pid = {"nobody's": dead, "another's": alive.pid, "mine": os.getpid()}[whose]
    there = OTHER | {"host": platform.node(), "machine": "another start or container", "pid": pid, "start": "1"}
    put(tmp_path, there, STALE / 2)
    assert is_alive(tmp_path)
    put(tmp_path, there, STALE + 5)
    assert not is_alive(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
def test_a_process_that_got_the_number_of_a_dead_one_is_no_worker(tmp_path, alive):
    put(tmp_path, holder_of(alive) | {"start": "1"})
    assert not is_alive(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
@pytest.mark.parametrize("age", [0, 3600, -3600])
def test_a_process_known_to_live_keeps_its_folder_whatever_the_clock_says(tmp_path, alive, age):
    put(tmp_path, holder_of(alive), age)  # the clock jumped, or the machine slept: the next touch is still to come
    assert is_alive(tmp_path)
    alive.kill()
    alive.wait()
    assert not is_alive(tmp_path)


def test_without_proc_a_dead_process_is_known_and_of_a_living_one_the_touches_tell(tmp_path, dead, alive, monkeypatch):
    monkeypatch.setattr(claims, "_machine", lambda: None)
    monkeypatch.setattr(claims, "_state_and_start", lambda pid: (None, None))
    if os.name != "nt":
        put(tmp_path, holder_of(alive) | {"pid": dead})
        assert not is_alive(tmp_path)
    put(tmp_path, holder_of(alive), STALE / 2)
    assert is_alive(tmp_path)
    put(tmp_path, holder_of(alive), STALE + 5)
    assert not is_alive(tmp_path)
    claim = Claim(tmp_path)
    claim.take()
    assert is_alive(tmp_path)
    claim.release()


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_jumps_ends_nobodys_work_and_keeps_nobody_alive(tmp_path, jump, monkeypatch):
    claim = Claim(tmp_path, beat=0.01)
    claim.take()
    real = time.time
    monkeypatch.setattr(claims.time, "time", lambda: real() + jump)
    wait_until(lambda: is_alive(tmp_path))  # the next touch is by the new clock
    assert not claim.lost
    claim.release()
    put(tmp_path, OTHER, age=jump)  # dead since before the jump
    assert not is_alive(tmp_path)


def test_it_is_touched_while_it_is_held_and_no_longer(tmp_path):
    claim = Claim(tmp_path, beat=0.01)
    claim.take()
    os.utime(tmp_path / NAME, (0, 0))
    wait_until(lambda: (tmp_path / NAME).stat().st_mtime > 0)
    claim.release()
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat" and _lives(thread)]


def _lives(thread):
    thread.join(timeout=PATIENCE)
    return thread.is_alive()


def test_who_slept_and_lost_the_folder_notices_and_does_not_remove_the_others_file(tmp_path):
    claim = Claim(tmp_path, beat=0.01)
    claim.take()
    put(tmp_path, OTHER)
    wait_until(lambda: claim.lost)
    claim.release()
    assert json.loads((tmp_path / NAME).read_text()) == OTHER


def test_one_that_is_just_ending_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", PATIENCE)
    put(tmp_path, OTHER)
    threading.Timer(0.3, (tmp_path / NAME).unlink).start()
    claim = Claim(tmp_path)
    claim.take()
    claim.release()


def test_an_empty_file_was_left_by_a_process_killed_while_it_made_it(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", PATIENCE)  # and not a moment more than it takes
    (tmp_path / NAME).touch()
    assert is_alive(tmp_path)  # it may be about to write
    began, claim = time.monotonic(), Claim(tmp_path)
    claim.take()
    assert time.monotonic() - began < PATIENCE and json.loads((tmp_path / NAME).read_text())["token"] == claim.token
    claim.release()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_cannot_be_read_holds_the_folder_only_while_it_is_fresh(tmp_path, content):
    (tmp_path / NAME).write_text(content)  # somebody may be writing it just now
    with pytest.raises(CourseworkError, match="training this run"):
        Claim(tmp_path).take()
    os.utime(tmp_path / NAME, (0, 0))
    claim = Claim(tmp_path)
    claim.take()
    claim.release()


def test_a_stale_file_that_somebody_else_has_just_replaced_is_given_back(tmp_path, monkeypatch):
    put(tmp_path, OTHER, STALE + 5)
    real = os.rename

    def faster(source, target):  # another process takes over between the look and the renaming
        monkeypatch.setattr(claims.os, "rename", real)
        put(tmp_path, OTHER | {"token": "faster"})
        return real(source, target)

    monkeypatch.setattr(claims.os, "rename", faster)
    with pytest.raises(CourseworkError, match="training this run"):
        Claim(tmp_path).take()
    assert json.loads((tmp_path / NAME).read_text())["token"] == "faster"
    assert len([*tmp_path.iterdir()]) == 1


TAKE = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from utils.runs.claim import Claim
from utils.errors import CourseworkError
folder, start = pathlib.Path(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0.0, start - time.time()))
try:
    Claim(folder).take()
    print("taken", flush=True)
    sys.stdin.read()
except CourseworkError as error:
    print("refused", flush=True)
"""


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_begin_at_once_one_gets_the_folder(tmp_path, pytestconfig, stale):
    if stale:
        put(tmp_path, OTHER, STALE + 5)
    words = [sys.executable, "-c", TAKE, str(pytestconfig.rootpath), str(tmp_path), str(time.time() + 1.5)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(words, **pipes) for _ in range(8)]
    said = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate()
    assert sorted(said) == ["refused"] * 7 + ["taken"]
