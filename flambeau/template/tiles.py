"""Micro-kernels on Intel's tile registers (AMX), and the order of A's panels that they read.

A tile holds 16 rows of 64 bytes.  ``tdpbf16ps`` and ``tdpbssd`` multiply 16 rows of A, 16 units deep (a unit is two
bfloat16 or four int8), by 16 units of B, 16 columns wide.  B's units lie in its panels as the instruction wants them.
Of A it wants the units of a row side by side, so that packed panels of A are turned over, 16 units at a time.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 (configuration of tiles), and
volume 2, TDPBF16PS and TDPBSSD.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..target.builder import Module, Val, vec_type
from ..target.isa import ISA
from ..target.turn import transpose
from .flow import Flow, function

__all__ = ["COLUMNS", "ROWS", "SIDE", "tile_module", "turn_panel"]

SIDE = 16
"""Rows of a tile, its units, and its columns of 32 bits."""
GROUPS = 2
"""Tiles side by side, and one below the other, that a micro-kernel accumulates."""
ROWS = COLUMNS = GROUPS * SIDE
_WORD = 4
"""Bytes of a unit and of an accumulator."""
_LINE = SIDE * _WORD

# The registers: accumulators 0 to 3, two tiles of A, two of B.
_A = GROUPS * GROUPS
_B = _A + GROUPS

_INTRINSICS = "llvm.x86."
"""What precedes the instructions' names."""
_PRODUCT = {"bf16": "tdpbf16ps", "i8": "tdpbssd"}


def tile_module(module: Module, name: str, packed: str, isa: ISA, in_place: bool) -> str:
    """The LLVM module of the dispatcher that `micro.micro_kernel` describes, for units of type ``packed``.

    Exactly ``rows`` x ``cols`` of the tile are read and written, and as many rows of A.
    """
    inner = [("ptr", "a"), ("i64", "arow"), ("ptr", "b"), ("i64", "pitch"), ("i64", "units"), ("ptr", "tile")]
    inner += [("i64", n) for n in ("tilepitch", "fresh", "rows", "cols")]

    def define(h: int, w: int) -> str:
        def write(b: Flow, *arguments: Val) -> None:
            _MicroKernel(b, packed, (h, w), in_place, *arguments).write()

        return function(module, isa, f"tiles{h}x{w}", inner, write, attributes="noinline")

    kernels = {(h, w): define(h, w) for h in (1, 2) for w in (1, 2)}

    def dispatch(
        b: Flow, a: Val, a_pitch: Val, a_row: Val, right: Val, pitch: Val, units: Val, tile: Val, tile_pitch: Val,
        fresh: Val, rows: Val, cols: Val,
    ) -> None:  # fmt: skip
        arguments = a, a_row, right, pitch, units, tile, tile_pitch, fresh, rows, cols

        def wide(h: int) -> None:
            low, high = (lambda w=w: b.call_void(kernels[h, w], *arguments) for w in (1, 2))
            b.either(b.icmp("sle", cols, SIDE), low, high)

        b.either(b.icmp("sle", rows, SIDE), lambda: wide(1), lambda: wide(2))
        b.ret()

    args = [("ptr", "a"), ("i64", "apitch"), ("i64", "arow"), ("ptr", "b"), ("i64", "pitch"), ("i64", "units")]
    args += [("ptr", "tile"), ("i64", "tilepitch"), ("i64", "fresh"), ("i64", "rows"), ("i64", "cols")]
    function(module, isa, name, args, dispatch, linkage="")
    return module.text()


class _MicroKernel:
    """Writes the kernel for ``shape`` tiles below and beside each other."""

    def __init__(
        self, b: Flow, packed: str, shape: tuple[int, int], in_place: bool,
        a: Val, a_row: Val, right: Val, pitch: Val, units: Val, tile: Val, tile_pitch: Val, fresh: Val, rows: Val,
        cols: Val,
    ) -> None:  # fmt: skip
        self.b, self.product, self.in_place = b, _PRODUCT[packed], in_place
        self.height, self.width = shape
        self.a, self.a_row, self.right, self.pitch, self.units = a, a_row, right, pitch, units
        self.tile, self.tile_pitch, self.fresh = tile, tile_pitch, fresh
        self.rows, self.cols = self.shares(rows, self.height), self.shares(cols, self.width)

    def shares(self, extent: Val, parts: int) -> list[Val]:
        """How many rows or columns each tile has; only the last may have fewer than all."""
        return [self.b.i64(SIDE)] * (parts - 1) + [self.b.isub(extent, SIDE * (parts - 1))]

    def write(self) -> None:
        b = self.b
        whole = b.idiv(self.units, SIDE)
        rest = b.isub(self.units, b.imul(whole, SIDE))
        # an empty sum makes one pass too, over no blocks
        main = b.op("or", b.icmp("ne", whole, 0), b.icmp("eq", rest, 0))
        memory = b.alloca("[64 x i8]")

        def blocks() -> list[Val]:
            self.configure(memory, b.i64(SIDE))
            self.open(self.fresh)
            with b.loop(0, whole) as block:
                self.multiply(block.index, b.i64(SIDE))
            self.close()
            return [b.i64(0)]

        (fresh,) = b.choose(main, blocks, lambda: [self.fresh])
        with b.when(b.icmp("ne", rest, 0)):
            self.configure(memory, rest)
            self.open(fresh)
            self.multiply(whole, rest)
            self.close()
        self.do("tilerelease")
        b.ret()

    def do(self, instruction: str, *arguments: Val | int) -> None:
        """One instruction; numbers are registers."""
        values = [Val(str(x), "i8") if isinstance(x, int) else x for x in arguments]
        symbol = self.b.module.declare(_INTRINSICS + instruction, "void", [x.type for x in values])
        self.b.call_void(symbol, *values)

    def configure(self, memory: Val, units: Val) -> None:
        """Gives the registers their sizes, which also clears them."""
        b = self.b
        for at in range(0, 64, 8):
            b.store(b.i64(int(at == 0)), b.bytes_at(memory, at), align=8)  # palette 1

        def size(register: int, rows: Val, words: Val) -> None:
            b.store(b.cast("trunc", b.imul(words, _WORD), "i16"), b.bytes_at(memory, 16 + 2 * register), align=2)
            b.store(b.cast("trunc", rows, "i8"), b.bytes_at(memory, 48 + register), align=1)

        for i, rows in enumerate(self.rows):
            size(_A + i, rows, units)
            for j, cols in enumerate(self.cols):
                size(GROUPS * i + j, rows, cols)
        for j, cols in enumerate(self.cols):
            size(_B + j, units, cols)
        self.do("ldtilecfg", memory)

    def spots(self) -> list[tuple[int, Val]]:
        """The accumulators and where they belong."""
        b = self.b
        return [
            (GROUPS * i + j, b.bytes_at(b.bytes_at(self.tile, b.imul(self.tile_pitch, SIDE * i)), _LINE * j))
            for i in range(self.height)
            for j in range(self.width)
        ]

    def open(self, fresh: Val) -> None:
        """Loads the accumulators unless they are ``fresh``; the configuration has cleared them."""
        with self.b.when(self.b.icmp("eq", fresh, 0)):
            for register, spot in self.spots():
                self.do("tileloadd64", register, spot, self.tile_pitch)

    def close(self) -> None:
        for register, spot in self.spots():
            self.do("tilestored64", register, spot, self.tile_pitch)

    def multiply(self, block: Val, units: Val) -> None:
        """Adds the product of 16 or fewer units from block ``block`` on."""
        b = self.b
        right = b.bytes_at(self.right, b.imul(b.imul(block, SIDE), self.pitch))
        for j in range(self.width):
            self.do("tileloadd64", _B + j, b.bytes_at(right, _LINE * j), self.pitch)
        left = b.bytes_at(self.a, b.imul(block, _LINE if self.in_place else _LINE * ROWS))
        row = self.a_row if self.in_place else b.imul(units, _WORD)
        for i in range(self.height):
            self.do("tileloadd64", _A + i, b.bytes_at(left, b.imul(row, SIDE * i)), row)
            for j in range(self.width):
                self.do(self.product, GROUPS * i + j, _A + i, _B + j)


def turn_panel(b: Flow, panel: Val, units: Val) -> None:
    """Writes a function that turns over a packed panel of A, `ROWS` rows wide, in place: of every 16 units (of the last
    fewer) all rows, and in each row the units side by side."""
    vector = vec_type("i32", SIDE)
    whole = b.imul(b.idiv(units, SIDE), SIDE)

    def lines(start: Val) -> list[Val]:
        """The addresses of the vectors of a block, two for each unit."""
        first = b.bytes_at(panel, b.imul(start, ROWS * _WORD))
        return [b.bytes_at(first, _LINE * i) for i in range(GROUPS * SIDE)]

    def turned(vectors: Sequence[Val]) -> list[Val]:
        return [row for group in range(GROUPS) for row in transpose(b, list(vectors[group::GROUPS]), 32)]

    with b.loop(0, whole, SIDE) as block:
        spots = lines(block.index)
        for row, spot in zip(turned([b.load(vector, spot, align=4) for spot in spots]), spots, strict=True):
            b.store(row, spot, align=4)
    rest = b.isub(units, whole)
    with b.when(b.icmp("ne", rest, 0)):
        mask = b.lane_mask(rest, SIDE)
        first = b.bytes_at(panel, b.imul(whole, ROWS * _WORD))
        # units beyond the last one are read as the last: they are not stored
        last = b.isub(rest, 1)
        starts = [b.bytes_at(first, b.imul(b.imin(b.i64(u), last), ROWS * _WORD)) for u in range(SIDE)]
        values = [b.load(vector, b.bytes_at(s, _LINE * group), align=4) for s in starts for group in range(GROUPS)]
        for i, row in enumerate(turned(values)):
            b.masked_store(row, b.bytes_at(first, b.imul(rest, _WORD * i)), mask, 4)
    b.ret()
