"""Memory of the machine's accelerator: there is none, so everything raises RuntimeError."""

from __future__ import annotations

from typing import NoReturn

from ..absent import define


def _need(name: str) -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available.")


define(
    globals(),
    _need,
    """
    empty_cache()
    empty_host_cache()
    get_memory_info(device_index=None, /)
    max_memory_allocated(device_index=None, /)
    max_memory_reserved(device_index=None, /)
    memory_allocated(device_index=None, /)
    memory_reserved(device_index=None, /)
    memory_stats(device_index=None, /)
    reset_accumulated_memory_stats(device_index=None, /)
    reset_peak_memory_stats(device_index=None, /)
    """,
)
