"""cuDNN: not here.  Its switches are kept for programs that set them."""

from __future__ import annotations

import contextlib
from typing import Any

from ..tensor import Tensor
from ._flags import Precision, changed

__all__ = ["flags", "is_acceptable", "is_available", "set_flags", "version"]

enabled = True
deterministic = False
benchmark = False
benchmark_limit: int | None = None
allow_tf32 = True
fp32_precision = "none"
depthwise_kernel = "auto"
conv = Precision("tf32")
rnn = Precision("tf32")


def version() -> int | None:
    """The version of cuDNN: None."""
    return None


def is_available() -> bool:
    """Whether cuDNN is there: no."""
    return False


def is_acceptable(tensor: Tensor) -> bool:
    """Whether cuDNN could take a tensor: no."""
    return False


def set_flags(
    _enabled: bool | None = None, _benchmark: bool | None = None, _benchmark_limit: int | None = None,
    _deterministic: bool | None = None, _allow_tf32: bool | None = None, _fp32_precision: str = "none",
) -> tuple[Any, ...]:  # fmt: skip
    """Sets the switches that are not None; returns all as they were."""
    space = globals()
    before = (enabled, benchmark, benchmark_limit, deterministic, allow_tf32, fp32_precision)
    names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32", "fp32_precision")
    values = (_enabled, _benchmark, _benchmark_limit, _deterministic, _allow_tf32, _fp32_precision)
    space.update({name: value for name, value in zip(names, values) if value is not None})
    return before


def flags(
    enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10, deterministic: bool = False,
    allow_tf32: bool = True, fp32_precision: str = "none",
) -> contextlib.AbstractContextManager[None]:  # fmt: skip
    """``with flags(...)``: the switches inside of the block."""
    return changed(
        globals(),
        {
            "enabled": enabled, "benchmark": benchmark, "benchmark_limit": benchmark_limit,
            "deterministic": deterministic, "allow_tf32": allow_tf32, "fp32_precision": fp32_precision,
        },
    )  # fmt: skip
