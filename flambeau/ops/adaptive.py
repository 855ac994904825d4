"""Adaptive pooling: windows that divide a dimension into a given number of nearly equal, possibly overlapping parts.

Window i of o over n elements covers ``floor(i * n / o)`` up to ``ceil((i + 1) * n / o)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..graph.node import Graph, Node
from ..operator import operator
from ..tensor import Tensor
from .pool import avg_pool_kernel, max_pool_kernel, spread_at

__all__: list[str] = []

_F = "torch.nn.functional"


def _bounds(g: Graph, shape: Sequence[int], dim: int, n: int, o: int) -> tuple[Node, Node]:
    """(first, one past the last) element of the window whose number is the index along ``dim``."""
    i = g.iota(shape, dim)
    many, parts = g.const(n, "i64"), g.const(o, "i64")
    start = g.apply("quot", g.apply("mul", i, many), parts)
    end = g.apply("add", g.apply("mul", g.apply("add", i, g.const(1, "i64")), many), g.const(o - 1, "i64"))
    return start, g.apply("quot", end, parts)


def _reach(n: int, o: int) -> int:
    """The greatest number of elements of a window."""
    return max(-(-(i + 1) * n // o) - i * n // o for i in range(o)) if o else 0


def _checked(name: str, input: Tensor, size: Sequence[int]) -> None:
    ndim = len(size)
    if input.ndim not in (ndim + 1, ndim + 2):
        raise RuntimeError(f"{name}(): Expected {ndim + 1}D or {ndim + 2}D tensor, but got {list(input.shape)}")
    if any(n == 0 for n in input.shape[1:]):
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(input.shape)}"
        )
    if any(o < 0 for o in size):
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0")


def _gathered(g: Graph, x: Tensor, size: Sequence[int]) -> tuple[Node, Node, list[Node], tuple[int, ...]]:
    """(elements of every window, whether each is inside, their positions per dimension, shape): the last of a window
    stands in for elements beyond it."""
    ndim, lead = len(size), x.ndim - len(size)
    have = x.shape[lead:]
    shape = (*x.shape[:lead], *size, *(_reach(n, o) for n, o in zip(have, size)))
    inside = g.const(True, "b1", shape)
    places: list[Node] = []
    for d, (n, o) in enumerate(zip(have, size)):
        start, end = _bounds(g, shape, lead + d, n, o)
        at = g.apply("add", start, g.iota(shape, lead + ndim + d))
        inside = g.apply("and", inside, g.apply("lt", at, end))
        places.append(g.apply("min", at, g.apply("sub", end, g.const(1, "i64"))))
    value = g.gather(prim.read(x), places, [*(("d", d) for d in range(lead)), *(("i", d) for d in range(ndim))], shape)
    return value, inside, places, shape


@operator(name="_adaptive_avg_pool", method=False, function=False)
def avg_kernel(input: Tensor, size: tuple[int, ...]) -> Tensor:
    """The mean of each window."""
    ndim, lead = len(size), input.ndim - len(size)
    _checked(f"adaptive_avg_pool{ndim}d", input, size)
    g = prim.current().graph
    out = (*input.shape[:lead], *size)
    if 0 in out:
        return prim.const(0, input.dtype, out)
    kind = input.dtype
    work = dtypes.float32 if kind.itemsize < 4 else kind
    value, inside, _, shape = _gathered(g, prim.cast(input, work), size)
    value = g.apply("select", inside, value, g.const(0, work.code))
    dims = tuple(range(lead + ndim, len(shape)))
    total = g.reshape(g.reduce("add", value, dims), out)
    return prim.cast(prim.wrap(g.apply("div", total, _counts(g, out, lead, input.shape[lead:], size, work.code))), kind)


def _counts(g: Graph, out: Sequence[int], lead: int, have: Sequence[int], size: Sequence[int], code: str) -> Node:
    count = g.const(1, "i64", out)
    for d, (n, o) in enumerate(zip(have, size)):
        start, end = _bounds(g, out, lead + d, n, o)
        count = g.apply("mul", count, g.apply("sub", end, start))
    return g.cast(count, code)


@avg_kernel.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return avg_backward.function(grad, tuple(ctx.shape("input")), len(ctx.size))


@operator(name="_adaptive_avg_pool_backward", method=False, function=False)
def avg_backward(grad: Tensor, size: tuple[int, ...], ndim: int) -> Tensor:
    """Every element gets its share of the gradients of the windows that it is in."""
    g = prim.current().graph
    lead = len(size) - ndim
    have, parts = size[lead:], grad.shape[lead:]
    if 0 in grad.shape:
        return prim.const(0, grad.dtype, size)
    kind = grad.dtype
    work = dtypes.float32 if kind.itemsize < 4 else kind
    share = prim.wrap(
        g.apply("div", g.cast(prim.read(grad), work.code), _counts(g, grad.shape, lead, have, parts, work.code))
    )
    spans = [o // n + 2 for n, o in zip(have, parts)]  # windows that an element may be in
    shape = (*size, *spans)
    inside = g.const(True, "b1", shape)
    places: list[Node] = []
    for d, (n, o) in enumerate(zip(have, parts)):
        h = g.iota(shape, lead + d)
        first = g.apply("quot", g.apply("mul", h, g.const(o, "i64")), g.const(n, "i64"))
        w = g.apply("add", first, g.iota(shape, lead + ndim + d))
        many, count = g.const(n, "i64"), g.const(o, "i64")
        start = g.apply("quot", g.apply("mul", w, many), count)
        end = g.apply(
            "quot",
            g.apply("add", g.apply("mul", g.apply("add", w, g.const(1, "i64")), many), g.const(o - 1, "i64")),
            count,
        )
        ok = g.apply("and", g.apply("lt", w, count), g.apply("and", g.apply("le", start, h), g.apply("lt", h, end)))
        inside = g.apply("and", inside, ok)
        places.append(g.apply("select", ok, w, g.const(0, "i64")))
    value = g.gather(
        prim.read(share), places, [*(("d", d) for d in range(lead)), *(("i", d) for d in range(ndim))], shape
    )
    value = g.apply("select", inside, value, g.const(0, work.code))
    total = g.reshape(g.reduce("add", value, tuple(range(len(size), len(shape)))), size)
    return prim.cast(prim.wrap(total), kind)


@avg_backward.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return avg_kernel.function(grad, tuple(ctx.shape("grad")[-ctx.ndim :]))


@operator(name="_adaptive_max_pool", method=False, function=False)
def max_kernel(input: Tensor, size: tuple[int, ...]) -> Any:
    """(greatest element of each window, its position in the flattened spatial dimensions)"""
    ndim, lead = len(size), input.ndim - len(size)
    _checked(f"adaptive_max_pool{ndim}d", input, size)
    g = prim.current().graph
    out = (*input.shape[:lead], *size)
    if 0 in out:
        return prim.const(0, input.dtype, out), prim.const(0, dtypes.int64, out)
    value, _, _, shape = _gathered(g, input, size)
    dims = tuple(range(lead + ndim, len(shape)))
    best = g.reshape(g.reduce("max", value, dims), out)
    at = g.reshape(g.argreduce("argmax", value, dims), out)
    index = g.const(0, "i64", out)
    below = inside = 1
    for d in reversed(range(ndim)):
        n, o = input.shape[lead + d], size[d]
        digit = g.apply("rem", g.apply("quot", at, g.const(inside, "i64")), g.const(shape[lead + ndim + d], "i64"))
        start, end = _bounds(g, out, lead + d, n, o)
        place = g.apply("min", g.apply("add", start, digit), g.apply("sub", end, g.const(1, "i64")))
        index = g.apply("add", index, g.apply("mul", place, g.const(below, "i64")))
        below *= n
        inside *= shape[lead + ndim + d]
    return prim.wrap(best), prim.wrap(index)


@max_kernel.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    return spread_at.function(grad, ctx.results[1], tuple(ctx.shape("input")), len(ctx.size))


def _size(value: int | Sequence[int | None] | None, ndim: int, input: Tensor, name: str) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        if ndim > 1 and input.ndim <= len(value):
            raise ValueError(f"{name}: Input dimension should be at least {len(value) + 1}, but got {input.ndim}")
        if len(value) not in (1, ndim):
            raise RuntimeError(f"{name}: output_size must be {ndim}")
        values = list(value) * (ndim if len(value) == 1 else 1)
    else:
        values = [value] * ndim
    return tuple(n if v is None else index(v) for v, n in zip(values, input.shape[-ndim:]))


def _equal_windows(input: Tensor, size: tuple[int, ...]) -> tuple[int, ...] | None:
    """The size of the windows where they are equal and do not overlap, which plain pooling is faster for."""
    have = input.shape[input.ndim - len(size) :]
    fits = input.ndim in (len(size) + 1, len(size) + 2) and input.dtype.kind == "f" and 0 not in input.shape
    if not fits or any(o <= 0 or n % o for n, o in zip(have, size)):
        return None
    return tuple(n // o for n, o in zip(have, size))


def _define(ndim: int) -> None:
    def avg_pool(input: Tensor, output_size: Any) -> Tensor:
        size = _size(output_size, ndim, input, f"adaptive_avg_pool{ndim}d")
        windows = _equal_windows(input, size)
        if windows is None:
            return avg_kernel.function(input, size)  # type: ignore[no-any-return]
        if all(n == 1 for n in size):
            return input.mean(tuple(range(-ndim, 0)), True)  # type: ignore[attr-defined,no-any-return]
        return avg_pool_kernel.function(input, windows, windows, (0,) * ndim, False, True, None)  # type: ignore[no-any-return]

    def max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        size = _size(output_size, ndim, input, f"adaptive_max_pool{ndim}d")
        windows = _equal_windows(input, size)
        if windows is None:
            found = max_kernel.function(input, size)
        else:
            found = max_pool_kernel.function(input, windows, windows, (0,) * ndim, (1,) * ndim, False)
        return found if return_indices else found[0]

    avg_pool.__name__, max_pool.__name__ = f"adaptive_avg_pool{ndim}d", f"adaptive_max_pool{ndim}d"
    avg_pool.__module__ = max_pool.__module__ = __name__
    avg_pool.__doc__ = (
        f"The means of windows that divide {ndim} dimension(s) into ``output_size`` parts; None keeps a size."
    )
    max_pool.__doc__ = (
        f"The greatest elements of windows that divide {ndim} dimension(s) into ``output_size`` "
        "parts, and their positions."
    )
    operator(kind="composite", method=False, out=False, namespace="torch" if ndim == 1 else _F)(avg_pool)
    operator(kind="composite", method=False, out=False, namespace=_F)(max_pool)


for _ndim in (1, 2, 3):
    _define(_ndim)
