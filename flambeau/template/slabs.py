"""Products of five to thirty-two rows by a large B that is contiguous along columns: B goes by once, in memory's order.

A micro-kernel's tile is two or three vectors wide, so it reads B across its rows; from memory, and where rows lie a
power of two apart, that takes longer than the multiplications.  Here a strip of the result stays in the first-level
cache instead of in registers: of four rows of B at a time (a slab), all that belongs to the strip is multiplied with
all rows of A.  A vector of the result is loaded and stored once for four multiply-adds, which remain what takes time.
"""

from __future__ import annotations

from functools import partial

from ..target.builder import Val, vec_type
from ..target.scalar import LLVM_TYPE
from .blocking import FEW, STAY, Cut
from .flow import Flow, function
from .frame import Frame
from .micro import SIZE, Number, multiply_add
from .thin import APART, GRAIN, NARROW, SPAN, ThinProduct

__all__ = ["SLAB_ROWS", "SlabProduct", "cut_slabs"]

SLAB_ROWS = 32
"""The most rows."""
STRIP_BYTES = 1 << 14
"""Bytes of a strip of the result: half of the smallest first-level caches."""
DEPTH = 4
"""Rows of B in a slab."""
GROUP = 8
"""Rows of A that are multiplied with vectors of a slab while these are in registers; half as many at the end."""


def strip_columns(num: Number, rows: int) -> int:
    """Columns of a strip for so many rows: contiguous for long enough that memory is read in its order."""
    fit = STRIP_BYTES // (max(rows, GROUP) * num.acc_bytes)
    return max(NARROW, min(fit, 2 * NARROW) // NARROW * NARROW)


def cut_slabs(batch: int, m: int, n: int, k: int, num: Number) -> Cut:
    """Blocks: strips of columns, and parts of k where there are few strips."""
    strips = -(-n // strip_columns(num, m))
    elements, splits = n * max(k, 1), 1
    if batch * strips < FEW:
        splits = max(1, min(FEW // max(batch * strips, 1), elements // (strips * GRAIN) if strips else 1, k // 64))
    span = -(-max(k, 1) // splits)
    span = -(-span // SPAN) * SPAN
    splits = -(-max(k, 1) // span)
    return Cut(
        True, False, False, strips, 1, strips, 1, splits, span, span,
        batch if splits > 1 else 1, 1 if splits > 1 else batch, 2 * m * batch * elements > STAY,
    )  # fmt: skip


class SlabProduct(ThinProduct):
    """A product of at most `SLAB_ROWS` rows; elements of B are of the accumulators' type."""

    most = SLAB_ROWS
    strip_columns = 2 * NARROW

    def _computed(self, b: Flow, f: Frame) -> Val:
        return b.op("and", b.iadd(f.m, GROUP // 2 - 1), b.i64(-GROUP // 2))

    def _accumulate(
        self, b: Flow, f: Frame, tile: Val, rows_of_a: Val, a: Val, bb: Val, cols: Val, k: Val, computed: Val
    ) -> None:
        self._copy_rows(b, f, rows_of_a, a, k, self.num.acc)
        whole, whole_k = b.op("and", computed, b.i64(-GROUP)), b.op("and", k, b.i64(-DEPTH))
        pitch = b.iadd(f.span, APART)

        def slab(at: Val, depth: int) -> None:
            factors = b.at(self.num.acc_type, rows_of_a, at)
            rows_of_b = b.at(LLVM_TYPE[self.type_b], bb, b.imul(at, f.b_k))

            def group(row: Val, rows: int) -> None:
                b.call_void(self._slab(rows, depth), tile, factors, rows_of_b, pitch, f.b_k, f.m, cols, row)

            with b.loop(0, whole, GROUP) as row:
                group(row.index, GROUP)
            with b.when(b.icmp("slt", whole, computed)):
                group(whole, GROUP // 2)

        with b.loop(0, whole_k, DEPTH) as step:
            slab(step.index, DEPTH)
        with b.loop(whole_k, k) as step:
            slab(step.index, 1)

    def _slab(self, rows: int, depth: int) -> str:
        """The function that adds the product of some rows of A, from one on, with a slab to the tile."""
        args = [
            ("ptr", "tile"),
            ("ptr", "a"),
            ("ptr", "b"),
        ]  # not "noalias": factors are to be read where they are used
        args += [("i64", n) for n in ("am", "stride", "m", "cols", "row0")]
        body = partial(self._write_slab, rows=rows, depth=depth)
        return function(self.module, self.isa, f"slab{rows}x{depth}", args, body, attributes="noinline")

    def _write_slab(
        self, b: Flow, tile: Val, a: Val, bb: Val, am: Val, stride: Val, m: Val, cols: Val, row0: Val,
        rows: int, depth: int,
    ) -> None:  # fmt: skip
        lanes, elem, acc_type = self.blk.lanes, LLVM_TYPE[self.type_b], self.num.acc_type
        type_, size = vec_type(elem, lanes), SIZE[self.type_b]
        last = b.isub(m, 1)  # rows beyond it are that one again
        factors = [b.at(acc_type, a, b.imul(b.imin(b.iadd(row0, r), last), am)) for r in range(rows)]
        sums = [b.at(acc_type, tile, b.imul(b.iadd(row0, r), self.blk.columns)) for r in range(rows)]
        lines = [b.at(elem, bb, b.imul(stride, i)) for i in range(depth)]
        first, ahead = b.icmp("eq", row0, 0), b.imul(stride, 2 * DEPTH)

        def add(j: Val, count: int, mask: Val | None) -> None:
            """Adds to ``count`` vectors of every row."""
            at = [b.iadd(j, v * lanes) for v in range(count)]
            spots = [[b.at(elem, line, j) for line in lines] for j in at]
            with b.when(first):
                for spot in (spot for group in spots for spot in group):
                    b.prefetch(b.at(elem, spot, ahead), level=2)
            values = [
                [b.load(type_, s, size) if mask is None else b.masked_load(type_, s, mask, size) for s in group]
                for group in spots
            ]
            for r in range(rows):
                places = [b.at(acc_type, sums[r], j) for j in at]
                accs = [b.load(self.vector, place, 64) for place in places]
                for i in range(depth):
                    factor = b.splat(b.load(acc_type, b.at(acc_type, factors[r], i), self.num.acc_bytes), lanes)
                    accs = [
                        multiply_add(b, self.num, self.isa, factor, values[v][i], acc) for v, acc in enumerate(accs)
                    ]
                for place, acc in zip(places, accs, strict=True):
                    b.store(acc, place, 64)

        whole = b.op("and", cols, b.i64(-2 * lanes))
        with b.loop(0, whole, 2 * lanes) as j:
            add(j.index, 2, None)
        with b.loop(whole, cols, lanes) as j:
            add(j.index, 1, b.lane_mask(b.imin(b.isub(cols, j.index), lanes), lanes))
        b.ret()
