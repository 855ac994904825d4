"""opt_einsum: not used; ``einsum`` finds the order of its products by itself."""

from __future__ import annotations

import contextlib
from typing import Any

from ._flags import changed

__all__ = ["flags", "get_opt_einsum", "is_available", "set_flags"]

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """Whether opt_einsum is used: no."""
    return False


def get_opt_einsum() -> Any:
    """The package, or None."""
    return None


def set_flags(_enabled: bool | None = None, _strategy: str | None = None) -> tuple[bool, str | None]:
    """Sets the switches that are not None; returns both as they were.

    Raises ValueError: opt_einsum is not used, so it cannot be switched on, and has no strategy.
    """
    before = (enabled, strategy)
    if _enabled:
        raise ValueError(f"opt_einsum is not available, so setting `enabled` to {_enabled} will not do anything")
    if _strategy is not None:
        raise ValueError(f"opt_einsum is not available, so setting `strategy` to {_strategy} will not do anything")
    return before


def flags(enabled: bool | None = None, strategy: str | None = None) -> contextlib.AbstractContextManager[None]:
    """``with flags(...)``: the switches inside of the block."""
    set_flags(enabled, strategy)
    return changed(globals(), {"enabled": enabled})
