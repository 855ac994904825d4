"""The loop IR: what one kernel does, for every target.

Grammar::

    Kernel   ::= name, buffers, scalars, parallel loop over units, statements
    Stmt     ::= Loop(var, lo, hi, vector, body)        for var in [lo, hi): in vectors when vector is set
               | Init(acc, kind, type)                  acc = identity of kind
               | Update(acc, kind, value)               acc = combine(acc, value)
               | Store(buffer, offset, value)           buffer[offset] = value
               | Combine(buffer, offset, kind, value)   buffer[offset] = combine(buffer[offset], value), serially
               | Turn(source, target, ...)              the transpose of a tile is copied
               | Prefetch(buffer, offset)               buffer[offset] will be read soon
               | Check(value, code)                     where value is false: report error code, and go on
    Expr     ::= Expr(op, type, args, attr)
      op     ::= "const" attr | "param" index | "scalar" index | "var" name | "acc" name
               | "load" buffer, args (offset [, guard])  the element at offset; 0 where the guard is false
               | "affine"                                args (i0, s0, i1, s1, ...): sum of i*s
               | one of ELEMENTWISE

Types are the short codes of ``flambeau.dtype`` ("f32", "i64", "b1"); complex numbers do not exist here
(lowering splits them into parts).  Offsets are i64, in elements of the buffer's type.

Everything is immutable.  Expressions are hash-consed by ``Expr.make``: equal expressions are one object,
so that a shared subexpression is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = [
    "COMMUTATIVE",
    "ELEMENTWISE",
    "TILE",
    "Buffer",
    "Check",
    "Combine",
    "Expr",
    "Init",
    "Kernel",
    "Loop",
    "Pool",
    "Prefetch",
    "Stmt",
    "Store",
    "Turn",
    "Update",
    "expressions",
    "walk",
]  # fmt: skip

# name -> number of operands; the result has the operands' type unless said otherwise
ELEMENTWISE: dict[str, int] = {
    # arithmetic
    "add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "abs": 1, "max": 2, "min": 2, "fma": 3,
    "idiv": 2, "imod": 2,  # integers: rounding towards zero; remainder of the sign of the dividend
    "gcd": 2,  # integers: the greatest common divisor, not negative
    "ipow": 2,  # integers: a power, in the bits of the type, by an exponent without a sign
    "quot": 2, "rem": 2,  # of index arithmetic: non-negative dividend, positive divisor
    "shl": 2, "shr": 2, "and": 2, "or": 2, "xor": 2, "not": 1,
    # comparisons give b1
    "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2,
    "select": 3,  # (b1, T, T)
    "cast": 1, "bitcast": 1,  # to the node's type
    "floor": 1, "ceil": 1, "trunc": 1, "rint": 1, "isnan": 1, "signbit": 1, "copysign": 2,
    # the vector maths library
    **dict.fromkeys(
        ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
        "cosh",
         "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "sqrt", "rsqrt", "sigmoid", "lgamma", "digamma"),
         1),
    "pow": 2, "atan2": 2, "hypot": 2, "fmod": 2, "nextafter": 2,
}  # fmt: skip
COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
COMMUTATIVE = frozenset({"add", "mul", "gcd", "max", "min", "and", "or", "xor", "eq", "ne"})
LEAVES = frozenset({"const", "param", "scalar", "var", "acc"})
REDUCTIONS = frozenset({"add", "mul", "max", "min", "and", "or", "argmax", "argmin"})


class Expr:
    """One scalar operation; see the module's grammar.  Made by ``Pool.make``."""

    __slots__ = ("args", "attr", "op", "type")
    op: str
    type: str
    args: tuple[Expr, ...]
    attr: Any

    def __repr__(self) -> str:
        return f"Expr({self.op}:{self.type} {self.attr!r} {self.args!r})"


class Pool:
    """Makes expressions, each once."""

    def __init__(self) -> None:
        self._table: dict[tuple[object, ...], Expr] = {}

    def make(self, op: str, type_: str, args: tuple[Expr, ...] = (), attr: Any = None) -> Expr:
        """The expression with these parts."""
        # 0.0 and -0.0, or 1 and True, are equal as dictionary keys but not as constants
        key = (op, type_, tuple(map(id, args)), repr(attr) if op == "const" else attr)
        found = self._table.get(key)
        if found is None:
            found = Expr()
            found.op, found.type, found.args, found.attr = op, type_, args, attr
            self._table[key] = found
        return found

    def const(self, value: float | int | bool, type_: str) -> Expr:
        """A constant."""
        return self.make("const", type_, (), value)


class Buffer(NamedTuple):
    """A buffer argument: its element type, and whether the kernel writes it."""

    type: str
    written: bool


class Loop(NamedTuple):
    """``for var in range(lo, hi)``; in vectors of the target's width when ``vector``.

    ``unroll`` vectors, or iterations of a loop that is none in vectors, are in flight at once (in reductions in vectors
    with accumulators of their own).
    """

    var: str
    lo: Expr
    hi: Expr
    vector: bool
    unroll: int
    body: tuple[Stmt, ...]


class Init(NamedTuple):
    """Starts accumulator ``acc`` at the identity of ``kind``.

    "argmax" and "argmin" carry a value and an index: they take two accumulators, ``acc`` (the value)
    and ``acc + ".index"`` (i64, first occurrence wins).
    """

    acc: str
    kind: str
    type: str


class Update(NamedTuple):
    """Folds ``value`` (for argmax and argmin: and ``index``) into ``acc``.

    ``running``: the statements after it in the loop read what ``acc`` is after each iteration (a scan).
    """

    acc: str
    kind: str
    value: Expr
    index: Expr | None = None  # type: ignore[assignment]
    running: bool = False


class Store(NamedTuple):
    """``buffer[offset] = value``, where ``guard`` (if given) holds.

    ``stream`` says that whole vectors lie on multiples of their size or of 64 bytes, and that nobody reads them soon:
    they go past the caches.
    """

    buffer: int
    offset: Expr
    value: Expr
    guard: Expr | None = None
    stream: bool = False


class Combine(NamedTuple):
    """``buffer[offset] = combine(buffer[offset], value)``: offsets may repeat between iterations, so that the
    surrounding loops run in order; lanes of a vector loop must have different offsets."""

    buffer: int
    offset: Expr
    kind: str
    value: Expr


class Turn(NamedTuple):
    """The transpose of a tile, ``target[write + i * write_step + j] = source[read + j *
    read_step + i]`` for i below ``rows`` and j below ``cols``, each at most `TILE`."""

    source: int
    target: int
    read: Expr
    read_step: Expr
    write: Expr
    write_step: Expr
    rows: Expr
    cols: Expr


TILE = 16


class Prefetch(NamedTuple):
    """Asks for the element (in a vector loop, those of all lanes) at ``offset``, which may lie outside of the buffer,
    to be brought into the second-level cache."""

    buffer: int
    offset: Expr


class Check(NamedTuple):
    """Reports error ``code`` when ``value`` (b1) is false."""

    value: Expr
    code: int


Stmt = Loop | Init | Update | Store | Combine | Turn | Prefetch | Check


class Kernel(NamedTuple):
    """A whole kernel.

    The chunk number given to the body stands for the units ``chunk*grain .. min(units, (chunk+1)*grain)``,
    where ``units`` is param 2 and ``grain`` param 3; ``body`` runs for each unit, which is the variable "unit".
    ``scalars`` are the types of the run-time numbers ("f64" or "i64").  ``params`` counts the words used.
    """

    name: str
    buffers: tuple[Buffer, ...]
    scalars: tuple[str, ...]
    params: int
    body: tuple[Stmt, ...]


def walk(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """All statements, outer before inner."""
    for s in body:
        yield s
        if isinstance(s, Loop):
            yield from walk(s.body)


def expressions(s: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement evaluates itself (a loop's: its bounds)."""
    if isinstance(s, Loop):
        return (s.lo, s.hi)
    if isinstance(s, Update):
        return (s.value,) if s.index is None else (s.value, s.index)
    if isinstance(s, Store):
        return (s.offset, s.value) if s.guard is None else (s.offset, s.value, s.guard)
    if isinstance(s, Combine):
        return (s.offset, s.value)
    if isinstance(s, Check):
        return (s.value,)
    if isinstance(s, Prefetch):
        return (s.offset,)
    if isinstance(s, Turn):
        return (s.read, s.read_step, s.write, s.write_step, s.rows, s.cols)
    return ()


def visit(e: Expr, function: Callable[[Expr], None], seen: set[int] | None = None) -> None:
    """Calls ``function`` once for every subexpression of ``e``, arguments first."""
    seen = set() if seen is None else seen
    if id(e) in seen:
        return
    seen.add(id(e))
    for a in e.args:
        visit(a, function, seen)
    function(e)
