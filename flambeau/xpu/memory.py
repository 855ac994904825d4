"""Memory of XPUs: none."""

from __future__ import annotations

import contextlib
from collections import OrderedDict

from ..absent import define, unusable
from ._absent import need

__all__ = ["MemPool", "XPUPluggableAllocator"]

define(
    globals(),
    need,
    """
    change_current_allocator(allocator)
    get_per_process_memory_fraction(device=None)
    mem_get_info(device=None)
    reset_accumulated_memory_stats(device=None)
    reset_peak_memory_stats(device=None)
    set_per_process_memory_fraction(fraction, device=None)
    """,
    {
        "empty_cache()": None,
        "max_memory_allocated(device=None)": 0,
        "max_memory_reserved(device=None)": 0,
        "memory_allocated(device=None)": 0,
        "memory_reserved(device=None)": 0,
        "memory_snapshot(mempool_id=None)": [],
        "memory_stats(device=None)": OrderedDict(),
        "memory_stats_as_nested_dict(device=None)": {},
        "use_mem_pool(pool, device=None)": contextlib.nullcontext(),
    },
)

XPUPluggableAllocator = unusable(
    "XPUPluggableAllocator", __name__, "path_to_lib_file, alloc_fn_name, free_fn_name", "allocator(self)"
)
MemPool = unusable("MemPool", __name__, "allocator=None, use_on_oom=False", "snapshot(self)\nuse_count(self)")
