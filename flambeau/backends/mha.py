"""The short path of transformers in inference."""

from __future__ import annotations

__all__ = ["get_fastpath_enabled", "set_fastpath_enabled"]

_state = {"enabled": True}


def get_fastpath_enabled() -> bool:
    """Whether transformers may leave out padding in inference."""
    return _state["enabled"]


def set_fastpath_enabled(value: bool) -> None:
    """Sets whether transformers may leave out padding in inference (see ``nn.TransformerEncoder``)."""
    _state["enabled"] = value
