"""Slices at the indices along a dimension, read and written: index_select, index_add and their kin."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Factor, Operand, operator
from ..tensor import Tensor
from . import create
from .common import dim_of, times
from .gather import along, reshaped, with_dimension
from .index import index_grad, wrapped
from .scatter import combined

__all__: list[str] = []


def _vector(name: str, index: Tensor) -> None:
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got {index.ndim} dimensions")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index, got {index.dtype}")


def _column(index: Tensor, dim: int, ndim: int) -> Tensor:
    """The index vector as a column along ``dim`` (inside of a body)."""
    return reshaped(index, [index.numel() if d == dim else 1 for d in range(ndim)])


@operator()
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices at the indices (a vector of int64 or int32) along ``dim``.  Raises IndexError for an index outside of
    it."""
    _vector("index_select", index)
    d = dim_of(dim, input.ndim, "index_select")
    x = with_dimension(input)
    shape = [index.numel() if k == d else n for k, n in enumerate(x.shape)]
    if 0 in shape:
        return prim.undef(shape if input.ndim else input.shape, input.dtype)
    picked = prim.gather(x, [_column(index, d, x.ndim)], along(d, x.ndim), shape)
    return reshaped(picked, shape if input.ndim else ()) if input.ndim or shape == [1] else picked


index_select.apart = True


@index_select.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if not shape:
        return grad.sum(), None
    return index_grad.function(grad, [ctx.index.reshape(-1)], (ctx.dim % len(shape),), tuple(shape)), None


def _slices(name: str, kind: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    _vector(name, index)
    d = dim_of(dim, input.ndim, name)
    if source.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): self ({input.dtype}) and source ({source.dtype}) must have the same scalar type")
    x, s = with_dimension(input), with_dimension(source) if source.ndim else source
    n = index.numel()
    wanted = [n if k == d else m for k, m in enumerate(x.shape)]
    if source.ndim == 0:
        if n != 1 and x.ndim == 1:
            raise RuntimeError(f"{name}(): Number of indices ({n}) should be equal to source.size(dim) (1)")
        s = reshaped(source, [1] * x.ndim)
    if list(s.shape) != wanted:
        if s.ndim == x.ndim and s.shape[d] != n:
            raise (IndexError if name == "index_copy" else RuntimeError)(
                f"{name}(): Number of indices ({n}) should be equal to source.size(dim): ({s.shape[d]}), for dim: {d}"
            )
        raise (RuntimeError if s.ndim == x.ndim or name != "index_copy" else IndexError)(
            f"{name}(): source shape {list(source.shape)} must match the indexed part of self, {wanted}"
        )
    if 0 in wanted:
        return input
    work = dtypes.uint8 if input.dtype is dtypes.bool_ and kind != "set" else input.dtype
    result = prim.scatter(kind, prim.cast(x, work), prim.cast(s, work), [_column(index, d, x.ndim)], along(d, x.ndim))
    return reshaped(prim.cast(result, input.dtype), input.shape)


@operator(inplace=True, index_error=RuntimeError)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Factor = 1) -> Tensor:
    """``input`` to which ``alpha`` times the slices of ``source`` are added at the indices along ``dim``."""
    return _slices("index_add", "add", input, dim, index, times(alpha, source))


index_add.disjoint = ("index", "source")


@index_add.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    found = None
    if ctx.needs("source"):
        found = grad.index_select(ctx.dim, ctx.index).reshape(ctx.shape("source"))
        found = found if ctx.alpha == 1 else found * ctx.alpha
    return grad, None, found


@operator(
    inplace=True,
    index_error=IndexError,
    synonyms={
        "source": (
            "tensor",
            "tensor2",
        )
    },
)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """``input`` with the slices of ``source`` at the indices along ``dim``."""
    return _slices("index_copy", "set", input, dim, index, source)


index_copy.linear = True


index_copy.disjoint = ("index", "source")


@index_copy.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    rest = grad.index_fill(ctx.dim, ctx.index, 0) if ctx.needs("input") else None
    return (
        rest,
        None,
        grad.index_select(ctx.dim, ctx.index).reshape(ctx.shape("source")) if ctx.needs("source") else None,
    )


@operator(strides="first", inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    """``input`` with ``value`` in the slices at the indices along ``dim``."""
    _vector("index_fill", index)
    if value.ndim:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    d = dim_of(dim, input.ndim, "index_fill")
    x = with_dimension(input)
    shape = [index.numel() if k == d else m for k, m in enumerate(x.shape)]
    if 0 in shape:
        return input
    if value.dtype.is_complex and not input.dtype.is_complex:
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    source = prim.wrap(prim.current().graph.expand(prim.read(prim.cast(value, input.dtype)), shape))
    where = wrapped(_column(index, d, x.ndim), x.shape[d])
    return reshaped(prim.scatter("set", x, source, [where], along(d, x.ndim)), input.shape)


@index_fill.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad.index_fill(ctx.dim, ctx.index, 0) if ctx.needs("input") else None,
        None,
        _filled(grad, ctx).sum() if ctx.needs("value") else None,
    )


def _filled(grad: Any, ctx: Any) -> Any:
    """``grad`` where ``index_fill`` wrote (once, however often an index is named), zero elsewhere."""
    written = create.zeros(grad.shape, dtype=dtypes.bool_).index_fill(ctx.dim, ctx.index, True)  # type: ignore[attr-defined]
    return grad.masked_fill(~written, 0)


@operator(kind="composite")
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``input`` combined with the slices of ``source`` at the indices along ``dim`` by "prod", "mean", "amax" or
    "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    _vector("index_reduce", index)
    d = dim_of(dim, input.ndim, "index_reduce")
    if input.ndim == 0:
        return combined(input.reshape(1), 0, index.reshape(-1), source.reshape(-1), reduce, include_self).reshape(())  # type: ignore[attr-defined]
    full = index.reshape([-1 if k == d else 1 for k in range(input.ndim)]).long().expand(source.shape)  # type: ignore[attr-defined]
    return combined(input, d, full, source, reduce, include_self)


def index_reduce_(
    self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``index_reduce`` in place."""
    return self.copy_(index_reduce.function(self.clone(), dim, index, source, reduce, include_self=include_self))  # type: ignore[attr-defined]


Tensor.index_reduce_ = index_reduce_  # type: ignore[attr-defined]
