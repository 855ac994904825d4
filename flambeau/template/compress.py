"""The elements of rows where flags hold, one behind the other, and how many they are.

    spec = compress.CompressSpec(32)     # bits of an element; CompressSpec(0): of their positions, int64
    entry(params, out, counts, flags, values, scratch)      # without values for positions

A row is cut into pieces.  The first phase counts the flags of each piece, the second adds the counts up, so that every
piece of the third knows where it writes.  Whole vectors are compressed in a register and stored; what such a store
writes behind the last element that holds is overwritten by the next one of the same piece, and near the end of a
piece's elements the store is masked.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from .flow import Flow, phased_entry
from .gemm import Binding

__all__ = ["CompressSpec", "bind", "kernel_name", "requests"]

_PIECE = 1 << 14
"""Elements of a piece, some microseconds."""
_COUNTED = 64
"""Flags that are counted at once."""

_WORDS = ("chunks", "pool", "rows", "n", "pieces", "step")


@dataclass(frozen=True)
class CompressSpec:
    """What determines the code: the bits of an element; 0 for positions."""

    bits: int


def kernel_name(spec: CompressSpec) -> str:
    """The symbol of the entry."""
    return f"compress_{spec.bits}"


def requests(spec: CompressSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs: for ``engine.load_many``."""
    name = kernel_name(spec)
    return [engine.Request(name, f"{name}|{isa.key}", lambda: _Compress(spec, isa).text(), isa)]


def bind(rows: int, n: int, pool: int) -> Binding:
    """The words for ``rows`` contiguous rows of ``n`` flags."""
    pieces = max(1, -(-n // _PIECE))
    chunks = rows * pieces
    return Binding([chunks, pool if chunks > 1 else 0, rows, n, pieces, _PIECE], 8 * chunks)


class _Compress:
    """Writes the functions of the kernel."""

    def __init__(self, spec: CompressSpec, isa: ISA) -> None:
        self.name, self.isa, self.spec = kernel_name(spec), isa, spec
        self.elem = f"i{spec.bits or 64}"
        self.size = (spec.bits or 64) // 8
        # 128 bits have no instruction, and the narrow types only where the processor has VBMI2
        whole = {32, 64} if self.size >= 4 else ({8, 16} if isa.has("avx512vbmi2") else set())
        wide = isa.vector_bits == 512 and self.size * 8 in whole
        self.lanes = isa.lanes(self.elem) if wide else 1
        self.module = new_module(isa)

    def text(self) -> str:
        """The module."""
        arguments = ("params", "out", "counts", "flags", *(("values",) if self.spec.bits else ()), "scratch")
        phases = [
            ("count", self._write_count, "chunks"), ("sum", self._write_sum, "rows"),
            ("pack", self._write_pack, "chunks"),
        ]  # fmt: skip
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, phases)
        return self.module.text()

    def _start(self, b: Flow, block: Val) -> tuple[dict[str, Val], list[Val]]:
        """The words, and the addresses (out, counts, flags, values, scratch)."""
        words, out, counts, flags, *rest = (
            b.load("ptr", b.at("i64", block, i), align=8) for i in range(6 if self.spec.bits else 5)
        )
        values, scratch = rest if self.spec.bits else (flags, rest[0])
        w = {name: b.word(words, i) for i, name in enumerate(_WORDS)}
        return w, [out, counts, flags, values, scratch]

    def _bounds(self, b: Flow, w: dict[str, Val], chunk: Val) -> tuple[Val, Val, Val]:
        """The row of a chunk, and from where to where it goes in there."""
        row = b.idiv(chunk, w["pieces"])
        first = b.imul(b.imod(chunk, w["pieces"]), w["step"])
        return row, first, b.imin(b.iadd(first, w["step"]), w["n"])

    def _flags(self, b: Flow, at: Val, lanes: int) -> Val:
        type_ = vec_type("i8", lanes)
        return b.cmp("ne", b.load(type_, at, 1), b.const(type_, 0))

    def _held(self, b: Flow, mask: Val, lanes: int) -> Val:
        """How many lanes of a mask hold."""
        if lanes == 1:
            return b.cast("zext", mask, "i64")
        bits = b.cast("bitcast", mask, f"i{lanes}")
        count = b.intrinsic("llvm.ctpop", bits.type, bits)
        return b.cast("zext", count, "i64")

    def _write_count(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        w, (_, _, flags, _, scratch) = self._start(b, block)
        row, first, last = self._bounds(b, w, chunk)
        line = b.at("i8", flags, b.imul(row, w["n"]))
        whole = b.iadd(first, b.op("and", b.isub(last, first), b.i64(-_COUNTED)))
        with b.loop(first, whole, _COUNTED, carry=[b.i64(0)]) as each:
            found = self._held(b, self._flags(b, b.at("i8", line, each.index), _COUNTED), _COUNTED)
            each.next = [b.iadd(each.values[0], found)]
        with b.loop(whole, last, carry=[each.values[0]]) as rest:
            rest.next = [b.iadd(rest.values[0], self._held(b, self._flags(b, b.at("i8", line, rest.index), 1), 1))]
        b.store(rest.values[0], b.at("i64", scratch, chunk), 8)
        b.ret()

    def _write_sum(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Counts of pieces become where each ends; the last is the count of the row."""
        w, (_, counts, _, _, scratch) = self._start(b, block)
        ends = b.at("i64", scratch, b.imul(chunk, w["pieces"]))
        with b.loop(0, w["pieces"], carry=[b.i64(0)]) as each:
            place = b.at("i64", ends, each.index)
            end = b.iadd(each.values[0], b.load("i64", place, 8))
            b.store(end, place, 8)
            each.next = [end]
        b.store(each.values[0], b.at("i64", counts, chunk), 8)
        b.ret()

    def _write_pack(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        w, (out, _, flags, values, scratch) = self._start(b, block)
        row, first, last = self._bounds(b, w, chunk)
        base = b.imul(row, w["n"])
        line, source, target = b.at("i8", flags, base), b.at(self.elem, values, base), b.at(self.elem, out, base)
        before = b.choose(
            b.icmp("eq", first, 0),
            lambda: [b.i64(0)],
            lambda: [b.load("i64", b.at("i64", scratch, b.isub(chunk, 1)), 8)],
        )[0]
        end = b.load("i64", b.at("i64", scratch, chunk), 8)
        with b.when(b.icmp("slt", before, end)):
            if self.lanes > 1:
                self._vectors(b, line, source, target, (first, last), (before, end))
            else:
                self._one_by_one(b, line, source, target, (first, last), (before, end))
        b.ret()

    def _element(self, b: Flow, source: Val, index: Val) -> Val:
        return b.load(self.elem, b.at(self.elem, source, index), self.size) if self.spec.bits else index

    def _one_by_one(
        self, b: Flow, line: Val, source: Val, target: Val, span: tuple[Val, Val], room: tuple[Val, Val]
    ) -> None:
        """Every element is stored, and the next one over it unless it holds; none behind the piece's last."""
        with b.loop(*span, carry=[room[0]]) as each:
            place = each.values[0]
            with b.when(b.icmp("slt", place, room[1])):
                b.store(self._element(b, source, each.index), b.at(self.elem, target, place), self.size)
            each.next = [b.iadd(place, self._held(b, self._flags(b, b.at("i8", line, each.index), 1), 1))]

    def _vectors(
        self, b: Flow, line: Val, source: Val, target: Val, span: tuple[Val, Val], room: tuple[Val, Val]
    ) -> None:
        lanes, type_ = self.lanes, vec_type(self.elem, self.lanes)
        first, last = span
        symbol = f"llvm.experimental.vector.compress.v{lanes}{self.elem}"
        self.module.declare(symbol, type_, [type_, vec_type("i1", lanes), type_])

        def packed(mask: Val, elements: Val) -> Val:
            return b.new(type_, f"call {type_} @{symbol}({elements}, {mask}, {type_} poison)")

        def numbers(index: Val) -> Val:
            return b.op("add", b.splat(index, lanes), b.iota(type_))

        whole = b.iadd(first, b.op("and", b.isub(last, first), b.i64(-lanes)))
        with b.loop(first, whole, lanes, carry=[room[0]]) as each:
            place, index = each.values[0], each.index
            mask = self._flags(b, b.at("i8", line, index), lanes)
            at = b.at(self.elem, source, index)
            found = packed(mask, b.load(type_, at, self.size) if self.spec.bits else numbers(index))
            count, to = self._held(b, mask, lanes), b.at(self.elem, target, place)
            b.either(
                b.icmp("sle", b.iadd(place, lanes), room[1]),
                lambda: b.store(found, to, self.size),
                lambda: b.masked_store(found, to, b.lane_mask(count, lanes), self.size),
            )
            each.next = [b.iadd(place, count)]
        self._one_by_one(b, line, source, target, (whole, last), (each.values[0], room[1]))
