"""The CPU as a device: one, whose streams are the program itself, since every operator is done when it returns."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..dispatch import operator as _records
from ..runtime import cpu as _cpu

__all__ = [
    "Event", "Stream", "StreamContext", "current_device", "current_stream", "device_count", "get_capabilities",
    "is_available", "is_initialized", "set_device", "stream", "synchronize",
]  # fmt: skip


class Event:
    """A point in a stream: always reached already."""

    def query(self) -> bool:
        """True: the work before it is done."""
        return True

    def record(self, stream: Any = None) -> None:
        """Marks the present point of a stream."""

    def synchronize(self) -> None:
        """Waits for the work before it, of which there is none."""

    def wait(self, stream: Any = None) -> None:
        """Makes a stream wait for it."""


class Stream:
    """The order of work on the CPU; ``priority`` has no effect."""

    def __init__(self, priority: int = -1) -> None:
        self.priority = priority

    def record_event(self) -> Event:
        """An event at the present point."""
        return Event()

    def wait_event(self, event: Event) -> None:
        """Waits for an event, which has happened."""

    def wait_stream(self, stream: Stream) -> None:
        """Waits for the work of another stream, which is done."""


class StreamContext(contextlib.AbstractContextManager):
    """``with StreamContext(stream)``: the current stream of the block."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        _current.append(self.stream or _current[-1])

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        _current.pop()


_current = [Stream()]


def stream(stream: Stream) -> StreamContext:
    """``with stream(s)``: the current stream of the block."""
    return StreamContext(stream)


def current_stream(device: Any = None) -> Stream:
    """The current stream."""
    return _current[-1]


def current_device() -> str:
    """The name of the device: "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Does nothing: there is one CPU."""


def device_count() -> int:
    """1."""
    return 1


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """True."""
    return True


def synchronize(device: Any = None) -> None:
    """Waits for all work on the CPU, which is done."""


# LLVM's names of what PyTorch lists.
_FLAGS = {
    "sse": "sse", "sse2": "sse2", "sse3": "sse3", "ssse3": "ssse3", "sse4_1": "sse4.1", "sse4_2": "sse4.2",
    "avx": "avx", "avx2": "avx2", "avx512_f": "avx512f", "avx512_cd": "avx512cd", "avx512_dq": "avx512dq",
    "avx512_bw": "avx512bw", "avx512_vl": "avx512vl", "avx512_vnni": "avx512vnni", "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16", "avx512_vbmi": "avx512vbmi", "avx512_vbmi2": "avx512vbmi2", "avx_vnni": "avxvnni",
    "amx_bf16": "amx-bf16", "amx_fp16": "amx-fp16", "amx_int8": "amx-int8", "amx_tile": "amx-tile", "fma3": "fma",
    "fma4": "fma4", "f16c": "f16c", "bmi": "bmi", "bmi2": "bmi2", "popcnt": "popcnt", "lzcnt": "lzcnt",
    "aes": "aes", "sha": "sha", "rdrnd": "rdrnd", "rdseed": "rdseed", "adx": "adx",
}  # fmt: skip


def get_capabilities() -> Mapping[str, Any]:
    """What the processor can do: its architecture and whether it has each set of instructions."""
    found = _cpu.features()
    flags: dict[str, Any] = {name: llvm in found for name, llvm in _FLAGS.items()}
    flags["architecture"] = platform.machine()
    return MappingProxyType(flags)


_LAZY = {"amp": "."}
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
