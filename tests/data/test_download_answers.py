"""A download's useless answers: errors, web pages, unsafe redirects, no network; and what the error then says."""

import dataclasses
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest
from download_parts import CONTENT, HALF, SIZE, failure, fetch, is_whole, part
from servers import Reply, black_hole, closed_port, serving

from utils.data.sources import download
from utils.data.sources.http import Fault, KeepHttps, open_at

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
