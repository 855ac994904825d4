"""Names of sizes that may change between calls."""

from __future__ import annotations

import enum
from typing import ClassVar

__all__ = ["Dim", "dims"]


class _Hint(enum.Enum):
    """What is to be found out about a size: everything, that it changes, or that it does not."""

    AUTO, DYNAMIC, STATIC = range(3)


class Dim:
    """A size called ``name`` from ``min`` to ``max`` (no bound if None).

    Raises AssertionError for a name that is none, and for bounds in the wrong order.  ``Dim.AUTO``, ``Dim.DYNAMIC`` and
    ``Dim.STATIC`` stand for sizes without a name.
    """

    AUTO: ClassVar[_Hint] = _Hint.AUTO
    DYNAMIC: ClassVar[_Hint] = _Hint.DYNAMIC
    STATIC: ClassVar[_Hint] = _Hint.STATIC

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        if not name.isidentifier():
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        low = 0 if min is None else min
        if max is not None and max <= low:
            raise AssertionError(f"Cannot create Dim with inconsistent min={min}, max={max}")
        self.__name__, self.min, self.max = name, low, max

    def __repr__(self) -> str:
        bounds = [f"min={self.min}"] if self.min else []
        bounds += [] if self.max is None else [f"max={self.max}"]
        return f"Dim({', '.join([repr(self.__name__), *bounds])})"


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """One ``Dim`` for every name, with the same bounds."""
    return tuple(Dim(name, min=min, max=max) for name in names)
