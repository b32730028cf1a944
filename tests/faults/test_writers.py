"""Cases 26 to 28: sixteen writers under kills lose no acknowledged row; two that start one run do not disturb it."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from utils import runs
from utils.files import read_lines, write_json
from utils.runs.run import METRICS, RECORD

ROOT = Path(__file__).resolve().parents[2]

# A writer trains nothing: it has the claim of a run, appends rows, and says each number when its row is on the disk.
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from utils.runs.claim import Claim
from utils.files import append_lines, read_lines
folder, count = Path(sys.argv[2]), int(sys.argv[3])
claim = Claim(folder)
claim.take()
done = [row["epoch"] for row in read_lines(folder / "metrics.jsonl")[0]]
for number in range(len(done) + 1, count + 1):
    append_lines(folder / "metrics.jsonl", [{"epoch": number, "train_loss": 1 / number, "seconds": float(number)}])
    print(number, flush=True)
claim.release()
"""

# Many processes append to one file at the same time.
SHARED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from utils.files import append_lines
for number in range(int(sys.argv[3])):
    append_lines(Path(sys.argv[2]), [{"writer": sys.argv[4], "number": number, "text": "x" * (number * 997 % 30000)}])
    print(number, flush=True)
"""


def start(code, *words):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(ROOT), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def acknowledged(process, kill_after=None):
    """Return the numbers that a process says until its end; kill it after so many."""
    said = []
    for line in process.stdout:
        said.append(int(line))
        if len(said) == kill_after:
            process.kill()
    err = process.communicate()[1]
    assert process.returncode in (0, -9), err.decode()
    return said


def write_under_kills(folder, writers, rows, rounds, random_):
    """Let writers fill a run each, killed in all rounds but the last; return what each was told is on the disk."""
    folders = [folder / f"run-{i}" for i in range(writers)]
    for path in folders:
        path.mkdir()
        write_json(path / RECORD, {"run": path.name, "state": "running", "created": path.name})
    said, kills = {path: set() for path in folders}, 0
    for turn in range(rounds):
        processes = [start(WRITER, path, rows) for path in folders]
        last = turn == rounds - 1
        limits = [None if last else random_.randint(1, rows // rounds) for _ in folders]
        with ThreadPoolExecutor(writers) as pool:
            for path, numbers in zip(folders, pool.map(acknowledged, processes, limits), strict=True):
                said[path] |= set(numbers)
        kills += sum(process.returncode == -9 for process in processes)
        if not last:
            assert {run.state for run in runs.all_runs(folder)} == {"interrupted"}
    return said, kills


@pytest.mark.parametrize(
    ("writers", "rows", "rounds"), [(4, 120, 3), pytest.param(16, 500, 5, marks=pytest.mark.faults)]
)
def test_writers_under_kills_lose_no_acknowledged_row(tmp_path, writers, rows, rounds, record_property):
    said, kills = write_under_kills(tmp_path, writers, rows, rounds, random.Random(0))
    for path, numbers in said.items():
        found = [row["epoch"] for row in read_lines(path / METRICS)[0]]
        assert numbers <= set(found)
        assert found == list(range(1, rows + 1))
    table = runs.table(tmp_path)
    assert list(table.epochs) == [rows] * writers and "unreadable" not in set(table.state)
    total = sum(map(len, said.values()))
    record_property(
        "says",
        f"{writers} writers, {kills} kills: {total} rows acknowledged, none lost, "
        f"{int(table.bad_lines.sum())} torn lines repaired",
    )


@pytest.mark.parametrize(("rounds", "rows"), [(1, 60), pytest.param(10, 300, marks=pytest.mark.faults)])
def test_writers_of_one_file_lose_no_row_either(tmp_path, rounds, rows, record_property):
    file, random_, said, kills = tmp_path / METRICS, random.Random(0), set(), 0
    for turn in range(rounds):
        names = [f"{turn}-{number}" for number in range(8)]
        processes = [start(SHARED, file, rows, name) for name in names]
        limits = [random_.randint(1, rows - 1) if number % 4 else None for number in range(8)]  # six of the eight
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(acknowledged, processes, limits))
        said |= {(name, number) for name, numbers in zip(names, told, strict=True) for number in numbers}
        kills += sum(process.returncode == -9 for process in processes)
    rows_found, bad = read_lines(file)
    found = [(row["writer"], row["number"]) for row in rows_found]
    assert said <= set(found) and len(found) == len(set(found))
    assert bad <= kills
    record_property(
        "says", f"8 writers of one file, {kills} kills: {len(said)} rows acknowledged, all found, {bad} torn"
    )
