"""The exercises as data: a name, a task, a function that examines an answer, and a hint for each mistake."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable

from utils.errors import CourseworkError

# The modules with the exercises of each notebook; the first two characters of an exercise's name are its notebook.
MODULES = {
    "01": ("checks_data", "checks_loop"),
    "02": ("checks_model", "checks_gate"),
    "03": ("checks_loss", "checks_steps"),
    "04": ("checks_loop", "checks_training"),
    "05": ("checks_evaluation", "checks_inside"),
    "06": ("checks_experiments",),
}
COMMON_HINTS = {  # of mistakes that any answer can make
    "open": "It is not solved yet: replace `...` by your code.",
    "nothing": "Your function returns None. Replace `...` by your code, and check that it ends with `return`.",
    "not_callable": "{what} is expected, but this is {kind}. Give its name without brackets.",
    "raises": "Your code raised {error}.",
    "exits": "Your code ends the program. Return a result instead.",
    "endless": "Your code takes longer than {seconds:g} seconds. Look for a loop that never ends.",
    "wrong_type": "{what} is {kind}, but it should be {expected}.",
    "wrong_shape": "{what} has the shape {shape}, but {expected} is expected.",
    "wrong_dtype": "{what} contains numbers of type {dtype}, but {expected} is expected.",
    "not_finite": "{what} contains `nan` or `inf`. Look for a division by zero, a logarithm of zero or an overflow.",
    "changes_inputs": "Your code changes its inputs. The caller still needs them: compute a new tensor.",
    "wrong_device": "Tensors on different devices meet. Make a new one where the input is, such as `X.new_zeros(3)`.",
    "wrong_value": "The result is not right yet. Compute a tiny example by hand, and compare line by line.",
    "unusable": "The result could not be examined. Compare its type and its shape with the task.",
}


class Wrong(Exception):
    """An answer makes a mistake: the id of its hint, and the facts that the hint names."""

    def __init__(self, hint: str, **facts):
        super().__init__(hint)
        self.hint, self.facts = hint, facts


@dataclasses.dataclass(frozen=True)
class Exercise:
    """An exercise: `examine(answer)` returns if the answer is right, and otherwise raises Wrong with a hint's id."""

    name: str
    task: str
    examine: Callable
    hints: dict[str, str]

    def text(self, wrong: Wrong) -> str:
        """Return the hint for a mistake."""
        return (COMMON_HINTS | self.hints)[wrong.hint].format(**wrong.facts)


EXERCISES: dict[str, Exercise] = {}  # filled by the decorator, in the order of the modules


def exercise(name: str, task: str, **hints: str):
    """Register the function below as the examination of an exercise; hints are {id of the mistake: text}."""

    def register(examine):
        EXERCISES[name] = Exercise(name, task, examine, hints)
        return examine

    return register


def all_exercises(notebook: str | None = None) -> list[Exercise]:
    """List the exercises of one notebook ("02") or of all, in their order."""
    for number in MODULES if notebook is None else [notebook]:
        for module in MODULES[number]:
            importlib.import_module(f"utils.teaching.{module}")
    return [EXERCISES[name] for name in EXERCISES if notebook in (None, name[:2])]


def find_exercise(name: str) -> Exercise:
    """Return the exercise of this name."""
    names = [known.name for known in all_exercises(str(name)[:2] if str(name)[:2] in MODULES else None)]
    if name not in names:
        raise CourseworkError(
            f"There is no exercise {name!r}.", where="check", next_step=f"The names are: {', '.join(names)}."
        )
    return EXERCISES[name]
