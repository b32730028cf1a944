"""The messages between the parent and its child: lines of JSON, in which arrays are written as base64.

A message from the child is never trusted: it can hold numbers, texts and arrays, but no code.
"""

from __future__ import annotations

import base64
import json

import numpy as np

TYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
LONGEST = 2**26  # bytes of a line


def encode(message) -> bytes:
    """Return a message as one line; tensors become arrays, and objects of other types become their type's name."""
    return json.dumps(message, default=_as_json, skipkeys=True).encode() + b"\n"


def decode(line: bytes):
    """Return the message in a line; raise a ValueError if it is not one."""
    try:
        return json.loads(line, object_hook=_with_array)
    except (TypeError, RecursionError, OverflowError):
        raise ValueError("a message is damaged") from None


def _as_json(value):
    if hasattr(value, "detach"):  # a tensor; NumPy does not know floating-point numbers of less than four bytes
        value = (value.float() if value.is_floating_point() and value.itemsize < 4 else value).numpy(force=True)
    if isinstance(value, (np.ndarray, np.generic)) and str(value.dtype) in TYPES:
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [str(value.dtype), list(value.shape), content]}
    return {"kind": type(value).__name__}


def _with_array(fields: dict):
    if set(fields) != {"array"}:
        return fields
    name, shape, content = fields["array"]
    if name not in TYPES:
        raise ValueError("an array has another type")
    return np.frombuffer(base64.b64decode(content, validate=True), name).reshape(shape)
