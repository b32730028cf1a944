"""A download's mirrors: the first good one is used, and one that breaks off, crawls or sends wrong bytes is left."""

import hashlib
import time

import pytest
from download_parts import CONTENT, HALF, LIES, MD5, SIZE, failure, fetch, is_whole, part
from servers import Reply, black_hole, serving

from utils.data.sources import download


def test_the_users_own_mirrors_come_first(monkeypatch):
    monkeypatch.delenv("CIFAR10_MIRROR", raising=False)
    assert download.mirrors() == download.URLS
    monkeypatch.setenv("CIFAR10_MIRROR", f" http://a/x  http://b/y {download.URLS[1]}")
    assert download.mirrors() == ("http://a/x", "http://b/y", download.URLS[1], download.URLS[0])


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
