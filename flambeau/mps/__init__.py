"""Apple's GPUs: there is none here, and this namespace says so as PyTorch's build for the CPU does."""

from __future__ import annotations

from typing import Any, NoReturn

from ..absent import define as _define
from ..dispatch import operator as _records


def _need(name: str) -> NoReturn:
    raise RuntimeError(f"Cannot execute {name}() without MPS backend.")


_define(
    globals(),
    _need,
    """
    compile_shader(source)
    current_allocated_memory()
    driver_allocated_memory()
    empty_cache()
    get_rng_state(device="mps")
    load_metallib(source)
    recommended_max_memory()
    seed()
    set_per_process_memory_fraction(fraction)
    set_rng_state(new_state, device="mps")
    synchronize()
    """,
    {"device_count()": 0, "is_available()": False, "manual_seed(seed)": None},
)

_LAZY: dict[str, Any] = {"Event": ".event", **dict.fromkeys(("event", "profiler"), ".")}
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
