"""Writing at computed places along one dimension, and combining with what is there: scatter and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Operand, operator
from ..tensor import Tensor
from . import create
from .common import dim_of
from .gather import along, fits, need_integers, reshaped, with_dimension

__all__: list[str] = []

_REDUCE = {"add": "add", "multiply": "mul"}


def _scattered(name: str, kind: str, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    need_integers(index, name)
    d = dim_of(dim, input.ndim, name)
    fits(name, input, index, d)
    if 0 in index.shape:
        return input
    x, i = with_dimension(input), with_dimension(index)
    s = with_dimension(src) if src.ndim or not index.ndim else src
    if src.ndim:
        for k, n in enumerate(i.shape):
            if s.ndim != i.ndim or n > s.shape[k]:
                raise RuntimeError(
                    f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)} "
                    f"(and self {list(input.shape)} apart from dimension {dim})"
                )
        if s.shape != i.shape:
            s = prim.move(s, tuple((0, ((k, 1),)) for k in range(s.ndim)), i.shape)
    else:
        s = prim.wrap(prim.current().graph.expand(prim.read(src), i.shape))
    work = dtypes.uint8 if input.dtype is dtypes.bool_ and kind != "set" else input.dtype
    result = prim.scatter(kind, prim.cast(x, work), prim.cast(prim.cast(s, input.dtype), work), [i], along(d, x.ndim))
    return reshaped(prim.cast(result, input.dtype), input.shape)


@operator(name="_scatter_src", inplace=True, method=False, function=False, index_error=RuntimeError)
def scatter_src(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with the elements of ``src`` at the indices."""
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    return _scattered("scatter", "set", input, dim, index, src)


scatter_src.disjoint = ("index", "src")


scatter_src.spoken = "scatter"


scatter_src.linear = True  # where indices repeat, the gradient is not the transpose (nor is PyTorch's)


@scatter_src.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        scatter_value.function(grad, ctx.dim, ctx.index, 0),
        None,
        _sliced(grad.gather(ctx.dim, ctx.index), ctx.shape("src")),
    )


def _sliced(grad: Tensor, shape: Sequence[int]) -> Tensor:
    """The gradient of ``src[: n0, : n1...]``."""
    if grad.shape == tuple(shape):
        return grad
    zeros: Any = grad.new_zeros(shape)  # type: ignore[attr-defined]
    return zeros.index_put((*[
        create.arange(n).reshape([-1 if k == d else 1 for k in range(len(shape))]) for d, n in enumerate(grad.shape)  # type: ignore[attr-defined]
    ],), grad)  # fmt: skip


@operator(name="_scatter_value", inplace=True, method=False, function=False, index_error=RuntimeError)
def scatter_value(input: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    """``input`` with ``value`` at the indices."""
    return _scattered("scatter", "set", input, dim, index, value)


scatter_value.spoken = "scatter"


@scatter_value.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        scatter_value.function(grad, ctx.dim, ctx.index, 0),
        None,
        grad.gather(ctx.dim, ctx.index).sum() if ctx.needs("value") else None,
    )


@operator(
    name="_scatter_combine", inplace=True, method=False, function=False, index_error=RuntimeError, differentiable=False
)
def scatter_combine(input: Tensor, dim: int, index: Tensor, src: Operand, kind: str) -> Tensor:
    """``input`` combined with ``src`` at the indices."""
    return _scattered("scatter", kind, input, dim, index, src)


scatter_combine.spoken = "scatter"


@operator(inplace=True, index_error=RuntimeError)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` to which the elements of ``src`` are added at the indices along ``dim``, one after the other."""
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter_add(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    return _scattered("scatter_add", "add", input, dim, index, src)


scatter_add.disjoint = ("index", "src")


@scatter_add.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, None, _sliced(grad.gather(ctx.dim, ctx.index), ctx.shape("src")) if ctx.needs("src") else None


def _scatter(inplace: bool, self: Tensor, dim: int, index: Tensor, src: Any, value: Any, reduce: str | None) -> Tensor:
    given = src if src is not None else value
    rest: tuple[str, ...] = ()
    if given is None:
        raise TypeError("scatter(): src or value is required")
    if reduce is not None:
        if reduce not in _REDUCE:
            raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce}")
        op, rest = scatter_combine, (_REDUCE[reduce],)
    elif isinstance(given, Tensor) and (given.ndim or not self.ndim):
        op = scatter_src
    else:
        op = scatter_value
    return (op.inplace if inplace else op.function)(self, dim, index, given, *rest)  # type: ignore[misc]


@operator(kind="composite", method=False)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy of ``input`` with the elements of ``src`` (or a number) at the indices along ``dim``; of several for one
    place the last stays.  ``reduce`` "add" or "multiply" combines instead."""
    return _scatter(False, input, dim, index, src, value, reduce)


def _scatter_method(
    self: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    return scatter.function(self, dim, index, src, value=value, reduce=reduce)


@call_forms("scatter_(dim, index, src, *, reduce=None)", "scatter_(dim, index, value, *, reduce=None)")
def _scatter_inplace(
    self: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """``scatter`` in place."""
    return _scatter(True, self, dim, index, src, value, reduce)


_scatter_method.__name__, _scatter_inplace.__name__ = "scatter", "scatter_"


_scatter_method.__doc__ = scatter.__doc__


Tensor.scatter, Tensor.scatter_ = _scatter_method, _scatter_inplace  # type: ignore[attr-defined]


_KINDS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}


_IDENTITY = {"sum": 0, "prod": 1}


def _extreme(kind: str, type_: Any) -> Any:
    """What leaves every element as it is under max or min."""
    if type_.kind == "f":
        return float("-inf") if kind == "amax" else float("inf")
    if type_ is dtypes.bool_:
        return kind == "amin"
    bits = 8 * type_.itemsize
    if type_.kind == "u":
        return 0 if kind == "amax" else (1 << bits) - 1
    return -(1 << (bits - 1)) if kind == "amax" else (1 << (bits - 1)) - 1


@operator(kind="composite")
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``input`` combined with ``src`` at the indices along ``dim`` by "sum", "prod", "mean", "amax" or "amin"; without
    ``include_self`` the elements that get something do not count themselves."""
    if reduce not in (*_KINDS, "mean"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    return combined(input, dim, index, src, reduce, include_self)


def combined(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    base: Any = input
    kind = "sum" if reduce == "mean" else reduce
    if not include_self:
        base = scatter_value.function(
            input, dim, index, _IDENTITY[kind] if kind in _IDENTITY else _extreme(kind, input.dtype)
        )
    if kind == "sum":
        total = base.scatter_add(dim, index, src)
    else:
        total = scatter_extreme.function(base, dim, index, src, kind)
    if reduce != "mean":
        return total
    ones: Any = create.ones_like(src, dtype=dtypes.int64)
    count = (
        create.zeros(input.shape, dtype=dtypes.int64)
        if not include_self
        else create.ones(input.shape, dtype=dtypes.int64)
    )
    count = scatter_add.function(count, dim, index, ones).clamp(min=1)
    return total / count if input.dtype.kind in "fc" else total.div(count.to(total.dtype), rounding_mode="floor")


@operator(name="_scatter_extreme", method=False, function=False, index_error=RuntimeError)
def scatter_extreme(input: Tensor, dim: int, index: Tensor, src: Tensor, kind: str) -> Tensor:
    """``input`` combined with ``src`` at the indices by "prod", "amax" or "amin"."""
    return _scattered("scatter_reduce", _KINDS[kind], input, dim, index, src)


@scatter_extreme.gradient("input", "index", "src", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    index, dim = ctx.index, ctx.dim
    if ctx.kind == "prod":
        return _prod_grad(ctx, grad)
    same_self = ctx.input == ctx.result
    here = _top(ctx.src, index)
    same_src = (here == ctx.result.gather(dim, index)).to(grad.dtype)
    count = same_self.to(grad.dtype).scatter_add(dim, index, same_src).clamp(min=1)
    share = grad / count
    return share * same_self, None, _sliced(share.gather(dim, index) * same_src, ctx.shape("src"))


def _top(src: Any, index: Tensor) -> Any:
    """The part of ``src`` that belongs to an index."""
    for d, n in enumerate(index.shape):
        if src.shape[d] != n:
            src = src.narrow(d, 0, n)
    return src


def _prod_grad(ctx: Any, grad: Any) -> Any:
    """The product without one factor: the factors that are not zero by division, times those that are, of which the
    first two count: what is left without them is zero, and so is its derivative."""
    x, index, dim = ctx.input, ctx.index, ctx.dim
    src = _top(ctx.src, index)
    zero_x, zero_s = x == 0, src == 0
    zeros = zero_x.to(dtypes.int64).scatter_add(dim, index, zero_s.to(dtypes.int64))
    lost = x.where(zero_x, 0).scatter_add(dim, index, src.where(zero_s, 0))  # the zeros' sum, to be differentiated
    rest = scatter_extreme.function(x.masked_fill(zero_x, 1), dim, index, src.masked_fill(zero_s, 1), "prod")

    def share(value: Any, is_zero: Any, product: Any, count: Any, lost: Any) -> Any:
        others = count - is_zero.to(count.dtype)  # zeros beside this factor
        zero = (lost - value.where(is_zero, 0)).where(others == 1, (others == 0).to(value.dtype))
        return product / value.masked_fill(is_zero, 1) * zero

    gx = grad * share(x, zero_x, rest, zeros, lost)
    gs = grad.gather(dim, index) * share(src, zero_s, *(t.gather(dim, index) for t in (rest, zeros, lost)))
    return gx, None, _sliced(gs, ctx.shape("src"))


def scatter_reduce_(
    self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``scatter_reduce`` in place."""
    return self.copy_(scatter_reduce.function(self.clone(), dim, index, src, reduce, include_self=include_self))  # type: ignore[attr-defined]


Tensor.scatter_reduce_ = scatter_reduce_  # type: ignore[attr-defined]
