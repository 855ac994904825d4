"""NNPACK: not here.  Its switch is kept for programs that set it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["flags", "is_available", "set_flags"]

_state = {"enabled": True}


def is_available() -> bool:
    """Whether NNPACK is there: no."""
    return False


def set_flags(_enabled: bool) -> tuple[bool]:
    """Sets whether NNPACK may be used; returns what it was.  Raises RuntimeError for other than bool."""
    if not isinstance(_enabled, bool):
        raise RuntimeError(f"set_enabled_NNPACK expects a bool, but got {type(_enabled).__name__}")
    before = _state["enabled"]
    _state["enabled"] = _enabled
    return (before,)


@contextlib.contextmanager
def flags(enabled: bool = False) -> Iterator[None]:
    """``with flags(...)``: the switch inside of the block."""
    (before,) = set_flags(enabled)
    try:
        yield
    finally:
        set_flags(before)
