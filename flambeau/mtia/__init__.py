"""Meta's accelerators: there is none here, and this namespace says so as PyTorch's build for the CPU does."""

from __future__ import annotations

from typing import Any, NoReturn

from ..absent import AbsentDevice as _AbsentDevice
from ..absent import define as _define


def _need(name: str) -> NoReturn:
    raise RuntimeError(f"Cannot execute {name}() without MTIA backend.")


class device(_AbsentDevice):
    """``with mtia.device(index)``: makes a device the current one; refuses all but None and -1, for want of one."""

    kind = "MTIA"

    def __init__(self, device: Any) -> None:
        super().__init__(device)


_define(
    globals(),
    _need,
    """
    attach_out_of_memory_observer(observer)
    current_device()
    current_stream(device=None)
    default_stream(device=None)
    empty_cache()
    get_device_capability(device=None)
    get_device_properties(device=None)
    get_rng_state(device="mtia")
    graph_pool_handle()
    init()
    initial_seed()
    set_device(device)
    set_rng_state(new_state, device="mtia")
    set_stream(stream)
    snapshot()
    stream(stream)
    synchronize(device=None)
    """,
    {
        "device_count()": 0,
        "get_rng_state_all()": [],
        "is_available()": False,
        "is_bf16_supported(including_emulation=True)": True,
        "is_initialized()": False,
        "manual_seed(seed)": None,
        "manual_seed_all(seed)": None,
        "max_memory_allocated(device=None)": 0,
        "memory_allocated(device=None)": 0,
        "memory_stats(device=None)": {},
        'record_memory_history(enabled="all", stacks="python", max_entries=0)': None,
        "reset_peak_memory_stats(device=None)": None,
        "seed()": None,
        "seed_all()": None,
        "set_rng_state_all(new_states)": None,
    },
)
