"""Moving a batch to page-locked memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from ....tensor import Tensor

__all__ = ["pin_memory"]


def pin_memory(data: Any, device: Any = None) -> Any:
    """The data with every tensor, and whatever has a ``pin_memory`` method, pinned, at any depth."""
    if isinstance(data, Tensor):
        return data.pin_memory()
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        values = {key: pin_memory(value, device) for key, value in data.items()}
        if isinstance(data, MutableMapping):
            result = copy.copy(data)
            result.update(values)
            return result
        return values
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(pin_memory(value, device) for value in data))
    if isinstance(data, tuple):
        return [pin_memory(value, device) for value in data]
    if isinstance(data, Sequence):
        return [pin_memory(value, device) for value in data]
    return data
