"""Reductions: sums, products, extremes, means, norms of dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Operand, Operator, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from ..transform.level import recorded
from . import return_types
from .arithmetic import conj_of
from .common import dim_of, dims_of, drop_dims, unreduce
from .compare import maximum, minimum, where
from .join import cat

__all__: list[str] = []


def _reduced(kind: str, input: Tensor, dims: Sequence[int], keepdim: bool, work: dtype_) -> Tensor:
    """``input``, converted to ``work``, combined over ``dims``.

    An argument whose dimensions lie in memory in another order is seen in that order if the results are then the same
    ones in a row: loops go through its memory from end to end.
    """
    node, shape, g = prim.read(input), input.shape, prim.current().graph
    order = list(range(len(shape)))
    if node.op == "input":
        order.sort(key=lambda d: (-node.attrs[1][d], d))
    left = [d for d in order if d not in dims and shape[d] > 1]
    if order == sorted(order) or left != sorted(left):
        return drop_dims(prim.reduce(kind, prim.cast(input, work), dims), dims, keepdim)
    # A view of the argument, which may be another value where a recording of this is used.
    turn = tuple((0, ((order.index(d), 1),)) for d in range(len(shape)))
    seen = prim.move(input, turn, [shape[d] for d in order])
    total = prim.reduce(kind, prim.cast(seen, work), [k for k, d in enumerate(order) if d in dims])
    result = [1 if d in dims else n for d, n in enumerate(shape) if keepdim or d not in dims]
    return prim.wrap(g.reshape(prim.read(total), result))


def _addition(kind: dtype_) -> str:
    """How numbers of this type are added."""
    return "or" if kind is dtypes.bool_ else "add"


@operator(loose=("dtype",))
def sum(
    input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None
) -> Tensor:
    """The sum over ``dim`` (an int, several, or None for all dimensions).

    Integers and booleans are added as int64; ``dtype`` converts before adding (booleans of which one is true make
    true).
    """
    kind = dtype or (dtypes.int64 if input.dtype.kind in "bui" else input.dtype)
    dims = dims_of(dim, input.ndim, "sum")
    return _reduced(_addition(kind), input, dims, keepdim, kind)


@sum.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return unreduce(grad, ctx.dim, ctx.keepdim, ctx.shape("input"))


def _count(shape: Sequence[int], dims: Sequence[int]) -> int:
    return math.prod(shape[d] for d in dims)


@operator(returns=None)
def mean(
    input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None
) -> Tensor:
    """The mean over ``dim`` (all dimensions for None) of floating-point or complex elements; NaN of nothing.

    Raises RuntimeError for integers unless ``dtype`` makes them floating-point.
    """
    kind = dtype or input.dtype
    if kind.kind not in "fc":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point "
            f"or complex dtype. Got: {input.dtype}"
        )
    dims = dims_of(dim, input.ndim, "mean")
    work = kind.wide
    total = _reduced("add", input, dims, keepdim, work)
    count = prim.size(_count(input.shape, dims), work.to_real())
    return prim.cast(prim.apply("div", total, prim.cast(count, work)), kind)


@mean.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    count = _count(shape, dims_of(ctx.dim, len(shape)))
    return unreduce(prim.share(grad, count) if count else grad, ctx.dim, ctx.keepdim, shape)


def _extreme(name: str, kind: str) -> Operator:
    def body(input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
        if input.dtype.is_complex:
            raise RuntimeError(f'"{name}" not implemented for {input.dtype}: complex numbers have no order')
        dims = dims_of(dim, input.ndim, name)
        _refuse_empty(name, input, dims)
        return _reduced(kind, input, dims, keepdim, input.dtype)

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = (
        f"The {'greatest' if kind == 'max' else 'least'} element over ``dim`` (all dimensions "
        "for an empty tuple); NaN if there is one."
    )
    op = operator()(body)

    @op.gradient("input", "result")
    def _(ctx, grad):  # type: ignore[no-untyped-def]
        return share_equally(grad, ctx.input, ctx.result, ctx.dim, ctx.keepdim) if ctx.shape("input") else grad

    return op


def share_equally(grad: Tensor, input: Tensor, result: Tensor, dim: Any, keepdim: bool) -> Tensor:
    """The gradient of an extreme, in equal parts for the elements that have it."""
    hit = input == unreduce(result, dim, keepdim, input.shape)
    if input.dtype.kind == "f":
        hit = hit | input.isnan()  # type: ignore[attr-defined]
    spread = unreduce(grad, dim, keepdim, input.shape)
    return spread * hit / hit.sum(dims_of(dim, input.ndim), keepdim=True)  # type: ignore[attr-defined,no-any-return]


def _refuse_empty(name: str, input: Tensor, dims: Sequence[int]) -> None:
    """An extreme of nothing does not exist (IndexError)."""
    if input.numel() == 0 and any(input.shape[d] == 0 for d in dims):
        if len(dims) == input.ndim:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
                "the reduction dim with the 'dim' argument."
            )
        raise IndexError(
            f"{name}(): Expected reduction dim {next(d for d in dims if input.shape[d] == 0)} to have non-zero size."
        )


amax, amin = _extreme("amax", "max"), _extreme("amin", "min")


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
    body.__doc__ = (
        f"The position of the {'greatest' if name == 'argmax' else 'least'} element (the first "
        "of equals; NaN counts as it) along ``dim``, or in the flattened tensor."
    )
    operator(differentiable=False)(body)


_position("argmax")
_position("argmin")


def _truth(name: str, kind: str) -> None:
    def body(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        dims = dims_of(dim, input.ndim, name)
        found = _reduced(kind, input, dims, keepdim, dtypes.bool_)
        return prim.cast(found, dtypes.uint8) if input.dtype is dtypes.uint8 else found

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"Whether {name} elements over ``dim`` (all dimensions for None) are not zero."
    operator(differentiable=False)(body)


_truth("any", "or")
_truth("all", "and")


# -- products ----------------------------------------------------------------------------------------


@operator(name="_prod", method=False, function=False)
def prod_kernel(input: Tensor, dim: int | None, keepdim: bool, dtype: dtype_ | None) -> Tensor:
    """The product over one dimension, or over all."""
    kind = dtype or (dtypes.int64 if input.dtype.kind in "bui" else input.dtype)
    dims = dims_of(dim, input.ndim, "prod")
    return drop_dims(prim.reduce("mul", prim.cast(input, kind), dims), dims, keepdim)


@prod_kernel.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if not shape:
        return grad
    g = unreduce(grad, ctx.dim, ctx.keepdim, shape)
    if not recorded():
        return prod_backward.function(g, ctx.input, unreduce(ctx.result, ctx.dim, ctx.keepdim, shape), ctx.dim)
    x = ctx.input.to(grad.dtype)
    if ctx.dim is None:
        x, d = x.reshape(-1), 0
    else:
        d = dim_of(ctx.dim, len(shape))
    n = x.shape[d]
    if n == 0:
        return g
    one = x.narrow(d, 0, 1) * 0 + 1
    before = cat([one, x.narrow(d, 0, n - 1)], d).cumprod(d)
    after = cat([one, x.flip(d).narrow(d, 0, n - 1)], d).cumprod(d).flip(d)
    return g * conj_of(before * after).reshape(shape)


@operator(name="_prod_backward", method=False, function=False, differentiable=False)
def prod_backward(grad: Tensor, input: Tensor, product: Tensor, dim: int | None) -> Tensor:
    """``grad`` times the product of the other elements, right where some are zero."""
    dims = dims_of(dim, input.ndim)
    x = prim.cast(input, grad.dtype)
    zero, one = prim.const(0, x.dtype), prim.const(1, x.dtype)
    is_zero = prim.apply("eq", x, zero)
    safe = prim.apply("select", is_zero, one, x)
    rest = prim.reduce("mul", safe, dims)
    zeros = prim.reduce("add", prim.cast(is_zero, dtypes.int64), dims)
    one_zero = prim.apply("and", prim.apply("eq", zeros, prim.const(1, dtypes.int64)), is_zero)
    none = prim.apply("eq", zeros, prim.const(0, dtypes.int64))
    others = prim.apply(
        "select", none, prim.apply("div", prim.cast(product, x.dtype), safe), prim.apply("select", one_zero, rest, zero)
    )
    return grad * conj_of(others)  # type: ignore[no-any-return]


@operator(kind="composite", loose=("dtype",))
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None) -> Tensor:
    """The product over ``dim`` (of all elements for None); 1 of nothing.  Integers and booleans are multiplied as
    int64."""
    if dim is not None:
        dim_of(dim, input.ndim, "prod")
    return prod_kernel.function(input, dim, keepdim, dtype)  # type: ignore[no-any-return]


# -- without NaN -------------------------------------------------------------------------------------


@operator(loose=("dtype",))
def nansum(
    input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None
) -> Tensor:
    """The sum over ``dim`` of the elements that are not NaN."""
    if input.dtype.is_complex:
        raise RuntimeError("nansum does not support complex inputs")
    kind = dtype or (dtypes.int64 if input.dtype.kind in "bui" else input.dtype)
    dims = dims_of(dim, input.ndim, "nansum")
    x = input
    if x.dtype.kind == "f":
        x = prim.apply("select", prim.apply("isnan", x), prim.const(0, x.dtype), x)
    return drop_dims(prim.reduce(_addition(kind), prim.cast(x, kind), dims), dims, keepdim)


@nansum.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x = ctx.input
    spread = unreduce(grad, ctx.dim, ctx.keepdim, x.shape)
    return spread.masked_fill(x.isnan(), 0) if x.dtype.kind == "f" else spread


@operator(kind="composite")
def nanmean(
    input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: dtype_ | None = None
) -> Tensor:
    """The mean over ``dim`` of the elements that are not NaN; NaN where there are none."""
    if input.dtype.kind not in "fc":
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype}")
    count = (input == input).sum(dim, keepdim)
    if input.dtype.is_complex:
        return where(input == input, input, 0).sum(dim, keepdim, dtype=dtype) / count  # type: ignore[no-any-return]
    return nansum.function(input, dim, keepdim, dtype=dtype) / count  # type: ignore[no-any-return]


@operator(differentiable=False, out=False)
def count_nonzero(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """How many elements over ``dim`` (all dimensions for None) are not zero, int64."""
    dims = dims_of(dim, input.ndim, "count_nonzero")
    found = prim.cast(prim.cast(input, dtypes.bool_), dtypes.int64)
    return drop_dims(prim.reduce("add", found, dims), dims, False)


# -- logsumexp ---------------------------------------------------------------------------------------


@operator()
def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over ``dim``, computed without overflow; integers become the default floating type."""
    dims = dims_of(dim, input.ndim, "logsumexp")
    kind = input.dtype if input.dtype.kind in "fc" else dtypes.get_default_dtype()
    work = dtypes.float32 if kind.itemsize < 4 else kind
    x = prim.cast(input, work)
    if any(input.shape[d] == 0 for d in dims):
        return drop_dims(prim.cast(prim.apply("log", prim.reduce("add", x, dims)), kind), dims, keepdim)
    real = prim.part("real", x) if work.is_complex else x
    top = prim.reduce("max", real, dims)
    finite = prim.apply("lt", prim.apply("abs", top), prim.const(math.inf, top.dtype))
    top = prim.apply(
        "select", finite, top, prim.const(0, top.dtype)
    )  # infinities must not be subtracted from each other
    if work.is_complex:
        top = prim.join(top, prim.const(0, top.dtype, top.shape))
    total = prim.reduce("add", prim.apply("exp", prim.apply("sub", x, top)), dims)
    return drop_dims(prim.cast(prim.apply("add", prim.apply("log", total), top), kind), dims, keepdim)


@logsumexp.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    result = unreduce(ctx.result, ctx.dim, ctx.keepdim, shape)
    x = ctx.input
    share = (x - result).exp()
    if x.dtype.kind == "f":  # where all are -inf, and where one is +inf
        share = share.masked_fill((x == result) & x.isinf(), 1.0)
        share = share.masked_fill((x == -math.inf), 0.0) if x.numel() else share
    return unreduce(grad, ctx.dim, ctx.keepdim, shape) * conj_of(share)


# -- extremes with their places ----------------------------------------------------------------------


@operator(name="_extreme_dim", method=False, function=False)
def extreme_kernel(input: Tensor, dim: int, keepdim: bool, kind: str) -> Any:
    """The extreme along ``dim`` and where it is (the first of equals; NaN counts as extreme)."""
    if input.dtype.is_complex:
        raise RuntimeError(f"{kind}(): not implemented for {input.dtype}: complex numbers have no order")
    d = dim_of(dim, input.ndim, kind)
    if not input.ndim:
        return prim.wrap(prim.read(input)), prim.const(0, dtypes.int64)
    if input.shape[d] == 0:
        raise IndexError(f"{kind}(): Expected reduction dim {d} to have non-zero size.")
    order = prim.cast(input, dtypes.uint8) if input.dtype is dtypes.bool_ else input
    value = prim.cast(prim.reduce(kind, order, (d,)), input.dtype)
    return drop_dims(value, (d,), keepdim), drop_dims(prim.argreduce("arg" + kind, order, (d,)), (d,), keepdim)


@extreme_kernel.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    return select_backward(grad, ctx.dim, ctx.results[1], ctx.keepdim, ctx.shape("input"))


def select_backward(grad: Tensor, dim: int, index: Tensor, keepdim: bool, shape: Sequence[int]) -> Tensor:
    """The gradient of picking one element along ``dim``."""
    if not shape:
        return grad
    if not keepdim:
        grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)  # type: ignore[attr-defined]
    return grad.new_zeros(shape).scatter(dim, index, grad)  # type: ignore[attr-defined,no-any-return]


def _extreme_of(kind: str, input: Tensor, dim: Any, keepdim: bool, other: Tensor | None) -> Any:
    if isinstance(dim, Tensor) or other is not None:
        return (maximum if kind == "max" else minimum).function(input, dim if other is None else other)
    if dim is None:
        if input.dtype.is_complex:
            raise RuntimeError(f"{kind}(): not implemented for {input.dtype}: complex numbers have no order")
        if input.numel() == 0:
            raise RuntimeError(
                f"{kind}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
                "the reduction dim with the 'dim' argument."
            )
        return (amax if kind == "max" else amin).function(input, (), False)
    named = return_types.max if kind == "max" else return_types.min
    return named(*extreme_kernel.function(input, dim, keepdim, kind))


@operator(
    kind="composite", returns=return_types.max,
    overloads=(
        "max(input, *, out=None)", "max(input, dim=None, keepdim=False, *, out=None)", "max(input, other, *, out=None)",
    ),
)  # fmt: skip
def max(input: Tensor, dim: Operand | None = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The greatest element; with ``dim``, the greatest along it and their positions; with a tensor, ``maximum``.  NaN
    counts as greatest."""
    return _extreme_of("max", input, dim, keepdim, other)


@operator(
    kind="composite", returns=return_types.min,
    overloads=(
        "min(input, *, out=None)", "min(input, dim=None, keepdim=False, *, out=None)", "min(input, other, *, out=None)",
    ),
)  # fmt: skip
def min(input: Tensor, dim: Operand | None = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """The least element; with ``dim``, the least along it and their positions; with a tensor, ``minimum``.  NaN counts
    as least."""
    return _extreme_of("min", input, dim, keepdim, other)


@operator(name="_aminmax", method=False, function=False)
def aminmax_kernel(input: Tensor, dim: int | None, keepdim: bool) -> Any:
    """Both extremes, in one pass."""
    dims = dims_of(dim, input.ndim, "aminmax")
    _refuse_empty("aminmax", input, dims)
    x = prim.cast(input, dtypes.uint8) if input.dtype is dtypes.bool_ else input
    return tuple(drop_dims(prim.cast(prim.reduce(k, x, dims), input.dtype), dims, keepdim) for k in ("min", "max"))


@aminmax_kernel.gradient("input", "result0", "result1")
def _(ctx, grad_min, grad_max):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    total = None
    for grad, result in zip((grad_min, grad_max), ctx.results):
        if grad is not None:
            part = share_equally(grad, ctx.input, result, ctx.dim, ctx.keepdim) if shape else grad
            total = part if total is None else total + part
    return total


@operator(kind="composite", returns=return_types.aminmax)
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The least and the greatest element along ``dim`` (of all for None)."""
    if input.dtype.is_complex:
        raise RuntimeError(f"aminmax(): not implemented for {input.dtype}")
    return return_types.aminmax(*aminmax_kernel.function(input, dim, keepdim))


aminmax.apart = True  # ``out`` must have the type of the results
