"""Exception classes that PyTorch has beside Python's own."""

from __future__ import annotations

__all__ = ["OutOfMemoryError"]


class OutOfMemoryError(RuntimeError, MemoryError):
    """Memory for a tensor cannot be had; the message names the bytes asked for.

    It is a ``RuntimeError`` because PyTorch raises one, and a ``MemoryError`` because Python programs expect one.
    """
