"""Borders that continue a tensor: mirrored, repeated, or from the other end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor

__all__ = ["border"]


class _Run(NamedTuple):
    """``count`` elements from ``target`` on in the result are those of the input from ``source`` on, ``step`` apart."""

    target: int
    source: int
    step: int
    count: int


def _runs(mode: str, n: int, before: int, after: int) -> Iterator[_Run]:
    """The runs along a dimension of size ``n``; negative numbers cut off."""
    first, last = max(-before, 0), n + min(after, 0)
    if mode == "circular":  # what is cut off on one side does not come back on the other
        at, end, length = -before, n + after, last - first
        while at < end:
            source = first + (at - first) % length
            count = min(last - source, end - at)
            yield _Run(at + before, source, 1, count)
            at += count
        return
    mirrored = mode == "reflect"
    if before > 0:
        yield _Run(0, before if mirrored else 0, -mirrored, before)
    yield _Run(max(before, 0), first, 1, last - first)
    if after > 0:
        yield _Run(max(before, 0) + last - first, n - 2 if mirrored else n - 1, -mirrored, after)


@operator(name="_border", method=False, function=False, out=False, strides="image")
def border(input: Tensor, width: tuple[tuple[int, int], ...], mode: str) -> Tensor:
    """``input`` with borders of (before, after) elements, which are not too wide, of the last dimensions."""
    lead = input.ndim - len(width)
    shape = [*input.shape[:lead], *(n + sum(w) for n, w in zip(input.shape[lead:], width))]
    result = prim.undef(shape, input.dtype)
    along = [tuple(_runs(mode, n, *w)) for n, w in zip(input.shape[lead:], width)]
    for runs in itertools.product(*along):  # the inside, its sides and its corners
        counts = [*input.shape[:lead], *(r.count for r in runs)]
        every = tuple((0, ((d, 1),)) for d in range(lead))
        source = tuple((r.source, ((lead + k, r.step),) if r.step else ()) for k, r in enumerate(runs))
        target = tuple((r.target, ((lead + k, 1),)) for k, r in enumerate(runs))
        result = prim.update(result, prim.move(input, (*every, *source), counts), (*every, *target))
    return result


@border.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return border_sum.function(grad, ctx.width, ctx.mode, ctx.shape("input"))


@operator(name="_border_sum", method=False, function=False, out=False)
def border_sum(input: Tensor, width: tuple[tuple[int, int], ...], mode: str, shape: Sequence[int]) -> Tensor:
    """What ``border`` copied is added up where it came from: one dimension after the other."""
    lead = input.ndim - len(width)
    for d, (n, w) in enumerate(zip(shape[lead:], width), lead):
        if w != (0, 0):
            input = _folded(input, d, n, tuple(_runs(mode, n, *w)))
    return input


def _folded(x: Tensor, d: int, n: int, runs: Sequence[_Run]) -> Tensor:
    def part(t: Tensor, start: int, count: int, step: int = 1) -> Tensor:
        """``count`` slices of ``t`` along the dimension."""
        sizes = [count if k == d else m for k, m in enumerate(t.shape)]
        return prim.move(t, tuple((start, ((k, step),)) if k == d else (0, ((k, 1),)) for k in range(t.ndim)), sizes)

    total = prim.const(0, x.dtype, [n if k == d else m for k, m in enumerate(x.shape)])
    for r in sorted(runs, key=lambda r: -r.count):
        piece, start, count = part(x, r.target, r.count), r.source, r.count
        if r.step == 0:
            count = 1
            summed = prim.reduce("add", piece, (d,))
            sizes = [1 if k == d else m for k, m in enumerate(x.shape)]
            piece = prim.wrap(prim.current().graph.reshape(prim.read(summed), sizes))
        elif r.step < 0:
            start = r.source - r.count + 1
            piece = part(x, r.target + r.count - 1, r.count, -1)
        place = tuple((start if k == d else 0, ((k, 1),)) for k in range(x.ndim))
        total = prim.update(total, prim.apply("add", part(total, start, count), piece), place)
    return total


@border_sum.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return border.function(grad, ctx.width, ctx.mode)
