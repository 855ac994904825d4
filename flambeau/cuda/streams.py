"""Streams and events of CUDA devices, which need a device."""

from __future__ import annotations

from typing import Any, NoReturn

from ..absent import unusable
from ._absent import need

__all__ = ["Event", "ExternalStream", "Stream", "StreamContext"]


def _no_stream(name: str) -> NoReturn:
    raise RuntimeError("torch.cuda.Stream requires CUDA support")


_METHODS = """
query(self)
record_event(self, event=None)
synchronize(self)
wait_event(self, event)
wait_stream(self, stream)
"""
Stream = unusable(
    "Stream", __name__, "device=None, priority=0, **kwargs",
    _METHODS, _no_stream,
)  # fmt: skip
ExternalStream = unusable("ExternalStream", __name__, "stream_ptr, device=None, **kwargs", "", _no_stream)
Event = unusable(
    "Event", __name__, "enable_timing=False, blocking=False, interprocess=False, external=False",
    "elapsed_time(self, end_event)\nfrom_ipc_handle(cls, device, handle)\nipc_handle(self)\nquery(self)\n"
    "record(self, stream=None)\nsynchronize(self)\nwait(self, stream=None)",
)  # fmt: skip


class StreamContext:
    """``with StreamContext(stream)``: the stream that the block's kernels go to; None changes nothing."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            need()

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        return None
