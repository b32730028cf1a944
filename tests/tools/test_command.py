"""Tests of tools/command.py: commands end in two lines and with the right exit code, whatever goes wrong."""

import pytest

from tools import compare, reproduce, search, train
from tools.command import command, require_writable
from utils.errors import CourseworkError

ERRORS = {
    "ours": (CourseworkError("It is wrong.", next_step="Mend it."), 1, 2),
    "no permission": (PermissionError(13, "Permission denied", "runs"), 1, 2),
    "a full disk": (OSError(28, "No space left on device"), 1, 2),
    "Ctrl-C": (KeyboardInterrupt(), 130, 2),
}


@pytest.mark.parametrize(("error", "code", "lines"), ERRORS.values(), ids=ERRORS)
def test_errors_around_a_command_are_printed_without_a_traceback(error, code, lines, capsys):
    @command
    def main(arguments=None):
        raise error

    assert main([]) == code
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_mistakes_in_a_commands_own_code_keep_their_traceback():
    @command
    def main(arguments=None):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


COMMANDS = {
    "train": (train, ["quick", "--effort", "check"]),
    "reproduce": (reproduce, ["quick", "--rehearse"]),
    "compare": (compare, []),
    "search": (search, ["quick", "--effort", "check", "--trials", "1"]),
}


@pytest.mark.parametrize(("tool", "words"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_says_at_once_if_its_folder_cannot_be_written(tool, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSEWORK_RUNS", str(tmp_path / "file" / "runs"))  # root may write into any real folder
    monkeypatch.setenv("CIFAR10_SOURCE", "synthetic")
    assert tool.main(words) == 1
    error = capsys.readouterr().err
    assert str(tmp_path) in error and len(error.splitlines()) == 2


def test_a_folder_that_can_be_written_is_left_as_it_is(tmp_path):
    require_writable(tmp_path / "new" / "runs")
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
