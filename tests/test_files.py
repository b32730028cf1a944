"""The record's files: written whole or not at all, read after any accident, no row lost that was acknowledged."""

import json
import os

import numpy as np
import pytest
import torch

from utils import files as records
from utils.files import append_lines, plain, read_json, read_lines, write_json

ROWS = [{"epoch": i, "loss": i / 7} for i in range(5)]


def test_rows_come_back_as_they_were(tmp_path):
    append_lines(tmp_path / "m", ROWS[:2])
    append_lines(tmp_path / "m", ROWS[2:])
    assert read_lines(tmp_path / "m") == (ROWS, 0)
    assert read_lines(tmp_path / "none") == ([], 0)


@pytest.mark.parametrize("cut", range(1, 25))
def test_a_torn_last_line_costs_that_line_only_and_is_counted(tmp_path, cut):
    file = tmp_path / "m"
    append_lines(file, ROWS[:3])
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    lost = 3 - len([line for line in whole[:-cut].split(b"\n") if _is_json(line)])
    append_lines(file, ROWS[3:])
    rows, bad = read_lines(file)
    assert rows[-2:] == ROWS[3:]
    assert rows[: 3 - lost] == ROWS[: 3 - lost]
    assert len(rows) == 5 - lost
    assert bad == (0 if _is_json(whole[:-cut].split(b"\n")[-1]) or whole[:-cut].endswith(b"\n") else 1)


def test_a_line_that_another_process_tears_just_before_the_write_costs_that_line_only(tmp_path, monkeypatch):
    file, real = tmp_path / "m", os.write

    def killed_before(handle, content):
        with open(file, "ab") as other:
            other.write(b'\n{"epoch": 7, "lo')
        return real(handle, content)

    append_lines(file, ROWS[:2])
    monkeypatch.setattr(records.os, "write", killed_before)
    append_lines(file, ROWS[2:])
    assert read_lines(file) == (ROWS, 1)


def _is_json(line):
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@pytest.mark.parametrize(
    "damage", [b"\0" * 4096, b"\xff\xfe\x80\n", b'{"epoch": 3, "lo', b"[1, 2]\n", b"17\n", b'{"a": ' * 5000 + b"\n"]
)
def test_damage_in_the_middle_leaves_all_other_rows(tmp_path, damage):
    file = tmp_path / "m"
    append_lines(file, ROWS[:3])
    with open(file, "ab") as out:
        out.write(damage)
    append_lines(file, ROWS[3:])
    rows, bad = read_lines(file)
    assert rows == ROWS
    assert bad == (0 if damage.startswith(b"\0") else 1)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (torch.tensor(2.0), 2.0),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (torch.float32, "torch.float32"),
        ("ü\n", "ü\n"),
        (True, True),
    ],
)
def test_whatever_a_record_is_given_it_holds_as_strict_json(tmp_path, value, kept):
    assert plain(value) == kept and type(plain(value)) is type(kept)
    write_json(tmp_path / "a.json", {"value": value})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)["value"] == kept


def test_half_a_character_costs_that_character_and_not_the_record(tmp_path):
    text = os.fsdecode(b"caf\xe9") + "\ud83d"  # a file's name in another encoding; half of a pair
    write_json(tmp_path / "a.json", {text: text})
    append_lines(tmp_path / "m", [{"what": text}, ROWS[0]])
    assert read_json(tmp_path / "a.json") == {"caf??": "caf??"}
    assert read_lines(tmp_path / "m") == ([{"what": "caf??"}, ROWS[0]], 0)


def test_a_disk_that_fills_up_in_a_line_says_so_and_loses_no_other(tmp_path, monkeypatch):
    file, real = tmp_path / "m", os.write
    append_lines(file, ROWS[:2])

    def fill(handle, data):
        monkeypatch.setattr(records.os, "write", fail)
        return real(handle, data[:5])

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "write", fill)
    with pytest.raises(OSError, match="No space"):
        append_lines(file, ROWS[2:3])
    monkeypatch.undo()
    append_lines(file, ROWS[3:])
    assert read_lines(file) == (ROWS[:2] + ROWS[3:], 1)


def test_a_file_that_another_program_has_open_for_a_moment_is_replaced_afterwards(tmp_path, monkeypatch):
    attempts, real = [], os.replace

    def refuse_twice(*names):
        attempts.append(names)
        if len(attempts) < 3:
            raise PermissionError(13, "Access is denied")
        real(*names)

    monkeypatch.setattr(records, "PAUSES", (0, 0))  # as on Windows
    monkeypatch.setattr(records.os, "replace", refuse_twice)
    write_json(tmp_path / "a.json", {"new": 1})
    assert read_json(tmp_path / "a.json") == {"new": 1} and len(attempts) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'"text"'])
def test_what_is_no_record_reads_as_none(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "missing.json") is None
