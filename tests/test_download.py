"""Downloads arrive whole and verified, or not at all: resumed, from whichever mirror works, once for all processes."""

import dataclasses
import hashlib
import io
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import pytest
from servers import Reply, Server, black_hole, closed_port, payload, serving

from utils.errors import DownloadError
from utils.sources import download
from utils.sources.mirror import Fault, KeepHttps, Patience, open_at

CONTENT = payload()
LIES = payload(seed=1)  # same length, other bytes
SIZE, HALF = len(CONTENT), len(CONTENT) // 2
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = {"answer": 5.0, "favourite": 1.0, "stall": 0.5, "attempts": 3, "pause": 0.01, "judge": 60.0, "too_long": 0.5}
CHILD = """
import resource, signal, sys
from utils.sources import download
signal.signal(signal.SIGINT, signal.default_int_handler)
target, md5, size, largest_file, *urls = sys.argv[1:]
if int(largest_file):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))
download.fetch(target, urls, md5, int(size))
"""


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Give the path to download to, with no proxy in between."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "archive.tar.gz"


@pytest.fixture
def start_child(target, tmp_path):
    """Return a function that starts fetch in a process of its own; what it prints goes to process.log."""
    children = []

    def start(server, largest_file=0):
        log = tmp_path / f"log{len(children)}"
        command = [sys.executable, "-c", CHILD, target, MD5, SIZE, largest_file, server.url]
        with open(log, "w") as stderr:
            root = pathlib.Path(download.__file__).parents[2]
            children.append(subprocess.Popen([str(word) for word in command], cwd=root, stderr=stderr))
        children[-1].log = log
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


def fetch(target, *addresses, **patience):
    urls = [address.url if isinstance(address, Server) else address for address in addresses]
    return download.fetch(target, urls, MD5, SIZE, patience=Patience(**QUICK | patience))


def failure(target, *addresses, **patience):
    """Return the text of the error, which must be short, and leave nothing that looks like a finished file."""
    with pytest.raises(DownloadError) as caught:
        fetch(target, *addresses, **patience)
    assert len(str(caught.value).splitlines()) < 10
    assert not target.exists()
    return str(caught.value)


def part(target):
    return target.with_name(target.name + ".part")


def is_whole(target):
    return target.read_bytes() == CONTENT and not part(target).exists()


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def part_holds(target, count):
    return lambda: part(target).exists() and part(target).stat().st_size >= count


def test_a_whole_file_arrives_with_one_request_and_is_not_fetched_again(target):
    with serving(CONTENT) as server:
        assert fetch(target, server) == target
        assert is_whole(target)
        fetch(target, server)
        assert server.starts == [0]


def test_the_first_line_says_from_where_how_much_is_here_and_where_it_goes(target, capsys):
    part(target).write_bytes(CONTENT[:1234])
    with serving(CONTENT) as server:
        fetch(target, server)
        host = f"127.0.0.1:{server.server_port}"
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    first = next(line for line in lines if " from " in line)
    assert all(word in first for word in (host, "1,234 of 300,000 bytes", str(target.parent)))
    assert any(host in line and "300k/300k" in line for line in lines)


@pytest.mark.parametrize("permille", [0, 100, 500, 999])
def test_a_connection_cut_on_the_way_is_resumed_at_that_byte(target, permille):
    cut = SIZE * permille // 1000
    with serving(CONTENT, Reply(cut_at=cut), Reply()) as server:
        fetch(target, server)
        assert server.starts == [0, cut]
    assert is_whole(target)


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(5, 200))])
def test_any_series_of_cuts_ends_in_the_same_bytes(target, seed):
    cuts = sorted(random.Random(seed).sample(range(SIZE), 5))
    with serving(CONTENT, *(Reply(cut_at=cut) for cut in cuts), Reply()) as server:
        fetch(target, server)
        assert server.starts == [0, *cuts]
    assert is_whole(target)


def test_a_later_call_goes_on_from_the_bytes_of_an_earlier_one(target):
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


HTML = (("Content-Type", "text/html; charset=utf-8"),)
UNUSABLE = {
    "404": (Reply(status=404), "HTTP 404"),
    "403": (Reply(status=403), "HTTP 403"),
    "a web page": (Reply(body=b"<html>log in</html>", headers=HTML), "web page"),
    "a web page in disguise": (Reply(body=b"<html>" + bytes(SIZE - 6)), "no gzip archive"),
    "too short": (Reply(body=CONTENT[:-1]), "offers 299,999 bytes, expected 300,000"),
    "too long": (Reply(body=CONTENT + b"!"), "offers 300,001 bytes, expected 300,000"),
    "no content": (Reply(status=204), "HTTP 204"),
    "a redirect to a file": (Reply(status=302, headers=(("Location", "file:///etc/hostname"),)), "302"),
    "a redirect to ftp": (Reply(status=302, headers=(("Location", "ftp://127.0.0.1/a"),)), "refused"),
    "endless redirects": (Reply(status=302, headers=(("Location", "/archive.tar.gz"),)), "302"),
}


@pytest.mark.parametrize("reply, reason", UNUSABLE.values(), ids=UNUSABLE)
def test_a_useless_answer_sends_us_to_the_next_mirror_or_is_named_in_the_error(target, reply, reason):
    with serving(CONTENT, reply) as bad, serving(CONTENT) as good:
        message = failure(target, bad)
        assert f"{bad.url}: " in message and reason in message
        assert len(bad.starts) == 1 or reply.status == 302  # asking again could not help
        fetch(target, bad, good)
    assert is_whole(target)


@pytest.mark.parametrize(
    "extent", [f"bytes 0-{SIZE - 1}/{SIZE}", f"bytes {HALF}-{SIZE - 1}/{SIZE + 1}", "", "nonsense"]
)
def test_bytes_other_than_those_asked_for_are_refused(target, extent):
    part(target).write_bytes(CONTENT[:HALF])
    with serving(CONTENT, Reply(headers=(("Content-Range", extent),))) as bad, serving(CONTENT) as good:
        assert f"was asked for bytes {HALF}- of {SIZE}" in failure(target, bad)
        assert part(target).read_bytes() == CONTENT[:HALF]
        fetch(target, bad, good)
        assert good.starts == [HALF]
    assert is_whole(target)


@pytest.mark.parametrize(
    "reply", [Reply(status=503), Reply(status=429), Reply(hang_up=True)], ids=["503", "429", "hangs up"]
)
def test_a_passing_trouble_is_tried_again(target, reply):
    with serving(CONTENT, reply, Reply()) as server:
        fetch(target, server)
        assert server.starts == [0, 0]
    assert is_whole(target)


def test_a_connection_that_falls_silent_is_left_and_resumed(target):
    with serving(CONTENT, Reply(stall_at=HALF), Reply()) as server:
        fetch(target, server)
        assert server.starts == [0, HALF]
    assert is_whole(target)


@pytest.mark.parametrize("trouble", [Reply(cut_at=HALF), Reply(stall_at=HALF)], ids=["cut", "silent"])
def test_a_mirror_without_progress_is_given_up_for_the_next_at_the_same_byte(target, trouble):
    with serving(CONTENT, trouble) as bad, serving(CONTENT) as good:
        fetch(target, bad, good, stall=0.2)
        assert bad.starts == [0, HALF, HALF]
        assert good.starts[-1] == HALF
    assert is_whole(target)


def test_a_mirror_with_progress_is_never_given_up(target):
    cuts = range(10_000, SIZE, 30_000)
    with serving(CONTENT, *(Reply(cut_at=cut) for cut in cuts), Reply()) as server:
        fetch(target, server, attempts=2)
        assert server.starts == [0, *cuts]
    assert is_whole(target)


def test_a_crawling_mirror_gives_way_to_an_untried_one_at_the_same_byte(target, capsys):
    with serving(CONTENT, Reply(pace=50_000)) as slow, serving(CONTENT) as fast:
        fetch(target, slow, fast, judge=0.4)
        assert slow.starts == [0]
        assert 0 < fast.starts[-1] < HALF
        said = f"too slow for the 0 MB left; going on from byte {fast.starts[-1]:,} at 127.0.0.1:{fast.server_port}"
    assert said in capsys.readouterr().err
    assert is_whole(target)


def test_a_crawling_mirror_cannot_hide_behind_dropped_connections(target):
    drops = [Reply(pace=50_000, cut_at=cut) for cut in range(10_000, SIZE, 10_000)]
    with serving(CONTENT, *drops, Reply()) as slow, serving(CONTENT) as fast:
        fetch(target, slow, fast, judge=1.0)
        assert slow.starts[:2] == [0, 10_000]
        assert fast.starts[-1] > 10_000
    assert is_whole(target)


def test_a_mirror_that_will_be_done_in_time_is_kept(target):
    with serving(CONTENT, Reply(pace=200_000)) as steady, serving(CONTENT) as fast:
        fetch(target, steady, fast, judge=0.2, too_long=30.0)
        assert steady.starts == [0] and set(fast.starts) <= {0}
    assert is_whole(target)


def test_when_all_mirrors_crawl_the_fastest_one_finishes(target, capsys):
    with (
        serving(CONTENT, Reply(pace=50_000)) as slow,
        serving(CONTENT, Reply(pace=200_000)) as fastest,
        serving(CONTENT, Reply(pace=20_000)) as slowest,
    ):
        fetch(target, slow, fastest, slowest, judge=0.4, too_long=0.1)
        assert len(slow.starts) == 1
        assert 0 < fastest.starts[1] < slowest.starts[1] < fastest.starts[2]
        assert len(fastest.starts) == 3 and len(slowest.starts) == 2
    assert "none is faster" in capsys.readouterr().err
    assert is_whole(target)


def test_a_slow_mirror_is_kept_when_it_is_the_only_one(target):
    with serving(CONTENT, Reply(pace=200_000)) as server:
        fetch(target, server, judge=0.2, too_long=0.1)
        assert server.starts == [0]
    assert is_whole(target)


@pytest.mark.parametrize("delay, favourite, used", [(0.2, 5.0, 0), (3.0, 0.2, 1)])
def test_the_first_mirror_in_the_list_is_used_if_it_answers_in_good_time(target, capsys, delay, favourite, used):
    with serving(CONTENT, Reply(delay=delay)) as first, serving(CONTENT) as second:
        fetch(target, first, second, favourite=favourite, stall=20.0)
        assert f"archive.tar.gz from 127.0.0.1:{(first, second)[used].server_port}" in capsys.readouterr().err
    assert is_whole(target)


def test_a_good_answer_of_the_first_mirror_needs_no_waiting_for_the_others(target):
    start = time.monotonic()
    with serving(CONTENT) as server, black_hole() as silent:
        fetch(target, server, silent, answer=20.0, favourite=20.0, stall=20.0)
    assert is_whole(target) and time.monotonic() - start < 10


def test_wrong_bytes_from_one_mirror_are_replaced_by_the_next(target):
    with serving(LIES) as liar, serving(CONTENT) as honest:
        fetch(target, liar, honest)
        assert liar.starts == [0] and honest.starts[-1] == 0
    assert is_whole(target)


def test_wrong_bytes_from_everyone_are_removed_and_both_hashes_named(target):
    with serving(LIES) as liar:
        message = failure(target, liar)
        assert liar.starts == [0]
    assert f"{liar.url}: md5 {hashlib.md5(LIES).hexdigest()}, expected {MD5}" in message
    assert not part(target).exists()


def test_wrong_bytes_from_several_senders_are_fetched_again_from_one_not_yet_used(target, capsys):
    broken = Reply(cut_at=HALF), Reply(status=404)
    with serving(CONTENT, *broken) as first, serving(LIES) as liar, serving(CONTENT) as third:
        fetch(target, first, liar, third)
        assert liar.starts[1] == HALF and third.starts[-1] == 0
    assert capsys.readouterr().err.count("starting afresh") == 1
    assert is_whole(target)


@pytest.mark.parametrize(
    "left, starts",
    [
        (b"\x1f\x8b!" + CONTENT[3:HALF], [HALF, 0]),
        (LIES, [0]),
        (CONTENT + b"!", [0]),
        (b"", [0]),
        (CONTENT, []),
    ],
    ids=["damaged", "wrong", "too long", "empty", "complete"],
)
def test_what_an_earlier_run_left_is_only_taken_as_final_after_its_hash(target, left, starts):
    part(target).write_bytes(left)
    with serving(CONTENT) as server:
        fetch(target, server)
        assert server.starts == starts
    assert is_whole(target)


def test_a_wrong_file_under_the_final_name_stays_until_a_good_one_can_replace_it(target, capsys):
    target.write_bytes(LIES)
    with pytest.raises(DownloadError):
        fetch(target, closed_port())
    assert target.read_bytes() == LIES
    with serving(CONTENT) as server:
        fetch(target, server)
    assert is_whole(target)
    assert f"{target} is not the archive" in capsys.readouterr().err


def test_nothing_has_the_final_name_before_the_last_byte(target):
    with serving(CONTENT, Reply(stall_at=SIZE - 1)) as server:
        failures = []
        thread = threading.Thread(target=lambda: failures.append(failure(target, server, stall=1.0, attempts=1)))
        thread.start()
        wait_until(part_holds(target, SIZE - 1))
        assert not target.exists()
        thread.join()
    assert "sent nothing for too long" in failures[0]


def test_the_error_names_every_address_its_reason_and_the_next_step(target, capsys):
    part(target).write_bytes(CONTENT[:4321])
    with serving(CONTENT, Reply(status=404)) as missing, serving(CONTENT, Reply(status=403)) as closed:
        message = failure(target, missing, closed, "not-an-address", "http://[::1")
    for words in (
        f"4,321 of {SIZE:,} bytes are here",
        f"{missing.url}: HTTP 404 Not Found",
        f"{closed.url}: HTTP 403 Forbidden",
        "not-an-address: not an http or https address",
        "http://[::1: Invalid IPv6 URL",
        "goes on from byte 4,321",
        "CIFAR10_MIRROR",
        f"put the file at {target}",
        'source="drawn"',
    ):
        assert words in message
    assert "asking again" not in capsys.readouterr().err


def test_many_failing_addresses_still_make_a_short_error(target):
    assert "and 9 more addresses failed" in failure(target, *(f"ftp://127.0.0.1/{i}" for i in range(12)))


def test_passwords_and_signatures_in_an_address_are_never_shown(target, capsys):
    with serving(CONTENT, Reply(status=404)) as server:
        message = failure(target, server.url + "?signature=secret1", "ftp://me:secret2@127.0.0.1/archive.tar.gz")
    assert server.url in message and "ftp://127.0.0.1/archive.tar.gz" in message
    assert "secret" not in message + capsys.readouterr().err


@pytest.fixture
def lost_names(monkeypatch):
    """Make the look-up of every name but 127.0.0.1 hang, as it does behind some broken networks."""
    release, look_up = threading.Event(), socket.getaddrinfo

    def hang(host, *args, **options):
        if host == "127.0.0.1":
            return look_up(host, *args, **options)
        release.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    release.set()


def without_network(target, **patience):
    """Try a name that hangs, a port that is silent and one that is closed; return the error and how long it took."""
    start = time.monotonic()
    with black_hole() as silent:
        message = failure(target, "https://archive.invalid/a", silent, closed_port(), **patience)
    return message, time.monotonic() - start


@pytest.mark.parametrize("stall, silence", [(30.0, "no answer in 0.5 s"), (0.1, "sent nothing for too long")])
def test_no_network_is_found_out_in_time_even_when_names_and_packets_get_lost(
    target, lost_names, capsys, stall, silence
):
    message, seconds = without_network(target, answer=0.5, stall=stall)
    assert seconds < 5
    assert all(words in message for words in ("no answer in 0.5 s", silence, "Connection refused"))
    assert "asking again" not in capsys.readouterr().err


@pytest.mark.faults
def test_no_network_is_found_out_within_ten_seconds_with_the_patience_we_ship(target, lost_names):
    _, seconds = without_network(target, **dataclasses.asdict(download.PATIENCE))
    assert seconds < 10


def test_the_users_own_mirrors_come_first(monkeypatch):
    monkeypatch.delenv("CIFAR10_MIRROR", raising=False)
    assert download.mirrors() == download.URLS
    monkeypatch.setenv("CIFAR10_MIRROR", f" http://a/x  http://b/y {download.URLS[1]}")
    assert download.mirrors() == ("http://a/x", "http://b/y", download.URLS[1], download.URLS[0])


@pytest.mark.parametrize("url", ["http://a/x", "HTTP://a/x", "ftp://a/x", "file:///x"])
def test_a_redirect_never_leads_from_https_to_anything_less(url):
    with pytest.raises(Fault, match="refused") as caught:
        KeepHttps().redirect_request(urllib.request.Request("https://a/x"), None, 302, "Found", {}, url)
    assert caught.value.final


@pytest.mark.parametrize("start, url", [("https://a/x", "https://b/y"), ("http://a/x", "https://b/y")])
def test_a_redirect_that_stays_as_safe_is_followed_with_its_range(start, url):
    request = urllib.request.Request(start, headers={"Range": "bytes=5-"})
    request = KeepHttps().redirect_request(request, None, 302, "Found", {}, url)
    assert request.full_url == url and request.get_header("Range") == "bytes=5-"


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """Give a server-side context whose self-signed certificate this process trusts."""
    if not shutil.which("openssl"):
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_a_real_https_server_is_used_but_not_followed_down_to_http(target, tls, monkeypatch):
    with serving(CONTENT) as plain, serving(CONTENT, tls=tls) as safe:
        with serving(CONTENT, Reply(status=302, headers=(("Location", plain.url),)), tls=tls) as downgrade:
            assert f"redirects to {plain.url}, which is not https: refused" in failure(target, downgrade)
            fetch(target, downgrade, safe)
        assert plain.starts == [] and is_whole(target)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(Fault, match="certificate"):
            open_at(safe.url, 0, SIZE, 5.0)


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
