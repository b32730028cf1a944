"""Exercises with instant checks, for all notebooks.

    check("02.gate", GatedBlock)       prints a tick, or a hint that says what to look at
    predict("02.gain", "one point")    keeps a prediction; `my_prediction("02.gain")` prints it in a later notebook
    progress("02")                     lists what is solved

A check is short, needs no data and no network, and has the same result each time. A wrong answer raises no error and
changes nothing in the notebook. `examine(name, answer)` returns the result instead of printing it.

An exercise is a function in the module of its notebook (checks_data.py to checks_experiments.py). Its decorator names
the exercise, says what is to be done, and holds a hint for each mistake:

    @exercise("02.area", "the area of a square", twice="You double the side. Which operation gives an area?")
    def examine_area(answer):
        compare(number_of(call(answer, 3.0)), 9.0, {"twice": 6.0})

The helpers are in expect.py: `call` runs an answer and turns its errors into hints, `tensor_of` and `number_of` require
a type and a shape, and `compare` finds the mistake. A hint says what to look at and never shows the right value.
"""

from utils.teaching.check import Outcome, check, examine, progress
from utils.teaching.notes import my_prediction, predict

__all__ = ["Outcome", "check", "examine", "predict", "progress", "my_prediction"]
