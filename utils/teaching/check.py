"""Check an answer and print a tick or a hint; list what is solved."""

from __future__ import annotations

import dataclasses
import textwrap

from utils.teaching.exercises import Exercise, Wrong, all_exercises, find_exercise
from utils.teaching.expect import describe, is_open
from utils.teaching.guard import TimeUp, guarded
from utils.teaching.notes import read_notes, write_note

SECONDS = 10.0  # each check takes less than two on a slow machine
SIGNS = {"solved": "✓", "wrong": "✗", "open": "○"}
WIDTH = 88  # characters of a printed line: Jupyter breaks longer ones within a word


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a check; `state` is solved, wrong or open, and `hint` the id of the hint in `text`."""

    name: str
    state: str
    text: str
    hint: str | None = None

    def __str__(self):
        return f"{SIGNS[self.state]} {self.name}: {self.text}"


def check(name: str, answer):
    """Check the answer to an exercise, and print a tick, or a hint that says what to look at."""
    outcome = examine(name, answer)
    write_note("checks", name, outcome.state)
    print(textwrap.fill(str(outcome), WIDTH, subsequent_indent="  "))


def examine(name: str, answer, seconds: float = SECONDS) -> Outcome:
    """Check an answer without a printed line; a wrong answer raises nothing."""
    asked = find_exercise(name)
    wrong = _mistake(asked, answer, seconds)
    if wrong is None:
        return Outcome(name, "solved", asked.task)
    state = "open" if wrong.hint == "open" else "wrong"
    return Outcome(name, state, asked.text(wrong), wrong.hint)


def _mistake(asked: Exercise, answer, seconds) -> Wrong | None:
    """Return the first mistake of an answer, or None if it is right."""
    if is_open(answer):
        return Wrong("open")
    try:
        with guarded(seconds, answer):
            asked.examine(answer)
    except Wrong as wrong:
        return wrong
    except TimeUp:
        return Wrong("endless", seconds=seconds)
    except KeyboardInterrupt:  # the reader's own: Kernel > Interrupt
        raise
    except SystemExit:
        return Wrong("exits")
    except (AttributeError, NotImplementedError) as error:  # often a name that the task asks for
        return Wrong("raises", error=describe(error))
    except BaseException:
        return Wrong("unusable")
    return None


def progress(notebook: str | None = None):
    """Print which exercises of a notebook ("02"), or of all, are solved in this run log."""
    states = read_notes("checks")
    asked = all_exercises(notebook)
    for item in asked:
        state = states.get(item.name, "open")
        print(SIGNS.get(state, SIGNS["open"]), f"{item.name:24}", item.task)
    print(f"{sum(states.get(item.name) == 'solved' for item in asked)} of {len(asked)} solved")
