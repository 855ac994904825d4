"""Indices during lowering: how the position in a value depends on the loop variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..loop.nodes import Expr

__all__ = ["Affine", "Digit", "Index", "NotFusable", "Opaque", "Region", "apart", "combine", "reshaped", "split"]


class NotFusable(Exception):
    """This value cannot be computed inside this group."""


class Affine(NamedTuple):
    """``const + sum(coefficient * variable)``; terms are (variable, coefficient), sorted, without zeros."""

    const: int
    terms: tuple[tuple[int, int], ...]


class Digit(NamedTuple):
    """``(value // div) % mod``: one digit of a flattened index in mixed radix.  ``0 <= value < size``."""

    value: Index
    size: int
    div: int
    mod: int


class Opaque(NamedTuple):
    """A position computed by an expression (an index loaded from memory, say)."""

    expr: Expr


Index = Affine | Digit | Opaque


Region = tuple[tuple[tuple[int, tuple[tuple[int, int], ...]], ...], tuple[int, ...]]
"""Where the elements of a value of the given shape go: for each dimension an offset and terms (variable, step)."""


def apart(a: Region, b: Region) -> bool:
    """Whether two regions of one memory share no element, as the ranges of one of their indices tell."""

    def ends(region: Region, dim: int) -> tuple[int, int]:
        offset, terms = region[0][dim]
        spans = [(region[1][v] - 1) * step for v, step in terms]
        return offset + sum(min(s, 0) for s in spans), offset + sum(max(s, 0) for s in spans)

    for dim in range(len(a[0])):
        (first, last), (start, end) = ends(a, dim), ends(b, dim)
        if last < start or end < first:
            return True
    return False


def affine(const: int, terms: dict[int, int]) -> Affine:
    """``const + sum(coefficient * variable)`` in the one order that makes equal forms identical."""
    return Affine(const, tuple((v, c) for v, c in sorted(terms.items()) if c))


class Sum(NamedTuple):
    """``affine + sum(coefficient * other index)``."""

    affine: Affine
    others: tuple[tuple[Index, int], ...]


def combine(indices: Sequence[Index], weights: Sequence[int], const: int = 0) -> Sum:
    """``const + sum(index * weight)``.  Neighbouring digits of one value whose weights fit are joined again,
    so that splitting an index and laying the parts over contiguous memory costs nothing."""
    total = const
    terms: dict[int, int] = {}
    others: list[tuple[Index, int]] = []
    digits: list[tuple[Digit, int]] = []

    def add(index: Index, weight: int) -> None:
        nonlocal total
        if weight == 0:
            return
        if isinstance(index, Affine):
            total += index.const * weight
            for v, c in index.terms:
                terms[v] = terms.get(v, 0) + c * weight
        elif isinstance(index, Digit):
            digits.append((index, weight))
        else:
            others.append((index, weight))

    for index, weight in zip(indices, weights):
        add(index, weight)
    joined = True
    while joined:  # (v // d) % m * w and (v // (d*m)) % n * (w*m)  ->  (v // d) % (m*n) * w
        joined = False
        for i, (low, w) in enumerate(digits):
            for j, (high, u) in enumerate(digits):
                if i != j and high.value == low.value and high.div == low.div * low.mod and u == w * low.mod:
                    merged = Digit(low.value, low.size, low.div, low.mod * high.mod)
                    digits = [d for k, d in enumerate(digits) if k not in (i, j)] + [(merged, w)]
                    joined = True
                    break
            if joined:
                break
    for digit, weight in digits:
        if digit.div == 1 and digit.mod == digit.size:  # all digits came together again
            add(digit.value, weight)
        else:
            others.append((digit, weight))
    return Sum(affine(total, terms), tuple(others))


def split(index: Index, shape: Sequence[int], extents: Sequence[int] = ()) -> list[Index]:
    """The digits of a flat index (0 <= index < product of shape) over ``shape``.  Variables below ``extents`` whose
    steps fall between the digits make them affine."""
    size = math.prod(shape)
    if not size:  # no element is ever looked at
        return [Affine(0, ())] * len(shape)
    if extents and isinstance(index, Affine):
        found = _affine_digits(index, shape, extents)
        if found is not None:
            return found
    result: list[Index] = []
    div = 1
    for n in reversed(shape):
        result.append(Affine(0, ()) if n == 1 else index if n == size else Digit(index, size, div, n))
        div *= n
    return result[::-1]


def _affine_digits(index: Affine, shape: Sequence[int], extents: Sequence[int]) -> list[Index] | None:
    """The digits as affine functions; None where a variable carries from one digit into the next."""
    result: list[Index] = []
    rest = dict(index.terms)
    const, div = index.const, 1
    if const < 0 or any(c < 0 or v >= len(extents) for v, c in rest.items()):
        return None
    for n in reversed(shape):
        own: dict[int, int] = {}
        top = digit = const // div % n
        for v in [v for v, c in rest.items() if c < div * n and extents[v] > 1]:
            c = rest.pop(v)
            if c % div:
                return None
            own[v] = c // div
            top += own[v] * (extents[v] - 1)
        if top >= n and n > 1:
            return None
        result.append(affine(digit, own))
        div *= n
    return None if any(extents[v] > 1 for v in rest) else result[::-1]


def reshaped(
    source: Sequence[int], target: Sequence[int], index: Sequence[Index], extents: Sequence[int]
) -> tuple[Index, ...]:
    """The index in ``source`` of the element at ``index`` in ``target``: dimensions are matched in runs of equal
    size, so that only those that are really merged or split need arithmetic."""
    if 0 in source:  # there is no element; runs of size 0 could be matched in many ways
        return (Affine(0, ()),) * len(source)
    result: list[Index] = []
    s = t = 0
    while s < len(source) or t < len(target):
        s0, t0 = s, t
        ps = source[s] if s < len(source) else 1
        pt = target[t] if t < len(target) else 1
        s, t = min(s + 1, len(source)), min(t + 1, len(target))
        while ps != pt:
            if ps < pt:
                ps *= source[s]
                s += 1
            else:
                pt *= target[t]
                t += 1
        run, shape = list(index[t0:t]), list(source[s0:s])
        weights, w = [], 1
        for n in reversed(target[t0:t]):
            weights.append(w)
            w *= n
        if not shape:
            continue
        if len(run) == 1:
            flat: Index = run[0]
        else:
            total = combine(run, weights[::-1])
            if total.others:
                if len(total.others) == 1 and total.others[0][1] == 1 and total.affine == Affine(0, ()):
                    flat = total.others[0][0]
                else:
                    raise NotFusable
            else:
                flat = total.affine
        result.extend(split(flat, shape, extents))
    return tuple(result)
