"""Apple's GPUs as a backend: not here."""

from __future__ import annotations

from typing import NoReturn

from ..absent import define

__all__ = ["is_available", "is_built"]


def _need(name: str) -> NoReturn:
    raise RuntimeError("Cannot execute isOnMacOSorNewer() without MPS backend.")


define(
    globals(),
    _need,
    """
    get_core_count()
    get_name()
    is_macos13_or_newer(minor=0)
    is_macos_or_newer(major, minor)
    """,
)


def is_built() -> bool:
    """Whether there is support for MPS: no."""
    return False


def is_available() -> bool:
    """Whether there is a device of this kind: no."""
    return False
