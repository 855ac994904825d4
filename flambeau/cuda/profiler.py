"""Starting and stopping NVIDIA's profilers, which need CUDA."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..absent import define
from ._absent import need

__all__ = ["profile"]

define(globals(), need, "start()\nstop()")


@contextlib.contextmanager
def profile() -> Iterator[None]:
    """Profiles the block; raises AssertionError on entry."""
    need()
    yield
