"""Switches of one backend that a program may set, and set back: what the modules of this package share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["Precision", "changed"]


class Precision:
    """How precise float32 is inside of a kind of operator: "none" (as the level above says), "ieee", "tf32", "bf16".

    The setting is kept for programs that ask for it; float32 is always computed as such here.
    """

    def __init__(self, fp32_precision: str = "none") -> None:
        self.fp32_precision = fp32_precision

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "fp32_precision":
            raise AttributeError("Unknown attribute " + name)
        if value not in ("none", "ieee", "tf32", "bf16"):
            raise RuntimeError(f"Unknown precision: {value!r}; expected one of 'none', 'ieee', 'tf32', 'bf16'")
        object.__setattr__(self, name, value)


@contextlib.contextmanager
def changed(space: dict[str, Any], values: dict[str, Any]) -> Iterator[None]:
    """Gives a module's switches other values inside of a ``with`` block; None leaves one as it is."""
    values = {name: value for name, value in values.items() if value is not None}
    before = {name: space[name] for name in values}
    space.update(values)
    try:
        yield
    finally:
        space.update(before)
