"""cuSPARSELt: not here."""

from __future__ import annotations

__all__ = ["get_max_alg_id", "is_available", "version"]


def is_available() -> bool:
    """Whether cuSPARSELt is there: no."""
    return False


def version() -> int | None:
    """The version of cuSPARSELt: None."""
    return None


def get_max_alg_id() -> int | None:
    """The number of its algorithms: None."""
    return None
