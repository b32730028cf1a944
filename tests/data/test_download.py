"""A download arrives whole and checked under its name, or not at all, and continues from the byte it had reached."""

import hashlib
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest
from patience import PATIENCE, wait_until
from servers import Reply, Server, closed_port, serving

from utils.data.sources import download
from utils.errors import DownloadError

CONTENT = b"\x1f\x8b" + random.Random(0).randbytes(299_998)
LIES = b"\x1f\x8b" + random.Random(1).randbytes(299_998)
SIZE, HALF = len(CONTENT), len(CONTENT) // 2
MD5 = hashlib.md5(CONTENT).hexdigest()
CHILD = """
import sys
from utils.data.sources import download
target, md5, size, largest_file, url = sys.argv[1:]
if int(largest_file):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))
download.fetch(target, [url], md5, int(size))
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Make no pauses, and let a slow machine take its time."""
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", PATIENCE)


@pytest.fixture
def impatient(monkeypatch):
    """Give up soon on a server that says nothing."""
    monkeypatch.setattr(download, "TIMEOUT", 0.3)


def fetch(target, *addresses):
    urls = [address.url if isinstance(address, Server) else address for address in addresses]
    return download.fetch(target, urls, MD5, SIZE)


def failure(target, *addresses):
    """Return the text of the error, which must be short, and leave nothing that looks like a finished file."""
    with pytest.raises(DownloadError) as caught:
        fetch(target, *addresses)
    assert len(str(caught.value).splitlines()) < 10 and caught.value.where and caught.value.next_step
    assert not target.exists()
    return str(caught.value)


def part(target):
    return target.with_name(target.name + ".part")


def is_whole(target):
    return target.read_bytes() == CONTENT and not part(target).exists()


def test_a_whole_file_arrives_with_one_request_and_is_not_fetched_again(target):
    with serving(CONTENT) as server:
        assert fetch(target, server) == target and is_whole(target)
        fetch(target, server)
        assert server.starts == [0]


@pytest.mark.parametrize("seed", range(3))
def test_any_series_of_cuts_is_resumed_at_each_byte(target, seed):
    cuts = sorted(random.Random(seed).sample(range(SIZE), 7))
    with serving(CONTENT, *(Reply(cut_at=cut) for cut in cuts), Reply()) as server:
        fetch(target, server)
        assert server.starts == [0, *cuts]
    assert is_whole(target)


def test_a_later_call_continues_from_the_bytes_of_an_earlier_one(target):
    with serving(CONTENT, Reply(cut_at=HALF)) as server:
        assert f"{HALF:,} of {SIZE:,} bytes are here" in failure(target, server)
    assert part(target).read_bytes() == CONTENT[:HALF]
    with serving(CONTENT) as server:
        fetch(target, server)
        assert server.starts == [HALF]
    assert is_whole(target)


@pytest.mark.parametrize("cut", [1000, HALF, HALF + 1000])
def test_a_server_that_ignores_ranges_is_read_from_its_start_and_nothing_is_lost(target, cut):
    part(target).write_bytes(CONTENT[:HALF])
    with serving(CONTENT, Reply(ranges=False, cut_at=cut), Reply(ranges=False)) as server:
        fetch(target, server)
        assert server.starts == [HALF, max(HALF, cut)]
    assert is_whole(target)


@pytest.mark.parametrize("left", [b"\x1f!" + CONTENT[2:HALF], LIES, CONTENT + b"!", b"", CONTENT])
def test_what_an_earlier_run_left_is_never_taken_for_the_archive_without_its_md5(target, left):
    part(target).write_bytes(left)
    with serving(CONTENT) as server:
        fetch(target, server)
    assert is_whole(target)


def test_a_wrong_file_under_the_final_name_stays_until_a_good_one_can_replace_it(target):
    target.write_bytes(LIES)
    with pytest.raises(DownloadError):
        fetch(target, closed_port())
    assert target.read_bytes() == LIES
    with serving(CONTENT) as server:
        fetch(target, server)
    assert is_whole(target)


HTML = (("Content-Type", "text/html; charset=utf-8"),)
FINAL = {
    "404": (Reply(status=404), "HTTP 404"),
    "a web page": (Reply(body=b"<html>log in</html>", headers=HTML), "web page"),
    "a redirect to a file": (Reply(status=302, headers=(("Location", "file:///etc/hostname"),)), "302"),
    "other bytes": (Reply(body=LIES), MD5),
}
PASSING = {
    "503": (Reply(status=503), "HTTP 503"),
    "hangs up": (Reply(hang_up=True), "closed"),
    "no byte": (Reply(stall_at=0), "timed out"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reply, reason", (FINAL | PASSING).values(), ids=FINAL | PASSING)
def test_a_bad_mirror_is_left_for_the_next_or_named_in_the_error(target, reply, reason):
    with serving(CONTENT, reply) as bad, serving(CONTENT) as good:
        message = failure(target, bad)
        assert f"{bad.url}: " in message and re.search(reason, message)
        assert len(bad.starts) == 1 or (reply, reason) in PASSING.values()
        fetch(target, bad, good)
    assert is_whole(target)


@pytest.mark.usefixtures("impatient")
def test_a_passing_trouble_is_tried_again(target):
    with serving(CONTENT, *(reply for reply, _ in PASSING.values()), Reply()) as server:
        fetch(target, server)
        assert len(server.starts) == len(PASSING) + 1
    assert is_whole(target)


def test_wrong_bytes_from_several_mirrors_never_end_in_a_wrong_file(target):
    with serving(CONTENT, Reply(cut_at=HALF)) as half, serving(LIES) as liar, serving(CONTENT) as honest:
        assert MD5 in failure(target, half, liar)
        fetch(target, half, liar, honest)
    assert is_whole(target)


def test_the_error_names_every_address_but_no_password_and_the_next_step(target):
    with serving(CONTENT, Reply(status=404)) as missing:
        message = failure(target, missing.url + "?key=secret", "ftp://me:secret@a/b", "http://[::1", closed_port())
    assert f"{missing.url}: HTTP 404" in message and "ftp://a/b: " in message and "secret" not in message
    assert all(fact in message for fact in ("CIFAR10_MIRROR", str(target), 'source="synthetic"', "Invalid IPv6"))


def test_the_users_own_mirrors_come_first(monkeypatch):
    monkeypatch.setenv("CIFAR10_MIRROR", f" http://a/x  http://b/y {download.URLS[1]}")
    assert download.mirrors() == ("http://a/x", "http://b/y", download.URLS[1], download.URLS[0])


@pytest.fixture
def start_child(target):
    """Return a function that starts fetch in a process of its own."""
    children = []

    def start(server, largest_file=0):
        command = [sys.executable, "-c", CHILD, target, MD5, SIZE, largest_file, server.url]
        root = pathlib.Path(download.__file__).parents[3]
        children.append(subprocess.Popen([str(word) for word in command], cwd=root, stderr=subprocess.PIPE, text=True))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_several_processes_download_one_file_once_and_take_over_from_one_that_is_killed(target, start_child):
    with serving(CONTENT, Reply(pace=60_000), Reply()) as server:
        first = start_child(server)
        wait_until(lambda: part(target).exists() and part(target).stat().st_size > 10_000)
        others = [start_child(server) for _ in range(2)]
        first.kill()
        first.wait()
        assert [child.wait(PATIENCE) for child in others] == [0, 0]
        assert len(server.starts) == 2 and 0 < server.starts[1] < SIZE
    assert is_whole(target)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit how large a file becomes")
def test_a_disk_that_fills_up_is_named_and_the_bytes_that_fitted_are_kept(target, start_child):
    with serving(CONTENT) as server:
        child = start_child(server, largest_file=100_000)
        assert "Free some disk space" in child.communicate(timeout=PATIENCE)[1] and child.returncode == 1
        assert part(target).read_bytes() == CONTENT[:100_000] and not target.exists()
        fetch(target, server)
        assert server.starts == [0, 100_000]
    assert is_whole(target)


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    assert "can't be written" in failure(tmp_path / "data" / "archive.tar.gz", closed_port())
