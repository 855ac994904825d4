"""Groups of cases for `sweep.py`: expressions over the same operands."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Group", "each"]


class Group(NamedTuple):
    """Expressions over the same operands.

    ``setup`` makes them from ``torch``, ``F`` and ``n``, the number of float32 elements of the size at hand; ``leaves``
    names those whose gradient is also timed, forward and backward together.
    """

    setup: str
    leaves: str
    calls: tuple[str, ...]


def each(template: str, names: str) -> tuple[str, ...]:
    """The template with each of the names."""
    return tuple(template.format(name) for name in names.split())
