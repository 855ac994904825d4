"""Operators of ONNX's opset 11 that libraries write theirs with, as nodes of the graph ``g`` of an exporter."""

from __future__ import annotations

from typing import Any

__all__ = ["add", "select", "squeeze", "unsqueeze"]


def add(g: Any, self: Any, other: Any) -> Any:
    """The sum of two values."""
    return g.op("Add", self, other)


def select(g: Any, self: Any, dim: int, index: Any) -> Any:
    """The slice at an index along a dimension."""
    return g.op("Gather", self, index, axis_i=dim)


def squeeze(g: Any, self: Any, dim: int | None = None) -> Any:
    """A value without a dimension of size 1."""
    return g.op("Squeeze", self) if dim is None else g.op("Squeeze", self, axes_i=[dim])


def unsqueeze(g: Any, self: Any, dim: int) -> Any:
    """A value with a new dimension of size 1."""
    return g.op("Unsqueeze", self, axes_i=[dim])
