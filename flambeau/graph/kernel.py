"""A kernel of the loop IR under construction: what its buffers, scalars and parameter words stand for.

Every size and stride that is not 0 or 1 is a parameter word, so that a kernel serves all sizes of its class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..loop.nodes import Buffer, Combine, Expr, Kernel, Loop, Pool, Stmt, Store, Update, expressions, walk
from .complex import PART
from .group import Group, Write
from .heavy import HEAVY, keep_heavy
from .nest import Nest, flat_words, pieces

__all__ = ["KernelBuilder", "KernelCall", "unroll_of"]


class KernelCall(NamedTuple):
    """A kernel and what it is called with: buffers of the plan, scalars of the plan, parameter words from 2 on.

    ``flat`` is the cost of an element where the kernel is one loop over consecutive elements and its words are those
    of ``flat_words``, so that another number of elements needs only other words; 0 elsewhere.  ``stream_from`` is the
    number of elements from which such a kernel streams its results.  ``origins`` names the operators whose work it
    does, ``work`` counts the operations of their values.  ``address`` is that of its code, once that is known.
    """

    kernel: Kernel
    buffers: tuple[int, ...]
    scalars: tuple[int, ...]
    chunks: int
    words: tuple[int, ...]
    flat: int = 0
    stream_from: int = 0
    origins: tuple[str, ...] = ()
    work: int = 0
    address: int = 0


class KernelBuilder:
    """The kernel of a group: expressions of the group become expressions over buffers, loop variables and words.

    ``words`` are the kernel's parameters from number 2 on: the number of units of parallel work, how many of them make
    a chunk (both set by `finish`), then sizes and strides in the order in which they were asked for.
    """

    def __init__(self, group: Group) -> None:
        self.g = group
        self.pool = Pool()
        self.words: list[int] = [0, 0]
        self.written: set[int] = set()
        self.scalars: list[int] = []
        self.scalar_types: list[str] = []
        self.memo: dict[int, Expr] = {}
        self.offsets: dict[int, Expr] = {}
        self.sizes: dict[int, Expr] = {}
        self.extents: dict[int, Expr] = {}
        self.kept = keep_heavy(group)
        self.nest = Nest(group)
        # In the order the group was told, so that a plan of one kernel has a known signature.
        used = group.buffers_read() | {w.buffer for w in group.writes()}
        self.buffers = sorted({group.home(b) for b in used}, key=group.rank)

    def word(self, value: int) -> Expr:
        """A new parameter of the kernel."""
        self.words.append(value)
        return self.pool.make("param", "i64", (), 1 + len(self.words))

    def size(self, value: int) -> Expr:
        """A number of the shape at hand: 0 and 1 are part of the code, others come at run time."""
        if value in (0, 1):
            return self.pool.const(value, "i64")
        if value not in self.sizes:
            self.sizes[value] = self.word(value)
        return self.sizes[value]

    def extent(self, d: int) -> Expr:
        """The extent of a dimension's loop; it never shares a word with a stride that happens to be equal."""
        if d not in self.extents:
            self.extents[d] = self.word(next(n for e, n, _ in self.nest.loops if e == d))
        return self.extents[d]

    def bounds(self, d: int) -> tuple[Expr, Expr]:
        """The first and the last position (exclusive) of a dimension's loop: of the piece at hand, where the group
        cuts the dimension in pieces."""
        split = self.g.split
        if split is None or d != split[0]:
            return self.pool.const(0, "i64"), self.extent(d)
        make, whole = self.pool.make, self.extent(d)
        first = make("mul", "i64", (self.var(len(self.g.space)), self.size(split[1])))
        return first, make("min", "i64", (make("add", "i64", (first, self.size(split[1]))), whole))

    def var(self, d: int) -> Expr:
        """The variable of a dimension's loop."""
        return self.pool.make("var", "i64", (), self.nest.name_of[d])

    def offset(self, form: int, others: tuple[Expr, ...] = ()) -> Expr:
        """The position in its buffer that an access form stands for; ``others`` are pairs of a computed index of the
        group and its stride."""
        if others:
            return self._offset(form, others)
        if form not in self.offsets:
            self.offsets[form] = self._offset(form, ())
        return self.offsets[form]

    def _offset(self, form: int, others: tuple[Expr, ...]) -> Expr:
        make, one = self.pool.make, self.pool.const(1, "i64")
        before = self._element_before(form)
        if before is not None:
            return make("affine", "i64", (*self.offset(before, others).args, one, one))
        pairs: list[Expr] = []
        looped = {d for d, _, _ in self.nest.loops}
        for d, c in self.nest.coefficients[form].items():
            if d in looped:
                plain = c == 1 or (c in (-1, 2) and d == self.nest.vector)
                pairs += [self.var(d), self.pool.const(c, "i64") if plain else self.word(c)]
        const = self.g.forms[form].const
        if const:
            pairs += [self.word(const), one]
        return make("affine", "i64", (*pairs, *(self.expr(e) for e in others)))

    def _element_before(self, form: int) -> int | None:
        """The form in use that is always one less than this one, where both move by two along the vector: accesses to
        the parts of complex numbers."""
        if self.nest.coefficients[form].get(self.nest.vector or 0) != 2:
            return None
        terms, const = self.g.forms[form].terms, self.g.forms[form].const
        same = (
            o for o in self.nest.coefficients if self.g.forms[o].terms == terms and self.g.forms[o].const == const - 1
        )
        return next(same, None)

    def buffer(self, buffer: int) -> int:
        """The kernel's number of a buffer of the plan."""
        buffer = self.g.home(buffer)
        if buffer not in self.buffers:
            self.buffers.append(buffer)
        return self.buffers.index(buffer)

    def expr(self, e: Expr) -> Expr:
        """The kernel's expression for one of the group."""
        found = self.memo.get(id(e))
        if found is not None:
            return found
        if e.op == "access":
            buffer, form = e.attr
            found = self.pool.make("load", e.type, (self.offset(form, e.args),), self.buffer(buffer))
        elif e.op == "index":
            found = self.offset(e.attr)
        elif e.op == "size":
            found = self.size(e.attr)
        elif e.op == "scalar":
            if e.attr not in self.scalars:
                self.scalars.append(e.attr)
                self.scalar_types.append(e.type)
            found = self.pool.make("scalar", e.type, (), self.scalars.index(e.attr))
        else:
            found = self.pool.make(e.op, e.type, tuple(self.expr(a) for a in e.args), e.attr)
        self.memo[id(e)] = found
        return found

    def write(self, w: Write) -> Stmt:
        """The statement that stores or combines a result."""
        buffer = self.buffer(w.buffer)
        self.written.add(buffer)
        offset = self.offset(w.form, w.others)
        if w.kind == "store":
            return Store(buffer, offset, self.expr(w.value))
        return Combine(buffer, offset, w.kind, self.expr(w.value))

    def with_digits(self, body: tuple[Stmt, ...], outer: list[tuple[int, int]], rest: Expr) -> tuple[Stmt, ...]:
        """The statements with the outer loops' variables, which are the digits of the number ``rest`` in the base of
        their extents: loops of one iteration name them."""
        make, one = self.pool.make, self.pool.const(1, "i64")
        for k in range(len(outer) - 1, -1, -1):
            d = outer[k][0]
            digit = rest if k == 0 else make("rem", "i64", (rest, self.extent(d)))
            if k + 1 < len(outer):  # what lies inside counts faster
                below = math.prod(m for _, m in outer[k + 1 :])
                quotient = make("quot", "i64", (rest, self.word(below)))
                digit = quotient if k == 0 else make("rem", "i64", (quotient, self.extent(d)))
            body = (Loop(self.nest.name_of[d], digit, make("add", "i64", (digit, one)), False, 1, body),)
        return body

    def finish(self, body: tuple[Stmt, ...], units: int, cost: int, flat: int = 0, stream_from: int = 0) -> KernelCall:
        """The kernel of ``body``, a unit of work of this cost, and its call over all units.

        ``flat`` is the cost of an element if the kernel may be one loop over consecutive elements, ``stream_from`` as
        in `KernelCall`.
        """
        grain, chunks = pieces(units, cost)
        self.words[:2] = units, grain
        words = tuple(self.words)
        if flat and (len(words) != 4 or flat_words(words[3], flat) != (chunks, words)):
            flat = 0
        types = (self.g.type_of(b) for b in self.buffers)
        buffers = tuple(Buffer(PART.get(t, t), i in self.written) for i, t in enumerate(types))
        kernel = Kernel("", buffers, tuple(self.scalar_types), 2 + len(words), body)
        return KernelCall(kernel, tuple(self.buffers), tuple(self.scalars), chunks, words, flat, stream_from)


def unroll_of(body: Sequence[Stmt]) -> int:
    """How many vectors of a loop are in flight at once: as many as hide the latency of a light reduction, fewer where
    nothing waits for the step before (processors then overlap steps themselves, and long runs of loads and then
    stores only disturb them), or where a function of many instructions hides it."""
    if not any(isinstance(s, Update) for s in walk(tuple(body))):
        return 2
    stack = [e for s in walk(tuple(body)) for e in expressions(s)]
    seen: set[int] = set()
    while stack:
        e = stack.pop()
        if id(e) not in seen:
            if e.op in HEAVY:
                return 2
            seen.add(id(e))
            stack.extend(e.args)
    return 4
