"""Functions of the main namespace that write to their first argument: the tensor's own methods."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    """``NAME_(tensor, ...)``: see ``Tensor.NAME_``.  Raises AttributeError if there is no such method."""
    if not name.endswith("_") or name.endswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(Tensor, name)
