"""A download arrives whole and verified under its name, or not at all, and goes on from the byte it had reached."""

import random
import threading

import pytest
from download_parts import CONTENT, HALF, LIES, SIZE, failure, fetch, is_whole, part, part_holds, wait_until
from servers import Reply, closed_port, serving

from utils.errors import DownloadError


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


def test_a_connection_that_falls_silent_is_left_and_resumed(target):
    with serving(CONTENT, Reply(stall_at=HALF), Reply()) as server:
        fetch(target, server)
        assert server.starts == [0, HALF]
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
