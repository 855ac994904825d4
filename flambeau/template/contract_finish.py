"""What an epilogue determines of a contraction's kernel: how tiles are finished, and rows of them swept.

To *finish* a tile is to apply the epilogue to its sums, in memory, and to store them in the result; to *sweep* tiles is
to compute them with the epilogue in registers, where their rows are contiguous in the result.  The core calls these two
functions through slots of the launch's block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..target.builder import Val, vec_type
from ..target.scalar import LLVM_TYPE
from ..target.turn import transpose
from .epilogue import EXTRAS, Epilogue
from .flow import Flow, function
from .frame import FINISH, SWEEP, Frame
from .micro import SIZE, accumulate

if TYPE_CHECKING:
    from .contract import Contraction

__all__ = ["call_finish", "call_sweep", "finish_function", "sweep_function"]

_SWEPT = (8, 4, 2, 1)
"""Heights of the tiles that make up what is lower than a register block, in rows of tiles that are swept."""

Put = Callable[[Val, Val | int, Val, Val | None], None]
"""Takes a vector of a row of tiles: its first column, that of its tile, how many columns are valid, their mask."""
Vectors = Callable[[Put], None]
"""Goes through the vectors of a row."""


# -- the two functions and their calls ---------------------------------------------------------------


def finish_function(writer: Contraction) -> str:
    """The function ``finish(block, tile, c, row0, col0, rows, cols, batch)``."""
    args = [("ptr", "block"), ("ptr noalias", "tile"), ("ptr", "c")]
    args += [("i64", n) for n in ("row0", "col0", "rows", "cols", "batch")]

    def write(b: Flow, *arguments: Val) -> None:
        _Finish(writer, b, *arguments).write()

    return function(writer.module, writer.isa, f"{writer.name}.finish", args, write)


def call_finish(b: Flow, f: Frame, tile: Val, c: Val, row0: Val, col0: Val, rows: Val, cols: Val, batch: Val) -> None:
    """Has a tile stored, or several that lie one after the other and are neighbours along rows or columns."""
    arguments = ", ".join(map(str, (f.block, tile, c, row0, col0, rows, cols, batch)))
    b.emit(f"call void {f.slot(FINISH).name}({arguments})")


def sweep_function(writer: Contraction) -> str:
    """The function `_write_sweep` describes."""
    args = [("ptr", "block"), ("ptr", "a"), ("ptr", "b"), *(("i64", n) for n in ("apitch", "arow", "pitch"))]
    args += [("i64", "units"), ("ptr", "to"), *(("i64", n) for n in ("torow", "row0", "col0", "rows", "batch"))]
    args += [("i64", n) for n in ("tiles", "astep", "bstep", "tostep", "rowstep", "colstep")]
    return function(writer.module, writer.isa, f"{writer.name}.sweep", args, partial(_write_sweep, writer))


def call_sweep(
    writer: Contraction, b: Flow, f: Frame, operands: tuple[Val, ...], to: Val, distance: Val, place: tuple[Val, ...],
    tiles: Val, left_step: Val, right_step: Val, inner_b: Val,
) -> None:  # fmt: skip
    """Has ``tiles`` tiles computed and finished, whose rows are ``distance`` elements apart from ``to`` on; the
    steps are those of whichever operand is the inner one."""
    size, high, wide = SIZE[writer.type_c], writer.blk.rows, writer.blk.columns
    zero, apart = b.i64(0), b.imul(distance, size)
    steps = [
        b.select(inner_b, first, second)
        for first, second in (
            (zero, left_step), (right_step, zero), (b.i64(wide * size), b.imul(apart, high)), (zero, b.i64(high)),
            (b.i64(wide), zero),
        )
    ]  # fmt: skip
    arguments = ", ".join(map(str, (f.block, *operands, to, apart, *place, tiles, *steps)))
    b.emit(f"call void {f.slot(SWEEP).name}({arguments})")


def _epilogue(writer: Contraction, b: Flow, f: Frame) -> tuple[Epilogue, Callable[[int], Val]]:
    """The epilogue and its slots: the pointers to its buffers, then its words."""
    tail = writer.tail
    assert tail is not None
    extras = [f.slot(EXTRAS + i) for i in range(tail.buffers)]
    extras += [b.word(f.words, len(writer.words.names) + i) for i in range(tail.words)]
    return tail, extras.__getitem__


# -- finishing ---------------------------------------------------------------------------------------


class _Finish:
    """Writes the function that applies the epilogue to a tile, or to several together, and stores them."""

    def __init__(
        self, writer: Contraction, b: Flow, block: Val, tile: Val, c: Val, row0: Val, col0: Val, rows: Val, cols: Val,
        batch: Val,
    ) -> None:  # fmt: skip
        self.writer, self.b, self.tile, self.c = writer, b, tile, c
        self.row0, self.col0, self.rows, self.cols, self.batch = row0, col0, rows, cols, batch
        self.blk, self.num = writer.blk, writer.num
        self.f = Frame(b, block, writer.words)
        self.f.preload(*writer.store_words)
        self.tail, self.slots = _epilogue(writer, b, self.f)
        # a vector that begins at any lane of a spilled one lies within
        writer.spill = b.alloca(vec_type(LLVM_TYPE[writer.type_c], 2 * self.blk.lanes))

    def write(self) -> None:
        """The whole function."""
        b = self.b
        across = self.writer.turned(b, self.f, self.row0, self.rows) if hasattr(self.tail, "exchanged") else None
        if across is None:
            self._upright()
        else:
            b.either(across, self._turned, self._upright)
        b.ret()

    # -- one vector ------------------------------------------------------------------------------------
    def _spot(self, i: Val, j: Val, first: Val | int = 0) -> Val:
        """The address of an element; ``first`` is the first column of its tile, if that is not 0."""
        b = self.b
        at = b.iadd(b.imul(i, self.blk.columns), j)
        return b.at(self.num.acc_type, self.tile, b.iadd(at, b.imul(first, self.blk.rows - 1)))

    def _finished(self, i: Val, j: Val, first: Val | int, mask: Val | None) -> tuple[Val, Val, Val]:
        """The row, the column and the finished value of the vector that begins there."""
        b = self.b
        row, col = b.iadd(self.row0, i), b.iadd(self.col0, j)
        acc = b.load(vec_type(self.num.acc_type, self.blk.lanes), self._spot(i, j, first), align=16)
        return row, col, self.tail.emit(b, acc, row, col, self.batch, mask, self.slots)

    # -- the vectors of a row --------------------------------------------------------------------------
    def _whole_tile(self, put: Put) -> None:
        """Those of a row of a tile with all of its columns."""
        for at in range(0, self.blk.columns, self.blk.lanes):
            put(self.b.i64(at), 0, self.b.i64(self.blk.lanes), None)

    def _each_vector(self, put: Put) -> None:
        """Those of a row of several tiles, or of a part of one."""
        b, lanes, columns = self.b, self.blk.lanes, self.blk.columns
        blocks = b.i64(0)
        if self.writer.joins and not self.writer.sweeps:
            blocks = b.imul(b.idiv(self.cols, columns), columns)
            with b.loop(0, blocks, columns) as j:
                for at in range(0, columns, lanes):
                    put(b.iadd(j.index, at), j.index, b.i64(lanes), None)
        with b.loop(blocks, self.cols, lanes) as j:
            left = b.imin(b.isub(self.cols, j.index), lanes)
            put(j.index, blocks, left, b.lane_mask(left, lanes))

    def _by_columns(self, store: Callable[[Vectors], None]) -> None:
        """Stores with straight code where there is one tile with all of its columns."""
        if self.blk.vectors > 4:  # thin products have tiles too wide to write out
            store(self._each_vector)
            return
        exact = self.b.icmp("eq", self.cols, self.blk.columns)
        self.b.either(exact, lambda: store(self._whole_tile), lambda: store(self._each_vector))

    # -- the ways of storing ---------------------------------------------------------------------------
    def _upright(self) -> None:
        """Stores rows."""
        b = self.b
        there = self.writer.lines(b, self.f, self.c, self.row0, self.col0, self.cols)
        if there is None:
            self._by_columns(self._anywhere)
            return
        usable, first, distance = there
        # what is swept leaves few tiles to be stored otherwise
        sweeps = self.writer.sweeps
        other = partial(self._anywhere, self._each_vector) if sweeps else partial(self._by_columns, self._anywhere)
        b.either(usable, lambda: self._by_columns(partial(self._even, first, distance)), other)

    def _anywhere(self, vectors: Vectors) -> None:
        """Rows as `Contraction.store` puts them, column after column."""
        b = self.b

        def down(j: Val, first: Val | int, left: Val, mask: Val | None) -> None:
            where = self.writer.locate(b, self.f, b.iadd(self.col0, j))
            with b.loop(0, self.rows) as i:
                row, col, value = self._finished(i.index, j, first, mask)
                self.writer.store(b, self.f, self.c, row, col, value, left, mask, where)

        vectors(down)

    def _even(self, first: Val, distance: Val, vectors: Vectors) -> None:
        """Rows that are contiguous, at even distances."""
        b, elem = self.b, LLVM_TYPE[self.writer.type_c]
        with b.loop(0, self.rows, carry=[first]) as i:
            row, line = i.index, i.values[0]

            def store(j: Val, of: Val | int, _: Val, mask: Val | None) -> None:
                self.writer.store_vector(b, self._finished(row, j, of, mask)[2], b.at(elem, line, j), mask)

            vectors(store)
            i.next = [b.at(elem, line, distance)]

    def _turned(self) -> None:
        """Turns blocks of the tile over, whose columns it finishes and stores."""
        b, lanes = self.b, self.blk.lanes
        vector = vec_type(self.num.acc_type, lanes)
        block = b.alloca(f"[{lanes} x {vector}]", align=64)
        tail, slots = self.tail.exchanged(self.slots)  # type: ignore[attr-defined]  # write asked for it
        with b.loop(0, self.rows, lanes) as i, b.loop(0, self.cols, lanes) as j:
            height = b.imin(b.isub(self.rows, i.index), lanes)
            last, mask = b.isub(height, 1), b.lane_mask(height, lanes)
            lines = [self._spot(b.iadd(i.index, b.imin(b.i64(r), last)), j.index) for r in range(lanes)]
            columns = transpose(b, [b.load(vector, line, align=16) for line in lines], 8 * self.num.acc_bytes)
            for n, value in enumerate(columns):
                b.store(value, b.at(vector, block, n), 64)
            row = b.iadd(self.row0, i.index)
            with b.loop(0, b.imin(b.isub(self.cols, j.index), lanes)) as each:
                col = b.iadd(self.col0, b.iadd(j.index, each.index))
                acc = b.load(vector, b.at(vector, block, each.index), 64)
                value = tail.emit(b, acc, col, row, self.batch, mask, slots)
                self.writer.store_vector(b, value, self.writer.column(b, self.f, self.c, row, col), mask)


# -- sweeping ----------------------------------------------------------------------------------------


def _write_sweep(
    writer: Contraction, b: Flow, block: Val, left: Val, right: Val, left_pitch: Val, left_row: Val, pitch: Val,
    units: Val, to: Val, to_row: Val, row0: Val, col0: Val, rows: Val, batch: Val, tiles: Val, left_step: Val,
    right_step: Val, to_step: Val, row_step: Val, col_step: Val,
) -> None:  # fmt: skip
    """Computes tiles with the epilogue in registers, and stores them; the arguments called steps lead from one to
    the next."""
    lanes, vectors, num, size = writer.blk.lanes, writer.blk.vectors, writer.num, SIZE[writer.type_c]
    tail, slots = _epilogue(writer, b, Frame(b, block, writer.words))
    zero = b.const(vec_type(num.acc_type, lanes), 0)

    def high(height: int, left: Val, to: Val, row0: Val) -> None:
        start = [zero] * (height * vectors)
        with b.loop(0, tiles, carry=[left, right, to, row0, col0]) as tile:
            a, bb, c, row, col = tile.values
            shape = height, vectors
            sums = accumulate(b, num, writer.isa, shape, start, a, left_pitch, left_row, bb, pitch, units)
            for i in range(height):
                line = b.bytes_at(c, b.imul(to_row, i))
                for j in range(vectors):
                    acc, at = sums[i * vectors + j], j * lanes
                    value = tail.emit(b, acc, b.iadd(row, i), b.iadd(col, at), batch, None, slots)
                    b.store(value, b.bytes_at(line, at * size), size)
            steps = left_step, right_step, to_step
            tile.next = [
                *(b.bytes_at(p, step) for p, step in zip((a, bb, c), steps, strict=True)),
                b.iadd(row, row_step), b.iadd(col, col_step),
            ]  # fmt: skip

    now: tuple[Val, ...] = left, to, row0, rows
    for height in (writer.blk.rows, *(h for h in _SWEPT if h < writer.blk.rows)):

        def some(height: int = height, now: tuple[Val, ...] = now) -> list[Val]:
            left, to, row0, rows = now
            high(height, left, to, row0)
            below = b.bytes_at(left, b.imul(left_row, height)), b.bytes_at(to, b.imul(to_row, height))
            return [*below, b.iadd(row0, height), b.isub(rows, height)]

        def none(now: tuple[Val, ...] = now) -> list[Val]:
            return list(now)

        now = tuple(b.choose(b.icmp("sge", now[-1], height), some, none))
    b.ret()
