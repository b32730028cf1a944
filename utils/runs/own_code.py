"""Describe the user's own code in a training, so that a training with edited code is recognised as another one.

own_code(net, loss, step)   # {"code.cpython-311.__main__.MyNet": "5f3a77b1", "value.net.scale": "0.1", ...}

Python's instructions are compared, as `dis` lists them, so comments and spacing do not matter. The code of libraries is
left out: a training also resumes after an update of a library.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from utils.models.source import LIBRARIES, import_path

CODE = f"code.{sys.implementation.cache_tag}."  # another version of Python has other instructions
VALUE = "value."
NUMBER_OR_TEXT = (bool, int, float, complex, str)


def own_code(net: nn.Module, loss, step) -> dict[str, str]:
    """Return a hash of each of the user's own classes and functions, and the values that they read, as a flat dict."""
    facts = attributes(net)
    if not isinstance(loss, nn.Module) and _is_own(type(loss)):
        facts |= _texts("loss", _settings(loss))
    hashes = {}
    for code in _reached(_code_in([*net.modules(), loss, step])):
        functions = _functions_of(code)
        path = import_path(code)
        hashes[path] = [*hashes.get(path, ()), _hash(functions)]  # several lambdas have the same path
        values = _settings(code) if isinstance(code, type) else {}
        for function in functions:
            values |= values_read(function)
        facts |= _texts(path, values)
    return facts | {f"{CODE}{path}": " ".join(sorted(of_path)) for path, of_path in hashes.items()}


def attributes(net: nn.Module) -> dict[str, str]:
    """Return the attributes of a network's modules that are plain data and that only __init__ assigns, as a flat dict.

    Modules of libraries are left out if they have an extra_repr, which describes them, and so are their lists.
    """
    facts = {}
    for name, module in net.named_modules():
        is_own = _is_own(type(module))
        if is_own or type(module).extra_repr is nn.Module.extra_repr:
            facts |= _texts(f"net.{name}" if name else "net", _settings(module, lists=is_own))
    return facts


def values_read(function: Callable) -> dict:
    """Return the values that a function reads from outside, by name: its defaults, closure and global variables.

    What the function assigns itself is left out, and so are global lists and dicts: they may change in a training.
    """
    code = function.__code__
    assigned = {item.argval for item in _instructions(code) if item.opname in ("STORE_GLOBAL", "STORE_DEREF")}
    values = dict(zip(code.co_varnames[: code.co_argcount][::-1], (function.__defaults__ or ())[::-1], strict=False))
    values |= function.__kwdefaults__ or {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name != "__class__" and name not in assigned:
            values[name] = _content(cell)
    for name in {item.argval for item in _instructions(code) if item.opname == "LOAD_GLOBAL"} - assigned:
        if name in function.__globals__ and not isinstance(function.__globals__[name], (list, dict)):
            values[name] = function.__globals__[name]
    return values


def as_text(value) -> str | None:
    """Return plain data, a small tensor, a class or a function as text; None for any other object."""
    if isinstance(value, torch.Tensor):
        return str(value.tolist()) if value.numel() <= 100 else f"{list(value.shape)}, sum {float(value.sum()):.6g}"
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple)):
        texts = [as_text(entry) for entry in value]
        return None if None in texts else f"[{', '.join(texts)}]"
    if value is None or isinstance(value, NUMBER_OR_TEXT):
        return repr(value)
    is_named = isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType))
    return import_path(value) if is_named else None


def _texts(where, values):
    texts = {f"{VALUE}{where}.{name}": as_text(value) for name, value in sorted(values.items())}
    return {name: text for name, text in texts.items() if text is not None}


def _settings(item, lists=False) -> dict:
    """Return the attributes of an object or a class that only __init__ assigns; others may change in a training.

    lists: whether lists and dicts of plain data are returned, too.
    """
    kind = item if isinstance(item, type) else type(item)
    assigned = _assigned_later(kind)
    values = dict(getattr(item, "__dict__", {}))
    if kind is not item:  # an object may have its attributes in slots
        slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
        values |= {name: getattr(item, name) for name in slots if hasattr(item, name)}
    return {
        name: value
        for name, value in values.items()
        if not (name.startswith("_") or name == "training" or name in assigned)
        and (isinstance(value, (tuple, *NUMBER_OR_TEXT)) or callable(value) or (lists and _is_plain(value)))
        and not isinstance(value, nn.Module)
    }


@functools.lru_cache(maxsize=100)
def _assigned_later(kind: type) -> set[str]:
    """Return the attributes that a class's methods other than __init__ assign."""
    functions = [function for base in kind.__mro__ if base is not nn.Module for function in _functions_of(base)]
    later = [function for function in functions if function.__name__ not in ("__init__", "__setstate__")]
    return {entry.argval for f in later for entry in _instructions(f.__code__) if entry.opname == "STORE_ATTR"}


def _is_plain(value) -> bool:
    """Return True for numbers and texts, and for lists and dicts of them."""
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, NUMBER_OR_TEXT)


def _reached(todo: list) -> Iterator[Callable]:
    """Yield the user's own classes and functions in this list, and those that they use, each once."""
    seen = set()
    while todo:
        code = todo.pop()
        if id(code) in seen or not _is_own(code):
            continue
        seen.add(id(code))
        yield code
        todo += _code_in(value for function in _functions_of(code) for value in values_read(function).values())
        todo += code.__mro__ if isinstance(code, type) else ()


def _code_in(items: Iterable) -> list[Callable]:
    """Return the classes and functions behind these objects; values without code are left out."""
    codes = []
    for item in items:
        if isinstance(item, functools.partial):
            codes += _code_in([item.func, *item.args, *item.keywords.values()])
        elif isinstance(item, nn.Module):
            for module in item.modules():
                codes += [type(module), *_code_in(value for value in vars(module).values() if inspect.isroutine(value))]
        elif isinstance(item, type):
            codes.append(item)
        elif isinstance(function := inspect.unwrap(getattr(item, "__func__", item)), types.FunctionType):
            codes.append(function)
        else:
            codes.append(type(item))
    return codes


def _functions_of(code) -> list[types.FunctionType]:
    """Return a function itself, or the functions that a class defines, sorted by name."""
    if not isinstance(code, type):
        return [code]
    functions = []
    for _, value in sorted(vars(code).items()):
        parts = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "func", value),)
        functions += [inspect.unwrap(getattr(part, "__func__", part)) for part in parts if part is not None]
    return [function for function in functions if isinstance(function, types.FunctionType)]


def _is_own(code) -> bool:
    """Return True if a class or function belongs to no library."""
    # A decorated function has the __module__ of the function inside it, so its variables say where it was written.
    module = code.__globals__.get("__name__") if isinstance(code, types.FunctionType) else code.__module__
    if (module or "").partition(".")[0] in (*LIBRARIES, *sys.stdlib_module_names):
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return module == "__main__" or not ("site-packages" in file or "dist-packages" in file)


def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    """Return the instructions of a function, with those of the functions inside it."""
    instructions = []
    for instruction in dis.get_instructions(code):
        is_function = isinstance(instruction.argval, types.CodeType)
        instructions += _instructions(instruction.argval) if is_function else [instruction]
    return instructions


def _hash(functions) -> str:
    lines = []
    for function in functions:
        lines.append(function.__name__)
        for item in _instructions(function.__code__):
            value = sorted(map(repr, item.argval)) if isinstance(item.argval, frozenset) else item.argval
            lines.append(f"{item.opname} {value!r}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # the variable has no value yet
        return None
