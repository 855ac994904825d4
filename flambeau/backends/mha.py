"""The short path of attention modules in inference."""

from __future__ import annotations

__all__ = ["get_fastpath_enabled", "set_fastpath_enabled"]

_state = {"enabled": True}


def get_fastpath_enabled() -> bool:
    """Whether attention modules may take a short path; there is one path here, which is the short one."""
    return _state["enabled"]


def set_fastpath_enabled(value: bool) -> None:
    """Sets whether attention modules may take a short path; kept for programs that ask for it."""
    _state["enabled"] = value
