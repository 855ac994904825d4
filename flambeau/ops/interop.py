"""Memory shared with other libraries: objects with Python's buffer protocol, and DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..dtype import dtype as dtype_
from ..layout import dense
from ..storage import Storage
from ..tensor import Tensor, from_numpy, make, numpy_view
from .common import attach, factory

__all__ = ["from_dlpack", "frombuffer"]


@factory
def frombuffer(buffer: Any, *, dtype: dtype_, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-dim tensor over the memory of an object with Python's buffer protocol."""
    view = memoryview(buffer)
    nbytes, item = view.nbytes, dtype.itemsize
    if nbytes == 0 and count != 0:
        raise ValueError(f"both buffer length ({nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({nbytes} bytes) - 1"
        )
    if count < 0:
        if (nbytes - offset) % item:
            raise ValueError(
                f"buffer length ({nbytes - offset} bytes) after offset ({offset} bytes) must be a "
                f"multiple of element size ({item})"
            )
        count = (nbytes - offset) // item
    if count == 0:
        raise ValueError("both buffer length and count must not be 0")
    if offset + count * item > nbytes:
        raise ValueError(
            f"requested buffer length ({count} * {item} bytes) after offset ({offset} bytes) "
            f"must not be greater than actual buffer length ({nbytes} bytes)"
        )
    array = np.frombuffer(view, np.uint8, count * item, offset)
    made = make(Storage(array.ctypes.data, array.nbytes, array), dense(dtype, (count,)))
    return made.requires_grad_(requires_grad) if requires_grad else made  # type: ignore[attr-defined]


def _dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """The tensor's memory as a DLPack capsule."""
    if self._requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    array = numpy_view(self)
    if self.dtype is dtypes.bfloat16:
        raise BufferError("bfloat16 cannot be exported through DLPack")
    return (array.copy() if copy else array).__dlpack__()


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """DLPack's device: (1, 0), the CPU."""
    if self.device is not devices.cpu:
        raise BufferError(f"tensors on {self.device} cannot be exported through DLPack")
    return (1, 0)


class _Capsule:
    """A DLPack capsule as an object that gives it once."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an object with ``__dlpack__`` (an array of another library), or of a DLPack capsule,
    which can be taken once."""
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.clone() if copy else ext_tensor.detach()  # type: ignore[attr-defined]
    if type(ext_tensor).__name__ == "PyCapsule":
        ext_tensor = _Capsule(ext_tensor)
    if not hasattr(ext_tensor, "__dlpack__"):
        kind = type(ext_tensor).__name__
        raise TypeError(f"from_dlpack: expected an object with __dlpack__ or a DLPack capsule, got {kind}")
    array = np.from_dlpack(ext_tensor)
    return from_numpy(array.copy() if copy else array)


attach(Tensor, {"__dlpack__": _dlpack, "__dlpack_device__": _dlpack_device})
