"""Lets a command end in one clear sentence and with the right exit code, also in a folder that can't be written."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from utils.errors import CourseworkError

INTERRUPTED = 130  # the exit code that shells give to Ctrl-C
UNWRITABLE = "Copy the suite into a folder that you may write to, and run it there."


def command(main):
    """Decorate a main function: errors that a user can repair are printed without a traceback, and give exit code 1."""

    @functools.wraps(main)
    def main_without_traceback(arguments=None):
        try:
            return main(arguments)
        except CourseworkError as error:
            message = error
        except OSError as error:
            what = f"{error.filename or 'A file'} can't be read or written: {error.strerror or error}."
            message = CourseworkError(what, next_step=UNWRITABLE)
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            return INTERRUPTED
        print(message, file=sys.stderr)
        return 1

    return main_without_traceback


def require_writable(folder: Path):
    """Raise an OSError now, and not after hours of training, if no file can be made in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    attempt = folder / f"writable-{os.getpid()}.partial"
    attempt.touch()
    attempt.unlink()
