"""The skeleton that matrix products and convolutions share: chunks, blocks, packing, tiles, partial sums, epilogue.

A contraction sums products of units of two operands, A (by rows) and B (by columns), over an inner dimension that
is counted in *units* (see `micro.Number`).  A subclass of `Contraction` says how a panel of each operand is packed
and where elements of the result lie.  `blocking.Cut` says how the work is divided; everything here reads its numbers
from the parameter words of a *problem*.  A launch may consist of several problems, taken one after another.

A kernel is compiled in two modules: the *core* is the same for all epilogues, and the entry's module holds only what
an epilogue determines: what finishes tiles, and where `Contraction.joins` what computes a row of them with the epilogue
in registers ("sweeps" it).  The core's address is among the words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..graph.program import RETRY
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from ..target.turn import transpose
from .epilogue import EXTRAS, Epilogue
from .flow import Flow, function, parallel_for
from .micro import SIZE, Number, accumulate, blocking
from .tiles import turn_panel
from .words import COMMON, LINE, Words

__all__ = ["Contraction", "Frame"]

STACK = 1 << 18
"""Most bytes of scratch memory that an entry takes from the stack."""
WANTED = 1
"""The word of the pool that holds the number of threads."""

ERROR, SCRATCH, BATCH, WORDS, FINISH, SWEEP = range(-1, -7, -1)
"""Slots in front of a launch's arguments: its error code, the scratch memory, the first matrix of the chunks, the words
of the problem, the function that finishes tiles, the one that computes and finishes rows of them (null: none)."""

_SWEPT = (8, 4, 2, 1)
"""Heights of the tiles that make up what is lower than a register block, in such rows."""


class Frame:
    """The block of a launch inside a function: the problem's words (as attributes), buffers, scalars."""

    def __init__(self, b: Flow, block: Val, writer: Contraction) -> None:
        self.b, self.block = b, block
        self._index = writer.words.index
        self.words = self.slot(WORDS)
        self._loaded: dict[str, Val] = {}

    def preload(self, *names: str) -> None:
        """Loads words here, so that later blocks may use them."""
        for name in names:
            if name not in self._loaded:
                self._loaded[name] = self.b.word(self.words, self._index[name])

    def __getattr__(self, name: str) -> Val:
        try:
            return self._loaded[name]
        except KeyError:
            raise AttributeError(f"word {name!r} was not loaded") from None

    def slot(self, index: int, type_: str = "ptr") -> Val:
        """An argument of the launch, or a slot in front of them."""
        return self.b.load(type_, self.b.at("i64", self.block, index), align=8)


class Contraction:
    """Writes the functions of one kernel (``tail`` is its epilogue) or, without an epilogue, of its core."""

    def __init__(
        self, name: str, types: tuple[str, str, str], num: Number, isa: ISA, tail: Epilogue | None, words: Words
    ) -> None:
        self.name, self.num, self.isa, self.tail, self.words = name, num, isa, tail, words
        self.type_a, self.type_b, self.type_c = types
        self.blk = blocking(num, isa)
        self.module = new_module(isa)
        self.tile_bytes = self.blk.rows * self.blk.columns * num.acc_bytes

    # -- what a subclass says --------------------------------------------------------------------------
    pack_words: tuple[str, ...] = ()
    """Words that `pack` uses."""
    store_words: tuple[str, ...] = ()
    """Words that `store` uses."""
    joins = False
    """Whether tiles along the inner operand may be finished together ("wide" of them), or swept (see `lines`)."""
    stack = False
    """Whether the entry takes scratch memory from the stack if it gets none."""

    def pack(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        """Packs ``units`` units from unit ``at`` on of one panel of an operand."""
        raise NotImplementedError

    def group(self, f: Frame, is_b: bool) -> Val | None:
        """How many panels of a shared operand (an inner B, an outer A) a chunk packs with `spread`; ``None`` for one,
        with `pack`."""
        return None

    def spread(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        """Packs ``units`` units from unit ``at`` on of so many panels from ``panel`` on."""
        raise NotImplementedError

    def locate(self, b: Flow, f: Frame, col: Val) -> list[Val]:
        """What `store` wants to know of a column, found once for all rows of a tile; nothing by default."""
        return []

    def store(
        self, b: Flow, f: Frame, c: Val, row: Val, col: Val, value: Val, left: Val, mask: Val | None, where: list[Val]
    ) -> None:  # fmt: skip
        """Stores consecutive columns of a row; ``left`` of them are valid (and in ``mask``, ``None``: all).  ``where``
        is what `locate` says of the first one."""
        raise NotImplementedError

    def direct(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val] | None:
        """Whether panel ``panel`` of B may be read where it is from unit ``at`` on, its address there and the bytes
        from one unit to the next; ``None`` if that is never so."""
        return None

    def direct_a(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val, Val] | None:
        """Whether panel ``panel`` of A may be read where it is from unit ``at`` on, its address there and the bytes
        from one unit and from one row to the next; ``None`` if that is never so."""
        return None

    def in_place(
        self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val, cols: Val
    ) -> tuple[Val, Val, Val] | None:
        """Whether a tile may be computed where it belongs in the result, without an epilogue, its address there and the
        bytes between its rows; ``None`` if that is never so."""
        return None

    def touch(self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val) -> None:
        """Prefetches the tile of the result that is about to be stored; nothing by default."""

    def _touch_near(self, b: Flow, f: Frame, batch: Val, row0: Val, col0: Val, rows: Val) -> None:
        """Prefetches what the epilogue will read of its operand of the result's size."""
        with b.when(b.icmp("ne", f.near, 0)):
            start = b.load("ptr", b.at("i64", f.block, f.near), align=8)
            start = b.bytes_at(start, b.iadd(b.imul(batch, f.near_batch), b.imul(col0, f.near_step)))
            nbytes = b.imul(f.near_step, self.blk.columns)
            with b.loop(0, rows) as i:
                line = b.bytes_at(start, b.imul(b.iadd(row0, i.index), f.near_row))
                with b.loop(0, nbytes, LINE) as at:
                    b.prefetch(b.bytes_at(line, at.index))

    def fetch_ahead(self, b: Flow, f: Frame, a: Val, panel: Val, at: Val, units: Val, part: Val, parts: Val) -> None:
        """Prefetches part ``part`` of ``parts`` of panel ``panel`` of A, if it will be read where it is, by rows."""
        there = self.direct_a(b, f, a, panel, at)
        if there is None:
            return
        usable, start, pitch, row = there
        with b.when(b.op("and", usable, b.icmp("eq", pitch, self.num.unit_bytes))):
            count = b.imin(b.isub(f.m, b.imul(panel, self.blk.rows)), self.blk.rows)
            with b.loop(part, count, parts) as i:
                line = b.bytes_at(start, b.imul(row, i.index))
                with b.loop(0, b.imul(units, pitch), LINE) as at_line:
                    b.prefetch(b.bytes_at(line, at_line.index), level=2)

    def turned(self, b: Flow, f: Frame, row0: Val, rows: Val) -> Val | None:
        """Whether columns of the result are contiguous in these rows, not rows, so that tiles are turned over to be
        stored; ``None`` if that is never so."""
        return None

    def lines(self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, cols: Val) -> tuple[Val, Val, Val] | None:
        """Whether the rows of a tile are contiguous in the result and at even distances, the address of its first
        element there and that distance in elements; ``None`` if that is never so."""
        return None

    def swept(self, b: Flow, f: Frame, row0: Val, col0: Val, rows: Val) -> Val:
        """Of how many tiles from this one on along the inner operand, all as wide as a register block and all but a
        single one as high, `lines` holds with the same distance, if it does of this one."""
        raise NotImplementedError

    def column(self, b: Flow, f: Frame, c: Val, row: Val, col: Val) -> Val:
        """The address of an element of such a result."""
        raise NotImplementedError

    # -- modules ---------------------------------------------------------------------------------------
    def core_text(self) -> str:
        """The LLVM module of the core, a function of the block."""
        args = [("ptr", "block"), ("i64", "chunk"), ("i64", "worker")]
        self.pack_body = function(self.module, self.isa, f"{self.name}.pack", args, self._write_pack)
        self.reduce_body = function(self.module, self.isa, f"{self.name}.reduce", args, self._write_reduce)
        self.body = function(self.module, self.isa, f"{self.name}.body", args, self._write_body)
        function(self.module, self.isa, self.name, args[:1], self._write_launch, linkage="")
        return self.module.text()

    def text(self) -> str:
        """The LLVM module of the kernel: its entry, and what finishes a tile."""
        assert self.tail is not None
        args = [("ptr", "block"), ("ptr noalias", "tile"), ("ptr", "c")]
        args += [("i64", n) for n in ("row0", "col0", "rows", "cols", "batch")]
        self.finish = function(self.module, self.isa, f"{self.name}.finish", args, self._write_finish)
        self.sweep = "null"
        if self._sweeps:
            args = [("ptr", "block"), ("ptr", "a"), ("ptr", "b"), *(("i64", n) for n in ("apitch", "arow", "pitch"))]
            args += [("i64", "units"), ("ptr", "to"), *(("i64", n) for n in ("torow", "row0", "col0", "rows", "batch"))]
            args += [("i64", n) for n in ("tiles", "astep", "bstep", "tostep", "rowstep", "colstep")]
            self.sweep = function(self.module, self.isa, f"{self.name}.sweep", args, self._write_sweep)
        buffers = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        entry = [("ptr", n) for n in buffers]
        function(self.module, self.isa, self.name, entry, self._write_entry, result="i64", linkage="")
        return self.module.text()

    @property
    def _sweeps(self) -> bool:
        """Whether the kernel has `_write_sweep`."""
        return self.joins and self.tail is not None and self.tail.straight

    def _write_entry(self, b: Flow, *args: Val) -> None:
        assert self.tail is not None
        scratch = self._scratch(b, args[0], args[4 + self.tail.buffers])
        memory = b.alloca(f"[{len(args) - SWEEP} x i64]", align=16)
        block = b.at("i64", memory, -SWEEP)
        b.store(b.i64(0), b.at("i64", block, ERROR), align=8)
        b.store(scratch, b.at("i64", block, SCRATCH), align=8)
        b.store(Val(self.finish, "ptr"), b.at("i64", block, FINISH), align=8)
        b.store(Val(self.sweep, "ptr"), b.at("i64", block, SWEEP), align=8)
        for i, value in enumerate(args):
            b.store(value, b.at("i64", block, i), align=8)
        b.call_address(b.word(args[0], self.words.index["core"]), block)
        b.ret(b.load("i64", b.at("i64", block, ERROR), align=8))

    def _scratch(self, b: Flow, params: Val, given: Val) -> Val:
        """The scratch memory; on the stack if none is given.  Where it does not fit there, or where there are many more
        threads than the chunks were made for, the entry returns `RETRY`."""
        if not self.stack:
            return given
        pool, at, each, workers = (
            b.word(params, self.words.index[n]) for n in ("pool", "worker_at", "worker_bytes", "workers")
        )
        refused = b.label("refused")

        def own() -> list[Val]:
            alone, wanted = b.icmp("eq", pool, 0), b.new("ptr", f"inttoptr {pool} to ptr")
            threads = b.choose(alone, lambda: [b.i64(1)], lambda: [b.word(wanted, WANTED)])[0]
            nbytes = b.iadd(at, b.imul(each, threads))
            fits = b.op("and", b.icmp("sle", nbytes, STACK), b.icmp("sle", threads, b.imul(workers, 4)))
            enough = b.label("enough")
            b.cond_br(fits, enough, refused)
            b.place(enough)
            return [b.new("ptr", f"alloca i8, {nbytes}, align {LINE}")]

        (scratch,) = b.choose(b.cmp("eq", given, b.const("ptr", 0)), own, lambda: [given])
        after = b.label("after")
        b.br(after)
        b.place(refused)
        b.ret(b.i64(RETRY))
        b.place(after)
        return scratch

    def _write_launch(self, b: Flow, block: Val) -> None:
        params = b.load("ptr", block, align=8)
        problems, length = (b.word(params, self.words.index[name]) for name in ("problems", "length"))
        with b.loop(0, problems) as problem:
            words = b.at("i64", params, b.imul(problem.index, length))
            b.store(words, b.at("i64", block, WORDS), align=8)
            f = Frame(b, block, self)
            f.preload("chunks", "pool", "sequential", "pack_chunks", "reduce_chunks")
            with b.loop(0, f.sequential) as step:
                b.store(step.index, b.at("i64", block, BATCH), align=8)
                with b.when(b.icmp("ne", f.pack_chunks, 0)):
                    parallel_for(b, f.pool, self.pack_body, block, f.pack_chunks)
                parallel_for(b, f.pool, self.body, block, f.chunks)
                with b.when(b.icmp("ne", f.reduce_chunks, 0)):
                    parallel_for(b, f.pool, self.reduce_body, block, f.reduce_chunks)
        b.ret()

    def call_finish(
        self, b: Flow, f: Frame, tile: Val, c: Val, row0: Val, col0: Val, rows: Val, cols: Val, batch: Val
    ) -> None:
        """Has a tile stored, or several that lie one after the other and are neighbours along rows or columns."""
        arguments = ", ".join(map(str, (f.block, tile, c, row0, col0, rows, cols, batch)))
        b.emit(f"call void {f.slot(FINISH).name}({arguments})")

    def _call_sweep(
        self, b: Flow, f: Frame, operands: tuple[Val, ...], to: Val, distance: Val, place: tuple[Val, ...], tiles: Val,
        left_step: Val, right_step: Val, inner_b: Val,
    ) -> None:  # fmt: skip
        """Has ``tiles`` tiles computed and finished, whose rows are ``distance`` elements apart from ``to`` on; the
        steps are those of whichever operand is the inner one."""
        size, high, wide = SIZE[self.type_c], self.blk.rows, self.blk.columns
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

    # -- addresses -------------------------------------------------------------------------------------
    _BATCH = ("batch1", "batch2", "a_0", "a_1", "a_2", "b_0", "b_1", "b_2", "c_0", "c_1", "c_2")

    def matrix(self, b: Flow, f: Frame, which: str, batch: Val) -> Val:
        """The address of matrix ``batch`` of c, a or b; needs the batch words."""
        second = b.imod(batch, f.batch2)
        rest = b.idiv(batch, f.batch2)
        first = b.imod(rest, f.batch1)
        offset = b.imul(b.idiv(rest, f.batch1), getattr(f, f"{which}_0"))
        offset = b.iadd(offset, b.imul(first, getattr(f, f"{which}_1")))
        offset = b.iadd(offset, b.imul(second, getattr(f, f"{which}_2")))
        type_ = {"a": self.type_a, "b": self.type_b, "c": self.type_c}[which]
        return b.at(LLVM_TYPE[type_], f.slot("cab".index(which) + 1), offset)

    def _panel_bytes(self, b: Flow, inner_b: Val, of_inner: bool, units: Val) -> Val:
        """Bytes of ``units`` units of a panel of the inner or outer operand."""
        wide, narrow = self.blk.columns * self.num.unit_bytes, self.blk.pitch * self.num.unit_bytes
        first, second = (wide, narrow) if of_inner else (narrow, wide)
        return b.imul(units, b.select(inner_b, b.i64(first), b.i64(second)))

    def _extent(self, b: Flow, f: Frame, inner_b: Val, x: Val, y: Val) -> tuple[Val, Val, Val, Val]:
        """First row, rows, first column and columns of the tile at outer panel ``x`` and inner panel ``y``."""
        row0 = b.imul(b.select(inner_b, x, y), self.blk.rows)
        col0 = b.imul(b.select(inner_b, y, x), self.blk.columns)
        rows = b.imin(b.isub(f.m, row0), self.blk.rows)
        cols = b.imin(b.isub(f.n, col0), self.blk.columns)
        return row0, rows, col0, cols

    # -- bodies ----------------------------------------------------------------------------------------
    def _write_pack(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Packs one block of units of a panel of a shared operand: of the outer one, then of the inner one, of which
        it may be several panels."""
        f = Frame(b, block, self)
        f.preload(*COMMON, *self.pack_words)
        batch = f.slot(BATCH, "i64")
        inner_b = b.icmp("ne", f.inner_b, 0)
        blocks = b.idiv(b.iadd(f.units, b.isub(f.kc, 1)), f.kc)
        number, at = b.idiv(chunk, blocks), b.imul(b.imod(chunk, blocks), f.kc)
        units = b.imin(b.isub(f.units, at), f.kc)
        together = self.group(f, False)
        outer_groups = (
            f.outer_panels if together is None else b.idiv(b.iadd(f.outer_panels, b.isub(together, 1)), together)
        )
        # An outer operand that is given packed was packed by a launch of its own (`packing_words`), matrix by matrix.
        given = b.icmp("ne", f.ready, 0)
        outer_count = b.select(given, b.i64(0), b.imul(outer_groups, f.outer_shared))
        scratch = b.bytes_at(f.slot(SCRATCH), b.select(given, b.i64(0), b.imul(batch, f.ready_step)))

        def pack(is_b: bool, of_inner: bool) -> None:
            panel = b.isub(number, outer_count) if of_inner else number
            group = self.group(f, is_b) if is_b == of_inner else None
            panel = panel if group is None else b.imul(panel, group)
            offset = self._panel_bytes(b, inner_b, of_inner, b.iadd(b.imul(panel, f.units), at))
            to = b.bytes_at(scratch, b.iadd(f.inner_at, offset) if of_inner else offset)
            matrix = self.matrix(b, f, "b" if is_b else "a", batch)
            if group is None:
                self._pack_missing(b, f, is_b, to, matrix, panel, at, units)
            else:
                self.spread(b, f, is_b, to, matrix, panel, at, units)

        def operand(of_inner: bool) -> None:
            b.either(inner_b, lambda: pack(of_inner, of_inner), lambda: pack(not of_inner, of_inner))

        b.either(b.icmp("slt", number, outer_count), lambda: operand(False), lambda: operand(True))
        b.ret()

    def _pack(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        """Packs units of one panel in the order that micro-kernels read."""
        self.pack(b, f, is_b, to, matrix, panel, at, units)
        if self.num.tiles and not is_b:
            turn = function(
                self.module, self.isa, f"{self.name}.turn", [("ptr", "panel"), ("i64", "units")], turn_panel
            )
            b.call_void(turn, to, units)

    def _pack_missing(
        self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val
    ) -> None:
        """Packs units of one panel unless it is read where it is."""
        there = (self.direct if is_b else self.direct_a)(b, f, matrix, panel, at)
        if there is None:
            self._pack(b, f, is_b, to, matrix, panel, at, units)
            return
        with b.when(b.op("xor", there[0], b.const("i1", 1))):
            self._pack(b, f, is_b, to, matrix, panel, at, units)

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        f = Frame(b, block, self)
        f.preload(*COMMON, *self.pack_words, *self.store_words)
        by_inner, whole = b.icmp("ne", f.by_inner, 0), b.imul(f.inner_blocks, f.outer_blocks)
        rest, place = b.idiv(chunk, whole), b.imod(chunk, whole)
        count = b.select(by_inner, f.outer_blocks, f.inner_blocks)
        slow, fast = b.idiv(place, count), b.imod(place, count)
        inner_block, outer_block = b.select(by_inner, slow, fast), b.select(by_inner, fast, slow)
        split, rest = b.imod(rest, f.splits), b.idiv(rest, f.splits)
        with b.loop(b.imul(rest, f.group), b.imin(b.imul(b.iadd(rest, 1), f.group), f.together)) as each:
            batch = b.iadd(f.slot(BATCH, "i64"), each.index)
            self._write_matrix(b, f, batch, worker, split, inner_block, outer_block)
        b.ret()

    def _write_matrix(
        self, b: Flow, f: Frame, batch: Val, worker: Val, split: Val, inner_block: Val, outer_block: Val
    ) -> None:
        """Computes one block of one matrix."""
        a, bb, c = (self.matrix(b, f, which, batch) for which in "abc")
        y0, y1 = (b.idiv(b.imul(b.iadd(inner_block, i), f.inner_panels), f.inner_blocks) for i in range(2))
        x0, x1 = (b.idiv(b.imul(b.iadd(outer_block, i), f.outer_panels), f.outer_blocks) for i in range(2))
        k0 = b.imul(split, f.span)
        k1 = b.imin(b.iadd(k0, f.span), f.units)
        scratch = f.slot(SCRATCH)
        given = b.load("ptr", b.at("i64", f.block, b.select(b.icmp("ne", f.inner_b, 0), b.i64(2), b.i64(3))), align=8)
        given = b.bytes_at(given, b.imul(batch, f.ready_step))
        shared_outer = b.select(b.icmp("ne", f.ready, 0), given, scratch)
        mine = b.bytes_at(scratch, b.iadd(f.worker_at, b.imul(worker, f.worker_bytes)))
        outer_own = b.bytes_at(mine, f.outer_at)
        inner_b = b.icmp("ne", f.inner_b, 0)
        outer_shared, inner_shared = b.icmp("ne", f.outer_shared, 0), b.icmp("ne", f.inner_shared, 0)
        split_up = b.icmp("sgt", f.splits, 1)
        all_tiles = b.imul(f.outer_panels, f.inner_panels)
        partial = b.bytes_at(scratch, b.iadd(f.partial_at, b.imul(b.imul(split, all_tiles), self.tile_bytes)))
        own_tiles = b.bytes_at(mine, f.tiles_at)
        count_y = b.isub(y1, y0)
        pitch = b.i64(self.blk.columns * self.num.unit_bytes)
        tile_pitch = b.i64(self.blk.columns * self.num.acc_bytes)
        sweeps, wide = b.const("i1", 0), b.i64(1)
        if self.joins:
            sweeps = b.cmp("ne", f.slot(SWEEP), b.const("ptr", 0))
            wide = b.select(sweeps, b.i64(1), f.wide)
        k_end = b.imax(k1, b.iadd(k0, 1))  # an empty sum still makes one pass

        def missing(is_b: bool, to: Val, panel: Val, at: Val, units: Val) -> None:
            self._pack_missing(b, f, is_b, to, bb if is_b else a, panel, at, units)

        def pack(inner: bool, *args: Val) -> None:
            """Packs a panel of the inner or outer operand."""
            b.either(inner_b, lambda: missing(inner, *args), lambda: missing(not inner, *args))

        with b.loop(k0, k_end, f.kc) as at:
            units = b.imin(b.isub(k1, at.index), f.kc)
            inner_bytes = self._panel_bytes(b, inner_b, True, units)
            shared_bytes = self._panel_bytes(b, inner_b, True, f.units)
            shared_first = b.iadd(b.imul(y0, shared_bytes), self._panel_bytes(b, inner_b, True, at.index))
            inner_step = b.select(inner_shared, shared_bytes, inner_bytes)
            inner_first = b.select(inner_shared, b.bytes_at(scratch, b.iadd(f.inner_at, shared_first)), mine)
            fresh = b.cast("zext", b.icmp("eq", at.index, k0), "i64")
            last = b.icmp("sge", b.iadd(at.index, f.kc), k1)
            done = b.op("and", last, b.op("xor", split_up, b.const("i1", 1)))

            with b.loop(y0, b.select(inner_shared, y0, y1)) as y:
                pack(True, b.bytes_at(mine, b.imul(b.isub(y.index, y0), inner_bytes)), y.index, at.index, units)
            with b.loop(x0, x1) as x:
                offset = self._panel_bytes(b, inner_b, False, b.iadd(b.imul(x.index, f.units), at.index))
                with b.when(b.op("xor", outer_shared, b.const("i1", 1))):
                    pack(False, outer_own, x.index, at.index, units)
                outer = b.select(outer_shared, b.bytes_at(shared_outer, offset), outer_own)
                following_panel = b.op("and", inner_b, b.icmp("slt", b.iadd(x.index, 1), x1))
                with b.loop(y0, y1, carry=[b.i64(0)] * self.joins) as y:
                    before = y.values[0] if self.joins else b.i64(0)
                    inner = b.bytes_at(inner_first, b.imul(b.isub(y.index, y0), inner_step))
                    left, right = b.select(inner_b, outer, inner), b.select(inner_b, inner, outer)
                    there = self.direct(b, f, bb, b.select(inner_b, y.index, x.index), at.index)
                    distance, left_pitch, left_row = pitch, b.i64(0), b.i64(0)
                    above = self.direct_a(b, f, a, b.select(inner_b, x.index, y.index), at.index)
                    if above is not None:
                        left, left_pitch, left_row = b.select(above[0], above[1], left), above[2], above[3]
                    if there is not None:
                        right = b.select(there[0], there[1], right)
                        distance = b.select(there[0], there[2], pitch)
                    row0, rows, col0, cols = self._extent(b, f, inner_b, x.index, y.index)
                    lines = self.lines(b, f, c, row0, col0, cols) if self.joins else None

                    def tile() -> list[Val]:
                        """One tile; returns how many have been taken, and how many now wait to be finished."""
                        own = b.iadd(b.imul(b.isub(x.index, x0), count_y), b.isub(y.index, y0))
                        whole = b.iadd(b.imul(x.index, f.inner_panels), y.index)
                        to = b.select(
                            split_up,
                            b.bytes_at(partial, b.imul(whole, self.tile_bytes)),
                            b.bytes_at(own_tiles, b.iadd(b.imul(own, f.tile_step), b.imul(before, self.tile_bytes))),
                        )
                        here = self.in_place(b, f, c, row0, col0, rows, cols)
                        step, stored = tile_pitch, b.const("i1", 0)
                        if here is not None:
                            stored = b.op("and", here[0], b.op("xor", split_up, b.const("i1", 1)))
                            to, step = b.select(stored, here[1], to), b.select(stored, here[2], tile_pitch)
                        with b.when(b.op("or", done, stored)):
                            with b.when(b.icmp("eq", wide, 1)):  # long rows of several tiles come by themselves
                                self.touch(b, f, c, row0, col0, rows)
                            self._touch_near(b, f, batch, row0, col0, rows)
                        with b.when(following_panel):
                            share = b.isub(y.index, y0)
                            self.fetch_ahead(b, f, a, b.iadd(x.index, 1), at.index, units, share, count_y)
                        micro = (left, left_pitch, left_row, right, distance, units, to, step, fresh, rows, cols)
                        b.call_address(f.micro, *micro)
                        ended, waiting = b.const("i1", 1), b.i64(0)
                        first, extent = to, (row0, rows, col0, cols)
                        if self.joins:
                            following = b.iadd(before, 1)
                            ended = b.op("or", b.icmp("eq", following, wide), b.icmp("eq", b.iadd(y.index, 1), y1))
                            waiting = b.select(ended, b.i64(0), following)
                        with b.when(b.op("and", b.op("and", done, ended), b.op("xor", stored, b.const("i1", 1)))):
                            if self.joins:  # the first of them
                                first = b.bytes_at(to, b.isub(0, b.imul(before, self.tile_bytes)))
                                top, _, side, _ = self._extent(b, f, inner_b, x.index, b.isub(y.index, before))
                                extent = top, b.isub(b.iadd(row0, rows), top), side, b.isub(b.iadd(col0, cols), side)
                            top, high, side, across = extent
                            self.call_finish(b, f, first, c, top, side, high, across, batch)
                        return [b.i64(1), waiting]

                    def several() -> list[Val]:
                        """The same for all tiles from here on whose rows are contiguous in the result."""
                        assert lines is not None
                        count = b.imin(self.swept(b, f, row0, col0, rows), b.isub(y1, y.index))
                        with b.when(following_panel):
                            self.fetch_ahead(b, f, a, b.iadd(x.index, 1), at.index, units, b.i64(0), b.i64(1))
                        rows_apart = b.i64(self.blk.pitch * self.num.unit_bytes), b.i64(self.num.unit_bytes)
                        if above is not None:
                            rows_apart = (
                                b.select(above[0], above[2], rows_apart[0]),
                                b.select(above[0], above[3], rows_apart[1]),
                            )
                        following = inner_step
                        if there is not None:
                            following = b.select(there[0], b.i64(self.blk.columns * self.num.unit_bytes), inner_step)
                        operands = left, right, *rows_apart, distance, units
                        place = row0, col0, rows, batch
                        self._call_sweep(
                            b, f, operands, lines[1], lines[2], place, count, inner_step, following, inner_b
                        )
                        return [count, b.i64(0)]

                    if lines is not None:
                        only = b.op("and", done, b.icmp("eq", at.index, k0))  # there is one block of units
                        usable = b.op("and", only, b.op("and", sweeps, lines[0]))
                        usable = b.op("and", usable, b.icmp("eq", cols, self.blk.columns))
                        y.step, *y.next = b.choose(usable, several, tile)
                    else:
                        tile()

    def _write_reduce(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Adds up the partial sums of the tiles of one outer panel, in order, and stores them."""
        f = Frame(b, block, self)
        f.preload("m", "n", "inner_b", "inner_panels", "outer_panels", "splits", "partial_at", *self._BATCH)
        batch = f.slot(BATCH, "i64")
        c = self.matrix(b, f, "c", batch)
        inner_b = b.icmp("ne", f.inner_b, 0)
        count = self.blk.rows * self.blk.columns
        step = b.imul(b.imul(f.outer_panels, f.inner_panels), self.tile_bytes)
        base = b.bytes_at(f.slot(SCRATCH), f.partial_at)
        vector = vec_type(self.num.acc_type, self.blk.lanes)
        plus = "fadd" if self.num.acc[0] == "f" else "add"
        with b.loop(0, f.inner_panels) as y:
            tile = b.bytes_at(base, b.imul(b.iadd(b.imul(chunk, f.inner_panels), y.index), self.tile_bytes))
            with b.loop(0, count, self.blk.lanes) as i:
                spot = b.at(self.num.acc_type, tile, i.index)
                with b.loop(1, f.splits, carry=[b.load(vector, spot, align=16)]) as s:
                    other = b.load(vector, b.bytes_at(spot, b.imul(s.index, step)), align=16)
                    s.next = [b.op(plus, s.values[0], other)]
                b.store(s.values[0], spot, align=16)
            row0, rows, col0, cols = self._extent(b, f, inner_b, chunk, y.index)
            self.call_finish(b, f, tile, c, row0, col0, rows, cols, batch)
        b.ret()

    # -- output ----------------------------------------------------------------------------------------
    def _write_finish(
        self, b: Flow, block: Val, tile: Val, c: Val, row0: Val, col0: Val, rows: Val, cols: Val, batch: Val
    ) -> None:
        """Applies the epilogue to a tile, or to several together, and stores them."""
        f = Frame(b, block, self)
        f.preload(*self.store_words)
        lanes = self.blk.lanes
        vector = vec_type(self.num.acc_type, lanes)
        assert self.tail is not None
        tail, swept = self.tail, self._sweeps
        extras = [f.slot(EXTRAS + i) for i in range(tail.buffers)]
        extras += [b.word(f.words, len(self.words.names) + i) for i in range(tail.words)]
        # a vector that begins at any lane of a spilled one lies within
        self.spill = b.alloca(vec_type(LLVM_TYPE[self.type_c], 2 * lanes))

        def spot(i: Val, j: Val, first: Val | int = 0) -> Val:
            """An element; ``first`` is the first column of its tile, if that is not 0."""
            at = b.iadd(b.imul(i, self.blk.columns), j)
            return b.at(self.num.acc_type, tile, b.iadd(at, b.imul(first, self.blk.rows - 1)))

        def finished(i: Val, j: Val, first: Val | int, mask: Val | None) -> tuple[Val, Val, Val]:
            row, col = b.iadd(row0, i), b.iadd(col0, j)
            acc = b.load(vector, spot(i, j, first), align=16)
            return row, col, tail.emit(b, acc, row, col, batch, mask, extras.__getitem__)

        Put = Callable[[Val, Val | int, Val, Val | None], None]  # first column, that of its tile, columns, mask

        def one_tile(put: Put) -> None:
            """The vectors of a row of a tile."""
            for at in range(0, self.blk.columns, lanes):
                put(b.i64(at), 0, b.i64(lanes), None)

        def each_vector(put: Put) -> None:
            """Those of a row of several tiles, or of a part of one."""
            blocks = b.i64(0)
            if self.joins and not swept:
                blocks = b.imul(b.idiv(cols, self.blk.columns), self.blk.columns)
                with b.loop(0, blocks, self.blk.columns) as j:
                    for at in range(0, self.blk.columns, lanes):
                        put(b.iadd(j.index, at), j.index, b.i64(lanes), None)
            with b.loop(blocks, cols, lanes) as j:
                left = b.imin(b.isub(cols, j.index), lanes)
                put(j.index, blocks, left, b.lane_mask(left, lanes))

        def by_columns(each_row: Callable[[Callable[[Put], None]], None]) -> None:
            if self.blk.vectors > 4:  # thin products have tiles too wide to write out
                each_row(each_vector)
                return
            exact = b.icmp("eq", cols, self.blk.columns)
            b.either(exact, lambda: each_row(one_tile), lambda: each_row(each_vector))

        def straight(vectors: Callable[[Put], None]) -> None:
            def down(j: Val, first: Val | int, left: Val, mask: Val | None) -> None:
                where = self.locate(b, f, b.iadd(col0, j))
                with b.loop(0, rows) as i:
                    row, col, value = finished(i.index, j, first, mask)
                    self.store(b, f, c, row, col, value, left, mask, where)

            vectors(down)

        def turned() -> None:
            """Turns blocks of the tile over, whose columns it finishes and stores."""
            block = b.alloca(f"[{lanes} x {vector}]", align=64)
            last_tail, slots = tail.exchanged(extras.__getitem__)  # type: ignore[attr-defined]
            with b.loop(0, rows, lanes) as i, b.loop(0, cols, lanes) as j:
                height = b.imin(b.isub(rows, i.index), lanes)
                last, mask = b.isub(height, 1), b.lane_mask(height, lanes)
                lines = [spot(b.iadd(i.index, b.imin(b.i64(r), last)), j.index) for r in range(lanes)]
                columns = transpose(b, [b.load(vector, line, align=16) for line in lines], 8 * self.num.acc_bytes)
                for n, value in enumerate(columns):
                    b.store(value, b.at(vector, block, n), 64)
                row = b.iadd(row0, i.index)
                with b.loop(0, b.imin(b.isub(cols, j.index), lanes)) as each:
                    col = b.iadd(col0, b.iadd(j.index, each.index))
                    acc = b.load(vector, b.at(vector, block, each.index), 64)
                    value = last_tail.emit(b, acc, col, row, batch, mask, slots)
                    self.store_vector(b, value, self.column(b, f, c, row, col), mask)

        def even(first: Val, distance: Val, vectors: Callable[[Put], None]) -> None:
            """Rows that are contiguous, at even distances."""
            elem = LLVM_TYPE[self.type_c]
            with b.loop(0, rows, carry=[first]) as i:
                row, line = i.index, i.values[0]

                def store(j: Val, of: Val | int, _: Val, mask: Val | None) -> None:
                    self.store_vector(b, finished(row, j, of, mask)[2], b.at(elem, line, j), mask)

                vectors(store)
                i.next = [b.at(elem, line, distance)]

        def upright() -> None:
            there = self.lines(b, f, c, row0, col0, cols)
            if there is None:
                by_columns(straight)
            else:
                usable, first, distance = there
                # what is swept leaves few tiles to be stored otherwise
                other = partial(straight, each_vector) if swept else partial(by_columns, straight)
                b.either(usable, lambda: by_columns(partial(even, first, distance)), other)

        across = self.turned(b, f, row0, rows) if hasattr(tail, "exchanged") else None
        upright() if across is None else b.either(across, turned, upright)
        b.ret()

    def _write_sweep(
        self, b: Flow, block: Val, left: Val, right: Val, left_pitch: Val, left_row: Val, pitch: Val, units: Val,
        to: Val, to_row: Val, row0: Val, col0: Val, rows: Val, batch: Val, tiles: Val, left_step: Val,
        right_step: Val, to_step: Val, row_step: Val, col_step: Val,
    ) -> None:  # fmt: skip
        """Computes tiles with the epilogue in registers, and stores them; the arguments called steps lead from one to
        the next."""
        assert self.tail is not None
        tail, lanes = self.tail, self.blk.lanes
        f = Frame(b, block, self)
        extras = [f.slot(EXTRAS + i) for i in range(tail.buffers)]
        extras += [b.word(f.words, len(self.words.names) + i) for i in range(tail.words)]
        zero = b.const(vec_type(self.num.acc_type, lanes), 0)

        def high(height: int, left: Val, to: Val, row0: Val) -> None:
            shape = height, self.blk.vectors
            start = [zero] * (height * self.blk.vectors)
            with b.loop(0, tiles, carry=[left, right, to, row0, col0]) as tile:
                a, bb, c, row, col = tile.values
                sums = accumulate(b, self.num, self.isa, shape, start, a, left_pitch, left_row, bb, pitch, units)
                for i in range(height):
                    line = b.bytes_at(c, b.imul(to_row, i))
                    for j in range(self.blk.vectors):
                        acc, at = sums[i * self.blk.vectors + j], j * lanes
                        value = tail.emit(b, acc, b.iadd(row, i), b.iadd(col, at), batch, None, extras.__getitem__)
                        b.store(value, b.bytes_at(line, at * SIZE[self.type_c]), SIZE[self.type_c])
                steps = left_step, right_step, to_step
                tile.next = [
                    *(b.bytes_at(p, step) for p, step in zip((a, bb, c), steps, strict=True)),
                    b.iadd(row, row_step), b.iadd(col, col_step),
                ]  # fmt: skip

        now: tuple[Val, ...] = left, to, row0, rows
        for height in (self.blk.rows, *(h for h in _SWEPT if h < self.blk.rows)):

            def some(height: int = height, now: tuple[Val, ...] = now) -> list[Val]:
                left, to, row0, rows = now
                high(height, left, to, row0)
                below = b.bytes_at(left, b.imul(left_row, height)), b.bytes_at(to, b.imul(to_row, height))
                return [*below, b.iadd(row0, height), b.isub(rows, height)]

            def none(now: tuple[Val, ...] = now) -> list[Val]:
                return list(now)

            now = tuple(b.choose(b.icmp("sge", now[-1], height), some, none))
        b.ret()

    def store_vector(self, b: Flow, value: Val, to: Val, mask: Val | None) -> None:
        """Stores to consecutive addresses."""
        size = SIZE[self.type_c]
        if mask is None:
            b.store(value, to, size)
        else:
            b.masked_store(value, to, mask, size)

    def store_strided(self, b: Flow, value: Val, to: Val, stride: Val, count: Val) -> None:
        """Stores the first ``count`` lanes ``stride`` elements apart."""
        elem, size = LLVM_TYPE[self.type_c], SIZE[self.type_c]
        b.store(value, self.spill, 64)
        with b.loop(0, count) as e:
            one = b.load(elem, b.at(elem, self.spill, e.index), size)
            b.store(one, b.at(elem, to, b.imul(e.index, stride)), size)
