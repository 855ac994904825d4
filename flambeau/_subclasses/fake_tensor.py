"""Fake tensors, under the module name that packages import."""

from __future__ import annotations

from typing import Any

from . import FakeTensor

__all__ = ["FakeTensor", "is_fake"]


def is_fake(x: Any) -> bool:
    """Whether an object is a fake tensor, which none is."""
    return isinstance(x, FakeTensor)
