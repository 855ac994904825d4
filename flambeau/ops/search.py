"""Finding elements: in sorted sequences, in sets, in bins; distinct elements and how often they occur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..layout import Size
from ..tensor import Tensor
from . import create, return_types
from .common import dim_of, overridable
from .compare import where
from .masks import positions
from .sorting import _differs, sort_kernel

__all__ = ["histogramdd"]


# -- sorted sequences --------------------------------------------------------------------------------


@operator(name="_searchsorted", method=False, function=False, differentiable=False)
def search_kernel(sequence: Tensor, values: Tensor, sorter: Tensor | None, right: bool, narrow: bool) -> Tensor:
    """The number of elements of each sorted row below (``right``: not above) each value, by bisection."""
    n = sequence.shape[-1]
    lead = [] if sequence.ndim == 1 else [("d", d) for d in range(sequence.ndim - 1)]
    kind = dtypes.int64

    def number(k: int) -> Tensor:
        return prim.const(k, kind)

    found = prim.const(0, kind, values.shape)
    step = 1 << max(n.bit_length() - 1, 0)
    while step and n:
        ahead = prim.apply("add", found, number(step))
        place = prim.apply("sub", prim.apply("min", ahead, number(n)), number(1))
        if sorter is not None:
            place = prim.gather(sorter, [place], [*lead, ("i", 0)], values.shape)
        element = prim.gather(sequence, [place], [*lead, ("i", 0)], values.shape)
        above = prim.apply("gt" if right else "ge", element, values)
        taken = prim.apply("and", prim.apply("le", ahead, number(n)), prim.apply("not", above))
        found = prim.apply("select", taken, ahead, found)
        step >>= 1
    return prim.cast(found, dtypes.int32) if narrow else found


def _search(name: str, sequence: Tensor, values: Any, out_int32: bool, right: bool, sorter: Tensor | None) -> Tensor:
    if not isinstance(values, Tensor):
        values = sequence.new_full((), values)  # type: ignore[attr-defined]
    if sequence.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError(f"{name}(): complex numbers have no order")
    if values.dtype is not sequence.dtype:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same "
            f"dtype, but got boundary tensor dtype {sequence.dtype} "
            f"and input value tensor dtype {values.dtype}"
        )
    if not sequence.ndim:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if sequence.ndim > 1 and (sequence.ndim != values.ndim or sequence.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, "
            f"but we got boundaries tensor {list(sequence.shape)} and input value tensor {list(values.shape)}"
        )
    if sorter is not None:
        if sorter.shape != sequence.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                f"boundary tensor {list(sequence.shape)} and got sorter tensor "
                f"{list(sorter.shape)}"
            )
        if sorter.dtype is not dtypes.int64:
            raise RuntimeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter.dtype}"
            )
        if sorter.numel() and (int(sorter.min()) < 0 or int(sorter.max()) >= sequence.shape[-1]):  # type: ignore[attr-defined]
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
    return search_kernel.function(sequence, values, sorter, right, bool(out_int32))  # type: ignore[no-any-return]


@operator(kind="composite", method=False, synonyms={"input": ("values",)})
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each value of ``input`` would be inserted into the sorted rows of ``sorted_sequence``: before equal
    elements, or behind them (``right``, ``side="right"``).

    A 1-dim sequence serves values of any shape; otherwise all dimensions but the last must agree.  ``sorter`` gives the
    order of a sequence that is not sorted.  Raises RuntimeError for shapes and types that do not agree.
    """
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if right and side == "left":
            raise RuntimeError(
                "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
            )
        right = side == "right"
    return _search("searchsorted", sorted_sequence, input, out_int32, bool(right), sorter)


@operator(kind="composite", method=False)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The number of the interval between sorted ``boundaries`` (1-dim) that each value falls into; ``right`` closes
    them on the left."""
    if boundaries.ndim != 1:
        raise RuntimeError(
            f"torch.searchsorted(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})"
        )
    if isinstance(input, Tensor) and input.dtype is not boundaries.dtype:
        common = dtypes.promote_types(input.dtype, boundaries.dtype)
        input, boundaries = input.to(common), boundaries.to(common)  # type: ignore[attr-defined]
    return _search("bucketize", boundaries, input, out_int32, bool(right), None)


_FEW = 16


@operator(kind="composite", method=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each of ``elements`` is one of ``test_elements`` (``invert``: is none of them); either may be a
    number."""
    if not isinstance(elements, Tensor):
        if not isinstance(test_elements, Tensor):
            raise TypeError("isin(): one of elements and test_elements must be a Tensor")
        elements = test_elements.new_full((), elements)  # type: ignore[attr-defined]
    if not isinstance(test_elements, (Tensor, int, float, complex)):
        raise TypeError(f"isin(): argument 'test_elements' must be Tensor, not {type(test_elements).__name__}")
    if not isinstance(test_elements, Tensor):
        found = elements == test_elements
        return ~found if invert else found  # type: ignore[operator,return-value]
    if elements.dtype.is_complex or test_elements.dtype.is_complex:
        raise RuntimeError(f"Unsupported input type encountered for isin(): {elements.dtype}")
    common = dtypes.promote_types(elements.dtype, test_elements.dtype)
    x, tests = elements.to(common), test_elements.reshape(-1).to(common)  # type: ignore[attr-defined]
    n = tests.numel()
    if n == 0:
        found = x.new_zeros(x.shape, dtype=dtypes.bool_)
    elif n <= _FEW:
        found = (x.unsqueeze(-1) == tests).any(-1)
    else:
        order = sort_kernel.function(tests, 0, False, n)[0]
        place = search_kernel.function(order, x, None, False, False).clamp(max=n - 1)
        found = order[place] == x
    return ~found if invert else found  # type: ignore[no-any-return]


# -- counting ----------------------------------------------------------------------------------------


@operator(name="_counts", method=False, function=False, out=False, differentiable=False)
def _counts(index: Tensor, size: int) -> Tensor:
    """How often each of the first ``size`` numbers occurs in ``index``."""
    g = prim.current().graph
    if 0 in (size, *index.shape):
        return prim.const(0, dtypes.int64, (size,))
    ones = g.const(1, "i64", index.shape)
    return prim.wrap(g.scatter("add", g.const(0, "i64", (size,)), ones, [prim.read(index)], [("i", 0)]))


@operator(kind="composite", out=False)
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, ... occurs in ``input`` (1-dim, non-negative integers), or the sums of the ``weights`` of
    its places.

    The result is as long as the greatest element needs, and at least ``minlength``.
    """
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    if input.dtype.kind not in "ui":
        raise RuntimeError(f'"bincount_cpu" not implemented for {input.dtype}')
    least, most = (int(t) for t in input.aminmax()) if input.numel() else (0, -1)  # type: ignore[attr-defined]
    if input.ndim != 1 or least < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and (weights.ndim != 1 or weights.shape != input.shape):
        raise RuntimeError("weights should be 1-d and have the same length as input")
    size = max(most + 1, minlength)
    index = input.to(dtypes.int64)  # type: ignore[attr-defined]
    if weights is None:
        return _counts.function(index, size)  # type: ignore[no-any-return]
    weights = weights.detach()  # type: ignore[attr-defined]
    if weights.dtype not in (dtypes.float32, dtypes.float64):
        weights = weights.to(dtypes.float64)
    return weights.new_zeros(size).scatter_add(0, index, weights)  # type: ignore[no-any-return]


def _range(name: str, x: Tensor, low: float, high: float, wider: float) -> tuple[float, float]:
    """The interval that is divided into bins: that of the elements if none is given, ``wider`` at both ends if it is
    empty."""
    if low == high and x.numel():
        low, high = (float(t) for t in x.aminmax())  # type: ignore[attr-defined]
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min, got {low} and {high}")
    return (low - wider, high + wider) if low == high else (low, high)


@operator(name="_histc", method=False, function=False, differentiable=False)
def histc_kernel(input: Tensor, weight: Tensor | None, bins: int, low: float, high: float) -> Tensor:
    """The number (or the weight) of elements in each of ``bins`` equal parts of [low, high]."""
    kind = input.dtype
    x = prim.wrap(prim.current().graph.reshape(prim.read(input), (input.numel(),)))
    first, last = prim.const(low, kind), prim.const(high, kind)
    inside = prim.apply("and", prim.apply("ge", x, first), prim.apply("le", x, last))
    part = prim.apply(
        "mul", prim.apply("div", prim.apply("sub", x, first), prim.const(high - low, kind)), prim.const(bins, kind)
    )
    part = prim.apply("select", inside, part, prim.const(0, kind))
    place = prim.apply("min", prim.cast(part, dtypes.int64), prim.const(bins - 1, dtypes.int64))
    amount = (
        prim.const(1, kind)
        if weight is None
        else prim.wrap(prim.current().graph.reshape(prim.read(weight), (input.numel(),)))
    )
    amount = prim.apply("select", inside, amount, prim.const(0, kind))
    return prim.scatter("add", prim.const(0, kind, (bins,)), amount, [place], [("i", 0)])


@operator(kind="composite")
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """The number of elements in each of ``bins`` equal parts of [min, max] (both 0: the range of the elements), in the
    input's type.

    Elements outside are not counted.  Raises RuntimeError for integers and for ranges that are not finite.
    """
    if input.dtype.kind != "f":
        raise RuntimeError(f'"histogram_cpu" not implemented for {input.dtype}')
    if bins <= 0:
        raise RuntimeError(f"torch.histc(): bins must be > 0, got {bins}")
    low, high = _range("torch.histc", input, float(min), float(max), 1.0)
    if not input.numel():
        return input.new_zeros(bins)  # type: ignore[attr-defined,no-any-return]
    return histc_kernel.function(input, None, bins, low, high)  # type: ignore[no-any-return]


def _edges(low: float, high: float, bins: int, like: Tensor) -> Tensor:
    """``bins + 1`` evenly spaced numbers from ``low`` to ``high``, counted from the nearer end."""
    index = create.arange(bins + 1, dtype=like.dtype)
    step = (high - low) / bins
    return where.function(index * 2 < bins + 1, index * step + low, high - (bins - index) * step)  # type: ignore[no-any-return]


@operator(kind="composite", returns=return_types.histogram)
def histogram(
    input: Tensor,
    bins: Any,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Any:
    """(counts, edges): the number, or the sum of ``weight``, of the elements in each bin; the last bin has both its
    edges.

    ``bins`` is a number of equal parts of ``range`` (by default that of the elements), or the increasing edges.
    ``density`` scales to the integral 1.
    """
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f'"histogram_cpu" not implemented for {input.dtype}')
    if weight is not None and weight.shape != input.shape:
        raise RuntimeError(
            "torch.histogram: if weight tensor is provided it should have the same shape as the input tensor"
        )
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(
            "torch.histogram: if weight tensor is provided, input tensor and weight tensor "
            f"should have the same dtype, but got input(torch.{input.dtype}), and "
            f"weight({weight.dtype})"
        )
    limits = (0.0, 0.0) if range is None else (float(range[0]), float(range[1]))
    x = input.reshape(-1)  # type: ignore[attr-defined]
    edges = _bin_edges(x, bins, limits)
    hist = _counted([x], [edges], None if weight is None else weight.reshape(-1), density)  # type: ignore[attr-defined]
    return return_types.histogram(hist, edges)


def _bin_edges(x: Tensor, bins: Any, limits: tuple[float, float]) -> Tensor:
    """Edges that are given, or those of equal parts."""
    if isinstance(bins, Tensor):
        if bins.ndim != 1 or bins.numel() == 0:
            raise RuntimeError(
                f"torch.histogramdd: bins tensor should have one dimension, but got {bins.ndim} dimensions"
            )
        return bins.clone()  # type: ignore[attr-defined,no-any-return]
    if bins <= 0:
        raise RuntimeError(f"torch.histogramdd(): bins must be > 0, but got {bins} for dimension 0")
    return _edges(*_range("torch.histogramdd", x, *limits, 0.5), bins, x)


def _counted(columns: Sequence[Tensor], edges: Sequence[Tensor], weight: Tensor | None, density: bool) -> Tensor:
    """The weight of the points (one column for each coordinate) in every bin; the last bins have both their edges."""
    x = columns[0]
    w = create.ones_like(x) if weight is None else weight
    place: Any = 0
    for column, edge in zip(columns, edges):
        n = edge.numel() - 1
        at = search_kernel.function(edge, column, None, True, False) - 1
        at = at - (column == edge[-1]).long()  # type: ignore[index,attr-defined]
        w = w * ((at >= 0) & (at < n)).to(w.dtype)
        place = place * n + at.clamp(0, max(n - 1, 0))
    shape = [edge.numel() - 1 for edge in edges]
    hist = x.new_zeros(math.prod(shape)).scatter_add(0, place, w).reshape(shape)  # type: ignore[attr-defined]
    if density:
        hist = hist / hist.sum()
        for d, edge in enumerate(edges):
            hist = hist / edge.diff().reshape([-1 if i == d else 1 for i, _ in enumerate(edges)])  # type: ignore[attr-defined]
    return hist  # type: ignore[no-any-return]


@overridable
def histogramdd(
    input: Tensor,
    bins: Any,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
    out: tuple[Tensor, Sequence[Tensor]] | None = None,
) -> Any:
    """(counts, edges): the number, or the weight, of points (rows, one column for each of d coordinates) in each
    d-dimensional bin.

    ``bins`` are the numbers of equal parts of each coordinate's ``range`` (low, high, low, high ...), or the edges.
    """
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f'"histogramdd" not implemented for {input.dtype}')
    if input.ndim < 2:
        raise RuntimeError(f"torch.histogramdd: input tensor should have at least 2 dimensions, but got {input.ndim}")
    d = input.shape[-1]
    wanted = [bins] * d if isinstance(bins, int) else list(bins)
    if len(wanted) != d:
        raise RuntimeError(
            f"torch.histogramdd: expected {d} sequences of bin edges for a {d}-dimensional "
            f"histogram but got {len(wanted)}"
        )
    if range is not None and len(range) != 2 * d:
        raise RuntimeError(
            f"torch.histogramdd: for a {d}-dimensional histogram range should have {2 * d} "
            f"elements, but got {len(range)}"
        )
    rows = input.reshape(-1, d).detach()  # type: ignore[attr-defined]
    columns = [rows.select(1, i) for i, _ in enumerate(wanted)]
    edges = [
        _bin_edges(c, b, (0.0, 0.0) if range is None else (float(range[2 * i]), float(range[2 * i + 1])))
        for i, (c, b) in enumerate(zip(columns, wanted))
    ]
    hist = _counted(columns, edges, None if weight is None else weight.reshape(-1), density)  # type: ignore[attr-defined]
    if out is not None:
        for target, found in zip((out[0], *out[1]), (hist, *edges)):
            target.resize_(found.shape).copy_(found)  # type: ignore[attr-defined]
        return return_types.histogramdd(*out)
    return return_types.histogramdd(hist, tuple(edges))


# -- distinct elements -------------------------------------------------------------------------------


@operator(name="_run_starts", method=False, function=False, differentiable=False)
def _run_starts(rows: Tensor) -> Tensor:
    """Whether each row of a matrix (or element of a vector) starts a run of equal ones."""
    starts = _differs(rows, 0)
    if rows.ndim == 2:
        starts = prim.wrap(prim.current().graph.reshape(prim.read(prim.reduce("or", starts, (1,))), (rows.shape[0],)))
    return starts


def _distinct(
    rows: Tensor, order: Tensor | None, shape: Size, inverse: bool, counts: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The first row of every run, to which run each row belongs (``order`` says where the rows came from), and the
    lengths."""
    n = rows.shape[0]
    starts = _run_starts.function(rows)
    first = positions(starts) if counts or rows.ndim == 2 else None
    found: Any = rows
    found = found.masked_select(starts) if rows.ndim == 1 else found.index_select(0, first)
    back = None
    if inverse:
        numbers = starts.cumsum(0) - 1
        back = numbers if order is None else numbers.new_empty(n).scatter(0, order, numbers)
        back = back.reshape(shape)
    lengths = None
    if first is not None and counts:
        ends: Any = create.full((1,), n, dtype=dtypes.int64)
        lengths = first.diff(append=ends) if first.numel() else first  # type: ignore[attr-defined]
    return found, back, lengths


def _rows_in_order(rows: Tensor) -> Tensor:
    """The stable permutation that sorts the rows of a matrix, first column first: columns are sorted from the last to
    the first."""
    order = create.arange(rows.shape[0])
    for column in reversed(range(rows.shape[1])):
        keys = rows.select(1, column).index_select(0, order)  # type: ignore[attr-defined]
        order = order.index_select(0, sort_kernel.function(keys, 0, False, rows.shape[0])[1])  # type: ignore[attr-defined]
    return order


def _unique(
    name: str, input: Tensor, sort: bool, inverse: bool, counts: bool, dim: int | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    x = input.detach()  # type: ignore[attr-defined]
    if x.dtype.is_complex:
        raise RuntimeError(f'"{name}" not implemented for {x.dtype}')
    if dim is None or not x.ndim:
        if dim is not None:
            dim_of(dim, x.ndim, name)
        flat = x.reshape(-1)
        if flat.numel() == 0:
            none = create.zeros(0, dtype=dtypes.int64)
            return flat, none.reshape(x.shape) if inverse else None, none if counts else None
        order = None
        if sort:
            flat, order = sort_kernel.function(flat, 0, False, flat.numel())
        return _distinct(flat, order, x.shape, inverse, counts)
    d = dim_of(dim, x.ndim, name)
    n = x.shape[d]
    moved = x.movedim(d, 0)
    if x.numel() == 0:
        if n:
            raise RuntimeError(
                f"There are {sum(m == 0 for i, m in enumerate(x.shape) if i != d)} zero-sized "
                "dimensions, and they aren't selected, so unique cannot be applied"
            )
        none = create.zeros(0, dtype=dtypes.int64)
        return x.clone(), none if inverse else None, none if counts else None
    rows = moved.reshape(n, -1)
    order = None
    if sort:
        order = _rows_in_order(rows)
        rows = rows.index_select(0, order)
    found, back, lengths = _distinct(rows, order, Size((n,)), inverse, counts)
    return found.reshape([-1, *moved.shape[1:]]).movedim(0, d).contiguous(), back, lengths  # type: ignore[attr-defined]


@operator(kind="composite", out=False)
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in ascending order (or the distinct slices along ``dim``, in lexicographic order).

    With ``return_inverse`` also the place of every element among them, with ``return_counts`` how often each occurs.
    """
    found, back, lengths = _unique("unique", input, True, bool(return_inverse), bool(return_counts), dim)
    return _several(found, back, lengths)


@operator(kind="composite", out=False)
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The first of every run of equal elements (or of equal slices along ``dim``); see ``unique``."""
    found, back, lengths = _unique("unique_consecutive", input, False, bool(return_inverse), bool(return_counts), dim)
    return _several(found, back, lengths)


def _several(found: Tensor, back: Tensor | None, lengths: Tensor | None) -> Any:
    result = tuple(t for t in (found, back, lengths) if t is not None)
    return result if len(result) > 1 else found
