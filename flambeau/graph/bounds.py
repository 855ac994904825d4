"""The range of an integer that its computation tells, so that an index that cannot be outside needs no check.

Interval arithmetic (R. Moore, *Interval Analysis*, 1966) over the operations that indices are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..dtype import coded
from .node import Node

__all__ = ["within"]

_Range = tuple[float, float]
_ANY = (-math.inf, math.inf)
_DEEP = 40  # operations between an index and what it is computed from that are looked at
_ROUNDING = 2.0**-6  # more than any float type rounds off, relatively
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def within(index: Node, size: int) -> bool:
    """Whether every element of ``index`` is in ``[0, size)`` whatever the operands are."""
    found = _range(index, {}, _DEEP)
    return found is not None and found[0] >= 0 and found[1] < size


def _range(node: Node, known: dict[int, _Range | None], deep: int) -> _Range | None:
    """The least and the largest value of a node's elements, as far as can be told; None if they may be anything (of
    floats also no number at all)."""
    if id(node) not in known:
        found = _computed(node, known, deep) if deep else None
        if not coded(node.type).is_floating_point:
            limits = _limits(node.type)
            if found is None or limits is None or found[0] < limits[0] or found[1] > limits[1]:
                found = limits  # not known, or it may have wrapped around
        known[id(node)] = found
    return known[id(node)]


def _limits(code: str) -> _Range | None:
    """The least and the largest number of an integer type; None for other types."""
    dtype = coded(code)
    if code == "b1":
        return 0, 1
    if dtype.is_complex or dtype.numpy.kind not in "iu":
        return None
    bits = 8 * dtype.itemsize - dtype.is_signed
    return (-(1 << bits) if dtype.is_signed else 0), (1 << bits) - 1


def _computed(node: Node, known: dict[int, _Range | None], deep: int) -> _Range | None:
    """The range that follows from those of the operands, whether or not the type can hold it."""
    if node.op == "const":
        value = node.attrs[0]
        return (value, value) if isinstance(value, (int, float)) and value == value else None
    if node.op == "size":
        return node.attrs[0], node.attrs[0]
    if node.op == "iota":
        return 0, max(node.shape[node.attrs[0]] - 1, 0)
    if node.op == "select":
        condition, value, other = node.inputs
        parts = [_where(condition, value, known, deep - 1), _range(other, known, deep - 1)]
    else:
        parts = [_range(i, known, deep - 1) for i in node.inputs] if node.op in _RULES else []
    ranges = [r for r in parts if r is not None]
    if not ranges or len(ranges) < len(parts):
        return None
    if node.op == "cast":
        return _cast(node, *ranges)
    low, high = _RULES[node.op](*ranges)
    if coded(node.type).is_floating_point and node.op in ("add", "sub", "mul"):
        low, high = low - abs(low) * _ROUNDING, high + abs(high) * _ROUNDING
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None  # infinity less itself is no number
    return low, high


def _cast(node: Node, x: _Range) -> _Range | None:
    if coded(node.type).is_floating_point:
        return x[0] - abs(x[0]) * _ROUNDING, x[1] + abs(x[1]) * _ROUNDING
    if coded(node.inputs[0].type).is_floating_point:
        return (math.trunc(x[0]), math.trunc(x[1])) if math.isfinite(x[0]) and math.isfinite(x[1]) else None
    return x


def _where(condition: Node, value: Node, known: dict[int, _Range | None], deep: int) -> _Range | None:
    """The range of ``value`` where ``condition`` holds: a comparison of it also tells that it is a number."""
    found = _range(value, known, deep)
    stack = [condition]
    while stack:
        c = stack.pop()
        if c.op == "and" and c.type == "b1":
            stack += c.inputs
        elif c.op in _MIRRORED and value in c.inputs:
            left, right = c.inputs
            op, other = (c.op, right) if left is value else (_MIRRORED[c.op], left)
            bound = _range(other, known, deep) if deep else None
            if bound is None:
                continue
            low, high = found or _ANY
            less = not coded(value.type).is_floating_point  # by how much integers differ at least
            if op in ("gt", "ge"):
                low = max(low, bound[0] + (less and op == "gt"))
            else:
                high = min(high, bound[1] - (less and op == "lt"))
            found = low, max(low, high)
    return found


def _products(x: _Range, y: _Range) -> _Range:
    ends = [a * b for a in x for b in y]
    return (min(ends), max(ends)) if all(map(math.isfinite, ends)) else _ANY


def _rounded(how: Callable[[float], int]) -> Callable[[_Range], _Range]:
    return lambda x: (how(x[0]), how(x[1])) if math.isfinite(x[0]) and math.isfinite(x[1]) else x


_RULES: dict[str, Callable[..., _Range]] = {
    "add": lambda x, y: (x[0] + y[0], x[1] + y[1]),
    "sub": lambda x, y: (x[0] - y[1], x[1] - y[0]),
    "mul": _products,
    "neg": lambda x: (-x[1], -x[0]),
    "min": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "max": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "select": lambda x, y: (min(x[0], y[0]), max(x[1], y[1])),
    "floor": _rounded(math.floor),
    "ceil": _rounded(math.ceil),
    "trunc": _rounded(math.trunc),
    "rint": _rounded(round),
    "cast": lambda x: x,
    "move": lambda x: x,
    "reshape": lambda x: x,
}
