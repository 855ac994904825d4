"""Sums of rows of a table over ranges of a list of row numbers: bags of embeddings, and products with sparse rows.

    spec = bags.BagSpec("f32", "i64", "i64", weighted=True, mean=False)
    entry(params, out, table, indices, starts, ends[, weights], scratch)

    out[i] = sum of weights[k] * table[indices[k]] over k from starts[i] to ends[i]

A chunk is some bags.  A bag's rows are added in order, in vectors of columns that stay in registers meanwhile, while
rows that come later are on their way to the cache.  The entry returns 1 for an index outside of the table and 4 for
ranges that do not begin at 0 or lie outside of the list; nothing is read there.  Rows may be any distance apart;
columns, indices and ranges lie side by side.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .flow import Flow, phased_entry
from .gemm import Binding
from .micro import SIZE

__all__ = ["BagSpec", "bind", "kernel_name", "requests"]

_SHARE = 1 << 15
"""Elements of the table that a chunk reads, some microseconds."""
_VECTORS = 8
"""Vectors of columns added at once: as many as hide the latency of additions."""
_AHEAD = 8
"""Rows from one that is being added to the one that is asked for."""
_LINE = 64
"""Bytes of a line of the cache."""
_INDEX_ERROR, _RANGE_ERROR = 1, 4

_WORDS = ("chunks", "pool", "share", "bags", "count", "columns", "rows", "stride", "padding")


@dataclass(frozen=True)
class BagSpec:
    """What determines the code: element types of the table (floating; half precision is added in f32), of indices and
    of ranges (i32 or i64), whether rows have weights, and whether sums are divided by the number of rows."""

    type: str
    index: str
    range: str
    weighted: bool
    mean: bool


def kernel_name(spec: BagSpec) -> str:
    """The symbol of the entry."""
    marks = "w" * spec.weighted + "m" * spec.mean
    return f"bags_{spec.type}_{spec.index}_{spec.range}_{marks}"


def requests(spec: BagSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs: for ``engine.load_many``."""
    name = kernel_name(spec)
    return [engine.Request(name, f"{name}|{isa.key}", lambda: _Bags(spec, isa).text(), isa)]


def bind(bags: int, count: int, table: Sequence[int], stride: int, padding: int, pool: int) -> Binding:
    """The words for ``count`` indices in ``bags`` ranges and a ``table`` of (rows, columns), rows ``stride`` apart;
    the row ``padding`` (-1: none) is left out."""
    rows, columns = table
    work = (count + bags) * columns
    share = max(1, bags * _SHARE // max(1, work))
    chunks = -(-bags // share)
    values = {
        "chunks": chunks, "pool": pool if work > 2 * _SHARE else 0, "share": share, "bags": bags, "count": count,
        "columns": columns, "rows": rows, "stride": stride, "padding": padding,
    }  # fmt: skip
    return Binding([values[name] for name in _WORDS], 0)


class _Bags:
    """Writes the functions of the kernel."""

    def __init__(self, spec: BagSpec, isa: ISA) -> None:
        self.name, self.isa, self.spec = kernel_name(spec), isa, spec
        self.elem, self.size = LLVM_TYPE[spec.type], SIZE[spec.type]
        self.work = "f64" if spec.type == "f64" else "f32"
        self.lanes = isa.lanes(LLVM_TYPE[self.work])
        self.module = new_module(isa)

    def text(self) -> str:
        """The module."""
        weights = ("weights",) if self.spec.weighted else ()
        arguments = ("params", "out", "table", "indices", "starts", "ends", *weights, "scratch")
        phased_entry(self.module, self.isa, self.name, arguments, _WORDS, [("body", self._write_body, "chunks")])
        return self.module.text()

    def _write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        words, out, *operands = (b.load("ptr", b.at("i64", block, i), align=8) for i in range(7))
        w = {name: b.word(words, i) for i, name in enumerate(_WORDS)}
        p = dict(zip(("table", "indices", "starts", "ends", "weights"), operands))
        wrong = b.at("i64", block, -1)
        first = b.imul(chunk, w["share"])
        with b.loop(first, b.imin(b.iadd(first, w["share"]), w["bags"])) as bag:
            start, end = (self._integer(b, p[name], bag.index, self.spec.range) for name in ("starts", "ends"))
            inside = b.op("and", b.icmp("ule", start, end), b.icmp("ule", end, w["count"]))
            first_one = b.icmp("eq", bag.index, 0)
            inside = b.op("and", inside, b.icmp("eq", b.select(first_one, start, b.i64(0)), 0))
            with b.when(b.op("xor", inside, b.const("i1", 1))):
                b.store(b.i64(_RANGE_ERROR), wrong, 8)
            start, end = (b.select(inside, value, b.i64(0)) for value in (start, end))
            line = b.at(self.elem, out, b.imul(bag.index, w["columns"]))
            self._columns(b, w, p, line, start, end, wrong)
        b.ret()

    def _integer(self, b: Flow, array: Val, at: Val, type_: str) -> Val:
        found = b.load(type_, b.at(type_, array, at), 4 if type_ == "i32" else 8)
        return found if type_ == "i64" else b.cast("sext", found, "i64")

    def _load(self, b: Flow, at: Val, lanes: int) -> Val:
        type_ = vec_type(self.elem, lanes) if lanes > 1 else self.elem
        return cast(b, b.load(type_, at, self.size), self.spec.type, self.work)

    def _added(self, b: Flow, weight: Val, term: Val, total: Val) -> Val:
        return b.fma(weight, term, total) if self.isa.fma else b.fadd(b.fmul(weight, term), total)

    def _columns(
        self, b: Flow, w: dict[str, Val], p: dict[str, Val], line: Val, start: Val, end: Val, wrong: Val
    ) -> None:
        """All columns of a bag: blocks of vectors, and what is left by halves."""
        most = _VECTORS * self.lanes
        whole = b.op("and", w["columns"], b.i64(-most))
        with b.loop(0, whole, most) as column:
            self._sum(b, w, p, line, column.index, start, end, wrong, _VECTORS, self.lanes)
        width = most // 2
        while width:
            with b.when(b.icmp("ne", b.op("and", w["columns"], b.i64(width)), 0)):
                column_ = b.op("and", w["columns"], b.i64(-2 * width))
                vectors, lanes = max(1, width // self.lanes), min(width, self.lanes)
                self._sum(b, w, p, line, column_, start, end, wrong, vectors, lanes)
            width //= 2

    def _sum(
        self, b: Flow, w: dict[str, Val], p: dict[str, Val], line: Val, column: Val, start: Val, end: Val, wrong: Val,
        vectors: int, lanes: int,
    ) -> None:  # fmt: skip
        """Some vectors of columns of a bag."""
        elem = LLVM_TYPE[self.work]
        type_ = vec_type(elem, lanes) if lanes > 1 else elem
        table, last = b.at(self.elem, p["table"], column), b.isub(w["count"], 1)
        sums = [b.const(type_, 0)] * vectors
        with b.loop(start, end, carry=[*sums, b.i64(0)]) as k:
            later = self._integer(b, p["indices"], b.imin(b.iadd(k.index, _AHEAD), last), self.spec.index)
            later = b.at(self.elem, table, b.op("mul", later, w["stride"]))
            for offset in range(0, vectors * lanes * self.size, _LINE):
                b.prefetch(b.bytes_at(later, offset))
            index = self._integer(b, p["indices"], k.index, self.spec.index)
            inside = b.icmp("ult", index, w["rows"])
            with b.when(b.op("xor", inside, b.const("i1", 1))):
                b.store(b.i64(_INDEX_ERROR), wrong, 8)

            def add(index: Val = index, values: list[Val] = k.values, at: Val = k.index) -> list[Val]:
                row = b.at(self.elem, table, b.imul(index, w["stride"]))
                terms = [self._load(b, b.at(self.elem, row, v * lanes), lanes) for v in range(vectors)]
                if not self.spec.weighted:
                    found = [b.fadd(s, t) for s, t in zip(values, terms)]
                else:
                    weight = self._load(b, b.at(self.elem, p["weights"], at), 1)
                    weight = b.splat(weight, lanes) if lanes > 1 else weight
                    found = [self._added(b, weight, t, s) for s, t in zip(values, terms)]
                return [*found, b.iadd(values[-1], 1)]

            used = b.op("and", inside, b.icmp("ne", index, w["padding"]))
            k.next = b.choose(used, add, functools.partial(list, k.values))
        found = k.values[:-1]
        if self.spec.mean:
            count = b.cast("sitofp", b.imax(k.values[-1], 1), elem)
            count = b.splat(count, lanes) if lanes > 1 else count
            found = [b.fdiv(s, count) for s in found]
        for v, value in enumerate(found):
            value = cast(b, value, self.work, self.spec.type)
            b.store(value, b.at(self.elem, line, b.iadd(column, v * lanes)), self.size)
