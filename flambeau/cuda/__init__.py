"""CUDA: there is no device of this kind here, and this namespace says so as PyTorch's build for the CPU does.

It is imported by programs that ask ``is_available()`` first.  Sources of the answers: PyTorch 2.13 for the CPU, asked.
"""

from __future__ import annotations

from typing import Any

from ..absent import define as _define
from ..dispatch import operator as _records
from ..errors import AcceleratorError as AcceleratorError
from ..errors import OutOfMemoryError as OutOfMemoryError
from ._absent import device as device
from ._absent import device_of as device_of
from ._absent import need as _need
from .graphs import *  # noqa: F403
from .memory import *  # noqa: F403
from .random import *  # noqa: F403
from .streams import *  # noqa: F403

has_half = True
has_magma = False
default_generators: tuple[Any, ...] = ()

_define(
    globals(),
    _need,
    """
    can_device_access_peer(device, peer_device)
    check_error(res)
    clock_rate(device=None)
    cudart()
    current_blas_handle()
    current_device()
    current_solver_handle()
    current_stream(device=None)
    default_stream(device=None)
    device_memory_used(device=None)
    get_device_capability(device=None)
    get_device_name(device=None)
    get_device_properties(device=None)
    get_stream_from_external(data_ptr, device=None)
    get_sync_debug_mode()
    init()
    ipc_collect()
    memory_usage(device=None)
    power_draw(device=None)
    set_stream(stream)
    set_sync_debug_mode(debug_mode)
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
        "is_initialized()": False,
        "is_tf32_supported()": False,
    },
)


class CudaError(RuntimeError):
    """An error of the driver, by its code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"CUDA error {code}")


class DeferredCudaCallError(Exception):
    """A call that was put off until CUDA was initialised failed."""


def set_device(device: Any) -> None:
    """Makes a device the current one: negative indices are ignored, any other raises AssertionError."""
    index = getattr(device, "index", device)
    if isinstance(index, int) and index < 0:
        return
    if getattr(device, "type", "cuda") != "cuda" or (isinstance(device, str) and not device.startswith("cuda")):
        raise ValueError(f"Expected a cuda device, but got: {device}")
    _need()


def stream(stream: Any) -> Any:
    """``with stream(s)``: the stream that the block's kernels go to; None changes nothing."""
    return StreamContext(stream)  # noqa: F405


def _tensor_type(kind: str) -> type:
    def make(cls: type, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f"type torch.cuda.{kind} not available. Torch not compiled with CUDA enabled.")

    return type(kind, (), {"__new__": make, "__module__": __name__, "__doc__": "Tensors of one type on CUDA devices."})


for _kind in ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short"):
    globals()[_kind + "Tensor"] = _tensor_type(_kind + "Tensor")

_LAZY = dict.fromkeys(("amp", "comm", "graphs", "memory", "nvtx", "profiler", "random", "streams"), ".")
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
