"""Events of Apple's GPUs, which need a device."""

from __future__ import annotations

from typing import NoReturn

from ..absent import unusable

__all__ = ["Event"]


def _need(name: str) -> NoReturn:
    raise RuntimeError("Cannot execute acquireEvent() without MPS backend.")


Event = unusable(
    "Event", __name__, "enable_timing=False",
    "elapsed_time(self, end_event)\nquery(self)\nrecord(self)\nsynchronize(self)\nwait(self)",
    _need,
)  # fmt: skip
