"""Integers that remember how they were computed, so that what was planned for some sizes holds for others.

A plan is made of numbers that follow from the sizes of its operands (extents, strides, cuts of the work), and of
decisions that the planner took by looking at such numbers.  With sizes that are `Varying` it yields both: every
number is a term over the sizes, and every comparison a *guard*.  Other sizes for which all guards come out as they did
have the same plan, with the terms' values for them.

What cannot be a term (a number as text, as a float, as bits) fixes the integer: the guard is that it is equal.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Scope", "Varying"]

_TERMS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "quot": operator.floordiv,
    "rem": operator.mod,
}
_GUARDS: dict[str, Callable[[Any, Any], bool]] = {"eq": operator.eq, "lt": operator.lt}


class Scope:
    """The integers of one planning: ``sizes`` are the values with which it is done."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._terms: list[tuple[str, int, int]] = []
        self._known: dict[tuple[str, int, int], Varying | int] = {}
        self._guards: dict[tuple[str, int, int], bool] = {}
        self._numbers: dict[int, int] = {}  # a constant -> its term
        self.sizes = [self._new("size", k, 0, n) for k, n in enumerate(sizes)]
        """Integers that stand for the sizes."""

    def _new(self, op: str, a: int, b: int, value: int) -> Varying:
        self._terms.append((op, a, b))
        found = int.__new__(Varying, value)
        found.scope, found.at = self, len(self._terms) - 1
        return found

    def _term(self, x: Any) -> int:
        """The number of the term that an operand is."""
        if x.__class__ is Varying:
            if x.scope is not self:
                raise AssertionError("sizes of two plans were mixed")
            return x.at
        found = self._numbers.get(x)
        if found is None:
            found = self._numbers[x] = len(self._terms)
            self._terms.append(("const", int(x), 0))
        return found

    def compute(self, op: str, x: int, y: int) -> int:
        """The result of an operation of `_TERMS`, as a term."""
        if x.__class__ is not Varying and y.__class__ is Varying and op in ("add", "mul"):
            x, y = y, x
        if y.__class__ is not Varying:
            if y == 0 and op in ("add", "sub", "mul"):
                return 0 if op == "mul" else x
            if y == 1 and op in ("mul", "quot"):
                return x
        key = (op, self._term(x), self._term(y))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._new(*key, _TERMS[op](int.__int__(x), int.__int__(y)))
        return found

    def holds(self, op: str, x: int, y: int) -> bool:
        """The result of a comparison of `_GUARDS`, which other sizes have to share."""
        key = (op, self._term(x), self._term(y))
        if key[1] == key[2]:
            return op == "eq"
        found = self._guards.get(key)
        if found is None:
            found = self._guards[key] = _GUARDS[op](int.__int__(x), int.__int__(y))
        return found

    def values(self, sizes: Sequence[int]) -> list[int] | None:
        """The value of every term for these sizes; None if a guard comes out differently."""
        found: list[int] = []
        add = found.append
        try:
            for op, a, b in self._terms:
                add(sizes[a] if op == "size" else a if op == "const" else _TERMS[op](found[a], found[b]))
        except ZeroDivisionError:
            return None
        for (op, a, b), truth in self._guards.items():
            if _GUARDS[op](found[a], found[b]) is not truth:
                return None
        return found

    def settled(self) -> bool:
        """Whether no other sizes can do: every one was compared with a number that it is equal to."""
        equal = {
            k
            for (op, a, b), truth in self._guards.items()
            if op == "eq" and truth
            for k, other in ((a, b), (b, a))
            if self._terms[other][0] == "const"
        }
        return all(n.at in equal for n in self.sizes)


def _binary(op: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    fallback, mirrored = getattr(int, _METHODS[op]), getattr(int, _METHODS[op].replace("__", "__r", 1))

    def plain(self: Varying, other: Any) -> Any:
        return self.scope.compute(op, self, other) if isinstance(other, int) else fallback(self.fixed(), other)

    def reflected(self: Varying, other: Any) -> Any:
        return self.scope.compute(op, other, self) if isinstance(other, int) else mirrored(self.fixed(), other)

    return plain, reflected


_METHODS = {"add": "__add__", "sub": "__sub__", "mul": "__mul__", "quot": "__floordiv__", "rem": "__mod__"}


def _fixing(name: str) -> Callable[..., Any]:
    """A method of integers that has no term."""
    plain = getattr(int, name)

    def run(self: Varying, *args: Any) -> Any:
        return plain(self.fixed(), *[a.fixed() if a.__class__ is Varying else a for a in args])

    return run


class Varying(int):
    """A value of a scope: a size, or what was computed of sizes."""

    scope: Scope
    at: int

    def fixed(self) -> int:
        """The value, which is the same for all sizes from now on."""
        value = int.__int__(self)
        self.scope.holds("eq", self, value)
        return value

    __add__, __radd__ = _binary("add")
    __sub__, __rsub__ = _binary("sub")
    __mul__, __rmul__ = _binary("mul")
    __floordiv__, __rfloordiv__ = _binary("quot")
    __mod__, __rmod__ = _binary("rem")

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __neg__(self) -> int:
        return 0 - self

    def __pos__(self) -> int:
        return self

    def __abs__(self) -> int:
        return -self if self < 0 else self

    def __eq__(self, other: object) -> Any:
        return self.scope.holds("eq", self, other) if isinstance(other, int) else int.__eq__(self.fixed(), other)

    def __ne__(self, other: object) -> Any:
        return not self == other

    def __lt__(self, other: Any) -> Any:
        return self.scope.holds("lt", self, other) if isinstance(other, int) else int.__lt__(self.fixed(), other)

    def __gt__(self, other: Any) -> Any:
        return self.scope.holds("lt", other, self) if isinstance(other, int) else int.__gt__(self.fixed(), other)

    def __le__(self, other: Any) -> Any:
        return not self.scope.holds("lt", other, self) if isinstance(other, int) else int.__le__(self.fixed(), other)

    def __ge__(self, other: Any) -> Any:
        return not self.scope.holds("lt", self, other) if isinstance(other, int) else int.__ge__(self.fixed(), other)

    def __bool__(self) -> bool:
        return not self == 0

    def __hash__(self) -> int:
        # Not that of the value: tables of what was made for ordinary integers must not answer for all sizes.
        return hash((id(self.scope), self.at))

    @property
    def real(self) -> int:
        return self


for _name in (
    "__and__", "__rand__", "__or__", "__ror__", "__xor__", "__rxor__", "__lshift__", "__rlshift__", "__rshift__",
    "__rrshift__", "__invert__", "__pow__", "__rpow__", "__truediv__", "__rtruediv__", "__int__", "__float__",
    "__index__", "__trunc__", "__round__", "__floor__", "__ceil__", "__repr__", "__str__", "__format__", "bit_length",
    "bit_count", "to_bytes",
):  # fmt: skip
    setattr(Varying, _name, _fixing(_name))
