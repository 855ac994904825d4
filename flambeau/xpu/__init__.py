"""Intel's GPUs: there is none here, and this namespace says so as PyTorch's build for the CPU does."""

from __future__ import annotations

from typing import Any

from ..absent import define as _define
from ..absent import dummy as _dummy
from ..absent import unusable as _unusable
from ..dispatch import operator as _records
from ._absent import device as device
from ._absent import device_of as device_of
from ._absent import need as _need
from .memory import *  # noqa: F403
from .random import *  # noqa: F403

default_generators: tuple[Any, ...] = ()

Stream = _unusable(
    "Stream", __name__, "device=None, priority=0, **kwargs",
    "query(self)\nrecord_event(self, event=None)\nsynchronize(self)\n"
    "wait_event(self, event)\nwait_stream(self, stream)",
)  # fmt: skip
Event = _unusable(
    "Event", __name__, "enable_timing=False",
    "elapsed_time(self, end_event)\nquery(self)\nrecord(self, stream=None)\nsynchronize(self)\nwait(self, stream=None)",
)  # fmt: skip


class StreamContext:
    """``with StreamContext(stream)``: the stream that the block's kernels go to; None changes nothing."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            _need()

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        return None


def stream(stream: Any) -> StreamContext:
    """``with stream(s)``: the stream that the block's kernels go to; None changes nothing."""
    return StreamContext(stream)


_define(
    globals(),
    _need,
    """
    can_device_access_peer(device, peer)
    clock_rate(device=None)
    current_device()
    current_stream(device=None)
    device_memory_used(device=None)
    get_device_capability(device=None)
    get_device_name(device=None)
    get_device_properties(device=None)
    get_stream_from_external(data_ptr, device=None)
    init()
    memory_usage(device=None)
    power_draw(device=None)
    set_device(device)
    set_stream(stream)
    synchronize(device=None)
    temperature(device=None)
    utilization(device=None)
    """,
    {
        "device_count()": 0,
        "get_arch_list()": [],
        "get_gencode_flags()": "",
        "is_available()": False,
        "is_bf16_supported(including_emulation=True)": False,
        "is_current_stream_capturing()": False,
        "is_initialized()": False,
        "is_tf32_supported()": False,
    },
)
_define(
    globals(),
    _dummy,
    """
    graph_pool_handle()
    make_graphed_callables(callables, sample_args, num_warmup_iters=3, allow_unused_input=False, pool=None)
    """,
)

_LAZY = dict.fromkeys(("memory", "random"), ".")
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
