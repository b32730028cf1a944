"""The child's replies: JSON, in which tensors are written as base64.

A reply is never trusted: it can hold numbers, texts and tensors, but no code. Requests are pickles, since a child may
trust its parent.
"""

from __future__ import annotations

import base64
import json

import numpy as np
import torch

LONGEST = 2**28  # bytes of a reply


def encode(reply) -> bytes:
    """Return a reply as bytes; objects of unknown types become the name of their type."""
    return json.dumps(reply, default=_as_json, skipkeys=True).encode()


def decode(content: bytes) -> dict:
    """Return the reply in these bytes, with tensors of float64; raise a ValueError if it is not one."""
    try:
        reply = json.loads(content, object_hook=_with_tensor)
    except (TypeError, RuntimeError, OverflowError):
        raise ValueError("a reply is damaged") from None
    if not isinstance(reply, dict):
        raise ValueError("a reply is not an object")
    return reply


def _as_json(value):
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        value = torch.as_tensor(value).detach().cpu().double().contiguous()
        return {"shape": list(value.shape), "float64": base64.b64encode(value.numpy().tobytes()).decode()}
    return {"kind": type(value).__name__}


def _with_tensor(fields: dict):
    if set(fields) != {"shape", "float64"}:
        return fields
    content = bytearray(base64.b64decode(fields["float64"], validate=True))
    return torch.frombuffer(content, dtype=torch.float64).reshape(fields["shape"])
