"""Products with at most eight rows (matrix by vector above all), which memory bounds: nothing is packed.

Where B is contiguous along k, columns are dot products of vectors along k; where it is contiguous along n, scaled rows
of B are added to a strip of the result that stays in the first-level cache.  Either way several rows are read side by
side, and these lie far apart, each at the head of a part of B that is contiguous: the processor prefetches within a
page, so that more streams keep more of memory busy, and long ones begin seldom.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..target.builder import Val, vec_type
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .blocking import FEW, Cut
from .contract import Contraction
from .contract_finish import call_finish
from .epilogue import Epilogue
from .flow import Flow, function
from .frame import BATCH, SCRATCH, Frame
from .micro import LINE, SIZE, Blocking, Number, multiply_add, number
from .words import COMMON, Words

__all__ = ["FEW_ROWS", "ROWS", "THIN_WORDS", "ThinProduct", "cut_thin", "thin_layout"]

ROWS = 8
"""The most rows."""
STRIP = 2048
"""Columns of a strip."""
LONG_STRIP = 2 * STRIP
"""Columns of a strip of a single row, which may take the tile's other rows' room."""
DEEP_STRIP = STRIP // 2
"""Columns of a strip where they are dot products, of which none stays in registers."""
FEW_ROWS = 4
"""Rows of which a strip of so many columns stays in the nearest caches; more pay where B is contiguous along k."""
_LONG = 768
"""Elements of k in a part where there are more rows, which are to stay in the first-level cache."""
GRAIN = 1 << 16
"""Elements of B that a chunk should have (about 15 us)."""

NARROW = 128
"""The fewest columns of a strip."""
DEEP_NARROW = 16
"""The fewest where they are dot products, and what the columns of all strips are multiples of."""

APART = 80
"""Elements between copied rows of A, lest rows whose length is a power of two compete for the same cache lines."""
SPAN = 16
"""Parts of k are multiples of this."""

THIN_WORDS = Words(("k", "a_m", "a_k", "b_k", "b_n", "c_m", "c_n", "strip"))
_KINDS = ((1, 8, 8), (2, 4, 8), (3, 4, 4), (4, 3, 4), (8, 2, 2))
"""Rows at a time, columns of B at a time whose dot products stay in 16 registers, and rows of B that are added at a
time: for products of at most so many rows."""
_KINDS_OF_MANY = ((1, 8, 8), (2, 8, 8), (3, 4, 4), (4, 4, 4), (8, 2, 2))
"""The same for 32 registers."""
_ASK_FROM = 3
"""Rows from which rows of B are prefetched: the sums take so long that the processor's own prefetching lags behind."""


def cut_thin(batch: int, m: int, n: int, k: int, deep: bool) -> Cut:
    """Blocks: strips of at most `STRIP` columns, narrower where there are many rows, or where columns are ``deep``
    (contiguous along k) and few, and parts of k where that does not do."""
    elements = n * max(k, 1)
    wanted = max(1, min(-(-FEW // max(batch, 1)), elements // GRAIN)) if deep else 1
    many = m > FEW_ROWS
    most = STRIP // 4 if many else DEEP_STRIP if deep else LONG_STRIP if m == 1 else STRIP
    narrow = DEEP_NARROW if deep else NARROW
    width = min(most, max(narrow, -(-n // wanted // narrow) * narrow))
    strips = -(-n // width)
    splits = max(1, -(-k // _LONG)) if many and deep else 1
    if batch * strips < FEW:
        splits = max(splits, min(FEW // max(batch * strips, 1), elements // (strips * GRAIN) if strips else 1, k // 64))
    span = -(-max(k, 1) // splits)
    span = -(-span // SPAN) * SPAN
    splits = -(-max(k, 1) // span)
    return Cut(
        True, False, False, strips, 1, strips, 1, splits, span, span,
        batch if splits > 1 else 1, 1 if splits > 1 else batch, batch * elements > 2 * GRAIN,
    )  # fmt: skip


def thin_layout(plan: Cut, n: int, num: Number, blk: Blocking) -> dict[str, int]:
    """The width of a strip and the scratch memory: partial sums, then for every worker the rows of A and a tile."""
    width = -(-n // plan.inner_panels // DEEP_NARROW) * DEEP_NARROW if plan.inner_panels else DEEP_NARROW
    tile = blk.rows * blk.columns * num.acc_bytes
    partial = plan.splits * plan.inner_panels * tile if plan.splits > 1 else 0
    rows = -(-blk.rows * (plan.span + APART) * num.acc_bytes // 64) * 64
    return {"partial_at": 0, "worker_at": partial, "worker_bytes": rows + tile, "tiles_at": rows, "strip": width}


class ThinProduct(Contraction):
    """A product of at most `ROWS` rows."""

    store_words = ("c_m", "c_n")
    stack = True
    most = ROWS
    """The most rows."""
    strip_columns = STRIP
    """The most columns of a strip."""

    @classmethod
    def tile(cls, num: Number, isa: ISA) -> Blocking:
        """All rows by a strip of columns, and a vector more, lest rows compete for the same cache lines."""
        lanes = isa.lanes(num.acc_type)
        return Blocking(lanes, cls.most, cls.strip_columns // lanes + 1, lanes, (cls.most,))

    def __init__(self, name: str, types: tuple[str, str, str], num: Number, isa: ISA, tail: Epilogue | None) -> None:
        super().__init__(name, types, num, isa, tail, THIN_WORDS)
        self.blk = self.tile(num, isa)
        self.tile_bytes = self.blk.rows * self.blk.columns * num.acc_bytes
        self.vector = vec_type(num.acc_type, self.blk.lanes)
        self.kinds = _KINDS_OF_MANY if isa.registers >= 32 else _KINDS
        # dot products of pairs take elements as they are, otherwise they are converted first
        self.dot = number(types[0], types[1], num.acc, isa)
        self.dot_type = types[0] if self.dot.pair else num.acc

    def pack(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        """Nothing is packed."""

    def extent(self, b: Flow, f: Frame, inner_b: Val, x: Val, y: Val) -> tuple[Val, Val, Val, Val]:
        width = b.word(f.words, self.words.index["strip"])
        col0 = b.imul(y, width)
        return b.i64(0), f.m, col0, b.imin(b.isub(f.n, col0), width)

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        f = Frame(b, block, self.words)
        f.preload(*COMMON, "k", "a_m", "a_k", "b_k", "b_n", "strip")
        number, rest = b.imod(chunk, f.inner_blocks), b.idiv(chunk, f.inner_blocks)
        split, rest = b.imod(rest, f.splits), b.idiv(rest, f.splits)
        with b.loop(b.imul(rest, f.group), b.imin(b.imul(b.iadd(rest, 1), f.group), f.together)) as each:
            self._write_strip(b, f, b.iadd(f.slot(BATCH, "i64"), each.index), worker, split, number)
        b.ret()

    def _write_strip(self, b: Flow, f: Frame, batch: Val, worker: Val, split: Val, number: Val) -> None:
        """Computes a strip of one matrix."""
        a, bb, c = (self.matrix(b, f, which, batch) for which in "abc")
        k0 = b.imul(split, f.span)
        k = b.isub(b.imin(b.iadd(k0, f.span), f.k), k0)
        col0 = b.imul(number, f.strip)
        cols = b.imin(b.isub(f.n, col0), f.strip)
        scratch = f.slot(SCRATCH)
        split_up = b.icmp("sgt", f.splits, 1)
        whole = b.iadd(b.imul(split, f.inner_panels), number)
        own = b.iadd(f.worker_at, b.imul(worker, f.worker_bytes))
        at = b.select(split_up, b.iadd(f.partial_at, b.imul(whole, self.tile_bytes)), b.iadd(own, f.tiles_at))
        tile, rows_of_a = b.bytes_at(scratch, at), b.bytes_at(scratch, own)
        a = b.at(LLVM_TYPE[self.type_a], a, b.imul(k0, f.a_k))
        bb = b.at(LLVM_TYPE[self.type_b], bb, b.iadd(b.imul(k0, f.b_k), b.imul(col0, f.b_n)))
        computed = self._computed(b, f)
        with b.loop(0, computed) as row:
            line = b.at(self.num.acc_type, tile, b.imul(row.index, self.blk.columns))
            with b.loop(0, cols, self.blk.lanes) as i:
                b.store(b.const(self.vector, 0), b.at(self.num.acc_type, line, i.index), 64)
        self._accumulate(b, f, tile, rows_of_a, a, bb, cols, k, computed)
        with b.when(b.op("xor", split_up, b.const("i1", 1))):
            call_finish(b, f, tile, c, b.i64(0), col0, f.m, cols, batch)

    def _computed(self, b: Flow, f: Frame) -> Val:
        """The rows that are computed."""
        computed = b.i64(self.kinds[-1][0])
        for rows, _, _ in self.kinds[-2::-1]:
            computed = b.select(b.icmp("sle", f.m, rows), b.i64(rows), computed)
        return computed

    def _accumulate(
        self, b: Flow, f: Frame, tile: Val, rows_of_a: Val, a: Val, bb: Val, cols: Val, k: Val, computed: Val
    ) -> None:
        """Adds the product of the rows of ``a``, which it copies, and of ``bb`` to the tile."""
        deep = b.icmp("eq", f.b_k, 1)
        b.either(
            deep,
            lambda: self._copy_rows(b, f, rows_of_a, a, k, self.dot_type),
            lambda: self._copy_rows(b, f, rows_of_a, a, k, self.num.acc),
        )
        for rows, columns, rows_of_b in self.kinds:
            with b.when(b.icmp("eq", computed, rows)):
                args = (tile, rows_of_a, bb, b.iadd(f.span, APART), b.select(deep, f.b_n, f.b_k), f.m, cols, k)
                self._either(b, deep, rows, columns, rows_of_b, args)

    def _either(
        self, b: Flow, deep: Val, rows: int, columns: int, rows_of_b: int, args: tuple[Val, ...]
    ) -> None:  # fmt: skip
        dots = self._function("dots", self._write_dots, rows, columns)
        sums = self._function("sums", self._write_sums, rows, rows_of_b)
        b.either(deep, lambda: b.call_void(dots, *args), lambda: b.call_void(sums, *args))

    def _function(self, name: str, write: Callable[..., None], rows: int, wide: int) -> str:
        args = [("ptr noalias", "tile"), ("ptr", "a"), ("ptr", "b")]
        args += [("i64", n) for n in ("am", "stride", "m", "cols", "k")]
        body = partial(write, rows=rows, wide=wide)
        return function(self.module, self.isa, f"{name}{rows}", args, body, attributes="noinline")

    def _copy_rows(self, b: Flow, f: Frame, to: Val, a: Val, k: Val, code: str) -> None:
        """Copies the rows of A: contiguous, of type ``code``."""
        elem, acc, lanes = LLVM_TYPE[self.type_a], LLVM_TYPE[code], self.blk.lanes
        size, type_ = SIZE[self.type_a], vec_type(elem, lanes)
        whole = b.select(b.icmp("eq", f.a_k, 1), b.op("and", k, b.i64(-lanes)), b.i64(0))
        with b.loop(0, f.m) as row:
            line, target = (
                b.at(elem, a, b.imul(row.index, f.a_m)),
                b.at(acc, to, b.imul(row.index, b.iadd(f.span, APART))),
            )
            with b.loop(0, whole, lanes) as i:
                value = b.load(type_, b.at(elem, line, i.index), size)
                b.store(cast(b, value, self.type_a, code), b.at(acc, target, i.index), SIZE[code])
            with b.loop(whole, k) as i:
                value = b.load(elem, b.at(elem, line, b.imul(i.index, f.a_k)), size)
                b.store(cast(b, value, self.type_a, code), b.at(acc, target, i.index), SIZE[code])

    def _factor(self, b: Flow, a: Val, row: Val, am: Val, k: Val) -> Val:
        """An element of A in all lanes."""
        spot = b.at(self.num.acc_type, a, b.iadd(b.imul(row, am), k))
        return b.splat(b.load(self.num.acc_type, spot, 4), self.blk.lanes)

    def _write_sums(
        self, b: Flow, tile: Val, a: Val, bb: Val, am: Val, stride: Val, m: Val, cols: Val, k: Val,
        rows: int, wide: int,
    ) -> None:  # fmt: skip
        """Adds rows of B to the tile, a row from each of ``wide`` parts at a time.

        Rows of A beyond the last are the last again.
        """
        lanes, elem = self.blk.lanes, LLVM_TYPE[self.type_b]
        type_, size = vec_type(elem, lanes), SIZE[self.type_b]
        which = [b.imin(b.i64(r), b.isub(m, 1)) for r in range(rows)]
        per_line = max(1, LINE // (lanes * size))
        whole_cols, line_cols = (b.op("and", cols, b.i64(-n)) for n in (lanes, lanes * per_line))
        part = b.idiv(k, wide)

        def add(k0: Val, count: int) -> None:
            places = [b.iadd(k0, b.imul(part, i)) for i in range(count)]
            factors = [[self._factor(b, a, row, am, place) for place in places] for row in which]
            lines = [b.at(elem, bb, b.imul(place, stride)) for place in places]

            def vector(j: Val, mask: Val | None, ask: bool = True) -> None:
                values = []
                for line in lines:
                    spot = b.at(elem, line, j)
                    if ask and rows >= _ASK_FROM:
                        b.prefetch(b.at(elem, spot, stride), level=2)
                    raw = b.load(type_, spot, size) if mask is None else b.masked_load(type_, spot, mask, size)
                    values.append(cast(b, raw, self.type_b, self.num.acc))
                for r in range(rows):
                    place = b.at(self.num.acc_type, tile, b.iadd(j, r * self.blk.columns))
                    acc = b.load(self.vector, place, 64)
                    for factor, value in zip(factors[r], values, strict=True):
                        acc = multiply_add(b, self.num, self.isa, factor, value, acc)
                    b.store(acc, place, 64)

            with b.loop(0, line_cols, lanes * per_line) as j:
                for i in range(per_line):
                    vector(b.iadd(j.index, i * lanes), None, i == 0)
            if per_line > 1:
                with b.loop(line_cols, whole_cols, lanes) as j:
                    vector(j.index, None)
            with b.when(b.icmp("slt", whole_cols, cols)):
                vector(whole_cols, b.lane_mask(b.isub(cols, whole_cols), lanes))

        with b.loop(0, part) as step:
            add(step.index, wide)
        with b.loop(b.imul(part, wide), k) as step:
            add(step.index, 1)
        b.ret()

    def _write_dots(
        self, b: Flow, tile: Val, a: Val, bb: Val, am: Val, stride: Val, m: Val, cols: Val, k: Val,
        rows: int, wide: int,
    ) -> None:  # fmt: skip
        """Makes ``rows`` by ``wide`` dot products at a time, with a column from each of ``wide`` parts.

        Columns beyond the last are the last again.
        """
        lanes, elem_a, elem_b = self.blk.lanes * self.dot.depth, LLVM_TYPE[self.dot_type], LLVM_TYPE[self.type_b]
        lines_a = [b.at(elem_a, a, b.imul(b.imin(b.i64(r), b.isub(m, 1)), am)) for r in range(rows)]
        per_line = max(1, LINE // (lanes * SIZE[self.type_b]))
        whole_k, line_k = (b.op("and", k, b.i64(-n)) for n in (lanes, lanes * per_line))
        rest = b.lane_mask(b.isub(k, whole_k), lanes)
        last = b.isub(cols, 1)
        part = b.idiv(b.iadd(cols, wide - 1), wide)

        def fetch_a(line: Val, at: Val, mask: Val | None) -> Val:
            type_, spot, size = vec_type(elem_a, lanes), b.at(elem_a, line, at), SIZE[self.dot_type]
            return b.load(type_, spot, size) if mask is None else b.masked_load(type_, spot, mask, size)

        def fetch_b(line: Val, at: Val, mask: Val | None) -> Val:
            type_, spot = vec_type(elem_b, lanes), b.at(elem_b, line, at)
            size = SIZE[self.type_b]
            raw = b.load(type_, spot, size) if mask is None else b.masked_load(type_, spot, mask, size)
            return raw if self.dot.pair else cast(b, raw, self.type_b, self.num.acc)

        with b.loop(0, part) as j:
            columns = [b.imin(b.iadd(j.index, b.imul(part, i)), last) for i in range(wide)]
            lines = [b.at(elem_b, bb, b.imul(column, stride)) for column in columns]

            def step(at: Val, accs: list[Val], mask: Val | None) -> list[Val]:
                left = [fetch_a(line, at, mask) for line in lines_a]
                out = []
                for i, line in enumerate(lines):
                    value = fetch_b(line, at, mask)
                    for r in range(rows):
                        out.append(multiply_add(b, self.dot, self.isa, left[r], value, accs[i * rows + r]))
                return out

            zero = b.const(self.vector, 0)
            with b.loop(0, line_k, lanes * per_line, carry=[zero] * (rows * wide)) as each:
                each.next = each.values
                for i in range(per_line):
                    each.next = step(b.iadd(each.index, i * lanes), each.next, None)
            if per_line > 1:
                with b.loop(line_k, whole_k, lanes, carry=each.values) as each:
                    each.next = step(each.index, each.values, None)
            accs = b.choose(b.icmp("slt", whole_k, k), lambda: step(whole_k, each.values, rest), lambda: each.values)
            for i in range(wide):
                for r in range(rows):
                    spot = b.at(self.num.acc_type, tile, b.iadd(columns[i], r * self.blk.columns))
                    b.store(self._total(b, accs[i * rows + r]), spot, 4)
        b.ret()

    def _total(self, b: Flow, acc: Val) -> Val:
        """The sum of the lanes: halves are added to halves."""
        half = self.blk.lanes
        plus = "fadd" if self.num.acc[0] == "f" else "add"
        while half > 1:
            half //= 2
            order = [*range(half, 2 * half), *[0] * (self.blk.lanes - half)]
            acc = b.op(plus, acc, b.shuffle(acc, acc, order))
        return b.extract(acc, 0)

    def store(
        self, b: Flow, f: Frame, c: Val, row: Val, col: Val, value: Val, left: Val, mask: Val | None, where: list[Val]
    ) -> None:  # fmt: skip
        to = b.at(LLVM_TYPE[self.type_c], c, b.iadd(b.imul(row, f.c_m), b.imul(col, f.c_n)))
        b.either(
            b.icmp("eq", f.c_n, 1),
            lambda: self.store_vector(b, value, to, mask),
            lambda: self.store_strided(b, value, to, f.c_n, left),
        )
