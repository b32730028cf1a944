"""Make a loss, an optimizer or a schedule from its name and settings, or from a class or function and settings."""

from __future__ import annotations

import functools
import inspect

from utils.errors import CourseworkError


def make(kind, table, choice, *args, **settings):
    """Call the class or function named by `choice` with these arguments; if that fails, raise an error with advice."""
    maker = maker_of(kind, table, choice)
    try:
        return maker(*args, **settings)
    except (TypeError, ValueError) as error:
        known = ", ".join(f"{key}={default!r}" for key, default in defaults(maker).items())
        where = ", ".join(f"{key}={value!r}" for key, value in settings.items()) or None
        next_step = f"Its settings and their defaults: {known}" if known else "It has no settings."
        message = f"Cannot make the {kind} '{name_of(choice)}': {error}"
        raise CourseworkError(message, where=where, next_step=next_step) from error


def maker_of(kind, table, choice):
    """Return table[choice] for a name; return a class or function itself."""
    names = ", ".join(table)
    if isinstance(choice, str):
        if choice not in table:
            next_step = f"Choose one of {names}; or give a class or a function."
            raise CourseworkError(f"There is no {kind} named '{choice}'.", next_step=next_step)
        return table[choice]
    if not callable(choice):
        raise CourseworkError(
            f"The {kind} must be a name, a class or a function, but is an object of the class {type(choice).__name__}.",
            next_step=f"Give the class and, separately, its settings; or one of the names {names}.",
        )
    return choice


def check_made(kind, made, wanted, choice):
    """Raise an error if a callable returned an object of another class than wanted."""
    if not isinstance(made, wanted):
        raise CourseworkError(
            f"The {kind} '{name_of(choice)}' returned an object of the class {type(made).__name__}.",
            next_step=f"Give a class or a function that returns a {wanted.__module__}.{wanted.__qualname__}.",
        )


def name_of(choice):
    """Return the name of a choice for a record: the name itself, or the name of the class or function."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, functools.partial):
        return name_of(choice.func)
    return getattr(choice, "__qualname__", type(choice).__qualname__)


def defaults(function):
    """Return {setting: default} of the optional arguments of a function or class."""
    return {p.name: p.default for p in parameters_of(function) or [] if p.default is not p.empty}


def parameters_of(function):
    """Return the parameters of a function or class, or None if it has no signature (as some written in C)."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
