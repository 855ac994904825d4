"""Register-blocked micro-kernels of the matrix product, and the shape of the blocks they work on.

A micro-kernel multiplies a panel of A (``pitch`` values for each k, the first ``rows`` of them used) by a
panel of B (``columns`` values for each k) into a tile of ``rows`` x ``columns`` accumulators, all of which
live in vector registers.  Block structure: Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", ACM TOMS 34(3), 2008; Van Zee and van de Geijn, "BLIS", ACM TOMS 41(3), 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..target.builder import Module, Val, vec_type
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .flow import Flow, function

__all__ = ["Blocking", "Number", "blocking", "define_micro", "number"]

SIZE = {"i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4, "f32": 4, "i64": 8, "f64": 8}


@dataclass(frozen=True)
class Number:
    """How a product of two element types is computed.

    ``packed`` is the type code in the panels, ``acc`` that of the accumulators; ``pair`` says that a panel's
    unit is two consecutive values of k (bfloat16 dot products), held in an i32.
    """

    packed: str
    acc: str
    pair: bool = False

    @property
    def unit(self) -> str:
        """The LLVM type of one unit of a panel."""
        return "i32" if self.pair else LLVM_TYPE[self.packed]

    @property
    def unit_bytes(self) -> int:
        return 4 if self.pair else SIZE[self.packed]

    @property
    def depth(self) -> int:
        """Values of k in a unit."""
        return 2 if self.pair else 1

    @property
    def acc_type(self) -> str:
        return LLVM_TYPE[self.acc]

    @property
    def acc_bytes(self) -> int:
        return SIZE[self.acc]


def number(a: str, b: str, acc: str, isa: ISA) -> Number:
    """The way to multiply elements of types ``a`` and ``b`` with accumulators of type ``acc``."""
    if acc == "f32" and a == b == "bf16" and isa.has("avx512bf16"):
        return Number("bf16", "f32", pair=True)
    return Number(acc, acc)


@dataclass(frozen=True)
class Blocking:
    """The register block: ``rows`` x ``vectors`` vectors of ``lanes``; heights and widths of the kernels for tails."""

    lanes: int
    rows: int
    vectors: int
    pitch: int
    heights: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(range(self.vectors, 0, -1))


_REGISTER_BLOCK = {"avx512": (14, 2), "avx2": (6, 2), "x86-64": (4, 2), "neon": (8, 3), "generic": (4, 2)}


def blocking(num: Number, isa: ISA) -> Blocking:
    """The register block for this kind of number on this instruction set."""
    rows, vectors = _REGISTER_BLOCK[isa.name]
    lanes = isa.lanes(num.acc_type)
    heights = tuple(h for h in (14, 10, 8, 6, 4, 2, 1) if h < rows)
    return Blocking(lanes, rows, vectors, -(-rows // lanes) * lanes, (rows, *heights))


def multiply_add(b: Flow, num: Number, isa: ISA, x: Val, y: Val, acc: Val) -> Val:
    """``acc + x * y`` on vectors of units."""
    lanes = vec_type(num.acc_type, 1) and int(acc.type[1:-1].split(" x ")[0])
    if num.pair:
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
        halves = vec_type("bfloat", 2 * lanes)
        b.module.declare(name, acc.type, [acc.type, halves, halves])
        left, right = b.cast("bitcast", x, halves), b.cast("bitcast", y, halves)
        return b.call(acc.type, "@" + name, acc, left, right)
    if num.acc in ("f32", "f64"):
        return b.fma(x, y, acc) if isa.fma else b.fadd(b.fmul(x, y), acc)
    return b.add(b.mul(x, y), acc)


def define_micro(module: Module, num: Number, isa: ISA, blk: Blocking) -> str:
    """Defines the micro-kernels and their dispatcher; returns its symbol:

    ``micro(ptr a, ptr b, i64 b_pitch, i64 units, ptr tile, i64 fresh, i64 rows, i64 cols)``

    adds the product of panels ``a`` and ``b`` to the tile, or overwrites it when ``fresh`` is not 0.  ``b_pitch``
    is the distance in bytes of two rows of the B panel.  At least ``rows`` x ``cols`` of the tile are valid after.
    """
    args = [("ptr noalias", "a"), ("ptr noalias", "b"), ("i64", "pitch"), ("i64", "units"), ("ptr noalias", "tile")]
    args.append(("i64", "fresh"))
    kernels = {
        (h, w): function(
            module,
            isa,
            f"micro{h}x{w}",
            args,
            lambda b, *v, h=h, w=w: _write_micro(b, num, isa, blk, h, w, *v),
            attributes="noinline",
        )
        for h in blk.heights
        for w in blk.widths
    }

    def dispatch(b: Flow, *v: Val) -> None:
        inner, rows, cols = v[:6], v[6], v[7]
        for h in reversed(blk.heights):
            with b.when(b.icmp("sle", rows, h)) if h != blk.rows else _always():
                for w in reversed(blk.widths):
                    with b.when(b.icmp("sle", cols, w * blk.lanes)) if w != blk.vectors else _always():
                        b.emit(f"tail call void {kernels[h, w]}({', '.join(map(str, inner))})")
                        b.ret()
                        b.place(b.label("dead"))
        b.emit("unreachable")

    return function(module, isa, "micro", [*args, ("i64", "rows"), ("i64", "cols")], dispatch, attributes="noinline")


class _always:
    """A block that runs in any case."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _write_micro(
    b: Flow, num: Number, isa: ISA, blk: Blocking, h: int, w: int, a: Val, bp: Val, pitch: Val, units: Val, tile: Val, fresh: Val
) -> None:
    vector = vec_type(num.acc_type, blk.lanes)
    unit_vector = vec_type(num.unit, blk.lanes)
    zero = b.const(vector, 0)
    spots = [(i, j) for i in range(h) for j in range(w)]

    def where(i: int, j: int) -> Val:
        return b.bytes_at(tile, (i * blk.columns + j * blk.lanes) * num.acc_bytes)

    start = b.choose(
        b.icmp("ne", fresh, 0),
        lambda: [zero for _ in spots],
        lambda: [b.load(vector, where(i, j), align=16) for i, j in spots],
    )
    with b.loop(0, units, carry=[*start, a, bp]) as k:
        *acc, a_now, b_now = k.values
        right = [b.load(unit_vector, b.bytes_at(b_now, j * blk.lanes * num.unit_bytes), align=4) for j in range(w)]
        for i in range(h):
            left = b.splat(b.load(num.unit, b.at(num.unit, a_now, i), align=4), blk.lanes)
            for j in range(w):
                acc[i * w + j] = multiply_add(b, num, isa, left, right[j], acc[i * w + j])
        k.next = [*acc, b.bytes_at(a_now, blk.pitch * num.unit_bytes), b.bytes_at(b_now, pitch)]
    for (i, j), value in zip(spots, k.values, strict=False):
        b.store(value, where(i, j), align=16)
    b.ret()
