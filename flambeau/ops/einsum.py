"""Sums of products in Einstein's notation.

What an equation means for operands of given shapes is a *plan*: diagonals, products of two operands at a time, a last
sum and permutation.  Plans are remembered, so that a call is a handful of views and products.

The order of the products is the cheapest one for up to four operands, found by trying all; for more the pair with the
best gain is taken each time (the greedy rule of D. G. A. Smith and J. Gray, "opt_einsum", JOSS 3(26), 2018).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .. import dtype as dtypes
from ..dispatch.call import special
from ..dispatch.operator import operator
from ..dispatch.torch_function import ordinary, overridden
from ..tensor import Tensor
from .products import bmm

__all__ = ["einsum"]

_TRIED = 4  # operands of which all orders are tried


def einsum(*args: Any) -> Tensor:
    """Sums of products in Einstein's notation: ``einsum("ij,jk->ik", a, b)``, or operands each followed by a list of
    dimension numbers.

    "..." stands for broadcast dimensions; dimensions of size 1 are broadcast as well.  Several operands are contracted
    in pairs, in the order of least work, each pair by one batched product.  Raises RuntimeError for a bad equation.
    """
    if len(args) == 2 and isinstance(args[1], (list, tuple)) and isinstance(args[0], str):
        args = args[0], *args[1]
    if special or not ordinary(map(type, args)):
        result = overridden(einsum, args, {}, None, args)
        if result is not NotImplemented:
            return result  # type: ignore[no-any-return]
    equation, operands = _arguments(args)
    plan = _plan(equation, tuple([tuple(x.shape) for x in operands]))
    values: list[Any] = operands
    for k, first, second in plan.diagonals:
        values[k] = values[k].diagonal(0, first, second)
    for step in plan.steps:
        values.append(_product(step, values[step.first], values[step.second]))
    value = values[-1]
    if plan.gone:
        value = value.sum(plan.gone)
    return value if plan.order is None else value.permute(plan.order)  # type: ignore[no-any-return]


def _product(step: _Step, a: Any, b: Any) -> Any:
    """One batched product of two operands."""
    alike = a.dtype is b.dtype
    a, b = _prepared(step.left, a), _prepared(step.right, b)
    if alike and a.dtype is not b.dtype:  # a sum of short integers is int64
        kind = dtypes.promote_types(a.dtype, b.dtype)
        a, b = a.to(kind), b.to(kind)
    found = bmm.function(_folded(step.left, a), _folded(step.right, b))
    return found if step.shape is None else found.reshape(step.shape)


def _prepared(side: _Side, x: Any) -> Any:
    x = x.sum(side.gone) if side.gone else x
    return x if side.expanded is None else x.expand(side.expanded)


def _folded(side: _Side, x: Any) -> Any:
    x = x if side.order is None else x.permute(side.order)
    return x if side.folded is None else x.reshape(side.folded)


def _arguments(args: Sequence[Any]) -> tuple[str, list[Tensor]]:
    """The equation and the operands, whichever way they are written."""
    if not args:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least "
            "one operand and its subscripts list"
        )
    if isinstance(args[0], str):
        return args[0], _only_tensors(args[1:])

    def letters(numbers: Sequence[Any]) -> str:
        if not all(n is Ellipsis or 0 <= n < 52 for n in numbers):
            raise ValueError("einsum(): subscript in subscript list is not within the valid range [0, 52)")
        return "".join(
            "..." if n is Ellipsis else chr(ord("A") + n) if n < 26 else chr(ord("a") + n - 26) for n in numbers
        )

    pairs = len(args) // 2
    equation = ",".join(letters(args[2 * k + 1]) for k in range(pairs))
    if len(args) % 2:
        equation += "->" + letters(args[-1])
    return equation, _only_tensors(args[: 2 * pairs : 2])


def _only_tensors(operands: Sequence[Any]) -> list[Tensor]:
    for i, t in enumerate(operands):
        if not isinstance(t, Tensor):
            raise TypeError(f"einsum(): operand {i} must be Tensor, not {type(t).__name__}")
    return list(operands)


@operator(kind="composite", namespace="torch.nn.functional", method=False, out=False)
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x1 @ weight[o] @ x2 + bias[o]`` for every output o: weight (out, in1, in2)."""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape[:-1])} and "
            f"{list(input2.shape[:-1])}"
        )
    value = einsum("...oj,...j->...o", einsum("...i,oij->...oj", input1, weight), input2)
    return value if bias is None else value + bias  # type: ignore[no-any-return]


# -- plans -------------------------------------------------------------------------------------------


class _Side(NamedTuple):
    """How an operand becomes a factor of a batched product; None or nothing for what need not be done."""

    gone: tuple[int, ...]  # dimensions that are summed first
    expanded: tuple[int, ...] | None  # sizes, -1 for those that stay
    order: tuple[int, ...] | None  # of the dimensions: batch, rows, sum (on the right: batch, sum, columns)
    folded: tuple[int, int, int] | None  # the shape of the factor


class _Step(NamedTuple):
    """A product of two values; the result is the next value."""

    first: int
    second: int
    left: _Side
    right: _Side
    shape: tuple[int, ...] | None  # of the result, unless it is the product's


class _Plan(NamedTuple):
    """``diagonals`` are (operand, dimension, dimension), ``gone`` and ``order`` of the last value."""

    diagonals: tuple[tuple[int, int, int], ...]
    steps: tuple[_Step, ...]
    gone: tuple[int, ...]
    order: tuple[int, ...] | None


class _Value(NamedTuple):
    """An operand or a product: the label and the size of each dimension."""

    labels: tuple[str, ...]
    shape: tuple[int, ...]


@functools.lru_cache(maxsize=1024)
def _plan(equation: str, shapes: tuple[tuple[int, ...], ...]) -> _Plan:
    """What an equation means for operands of these shapes.  Raises RuntimeError for a bad one."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise RuntimeError(
            f"einsum(): {'more' if len(shapes) > len(terms) else 'fewer'} operands were "
            "provided than specified in the equation"
        )
    diagonals: list[tuple[int, int, int]] = []
    values = [_operand(term, shape, k, diagonals) for k, (term, shape) in enumerate(zip(terms, shapes))]
    wanted = _wanted(left, right if arrow else None, values)
    sizes: dict[str, int] = {}
    for at, value in enumerate(values):
        for label, n in zip(*value):
            if sizes.get(label, 1) != 1 and n not in (1, sizes[label]):
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {n} for operand {at} which does not broadcast "
                    f"with previously seen size {sizes[label]}"
                )
            sizes[label] = max(sizes.get(label, 1), n) if n else 0
    steps: list[_Step] = []
    for first, second in _order([v.labels for v in values], frozenset(wanted), sizes):
        rest = [v for k, v in enumerate(values) if not _used(k, steps) and k not in (first, second)]
        later = {label for v in rest for label in v.labels}.union(wanted)
        step, made = _step(first, second, values[first], values[second], later)
        steps.append(step)
        values.append(made)
    labels = values[-1].labels
    gone = tuple(d for d, label in enumerate(labels) if label not in wanted)
    labels = tuple(label for label in labels if label in wanted)
    order = tuple(labels.index(label) for label in wanted)
    return _Plan(tuple(diagonals), tuple(steps), gone, None if order == tuple(range(len(order))) else order)


def _used(k: int, steps: Sequence[_Step]) -> bool:
    return any(k in (s.first, s.second) for s in steps)


def _operand(term: str, shape: Sequence[int], number: int, diagonals: list[tuple[int, int, int]]) -> _Value:
    """The label of each dimension; where one appears twice, ``diagonals`` gets what is to be taken."""
    head, dots, tail = term.partition("...")
    if "." in head + tail:
        raise RuntimeError(f"einsum(): found '.' for operand {number} that is not part of any ellipsis (...)")
    for c in head + tail:
        if not c.isalpha():
            raise RuntimeError(
                "einsum(): invalid subscript given at index 0 in the equation string, subscripts "
                f"must be in [a-zA-Z], got {c!r}"
            )
    count = len(shape) - len(head) - len(tail)
    if count < 0 or (count > 0 and not dots):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({len(head) + len(tail)}) does "
            f"not match the number of dimensions ({len(shape)}) for operand {number}"
        )
    # dimensions of "..." are counted from the last: they broadcast as shapes do
    labels, shape = [*head, *(f".{i}" for i in reversed(range(count))), *tail], list(shape)
    while len(set(labels)) < len(labels):
        twice = next(c for c in labels if labels.count(c) > 1)
        i = labels.index(twice)
        j = labels.index(twice, i + 1)
        if shape[i] != shape[j]:
            raise RuntimeError(
                f"einsum(): subscript {twice} is repeated for operand {number} but the sizes don't "
                f"match, {shape[j]} != {shape[i]}"
            )
        diagonals.append((number, i, j))
        labels = [c for k, c in enumerate(labels) if k not in (i, j)] + [twice]
        shape = [n for k, n in enumerate(shape) if k not in (i, j)] + [shape[i]]
    return _Value(tuple(labels), tuple(shape))


def _wanted(left: str, right: str | None, values: Sequence[_Value]) -> list[str]:
    """The labels of the result: as written, or the letters that appear once on the left in alphabetical order."""
    dots = max((sum(label[0] == "." for label in v.labels) for v in values), default=0)
    every = [label for v in values for label in v.labels]
    if right is None:
        once = [c for c in left if c.isalpha() and left.count(c) == 1]
        return [f".{i}" for i in reversed(range(dots))] + sorted(once, key=lambda c: (c.islower(), c))
    if right.count("...") > 1 or right.replace("...", "").count("."):
        raise RuntimeError(
            "einsum(): found '.' for output but an ellipsis (...) was already found"
            if right.count(".") > 3
            else "einsum(): found '.' for output that is not part of any ellipsis (...)"
        )
    wanted: list[str] = []
    for c in right.replace("...", "."):
        wanted += [f".{i}" for i in reversed(range(dots))] if c == "." else [c]
    for label in wanted:
        if label not in every:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input operand"
            )
        if wanted.count(label) > 1:
            raise RuntimeError(f"einsum(): output subscript {label} appears more than once in the output")
    return wanted


def _step(first: int, second: int, a: _Value, b: _Value, later: set[str]) -> tuple[_Step, _Value]:
    """One batched product; what nobody needs later is summed."""
    gone_a = tuple(d for d, c in enumerate(a.labels) if c not in later and c not in b.labels)
    gone_b = tuple(d for d, c in enumerate(b.labels) if c not in later and c not in a.labels)
    a, b = _without(a, gone_a), _without(b, gone_b)
    size_a, size_b = dict(zip(*a)), dict(zip(*b))
    size = {**size_a, **size_b}
    shared = [c for c in a.labels if c in size_b]
    for c in shared:  # a size 1 against another is broadcast
        size[c] = max(size_a[c], size_b[c]) if size_a[c] and size_b[c] else 0
    batch, inside = [c for c in shared if c in later], [c for c in shared if c not in later]
    rows, columns = [c for c in a.labels if c not in shared], [c for c in b.labels if c not in shared]

    def side(v: _Value, gone: tuple[int, ...], parts: list[list[str]]) -> _Side:
        wide = tuple(size[c] if c in shared and size[c] != n else -1 for c, n in zip(*v))
        order = tuple(v.labels.index(c) for part in parts for c in part)
        folded = tuple(math.prod(size[c] for c in part) for part in parts)
        same = folded == tuple(size[v.labels[d]] for d in order)
        return _Side(
            gone,
            None if set(wide) <= {-1} else wide,
            None if order == tuple(range(len(order))) else order,
            None if same else folded,  # type: ignore[arg-type]
        )

    labels = (*batch, *rows, *columns)
    shape = tuple(size[c] for c in labels)
    plain = (math.prod(size[c] for c in batch), math.prod(size[c] for c in rows), math.prod(size[c] for c in columns))
    left, right = side(a, gone_a, [batch, rows, inside]), side(b, gone_b, [batch, inside, columns])
    return _Step(first, second, left, right, None if shape == plain else shape), _Value(labels, shape)


def _without(v: _Value, gone: Iterable[int]) -> _Value:
    kept = [d for d in range(len(v.labels)) if d not in gone]
    return _Value(tuple(v.labels[d] for d in kept), tuple(v.shape[d] for d in kept))


# -- the order of the products -----------------------------------------------------------------------


def _order(operands: Sequence[Sequence[str]], wanted: frozenset[str], sizes: dict[str, int]) -> list[tuple[int, int]]:
    """Pairs of values to contract, each making the next value."""
    alive = {k: frozenset(labels) for k, labels in enumerate(operands)}
    if len(operands) <= 2:
        return [(0, 1)][: len(operands) - 1]
    if len(operands) <= _TRIED:
        return list(_cheapest(alive, wanted, sizes, len(operands))[1])
    found: list[tuple[int, int]] = []
    while len(alive) > 1:
        i, j = min(itertools.combinations(alive, 2), key=lambda pair: _gain(alive, *pair, wanted, sizes))
        made = _pair(alive, i, j, wanted, sizes)[1]
        alive = {**{k: v for k, v in alive.items() if k not in (i, j)}, len(operands) + len(found): made}
        found.append((i, j))
    return found


def _cheapest(
    alive: dict[int, frozenset[str]], wanted: frozenset[str], sizes: dict[str, int], fresh: int
) -> tuple[float, tuple[tuple[int, int], ...]]:
    """(work, pairs) of the best order, by trying all."""
    if len(alive) == 1:
        return 0, ()
    best: tuple[float, tuple[tuple[int, int], ...]] = math.inf, ()
    for i, j in itertools.combinations(alive, 2):
        work, made = _pair(alive, i, j, wanted, sizes)
        rest = {**{k: v for k, v in alive.items() if k not in (i, j)}, fresh: made}
        more, pairs = _cheapest(rest, wanted, sizes, fresh + 1)
        if work + more < best[0]:
            best = work + more, ((i, j), *pairs)
    return best


def _gain(
    alive: dict[int, frozenset[str]], i: int, j: int, wanted: frozenset[str], sizes: dict[str, int]
) -> tuple[float, float]:
    """(elements that a product of two values adds, its work): the least is the best."""
    work, made = _pair(alive, i, j, wanted, sizes)
    return _size(made, sizes) - _size(alive[i], sizes) - _size(alive[j], sizes), work


def _pair(
    alive: dict[int, frozenset[str]], i: int, j: int, wanted: frozenset[str], sizes: dict[str, int]
) -> tuple[float, frozenset[str]]:
    """The multiplications of a product of two values, and the labels of the result."""
    both = alive[i] | alive[j]
    later = wanted.union(*(labels for k, labels in alive.items() if k not in (i, j)))
    return _size(both, sizes), both & later


def _size(labels: Iterable[str], sizes: dict[str, int]) -> float:
    return math.prod(sizes[c] for c in labels)
