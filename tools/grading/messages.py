"""The messages between the parent and its child: lines of JSON, in which arrays are written as base64.

A message from the child is never trusted: it can hold numbers, texts and arrays, but no code.
"""

from __future__ import annotations

import base64
import json
import math

import numpy as np

TYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
LONGEST = 2**26  # bytes of a line
DEEPEST = 20


def encode(message) -> bytes:
    """Return a message as one line; tensors become arrays, and objects of other types become their type's name."""
    return json.dumps(plain(message), allow_nan=True).encode() + b"\n"


def decode(line: bytes):
    """Return the message in a line; raise a ValueError if it is not one."""
    try:
        return _with_arrays(json.loads(line), 0)
    except RecursionError:
        raise ValueError("a message is nested too deeply") from None


def plain(value):
    """Return a value as JSON data."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() and value.itemsize < 4 else value).numpy()
    if isinstance(value, (np.ndarray, np.generic)) and str(value.dtype) in TYPES:
        array = np.ascontiguousarray(value)
        data = base64.b64encode(array.tobytes()).decode()
        return {"array": {"type": str(array.dtype), "shape": list(np.shape(value)), "data": data}}
    return {"kind": type(value).__name__}


def _with_arrays(value, depth):
    if depth > DEEPEST:
        raise ValueError("a message is nested too deeply")
    if isinstance(value, list):
        return [_with_arrays(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"array"}:
        return _array(value["array"])
    return {key: _with_arrays(item, depth + 1) for key, item in value.items()}


def _array(fields):
    if not isinstance(fields, dict) or fields.get("type") not in TYPES or not isinstance(fields.get("data"), str):
        raise ValueError("an array is damaged")
    shape = fields.get("shape")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise ValueError("the shape of an array is damaged")
    content = base64.b64decode(fields["data"], validate=True)
    dtype = np.dtype(fields["type"])
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array has another size than its shape")
    return np.frombuffer(content, dtype).reshape(shape)
