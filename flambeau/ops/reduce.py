"""Reductions: sums, products, extremes, means, norms of dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import dtype as dtypes
from .. import primitives as prim
from ..dtype import dtype as dtype_
from ..operator import operator
from ..tensor import Tensor
from .common import dims_of, drop_dims, unreduce

__all__: list[str] = []


@operator()
def sum(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None) -> Tensor:
    """The sum over ``dim`` (an int, several, or None for all dimensions).

    Integers and booleans are added as int64; ``dtype`` converts before adding.
    """
    kind = dtype or (dtypes.int64 if input.dtype.kind in "bui" else input.dtype)
    dims = dims_of(dim, input.ndim, "sum")
    return drop_dims(prim.reduce("add", prim.cast(input, kind), dims), dims, keepdim)


@sum.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return unreduce(grad, ctx.dim, ctx.keepdim, ctx.shape("input"))


def _count(shape: Sequence[int], dims: Sequence[int]) -> int:
    return math.prod(shape[d] for d in dims)


@operator(returns=None)
def mean(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None) -> Tensor:
    """The mean over ``dim`` (all dimensions for None) of floating-point or complex elements; NaN of nothing.

    Raises RuntimeError for integers unless ``dtype`` makes them floating-point.
    """
    kind = dtype or input.dtype
    if kind.kind not in "fc":
        raise RuntimeError(
            f"mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {input.dtype}"
        )
    dims = dims_of(dim, input.ndim, "mean")
    work = dtypes.float32 if kind in (dtypes.bfloat16, dtypes.float16) else kind
    total = prim.reduce("add", prim.cast(input, work), dims)
    count = prim.const(_count(input.shape, dims), work)
    return drop_dims(prim.cast(prim.apply("div", total, count), kind), dims, keepdim)


@mean.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    count = _count(shape, dims_of(ctx.dim, len(shape)))
    return unreduce(grad / count if count else grad, ctx.dim, ctx.keepdim, shape)


def _extreme(name: str, kind: str) -> None:
    def body(input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
        if input.dtype.is_complex:
            raise RuntimeError(f'"{name}" not implemented for {input.dtype}: complex numbers have no order')
        dims = dims_of(dim, input.ndim, name)
        _refuse_empty(name, input, dims)
        return drop_dims(prim.reduce(kind, input, dims), dims, keepdim)

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"The {'greatest' if kind == 'max' else 'least'} element over ``dim`` (all dimensions for an empty tuple); NaN if there is one."
    op = operator()(body)

    @op.gradient("input", "result")
    def _(ctx, grad):  # type: ignore[no-untyped-def]
        shape = ctx.shape("input")
        dims = dims_of(ctx.dim, len(shape))
        best = unreduce(ctx.result, ctx.dim, ctx.keepdim, shape)
        hit = ctx.input == best
        return unreduce(grad, ctx.dim, ctx.keepdim, shape) * hit / hit.sum(dims, keepdim=True) if shape else grad


def _refuse_empty(name: str, input: Tensor, dims: Sequence[int]) -> None:
    """An extreme of nothing does not exist (IndexError)."""
    if input.numel() == 0 and any(input.shape[d] == 0 for d in dims):
        if len(dims) == input.ndim:
            raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument.")
        raise IndexError(f"{name}(): Expected reduction dim {next(d for d in dims if input.shape[d] == 0)} to have non-zero size.")


_extreme("amax", "max")
_extreme("amin", "min")


def _position(name: str) -> None:
    def body(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        if input.dtype.is_complex or input.dtype is dtypes.bool_:
            raise RuntimeError(f'"{name}" not implemented for {input.dtype}')
        dims = dims_of(dim, input.ndim, name)
        _refuse_empty(name, input, dims)
        if not input.ndim:
            return prim.const(0, dtypes.int64)
        return drop_dims(prim.argreduce(name, input, dims), dims, keepdim)

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"The position of the {'greatest' if name == 'argmax' else 'least'} element (the first of equals; NaN counts as it) along ``dim``, or in the flattened tensor."
    operator(differentiable=False)(body)


_position("argmax")
_position("argmin")


def _truth(name: str, kind: str) -> None:
    def body(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        dims = dims_of(dim, input.ndim, name)
        found = drop_dims(prim.reduce(kind, prim.cast(input, dtypes.bool_), dims), dims, keepdim)
        return prim.cast(found, dtypes.uint8) if input.dtype is dtypes.uint8 else found

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"Whether {name} elements over ``dim`` (all dimensions for None) are not zero."
    operator(differentiable=False)(body)


_truth("any", "or")
_truth("all", "and")


@operator(name="_var_mean", method=False, function=False)
def var_mean_kernel(input: Tensor, dim: int | Sequence[int] | None, correction: float, keepdim: bool) -> Tensor:
    """Variance and mean over ``dim``, in two passes over each row."""
    dims = dims_of(dim, input.ndim, "var")
    kind = input.dtype
    work = dtypes.float32 if kind in (dtypes.bfloat16, dtypes.float16) else kind
    x = prim.cast(input, work)
    count = _count(input.shape, dims)
    real = work.to_real()
    center = prim.apply("div", prim.reduce("add", x, dims), prim.const(count, work))
    off = prim.apply("sub", x, center)
    if work.is_complex:
        re, im = prim.part("real", off), prim.part("imag", off)
        square = prim.apply("add", prim.apply("mul", re, re), prim.apply("mul", im, im))
    else:
        square = prim.apply("mul", off, off)
    spread = prim.apply("div", prim.reduce("add", square, dims), prim.const(max(0, count - correction), real))
    return tuple(drop_dims(prim.cast(t, k), dims, keepdim) for t, k in ((spread, kind.to_real()), (center, kind)))  # type: ignore[return-value]


@var_mean_kernel.gradient("input")
def _(ctx, grad_var, grad_mean):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    count = _count(shape, dims_of(ctx.dim, len(shape)))
    total = None
    if grad_var is not None:
        off = ctx.input - ctx.input.mean(dims_of(ctx.dim, len(shape)), True) if shape else ctx.input * 0
        total = unreduce(grad_var * (2.0 / _inf_if_zero(count - ctx.correction)), ctx.dim, ctx.keepdim, shape) * off
    if grad_mean is not None:
        part = unreduce(grad_mean / count, ctx.dim, ctx.keepdim, shape)
        total = part if total is None else total + part
    return total


def _inf_if_zero(n: float) -> float:
    return n if n > 0 else math.nan
