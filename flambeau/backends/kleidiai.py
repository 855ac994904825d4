"""KleidiAI: not here."""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether KleidiAI is there: no."""
    return False
