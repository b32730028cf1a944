"""Tests what is left of a training whose disk fails at its n-th operation, for each n: never a run that lies."""

import errno
import os
import warnings

import pytest
from failing import CHANGES, OPERATIONS, SPACE, Disk
from short_run import Save, check_loading, content, train
from victim import differences

from utils.errors import CourseworkError
from utils.runs.run import Run

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="follows open files by /proc")
FAILURES = {  # which operations fail, with which error, and whether only one of them or all of them from then on
    "an error once": (set(OPERATIONS), errno.EIO, True),
    "a disk that is full for a moment": (SPACE, errno.ENOSPC, True),
    "a full disk": (SPACE, errno.ENOSPC, False),
    "a read-only disk": (CHANGES, errno.EROFS, False),
}


class FailAt:
    """Let an operation of these kinds fail, the n-th of them, and with once=False all later ones, too."""

    def __init__(self, kinds, number, once, at):
        self.kinds, self.number, self.once, self.at, self.count, self.failed = kinds, number, once, at, 0, []

    def note(self, name, path):
        only_reads = name == "open folder" and os.path.isdir(path)
        if name not in self.kinds or (only_reads and self.number != errno.EIO):
            return
        self.count += 1
        if self.count - 1 == self.at or (self.count > self.at and not self.once):
            self.failed.append(name)
            raise OSError(self.number, f"{os.strerror(self.number)}, so the test wants it, in {name}", path)


def under_failure(folder, failure, at):
    """Train on a disk that fails; return (FailAt, Trained or None, the error or None, the texts of all warnings)."""
    fail, trained, error = FailAt(*FAILURES[failure], at), None, None
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Disk(patch, folder).note = fail.note
        try:
            trained = train(folder, Save())
        except CourseworkError as refused:
            error = refused
    return fail, trained, error, [str(warning.message) for warning in caught]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return (content, {position: weights}) of an undisturbed training."""
    save = Save()
    return content(train(tmp_path_factory.mktemp("whole") / "run", save)), save.weights


def check(folder, failure, at, expected, weights):
    """Train on a disk that fails at this operation; return whether it failed."""
    fail, trained, error, texts = under_failure(folder, failure, at)
    if not fail.failed:
        return False
    case = f"{failure}, operation {at}: {fail.failed[0]}"
    if error is None:
        assert differences(expected, content(trained)) == [], case
        assert texts or fail.failed == ["read"], case
    check_loading(folder, expected, weights)
    assert differences(expected, content(train(folder))) == [], case
    assert Run(folder).state == "finished", case
    check_loading(folder, expected, weights)
    return True


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.faults)])
def test_a_disk_that_fails_at_any_operation_leaves_a_right_result_and_no_run_that_lies(
    tmp_path, failure, step, expected, record_property
):
    at = 0
    while check(tmp_path / str(at), failure, at, *expected):
        at += step
    record_property("says", f"{failure}: {at // step} trainings with a failure at another operation each, none lies")
    assert at > 35
