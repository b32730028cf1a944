"""Marks all submissions in a folder, and writes tables, feedback pages and files for Moodle, Canvas and Gradescope.

    python -m tools.grade FOLDER [--out FOLDER] [--replay] [--unconfined] [--minutes 5]

A submission is a folder or a zip file, named after the student, with one notebook (handin.ipynb) and optionally a run
folder. Student code runs in a separate process that has no network, sees no file but the library and the submission,
and has limits on time, memory and files. Results are kept: a second call marks only what is new or was interrupted.
CIFAR10_ROOT names the images whose test accuracy counts, as everywhere in the suite.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import shutil
import sys
from pathlib import Path

import filelock

from tools.command import command
from tools.grading import images, submissions, tables
from tools.grading.mark import Conditions, Marking
from tools.grading.nursery import Limits, Nursery
from tools.grading.session import missing_confinement
from utils.errors import CourseworkError
from utils.files import read_json, write_json

VERSION = 2  # increase it if the same submission would be marked in another way than before
RESULT = "result.json"


@command
def main(arguments=None):
    """Mark the submissions in a folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.grade", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="the folder that holds the submissions")
    parser.add_argument("--out", type=Path, help="the folder for the results (default: FOLDER-graded)")
    parser.add_argument("--replay", action="store_true", help="replay the last part of each training of a recipe")
    parser.add_argument("--unconfined", action="store_true", help="run student code even if it can't be confined")
    parser.add_argument("--minutes", type=float, default=5.0, help="the most that one submission may take (default 5)")
    args = parser.parse_args(arguments)
    limits = Limits(seconds=60 * args.minutes)
    results = grade(args.folder, args.out, limits, is_replayed=args.replay, may_be_unconfined=args.unconfined)
    out = out_of(args.folder, args.out)
    print(f"{len(results)} submissions: {out / 'grades.csv'}, {out / 'summary.html'}")
    return 0


def out_of(folder: Path, out: Path | None) -> Path:
    """Return the folder of the results."""
    folder = folder.resolve()
    return (out or folder.with_name(f"{folder.name}-graded")).resolve()


def grade(folder, out=None, limits=None, *, is_replayed=False, may_be_unconfined=False) -> list[dict]:
    """Mark the submissions in a folder; return their results."""
    limits = limits or Limits()
    folder = Path(folder).resolve()  # children are started in another folder
    found = submissions.find_submissions(folder) if folder.is_dir() else []
    if not found:
        next_step = "Give the folder in which each student has a folder or a zip file: make grade FOLDER=submissions"
        raise CourseworkError("There are no submissions.", where=folder, next_step=next_step)
    if sys.platform != "linux":
        what = "Submissions are marked on Linux only, since student code has to be confined."
        next_step = "Use a computer with Linux, a virtual machine with Linux, or WSL under Windows."
        raise CourseworkError(what, where=sys.platform, next_step=next_step)
    out = out_of(folder, out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(out / ".lock", timeout=0), _work_folder(out) as work, Nursery(work) as nursery:
            is_confined = _require_confinement(nursery, may_be_unconfined)
            test_set = images.prepare(work / "images", with_training_images=is_replayed)
            return _grade_all(found, out, work, Conditions(nursery, test_set, limits, is_confined, is_replayed))
    except filelock.Timeout:
        what = "Another call is marking these submissions."
        raise CourseworkError(what, where=out, next_step="Wait until it has ended.") from None


@contextlib.contextmanager
def _work_folder(out):
    """Make a folder for files that nobody needs later; remove that of an earlier call, which may have been killed."""
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_confinement(nursery, may_be_unconfined) -> bool:
    """Return whether student code can be confined; raise an error if it can't, unless that was accepted."""
    why = missing_confinement(nursery)
    if why and not may_be_unconfined:
        next_step = "Use another computer. Or accept that the code can use network and files: ARGS=--unconfined"
        raise CourseworkError(f"This machine can't confine student code: {why}.", next_step=next_step)
    return why is None


def _grade_all(found, out, work, conditions):
    results = []
    for number, submission in enumerate(found, 1):
        result, is_new = _result(submission, out, work / "submission", conditions)
        results.append(result)
        state = f"{tables.total(result):g} points, {result['seconds']:g} s" if is_new else "marked before"
        print(f"{number} of {len(found)}: {submission.student}: {state}", flush=True)
    tables.write_tables(out, results)
    return results


def _result(submission, out, unpacked, conditions):
    """Return (result, whether it is new): the stored result of a submission, or that of marking it now."""
    path = out / "students" / submission.key / RESULT
    identity = repr([VERSION, submission.checksum(), *conditions.identity()])
    identity = hashlib.sha256(identity.encode()).hexdigest()[:16]
    earlier = read_json(path)
    if earlier and earlier.get("identity") == identity:
        return earlier, False
    shutil.rmtree(unpacked, ignore_errors=True)
    marking = Marking(conditions)
    try:
        marking.mark(submissions.unpack(submission, unpacked))
    except submissions.Unusable as error:
        marking.notes.append(str(error))
        marking.close(str(error))
    except Exception as error:  # a mistake of this program: the other students must not wait for its repair
        marking.notes.append(f"Marking failed, and the next call tries again: {type(error).__name__}: {error}")
        identity = None
    facts = {"key": submission.key, "student": submission.student, "id": submission.id, "identity": identity}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, marking.result() | facts)
    return read_json(path), True


if __name__ == "__main__":
    sys.exit(main())
