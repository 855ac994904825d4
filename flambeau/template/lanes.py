"""Algorithms of linear algebra for as many matrices at once as a vector has lanes: matrix k is computed in lane k.

A matrix lies in scratch memory as *cells*: one vector for each of its elements (two, real and imaginary parts, if it is
complex), which holds that element of all matrices.  Every step of an algorithm is then an instruction on whole vectors,
whatever the sizes; what differs between matrices (the choice of a pivot) is a comparison and a selection.  A lane's
arithmetic does not depend on the others.

All sizes and steps are run-time values.  The algorithms work on narrow blocks of columns and look to the left (G. Golub
and C. Van Loan, Matrix Computations, 3.2 and 4.2), so that nearly all of the arithmetic is in `Lanes.update`, a product
whose tiles stay in registers.
"""

from __future__ import annotations

from typing import NamedTuple

from ..target.builder import Module, Val, vec_type
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from ..target.turn import transpose
from .flow import Flow, function

__all__ = ["BLOCK", "Lanes", "Matrix"]

BLOCK = 4
"""Columns that are eliminated one by one before the columns behind them are."""
Number = tuple[Val, ...]
_SIZE = {"float": 4, "double": 8}


class Matrix(NamedTuple):
    """Matrices in cells: the address of the first one, and the steps from row to row and from column to column."""

    base: Val
    row: Val
    column: Val

    @property
    def turned(self) -> Matrix:
        """The transpose."""
        return Matrix(self.base, self.column, self.row)


class Lanes:
    """Writes the functions; ``real`` is the type computed in ("f32", "f64"), ``parts`` is 2 for complex numbers."""

    def __init__(self, module: Module, isa: ISA, real: str, parts: int) -> None:
        self.module, self.isa, self.parts = module, isa, parts
        self.elem = LLVM_TYPE[real]
        self.lanes = isa.lanes(self.elem)
        self.vector = vec_type(self.elem, self.lanes)
        self.ints = vec_type("i32", self.lanes)
        self.bytes = _SIZE[self.elem] * self.lanes
        wide = isa.registers >= 32
        self.tile = (4 if wide and parts == 1 else 2, 4 if wide or parts == 1 else 2)

    @property
    def cell(self) -> int:
        """Bytes of a cell."""
        return self.bytes * self.parts

    # -- cells -------------------------------------------------------------------------------------
    def at(self, b: Flow, m: Matrix, i: Val | int, c: Val | int) -> Val:
        """The address of an element's cell."""
        place = b.iadd(b.imul(m.row, i), b.imul(m.column, c))
        return b.at(self.vector, m.base, b.imul(place, self.parts))

    def part(self, b: Flow, m: Matrix, i: Val | int, c: Val | int) -> Matrix:
        """What begins at an element."""
        return Matrix(self.at(b, m, i, c), m.row, m.column)

    def get(self, b: Flow, place: Val) -> Number:
        """The number in a cell."""
        return tuple(b.load(self.vector, b.at(self.vector, place, p), self.bytes) for p in range(self.parts))

    def put(self, b: Flow, value: Number, place: Val) -> None:
        """Writes a cell."""
        for p, x in enumerate(value):
            b.store(x, b.at(self.vector, place, p), self.bytes)

    # -- arithmetic --------------------------------------------------------------------------------
    def _less_product(self, b: Flow, acc: Number, x: Number, y: Number) -> Number:
        """``acc - x y``."""
        minus = [b.fneg(v) for v in x]
        if self.parts == 1:
            return (self._fma(b, minus[0], y[0], acc[0]),)
        real = self._fma(b, x[1], y[1], self._fma(b, minus[0], y[0], acc[0]))
        return real, self._fma(b, minus[1], y[0], self._fma(b, minus[0], y[1], acc[1]))

    def _fma(self, b: Flow, x: Val, y: Val, z: Val) -> Val:
        return b.fma(x, y, z) if self.module.fma else b.fadd(b.fmul(x, y), z)

    def _quotient(self, b: Flow, x: Number, y: Number) -> Number:
        """``x / y``; a complex divisor is scaled by its larger part, which keeps its square in range."""
        if self.parts == 1:
            return (b.fdiv(x[0], y[0]),)
        sizes = [b.intrinsic("llvm.fabs", self.vector, v) for v in y]
        scale = b.select(b.cmp("ogt", sizes[0], sizes[1]), sizes[0], sizes[1])
        c, d = (b.fdiv(v, scale) for v in y)
        below = self._fma(b, y[0], c, b.fmul(y[1], d))
        real = self._fma(b, x[0], c, b.fmul(x[1], d))
        imaginary = self._fma(b, x[1], c, b.fneg(b.fmul(x[0], d)))
        return b.fdiv(real, below), b.fdiv(imaginary, below)

    def _conj(self, b: Flow, x: Number, yes: bool) -> Number:
        return (x[0], b.fneg(x[1])) if yes and self.parts == 2 else x

    def is_zero(self, b: Flow, x: Number) -> Val:
        """The lanes in which a number is 0."""
        zero = b.const(self.vector, 0)
        masks = [b.cmp("oeq", v, zero) for v in x]
        return masks[0] if len(masks) == 1 else b.op("and", *masks)

    def note(self, b: Flow, info: Val, failed: Val, index: Val) -> None:
        """Where ``failed`` holds and ``info`` is 0 it becomes ``index + 1``."""
        old = b.load(self.ints, info, 4)
        first = b.op("and", failed, b.cmp("eq", old, b.const(self.ints, 0)))
        place = self.splat(b, b.iadd(index, 1))
        b.store(b.select(first, place, old), info, 4)

    # -- functions of matrices ---------------------------------------------------------------------
    def _call(self, b: Flow, name: str, *args: Matrix | Val | int) -> None:
        """Calls one of the functions below, which is written at its first call: matrices are three arguments."""
        flat: list[Val] = []
        for a in args:
            flat += a if isinstance(a, Matrix) else [b.i64(a) if isinstance(a, int) else a]
        shapes = [isinstance(a, Matrix) for a in args]
        kind, *flags = name.split(".")

        def write(inner: Flow, *values: Val) -> None:
            rest, given = list(values), []
            for matrix in shapes:
                given.append(Matrix(*rest[:3]) if matrix else rest[0])
                del rest[: 3 if matrix else 1]
            getattr(self, f"_write_{kind}")(inner, *given, **dict.fromkeys(flags, True))
            inner.ret()

        types = [(v.type, f"a{i}") for i, v in enumerate(flat)]
        b.call_void(function(self.module, self.isa, name, types, write, attributes="noinline"), *flat)

    def update(
        self, b: Flow, c: Matrix, x: Matrix, y: Matrix, rows: Val | int, columns: Val | int, depth: Val | int,
        left: bool = False, right: bool = False,
    ) -> None:  # fmt: skip
        """``c -= x y`` with the conjugate of one of the factors, or none."""
        self._call(b, self._flagged("update", left=left, right=right), c, x, y, rows, columns, depth)

    def _flagged(self, name: str, unit: bool = False, **conjugates: bool) -> str:
        """The name of a function with flags; real numbers need none for conjugates."""
        flags = {"unit": unit, **(conjugates if self.parts == 2 else {})}
        return ".".join([name, *(flag for flag, on in flags.items() if on)])

    def _write_update(
        self, b: Flow, c: Matrix, x: Matrix, y: Matrix, rows: Val, columns: Val, depth: Val,
        left: bool = False, right: bool = False,
    ) -> None:  # fmt: skip
        high, wide = self.tile
        with b.when(b.icmp("sgt", depth, 0)), b.loop(0, rows, high) as i, b.loop(0, columns, wide) as j:
            # rows and columns beyond the last are that one again: what is stored there twice is the same
            at = [b.imin(b.iadd(i.index, r), b.isub(rows, 1)) for r in range(high)]
            to = [b.imin(b.iadd(j.index, s), b.isub(columns, 1)) for s in range(wide)]
            places = [self.at(b, c, r, s) for r in at for s in to]
            lines = [self.at(b, x, r, 0) for r in at]
            tops = [self.at(b, y, 0, s) for s in to]
            start = [v for place in places for v in self.get(b, place)]
            with b.loop(0, depth, carry=start) as k:
                down = b.imul(b.imul(k.index, y.row), self.parts)
                along = b.imul(b.imul(k.index, x.column), self.parts)
                factors = [self._conj(b, self.get(b, b.at(self.vector, top, down)), right) for top in tops]
                found: list[Val] = []
                for r, line in enumerate(lines):
                    value = self._conj(b, self.get(b, b.at(self.vector, line, along)), left)
                    for s in range(wide):
                        first = (r * wide + s) * self.parts
                        acc = tuple(k.values[first : first + self.parts])
                        found += self._less_product(b, acc, value, factors[s])
                k.next = found
            for n, place in enumerate(places):
                self.put(b, tuple(k.values[n * self.parts : (n + 1) * self.parts]), place)

    def cholesky(self, b: Flow, a: Matrix, n: Val, info: Val) -> None:
        """The lower triangle becomes the factor L of ``a = L L^H``."""
        with b.loop(0, n, BLOCK) as j:
            width = b.imin(b.isub(n, j.index), BLOCK)
            corner, rows = self.part(b, a, j.index, j.index), b.isub(n, j.index)
            line = self.part(b, a, j.index, 0)
            self.update(b, corner, line, line.turned, rows, width, j.index, right=True)
            self._call(b, "cholesky_block", corner, rows, width, info, j.index)

    def _write_cholesky_block(self, b: Flow, a: Matrix, rows: Val, width: Val, info: Val, before: Val) -> None:
        one, zero = b.const(self.vector, 1), b.const(self.vector, 0)
        with b.loop(0, width) as p:
            place = self.at(b, a, p.index, p.index)
            pivot = self.get(b, place)[0]
            self.note(b, info, b.cmp("ule", pivot, zero), b.iadd(before, p.index))
            root = b.intrinsic("llvm.sqrt", self.vector, pivot)
            self.put(b, (root, zero)[: self.parts], place)
            scale, below = b.fdiv(one, root), b.iadd(p.index, 1)
            with b.loop(below, rows) as i:
                spot = self.at(b, a, i.index, p.index)
                self.put(b, tuple(b.fmul(v, scale) for v in self.get(b, spot)), spot)
            with b.loop(below, width) as q:
                factor = self._conj(b, self.get(b, self.at(b, a, q.index, p.index)), True)
                with b.loop(q.index, rows) as i:
                    spot = self.at(b, a, i.index, q.index)
                    value = self.get(b, self.at(b, a, i.index, p.index))
                    self.put(b, self._less_product(b, self.get(b, spot), value, factor), spot)

    def clear_above(self, b: Flow, a: Matrix, n: Val) -> None:
        """Zeros above the diagonal."""
        zero = (b.const(self.vector, 0),) * self.parts
        with b.loop(0, n) as i, b.loop(b.iadd(i.index, 1), n) as c:
            self.put(b, zero, self.at(b, a, i.index, c.index))

    def forward(
        self, b: Flow, t: Matrix, x: Matrix, rows: Val, columns: Val, unit: bool = False, conj: bool = False
    ) -> None:
        """``x`` becomes Y with ``t Y = x``, for lower triangles; ``conj``: of the conjugate of t."""
        self._call(b, self._flagged("forward", unit=unit, conj=conj), t, x, rows, columns)

    def backward(
        self, b: Flow, t: Matrix, x: Matrix, rows: Val, columns: Val, unit: bool = False, conj: bool = False
    ) -> None:
        """``x`` becomes Y with ``t Y = x``, for upper triangles; ``conj``: of the conjugate of t."""
        self._call(b, self._flagged("backward", unit=unit, conj=conj), t, x, rows, columns)

    def _write_forward(
        self, b: Flow, t: Matrix, x: Matrix, rows: Val, columns: Val, unit: bool = False, conj: bool = False
    ) -> None:
        with b.loop(0, rows, BLOCK) as i:
            width = b.imin(b.isub(rows, i.index), BLOCK)
            corner, known = self.part(b, t, i.index, i.index), self.part(b, t, i.index, 0)
            part = self.part(b, x, i.index, 0)
            self.update(b, part, known, x, width, columns, i.index, left=conj)
            with b.loop(0, width) as p:
                self._find_row(b, corner, part, p.index, (b.iadd(p.index, 1), width), columns, unit, conj)

    def _write_backward(
        self, b: Flow, t: Matrix, x: Matrix, rows: Val, columns: Val, unit: bool = False, conj: bool = False
    ) -> None:
        blocks = b.idiv(b.iadd(rows, BLOCK - 1), BLOCK)
        with b.loop(0, blocks) as k:
            first = b.imul(b.isub(b.isub(blocks, k.index), 1), BLOCK)
            width = b.imin(b.isub(rows, first), BLOCK)
            end = b.iadd(first, width)
            corner, part = self.part(b, t, first, first), self.part(b, x, first, 0)
            known, below = self.part(b, t, first, end), self.part(b, x, end, 0)
            self.update(b, part, known, below, width, columns, b.isub(rows, end), left=conj)
            with b.loop(0, width) as q:
                p = b.isub(b.isub(width, q.index), 1)
                self._find_row(b, corner, part, p, (b.i64(0), p), columns, unit, conj)

    def _find_row(
        self, b: Flow, t: Matrix, x: Matrix, p: Val, others: tuple[Val, Val], columns: Val, unit: bool, conj: bool
    ) -> None:  # fmt: skip
        """Row p is divided by the diagonal, and its multiples taken from the ``others`` of its block."""
        divisor = self._conj(b, self.get(b, self.at(b, t, p, p)), conj)
        with b.loop(0, columns) as c:
            place = self.at(b, x, p, c.index)
            value = self.get(b, place)
            if not unit:
                value = self._quotient(b, value, divisor)
                self.put(b, value, place)
            with b.loop(*others) as q:
                spot = self.at(b, x, q.index, c.index)
                factor = self._conj(b, self.get(b, self.at(b, t, q.index, p)), conj)
                self.put(b, self._less_product(b, self.get(b, spot), factor, value), spot)

    def eliminate(self, b: Flow, a: Matrix, x: Matrix, m: Val, n: Val, columns: Val, pivots: Val, info: Val) -> None:
        """``a`` becomes L and U in one matrix by elimination with partial pivoting, whose exchanges are made in the
        ``columns`` of ``x`` too; each goes to ``pivots``, counted from 1, and the first pivot that is 0 to ``info``."""
        k = b.imin(m, n)
        with b.loop(0, k, BLOCK) as j:
            width = b.imin(b.isub(k, j.index), BLOCK)
            strip, corner = self.part(b, a, 0, j.index), self.part(b, a, j.index, j.index)
            self.forward(b, a, strip, j.index, width, unit=True)
            self.update(b, corner, self.part(b, a, j.index, 0), strip, b.isub(m, j.index), width, j.index)
            self._call(b, "eliminate_block", a, x, m, n, columns, j.index, b.iadd(j.index, width), pivots, info)
        self.forward(b, a, self.part(b, a, 0, k), k, b.isub(n, k), unit=True)

    def _write_eliminate_block(
        self, b: Flow, a: Matrix, x: Matrix, m: Val, n: Val, columns: Val, first: Val, end: Val, pivots: Val, info: Val
    ) -> None:  # fmt: skip
        with b.loop(first, end) as each:
            p, below = each.index, b.iadd(each.index, 1)
            start = self._size(b, self.get(b, self.at(b, a, p, p)))
            with b.loop(below, m, carry=[start, self.splat(b, below)]) as i:
                best, place = i.values
                size = self._size(b, self.get(b, self.at(b, a, i.index, p)))
                more = b.cmp("ogt", size, best)
                i.next = [b.select(more, size, best), b.select(more, self.splat(b, b.iadd(i.index, 1)), place)]
            b.store(i.values[1], b.at(self.ints, pivots, p), 4)
            self._call(b, "exchange_row", a, p, pivots, m, n)
            self._call(b, "exchange_row", x, p, pivots, m, columns)
            pivot = self.get(b, self.at(b, a, p, p))
            zero = self.is_zero(b, pivot)
            self.note(b, info, zero, p)
            with b.loop(below, m) as i:
                spot = self.at(b, a, i.index, p)
                value = self.get(b, spot)
                found = self._quotient(b, value, pivot)
                self.put(b, tuple(b.select(zero, *pair) for pair in zip(value, found)), spot)
            with b.loop(below, end) as q:
                top = self.get(b, self.at(b, a, p, q.index))
                with b.loop(below, m) as i:
                    spot, left = self.at(b, a, i.index, q.index), self.get(b, self.at(b, a, i.index, p))
                    self.put(b, self._less_product(b, self.get(b, spot), left, top), spot)

    def _size(self, b: Flow, x: Number) -> Val:
        """What pivots are compared by: the sum of the parts' absolute values, as in BLAS."""
        parts = [b.intrinsic("llvm.fabs", self.vector, v) for v in x]
        return parts[0] if len(parts) == 1 else b.fadd(*parts)

    def splat(self, b: Flow, value: Val) -> Val:
        """An i64 as the integer of every lane."""
        return b.splat(b.cast("trunc", value, "i32"), self.lanes)

    def exchange(
        self, b: Flow, x: Matrix, count: Val, rows: Val, columns: Val, pivots: Val, back: bool = False
    ) -> None:
        """Exchanges rows as ``eliminate`` did, or takes that back."""
        with b.loop(0, count) as k:
            p = b.isub(b.isub(count, k.index), 1) if back else k.index
            self._call(b, "exchange_row", x, p, pivots, rows, columns)

    def _write_exchange_row(self, b: Flow, x: Matrix, p: Val, pivots: Val, rows: Val, columns: Val) -> None:
        """Exchanges row p and, in each lane, the row that the p-th of ``pivots`` counts from 1: none before it."""
        other = b.load(self.ints, b.at(self.ints, pivots, p), 4)
        with b.loop(b.iadd(p, 1), rows) as i:
            here = b.cmp("eq", other, self.splat(b, b.iadd(i.index, 1)))
            with b.when(self._any(b, here)), b.loop(0, columns) as c:
                top, spot = self.at(b, x, p, c.index), self.at(b, x, i.index, c.index)
                one, two = self.get(b, top), self.get(b, spot)
                self.put(b, tuple(b.select(here, v, u) for u, v in zip(one, two)), top)
                self.put(b, tuple(b.select(here, u, v) for u, v in zip(one, two)), spot)

    def _any(self, b: Flow, mask: Val) -> Val:
        return b.icmp("ne", b.cast("zext", b.cast("bitcast", mask, f"i{self.lanes}"), "i64"), 0)

    def fill_identity(self, b: Flow, x: Matrix, n: Val) -> None:
        """The identity matrix."""
        none = [b.const(self.vector, 0)] * (self.parts - 1)
        with b.loop(0, n) as i, b.loop(0, n) as c:
            one = b.select(b.icmp("eq", i.index, c.index), b.const(self.vector, 1), b.const(self.vector, 0))
            self.put(b, (one, *none), self.at(b, x, i.index, c.index))

    # -- memory ------------------------------------------------------------------------------------
    def _lines(self, b: Flow, w: dict[str, Val], base: Val, last: Val, elem: str) -> list[Val]:
        """Where each lane's matrix begins; lanes beyond the last matrix have that one again."""
        size = _SIZE[elem]
        return [b.bytes_at(base, b.imul(b.imul(b.imin(k, last), w["batch"]), size)) for k in range(self.lanes)]

    def _spots(self, b: Flow, w: dict[str, Val], m: Val, line: Val, first: Val, end: Val) -> list[Val]:
        """The vectors that take ``lanes`` numbers in memory from ``first`` on: those beyond the end are the last."""
        found = []
        for r in range(self.lanes):
            number = b.imin(b.iadd(b.op("sdiv", first, b.i64(self.parts)), r // self.parts), b.isub(end, 1))
            cell = b.iadd(b.imul(line, w["across"]), b.imul(number, w["along"]))
            found.append(b.at(self.vector, m, b.iadd(b.imul(cell, self.parts), r % self.parts)))
        return found

    def read(self, b: Flow, w: dict[str, Val], cells: Val, source: Val, last: Val, elem: str) -> None:
        """Copies matrices into cells: ``lines`` of ``length`` numbers, ``pitch`` numbers apart, of matrices ``batch``
        real numbers apart."""
        lanes, type_ = self.lanes, vec_type(elem, self.lanes)
        starts = self._lines(b, w, source, last, elem)
        numbers = b.imul(w["length"], self.parts)
        with b.loop(0, w["lines"]) as line, b.loop(0, numbers, lanes) as e:
            offset = b.iadd(b.imul(b.imul(line.index, w["pitch"]), self.parts), e.index)
            mask = b.lane_mask(b.imin(b.isub(numbers, e.index), lanes), lanes)
            rows = [b.masked_load(type_, b.at(elem, s, offset), mask, _SIZE[elem]) for s in starts]
            rows = [b.cast("fpext", r, self.vector) for r in rows]
            spots = self._spots(b, w, cells, line.index, e.index, w["length"])
            turned = transpose(b, rows, 8 * _SIZE[self.elem])
            for spot, value in reversed(list(zip(spots, turned, strict=True))):
                b.store(value, spot, self.bytes)

    def write(self, b: Flow, w: dict[str, Val], cells: Val, target: Val, last: Val, elem: str) -> None:
        """Copies cells into matrices."""
        lanes = self.lanes
        starts = self._lines(b, w, target, last, elem)
        numbers = b.imul(w["length"], self.parts)
        with b.loop(0, w["lines"]) as line, b.loop(0, numbers, lanes) as e:
            offset = b.iadd(b.imul(b.imul(line.index, w["pitch"]), self.parts), e.index)
            mask = b.lane_mask(b.imin(b.isub(numbers, e.index), lanes), lanes)
            spots = self._spots(b, w, cells, line.index, e.index, w["length"])
            turned = transpose(b, [b.load(self.vector, s, self.bytes) for s in spots], 8 * _SIZE[self.elem])
            for start, value in zip(starts, turned, strict=True):
                value = b.cast("fptrunc", value, vec_type(elem, lanes))
                b.masked_store(value, b.at(elem, start, offset), mask, _SIZE[elem])

    def read_ints(self, b: Flow, source: Val, target: Val, count: Val, last: Val) -> None:
        """The reverse of ``write_ints``."""
        rows = [b.at("i32", source, b.imul(b.imin(k, last), count)) for k in range(self.lanes)]
        with b.loop(0, count) as p:
            value = b.const(self.ints, 0)
            for k, row in enumerate(rows):
                value = b.insert(value, b.load("i32", b.at("i32", row, p.index), 4), k)
            b.store(value, b.at(self.ints, target, p.index), 4)

    def write_ints(self, b: Flow, source: Val, target: Val, count: Val, last: Val) -> None:
        """Copies ``count`` vectors of integers: the k-th lane goes to the k-th row of ``count``."""
        rows = [b.at("i32", target, b.imul(b.imin(k, last), count)) for k in range(self.lanes)]
        with b.loop(0, count) as p:
            value = b.load(self.ints, b.at(self.ints, source, p.index), 4)
            for k, row in enumerate(rows):
                b.store(b.extract(value, k), b.at("i32", row, p.index), 4)
