"""Matrix products ``c[b, m, n] = epilogue(sum over k of a[b, m, k] * b[b, k, n])`` for any strides.

    spec = gemm.GemmSpec("f32", "f32", "f32", "f32")            # types of a, b, accumulators and output
    spec = gemm.choose(spec, m, n, k, a_strides, b_strides, c_strides)   # the kernel for these sizes
    kernel = engine.load(gemm.kernel_name(spec), gemm.key(spec, isa), lambda: gemm.make_ir(spec, isa), isa)
    bound = gemm.bind(spec, isa, batch, m, n, k, a_strides, b_strides, c_strides, pool, workers)
    entry(params, c, a, b, *epilogue buffers, scratch)

``a_strides`` are (batch ..., m, k), ``b_strides`` (batch ..., k, n) and ``c_strides`` (batch ..., m, n), in
elements; ``batch`` is a tuple of at most three sizes (or one size), and a stride of 0 broadcasts.  Where ``bound.swap``
is true the caller passes b's pointer in a's place and a's in b's (the product is computed as the transpose of the
product of the transposed operands, because that suits the strides).  ``scratch`` points to ``bound.scratch_bytes``
bytes, 64-byte aligned, that nobody else uses during the call; ``workers`` is the greatest number of threads that the
pool may have in such a call.  Without it (address 0) the kernel takes it from the stack or, having computed nothing,
returns `graph.program.RETRY`.  The kernel depends on the spec only; sizes are run-time words.

Types are the codes of ``target.scalar``: f32, f64, bf16, f16 and integers; the accumulators' are f32, f64, i32, i64.
Integers wrap around.  k is summed in blocks that depend on the sizes alone, so that results are bitwise the same
for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from ..runtime import cpu, engine
from ..target.builder import Val
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .blocking import Cut, cut, unit_block
from .contract import Contraction
from .epilogue import AddIn, Epilogue, Plain, near_words
from .flow import Flow
from .frame import Frame
from .micro import LINE, SIZE, WAYS, Blocking, Number, blocking, load_address, micro_kernel, micro_request, number
from .pack import pack_kernel, pack_request, spread_kernel, spread_request
from .slabs import SLAB_ROWS, SlabProduct, cut_slabs
from .thin import FEW_ROWS, ROWS, THIN_WORDS, ThinProduct, cut_thin, thin_layout
from .words import Words, common_values, scratch_bytes

__all__ = [
    "AddIn",
    "Binding",
    "GemmSpec",
    "Plain",
    "Ready",
    "accumulator",
    "bind",
    "choose",
    "kernel_name",
    "key",
    "make_ir",
    "requests",
]

_THIN = {ROWS: ThinProduct, SLAB_ROWS: SlabProduct}
BATCH_DIMS = 3
PAGE = 4096
"""Rows a multiple of so many bytes apart compete for the lines of a cache."""
PANELS_DIRECT = 55
"""Panels of rows up to which B is read in place rather than packed: as often as that it is read."""
CROWDED_PANELS = 2
"""The same where its rows compete for the lines of a cache: all for one set of the first level.  With twice as many
sets for them, reading in place pays for four times as many panels."""
L2_WAYS = 8
"""Lines that one set of the second-level cache holds, at least."""
FEW_COLUMNS = 64
"""Columns up to which (and few elements of k) A is read in place whatever the distance of its rows."""
CROWDED_COLUMNS = 160
"""Columns up to which rows of A that compete for the lines of a cache are read in place all the same, some at a time:
that costs a tenth of the product, packing them as much as 180 columns."""
MANY_REGISTERS = 32
"""Vector registers of the processors that keep large tiles."""
TURN_FROM, TURN_FROM_FEW = 64, 160
"""Elements of k from which it pays to turn tiles over rather than to pack B: with many registers, and with few."""
SIDE_BY_SIDE = 8
"""Panels that a chunk packs together where they are contiguous side by side: memory is read in pieces of a row that are
so long."""
FAR = 3 << 18
"""Bytes of B from which on products of five to thirty-two rows are bound by reading it."""
SMALL = 4096
"""Elements of B up to which a product of few rows reads it as others do."""


@dataclass(frozen=True)
class GemmSpec:
    """What determines the code of a product: element types, the epilogue (``None``: `Plain`), and ``thin``: the most
    rows (or columns) of a kernel for few of them, 0 for the other kernel, as `choose` decides."""

    a: str
    b: str
    acc: str
    out: str
    epilogue: Epilogue | None = None
    thin: int = 0

    @property
    def tail(self) -> Epilogue:
        """The epilogue; by default one that stores the product."""
        return Plain(self.acc, self.out) if self.epilogue is None else self.epilogue


class Ready(NamedTuple):
    """An operand (0: the first, a or b as they are passed) that is given packed or transformed: ``nbytes`` that the
    entry makes in its scratch memory with the words ``params``; all with one ``key`` are alike."""

    operand: int
    key: tuple[object, ...]
    nbytes: int
    params: tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """The parameter words of a launch, the scratch memory it needs, and whether a and b change places."""

    params: list[int]
    scratch_bytes: int
    swap: bool = False
    ready: Ready | None = None
    """The operand that is given prepared."""


def accumulator(a: str, b: str) -> str:
    """The accumulator type for operands of these types."""
    if "f64" in (a, b):
        return "f64"
    if a[0] == "f" or b[0] == "f" or "bf16" in (a, b):
        return "f32"
    return "i64" if "i64" in (a, b) else "i32"


def kernel_name(spec: GemmSpec) -> str:
    """The symbol of the entry."""
    return f"gemm{f'v{spec.thin}' if spec.thin else ''}_{spec.a}_{spec.b}_{spec.acc}_{spec.out}"


def key(spec: GemmSpec, isa: ISA) -> str:
    """Determines the code."""
    return f"{kernel_name(spec)}|{spec.tail.key}|{isa.key}"


def requests(
    spec: GemmSpec, isa: ISA, in_place: bool = False, packed: bool = True, crowded: bool = False
) -> list[engine.Request]:
    """All code that a launch needs, the entry first: for ``engine.load_many``, which compiles in parallel.  `bind`,
    which knows whether A is read ``in_place`` (and its rows are ``crowded``) and whether anything is ``packed``, loads
    it all."""
    entry = engine.Request(kernel_name(spec), key(spec, isa), partial(make_ir, spec, isa), isa)
    core = core_request(spec, isa)
    if spec.thin:
        return [entry, core]
    num = number(spec.a, spec.b, spec.acc, isa, product=True)
    packs = [pack_request(source, num, isa) for source in sorted({spec.a, spec.b} if packed else ())]
    return [entry, core, micro_request(num, isa, in_place, crowded), *packs]


def choose(
    spec: GemmSpec,
    m: int,
    n: int,
    k: int,
    a_strides: Sequence[int],
    b_strides: Sequence[int],
    c_strides: Sequence[int],
) -> GemmSpec:
    """The spec of the kernel that suits these sizes and strides (as `bind` takes them)."""
    thin = 0
    if FEW_ROWS < m <= min(SLAB_ROWS, n) and spec.a == spec.b == spec.acc and spec.acc[0] == "f":
        by_rows = b_strides[-1] == c_strides[-1] == 1 < b_strides[-2]
        thin = SLAB_ROWS if by_rows and k * n * SIZE[spec.b] >= FAR else 0
    if not thin and min(m, n) <= ROWS:
        swap = n < m and _may_swap(spec)
        rows = n if swap else m
        many, (bk, bn) = m if swap else n, a_strides[:-3:-1] if swap else b_strides[-2:]
        # what stays in the first-level cache may as well be read in place
        # with few registers the sums of more dot products do not fit: the micro-kernel takes two thirds of the time
        few = rows <= (ROWS if bk == 1 and _many_registers() else FEW_ROWS) and 1 in (bk, bn)
        thin = ROWS if few and not (bn == 1 and k * many < SMALL and many % 8 == 0) else 0
    return spec if thin == spec.thin else replace(spec, thin=thin)


def _many_registers() -> bool:
    return ISA.host().registers >= MANY_REGISTERS


def _may_swap(spec: GemmSpec) -> bool:
    return spec.a == spec.b and hasattr(spec.tail, "transposed")


# -- parameter words ---------------------------------------------------------------------------------

_WORDS = Words(
    ("k", "a_m", "a_k", "b_k", "b_n", "c_m", "c_n", "b_direct", "a_direct", "c_plain", "pack_a", "pack_b", "spread_a",
     "spread_b", "group_a", "group_b"),
)  # fmt: skip


@dataclass(frozen=True)
class _Problem:
    """A product to be bound: its sizes, the strides of its matrices, those of batches first, the epilogue's words."""

    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: tuple[int, ...]
    b: tuple[int, ...]
    c: tuple[int, ...]
    words: tuple[int, ...]

    def check(self, spec: GemmSpec) -> None:
        """Raises ``ValueError`` for what `bind` refuses."""
        dims = len(self.batch)
        if dims > BATCH_DIMS:
            raise ValueError(f"gemm.bind: {dims} batch dimensions; at most {BATCH_DIMS} can be bound, collapse them")
        for name, strides in (("a", self.a), ("b", self.b), ("c", self.c)):
            if len(strides) != dims + 2:
                raise ValueError(f"gemm.bind: {len(strides)} strides of {name} for {dims} batch dimensions")
        if len(self.words) != spec.tail.words:
            raise ValueError(f"gemm.bind: {len(self.words)} epilogue words, the epilogue has {spec.tail.words}")

    def transposed(self, spec: GemmSpec) -> _Problem:
        """The product of the transposed operands in exchanged order, which is the transpose of this one."""
        a, b, c = ((*strides[:-2], strides[-1], strides[-2]) for strides in (self.a, self.b, self.c))
        words = spec.tail.transposed(self.words)  # type: ignore[attr-defined]  # _may_swap asked for it
        return _Problem(self.batch, self.n, self.m, self.k, b, a, c, words)

    def strides(self) -> dict[str, int]:
        """The words that say how far apart elements and matrices are."""
        pad = (0,) * (BATCH_DIMS - len(self.batch))
        values = {f"{x}_{i}": s for x in "abc" for i, s in enumerate((*pad, *getattr(self, x)[:-2]))}
        for first, second, strides in (("a_m", "a_k", self.a), ("b_k", "b_n", self.b), ("c_m", "c_n", self.c)):
            values[first], values[second] = strides[-2:]
        return values


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
    p = _Problem(sizes, m, n, k, tuple(a_strides), tuple(b_strides), tuple(c_strides), tuple(epilogue_words))
    p.check(spec)
    num = Number(spec.acc, spec.acc) if spec.thin else number(spec.a, spec.b, spec.acc, isa, product=True)
    across = not spec.thin and _may_swap(spec) and _reads_columns(spec, num, blocking(num, isa).lanes, p)
    swap = across or _is_swapped(spec, p)
    if swap:
        p = p.transposed(spec)
    if spec.thin:
        own, values = THIN_WORDS, _bind_thin(spec, isa, num, p, pool)
    else:
        own, values = _WORDS, _bind_panels(spec, isa, num, p, across, pool, workers)
    values |= p.strides()
    values |= {"k": k, "problems": 1, "workers": workers, "core": load_address(core_request(spec, isa))}
    return Binding(own.pack(values, p.words), scratch_bytes(values, workers), swap)


def _is_swapped(spec: GemmSpec, p: _Problem) -> bool:
    """Whether the operands change places because few columns are to be few rows, or the result lies by columns."""
    if not _may_swap(spec):
        return False
    if spec.thin:
        return p.n < p.m and spec.thin == ROWS
    return p.c[-1] != 1 and p.c[-2] == 1 and p.m > 1


def _bind_thin(spec: GemmSpec, isa: ISA, num: Number, p: _Problem, pool: int) -> dict[str, int]:
    """The words of a product of few rows, but for the strides."""
    bk, bn = p.b[-2:]
    if p.m > spec.thin or 1 not in (bk, bn)[spec.thin > ROWS :]:
        raise ValueError(f"gemm.bind: no thin product of {p.m} rows with strides {bk}, {bn} of b; use gemm.choose")
    blk, total = _THIN[spec.thin].tile(num, isa), math.prod(p.batch)
    few = spec.thin == ROWS
    plan = cut_thin(total, p.m, p.n, p.k, bk == 1) if few else cut_slabs(total, p.m, p.n, p.k, num)
    values = common_values(plan, p.batch, p.m, p.n, -(-p.k // num.depth), num, blk, 0, pool)
    return values | thin_layout(plan, p.n, num, blk)


def _bind_panels(
    spec: GemmSpec, isa: ISA, num: Number, p: _Problem, across: bool, pool: int, workers: int
) -> dict[str, int]:
    """The words of any other product, but for the strides; loads all code.  ``across``: tiles will be turned over."""
    blk, tail, units = blocking(num, isa), spec.tail, -(-p.k // num.depth)
    (am, ak), bn = p.a[-2:], p.b[-1]
    direct_a, direct_b = _direct_a(spec, num, blk, p), _direct_b(spec, num, blk, p)
    plain = isinstance(tail, Plain) and p.c[-1] == 1
    aligned = p.n % blk.lanes == 0
    packed = not (direct_a and direct_b and aligned)
    crowded = direct_a and ak == 1 and am * SIZE[spec.a] % PAGE == 0 and p.m > WAYS and not num.tiles
    finished = not isinstance(tail, (Plain, AddIn))
    plan = cut(
        math.prod(p.batch), p.m, p.n, units, num, blk, direct_a, direct_b, max(workers, 2), bn == 1, across, finished
    )
    # tiles want the panels of A turned over
    spreads = plan.outer_shared and am == 1 and not num.tiles, plan.inner_shared and bn == 1
    needed = requests(spec, isa, direct_a, packed, crowded)
    sources = {t for t, together in zip((spec.a, spec.b), spreads, strict=True) if together}
    engine.load_many([*needed, *(spread_request(t, num, isa) for t in sorted(sources))])
    micro = micro_kernel(num, isa, direct_a, crowded)
    tiled = not (plain and spec.out == spec.acc and aligned and (direct_a or p.m % blk.rows == 0))
    values = common_values(plan, p.batch, p.m, p.n, units, num, blk, micro, pool, packed, tiled)
    values |= {"c_plain": int(plain), "a_direct": int(direct_a), "b_direct": int(direct_b), "group_a": 1, "group_b": 1}
    values |= near_words(tail, p.words)
    if any(spreads):
        values |= _spread_words(spec, isa, num, plan, spreads, -(-units // plan.kc), max(workers, 1))
    if packed:
        values |= {"pack_a": pack_kernel(spec.a, num, isa), "pack_b": pack_kernel(spec.b, num, isa)}
    return values


def _spread_words(
    spec: GemmSpec, isa: ISA, num: Number, plan: Cut, spreads: tuple[bool, bool], blocks: int, workers: int
) -> dict[str, int]:
    """The words that say how many panels of each operand a chunk packs together, where it ``spreads``, of so many
    ``blocks`` of units."""
    values, chunks = {}, 0
    for which, type_, together, shared, panels in (
        ("a", spec.a, spreads[0], plan.outer_shared, plan.outer_panels),
        ("b", spec.b, spreads[1], plan.inner_shared, plan.inner_panels),
    ):
        group = max(1, min(SIDE_BY_SIDE, panels * blocks // (2 * workers))) if together else 1
        chunks += -(-panels // group) * shared
        values[f"group_{which}"] = group
        values[f"spread_{which}"] = spread_kernel(type_, num, isa) if together else 0
    return values | {"pack_chunks": blocks * chunks}


def _reads_columns(spec: GemmSpec, num: Number, lanes: int, p: _Problem) -> bool:
    """Whether B, contiguous along k, is better read in place as the rows of its transpose than packed: few rows of A
    then are what is packed, and tiles are turned over when they are stored."""
    m, (bk, bn) = p.m, p.b[-2:]
    crowded = bn * SIZE[spec.b] % PAGE == 0
    tidy = p.a[-1] == bk == p.c[-1] == 1 and not (crowded and m > CROWDED_COLUMNS)
    by_rows = isinstance(spec.tail, AddIn) and p.words[1] != 0  # an addend that would be read across
    # rows so far apart take as long to pack as 14 rows to compute
    whole = 10 * (-m % lanes) <= m or (crowded and -m % lanes <= 12)
    alike = spec.b == spec.out == num.packed == num.acc
    long = p.k >= (TURN_FROM if _many_registers() else TURN_FROM_FEW)
    return tidy and not by_rows and alike and whole and long and 3 * m <= p.n


def _direct_a(spec: GemmSpec, num: Number, blk: Blocking, p: _Problem) -> bool:
    """Whether the micro-kernel reads A where it is.

    Rows a multiple of a page apart compete for the same lines of the first-level cache; a panel of few rows of a
    transposed A is a small part of many lines.
    """
    am, ak = p.a[-2:]
    if spec.a != num.packed or p.k % num.depth or (num.pair and ak != 1) or 1 not in (am, ak):
        return False
    if ak != 1 and 2 * blk.rows * SIZE[spec.a] <= LINE and p.n > FEW_COLUMNS:
        return False
    if (am if ak == 1 else ak) * SIZE[spec.a] % PAGE != 0:
        return True
    return (p.n <= FEW_COLUMNS and p.k <= 64) or (p.n <= CROWDED_COLUMNS and ak == 1 and not num.tiles)


def _direct_b(spec: GemmSpec, num: Number, blk: Blocking, p: _Problem) -> bool:
    """Whether the micro-kernel reads B where it is: contiguous along columns, and not for so many rows that tidy panels
    pay."""
    bk, bn = p.b[-2:]
    if spec.b != num.packed or num.pair or bn != 1:
        return False
    pitch, way = abs(bk) * SIZE[spec.b], cpu.cache_sizes().l2 // L2_WAYS
    # a panel of B has a line in each row, and all of them should stay while panels of A pass
    lines, room = unit_block(p.k, num, blk), L2_WAYS * way // math.gcd(pitch, way)
    sets = PAGE // math.gcd(pitch, PAGE)
    panels = CROWDED_PANELS if lines > room else PANELS_DIRECT
    if lines > WAYS * sets:
        panels = min(panels, CROWDED_PANELS * sets * sets)
    return p.m <= panels * blk.rows


# -- code --------------------------------------------------------------------------------------------


def make_ir(spec: GemmSpec, isa: ISA) -> str:
    """The LLVM module of the kernel."""
    if spec.thin:
        types = (spec.a, spec.b, spec.out)
        return _THIN[spec.thin](kernel_name(spec), types, Number(spec.acc, spec.acc), isa, spec.tail).text()
    return _Product(kernel_name(spec), spec, isa, spec.tail).text()


def core_request(spec: GemmSpec, isa: ISA) -> engine.Request:
    """What the code that all epilogues share asks the engine for."""
    name = kernel_name(spec) + "_core"

    def make() -> str:
        if spec.thin:
            types = (spec.a, spec.b, spec.out)
            return _THIN[spec.thin](name, types, Number(spec.acc, spec.acc), isa, None).core_text()
        return _Product(name, spec, isa, None).core_text()

    return engine.Request(name, f"{name}|{isa.key}", make, isa)


class _Product(Contraction):
    """Operands and result with one stride a dimension."""

    stack = True

    pack_words = (
        "m", "n", "k", "a_m", "a_k", "b_k", "b_n", "a_direct", "b_direct", "pack_a", "pack_b", "spread_a",
        "spread_b", "group_a", "group_b",
    )  # fmt: skip
    store_words = ("c_m", "c_n", "a_direct", "c_plain")

    def __init__(self, name: str, spec: GemmSpec, isa: ISA, tail: Epilogue | None) -> None:
        num = number(spec.a, spec.b, spec.acc, isa, product=True)
        super().__init__(name, (spec.a, spec.b, spec.out), num, isa, tail, _WORDS)

    def pack(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        if is_b:
            width, pitch, stride, kstride, extent = self.blk.columns, self.blk.columns, f.b_n, f.b_k, f.n
            elem, packer = self.type_b, f.pack_b
        else:
            width, pitch, stride, kstride, extent = self.blk.rows, self.blk.pitch, f.a_m, f.a_k, f.m
            elem, packer = self.type_a, f.pack_a
        first, k0 = b.imul(panel, width), b.imul(at, self.num.depth)
        k = b.imin(b.isub(f.k, k0), b.imul(units, self.num.depth))
        origin = b.at(LLVM_TYPE[elem], matrix, b.iadd(b.imul(first, stride), b.imul(k0, kstride)))
        b.call_address(packer, to, origin, stride, kstride, b.imin(b.isub(extent, first), width), k, b.i64(pitch))

    def group(self, f: Frame, is_b: bool) -> Val | None:
        return f.group_b if is_b else f.group_a

    def spread(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        if is_b:
            width, pitch, kstride, extent, elem = self.blk.columns, self.blk.columns, f.b_k, f.n, self.type_b
        else:
            width, pitch, kstride, extent, elem = self.blk.rows, self.blk.pitch, f.a_k, f.m, self.type_a
        kernel, group = (f.spread_b, f.group_b) if is_b else (f.spread_a, f.group_a)

        def several() -> None:
            first, k0 = b.imul(panel, width), b.imul(at, self.num.depth)
            k = b.imin(b.isub(f.k, k0), b.imul(units, self.num.depth))
            origin = b.at(LLVM_TYPE[elem], matrix, b.iadd(first, b.imul(k0, kstride)))
            count = b.imin(b.isub(extent, first), b.imul(group, width))
            step = b.imul(f.units, pitch * self.num.unit_bytes)
            b.call_address(kernel, to, origin, kstride, count, k, b.i64(width), b.i64(pitch), step)

        one = partial(self._pack, b, f, is_b, to, matrix, panel, at, units)
        b.either(b.icmp("ne", kernel, 0), several, one)

    def direct(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val] | None:
        if self.num.pair or self.type_b != self.num.packed:
            return None
        # the last panel only where whole vectors are left
        cols = b.imin(b.isub(f.n, b.imul(panel, self.blk.columns)), self.blk.columns)
        usable = b.op("and", b.icmp("ne", f.b_direct, 0), b.icmp("eq", b.imod(cols, self.blk.lanes), 0))
        first = b.iadd(b.imul(panel, self.blk.columns), b.imul(at, f.b_k))
        return usable, b.at(LLVM_TYPE[self.type_b], matrix, first), b.imul(f.b_k, SIZE[self.type_b])

    def direct_a(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val, Val] | None:
        if self.type_a != self.num.packed:
            return None
        size = SIZE[self.type_a]
        first = b.iadd(b.imul(b.imul(panel, self.blk.rows), f.a_m), b.imul(b.imul(at, self.num.depth), f.a_k))
        where = b.at(LLVM_TYPE[self.type_a], matrix, first)
        pitch, row = b.imul(f.a_k, size * self.num.depth), b.imul(f.a_m, size)
        return b.icmp("ne", f.a_direct, 0), where, pitch, row

    def in_place(
        self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val, cols: Val
    ) -> tuple[Val, Val, Val] | None:
        if self.type_c != self.num.acc:
            return None
        exact = b.op("or", b.icmp("ne", f.a_direct, 0), b.icmp("eq", rows, self.blk.rows))
        whole = b.op("and", exact, b.icmp("eq", b.imod(cols, self.blk.lanes), 0))
        size = SIZE[self.type_c]
        offset = b.iadd(b.imul(row0, f.c_m), col0)
        usable = b.op("and", b.icmp("ne", f.c_plain, 0), whole)
        return usable, b.at(LLVM_TYPE[self.type_c], c, offset), b.imul(f.c_m, size)

    def touch(self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val) -> None:
        elem, size = LLVM_TYPE[self.type_c], SIZE[self.type_c]
        start = b.at(elem, c, b.iadd(b.imul(row0, f.c_m), b.imul(col0, f.c_n)))
        with b.loop(0, rows) as i:
            line = b.at(elem, start, b.imul(i.index, f.c_m))
            for offset in range(0, self.blk.columns * size, 64):
                b.prefetch(b.bytes_at(line, offset), write=True)

    def turned(self, b: Flow, f: Frame, row0: Val, rows: Val) -> Val | None:
        if self.type_c != self.num.acc:
            return None
        return b.op("and", b.icmp("eq", f.c_m, 1), b.icmp("ne", f.c_n, 1))

    def column(self, b: Flow, f: Frame, c: Val, row: Val, col: Val) -> Val:
        return b.at(LLVM_TYPE[self.type_c], c, b.iadd(row, b.imul(col, f.c_n)))

    def store(
        self, b: Flow, f: Frame, c: Val, row: Val, col: Val, value: Val, left: Val, mask: Val | None, where: list[Val]
    ) -> None:  # fmt: skip
        to = b.at(LLVM_TYPE[self.type_c], c, b.iadd(b.imul(row, f.c_m), b.imul(col, f.c_n)))
        b.either(
            b.icmp("eq", f.c_n, 1),
            lambda: self.store_vector(b, value, to, mask),
            lambda: self.store_strided(b, value, to, f.c_n, left),
        )
