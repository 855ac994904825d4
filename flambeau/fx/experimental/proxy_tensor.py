"""Tracing at the level of operators, under the names that packages ask about."""

from __future__ import annotations

from typing import Any

__all__ = ["get_proxy_mode", "is_fx_tracing"]


def get_proxy_mode() -> Any:
    """The mode that traces operators: None, as graphs are recorded below them."""
    return None


def is_fx_tracing() -> bool:
    """Whether operators are being traced."""
    return False
