"""Making tensors: filled, uninitialised, even steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from .. import primitives as prim
from ..deferred.deferral import deferral
from ..deferred.record import Recipe
from ..dispatch.call import around, special
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Scalar, operator
from ..dtype import Default
from ..dtype import dtype as dtype_
from ..layout import Layout, Size, contiguous_strides, dense, of
from ..storage import maker, zeroers
from ..tensor import Tensor
from ..tensor import empty as empty_memory
from ..transform.level import Wrapper
from .common import factory, give, overridable, shape_of
from .convert import contiguous_format, format_strides, memory_format, preserve_format

__all__ = [
    "arange", "empty", "empty_like", "empty_strided", "full", "full_like", "ones", "ones_like", "scalar_tensor",
    "zeros", "zeros_like",
]  # fmt: skip


_traced = prim._stack  # not empty while a body is traced, by this thread or another one


def allocate(layout: Layout) -> Tensor:
    """Uninitialised memory, or (in a body that is traced) a value that will be written before it is read."""
    if _traced and prim.tracing() and layout.device is devices.cpu:
        return prim.wrap(prim.current().graph.undef(layout.shape, layout.dtype.code), None, layout)
    return empty_memory(layout)


def finished(t: Tensor, requires_grad: bool, out: Tensor | None = None) -> Tensor:
    if out is None and t._storage.version:
        t._storage.version = 0  # filling a new tensor is no write that anybody could have seen
    if requires_grad:
        t.requires_grad_(True)  # type: ignore[attr-defined]
    return t


_fresh: dict[Any, Layout] = {}
_sequences = frozenset({list, tuple, Size})
_ints = frozenset({int}).issuperset


def fresh_layout(name: str, size: Sequence[Any], dtype: dtype_ | None, device: Any) -> Layout | None:
    """The contiguous layout of a factory's result, remembered; None if its arguments need a closer look."""
    if len(size) == 1 and size[0].__class__ in _sequences:
        size = size[0]
    if not _ints(map(type, size)) or (dtype is not None and dtype.__class__ is not dtype_):
        return None
    kind = Default.dtype if dtype is None else dtype
    key = (kind, devices.Default.stack[-1] if device is None else device, *size)
    try:
        return _fresh[key]
    except KeyError:
        place = devices.of(device)
    except TypeError:  # a device that cannot be remembered
        return None
    if min(size, default=0) < 0:
        return None
    if len(_fresh) >= _KEPT:
        _fresh.clear()
    found = _fresh[key] = dense(kind, shape_of((size,), name), place)
    return found


_KEPT = 4096  # layouts of factories that are remembered


_SMALL = 1 << 20  # bytes that one thread clears
_new = object.__new__


@functools.lru_cache(maxsize=4096)
def _zeros(layout: Layout) -> Recipe:
    """Zeros in a deferred program."""
    with prim.Recorder() as recorder:
        node = recorder.graph.const(0, layout.dtype.code, layout.shape)
    return Recipe("zeros", (node,), (layout,), False, 0, 0)


def _blank(layout: Layout) -> Tensor:
    """A new tensor of zeros."""
    if special and layout.device is devices.cpu and layout.dense and not _traced and not around.wrappers:
        recorder = deferral()
        if recorder.depth and not recorder.full():
            return recorder.apply(_zeros(layout), (), ())[0]
    if not special and not _traced and layout.device is devices.cpu and layout.nbytes <= _SMALL:
        t = _new(Tensor)
        t._layout = t._key = layout
        nbytes = layout.nbytes
        t._storage = (zeroers.get(nbytes) or maker(nbytes, True))()
        t._offset = 0
        return t
    t = allocate(layout)
    t.zero_()  # type: ignore[attr-defined]
    t._storage.version = 0
    return t


def check_out(name: str, out: Tensor | None, kind: dtype_ | None, device: Any = None) -> None:
    """Raises RuntimeError for an ``out`` on another device, or of another element type, than those asked for."""
    if out is None:
        return
    if device is not None and devices.of(device) is not out.device:
        raise RuntimeError(
            f"{name}: device type {devices.of(device)} does not match device type of out parameter ({out.device})"
        )
    if kind is not None and out.dtype is not kind:
        raise RuntimeError(f"{name}: dtype {kind} does not match dtype of out parameter ({out.dtype})")


def _made(
    name: str, shape: Size, dtype: dtype_ | None, device: Any, out: Tensor | None,
    format_: memory_format = contiguous_format
) -> Tensor:  # fmt: skip
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    check_out(name, out, dtype, device)
    if out is not None:
        if out.shape != shape:
            out.resize_(shape)  # type: ignore[attr-defined]
        return out
    kind = dtype or dtypes.get_default_dtype()
    if not isinstance(kind, dtype_):
        raise TypeError(f"{name}(): argument 'dtype' must be torch.dtype, not {type(kind).__name__}")
    where = devices.of(device)
    layout = (
        dense(kind, shape, where)
        if format_ is contiguous_format
        else of(kind, where, shape, format_strides(shape, format_))
    )
    return allocate(layout)


@factory
def empty(
    *sizes: Any, size: Any = None,
    out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False, memory_format: memory_format = contiguous_format,
) -> Tensor:  # fmt: skip
    """A tensor of this shape whose elements are not initialised."""
    if size is not None:
        sizes = (size,)
    if out is None and memory_format is contiguous_format:
        found = fresh_layout("empty", sizes, dtype, device)
        if found is not None:
            t = allocate(found)
            return t.requires_grad_() if requires_grad else t  # type: ignore[attr-defined,no-any-return]
    return finished(_made("empty", shape_of(sizes, "empty"), dtype, device, out, memory_format), requires_grad, out)


@factory
def zeros(
    *sizes: Any, size: Any = None,
    out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of this size full of zeros, of the default element type unless given."""
    if size is not None:
        sizes = (size,)
    found = fresh_layout("zeros", sizes, dtype, device) if out is None else None
    if found is not None:
        t = _blank(found)
        return t.requires_grad_() if requires_grad else t  # type: ignore[attr-defined,no-any-return]
    return finished(_made("zeros", shape_of(sizes, "zeros"), dtype, device, out).zero_(), requires_grad, out)  # type: ignore[attr-defined]


@factory
def ones(
    *sizes: Any, size: Any = None,
    out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of this size full of ones, of the default element type unless given."""
    if size is not None:
        sizes = (size,)
    found = fresh_layout("ones", sizes, dtype, device) if out is None else None
    if found is not None:
        return finished(allocate(found).fill_(1), requires_grad)  # type: ignore[attr-defined]
    return finished(_made("ones", shape_of(sizes, "ones"), dtype, device, out).fill_(1), requires_grad, out)  # type: ignore[attr-defined]


@factory
def full(
    size: Sequence[int], fill_value: Any, *, out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of one number, whose kind gives the element type unless ``dtype`` does."""
    if dtype is None and out is None:
        dtype = fill_value.dtype if isinstance(fill_value, Tensor) else type_of_number(fill_value)
    found = fresh_layout("full", (size,), dtype, device) if out is None else None
    if found is not None:
        return finished(allocate(found).fill_(fill_value), requires_grad)  # type: ignore[attr-defined]
    return finished(
        _made("full", shape_of((size,), "full"), dtype, device, out).fill_(fill_value),
        requires_grad,
        out,
    )  # type: ignore[attr-defined]


def type_of_number(value: Any) -> dtype_:
    """The element type of a tensor made of a Python number."""
    if isinstance(value, (bool, np.bool_)):
        return dtypes.bool_
    if isinstance(value, (int, np.integer)):
        return dtypes.int64
    if isinstance(value, (float, np.floating)):
        return dtypes.get_default_dtype()
    if isinstance(value, (complex, np.complexfloating)):
        return dtypes.get_default_dtype().to_complex()
    raise TypeError(f"expected a number, got {type(value).__name__}")


def _like(input: Tensor, dtype: dtype_ | None, device: Any, format_: memory_format) -> Tensor:
    layout = input._layout
    if dtype is None and device is None and format_ is preserve_format and input._key is layout and layout.dense:
        return allocate(layout)
    kind, where = dtype or layout.dtype, layout.device if device is None else devices.of(device)
    if isinstance(input, Wrapper):
        return input._blank(dense(kind, layout.shape, where))
    if format_ is preserve_format and layout.dense:
        return allocate(of(kind, where, layout.shape, layout.strides))
    if format_ is preserve_format and layout.ndim > 1 and layout.numel:
        # the densest layout with the dimensions in the same order of memory
        order = sorted(range(layout.ndim), key=lambda d: (-layout.strides[d] if layout.strides[d] else 0, d))
        strides, below = [0] * layout.ndim, 1
        for d in reversed(order):
            strides[d] = below
            below *= max(layout.shape[d], 1)
        return allocate(
            of(
                kind,
                where,
                layout.shape,
                strides if 0 not in layout.strides else format_strides(layout.shape, contiguous_format),
            )
        )
    return allocate(of(kind, where, layout.shape, format_strides(layout.shape, format_)))


@overridable
def empty_like(
    input: Tensor, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor with the shape (and unless said otherwise the type, device and memory format) of
    ``input``."""
    return finished(_like(input, dtype, device, memory_format), requires_grad)


@overridable
def zeros_like(
    input: Tensor, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: memory_format = preserve_format, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Zeros in the shape of ``input``."""
    plain = dtype is None and device is None and memory_format is preserve_format
    if plain and input._layout.dense and not isinstance(input, Wrapper):
        t = _blank(input._layout)
        return t.requires_grad_() if requires_grad else t  # type: ignore[attr-defined,no-any-return]
    return finished(_like(input, dtype, device, memory_format).zero_(), requires_grad)  # type: ignore[attr-defined]


@overridable
def ones_like(
    input: Tensor, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """Ones in the shape of ``input``."""
    return finished(_like(input, dtype, device, memory_format).fill_(1), requires_grad)  # type: ignore[attr-defined]


@overridable
def full_like(
    input: Tensor, fill_value: Any, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False, memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """One number in the shape of ``input``."""
    return finished(_like(input, dtype, device, memory_format).fill_(fill_value), requires_grad)  # type: ignore[attr-defined]


def wanted_layout(
    name: str, dtype: dtype_, device: devices.device, size: Sequence[int], stride: Sequence[int] | None = None
) -> Layout:
    """The layout that a caller asks for, contiguous unless strides are given; raises RuntimeError for negative numbers
    and for another number of strides than of sizes, TypeError for numbers that are not whole."""
    if any(isinstance(n, float) for n in (*size, *(stride or ()))):
        raise TypeError(f"{name}(): sizes and strides must be ints, but got {list(size)} and {stride and list(stride)}")
    if any(n < 0 for n in size):
        raise RuntimeError(f"{name}: Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    if stride is None:
        return of(dtype, device, size, contiguous_strides(size))
    if len(size) != len(stride):
        raise RuntimeError(
            f"{name}: dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)})"
        )
    if any(n < 0 for n in stride):
        raise RuntimeError(f"{name}: strides must not be negative, got {list(stride)} for the shape {list(size)}")
    return of(dtype, device, size, stride)


def strided_layout(name: str, dtype: dtype_ | None, device: Any, size: Sequence[int], stride: Sequence[int]) -> Layout:
    """As `wanted_layout`, for the element type and device that a caller gave, if any; remembered."""
    kind, place = dtype or Default.dtype, devices.Default.stack[-1] if device is None else device
    key: Any = None
    if size.__class__ in _sequences and stride.__class__ in _sequences and _ints(map(type, (*size, *stride))):
        key = kind, place, (*size,), (*stride,)
        try:
            return _fresh[key]
        except (KeyError, TypeError):  # a device that cannot be remembered
            pass
    found = wanted_layout(name, kind, devices.of(device), size, stride)
    if isinstance(place, devices.device) and key is not None:
        if len(_fresh) >= _KEPT:
            _fresh.clear()
        _fresh[key] = found
    return found


@factory
def empty_strided(
    size: Sequence[int], stride: Sequence[int], *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor with these strides (in elements); raises RuntimeError for negative numbers."""
    found = strided_layout("empty_strided", dtype, device, size, stride)
    made = allocate(found) if _traced else empty_memory(found)
    return made.requires_grad_() if requires_grad else made  # type: ignore[attr-defined,no-any-return]


@factory
def scalar_tensor(
    s: Any,
    *,
    dtype: dtype_ | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A 0-dim tensor of one number, of the default element type unless given."""
    return full((), s, dtype=dtype or dtypes.get_default_dtype(), device=device, requires_grad=requires_grad)


@operator(name="_arange", method=False, function=False, differentiable=False, out=False)
def _arange(start: Scalar, step: Scalar, count: int, dtype: dtype_) -> Tensor:
    """``start + i * step`` for i in 0..count-1, computed in double or int64 and rounded to ``dtype``."""
    work = (
        dtypes.int64 if dtype.kind in "bui" and start.dtype.kind != "f" and step.dtype.kind != "f" else dtypes.float64
    )
    index = prim.cast(prim.iota((count,), 0), work)
    value = prim.apply("add", prim.cast(start, work), prim.apply("mul", index, prim.cast(step, work)))
    return prim.cast(value, dtype)


@factory
@call_forms(
    "arange(start, end, step=1, *, out=None, dtype=None, layout=torch.strided, device=None, requires_grad=False)",
    "arange(end, *, out=None, dtype=None, layout=torch.strided, device=None, requires_grad=False)",
)
def arange(
    start: Any = 0, end: Any = None, step: Any = 1, *, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """``start, start + step, ...`` up to and without ``end``; ``arange(n)`` counts from 0.

    int64 if all arguments are integers, else the default floating type.  Raises RuntimeError for a zero step
    (ValueError if it only becomes 0 as an integer) and for bounds that the step leads away from.
    """
    if end is None:
        start, end = 0, start
    if start.__class__ is end.__class__ is step.__class__ is int and step and (end - start) * step >= 0 and (
        out is None and device is None and (dtype is None or dtype.__class__ is dtype_)
    ) and devices.get_default_device() is devices.cpu:  # fmt: skip
        made = _arange.function(start, step, -((start - end) // step), dtype or dtypes.int64)
        return made.requires_grad_() if requires_grad else made  # type: ignore[no-any-return]
    start, end, step = (v.item() if isinstance(v, (Tensor, np.generic)) else v for v in (start, end, step))  # type: ignore[attr-defined]
    for name, value in (("start", start), ("end", end), ("step", step)):
        if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
            raise TypeError(f"arange(): argument '{name}' must be Number, not {type(value).__name__}")
    check_out("arange", out, dtype, device)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"arange: upper bound and lower bound inconsistent with step sign: from {start} to {end} by {step}"
        )
    if dtype is None:
        dtype = (
            out.dtype
            if out is not None
            else dtypes.int64
            if all(isinstance(v, int) for v in (start, end, step))
            else dtypes.get_default_dtype()
        )
    whole = all(isinstance(v, int) for v in (start, end, step))
    count = max(0, -(-(end - start) // step)) if whole else math.ceil((end - start) / step)
    if not whole and dtype.kind in "iu":  # the numbers become integers before they are counted
        start, end, step = int(start), int(end), int(step)
        if dtype is dtypes.int64:
            if step == 0:
                raise ValueError("step must be nonzero")
            count = max(0, -(-(end - start) // step))
    where = devices.of(device)
    if where is devices.meta:
        return finished(allocate(dense(dtype, (int(count),), where)), requires_grad)
    made = _arange.function(start, step, int(count), dtype)
    return give(made, out) if out is not None else finished(made, requires_grad)
