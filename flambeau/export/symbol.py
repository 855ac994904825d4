"""Sizes that may change: numbers that know what they are computed from, and their values for several choices.

A program is exported by running it once, with *probes*: several choices of the sizes that may change, inside their
bounds.  A symbolic number carries its value for each.  One that is the same for all is an ordinary number.  A
comparison, or other result, that is the same for all becomes a check in the exported program, so that a choice between
the probes for which it would be another is noticed when the program runs; a branch that differs is an error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

__all__ = ["Keeper", "SymBool", "SymFloat", "SymInt", "Symbolic", "symbolic"]


class Keeper(Protocol):
    """What symbolic numbers ask of the tracer that made them."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """A node that calls a function of numbers."""

    def decide(self, condition: SymBool) -> bool:
        """What a condition is for every choice of the sizes; raises if it depends on the choice."""

    def settle(self, number: Symbolic) -> Any:
        """The one value that a number has; raises if it has several."""

    def met(self, function: Callable[..., Any], args: Sequence[Any], value: Any) -> None:
        """Told that a function of symbolic numbers has the same value for every probe."""

    def spelled(self, values: Sequence[Any]) -> str:
        """The values as an expression of the sizes' names."""


class Origin(NamedTuple):
    """Where a symbolic number comes from: its tracer, its values for each probe, and what makes its node."""

    keeper: Keeper
    values: Sequence[Any]
    make: Callable[[], Any]


class Symbolic:
    """A number by its values for each probe; its node is made when that is first asked for."""

    __slots__ = ("_made", "keeper", "make", "values")

    def __init__(self, node: Origin) -> None:
        self.keeper, self.values, self.make = node.keeper, list(node.values), node.make
        self._made: Any = None

    @property
    def node(self) -> Any:
        """The node of the exported graph that computes it."""
        if self._made is None:
            self._made = self.make()
        return self._made

    def __repr__(self) -> str:
        return self.keeper.spelled(self.values)

    def __hash__(self) -> int:
        raise TypeError(f"unhashable type: {type(self).__name__} of a size that may change")

    def __bool__(self) -> bool:
        return bool(_apply(operator.ne, self, 0))

    def __int__(self) -> int:
        return int(self.keeper.settle(self))

    def __float__(self) -> float:
        return float(self.keeper.settle(self))


def symbolic(keeper: Keeper, values: Sequence[Any], make: Callable[[], Any]) -> Any:
    """A number with these values: an ordinary one if they are all the same."""
    first = values[0]
    if all(type(v) is type(first) and v == first for v in values):
        return first
    kind: type[Symbolic] = SymBool if isinstance(first, bool) else SymInt if isinstance(first, int) else SymFloat
    return kind(Origin(keeper, values, make))


def _apply(function: Callable[..., Any], *args: Any) -> Any:
    keeper = next(a.keeper for a in args if isinstance(a, Symbolic))
    count = next(len(a.values) for a in args if isinstance(a, Symbolic))
    values = [function(*[a.values[k] if isinstance(a, Symbolic) else a for a in args]) for k in range(count)]
    if all(v == values[0] for v in values):
        keeper.met(function, args, values[0])
    return symbolic(
        keeper, values, lambda: keeper.call(function, *[a.node if isinstance(a, Symbolic) else a for a in args])
    )


def _binary(function: Callable[[Any, Any], Any], swapped: bool = False) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (int, float, Symbolic)):
            return NotImplemented
        return _apply(function, other, self) if swapped else _apply(function, self, other)

    return method


def _unary(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda self: _apply(function, self)


for _name in ("add", "sub", "mul", "floordiv", "mod", "truediv", "pow"):
    setattr(Symbolic, f"__{_name}__", _binary(getattr(operator, _name)))
    setattr(Symbolic, f"__r{_name}__", _binary(getattr(operator, _name), swapped=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Symbolic, f"__{_name}__", _binary(getattr(operator, _name)))
for _name in ("neg", "pos", "abs"):
    setattr(Symbolic, f"__{_name}__", _unary(getattr(operator, _name)))


class SymInt(Symbolic):
    """A size, or an integer computed from sizes."""

    __slots__ = ()

    def __index__(self) -> int:
        return int(self.keeper.settle(self))


class SymFloat(Symbolic):
    """A number computed from sizes by division."""

    __slots__ = ()


class SymBool(Symbolic):
    """A comparison of sizes."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return self.keeper.decide(self)
