"""Ranges for NVIDIA's profilers, which need CUDA."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

from ..absent import define

__all__ = ["range"]


def _absent(name: str) -> NoReturn:
    raise RuntimeError("NVTX functions not installed. Are you sure you have a CUDA build?")


define(
    globals(),
    _absent,
    """
    mark(msg)
    range_end(range_id)
    range_pop()
    range_push(msg)
    range_start(msg)
    """,
)


@contextlib.contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A range around the block or the decorated function; raises RuntimeError on entry."""
    _absent("range")
    yield
