"""Intel's oneDNN: not here.  Its switches are kept for programs that set them."""

from __future__ import annotations

import contextlib
from typing import Any

from ._flags import Precision, changed

__all__ = [
    "VERBOSE_OFF", "VERBOSE_ON", "VERBOSE_ON_CREATION", "flags", "is_acl_available", "is_available", "set_flags",
    "verbose",
]  # fmt: skip

VERBOSE_OFF = 0
VERBOSE_ON = 1
VERBOSE_ON_CREATION = 2
enabled = True
deterministic = False
allow_tf32: bool | None = None
fp32_precision = "none"
matmul = Precision()
conv = Precision()
rnn = Precision()


def is_available() -> bool:
    """Whether oneDNN is there: no."""
    return False


def is_acl_available() -> bool:
    """Whether Arm's compute library is there: no."""
    return False


class verbose:
    """``with verbose(level)``: oneDNN tells what it does inside of the block; without it there is nothing to tell."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __enter__(self) -> verbose:
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> bool:
        return False


def set_flags(
    _enabled: bool | None = None, _deterministic: bool | None = None, _allow_tf32: bool | None = None,
    _fp32_precision: str = "none",
) -> tuple[Any, ...]:  # fmt: skip
    """Sets the switches that are not None; returns all as they were."""
    before = (enabled, deterministic, allow_tf32, fp32_precision)
    names = ("enabled", "deterministic", "allow_tf32", "fp32_precision")
    values = (_enabled, _deterministic, _allow_tf32, _fp32_precision)
    globals().update({name: value for name, value in zip(names, values) if value is not None})
    return before


def flags(
    enabled: bool = False, deterministic: bool = False, allow_tf32: bool = True, fp32_precision: str = "none"
) -> contextlib.AbstractContextManager[None]:
    """``with flags(...)``: the switches inside of the block."""
    values = {"enabled": enabled, "deterministic": deterministic, "allow_tf32": allow_tf32}
    return changed(globals(), {**values, "fp32_precision": fp32_precision})
