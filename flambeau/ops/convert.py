"""Copies, conversions between element types and devices, fills."""

from __future__ import annotations

import warnings
from typing import Any

from .. import device as devices
from .. import dtype as dtypes
from .. import layout as layouts
from .. import primitives as prim
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Operand, operator
from ..dtype import dtype as dtype_
from ..layout import contiguous_strides, image_strides, of, ordered_strides
from ..tensor import Tensor, empty
from .common import each_once, overridable, zeros_of
from .shape import clone

__all__: list[str] = []


@operator(name="copy", method=False, function=False, inplace=True)
def copy(input: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Replaces the elements by those of ``src``, broadcast and converted.  Raises RuntimeError if the shapes do not
    fit."""
    wanted, have = input.shape, src.shape
    if len(have) > len(wanted) or any(h not in (1, w) for h, w in zip(reversed(have), reversed(wanted))):
        raise RuntimeError(
            f"copy_: The size of tensor a ({list(wanted)}) must match the size of tensor b "
            f"({list(have)}), or b must broadcast to a"
        )
    node = prim.current().graph.expand(prim.read(src), wanted)
    return prim.cast(prim.wrap(node), input.dtype)


copy.disjoint = ("src",)
copy.across = True


@copy.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return None if not ctx.needs("input") else grad.new_zeros(grad.shape), grad


@operator(name="_to_dtype", method=False, function=False, preserve=True)
def to_dtype(input: Tensor, dtype: dtype_) -> Tensor:
    """A copy with another element type, in the same order of memory."""
    return prim.cast(input, dtype)


to_dtype.elementwise = True


@to_dtype.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.to(ctx.dtype("input"))


@operator(name="_contiguous", method=False, function=False)
def _contiguous(input: Tensor, order: tuple[int, ...]) -> Tensor:
    """A copy whose memory runs through the dimensions in ``order`` (the last one fastest)."""
    strides = [0] * input.ndim
    below = 1
    for d in reversed(order):
        strides[d] = below
        below *= max(input.shape[d], 1)
    layout = of(input.dtype, devices.cpu, input.shape, strides)
    return prim.wrap(prim.read(input), strides, layout if layout.dense else None)


@_contiguous.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad


@operator(name="_widened", function=False, out=False)
def widened(input: Tensor) -> Tensor:
    """``input`` in float32, of which the gradient stays in float32, too (``autograd/engine.py``)."""
    return prim.cast(input, dtypes.float32)


@widened.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad


class memory_format:
    """The order in which dimensions lie in memory: ``contiguous_format``, ``channels_last``, ``channels_last_3d``,
    ``preserve_format``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")
_LAST = {channels_last: (4, (0, 2, 3, 1)), channels_last_3d: (5, (0, 2, 3, 4, 1))}


def _order(ndim: int, format_: memory_format) -> tuple[int, ...]:
    """The dimensions as ``format_`` has them in memory, the last one fastest; raises RuntimeError for another rank."""
    if format_ not in _LAST:
        return tuple(range(ndim))
    wanted, order = _LAST[format_]
    if ndim != wanted:
        raise RuntimeError(f"required rank {wanted} tensor to use {format_.name} format, got {ndim} dimensions")
    return order


def format_strides(shape: tuple[int, ...], format_: memory_format) -> tuple[int, ...]:
    """The strides of a tensor of this shape in ``format_``; raises RuntimeError if it has no such format."""
    if format_ not in _LAST:
        return contiguous_strides(shape)
    return ordered_strides(shape, _order(len(shape), format_))


def _is_contiguous(self: Tensor, memory_format: memory_format = contiguous_format) -> bool:
    """Whether the elements lie in the order of ``memory_format`` without gaps."""
    layout = self._layout
    if memory_format is contiguous_format or memory_format is preserve_format:
        return layout.contiguous
    if memory_format not in _LAST:
        raise TypeError(
            f"is_contiguous(): argument 'memory_format' must be torch.memory_format, not {type(memory_format).__name__}"
        )
    if layout.ndim != _LAST[memory_format][0]:
        return False
    wanted = format_strides(layout.shape, memory_format)
    return all(n == 1 or s == w for n, s, w in zip(layout.shape, layout.strides, wanted))


def lies_last(t: Tensor) -> bool:
    """See ``layout.lies_last``."""
    return layouts.lies_last(t._layout)


def as_image(result: Tensor, *operands: Tensor) -> Tensor:
    """``result``, to lie in memory with channels last if an operand does (while an operator is traced)."""
    strides = image_strides(result.shape, [t._layout for t in operands])
    return result if strides == contiguous_strides(result.shape) else prim.wrap(prim.read(result), strides)


def _make_contiguous(self: Tensor, memory_format: memory_format = contiguous_format) -> Tensor:
    """The tensor itself if its elements lie in the order of ``memory_format``, otherwise a copy that does."""
    if memory_format is preserve_format:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    if _is_contiguous(self, memory_format):
        return self
    return _contiguous.function(self, _order(self.ndim, memory_format))  # type: ignore[no-any-return]


def _clone(self: Tensor, *, memory_format: memory_format = preserve_format) -> Tensor:
    """A copy with memory of its own, in the order of ``memory_format`` (by default that of the tensor if it is
    dense)."""
    if memory_format is preserve_format:
        return clone.function(self)  # type: ignore[no-any-return]
    return _contiguous.function(self, _order(self.ndim, memory_format))  # type: ignore[no-any-return]


@overridable
def clone_function(input: Tensor, *, memory_format: memory_format = preserve_format) -> Tensor:
    """A copy with memory of its own: see ``Tensor.clone``."""
    return _clone(input, memory_format=memory_format)


clone_function.__name__ = clone_function.__qualname__ = "clone"


def convert(
    t: Tensor,
    dtype: dtype_ | None = None,
    device: Any = None,
    copy: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:
    """The tensor with another element type, device or memory format; itself if nothing changes and ``copy`` is
    false."""
    where = t.device if device is None else devices.of(device)
    kind = t.dtype if dtype is None else dtype
    if where is not t.device:
        if t.device is devices.meta:
            raise NotImplementedError(
                "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() "
                "instead of torch.nn.Module.to() when moving module from meta to a different "
                "device."
            )
        layout = t._layout
        strides = layout.strides if layout.dense else contiguous_strides(layout.shape)
        if memory_format is not preserve_format:
            strides = format_strides(layout.shape, memory_format)
        moved = empty(of(kind, where, layout.shape, strides))
        moved._requires_grad = t._requires_grad and kind.kind in "fc"
        return moved
    if kind is not t.dtype:
        if t.dtype.is_complex and not kind.is_complex and kind is not dtypes.bool_:
            warnings.warn("Casting complex values to real discards the imaginary part", UserWarning, stacklevel=3)
        t = to_dtype.function(t, kind)
        copy = False
    last = next((f for f, (ndim, _) in _LAST.items() if ndim == t.ndim and lies_last(t)), contiguous_format)
    if memory_format not in (preserve_format, last):  # one that lies in neither order stays as it is
        return _make_contiguous(t, memory_format)
    return _clone(t) if copy else t


@call_forms(
    "to(dtype, non_blocking=False, copy=False, memory_format=torch.preserve_format)",
    "to(device=None, dtype=None, non_blocking=False, copy=False, memory_format=torch.preserve_format)",
    "to(other, non_blocking=False, copy=False, memory_format=torch.preserve_format)",
)
def _to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor converted; itself if nothing changes.  Raises TypeError for other arguments."""
    if len(args) == 1 and not kwargs:
        kind, layout = args[0], self._layout
        if kind.__class__ is dtype_:
            if kind is layout.dtype:
                return self
            if not layout.dtype.is_complex:
                return to_dtype.function(self, kind)  # type: ignore[no-any-return]
        elif kind is layout.device or (kind.__class__ is str and kind == layout.device.type):
            return self
    names = ["dtype", "non_blocking", "copy", "memory_format"]
    values: dict[str, Any] = {}
    rest = [dtypes.meant(value) for value in args]
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
        values.update(dtype=other.dtype, device=other.device)
        names = ["non_blocking", "copy", "memory_format"]
    elif rest and not isinstance(rest[0], dtype_):
        names = ["device", "dtype", "non_blocking", "copy", "memory_format"]
    for name, value in zip(names, rest):
        values[name] = value
    if len(rest) > len(names):
        raise TypeError(f"to() received an invalid combination of arguments: {args}")
    for name, value in kwargs.items():
        if name == "other":
            values.update(dtype=value.dtype, device=value.device)
        elif name in ("device", "dtype", "non_blocking", "copy", "memory_format"):
            values[name] = dtypes.meant(value)
        else:
            raise TypeError(f"to() got an unexpected keyword argument '{name}'")
    kind = values.get("dtype")
    if kind is not None and not isinstance(kind, dtype_):
        raise TypeError(f"to(): argument 'dtype' must be torch.dtype, not {type(kind).__name__}")
    format_ = values.get("memory_format") or preserve_format
    return convert(self, kind, values.get("device"), bool(values.get("copy", False)), format_)


def _shortcut(kind: dtype_) -> Any:
    def method(self: Tensor, memory_format: memory_format = preserve_format) -> Tensor:
        return convert(self, kind, memory_format=memory_format)

    method.__doc__ = f"The tensor with elements of type {kind.name}; itself if they are."
    return method


@operator(preserve=True, inplace=True, method=False, out=False)
def fill(input: Tensor, value: Operand) -> Tensor:
    """Every element replaced by ``value`` (a number, or a 0-dim tensor)."""
    if value.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    g = prim.current().graph
    return prim.wrap(g.expand(g.cast(prim.read(value), input.dtype.code), input.shape))


fill.folded = lambda input, value: (each_once(input), value)


@fill.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return zeros_of(grad), grad.sum()


@operator(name="zero", inplace=True, method=False, function=False)
def zero(input: Tensor) -> Tensor:
    """Every element replaced by zero."""
    return prim.const(0, input.dtype, input.shape)


zero.folded = lambda input: (each_once(input),)


@zero.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return zeros_of(grad)


def install(tensor: type[Tensor]) -> None:
    """Attaches the methods of this file that are no operators."""
    methods = {
        "to": _to, "contiguous": _make_contiguous, "is_contiguous": _is_contiguous, "clone": _clone,
        "float": _shortcut(dtypes.float32), "double": _shortcut(dtypes.float64), "half": _shortcut(dtypes.float16),
        "bfloat16": _shortcut(dtypes.bfloat16), "int": _shortcut(dtypes.int32), "long": _shortcut(dtypes.int64),
        "short": _shortcut(dtypes.int16), "char": _shortcut(dtypes.int8), "byte": _shortcut(dtypes.uint8),
        "bool": _shortcut(dtypes.bool_), "cfloat": _shortcut(dtypes.complex64), "cdouble": _shortcut(dtypes.complex128),
        "chalf": _shortcut(dtypes.complex32),
    }  # fmt: skip
    for name, method in methods.items():
        method.__name__ = name
        setattr(tensor, name, method)


install(Tensor)
