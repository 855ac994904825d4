"""Where a mask holds: positions, and the elements there.

One kernel (``template/compress.py``) puts what is picked one behind the other in as much memory as there could be, and
counts it; so how much it is changes no plan.
"""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..dispatch.operator import operator
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from . import create
from .pad import constant_pad_nd

__all__ = ["nonzero", "picked", "positions"]


def _row(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """All elements in one row, side by side in memory."""
    g = prim.current().graph
    return prim.wrap(g.in_memory(g.reshape(g.expand(prim.read(t), shape), (1, math.prod(shape)))))


def _compressed(operands: list[Tensor], n: int, kind: dtypes.dtype) -> tuple[Tensor, Tensor]:
    g = prim.current().graph
    if not n:
        return prim.undef((0,), kind), prim.const(0, dtypes.int64, (1,))
    found, count = prim.extern(template.extern.Compress(), operands, [((1, n), kind), ((1,), dtypes.int64)])
    return prim.wrap(g.reshape(prim.read(found), (n,))), count


@operator(name="_picked", method=False, function=False, out=False)
def picked(input: Tensor, mask: Tensor) -> Any:
    """The elements where ``mask`` (bool; both are broadcast) holds, in order, in front of undefined ones (n,), and how
    many hold (1,)."""
    shape = broadcast_shapes(input.shape, mask.shape)
    rows = [_row(mask, shape), _row(input, shape)]
    return _compressed(rows, math.prod(shape), input.dtype)


@picked.gradient("mask")
def _(ctx, grad, grad_count):  # type: ignore[no-untyped-def]
    zeros = grad.new_zeros(broadcast_shapes(ctx.shape("input"), ctx.mask.shape))
    return masked_scatter_kernel.function(zeros, ctx.mask, grad) if grad.shape[0] else zeros, None


@operator(name="_places_of", method=False, function=False, differentiable=False)
def places(input: Tensor) -> Any:
    """The row-major positions of the elements that are not zero, in front of undefined ones (n,), and how many they are
    (1,)."""
    n = input.numel()
    flags = prim.wrap(prim.current().graph.cast(prim.read(input), "b1"))
    return _compressed([_row(flags, tuple(input.shape))], n, dtypes.int64)


@operator(name="_unravel", method=False, function=False, differentiable=False)
def unravel(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Row-major positions (n,) as indices (len(shape), n), a row for each dimension."""
    g = prim.current().graph
    n = input.shape[0]
    kind = "i32" if math.prod(shape) < 1 << 31 else "i64"
    rest = g.cast(prim.read(input), kind)
    found = g.undef((len(shape), n), "i64")
    for d in range(len(shape) - 1, -1, -1):
        size = g.const(max(shape[d], 1), kind)
        value = g.apply("imod", rest, size) if d else rest
        rest = g.apply("idiv", rest, size)
        found = g.update(found, g.reshape(g.cast(value, "i64"), (1, n)), ((d, ()), (0, ((1, 1),))))
    return prim.wrap(found)


def _counted(mask: Tensor) -> tuple[Any, int]:
    where, count = places.function(mask.detach())  # type: ignore[attr-defined]
    return where, int(count.item())


def positions(mask: Tensor) -> Tensor:
    """The row-major positions where a tensor is not zero (N,)."""
    if not mask.numel():
        return create.empty((0,), dtype=dtypes.int64, device=mask.device)
    where, count = _counted(mask)
    return where[:count].clone()  # type: ignore[no-any-return]


@operator(kind="composite", differentiable=False, method=False)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero: a row for each, in row-major order; with ``as_tuple`` a tensor for
    each dimension."""
    if input.ndim == 0 or input.ndim == 1 or not input.numel():
        found: Any = positions(input)
        if as_tuple:
            return (found,) * max(input.ndim, 1) if input.ndim < 2 else tuple(found.clone() for _ in input.shape)
        return found.unsqueeze(1) if input.ndim == 1 else found.new_empty((found.shape[0], input.ndim))
    where, count = _counted(input)
    # as many as the next power of two, so that there are few plans
    room = min(1 << (count - 1).bit_length(), input.numel()) if count else 0
    found = unravel.function(where[:room], tuple(input.shape))[:, :count]
    return tuple(row.clone() for row in found) if as_tuple else found.clone().t()


def _nonzero_method(self: Tensor, *, as_tuple: bool = False) -> Any:
    return nonzero.function(self, as_tuple=as_tuple)


_nonzero_method.__name__, _nonzero_method.__doc__ = "nonzero", nonzero.__doc__
Tensor.nonzero = _nonzero_method  # type: ignore[attr-defined]


@operator(kind="composite", differentiable=False)
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, a row for each."""
    return nonzero.function(input)  # type: ignore[no-any-return]


@operator(kind="composite", differentiable=False)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """``nonzero`` with exactly ``size`` rows: cut off, or filled with ``fill_value``."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    found = nonzero.function(input)[:size]
    if found.shape[0] == size:
        return found  # type: ignore[no-any-return]
    whole: Any = create.full((size, found.shape[1]), fill_value, dtype=dtypes.int64)
    whole[: found.shape[0]] = found
    return whole  # type: ignore[no-any-return]


@operator(kind="composite")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where ``mask`` (bool, broadcast with the input) holds, as one dimension."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    found, count = picked.function(input, mask)
    return found[: int(count.item())].clone()  # type: ignore[no-any-return]


masked_select.apart = True


@operator(name="_masked_scatter", inplace=True, method=False, function=False)
def masked_scatter_kernel(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """``input`` with the elements of ``source``, in order, where ``mask`` holds."""
    g = prim.current().graph
    shape = input.shape
    flags = g.expand(prim.read(mask), shape)
    n = input.numel()
    count = g.scan("add", g.cast(g.reshape(flags, (n,)), "i64"), 0)
    place = g.reshape(g.apply("sub", count, g.const(1, "i64")), shape)
    inside = g.apply("select", flags, place, g.const(0, "i64"))
    flat = g.reshape(prim.read(source), (source.numel(),))
    picked = g.gather(flat, [inside], [("i", 0)], shape)
    return prim.wrap(g.apply("select", flags, picked, prim.read(input)))


masked_scatter_kernel.spoken = "masked_scatter"


@masked_scatter_kernel.gradient("mask")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    mask = ctx.mask.expand(grad.shape)
    found = None
    if ctx.needs("source"):
        shape = ctx.shape("source")
        elements, count = picked.function(grad, mask)
        elements = elements.where(create.arange(elements.shape[0]) < count, 0)
        wanted, there = shape.numel(), elements.shape[0]
        found = elements[:wanted] if wanted <= there else constant_pad_nd.function(elements, (0, wanted - there))
        found = found.reshape(shape)
    return grad.masked_fill(mask, 0), None, found


def _check_masked_scatter(self: Tensor, mask: Tensor, source: Tensor, shape: Any) -> None:
    for name, t in (("mask", mask), ("source", source)):
        if not isinstance(t, Tensor):
            raise TypeError(f"masked_scatter_(): argument '{name}' must be Tensor, not {type(t).__name__}")
    if source.dtype is not self.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {self.dtype} and {source.dtype}"
        )
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    count = int(mask.expand(shape).sum().item()) if mask.numel() else 0  # type: ignore[attr-defined]
    if count > source.numel():
        raise RuntimeError(f"Number of elements of source < number of ones in mask: {source.numel()} < {count}")


@operator(kind="composite", method=True, synonyms={"source": ("tensor",)})
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """``input`` with the elements of ``source``, in order, where ``mask`` (bool, broadcast) holds."""
    shape = broadcast_shapes(input.shape, mask.shape)
    whole: Any = input.expand(shape) if input.shape != shape else input  # type: ignore[attr-defined]
    _check_masked_scatter(input, mask, source, shape)
    return masked_scatter_kernel.function(whole, mask, source) if source.numel() else whole.clone()


def masked_scatter_(self: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """``masked_scatter`` in place."""
    _check_masked_scatter(self, mask, source, self.shape)
    return masked_scatter_kernel.inplace(self, mask, source) if source.numel() else self  # type: ignore[misc]


Tensor.masked_scatter_ = masked_scatter_  # type: ignore[attr-defined]
