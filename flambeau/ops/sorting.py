"""Sorting and selecting by order.  NaN counts as greatest."""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..dispatch.operator import operator
from ..graph.node import identity_map
from ..tensor import Tensor
from ..transform.level import Wrapper
from . import return_types
from .common import dim_of
from .compare import where
from .reduce import select_backward, share_equally

__all__: list[str] = []


@operator(name="_sort", strides="first", method=False, function=False)
def sort_kernel(input: Tensor, dim: int, descending: bool, k: int) -> Any:
    """The first ``k`` elements along ``dim`` in stable order, and where they were."""
    if input.dtype.is_complex:
        raise RuntimeError(f"Sort does not support complex dtypes, got {input.dtype}")
    g = prim.current().graph
    if not input.ndim:
        return prim.wrap(prim.read(input)), prim.const(0, dtypes.int64)
    d = dim_of(dim, input.ndim, "sort")
    n = input.shape[d]
    if not 0 <= k <= n:
        raise RuntimeError(f"topk: selected index k out of range: k is {k}, dimension {d} has size {n}")
    order = [*(i for i in range(input.ndim) if i != d), d]
    moved = g.permute(prim.read(input), order)
    lead = moved.shape[:-1]
    if math.prod(moved.shape) == 0 or k == 0:
        shape = [k if i == d else m for i, m in enumerate(input.shape)]
        return prim.undef(shape, input.dtype), prim.undef(shape, dtypes.int64)
    rows = prim.wrap(g.in_memory(g.reshape(moved, (math.prod(lead), n))))
    found = prim.extern(
        template.extern.Sort(k, descending),
        [rows],
        [((math.prod(lead), k), input.dtype), ((math.prod(lead), k), dtypes.int64)],
    )
    back = [order.index(i) for i in range(input.ndim)]
    results = [g.permute(g.reshape(prim.read(t), (*lead, k)), back) for t in found]
    if not input._layout.contiguous:  # rows come out side by side; results lie as the operand does
        results = [g.apply("select", g.const(True, "b1"), n, n) for n in results]
    return tuple(map(prim.wrap, results))


@sort_kernel.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if not shape:
        return grad
    return grad.new_zeros(shape).scatter(ctx.dim, ctx.results[1], grad)


@operator(kind="composite", returns=return_types.sort)
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> Any:
    """The elements along ``dim`` in ascending (or descending) order, and where they were; equal ones keep their
    order."""
    n = input.shape[dim_of(dim, input.ndim, "sort")] if input.ndim else 1
    return return_types.sort(*sort_kernel.function(input, dim, bool(descending), n))


@operator(kind="composite")
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The positions that sort the elements along ``dim``; equal ones keep their order."""
    n = input.shape[dim_of(dim, input.ndim, "argsort")] if input.ndim else 1
    return sort_kernel.function(input.detach(), dim, bool(descending), n)[1]  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", returns=return_types.topk)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` greatest (or least) elements along ``dim``, in order, and where they were.  Raises RuntimeError for k
    out of range."""
    return return_types.topk(*sort_kernel.function(input, dim, bool(largest), int(k)))


@operator(kind="composite")
def msort(input: Tensor) -> Tensor:
    """The elements along the first dimension in ascending order."""
    return sort.function(input, 0)[0]  # type: ignore[no-any-return]


# -- one element by its rank -------------------------------------------------------------------------


@operator(kind="composite", returns=return_types.kthvalue)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The ``k``-th least element along ``dim`` (counted from 1) and where it is.  Raises RuntimeError for k out of
    range."""
    d = dim_of(dim, input.ndim, "kthvalue")
    n = input.shape[d] if input.ndim else 1
    if n == 0:
        raise IndexError(f"kthvalue(): Expected reduction dim {d} to have non-zero size.")
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}: {k}")
    return return_types.kthvalue(*_ranked(input, k, d, keepdim))


kthvalue.apart = True


@operator(name="_ranked", kind="composite", method=False, function=False)
def _ranked(input: Tensor, k: int, dim: int, keepdim: bool) -> Any:
    """The element of rank ``k`` along ``dim``, and where it is."""
    if not input.ndim:
        return input.clone(), input.new_zeros((), dtype=dtypes.int64)  # type: ignore[attr-defined]
    found = sort_kernel.function(input, dim, False, k)
    return tuple(t.narrow(dim, k - 1, 1).clone() if keepdim else t.select(dim, k - 1).clone() for t in found)


@_ranked.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    return select_backward(grad, ctx.dim, ctx.results[1], ctx.keepdim, ctx.shape("input"))


@operator(name="_median_dim", kind="composite", method=False, function=False)
def _median_dim(input: Tensor, dim: int, keepdim: bool, ignore: bool) -> Any:
    """The lower median along ``dim`` and where it is; NaN counts as the median where there is one, unless ignored."""
    n = input.shape[dim]
    values, places = sort_kernel.function(input, dim, False, n)
    middle = (n - 1) // 2
    if input.dtype.kind == "f":
        numbers = (input == input).sum(dim, keepdim=True)
        rank = (
            ((numbers - 1) // 2).clamp(min=0) if ignore else where.function(numbers < n, numbers, middle)
        )  # the first NaN stands behind the numbers
        found = tuple(t.gather(dim, rank) for t in (values, places))
    else:
        found = tuple(t.narrow(dim, middle, 1).clone() for t in (values, places))
    return found if keepdim else tuple(t.squeeze(dim) for t in found)


@_median_dim.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    return select_backward(grad, ctx.dim, ctx.results[1], ctx.keepdim, ctx.shape("input"))


@operator(name="_median_all", kind="composite", method=False, function=False)
def _median_all(input: Tensor, ignore: bool) -> Tensor:
    """The lower median of all elements."""
    return _median_dim.function(input.reshape(-1), 0, False, ignore)[0]  # type: ignore[attr-defined,no-any-return]


@_median_all.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return share_equally(grad, ctx.input, ctx.result, None, False)


def _median(name: str, ignore: bool, input: Tensor, dim: int | None, keepdim: bool) -> Any:
    if input.dtype.is_complex or input.dtype is dtypes.bool_:
        raise RuntimeError(f'"{name}_out_impl" not implemented for {input.dtype}')
    if dim is None:
        if input.numel() == 0:
            return input.new_full((), math.nan if input.dtype.kind == "f" else dtype_min(input.dtype))  # type: ignore[attr-defined]
        return _median_all.function(input, ignore)
    named = return_types.nanmedian if ignore else return_types.median
    d = dim_of(dim, input.ndim, name)
    if not input.ndim:
        return named(input.clone(), input.new_zeros((), dtype=dtypes.int64))  # type: ignore[attr-defined]
    if input.shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    return named(*_median_dim.function(input, d, keepdim, ignore))


def dtype_min(type_: dtypes.dtype) -> int:
    """The least number of an integer type."""
    return 0 if type_.kind in "bu" else -(1 << (8 * type_.itemsize - 1))


@operator(kind="composite", returns=return_types.median)
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median (the lower one of an even number): of all elements, or along ``dim`` with its position.  NaN if there
    is one."""
    return _median("median", False, input, dim, keepdim)


@operator(kind="composite", returns=return_types.nanmedian)
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are not NaN; see ``median``."""
    return _median("nanmedian", True, input, dim, keepdim)


@operator(name="_mode", kind="composite", method=False, function=False)
def _mode(input: Tensor, dim: int, keepdim: bool) -> Any:
    """The most frequent element along ``dim``, the least of several, and its last place."""
    n = input.shape[dim]
    values, places = sort_kernel.function(input, dim, False, n)
    last = mode_positions.function(values, dim)
    found = tuple(t.gather(dim, last) for t in (values, places))
    return found if keepdim else tuple(t.squeeze(dim) for t in found)


@_mode.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    return select_backward(grad, ctx.dim, ctx.results[1], ctx.keepdim, ctx.shape("input"))


@operator(name="_mode_positions", method=False, function=False, differentiable=False)
def mode_positions(sorted: Tensor, dim: int) -> Tensor:
    """The end of the longest run (the first of the longest) of equal elements along ``dim``."""
    index = prim.iota(sorted.shape, dim)
    start = prim.scan("max", prim.apply("select", _differs(sorted, dim), index, prim.const(0, dtypes.int64)), dim)
    return prim.argreduce("argmax", prim.apply("sub", index, start), (dim,))


def _differs(x: Tensor, dim: int) -> Tensor:
    """Whether an element differs from the one before it along ``dim``, while an operator is traced; the first does."""
    g, node = prim.current().graph, prim.read(x)
    shape = tuple(n - (d == dim) for d, n in enumerate(x.shape))
    first = g.const(True, "b1", x.shape)
    if x.shape[dim] < 2:
        return prim.wrap(first)
    before = g.move(node, identity_map(x.ndim), shape)
    behind = tuple((int(d == dim), ((d, 1),)) for d in range(x.ndim))
    return prim.wrap(g.update(first, g.apply("ne", g.move(node, behind, shape), before), behind))


@operator(kind="composite", returns=return_types.mode)
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along ``dim`` (the least of several) and one of its places."""
    d = dim_of(dim, input.ndim, "mode")
    if not input.ndim:
        return return_types.mode(input.clone(), input.new_zeros((), dtype=dtypes.int64))  # type: ignore[attr-defined]
    if input.shape[d] == 0:
        raise IndexError(f"mode(): Expected reduction dim {d} to have non-zero size.")
    return return_types.mode(*_mode(input, d, keepdim))


# -- quantiles ---------------------------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    name: str, ignore: bool, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str
) -> Tensor:
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if q.numel() and not isinstance(q, Wrapper) and not bool(((q >= 0) & (q <= 1)).all()):
            raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    else:
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = input.new_full((), q)  # type: ignore[attr-defined]
    d = None if dim is None else dim_of(dim, input.ndim, name)
    x = input.reshape(-1) if d is None or not input.ndim else input.movedim(d, -1)  # type: ignore[attr-defined]
    n = x.shape[-1]
    values = sort_kernel.function(x, -1, False, n)[0]
    numbers = (values == values).sum(-1, keepdim=True)
    rank = (
        q.reshape(-1) * (numbers - 1).to(q.dtype)
        if ignore
        else (q.reshape(-1) * (n - 1)).expand((*x.shape[:-1], q.numel()))
    )  # type: ignore[attr-defined]
    rank = rank.clamp(min=0) if ignore else where.function(numbers < n, float(n - 1), rank)  # NaN stands at the end
    if interpolation in ("lower", "higher", "nearest"):
        rank = {"lower": rank.floor, "higher": rank.ceil, "nearest": rank.round}[interpolation]()
    low = rank.detach().floor()
    found = values.gather(-1, low.long())
    if interpolation in ("linear", "midpoint"):
        weight = rank - low if interpolation == "linear" else (rank - low != 0).to(rank.dtype) * 0.5
        found = found.lerp(values.gather(-1, rank.ceil().long()), weight)
    if d is None or not input.ndim:
        shape = [1] * input.ndim if keepdim else []
        found = found.reshape([q.numel(), *shape])
    else:
        found = found.movedim(-1, 0)
        found = found.unsqueeze(d + 1) if keepdim else found
    return found if q.ndim else found.squeeze(0)  # type: ignore[no-any-return]


@operator(kind="composite")
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The quantiles ``q`` (a number, or a 1-dim tensor, which becomes the first dimension) along ``dim``, or of all
    elements.

    A rank ``q * (n - 1)`` between two elements is interpolated.  NaN if there is one.
    """
    return _quantile("quantile", False, input, q, dim, keepdim, interpolation)


@operator(kind="composite")
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The quantiles of the elements that are not NaN; see ``quantile``."""
    return _quantile("nanquantile", True, input, q, dim, keepdim, interpolation)
