"""What examinations expect of an answer: calls, tensors, numbers, and values to compare with typical mistakes.

y = tensor_of(call(answer, X), shape=(4, 10))
compare(y, right, {"summed": right * 4})
"""

from __future__ import annotations

import contextlib
import copy
import numbers
import traceback
from pathlib import Path

import torch
from torch import nn

from utils.teaching.exercises import Wrong
from utils.teaching.guard import TimeUp

HERE = Path(__file__).parent


def ensure(condition, hint: str, **facts):
    """Raise Wrong with this hint unless the condition holds."""
    if not condition:
        raise Wrong(hint, **facts)


@contextlib.contextmanager
def hint_is(hint: str, in_place_of=()):
    """Give this hint for every mistake in the block, or only in place of some other hints."""
    try:
        yield
    except Wrong as wrong:
        raise Wrong(hint) if not in_place_of or wrong.hint in in_place_of else wrong from None


def call(function, *arguments, may_change=False, may_be_none=False, **settings):
    """Call the answer with copies of the arguments; its errors, None, and changed arguments become hints.

    may_change: the answer gets the arguments themselves, and may change them, such as the network that it trains.
    """
    if not callable(function):
        raise Wrong("not_callable", what="A function or a class", kind=kind_of(function))
    copies = (arguments, settings) if may_change else copy.deepcopy((arguments, settings))
    try:
        result = function(*copies[0], **copies[1])
    except (TimeUp, KeyboardInterrupt, Wrong):
        raise
    except SystemExit:
        raise Wrong("exits") from None
    except BaseException as error:
        if "on the expected device" in str(error) or "on the same device" in str(error):
            raise Wrong("wrong_device") from None
        raise Wrong("raises", error=describe(error)) from None
    if result is None and not may_be_none:
        raise Wrong("nothing")
    if not may_change and not _same(copies, (arguments, settings)):
        raise Wrong("changes_inputs")
    return result


def describe(error) -> str:
    """Return an error's type, the beginning of its first line, and the line of the answer's code that raised it."""
    try:
        lines = str(error).splitlines()
    except Exception:
        lines = []
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"[:150].rstrip(": .")
    frames = traceback.extract_tb(error.__traceback__)[:50]  # an endless recursion has a thousand
    own = [frame for frame in frames if Path(frame.filename).parent != HERE and "site-packages" not in frame.filename]
    return f"{text} (line {own[-1].lineno}, in {own[-1].name})" if own else text


def kind_of(value) -> str:
    """Return how a hint names what an answer is."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def is_open(answer) -> bool:
    """Tell whether an answer, or one of several, is still the `...` of the exercise."""
    return answer is ... or (isinstance(answer, (list, tuple)) and any(item is ... for item in answer))


def tensor_of(value, shape=None, *, whole: bool | None = False, what="The result") -> torch.Tensor:
    """Require a tensor of this shape, with finite numbers; return it without its graph.

    whole: whether the numbers must be whole ones; None allows both.
    """
    if not isinstance(value, torch.Tensor):
        raise Wrong("wrong_type", what=what, kind=kind_of(value), expected="a tensor")
    if shape is not None and tuple(value.shape) != tuple(shape):
        raise Wrong("wrong_shape", what=what, shape=tuple(value.shape), expected=tuple(shape))
    if value.is_meta:
        return value
    if whole == (value.is_floating_point() or value.is_complex()):
        expected = "a whole-number type" if whole else "a floating-point type"
        raise Wrong("wrong_dtype", what=what, dtype=value.dtype, expected=expected)
    value = value.detach().cpu()
    ensure(bool(torch.isfinite(value).all()), "not_finite", what=what)
    return value


def number_of(value, *, what="The result") -> float:
    """Require a single number, as Python's or NumPy's type or as a tensor; return it as a float."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, torch.Tensor):
        raise Wrong("wrong_shape", what=what, shape=tuple(value.shape), expected="a single number")
    if hasattr(value, "item") and getattr(value, "size", None) == 1:  # NumPy's numbers
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise Wrong("wrong_type", what=what, kind=kind_of(value), expected="a single number")
    number = float(value)
    ensure(abs(number) < float("inf"), "not_finite", what=what)  # false for nan, too
    return number


def numbers_of(values, count: int, *, what="The result") -> list[float]:
    """Require a list, a tuple or a tensor of this many numbers; return them as floats."""
    if isinstance(values, torch.Tensor) and values.ndim == 1:
        values = values.tolist()
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise Wrong("wrong_type", what=what, kind=kind_of(values), expected=f"a list of {count} numbers")
    return [number_of(value, what=f"Number {i}") for i, value in enumerate(values, 1)]


def network_of(value) -> nn.Module:
    """Require an nn.Module."""
    if not isinstance(value, nn.Module):
        raise Wrong("wrong_type", what="The result", kind=kind_of(value), expected="an nn.Module")
    return value


def compare(value, right, mistakes=None, *, otherwise="wrong_value", tolerance=1e-4):
    """Require the right value; a value that equals one of the mistakes, {hint: value}, gets that hint."""
    if is_close(value, right, tolerance):
        return
    for hint, wrong in (mistakes or {}).items():
        if is_close(value, wrong, tolerance):
            raise Wrong(hint)
    raise Wrong(otherwise)


def is_close(a, b, tolerance=1e-4) -> bool:
    """Tell whether two values have the same shape and the same numbers, up to the tolerance."""
    a, b = (torch.as_tensor(value).detach().cpu().double() for value in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _same(a, b) -> bool:
    """Tell whether two nested arguments contain equal tensors; what is not a tensor is not compared."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and (a.is_meta or torch.equal(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return True
