"""Matrix products ``c[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])`` for any strides.

    spec = gemm.GemmSpec("f32", "f32", "f32", "f32")            # types of a, b, accumulators and output
    kernel = engine.load(gemm.kernel_name(spec), gemm.key(spec, isa), lambda: gemm.make_ir(spec, isa), isa)
    bound = gemm.bind(spec, isa, batch, m, n, k, a_strides, b_strides, c_strides, pool, workers)
    entry(params, c, a, b, *epilogue buffers, scratch, *epilogue scalars)

``a_strides`` are (batch ..., m, k), ``b_strides`` (batch ..., k, n) and ``c_strides`` (batch ..., m, n), in
elements; ``batch`` is a tuple of at most three sizes (or one size), and a stride of 0 broadcasts.  Where ``bound.swap``
is true the caller passes b's pointer in a's place and a's in b's (the product is computed as the transpose of the
product of the transposed operands, because that suits the strides).  ``scratch`` points to ``bound.scratch_bytes``
bytes, 64-byte aligned, that nobody else uses during the call; ``workers`` is the greatest number of
threads that the pool may have in this call.  The kernel depends on the spec only; sizes are run-time words.

Types are the codes of ``target.scalar``: f32, f64, bf16, f16 and integers; the accumulators' are f32, f64, i32, i64.
Integers wrap around.  k is summed in blocks that depend on the sizes alone, so that results are bitwise the same
for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .blocking import Cut, cut
from .epilogue import AddIn, Epilogue, Plain
from .flow import Flow, function, parallel_for
from .micro import SIZE, Blocking, Number, blocking, micro_kernel, micro_request, number
from .pack import pack_kernel, pack_request

__all__ = ["AddIn", "Binding", "GemmSpec", "Plain", "accumulator", "bind", "kernel_name", "key", "make_ir", "requests"]

LINE = 64
BATCH_DIMS = 3


@dataclass(frozen=True)
class GemmSpec:
    """What determines the code of a product: element types and the epilogue (``None``: `Plain`)."""

    a: str
    b: str
    acc: str
    out: str
    epilogue: Epilogue | None = None

    @property
    def tail(self) -> Epilogue:
        return Plain(self.acc, self.out) if self.epilogue is None else self.epilogue


@dataclass(frozen=True)
class Binding:
    """The parameter words of a launch, the scratch memory it needs, and whether a and b change places."""

    params: list[int]
    scratch_bytes: int
    swap: bool = False


def accumulator(a: str, b: str) -> str:
    """The accumulator type for operands of these types."""
    if "f64" in (a, b):
        return "f64"
    if a[0] == "f" or b[0] == "f" or "bf16" in (a, b):
        return "f32"
    return "i64" if "i64" in (a, b) else "i32"


def kernel_name(spec: GemmSpec) -> str:
    """The symbol of the entry."""
    return f"gemm_{spec.a}_{spec.b}_{spec.acc}_{spec.out}"


def key(spec: GemmSpec, isa: ISA) -> str:
    """Determines the code."""
    return f"{kernel_name(spec)}|{spec.tail.key}|{isa.key}"


def requests(spec: GemmSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs, the entry first: for ``engine.load_many``, which compiles in parallel.  (`bind`
    loads what is missing.)"""
    num = number(spec.a, spec.b, spec.acc, isa)
    packs = [pack_request(source, num, isa) for source in sorted({spec.a, spec.b})]
    entry = engine.Request(kernel_name(spec), key(spec, isa), partial(make_ir, spec, isa), isa)
    return [entry, micro_request(num, isa), *packs]


# -- parameter words ---------------------------------------------------------------------------------

_WORDS = (
    "chunks", "pool", "m", "n", "k", "a_m", "a_k", "b_k", "b_n", "c_m", "c_n",
    "batch1", "batch2", "a_0", "a_1", "a_2", "b_0", "b_1", "b_2", "c_0", "c_1", "c_2",
    "inner_b", "shared", "inner_blocks", "outer_blocks", "inner_panels", "outer_panels",
    "splits", "span", "kc", "sequential", "pack_chunks", "reduce_chunks",
    "partial_at", "worker_at", "worker_bytes", "tiles_at", "outer_at", "tile_step",
    "micro", "pack_a", "pack_b",
)  # fmt: skip
_INDEX = {name: i for i, name in enumerate(_WORDS)}


def _round(value: int, to: int = LINE) -> int:
    return -(-value // to) * to


def bind(
    spec: GemmSpec,
    isa: ISA,
    batch: int | Sequence[int],
    m: int,
    n: int,
    k: int,
    a_strides: Sequence[int],
    b_strides: Sequence[int],
    c_strides: Sequence[int],
    pool: int,
    workers: int,
    epilogue_words: Sequence[int] = (),
) -> Binding:
    """The words for one launch; see the module's text.

    ``epilogue_words`` are the epilogue's bound words.  Raises ``ValueError`` for more than three batch dimensions
    or a number of strides that does not fit.
    """
    sizes = (batch,) if isinstance(batch, int) else tuple(batch)
    if len(sizes) > BATCH_DIMS:
        raise ValueError(f"gemm.bind: {len(sizes)} batch dimensions; at most {BATCH_DIMS} can be bound, collapse them")
    for name, strides in (("a", a_strides), ("b", b_strides), ("c", c_strides)):
        if len(strides) != len(sizes) + 2:
            raise ValueError(f"gemm.bind: {len(strides)} strides of {name} for {len(sizes)} batch dimensions")
    tail = spec.tail
    if len(epilogue_words) != tail.words:
        raise ValueError(f"gemm.bind: {len(epilogue_words)} epilogue words, the epilogue has {tail.words}")
    words = tuple(epilogue_words)
    (am, ak), (bk, bn), (cm, cn) = a_strides[-2:], b_strides[-2:], c_strides[-2:]
    ab, bb, cb = a_strides[:-2], b_strides[:-2], c_strides[:-2]
    transposed = getattr(tail, "transposed", None)
    swap = False
    if transposed is not None and spec.a == spec.b and cn != 1 and cm == 1 and m > 1:
        swap = True
        m, n = n, m
        am, ak, bk, bn, cm, cn = bn, bk, ak, am, cn, cm
        ab, bb = bb, ab
        words = transposed(words)
    num = number(spec.a, spec.b, spec.acc, isa)
    blk = blocking(num, isa)
    total = 1
    for size in sizes:
        total *= size
    plan = cut(total, m, n, k, num, blk)
    pad = (0,) * (BATCH_DIMS - len(sizes))
    full = (1,) * len(pad) + sizes
    layout = _scratch(plan, k, num, blk)
    full_size = m and n and total
    values = {
        "chunks": plan.chunks if full_size else 0, "pool": pool if plan.parallel else 0, "m": m, "n": n, "k": k,
        "a_m": am, "a_k": ak, "b_k": bk, "b_n": bn, "c_m": cm, "c_n": cn, "batch1": full[1], "batch2": full[2],
        **{f"{x}_{i}": s for x, st in (("a", ab), ("b", bb), ("c", cb)) for i, s in enumerate((*pad, *st))},
        "inner_b": int(plan.inner_b), "shared": int(plan.shared),
        "inner_blocks": plan.inner_blocks, "outer_blocks": plan.outer_blocks,
        "inner_panels": plan.inner_panels, "outer_panels": plan.outer_panels,
        "splits": plan.splits, "span": plan.span, "kc": plan.kc, "sequential": plan.sequential if full_size else 0,
        "pack_chunks": plan.outer_panels * -(-k // plan.kc) * plan.shared,
        "reduce_chunks": plan.outer_panels if plan.splits > 1 else 0, **layout,
        "micro": micro_kernel(num, isa),
        "pack_a": pack_kernel(spec.a, num, isa), "pack_b": pack_kernel(spec.b, num, isa),
    }  # fmt: skip
    total_bytes = layout["worker_at"] + max(workers, 1) * layout["worker_bytes"]
    return Binding([values[name] for name in _WORDS] + list(words), total_bytes, swap)


def _scratch(plan: Cut, k: int, num: Number, blk: Blocking) -> dict[str, int]:
    """Where things lie in scratch memory: the shared operand, partial sums, then a part for every worker with
    the inner block, a panel of the outer operand, and tiles."""
    tile = blk.rows * blk.columns * num.acc_bytes
    inner_width, outer_width = (blk.columns, blk.pitch) if plan.inner_b else (blk.pitch, blk.columns)
    units = -(-plan.kc // num.depth)
    all_units = -(-max(k, 1) // num.depth)
    shared = _round(plan.outer_panels * all_units * outer_width * num.unit_bytes) if plan.shared else 0
    partial = plan.splits * plan.outer_panels * plan.inner_panels * tile if plan.splits > 1 else 0
    outer_at = _round(plan.inner_most * units * inner_width * num.unit_bytes)
    tiles_at = outer_at + (0 if plan.shared else _round(units * outer_width * num.unit_bytes))
    many = plan.span > plan.kc and plan.splits == 1
    tiles = plan.inner_most * plan.outer_most if many else 1
    return {
        "partial_at": shared, "worker_at": shared + partial, "worker_bytes": tiles_at + tiles * tile,
        "outer_at": outer_at, "tiles_at": tiles_at, "tile_step": tile if many else 0,
    }  # fmt: skip


# -- code --------------------------------------------------------------------------------------------


def make_ir(spec: GemmSpec, isa: ISA) -> str:
    """The LLVM module of the kernel."""
    return _Writer(spec, isa).text()


class _Frame:
    """The block of a launch inside a function: parameter words, buffers, scalars."""

    def __init__(self, b: Flow, block: Val, spec: GemmSpec) -> None:
        self.b, self.block, self.spec = b, block, spec
        self.params = b.load("ptr", block, align=8)
        self._words: dict[str, Val] = {}

    def preload(self, *names: str) -> None:
        """Loads words here, so that later blocks may use them."""
        for name in names:
            self._words[name] = self.b.word(self.params, _INDEX[name])

    def __getattr__(self, name: str) -> Val:
        if name in _INDEX:
            return self._words[name]
        raise AttributeError(name)

    def slot(self, index: int, type_: str = "ptr") -> Val:
        return self.b.load(type_, self.b.at("i64", self.block, index), align=8)


class _Writer:
    """Writes the functions of one kernel."""

    def __init__(self, spec: GemmSpec, isa: ISA) -> None:
        self.spec, self.isa = spec, isa
        self.tail = spec.tail
        self.num = number(spec.a, spec.b, spec.acc, isa)
        self.blk = blocking(self.num, isa)
        self.module = new_module(isa)
        self.name = kernel_name(spec)
        self.scratch_slot = 4 + self.tail.buffers
        self.outer_slot = self.scratch_slot + 1 + len(self.tail.scalars)

    def text(self) -> str:
        self.finish = function(
            self.module, self.isa, "finish",
            [("ptr", "block"), ("ptr noalias", "tile"), ("ptr", "c")]
            + [("i64", n) for n in ("row0", "col0", "rows", "cols", "batch")],
            self._write_finish, attributes="noinline",
        )  # fmt: skip
        args = [("ptr", "block"), ("i64", "chunk"), ("i64", "worker")]
        self.pack_body = function(self.module, self.isa, f"{self.name}.pack", args, self._write_pack)
        self.reduce_body = function(self.module, self.isa, f"{self.name}.reduce", args, self._write_reduce)
        self.body = function(self.module, self.isa, f"{self.name}.body", args, self._write_body)
        buffers = ["params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch"]
        entry = [("ptr", n) for n in buffers]
        entry += [("double" if t == "f64" else "i64", f"s{i}") for i, t in enumerate(self.tail.scalars)]
        function(self.module, self.isa, self.name, entry, self._write_entry, result="i64", linkage="")
        return self.module.text()

    def _write_entry(self, b: Flow, *args: Val) -> None:
        slots = self.outer_slot + 1
        memory = b.alloca(f"[{slots + 1} x i64]", align=16)
        block = b.bytes_at(memory, 8)
        b.store(b.i64(0), memory, align=8)
        for i, value in enumerate(args):
            b.store(value, b.at("i64", block, i), align=8)
        f = _Frame(b, block, self.spec)
        f.preload("chunks", "pool", "sequential", "pack_chunks", "reduce_chunks")
        with b.loop(0, f.sequential) as step:
            b.store(step.index, b.at("i64", block, self.outer_slot), align=8)
            with b.when(b.icmp("ne", f.pack_chunks, 0)):
                parallel_for(b, f.pool, self.pack_body, block, f.pack_chunks)
            parallel_for(b, f.pool, self.body, block, f.chunks)
            with b.when(b.icmp("ne", f.reduce_chunks, 0)):
                parallel_for(b, f.pool, self.reduce_body, block, f.reduce_chunks)
        b.ret(b.load("i64", memory, align=8))

    # -- addresses -----------------------------------------------------------------------------------
    def _matrix(self, b: Flow, f: _Frame, which: str, batch: Val) -> Val:
        """The address of matrix ``batch`` of c, a or b; needs the batch words."""
        second = b.imod(batch, f.batch2)
        rest = b.idiv(batch, f.batch2)
        first = b.imod(rest, f.batch1)
        offset = b.imul(b.idiv(rest, f.batch1), getattr(f, f"{which}_0"))
        offset = b.iadd(offset, b.imul(first, getattr(f, f"{which}_1")))
        offset = b.iadd(offset, b.imul(second, getattr(f, f"{which}_2")))
        type_ = {"a": self.spec.a, "b": self.spec.b, "c": self.spec.out}[which]
        return b.at(LLVM_TYPE[type_], f.slot("cab".index(which) + 1), offset)

    def _units(self, b: Flow, k: Val) -> Val:
        """Units that hold ``k`` values of k."""
        return k if self.num.depth == 1 else b.idiv(b.iadd(k, 1), 2)

    def _pack(self, b: Flow, f: _Frame, is_b: bool, to: Val, matrix: Val, panel: Val, pc: Val, kk: Val) -> None:
        """Packs ``kk`` values of k from ``pc`` on of one panel of an operand."""
        if is_b:
            step, stride, kstride, extent, elem, pack = self.blk.columns, f.b_n, f.b_k, f.n, self.spec.b, f.pack_b
        else:
            step, stride, kstride, extent, elem, pack = self.blk.rows, f.a_m, f.a_k, f.m, self.spec.a, f.pack_a
        first = b.imul(panel, step)
        origin = b.at(LLVM_TYPE[elem], matrix, b.iadd(b.imul(first, stride), b.imul(pc, kstride)))
        pitch = b.i64(self.blk.columns if is_b else self.blk.pitch)
        b.call_address(pack, to, origin, stride, kstride, b.imin(b.isub(extent, first), step), kk, pitch)

    def _panel_bytes(self, b: Flow, inner_b: Val, of_inner: bool, units: Val) -> Val:
        """Bytes of ``units`` units of a panel of the inner or outer operand."""
        wide, narrow = self.blk.columns * self.num.unit_bytes, self.blk.pitch * self.num.unit_bytes
        first, second = (wide, narrow) if of_inner else (narrow, wide)
        return b.imul(units, b.select(b.icmp("ne", inner_b, 0), b.i64(first), b.i64(second)))

    # -- bodies --------------------------------------------------------------------------------------
    _STRIDES = ("m", "n", "k", "a_m", "a_k", "b_k", "b_n", "batch1", "batch2", "a_0", "a_1", "a_2", "b_0", "b_1", "b_2",
                "inner_b", "kc", "outer_panels", "inner_panels", "pack_a", "pack_b")  # fmt: skip

    def _write_pack(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Packs one block of k of one panel of the shared operand."""
        f = _Frame(b, block, self.spec)
        f.preload(*self._STRIDES)
        batch = f.slot(self.outer_slot, "i64")
        panel, pc = b.imod(chunk, f.outer_panels), b.imul(b.idiv(chunk, f.outer_panels), f.kc)
        kk = b.imin(b.isub(f.k, pc), f.kc)
        step = self._panel_bytes(b, f.inner_b, False, b.i64(1))
        unit = b.iadd(b.imul(panel, self._units(b, f.k)), b.idiv(pc, self.num.depth))
        to = b.bytes_at(f.slot(self.scratch_slot), b.imul(unit, step))

        def pack(is_b: bool) -> None:
            self._pack(b, f, is_b, to, self._matrix(b, f, "b" if is_b else "a", batch), panel, pc, kk)

        b.either(b.icmp("ne", f.inner_b, 0), lambda: pack(False), lambda: pack(True))
        b.ret()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        f = _Frame(b, block, self.spec)
        f.preload(*self._STRIDES, "c_0", "c_1", "c_2", "c_m", "c_n", "shared", "inner_blocks", "outer_blocks",
                  "splits", "span", "partial_at", "worker_at", "worker_bytes", "tiles_at", "outer_at",
                  "tile_step", "micro")  # fmt: skip
        inner_block, rest = b.imod(chunk, f.inner_blocks), b.idiv(chunk, f.inner_blocks)
        outer_block, rest = b.imod(rest, f.outer_blocks), b.idiv(rest, f.outer_blocks)
        split, rest = b.imod(rest, f.splits), b.idiv(rest, f.splits)
        batch = b.iadd(f.slot(self.outer_slot, "i64"), rest)
        a, bb, c = (self._matrix(b, f, which, batch) for which in "abc")
        y0, y1 = (b.idiv(b.imul(b.iadd(inner_block, i), f.inner_panels), f.inner_blocks) for i in range(2))
        x0, x1 = (b.idiv(b.imul(b.iadd(outer_block, i), f.outer_panels), f.outer_blocks) for i in range(2))
        k0 = b.imul(split, f.span)
        k1 = b.imin(b.iadd(k0, f.span), f.k)
        scratch = f.slot(self.scratch_slot)
        mine = b.bytes_at(scratch, b.iadd(f.worker_at, b.imul(worker, f.worker_bytes)))
        outer_own = b.bytes_at(mine, f.outer_at)
        inner_b = b.icmp("ne", f.inner_b, 0)
        shared = b.icmp("ne", f.shared, 0)
        split_up = b.icmp("sgt", f.splits, 1)
        tile_bytes = self.blk.rows * self.blk.columns * self.num.acc_bytes
        all_tiles = b.imul(f.outer_panels, f.inner_panels)
        partial = b.bytes_at(scratch, b.iadd(f.partial_at, b.imul(b.imul(split, all_tiles), tile_bytes)))
        own_tiles = b.bytes_at(mine, f.tiles_at)
        count_y = b.isub(y1, y0)
        k_end = b.imax(k1, b.iadd(k0, 1))  # an empty sum still makes one pass

        with b.loop(k0, k_end, f.kc) as pc:
            kk = b.imin(b.isub(k1, pc.index), f.kc)
            units = self._units(b, kk)
            inner_bytes = self._panel_bytes(b, f.inner_b, True, units)
            fresh = b.cast("zext", b.icmp("eq", pc.index, k0), "i64")
            last = b.icmp("sge", b.iadd(pc.index, f.kc), k1)

            with b.loop(y0, y1) as y:
                to = b.bytes_at(mine, b.imul(b.isub(y.index, y0), inner_bytes))
                b.either(
                    inner_b,
                    lambda: self._pack(b, f, True, to, bb, y.index, pc.index, kk),
                    lambda: self._pack(b, f, False, to, a, y.index, pc.index, kk),
                )
            with b.loop(x0, x1) as x:
                unit = b.iadd(b.imul(x.index, self._units(b, f.k)), b.idiv(pc.index, self.num.depth))
                ready = b.bytes_at(scratch, self._panel_bytes(b, f.inner_b, False, unit))

                def pack_outer() -> list[Val]:
                    b.either(
                        inner_b,
                        lambda: self._pack(b, f, False, outer_own, a, x.index, pc.index, kk),
                        lambda: self._pack(b, f, True, outer_own, bb, x.index, pc.index, kk),
                    )
                    return [outer_own]

                (outer,) = b.choose(shared, lambda: [ready], pack_outer)
                with b.loop(y0, y1) as y:
                    inner = b.bytes_at(mine, b.imul(b.isub(y.index, y0), inner_bytes))
                    own = b.iadd(b.imul(b.isub(x.index, x0), count_y), b.isub(y.index, y0))
                    whole = b.iadd(b.imul(x.index, f.inner_panels), y.index)
                    tile = b.select(
                        split_up,
                        b.bytes_at(partial, b.imul(whole, tile_bytes)),
                        b.bytes_at(own_tiles, b.imul(own, f.tile_step)),
                    )
                    left, right = b.select(inner_b, outer, inner), b.select(inner_b, inner, outer)
                    row0, rows, col0, cols = self._extent(b, f, inner_b, x.index, y.index)
                    pitch = b.i64(self.blk.columns * self.num.unit_bytes)
                    b.call_address(f.micro, left, right, pitch, units, tile, fresh, rows, cols)
                    done = b.op("and", last, b.op("xor", split_up, b.const("i1", 1)))
                    with b.when(done):
                        b.call_void(self.finish, block, tile, c, row0, col0, rows, cols, batch)
        b.ret()

    def _extent(self, b: Flow, f: _Frame, inner_b: Val, x: Val, y: Val) -> tuple[Val, Val, Val, Val]:
        """First row, rows, first column and columns of the tile at outer panel ``x`` and inner panel ``y``."""
        row0 = b.imul(b.select(inner_b, x, y), self.blk.rows)
        col0 = b.imul(b.select(inner_b, y, x), self.blk.columns)
        rows = b.imin(b.isub(f.m, row0), self.blk.rows)
        cols = b.imin(b.isub(f.n, col0), self.blk.columns)
        return row0, rows, col0, cols

    def _write_reduce(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Adds up the partial sums of the tiles of one outer panel, in order, and stores them."""
        f = _Frame(b, block, self.spec)
        f.preload(*self._STRIDES, "c_0", "c_1", "c_2", "splits", "partial_at")
        batch = f.slot(self.outer_slot, "i64")
        c = self._matrix(b, f, "c", batch)
        inner_b = b.icmp("ne", f.inner_b, 0)
        count = self.blk.rows * self.blk.columns
        tile_bytes = count * self.num.acc_bytes
        step = b.imul(b.imul(f.outer_panels, f.inner_panels), tile_bytes)
        base = b.bytes_at(f.slot(self.scratch_slot), f.partial_at)
        vector = vec_type(self.num.acc_type, self.blk.lanes)
        plus = "fadd" if self.num.acc[0] == "f" else "add"
        with b.loop(0, f.inner_panels) as y:
            tile = b.bytes_at(base, b.imul(b.iadd(b.imul(chunk, f.inner_panels), y.index), tile_bytes))
            with b.loop(0, count, self.blk.lanes) as i:
                spot = b.at(self.num.acc_type, tile, i.index)
                with b.loop(1, f.splits, carry=[b.load(vector, spot, align=16)]) as s:
                    other = b.load(vector, b.bytes_at(spot, b.imul(s.index, step)), align=16)
                    s.next = [b.op(plus, s.values[0], other)]
                b.store(s.values[0], spot, align=16)
            row0, rows, col0, cols = self._extent(b, f, inner_b, chunk, y.index)
            b.call_void(self.finish, block, tile, c, row0, col0, rows, cols, batch)
        b.ret()

    # -- output --------------------------------------------------------------------------------------
    def _write_finish(
        self, b: Flow, block: Val, tile: Val, c: Val, row0: Val, col0: Val, rows: Val, cols: Val, batch: Val
    ) -> None:
        """Applies the epilogue to a tile and stores it."""
        f = _Frame(b, block, self.spec)
        f.preload("c_m", "c_n")
        lanes = self.blk.lanes
        vector = vec_type(self.num.acc_type, lanes)
        extras = [f.slot(4 + i) for i in range(self.tail.buffers)]
        first = self.scratch_slot + 1
        extras += [f.slot(first + i, "double" if t == "f64" else "i64") for i, t in enumerate(self.tail.scalars)]
        extras += [b.word(f.params, len(_WORDS) + i) for i in range(self.tail.words)]
        out = LLVM_TYPE[self.spec.out]
        size = SIZE[self.spec.out]
        unit = b.icmp("eq", f.c_n, 1)
        spill = b.alloca(vec_type(out, lanes))
        with b.loop(0, rows) as i:
            row = b.iadd(row0, i.index)
            line = b.at(self.num.acc_type, tile, b.imul(i.index, self.blk.columns))
            with b.loop(0, cols, lanes) as j:
                acc = b.load(vector, b.at(self.num.acc_type, line, j.index), align=16)
                col = b.iadd(col0, j.index)
                to = b.at(out, c, b.iadd(b.imul(row, f.c_m), b.imul(col, f.c_n)))
                left = b.isub(cols, j.index)

                def whole() -> None:
                    value = self.tail.emit(b, acc, row, col, batch, None, extras.__getitem__)
                    b.either(unit, lambda: b.store(value, to, size), lambda: scatter(value, b.i64(lanes)))

                def part() -> None:
                    mask = b.lane_mask(left, lanes)
                    value = self.tail.emit(b, acc, row, col, batch, mask, extras.__getitem__)
                    b.either(unit, lambda: b.masked_store(value, to, mask, size), lambda: scatter(value, left))

                def scatter(value: Val, count: Val) -> None:
                    b.store(value, spill, 64)
                    with b.loop(0, count) as e:
                        one = b.load(out, b.at(out, spill, e.index), size)
                        b.store(one, b.at(out, to, b.imul(e.index, f.c_n)), size)

                b.either(b.icmp("sge", left, lanes), whole, part)
        b.ret()
