"""Profiling of Apple's GPUs, which needs a device."""

from __future__ import annotations

from typing import NoReturn

from ..absent import define


def _need(name: str) -> NoReturn:
    raise RuntimeError("Cannot execute profilerStartTrace() without MPS backend.")


define(
    globals(),
    _need,
    """
    metal_capture(fname)
    profile(mode="interval", wait_until_completed=False)
    start(mode="interval", wait_until_completed=False)
    stop()
    """,
    {"is_capturing_metal()": False, "is_metal_capture_enabled()": False},
)
