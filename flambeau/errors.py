"""Exception classes that PyTorch has beside Python's own, and its warning about old names."""

from __future__ import annotations

import warnings

__all__ = ["AcceleratorError", "InvalidBackend", "NoDataError", "OutOfMemoryError", "Unsupported", "deprecated"]


class AcceleratorError(RuntimeError):
    """An error of a device's driver or runtime."""


def deprecated(old: str, new: str) -> None:
    """Warns that ``old`` is deprecated and that ``new`` takes its place, at the line that called our caller."""
    warnings.warn(f"`{old}` is deprecated. Please use `{new}` instead.", FutureWarning, stacklevel=3)


class OutOfMemoryError(RuntimeError, MemoryError):
    """Memory for a tensor cannot be had; the message names the bytes asked for.

    It is a ``RuntimeError`` because PyTorch raises one, and a ``MemoryError`` because Python programs expect one.
    """


class NoDataError(RuntimeError):
    """The value of a tensor without data is asked for."""


class FatalError(Exception):
    """A device is in a state from which the process cannot recover."""


class Unsupported(RuntimeError):
    """A compiled function does what its options forbid: a graph break under ``fullgraph=True``, say."""


class InvalidBackend(RuntimeError):
    """``compile`` was given the name of a backend that there is not."""
