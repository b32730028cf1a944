"""Owns what the tests of downloads share: the bytes, a fetch with little patience, its .part file. Holds no tests."""

import hashlib
import time

import pytest
from servers import Server, payload

from utils.data.sources import download
from utils.data.sources.http import Patience
from utils.errors import DownloadError

CONTENT = payload()
LIES = payload(seed=1)  # same length, other bytes
SIZE, HALF = len(CONTENT), len(CONTENT) // 2
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = {"answer": 5.0, "favourite": 1.0, "stall": 0.5, "attempts": 3, "pause": 0.01, "judge": 60.0, "too_long": 0.5}


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
