"""The skeleton that matrix products and convolutions share: chunks, blocks, packing, tiles, partial sums, epilogue.

A contraction sums products of units of two operands, A (by rows) and B (by columns), over an inner dimension that
is counted in *units* (see `micro.Number`).  A subclass of `Contraction` says how a panel of each operand is packed
and where elements of the result lie.  `blocking.Cut` says how the work is divided; everything here reads its numbers
from the parameter words of a *problem*.  A launch may consist of several problems, taken one after another.

A kernel is compiled in two modules: the *core* is the same for all epilogues (what a chunk does to a matrix is in
`contract_block`), and the entry's module holds only what an epilogue determines (`contract_finish`): what finishes
tiles, and where `Contraction.joins` what sweeps rows of them.  The core's address is among the words.
"""

from __future__ import annotations

from ..graph.program import RETRY
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .contract_block import MatrixBlock
from .contract_finish import call_finish, finish_function, sweep_function
from .epilogue import Epilogue
from .flow import Flow, function, parallel_for
from .frame import BATCH, ERROR, FINISH, SCRATCH, SLOTS, SWEEP, WORDS, Frame
from .micro import SIZE, Number, blocking
from .tiles import turn_panel
from .words import COMMON, LINE, Words

__all__ = ["Contraction"]

STACK = 1 << 18
"""Most bytes of scratch memory that an entry takes from the stack."""
WANTED = 1
"""The word of the pool that holds the number of threads."""


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

    spill: Val
    """Memory for two vectors of the result, in the function that finishes tiles."""

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

    def touch_near(self, b: Flow, f: Frame, batch: Val, row0: Val, col0: Val, rows: Val) -> None:
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
        self.finish = finish_function(self)
        self.sweep = sweep_function(self) if self.sweeps else "null"
        buffers = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        entry = [("ptr", n) for n in buffers]
        function(self.module, self.isa, self.name, entry, self._write_entry, result="i64", linkage="")
        return self.module.text()

    @property
    def sweeps(self) -> bool:
        """Whether the kernel sweeps rows of tiles (see `contract_finish`)."""
        return self.joins and self.tail is not None and self.tail.straight

    def _write_entry(self, b: Flow, *args: Val) -> None:
        assert self.tail is not None
        scratch = self._scratch(b, args[0], args[4 + self.tail.buffers])
        memory = b.alloca(f"[{len(args) + SLOTS} x i64]", align=16)
        block = b.at("i64", memory, SLOTS)
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
            f = Frame(b, block, self.words)
            f.preload("chunks", "pool", "sequential", "pack_chunks", "reduce_chunks")
            with b.loop(0, f.sequential) as step:
                b.store(step.index, b.at("i64", block, BATCH), align=8)
                with b.when(b.icmp("ne", f.pack_chunks, 0)):
                    parallel_for(b, f.pool, self.pack_body, block, f.pack_chunks)
                parallel_for(b, f.pool, self.body, block, f.chunks)
                with b.when(b.icmp("ne", f.reduce_chunks, 0)):
                    parallel_for(b, f.pool, self.reduce_body, block, f.reduce_chunks)
        b.ret()

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

    def panel_bytes(self, b: Flow, inner_b: Val, of_inner: bool, units: Val) -> Val:
        """Bytes of ``units`` units of a panel of the inner or outer operand."""
        wide, narrow = self.blk.columns * self.num.unit_bytes, self.blk.pitch * self.num.unit_bytes
        first, second = (wide, narrow) if of_inner else (narrow, wide)
        return b.imul(units, b.select(inner_b, b.i64(first), b.i64(second)))

    def extent(self, b: Flow, f: Frame, inner_b: Val, x: Val, y: Val) -> tuple[Val, Val, Val, Val]:
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
        f = Frame(b, block, self.words)
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
            offset = self.panel_bytes(b, inner_b, of_inner, b.iadd(b.imul(panel, f.units), at))
            to = b.bytes_at(scratch, b.iadd(f.inner_at, offset) if of_inner else offset)
            matrix = self.matrix(b, f, "b" if is_b else "a", batch)
            if group is None:
                self.pack_missing(b, f, is_b, to, matrix, panel, at, units)
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

    def pack_missing(
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
        f = Frame(b, block, self.words)
        f.preload(*COMMON, *self.pack_words, *self.store_words)
        by_inner, whole = b.icmp("ne", f.by_inner, 0), b.imul(f.inner_blocks, f.outer_blocks)
        rest, place = b.idiv(chunk, whole), b.imod(chunk, whole)
        count = b.select(by_inner, f.outer_blocks, f.inner_blocks)
        slow, fast = b.idiv(place, count), b.imod(place, count)
        inner_block, outer_block = b.select(by_inner, slow, fast), b.select(by_inner, fast, slow)
        split, rest = b.imod(rest, f.splits), b.idiv(rest, f.splits)
        with b.loop(b.imul(rest, f.group), b.imin(b.imul(b.iadd(rest, 1), f.group), f.together)) as each:
            batch = b.iadd(f.slot(BATCH, "i64"), each.index)
            MatrixBlock(self, b, f, batch, worker, split, inner_block, outer_block).write()
        b.ret()

    def _write_reduce(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Adds up the partial sums of the tiles of one outer panel, in order, and stores them."""
        f = Frame(b, block, self.words)
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
            row0, rows, col0, cols = self.extent(b, f, inner_b, chunk, y.index)
            call_finish(b, f, tile, c, row0, col0, rows, cols, batch)
        b.ret()

    # -- output ----------------------------------------------------------------------------------------
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
