"""Memory of CUDA devices: none."""

from __future__ import annotations

import contextlib
from collections import OrderedDict

from ..absent import define, unusable
from ._absent import need

__all__ = ["CUDAPluggableAllocator", "MemPool"]

define(
    globals(),
    need,
    """
    caching_allocator_alloc(size, device=None, stream=None)
    caching_allocator_delete(mem_ptr)
    change_current_allocator(allocator)
    get_allocator_backend()
    get_per_process_memory_fraction(device=None)
    mem_get_info(device=None)
    memory_snapshot(mempool_id=None, include_traces=True)
    memory_summary(device=None, abbreviated=False)
    reset_accumulated_host_memory_stats()
    reset_accumulated_memory_stats(device=None)
    reset_max_memory_allocated(device=None)
    reset_max_memory_cached(device=None)
    reset_peak_host_memory_stats()
    reset_peak_memory_stats(device=None)
    set_per_process_memory_fraction(fraction, device=None)
    """,
    {
        "caching_allocator_disabled()": contextlib.nullcontext(),
        "caching_allocator_enable(value=True)": None,
        "empty_cache()": None,
        "host_memory_stats()": OrderedDict(),
        "host_memory_stats_as_nested_dict()": {},
        "list_gpu_processes(device=None)": "no CUDA devices",
        "max_memory_allocated(device=None)": 0,
        "max_memory_cached(device=None)": 0,
        "max_memory_reserved(device=None)": 0,
        "memory_allocated(device=None)": 0,
        "memory_cached(device=None)": 0,
        "memory_reserved(device=None)": 0,
        "memory_stats(device=None)": OrderedDict(),
        "memory_stats_as_nested_dict(device=None)": {},
        "use_mem_pool(pool, device=None)": contextlib.nullcontext(),
    },
)

CUDAPluggableAllocator = unusable(
    "CUDAPluggableAllocator", __name__, "path_to_so_file, alloc_fn_name, free_fn_name", "allocator(self)"
)
MemPool = unusable(
    "MemPool", __name__, "allocator=None, use_on_oom=False, no_split=False",
    "snapshot(self, include_traces=True)\nuse_count(self)",
)  # fmt: skip
