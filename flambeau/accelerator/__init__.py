"""The machine's accelerator, whichever it is: there is none, so all but the questions raise RuntimeError."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, NoReturn

from ..absent import define as _define
from ..device import device as _device
from ..dispatch import operator as _records


def _need(name: str) -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available.")


def get_device_module(device: Any = None) -> ModuleType:
    """The namespace of a device's type (``torch.cuda`` of "cuda:0"); without one that of the accelerator, or the CPU.

    Raises RuntimeError for a type that has no namespace.
    """
    name = "cpu" if device is None else _device(device).type
    if name not in ("cpu", "cuda", "mps", "mtia", "xpu"):
        raise RuntimeError(f"Invalid device_module requested {name!r}: there is no module torch.{name}")
    return importlib.import_module(f"..{name}", __name__)


def is_available() -> bool:
    """Whether there is an accelerator that can be used."""
    return device_count() > 0


def device_count() -> int:
    """How many accelerators there are: 0."""
    return 0


def current_accelerator(check_available: bool = False) -> _device | None:
    """The device type of the machine's accelerator; None without one."""
    return None


class device_index:
    """``with device_index(n)``: makes an accelerator the current one; None changes nothing."""

    def __init__(self, device: int | None, /) -> None:
        self.idx = device

    def __enter__(self) -> None:
        if self.idx is not None:
            _need("device_index")

    def __exit__(self, *exc_info: object) -> None:
        return None


_define(
    globals(),
    _need,
    """
    current_device_idx()
    current_device_index()
    current_stream(device=None, /)
    empty_host_cache()
    get_device_capability(device=None, /)
    set_device_idx(device, /)
    set_device_index(device, /)
    set_stream(stream)
    synchronize(device=None, /)
    """,
)

_MEMORY = (
    "empty_cache", "get_memory_info", "max_memory_allocated", "max_memory_reserved", "memory_allocated",
    "memory_reserved", "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats",
)  # fmt: skip
_LAZY: dict[str, Any] = {"memory": ".", "graphs": ".", "Graph": ".graphs", **dict.fromkeys(_MEMORY, ".memory")}
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
