"""Marks all submissions in a folder, and writes tables, feedback pages and files for Moodle, Canvas and Gradescope.

    python -m tools.grade FOLDER [--replay] [--unconfined] [--minutes 5]

A submission is a folder or a zip file, named after the student, with one notebook (handin.ipynb) and optionally a run
folder. Student code runs in a separate process that has no network, sees no file but the library and the submission,
and has limits on time, memory and files. The results are in FOLDER-graded, and are kept: a second call marks only what
is new or was interrupted. CIFAR10_ROOT names the images whose test accuracy counts, as everywhere in the suite.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from pathlib import Path

import filelock

from tools.command import command
from tools.grading import submissions, tables
from tools.grading.mark import Marking
from tools.grading.mark_run import TestSet
from tools.grading.scheme import MEASURED
from tools.grading.session import Limits, Nursery, missing_confinement
from utils.errors import CourseworkError
from utils.files import read_json, write_json

VERSION = 3  # increase it if the same submission would be marked in another way than before


@command
def main(arguments=None):
    """Mark the submissions in a folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.grade", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the folder that holds the submissions")
    parser.add_argument("--replay", action="store_true", help="replay the last part of each training of a recipe")
    parser.add_argument("--unconfined", action="store_true", help="run student code even if it can't be confined")
    parser.add_argument("--minutes", type=float, default=5.0, help="the most that one submission may take (default 5)")
    args = parser.parse_args(arguments)
    limits = Limits(seconds=60 * args.minutes)
    grade(args.folder, limits, is_replayed=args.replay, may_be_unconfined=args.unconfined)
    return 0


def grade(folder: Path, limits: Limits | None = None, *, is_replayed=False, may_be_unconfined=False) -> list[dict]:
    """Mark the submissions in a folder; return their results."""
    folder = folder.resolve()  # children are started in another folder
    out = folder.with_name(f"{folder.name}-graded")
    found = submissions.find_submissions(folder) if folder.is_dir() else []
    if not found:
        next_step = "Give the folder in which each student has a folder or a zip file: make grade FOLDER=submissions"
        raise CourseworkError("There are no submissions.", where=folder, next_step=next_step)
    if sys.platform != "linux":
        what = "Submissions are marked on Linux only, since student code has to be confined."
        next_step = "Use a computer with Linux, a virtual machine with Linux, or WSL under Windows."
        raise CourseworkError(what, where=sys.platform, next_step=next_step)
    out.mkdir(exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0), Nursery(out / "work", limits) as nursery:
            why = missing_confinement(nursery)
            if why and not may_be_unconfined:
                next_step = "Use another computer. Or accept that the code can use network and files: ARGS=--unconfined"
                raise CourseworkError(f"This machine can't confine student code: {why}.", next_step=next_step)
            nursery.is_confined = why is None
            test_set = TestSet(nursery.folder / "images", is_replayed)
            results = []
            for number, submission in enumerate(found, 1):
                result, state = _result(submission, out, nursery, test_set)
                results.append(result)
                print(f"{number} of {len(found)}: {submission.student}: {state}", flush=True)
            tables.write_tables(out, results)
    except filelock.Timeout:
        what = "Another call is marking these submissions."
        raise CourseworkError(what, where=out, next_step="Wait until it has ended.") from None
    print(f"Submissions: {len(results)}. Results: {out / 'grades.csv'}, {out / 'summary.html'}")
    return results


def _result(submission, out, nursery, test_set):
    """Return (result, what is said of it): the stored result of a submission, or that of marking it now."""
    path = out / "students" / submission.key / "result.json"
    conditions = [VERSION, test_set.data.checksum, nursery.limits, nursery.is_confined, test_set.is_replayed]
    identity = hashlib.sha256(repr([submission.checksum(), *conditions]).encode()).hexdigest()[:16]
    earlier = read_json(path)
    if earlier and earlier.get("identity") == identity:
        return earlier, "marked before"
    marking = Marking(nursery, test_set)
    try:
        marking.mark(submissions.unpack(submission, nursery.folder / "submission"))
    except submissions.Unusable as error:
        marking.notes.append(str(error))
        marking.refuse(MEASURED, str(error))
    except Exception as error:  # a mistake of this program: the other students must not wait for its repair
        marking.notes.append(f"Marking failed, and the next call tries again: {type(error).__name__}: {error}")
        identity = None
    finally:
        shutil.rmtree(nursery.folder / "submission", ignore_errors=True)
    facts = {"key": submission.key, "student": submission.student, "id": submission.id, "identity": identity}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, marking.result() | facts)
    result = read_json(path)
    return result, f"{tables.total(result['parts']):g} points so far, {result['seconds']:g} s"


if __name__ == "__main__":
    sys.exit(main())
