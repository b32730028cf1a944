"""Owns asking addresses for a file from byte N on, and what is wrong with their answers. Writes nothing to disk."""

from __future__ import annotations

import dataclasses
import http.client
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

GZIP = b"\x1f\x8b"
TRY_AGAIN = {408, 425, 429}  # the 4xx answers that may change by themselves


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds; `attempts` is a count."""

    answer: float = 8.0  # for an answer from anyone, before there is known to be no network
    favourite: float = 1.0  # for a mirror higher up the list, once another has answered
    stall: float = 15.0  # without a byte, before a connection counts as dead
    attempts: int = 5  # in a row without a new byte, before a mirror is given up
    pause: float = 1.0  # before the second attempt; doubles with every further one
    judge: float = 10.0  # from one look at the speed to the next
    too_long: float = 300.0  # to go at this speed: another mirror is worth a try


class Fault(Exception):
    """Why an address did not deliver; `final`: asking again cannot help; `answered`: somebody was there."""

    def __init__(self, reason, *, final=False, answered=True):
        super().__init__(reason)
        self.final, self.answered = final, answered


class KeepHttps(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https down to http, nor from either to anything else."""

    def redirect_request(self, request, response, code, message, headers, url):
        if urlsplit(url).scheme not in ("https", urlsplit(request.full_url).scheme):
            raise Fault(f"redirects to {shown(url)}, which is not https: refused", final=True)
        return super().redirect_request(request, response, code, message, headers, url)


def race(urls, start, size, seconds, patience):
    """Ask all at once; return (rank, response) of the first in order that answers right, or None, and {rank: Fault}."""
    answers, good, faults, waiting = queue.Queue(), {}, {}, set(range(len(urls)))
    for rank, url in enumerate(urls):  # nothing can stop a name look-up that hangs: it is left behind in its thread
        threading.Thread(target=_knock, args=(answers, rank, url, start, size, patience.stall), daemon=True).start()
    end = time.monotonic() + seconds
    while waiting and min(good, default=len(urls)) > min(waiting):
        try:
            rank, answer = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        waiting.remove(rank)
        if isinstance(answer, Fault):
            faults[rank] = answer
        else:
            good[rank] = answer
            end = min(end, time.monotonic() + patience.favourite)
    winner, *others = sorted(good.items()) or [None]
    for _, response in others:
        response.close()
    if winner is None:
        faults |= {rank: Fault(f"no answer in {seconds:g} s", answered=False) for rank in waiting}
    return winner, faults


def _knock(answers, rank, *request):
    try:
        answers.put((rank, open_at(*request)))
    except Fault as fault:
        answers.put((rank, fault))


def open_at(url, start, size, timeout):
    """Return the response that brings the bytes from `start` on (status 206) or all `size` of them (200)."""
    headers = {"User-Agent": "cifar10-coursework"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("not an http or https address")
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.build_opener(KeepHttps).open(request, timeout=timeout)
        _check(response, start, size)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _explain(error) from error
    return response


def read(response, count):
    """Return the next bytes, at least one and at most `count`."""
    try:
        chunk = response.read1(count)
    except (OSError, http.client.HTTPException) as error:
        raise _explain(error) from error
    if not chunk:
        raise Fault("closed the connection too early")
    return chunk


def shown(url):
    """Return the address without what may be secret in it: user, password, query."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def _check(response, start, size):
    """Refuse an answer that is not these bytes of this file."""
    content, extent = response.headers.get("Content-Type", ""), response.headers.get("Content-Range", "")
    if "html" in content:
        raise Fault(f"sent a web page ({content}), not the archive", final=True)
    if response.status not in (200, 206):
        raise Fault(f"HTTP {response.status} {response.reason}", final=True)
    if response.status == 206 and not re.fullmatch(rf"bytes {start}-\d+/({size}|\*)", extent):
        raise Fault(f"was asked for bytes {start}- of {size}, but sent {extent!r}", final=True)
    if response.status == 200 and response.length not in (None, size):
        raise Fault(f"offers {response.length:,} bytes, expected {size:,}", final=True)
    from_zero = response.status == 200 or start == 0
    if from_zero and not GZIP.startswith(head := response.peek(2)[:2]):
        raise Fault(f"sent no gzip archive: it begins with {head!r}", final=True)


def _explain(error):
    """Turn an error of the network into a Fault."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return Fault(f"HTTP {error.code} {error.reason}", final=error.code < 500 and error.code not in TRY_AGAIN)
    connected = not isinstance(error, urllib.error.URLError)
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return Fault("sent nothing for too long", answered=False)
    return Fault(getattr(cause, "strerror", None) or cause, final=isinstance(cause, ValueError), answered=connected)
