"""One group of values to one kernel of the loop IR: statements, expressions, and what is left to run time.

``group.py`` says what is computed, ``nest.py`` in which loops; here both become code, in which every size and stride
that is not 0 or 1 is a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..dtype import coded
from ..loop.nodes import (
    TILE,
    Buffer,
    Check,
    Combine,
    Expr,
    Init,
    Kernel,
    Loop,
    Pool,
    Prefetch,
    Stmt,
    Store,
    Turn,
    Update,
    expressions,
    visit,
    walk,
)  # fmt: skip
from .complex import PART
from .group import Group, Reduction, Write
from .heavy import HEAVY, keep_heavy
from .nest import BLOCK, WIDE, Nest, flat_words, pieces

__all__ = ["KernelCall", "kernel_of"]

_RUN = 64  # rows whose sum is taken before it is added to that of the rows before
_VECTOR_RUN = 4096  # the same for the elements of a row that are added in vectors, several sums side by side
_SIDE = 8  # rows that are folded side by side where a result is folded in memory
_PANEL = 256, 2048  # columns of a unit of such a kernel: the fewest, and the most where there are other units beside


class KernelCall(NamedTuple):
    """A kernel and what it is called with: buffers of the plan, scalars of the plan, parameter words from 2 on.

    ``flat`` is the cost of an element where the kernel is one loop over consecutive elements and its words are those
    of ``flat_words``, so that another number of elements needs only other words; 0 elsewhere.  ``stream_from`` is the
    number of elements from which such a kernel streams its results.  ``origins`` names the operators whose work it
    does, ``work`` counts the operations of their values.
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


def kernel_of(group: Group) -> KernelCall | None:
    """The kernel that does a group's work, or None when there is none to do."""
    if any(n == 0 for d, n in enumerate(group.space) if d not in group.reduced):
        return None
    if any(n == 0 for n in group.space) and not group.stages:
        return None
    return _Lowering(group).run()


class _Lowering:
    """A kernel under construction: what its buffers, scalars and parameter words stand for, and its expressions."""

    def __init__(self, group: Group) -> None:
        self.g = group
        self.pool = Pool()
        self.words: list[int] = []
        self.buffers: list[int] = []
        self.written: set[int] = set()
        self.scalars: list[int] = []
        self.scalar_types: list[str] = []
        self.memo: dict[int, Expr] = {}
        self.form_memo: dict[int, Expr] = {}
        self.size_memo: dict[int, Expr] = {}
        self.kept = keep_heavy(group)
        self.nest = Nest(group)

    def _number_buffers(self) -> None:
        """Buffers in the order the group was told, so that a plan of one kernel has a known signature."""
        g = self.g
        used = g.buffers_read()
        used |= {w.buffer for w in g.writes()}
        self.buffers = sorted({g.home(b) for b in used}, key=g.rank)

    # -- expressions -----------------------------------------------------------------------------
    def _word(self, value: int) -> Expr:
        self.words.append(value)
        return self.pool.make("param", "i64", (), 1 + len(self.words))

    def _size(self, value: int) -> Expr:
        """A number of the shape at hand: 0 and 1 are part of the code, others come at run time."""
        if value in (0, 1):
            return self.pool.const(value, "i64")
        if value not in self.size_memo:
            self.size_memo[value] = self._word(value)
        return self.size_memo[value]

    def _var(self, d: int) -> Expr:
        return self.pool.make("var", "i64", (), self.nest.name_of[d])

    def _form_expr(self, f: int, others: tuple[Expr, ...] = ()) -> Expr:
        if not others and f in self.form_memo:
            return self.form_memo[f]
        pairs: list[Expr] = []
        kept = {d for d, _, _ in self.nest.loops}
        before = self._element_before(f)
        if before is not None:
            one = self.pool.const(1, "i64")
            pairs = [*self._form_expr(before, others).args, one, one]
            found = self.pool.make("affine", "i64", tuple(pairs))
            if not others:
                self.form_memo[f] = found
            return found
        for d, c in self.nest.coefficients[f].items():
            if d in kept:
                plain = c == 1 or (c in (-1, 2) and d == self.nest.vector)
                pairs += [self._var(d), self.pool.const(c, "i64") if plain else self._word(c)]
        const = self.g.forms[f].const
        if const:
            pairs += [self._word(const), self.pool.const(1, "i64")]
        for i in range(0, len(others), 2):
            pairs += [self._expr(others[i]), self._expr(others[i + 1])]
        result = self.pool.make("affine", "i64", tuple(pairs))
        if not others:
            self.form_memo[f] = result
        return result

    def _element_before(self, f: int) -> int | None:
        """The form in use that is always one less than this one, where both move by two along the vector: accesses to
        the parts of complex numbers."""
        if self.nest.coefficients[f].get(self.nest.vector or 0) != 2:
            return None
        terms, const = self.g.forms[f].terms, self.g.forms[f].const
        same = (
            o for o in self.nest.coefficients if self.g.forms[o].terms == terms and self.g.forms[o].const == const - 1
        )
        return next(same, None)

    def _buffer(self, buffer: int) -> int:
        buffer = self.g.home(buffer)
        if buffer not in self.buffers:
            self.buffers.append(buffer)
        return self.buffers.index(buffer)

    def _expr(self, e: Expr) -> Expr:
        found = self.memo.get(id(e))
        if found is not None:
            return found
        if e.op == "access":
            buffer, form = e.attr
            found = self.pool.make("load", e.type, (self._form_expr(form, e.args),), self._buffer(buffer))
        elif e.op == "index":
            found = self._form_expr(e.attr)
        elif e.op == "size":
            found = self._size(e.attr)
        elif e.op == "scalar":
            if e.attr not in self.scalars:
                self.scalars.append(e.attr)
                self.scalar_types.append(e.type)
            found = self.pool.make("scalar", e.type, (), self.scalars.index(e.attr))
        else:
            found = self.pool.make(e.op, e.type, tuple(self._expr(a) for a in e.args), e.attr)
        self.memo[id(e)] = found
        return found

    def _write(self, w: Write) -> Stmt:
        buffer = self._buffer(w.buffer)
        self.written.add(buffer)
        offset = self._form_expr(w.form, w.others)
        if w.kind == "store":
            return Store(buffer, offset, self._expr(w.value))
        return Combine(buffer, offset, w.kind, self._expr(w.value))

    # -- the kernel ------------------------------------------------------------------------------
    def run(self) -> KernelCall:
        g = self.g
        split_dim = len(g.space) if g.split is not None else -1
        self._number_buffers()
        special = self._turned() or self._row_by_row()
        if special is not None:
            return special
        vector = self.nest.vector
        self.words += [0, 0]  # units and grain, known at the end
        reduced = [(d, n) for d, n, r in self.nest.loops if r]
        if vector is not None and any(d == vector for d, _ in reduced):
            reduced = [x for x in reduced if x[0] != vector] + [x for x in reduced if x[0] == vector]
        outer = [(d, n) for d, n, r in self.nest.loops if not r and d != vector]
        lanes_outer = vector is not None and all(d != vector for d, _ in reduced)
        make, const = self.pool.make, self.pool.const
        zero = const(0, "i64")

        def bounds(d: int) -> tuple[Expr, Expr]:
            n = self._size_of_loop(d)
            if g.split is not None and d == g.split[0]:
                c = self._var(split_dim)
                lo = make("mul", "i64", (c, self._size(g.split[1])))
                end = make("add", "i64", (lo, self._size(g.split[1])))
                return lo, make("min", "i64", (end, n))
            return zero, n

        def over_reduced(
            body: list[Stmt], vectors: bool, sums: dict[str, str] | None = None, long: int = -1, length: int = 0
        ) -> list[Stmt]:
            """``body`` in the loops over a row; loop number ``long`` goes by runs, of each of which ``sums`` are taken
            before they are added to those of the runs before, so that rounding errors do not add up along the whole."""
            unroll = _unroll(body)
            for k, (d, _) in reversed(list(enumerate(reduced))):
                lo, hi = bounds(d)
                first, runs, is_vector = lo, lo, vectors and d == vector
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
                    whole = [
                        Update(acc, "add", make("acc", type_, (), f"{acc}.run"), None) for acc, type_ in sums.items()
                    ]
                    body = [Loop("block", zero, runs, False, 1, (*start, *body, *whole))]
            return body

        def summed(stage: list[Reduction], work: list[Stmt]) -> list[Stmt]:
            """The pass over a row of a stage: by runs, if there are sums of single precision and a long loop."""
            sums = {r.acc: r.type for r in stage if r.kind == "add" and r.type == "f32"}
            extents = [g.split[1] if g.split is not None and d == g.split[0] else n for d, n in reduced]
            most = _VECTOR_RUN if reduced and reduced[-1][0] == vector else _RUN
            inside = 1  # elements of an iteration
            for k in range(len(reduced) - 1, -1 if sums else len(reduced), -1):
                if extents[k] * inside >= 2 * most:
                    each = [
                        s._replace(acc=f"{s.acc}.run") if isinstance(s, Update) and s.acc in sums else s for s in work
                    ]
                    # a power of two, so that few lengths need code of their own
                    return over_reduced(each, True, sums, k, max(1, most >> (inside - 1).bit_length()))
                inside *= extents[k]
            return over_reduced(work, True)

        inner: list[Stmt] = []
        for k, stage in enumerate(g.stages):
            inner += [Init(r.acc, r.kind, r.type) for r in stage]
            work: list[Stmt] = [Check(self._expr(c.holds), c.code) for c in g.checks[k]]
            work += [
                Update(r.acc, r.kind, self._expr(r.value), self._expr(r.index) if r.index is not None else None)
                for r in stage
            ]
            work += [self._write(w) for w in self.kept[k]]
            inner += summed(stage, work)
        for name, kind, type_, value, index, w in g.scan_writes:
            inner.append(Init(name, kind, type_))
            inner += over_reduced(
                [
                    *(Check(self._expr(c.holds), c.code) for c in g.checks[-1]),
                    Update(name, kind, self._expr(value), self._expr(index) if index is not None else None, True),
                    self._write(w),
                ],
                True,
            )
        inner += [self._write(w) for w in g.row_writes]
        element: list[Stmt] = []
        if not g.scan_writes:
            element += [Check(self._expr(c.holds), c.code) for c in g.checks[-1]]
        element += [self._write(w) for w in g.element_writes]
        in_order = bool(element) and g.serial and lanes_outer
        if element and not in_order:
            inner += over_reduced(element, not any(w.kind != "store" for w in g.element_writes) and not g.serial)
        # the units of parallel work: positions of the outer loops, and blocks of the vector loop if that is one
        row_work = 1
        for _, n in reduced:
            row_work *= n
        unit = make("var", "i64", (), "unit")
        extents = [n for _, n in outer]
        blocks = 1
        if lanes_outer:
            assert vector is not None
            n = next(n for d, n, _ in self.nest.loops if d == vector)
            few = 1
            for m in extents:
                few *= m
            block = self.nest.block(n, row_work, few)
            blocks = -(-n // block)
            step = self._word(block)
            if outer and blocks == 1:
                part, rest = zero, unit
            elif outer:
                count = self._word(blocks)
                part, rest = make("rem", "i64", (unit, count)), make("quot", "i64", (unit, count))
            else:
                part, rest = unit, zero
            lo = make("mul", "i64", (part, step))
            hi = make("min", "i64", (make("add", "i64", (lo, step)), self._size_of_loop(vector)))
            if in_order:  # elements one after the other, the vectors of each inside
                inner += over_reduced([Loop(self.nest.name_of[vector], lo, hi, True, 2, tuple(element))], False)
            lane_unroll = _unroll(inner) if not reduced or n >= 64 else 1
            if reduced and block == WIDE and lane_unroll == 4:
                lane_unroll = 8
            if not reduced and outer and n in (64, 128) and lane_unroll == 2:  # a short row in as few steps as possible
                lane_unroll = 4
            if not in_order:
                inner = [Loop(self.nest.name_of[vector], lo, hi, True, lane_unroll, tuple(inner))]
            row_work *= block
        else:
            rest = unit
        if blocks == 1:
            inner, row_work = self._within_unit(inner, outer, row_work)
        units = blocks
        for _, m in outer:
            units *= m
        streamed, stream_from = self.nest.streamed(block if lanes_outer else None)
        inner = _with_streams(inner, {self._buffer(b) for b in streamed})
        # outer indices are the digits of the unit: loops of one iteration give them their names
        body: tuple[Stmt, ...] = tuple(inner)
        body = self._with_digits(body, outer, rest)
        cost = row_work * max(1, 4 * self.nest.heavy) * max(1, len(self.g.stages) + bool(element))
        grain, chunks = pieces(units, cost)
        self.words[0], self.words[1] = units, grain
        each = cost // row_work if row_work else 0
        steps = {c.get(vector) for c in self.nest.coefficients.values()} if vector is not None else set()
        plain = (
            lanes_outer and not outer and not reduced and not g.scan_writes and len(self.words) == 4 and 2 not in steps
        )
        flat = each if plain and flat_words(self.words[3], each) == (chunks, tuple(self.words)) else 0
        kernel = Kernel(
            "", tuple(Buffer(_memory_type(g.type_of(b)), i in self.written) for i, b in enumerate(self.buffers)),
            tuple(self.scalar_types), 2 + len(self.words), body,
        )  # fmt: skip
        return KernelCall(
            kernel, tuple(self.buffers), tuple(self.scalars), chunks, tuple(self.words), flat, stream_from
        )

    def _turned(self) -> KernelCall | None:
        """The kernel of a group that copies elements from runs along one dimension to runs along another, in tiles that
        are turned over in registers; None for any other group."""
        g, make = self.g, self.pool.make
        alone = g.stages or g.scan_writes or g.row_writes or g.serial or g.split is not None or any(g.checks)
        if alone or len(g.element_writes) != 1:
            return None
        w = g.element_writes[0]
        value = w.value
        type_ = g.type_of(w.buffer)
        if w.kind != "store" or w.others or value.op != "access" or value.args or type_ != g.type_of(value.attr[0]):
            return None
        to, source = self.nest.coefficients[w.form], self.nest.coefficients[value.attr[1]]
        extent = {d: n for d, n, _ in self.nest.loops}
        long = [d for d in extent if extent[d] >= TILE]
        rows = next((d for d in long if source.get(d, 0) == 1 and to.get(d, 0) > 1), None)
        cols = next((d for d in long if to.get(d, 0) == 1 and source.get(d, 0) > 1), None)
        if rows is None or cols is None or type_ in PART or coded(type_).itemsize not in (4, 8):
            return None
        self.words += [0, 0]
        tiles = {d: -(-extent[d] // TILE) for d in (rows, cols)}
        others = [(d, n) for d, n in extent.items() if d not in tiles]

        def offset(form: int) -> Expr:
            terms = self.nest.coefficients[form]
            pairs: list[Expr] = []
            for d, c in terms.items():
                if d in extent:
                    pairs += [self._var(d), self._word(c * TILE if d in tiles else c)]
            if g.forms[form].const:
                pairs += [self._word(g.forms[form].const), self.pool.const(1, "i64")]
            return make("affine", "i64", tuple(pairs))

        def left(d: int) -> Expr:
            side = self.pool.const(TILE, "i64")
            rest = make("sub", "i64", (self._word(extent[d]), make("mul", "i64", (self._var(d), side))))
            return make("min", "i64", (rest, side))

        turn = Turn(
            self._buffer(value.attr[0]), self._buffer(w.buffer), offset(value.attr[1]), self._word(source[cols]),
            offset(w.form), self._word(to[rows]), left(rows), left(cols),
        )  # fmt: skip
        self.written.add(turn.target)
        across = Loop(self.nest.name_of[cols], self.pool.const(0, "i64"), self._word(tiles[cols]), False, 1, (turn,))
        outer = [*others, (rows, tiles[rows])]
        for d in tiles:  # `_with_digits` asks for the extent of a loop that counts tiles
            self.size_memo[-1 - d] = self._word(tiles[d])
        body = self._with_digits((across,), outer, make("var", "i64", (), "unit"))
        units = math.prod(n for _, n in outer)
        grain, chunks = pieces(units, TILE * extent[cols])
        self.words[0], self.words[1] = units, grain
        buffers = tuple(Buffer(_memory_type(g.type_of(b)), i in self.written) for i, b in enumerate(self.buffers))
        kernel = Kernel("", buffers, (), 2 + len(self.words), body)
        return KernelCall(kernel, tuple(self.buffers), (), chunks, tuple(self.words))

    def _row_by_row(self) -> KernelCall | None:
        """The kernel of a group that folds many rows into one, several at a time from end to end: memory is read
        in its order; what was folded so far waits in the result, which stays in the first-level cache.  None for any
        other group, and where rows are short: those are kept in registers."""
        g, make, nest = self.g, self.pool.make, self.nest
        if len(g.stages) != 1 or g.element_writes or g.scan_writes or g.serial or any(g.checks) or self.kept[0]:
            return None
        stage = {r.acc: r for r in g.stages[0]}
        targets = {w.value.attr: w for w in g.row_writes if w.kind == "store" and not w.others and w.value.op == "acc"}
        if len(targets) != len(g.row_writes) or set(targets) != set(stage) or any(r.index for r in stage.values()):
            return None
        reduced = [(d, n) for d, n, r in nest.loops if r]
        vector = nest.vector
        split_dim = len(g.space) if g.split is not None else -1
        if len(reduced) != 1 or vector in (None, reduced[0][0], split_dim):
            return None
        assert vector is not None
        n = next(n for d, n, _ in nest.loops if d == vector)
        steps = [nest.coefficients[w.form].get(vector) for w in targets.values()]
        types = all(g.type_of(targets[a].buffer) == r.type for a, r in stage.items())
        d, extent = reduced[0]
        whole = g.split is None or g.split[0] != d
        rows = extent if whole or g.split is None else g.split[1]
        if n < _PANEL[0] or rows < 2 * _SIDE or set(steps) != {1} or not types:
            return None
        self.words += [0, 0]
        const, zero, one = self.pool.const, self.pool.const(0, "i64"), self.pool.const(1, "i64")
        loads: dict[tuple[int, int], None] = {}
        for r in stage.values():
            visit(r.value, lambda e: loads.setdefault(e.attr) if e.op == "access" and not e.args else None)
        name, lane = nest.name_of[d], nest.name_of[vector]
        first, last = zero, self._size_of_loop(d)
        if not whole:
            first = make("mul", "i64", (self._var(split_dim), self._size(rows)))
            last = make("min", "i64", (make("add", "i64", (first, self._size(rows))), last))
        outer = [(e, m) for e, m, r in nest.loops if not r and e != vector]
        few = math.prod(m for _, m in outer)
        width = n if n <= 2 * _PANEL[1] and few >= 16 else min(_PANEL[1], max(_PANEL[0], -(-n // 1024) * 64))
        blocks = -(-n // width)
        unit, count, step = make("var", "i64", (), "unit"), self._word(blocks), self._word(width)
        left = make("mul", "i64", (make("rem", "i64", (unit, count)), step))
        right = make("min", "i64", (make("add", "i64", (left, step)), self._size_of_loop(vector)))

        def across(statements: Sequence[Stmt]) -> Loop:
            return Loop(lane, left, right, True, _unroll(statements), tuple(statements))

        clear: list[Stmt] = []
        start: list[Stmt] = []
        fold: list[Stmt] = []
        finish: list[Stmt] = []
        for acc, r in stage.items():
            buffer, offset = self._buffer(targets[acc].buffer), self._form_expr(targets[acc].form)
            self.written.add(buffer)
            clear += [
                Init(f"{acc}.none", r.kind, r.type),
                Store(buffer, offset, make("acc", r.type, (), f"{acc}.none")),
            ]
            start.append(Init(acc, r.kind, r.type))
            fold.append(Update(acc, r.kind, self._expr(r.value), None))
            finish.append(Combine(buffer, offset, r.kind, make("acc", r.type, (), acc)))
        at = make("add", "i64", (first, make("mul", "i64", (make("var", "i64", (), "block"), const(_SIDE, "i64")))))
        end = make("min", "i64", (make("add", "i64", (at, const(_SIDE, "i64"))), last))
        ahead = [
            Prefetch(self._buffer(b), make("affine", "i64", (self._form_expr(f), one, self._word(_SIDE * apart), one)))
            for b, f in loads
            if (apart := nest.coefficients[f].get(d, 0)) and nest.coefficients[f].get(vector) == 1
        ]
        rows_together = Loop(name, at, end, False, 1 if nest.heavy else _SIDE, (*ahead, *fold))
        group = across([*start, rows_together, *finish])
        extra = make("sub", "i64", (make("add", "i64", (last, const(_SIDE - 1, "i64"))), first))
        runs = make("quot", "i64", (extra, const(_SIDE, "i64")))
        passes = (across(clear), Loop("block", zero, runs, False, 1, (group,)))
        body = self._with_digits(passes, outer, make("quot", "i64", (unit, count)))
        units = blocks * few
        grain, chunks = pieces(units, rows * width * (4 if nest.heavy else 1))
        self.words[0], self.words[1] = units, grain
        buffers = tuple(Buffer(_memory_type(g.type_of(b)), i in self.written) for i, b in enumerate(self.buffers))
        kernel = Kernel("", buffers, tuple(self.scalar_types), 2 + len(self.words), body)
        return KernelCall(kernel, tuple(self.buffers), tuple(self.scalars), chunks, tuple(self.words))

    def _within_unit(self, inner: list[Stmt], outer: list[tuple[int, int]], row_work: int) -> tuple[list[Stmt], int]:
        """Takes short loops off ``outer`` into the unit of work, whose digits cost divisions; returns the statements
        and the work of a unit."""
        fixed = {self.g.split[0], len(self.g.space)} if self.g.split is not None else set()
        while outer and outer[-1][0] not in fixed and row_work * outer[-1][1] <= BLOCK:
            d, n = outer.pop()
            zero = self.pool.const(0, "i64")
            inner = [Loop(self.nest.name_of[d], zero, self._size_of_loop(d), False, 1, tuple(inner))]
            row_work *= n
        return inner, row_work

    def _size_of_loop(self, d: int) -> Expr:
        key = -1 - d  # extents never share a word with strides that happen to be equal
        if key not in self.size_memo:
            self.size_memo[key] = self._word(next(n for e, n, _ in self.nest.loops if e == d))
        return self.size_memo[key]

    def _with_digits(self, body: tuple[Stmt, ...], outer: list[tuple[int, int]], rest: Expr) -> tuple[Stmt, ...]:
        make, one = self.pool.make, self.pool.const(1, "i64")
        for k in range(len(outer) - 1, -1, -1):
            d = outer[k][0]
            value = rest if k == 0 else make("rem", "i64", (rest, self._size_of_loop(d)))
            # the digits further out divide by what lies inside them
            digit = value
            below = 1
            for _, m in outer[k + 1 :]:
                below *= m
            if k + 1 < len(outer):
                quotient = make("quot", "i64", (rest, self._word(below)))
                digit = quotient if k == 0 else make("rem", "i64", (quotient, self._size_of_loop(d)))
            body = (Loop(self.nest.name_of[d], digit, make("add", "i64", (digit, one)), False, 1, body),)
        return body


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


def _unroll(body: Sequence[Stmt]) -> int:
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


def _memory_type(type_: str) -> str:
    return PART.get(type_, type_)
