"""The suite's errors: short, whole after a trip between processes, and free of traceback in a notebook."""

import pickle

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

from utils.errors import CourseworkError, DataError, DownloadError, check_count, require


def test_an_error_says_what_where_and_what_next_on_a_line_each():
    error = DataError("It is broken.", where="data/file", next_step="Mend it.")
    assert str(error).splitlines() == ["It is broken.", "  where: data/file", "  next:  Mend it."]
    assert str(DataError("It is broken.")) == "It is broken."


@pytest.mark.parametrize("kind", [CourseworkError, DataError, DownloadError])
def test_an_error_comes_home_whole_from_another_process(kind):
    error = pickle.loads(pickle.dumps(kind("What.", where="Where", next_step="Next.")))
    assert type(error) is kind and isinstance(error, CourseworkError)
    assert (error.what, error.where, error.next_step) == ("What.", "Where", "Next.")


def test_a_notebook_shows_the_error_and_no_traceback(capsys):
    shell = InteractiveShell()
    shell.run_cell("from utils.errors import DataError\nraise DataError('What.', where='Where', next_step='Next.')")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == "DataError: What.\n  where: Where\n  next:  Next."


def test_a_condition_that_does_not_hold_becomes_an_error():
    require(True, "What.", "Where", "Next.")
    with pytest.raises(CourseworkError) as caught:
        require([], "What.", "Where", "Next.")
    assert (caught.value.what, caught.value.where, caught.value.next_step) == ("What.", "Where", "Next.")


@pytest.mark.parametrize("value", [0, 4, True, 2.0, "2", None])
def test_a_count_is_a_whole_number_within_its_limits(value):
    for whole in (1, 3, np.int64(2)):
        check_count("steps", whole, 1, 3)
    with pytest.raises(CourseworkError, match=f"steps={value!r}"):
        check_count("steps", value, 1, 3)
