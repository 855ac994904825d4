"""One group of values to one kernel of the loop IR.

``group.py`` says what is computed, ``nest.py`` in which loops; here both become code.  Two kinds of groups have loops
of their own: copies that turn tiles over (``turn.py``) and folds of many rows into one (``fold.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..loop.nodes import Check, Expr, Init, Loop, Stmt, Store, Update
from .fold import folded
from .group import Group, Reduction
from .kernel import KernelBuilder, KernelCall, unroll_of
from .nest import BLOCK, WIDE
from .streams import streams_of, together
from .turn import turned

__all__ = ["kernel_of"]

_RUN = 64  # rows whose sum is taken before it is added to that of the rows before
_VECTOR_RUN = 1024  # the same for the elements of a row that are added in vectors, several sums side by side


def kernel_of(group: Group) -> KernelCall | None:
    """The kernel that does a group's work, or None when there is none to do."""
    if any(n == 0 for d, n in enumerate(group.space) if d not in group.reduced):
        return None
    if any(n == 0 for n in group.space) and not group.stages:
        return None
    builder = KernelBuilder(group)
    return turned(builder) or folded(builder) or _Rows(builder).kernel()


class _Rows:
    """The kernel of a group in which a unit of work is a row, or a block of rows side by side in vectors.

    ``outer`` are the loops over rows, ``reduced`` those over the elements of a row, innermost last; ``lanes`` is the
    dimension of rows side by side, or None where the vectors lie along a row.
    """

    def __init__(self, builder: KernelBuilder) -> None:
        self.b, self.g, self.nest = builder, builder.g, builder.nest
        vector = self.nest.vector
        reduced = [(d, n) for d, n, r in self.nest.loops if r]
        self.reduced = [x for x in reduced if x[0] != vector] + [x for x in reduced if x[0] == vector]
        self.lanes = None if any(d == vector for d, _ in reduced) else vector
        self.outer = [(d, n) for d, n, r in self.nest.loops if not r and d != vector]

    def kernel(self) -> KernelCall:
        """The kernel: the statements of a row, within a unit of parallel work, within the loops over rows."""
        b, g, nest = self.b, self.g, self.nest
        row = self._passes()
        elements = self._elements()
        in_order = bool(elements) and g.serial and self.lanes is not None
        if elements and not in_order:
            vectors = not g.serial and all(w.kind == "store" for w in g.element_writes)
            row += self._over_row(elements, vectors)
        work = math.prod(n for _, n in self.reduced)
        rest = b.pool.make("var", "i64", (), "unit")
        block = None
        blocks = 1
        if self.lanes is not None:
            n = next(n for d, n, _ in nest.loops if d == self.lanes)
            block = nest.block(n, work, math.prod(m for _, m in self.outer))
            blocks = -(-n // block)
            work *= block
            first, last, rest = self._block(block, blocks)
            if in_order:  # elements one after the other, the vectors of each inside
                row += self._over_row([self._lanes_loop(first, last, 2, elements)], False)
            else:
                row = [self._lanes_loop(first, last, self._lanes_unroll(row, n, block), row)]
        if blocks == 1:
            row, work = self._within_unit(row, work)
        streamed, stream_from = nest.streamed(block)
        row = _with_streams(row, {b.buffer(s) for s in streamed})
        body = b.with_digits(tuple(row), self.outer, rest)
        cost = max(1, 4 * nest.heavy) * max(1, len(g.stages) + bool(elements))
        steps = {c.get(nest.vector) for c in nest.coefficients.values()} if nest.vector is not None else set()
        plain = self.lanes is not None and not self.outer and not self.reduced and not g.scan_writes and 2 not in steps
        units = blocks * math.prod(m for _, m in self.outer)
        return b.finish(body, units, work * cost, cost if plain else 0, stream_from)

    # -- the statements of a row -------------------------------------------------------------------
    def _checks(self, stage: int) -> list[Stmt]:
        return [Check(self.b.expr(c.holds), c.code) for c in self.g.checks[stage]]

    def _update(self, r: Reduction, running: bool = False) -> Update:
        index = None if r.index is None else self.b.expr(r.index)
        return Update(r.acc, r.kind, self.b.expr(r.value), index, running)

    def _passes(self) -> list[Stmt]:
        """Stages of reductions, scans, and what is stored once for a row."""
        b, g = self.b, self.g
        row: list[Stmt] = []
        for k, stage in enumerate(g.stages):
            row += [Init(r.acc, r.kind, r.type) for r in stage]
            row += self._stage(stage, [*self._checks(k), *map(self._update, stage), *map(b.write, b.kept[k])])
        for name, kind, type_, value, index, w in g.scan_writes:
            row.append(Init(name, kind, type_))
            scan = self._update(Reduction(name, kind, type_, value, index), True)
            row += self._over_row([*self._checks(-1), scan, b.write(w)], True)
        return row + [b.write(w) for w in g.row_writes]

    def _elements(self) -> list[Stmt]:
        """What is done for every element of a row once all reductions are known."""
        checks = [] if self.g.scan_writes else self._checks(-1)
        return [*checks, *map(self.b.write, self.g.element_writes)]

    def _stage(self, stage: list[Reduction], work: list[Stmt]) -> list[Stmt]:
        """The pass over a row of a stage.

        Sums of single precision over a long loop are taken by runs, which are then added, so that rounding errors do
        not add up along the whole (pairwise summation's idea: Higham, "The accuracy of floating point summation",
        1993).
        """
        g = self.g
        sums = {r.acc: r.type for r in stage if r.kind == "add" and r.type == "f32"}
        each = [s._replace(acc=f"{s.acc}.run") if isinstance(s, Update) and s.acc in sums else s for s in work]
        last = len(self.reduced) - 1
        if self.reduced and self.reduced[last][0] == self.nest.vector and all(isinstance(s, Update) for s in work):
            d, n = self.reduced[last]
            streams = streams_of(self.b, stage, g.split[1] if g.split is not None and d == g.split[0] else n)
            if streams > 1:
                begin = together(self.b, stage, sums, d, streams, unroll_of(work))
                return self._over_row(each, True, sums, last if sums else -1, _VECTOR_RUN, begin)
        most = _VECTOR_RUN if self.reduced and self.reduced[-1][0] == self.nest.vector else _RUN
        inside = 1  # elements of an iteration
        for k in reversed(range(len(self.reduced) if sums else 0)):
            d, n = self.reduced[k]
            extent = g.split[1] if g.split is not None and d == g.split[0] else n
            if extent * inside >= 2 * most:
                # a power of two, so that few lengths need code of their own
                return self._over_row(each, True, sums, k, max(1, most >> (inside - 1).bit_length()))
            inside *= extent
        return self._over_row(work, True)

    def _over_row(
        self, body: list[Stmt], vectors: bool, sums: dict[str, str] | None = None, long: int = -1, length: int = 0,
        begin: tuple[Stmt, Expr] | None = None,
    ) -> list[Stmt]:  # fmt: skip
        """``body`` in the loops over a row; loop number ``long`` goes by runs of ``length``, of each of which ``sums``
        (accumulators and their types) are taken before they are added to those of the runs before.  ``begin`` is what
        does the beginning of the innermost loop, and where it ends."""
        make, const = self.b.pool.make, self.b.pool.const
        unroll = unroll_of(body)
        for k, (d, _) in reversed(list(enumerate(self.reduced))):
            lo, hi = self.b.bounds(d)
            before = begin if k == len(self.reduced) - 1 else None
            lo = lo if before is None else before[1]
            first, runs, is_vector = lo, lo, vectors and d == self.nest.vector
            if k == long:
                run = const(length, "i64")
                count = make("sub", "i64", (make("add", "i64", (hi, const(length - 1, "i64"))), lo))
                runs = make("quot", "i64", (count, run))
                first = make("add", "i64", (lo, make("mul", "i64", (make("var", "i64", (), "block"), run))))
                hi = make("min", "i64", (make("add", "i64", (first, run)), hi))
            body = [Loop(self.nest.name_of[d], first, hi, is_vector, unroll if is_vector else 1, tuple(body))]
            if k == long:
                assert sums is not None
                start = [Init(f"{acc}.run", "add", type_) for acc, type_ in sums.items()]
                whole = [Update(acc, "add", make("acc", type_, (), f"{acc}.run"), None) for acc, type_ in sums.items()]
                body = [Loop("block", const(0, "i64"), runs, False, 1, (*start, *body, *whole))]
            if before is not None:
                body = [before[0], *body]
        return body

    # -- rows in a unit of work ----------------------------------------------------------------------
    def _block(self, block: int, blocks: int) -> tuple[Expr, Expr, Expr]:
        """The first and last (exclusive) of the rows side by side that a unit does, and what the unit's number says of
        the outer loops."""
        make, zero = self.b.pool.make, self.b.pool.const(0, "i64")
        assert self.lanes is not None
        step = self.b.word(block)
        part = unit = make("var", "i64", (), "unit")
        rest = zero
        if self.outer and blocks == 1:
            part, rest = zero, unit
        elif self.outer:
            count = self.b.word(blocks)
            part, rest = make("rem", "i64", (unit, count)), make("quot", "i64", (unit, count))
        first = make("mul", "i64", (part, step))
        return first, make("min", "i64", (make("add", "i64", (first, step)), self.b.extent(self.lanes))), rest

    def _lanes_loop(self, first: Expr, last: Expr, unroll: int, body: list[Stmt]) -> Loop:
        assert self.lanes is not None
        return Loop(self.nest.name_of[self.lanes], first, last, True, unroll, tuple(body))

    def _lanes_unroll(self, row: list[Stmt], n: int, block: int) -> int:
        """How many vectors of rows side by side are in flight at once."""
        unroll = unroll_of(row) if not self.reduced or n >= 64 else 1
        if self.reduced and block == WIDE and unroll == 4:
            return 8
        if (
            not self.reduced and self.outer and n in (64, 128) and unroll == 2
        ):  # a short row in as few steps as possible
            return 4
        return unroll

    def _within_unit(self, row: list[Stmt], work: int) -> tuple[list[Stmt], int]:
        """Takes short loops off ``outer`` into the unit of work, whose digits cost divisions; returns the statements
        and the work of a unit."""
        fixed = {self.g.split[0], len(self.g.space)} if self.g.split is not None else set()
        while self.outer and self.outer[-1][0] not in fixed and work * self.outer[-1][1] <= BLOCK:
            d, n = self.outer.pop()
            zero = self.b.pool.const(0, "i64")
            row = [Loop(self.nest.name_of[d], zero, self.b.extent(d), False, 1, tuple(row))]
            work *= n
        return row, work


def _with_streams(body: Sequence[Stmt], buffers: set[int]) -> list[Stmt]:
    """The statements, with their stores to ``buffers`` streamed."""
    if not buffers:
        return list(body)
    return [
        s._replace(body=tuple(_with_streams(s.body, buffers)))
        if isinstance(s, Loop)
        else s._replace(stream=True)
        if isinstance(s, Store) and s.buffer in buffers
        else s
        for s in body
    ]
