"""Tensors of Python's numbers, sequences and arrays, and back."""

from __future__ import annotations

import ctypes
import functools
import itertools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..dispatch.call import special
from ..dtype import dtype as dtype_
from ..errors import NoDataError
from ..layout import dense
from ..tensor import Tensor, from_numpy, host_values, make, materialize, numpy_view
from ..tensor import empty as empty_memory
from ..transform.level import Wrapper
from .common import factory
from .convert import convert
from .create import finished, type_of_number

__all__ = ["as_tensor", "tensor"]


def _leaves(data: Any) -> Any:
    """Nested sequences with tensors and numpy scalars replaced by Python numbers."""
    if isinstance(data, Tensor):
        return data.tolist()  # type: ignore[attr-defined]
    if isinstance(data, np.ndarray):
        return data.tolist()
    if isinstance(data, np.generic):
        return data.item()
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if isinstance(data, Sequence) or (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        if isinstance(data, (list, tuple)) and data and isinstance(data[0], (str, bytes)):
            raise ValueError(f"too many dimensions '{type(data[0]).__name__}'")
        return [_leaves(x) for x in data]
    return data


def _shape(data: Any) -> tuple[int, ...]:
    if not isinstance(data, list):
        return ()
    if not data:
        return (0,)
    shapes = [_shape(x) for x in data]
    for i, s in enumerate(shapes):
        if s != shapes[0]:
            if not s or not shapes[0]:
                raise TypeError("not a sequence" if not s else "must be real number, not list")
            raise ValueError(
                f"expected sequence of length {shapes[0][0]} at dim 1 (got {s[0]})" if i else "ragged nested sequence"
            )
    return (len(data), *shapes[0])


def _flat(data: Any, into: list[Any]) -> list[Any]:
    if isinstance(data, list):
        for x in data:
            _flat(x, into)
    else:
        into.append(data)
    return into


def _numbers(data: Any, type_: dtype_ | None) -> Tensor | None:
    """A tensor of ints or of floats, in lists of equal lengths; None for anything else."""
    shape: list[int] = []
    flat = data
    if data.__class__ is float or data.__class__ is int:
        flat = (data,)
    else:
        shape.append(len(data))
        while flat and (flat[0].__class__ is list or flat[0].__class__ is tuple):
            lengths = set(map(len, flat)) if {list, tuple}.issuperset(map(type, flat)) else ()
            if len(lengths) != 1:
                return None
            shape.append(len(flat[0]))
            flat = list(itertools.chain.from_iterable(flat))
    kinds = set(map(type, flat))
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is float:
        type_ = type_ or dtypes.get_default_dtype()
        if type_ is dtypes.bfloat16 or type_ is dtypes.float16:  # rounded by way of single precision, as in PyTorch
            whole: Any = _numbers(data, dtypes.float32)
            return None if whole is None else whole.to(type_)
        if type_ is not dtypes.float32 and type_ is not dtypes.float64:
            return None
    elif kind is int:
        type_ = type_ or dtypes.int64
        if type_ is not dtypes.int64 or min(flat) < -(1 << 63) or max(flat) >= 1 << 63:
            return None
    else:
        return None
    if devices.get_default_device() is not devices.cpu:
        return None
    t = empty_memory(dense(type_, shape))
    _array_type(type_.code, len(flat)).from_address(t._storage.ptr)[:] = flat
    return t


@functools.lru_cache(maxsize=512)
def _array_type(code: str, count: int) -> Any:
    """ctypes' array of ``count`` elements."""
    return getattr(ctypes, _CTYPES[code]) * count


@factory
def tensor(
    data: Any,
    *,
    dtype: dtype_ | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    names: Any = None,
) -> Tensor:
    """A tensor with a copy of ``data``: a number, nested sequences of numbers, an array or a tensor.

    The element type is that of the data: bool, int64, the default floating type or its complex type for Python numbers.
    Raises ValueError for ragged sequences, TypeError for other things, RuntimeError for numbers that do not fit.
    """
    cls = data.__class__
    if (cls is list or cls is tuple or cls is float or cls is int) and device is None and not special:
        quick = _numbers(data, dtype)
        if quick is not None:
            return quick.requires_grad_() if requires_grad else quick  # type: ignore[attr-defined,no-any-return]
    if isinstance(data, Tensor):
        made = convert(data.detach(), dtype, device, copy=True)  # type: ignore[attr-defined]
        return finished(made.detach(), requires_grad)  # type: ignore[attr-defined]
    if isinstance(data, (np.ndarray, np.generic)) and dtypes.from_numpy_dtype(np.asarray(data).dtype) is not None:
        made = from_numpy(np.array(data, order="C", copy=True))
        return finished(convert(made, dtype, device), requires_grad)
    if hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        return tensor(np.asarray(data), dtype=dtype, device=device, requires_grad=requires_grad)
    nested = _leaves(data)
    shape = _shape(nested)
    flat = _flat(nested, [])
    for x in flat:
        if not isinstance(x, (bool, int, float, complex)):
            if hasattr(x, "item"):
                continue
            raise TypeError(
                f"Could not infer dtype of {type(x).__name__}" if x is not None else "Could not infer dtype of NoneType"
            )
    kind = dtype
    if kind is None:
        kinds = {type(x) for x in flat}
        best = complex if any(issubclass(k, complex) for k in kinds) else float if any(issubclass(k,
        float) for k in kinds) or not flat else (
            int if any(issubclass(k, int) and not issubclass(k, bool) for k in kinds) else bool)  # fmt: skip
        kind = type_of_number(best(0))
    if not isinstance(kind, dtype_):
        raise TypeError(f"tensor(): argument 'dtype' must be torch.dtype, not {type(kind).__name__}")
    stored, kind = kind, kind.wide if kind.is_complex else kind  # numpy has no complex numbers of 32 bits
    if kind.kind in "bui":
        try:
            flat = [bool(x) if kind is dtypes.bool_ else int(x) for x in flat]
        except (ValueError, OverflowError, TypeError):  # what is not finite, or complex
            raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow") from None
        if kind.kind in "ui":
            info = np.iinfo(kind.numpy)
            for x in flat:
                if not -(1 << 63) <= x < 1 << 64 or (kind is dtypes.int64 and x > info.max):
                    raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow")
            wrapped = [x - (1 << 64) if x >= 1 << 63 else x for x in flat] if kind is not dtypes.uint64 else flat
            array = np.array(wrapped, np.int64 if kind is not dtypes.uint64 else np.uint64).astype(kind.numpy)
        else:
            array = np.array(flat, np.bool_)
    elif kind.kind == "f" and any(isinstance(x, complex) for x in flat):
        raise RuntimeError("value cannot be converted to type float without overflow")
    else:
        array = np.array(flat, kind.numpy if kind.kind == "c" or kind is dtypes.float64 else np.float64)
        if array.dtype != kind.numpy:
            with np.errstate(all="ignore"):
                array = (array.astype(np.float32) if kind.itemsize < 4 else array).astype(kind.numpy)
    made = from_numpy(array.reshape(shape))
    return finished(convert(_owned(made), stored, device), requires_grad)


def _owned(t: Tensor) -> Tensor:
    """A copy in memory from the allocator, so that storages of fresh tensors can be resized."""
    mine = empty_memory(dense(t.dtype, t.shape))
    if t.numel():
        numpy_view(mine)[...] = numpy_view(t)
    return mine


@factory
def as_tensor(data: Any, dtype: dtype_ | None = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, sharing memory where it can: tensors and numpy arrays of the right type are not copied."""
    if isinstance(data, Tensor):
        return convert(data, dtype, device)
    if (
        isinstance(data, np.ndarray)
        and dtypes.from_numpy_dtype(data.dtype) is not None
        and all(s >= 0 for s in data.strides)
    ):
        return convert(from_numpy(data), dtype, device)
    return tensor(data, dtype=dtype, device=device)


def detach(self: Tensor) -> Tensor:
    """The same memory without a history: results computed from it carry no gradient back."""
    if isinstance(self, Wrapper):
        return self._detached()
    return make(self._storage, self._layout, self._offset)


def item(self: Tensor) -> Any:
    """The only element as a Python number; raises RuntimeError if there are several."""
    layout = self._key
    if layout is None or layout.device is not devices.cpu or self._storage.pending is not None:
        if self._layout.device is devices.meta:
            raise NoDataError("Tensor.item() cannot be called on meta tensors")
        materialize(self)
        layout = self._layout
    if layout.numel != 1:
        raise RuntimeError(f"a Tensor with {layout.numel} elements cannot be converted to Scalar")
    read = _READ.get(layout.dtype)
    if read is not None:
        return read(self._storage.ptr + self._offset * layout.itemsize).value
    value = host_values(self).reshape(())
    return float(value) if layout.dtype.kind == "f" else value.item()


_CTYPES = {
    "f32": "c_float", "f64": "c_double", "i64": "c_int64", "i32": "c_int32", "i16": "c_int16", "i8": "c_int8",
    "u8": "c_uint8", "u16": "c_uint16", "u32": "c_uint32", "u64": "c_uint64", "b1": "c_bool",
}  # fmt: skip
_FORMATS = dict(zip(_CTYPES, "fdqihbBHIQ?"))
_READ: dict[dtype_, Any] = {
    type_: getattr(ctypes, _CTYPES[type_.code]).from_address for type_ in dtypes.ALL if type_.code in _CTYPES
}


@functools.lru_cache(maxsize=512)
def _reader(code: str, count: int) -> tuple[Any, Any]:
    """What makes a block of bytes of an address, and ``count`` numbers of such a block."""
    form = struct.Struct(f"={count}{_FORMATS[code]}")
    return (ctypes.c_char * form.size).from_address, form.unpack


def tolist(self: Tensor) -> Any:
    """The elements as nested lists of Python numbers; a number for a 0-dim tensor."""
    layout = self._key
    if layout is not None and layout.ndim == 1 and layout.contiguous and layout.dtype in _READ:
        if layout.numel and layout.device is devices.cpu and self._storage.pending is None:
            block, unpack = _reader(layout.dtype.code, layout.numel)
            return [*unpack(block(self._storage.ptr + self._offset * layout.itemsize))]
    layout = self._layout
    array = host_values(self)
    return (array.astype(np.float64) if layout.dtype.kind == "f" else array).tolist()


Tensor.detach = detach  # type: ignore[attr-defined]
Tensor.item = item  # type: ignore[attr-defined]
Tensor.tolist = tolist  # type: ignore[attr-defined]
