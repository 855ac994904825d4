"""Sorting the rows of a matrix, stably, and finding the first k of their order.

Elements become *records*: a key, an unsigned integer that orders as the element does, above the element's index in its
row. No two records are equal, so any way of sorting them is stable. Keys are the bits of the element with the sign
made to count the right way (all bits turned over for descending order); both zeros have one key, and all NaN have the
greatest. Long rows are sorted digit by digit from the lowest (H. Seward's radix sort, Knuth, The Art of Computer
Programming 3, 5.2.5), skipping digits that all records share; short ones by Batcher's network on eight records and
merging from both ends at once, which needs no bounds checks. When k is much smaller than the row, only records below
the k-th so far are looked at: a few are kept in order by insertion, more are collected, and the collection is sorted
and cut to k whenever it is full.

A kernel's buffers are the values and the indices (int64) it writes, k to a row; the input; and scratch memory. Rows are
contiguous. A chunk is a group of rows.
"""

from __future__ import annotations

from collections.abc import Callable

from ..target.builder import Module, Val, lanes_of, vec_type
from ..target.emit import entry, new_module
from ..target.isa import ISA
from ..target.scalar import FLOAT8, LLVM_TYPE
from .flow import Flow, function

__all__ = ["kernel_ir", "params", "scratch_bytes"]

I8, I32, I64, I128, PTR = "i8", "i32", "i64", "i128", "ptr"
_BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "float": 32, "double": 64}
_EXPONENT = {"f16": 5, "bf16": 8, "f32": 8, "f64": 11}

_SHORT = {8: 64, 16: 96, 32: 512, 64: 512}  # by bits of the key: up to here merging is faster than counting digits
_RUN = 8  # records that the network sorts
_DIGITS = 256
_CHUNK = 16384  # elements that are worth a chunk
_FEW = 16  # records that are kept in order by insertion
_LANES = 16  # elements that are compared at once, at most
_COUNTERS = 8 * _DIGITS * 8  # bytes: one i64 for every value of up to eight digits

_FULL, _COLLECT, _INSERT = range(3)  # ways to find the first k

# Batcher's merge exchange for eight (Knuth 5.2.2)
_NETWORK = (
    (0, 4), (1, 5), (2, 6), (3, 7), (0, 2), (1, 3), (4, 6), (5, 7), (2, 4), (3, 5),
    (0, 1), (2, 3), (4, 5), (6, 7), (1, 4), (3, 6), (1, 2), (3, 4), (5, 6),
)  # fmt: skip


def _key_bits(dtype_name: str) -> int:
    if dtype_name not in LLVM_TYPE or dtype_name in FLOAT8:
        raise ValueError(f"sort: no order is defined on {dtype_name!r}")
    return 8 if dtype_name == "b1" else _BITS[LLVM_TYPE[dtype_name]]


def _record_bytes(bits: int) -> int:
    return 16 if bits == 64 else 8


def _power_of_two(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def _plan(n: int, k: int, bits: int) -> tuple[int, int]:
    """How a row is done, and how many records there must be room for."""
    if k <= _FEW and k * 4 <= n:
        return _INSERT, _FEW
    if k * 8 <= n:
        return _COLLECT, max(_power_of_two(2 * k + _LANES), 2 * _LANES)
    return _FULL, max(_power_of_two(n), _RUN) if n <= _SHORT[bits] else n


def _stride(n: int, k: int, bits: int) -> int:
    """Bytes of scratch memory for one worker: the counters and two arrays of records."""
    _, room = _plan(n, k, bits)
    return _COUNTERS + 2 * -(-room * _record_bytes(bits) // 64) * 64


def params(dtype_name: str, rows: int, n: int, pool_address: int, k: int | None = None) -> list[int]:
    """The words of a kernel's parameters for ``rows`` rows of ``n`` elements, of which the first ``k`` in order (all by
    default) are wanted. Raises ``ValueError`` if ``k`` is not in ``0..n`` or a row is longer than 2^32 - 1."""
    k = n if k is None else k
    if not 0 <= k <= n:
        raise ValueError(f"sort: k must be between 0 and the length of a row, got k={k} and {n} elements")
    if n >= 1 << 32:
        raise ValueError(f"sort: a row may have at most 2^32 - 1 elements, got {n}; split it and merge the parts")
    bits = _key_bits(dtype_name)
    method, room = _plan(n, k, bits)
    group = max(1, _CHUNK // max(n, 1))
    chunks = -(-rows // group) if k else 0
    return [chunks, pool_address, rows, n, k, group, method, room, _stride(n, k, bits)]


def scratch_bytes(dtype_name: str, rows: int, n: int, workers: int, k: int | None = None) -> int:
    """How much scratch memory a kernel needs when up to ``workers`` threads run it."""
    return workers * _stride(n, n if k is None else k, _key_bits(dtype_name))


def kernel_ir(name: str, dtype_name: str, descending: bool, isa: ISA) -> str:
    """The LLVM text of the kernel ``name``: ``name(params, values, indices, input, scratch)``.

    ``dtype_name`` is a code such as "f32" or "b1"; NaN counts as the greatest value. Raises ``ValueError`` for types
    without an order.
    """
    module = new_module(isa)
    _Sort(module, isa, name, dtype_name, descending).write_body()
    module.add(name, entry(name, 4, (), isa.function_attributes()))
    return module.text()


class _Sort:
    """Writes the functions of one kernel."""

    def __init__(self, module: Module, isa: ISA, name: str, dtype_name: str, descending: bool) -> None:
        self.module, self.isa, self.name, self.code, self.descending = module, isa, name, dtype_name, descending
        self.bits = _key_bits(dtype_name)
        self.elem = f"i{self.bits}"
        self.record = I128 if self.bits == 64 else I64
        self.size = _record_bytes(self.bits)
        self.shift = 64 if self.bits == 64 else 32

    # -- records -----------------------------------------------------------------------------------
    def key(self, b: Flow, bits: Val) -> Val:
        """The key of an element (or a vector of them), from its bits."""
        type_, top = bits.type, -(1 << (self.bits - 1))
        key = bits
        if self.code in _EXPONENT:
            # a negative zero counts as zero
            bits = b.select(b.cmp("eq", bits, b.const(type_, top)), b.const(type_, 0), bits)
            sign = b.op("ashr", bits, b.const(type_, self.bits - 1))
            key = b.op("xor", bits, b.op("or", sign, b.const(type_, top)))
            magnitude = b.op("and", bits, b.const(type_, ~top))
            nan = b.cmp("sgt", magnitude, b.const(type_, self._infinity()))
            key = b.select(nan, b.const(type_, -1), key)
        elif self.code.startswith("i"):
            key = b.op("xor", bits, b.const(type_, top))
        return b.op("xor", key, b.const(type_, -1)) if self.descending else key

    def _infinity(self) -> int:
        mantissa = self.bits - 1 - _EXPONENT[self.code]
        return ((1 << _EXPONENT[self.code]) - 1) << mantissa

    def element(self, b: Flow, key: Val, index: Val, row: Val) -> Val:
        """The bits of the element that a key was made from; it is looked up where the key does not tell."""
        top = -(1 << (self.bits - 1))
        if self.descending:
            key = b.op("xor", key, b.const(self.elem, -1))
        if self.code.startswith("i"):
            return b.op("xor", key, b.const(self.elem, top))
        if self.code not in _EXPONENT:
            return key
        positive = b.cmp("slt", key, b.const(self.elem, 0))
        known = b.op("xor", key, b.select(positive, b.const(self.elem, top), b.const(self.elem, -1)))
        zero = b.cmp("eq", key, b.const(self.elem, top))
        lost = b.op("or", zero, b.cmp("eq", key, b.const(self.elem, -1)))
        found = b.choose(
            lost, lambda: [b.load(self.elem, b.at(self.elem, row, index), self.bits // 8)], lambda: [known]
        )
        return found[0]

    def make_record(self, b: Flow, key: Val, index: Val) -> Val:
        wide = vec_type(self.record, lanes_of(key.type))
        high = b.op("shl", b.cast("zext", key, wide), b.const(wide, self.shift))
        return b.op("or", high, b.cast("zext", index, wide))

    def split_record(self, b: Flow, record: Val) -> tuple[Val, Val]:
        """The key and the index (i64)."""
        high = b.op("lshr", record, b.const(self.record, self.shift))
        key = b.cast("trunc", high, self.elem)
        if self.record == I128:
            return key, b.cast("trunc", record, I64)
        return key, b.op("and", record, b.i64(0xFFFFFFFF))

    def get(self, b: Flow, array: Val, index: Val | int) -> Val:
        return b.load(self.record, b.at(self.record, array, index), 8)

    def put(self, b: Flow, record: Val, array: Val, index: Val | int) -> None:
        b.store(record, b.at(self.record, array, index), 8)

    def digit(self, b: Flow, array: Val, index: Val, number: Val | int) -> Val:
        """One digit of the key of a record in memory."""
        start = b.iadd(b.imul(index, self.size), b.iadd(self.shift // 8, number))
        return b.cast("zext", b.load(I8, b.bytes_at(array, start), 1), I64)

    def function(self, name: str, args: list[tuple[str, str]], write: Callable[..., None], result: str = "void") -> str:
        return function(self.module, self.isa, f"{self.name}.{name}", args, write, result)

    # -- short arrays ------------------------------------------------------------------------------
    def merge_sort(self) -> str:
        """``merge_sort(a, b, n)``: sorts n records at a, with room for the next power of two of them (at least 8) at
        a and b; returns which of the two holds the result."""

        def write(b: Flow, a: Val, other: Val, n: Val) -> None:
            with b.loop(0, 64, carry=[b.i64(_RUN)]) as power:
                power.next = [b.select(b.icmp("slt", power.values[0], n), b.imul(power.values[0], 2), power.values[0])]
            room = power.values[0]
            with b.loop(n, room) as fill:
                self.put(b, b.const(self.record, -1), a, fill.index)
            with b.loop(0, room, _RUN) as block:
                start = b.at(self.record, a, block.index)
                values = [self.get(b, start, i) for i in range(_RUN)]
                for i, j in _NETWORK:
                    less = b.cmp("ult", values[i], values[j])
                    values[i], values[j] = b.select(less, values[i], values[j]), b.select(less, values[j], values[i])
                for i, value in enumerate(values):
                    self.put(b, value, start, i)
            # doubles the runs until one is left
            head, body, done = b.label("widths"), b.label("width"), b.label("sorted")
            before = b.current
            b.br(head)
            b.place(head)
            b.emit(f"%run = phi i64 [ {_RUN}, %{before} ], [ %run.next, %{body}.end ]")
            b.emit(f"%from = phi ptr [ {a.name}, %{before} ], [ %to, %{body}.end ]")
            b.emit(f"%to = phi ptr [ {other.name}, %{before} ], [ %from, %{body}.end ]")
            run, source, target = Val("%run", I64), Val("%from", PTR), Val("%to", PTR)
            b.cond_br(b.icmp("slt", run, room), body, done)
            b.place(body)
            with b.loop(0, room, b.imul(run, 2)) as pair:
                self._merge(b, b.at(self.record, source, pair.index), b.at(self.record, target, pair.index), run)
            b.br(f"{body}.end")
            b.place(f"{body}.end")
            b.emit("%run.next = shl i64 %run, 1")
            b.br(head)
            b.place(done)
            b.ret(source)

        return self.function("merge_sort", [(PTR, "a"), (PTR, "b"), (I64, "n")], write, PTR)

    def _merge(self, b: Flow, source: Val, target: Val, run: Val) -> None:
        """Merges two sorted runs: half of the result from their starts, half from their ends."""
        last = b.isub(run, 1)
        start = [b.i64(0), run, last, b.iadd(run, last)]
        with b.loop(0, run, carry=start) as loop:
            low_left, low_right, high_left, high_right = loop.values
            left, right = self.get(b, source, low_left), self.get(b, source, low_right)
            less = b.cmp("ult", left, right)
            self.put(b, b.select(less, left, right), target, loop.index)
            step = b.cast("zext", less, I64)
            low_left, low_right = b.iadd(low_left, step), b.iadd(low_right, b.isub(1, step))
            left, right = self.get(b, source, high_left), self.get(b, source, high_right)
            more = b.cmp("ugt", left, right)
            self.put(b, b.select(more, left, right), target, b.isub(b.iadd(run, last), loop.index))
            step = b.cast("zext", more, I64)
            high_left, high_right = b.isub(high_left, step), b.isub(high_right, b.isub(1, step))
            loop.next = [low_left, low_right, high_left, high_right]

    # -- long arrays -------------------------------------------------------------------------------
    def radix_sort(self) -> str:
        """``radix_sort(a, b, n, counters)``: sorts n records at a with the room at b; returns where the result is."""
        digits = self.bits // 8

        def write(b: Flow, a: Val, other: Val, n: Val, counters: Val) -> None:
            with b.loop(0, digits * _DIGITS) as clear:
                b.store(b.i64(0), b.at(I64, counters, clear.index), 8)
            with b.loop(0, n) as each:
                for d in range(digits):
                    place = b.at(I64, counters, b.iadd(self.digit(b, a, each.index, d), d * _DIGITS))
                    b.store(b.iadd(b.load(I64, place, 8), 1), place, 8)
            rooms = b.alloca(f"[2 x {PTR}]")
            b.store(a, rooms, 8)
            b.store(other, b.at(PTR, rooms, 1), 8)
            with b.loop(0, digits) as number:
                source, target = b.load(PTR, rooms, 8), b.load(PTR, b.at(PTR, rooms, 1), 8)
                table = b.at(I64, counters, b.imul(number.index, _DIGITS))
                common = b.load(I64, b.at(I64, table, self.digit(b, source, b.i64(0), number.index)), 8)
                with b.when(b.icmp("slt", common, n)):
                    with b.loop(0, _DIGITS, carry=[b.i64(0)]) as value:
                        place = b.at(I64, table, value.index)
                        count = b.load(I64, place, 8)
                        b.store(value.values[0], place, 8)
                        value.next = [b.iadd(value.values[0], count)]
                    with b.loop(0, n) as each:
                        place = b.at(I64, table, self.digit(b, source, each.index, number.index))
                        position = b.load(I64, place, 8)
                        self.put(b, self.get(b, source, each.index), target, position)
                        b.store(b.iadd(position, 1), place, 8)
                    b.store(target, rooms, 8)
                    b.store(source, b.at(PTR, rooms, 1), 8)
            b.ret(b.load(PTR, rooms, 8))

        return self.function("radix_sort", [(PTR, "a"), (PTR, "b"), (I64, "n"), (PTR, "counters")], write, PTR)

    def sort(self) -> str:
        """``sort(a, b, n, counters)``: the better of the two."""
        short, long = self.merge_sort(), self.radix_sort()

        def write(b: Flow, a: Val, other: Val, n: Val, counters: Val) -> None:
            result = b.choose(
                b.icmp("sle", n, _SHORT[self.bits]),
                lambda: [b.call(PTR, short, a, other, n)],
                lambda: [b.call(PTR, long, a, other, n, counters)],
            )
            b.ret(result[0])

        return self.function("sort", [(PTR, "a"), (PTR, "b"), (I64, "n"), (PTR, "counters")], write, PTR)

    # -- rows --------------------------------------------------------------------------------------
    def read(self) -> str:
        """``read(row, a, n)``: the records of the first n elements of a row."""
        lanes = max(1, min(_LANES, self.isa.lanes(self.elem))) if self.record == I64 else 1

        def convert(b: Flow, row: Val, a: Val, index: Val, lanes: int) -> None:
            bits = b.load(vec_type(self.elem, lanes), b.at(self.elem, row, index), self.bits // 8)
            places = b.op("add", b.splat(index, lanes), b.iota(vec_type(I64, lanes)))
            b.store(self.make_record(b, self.key(b, bits), places), b.at(self.record, a, index), 8)

        def write(b: Flow, row: Val, a: Val, n: Val) -> None:
            whole = b.imul(b.idiv(n, lanes), lanes)
            with b.loop(0, whole, lanes) as each:
                convert(b, row, a, each.index, lanes)
            with b.loop(whole, n) as each:
                convert(b, row, a, each.index, 1)
            b.ret()

        return self.function("read", [(PTR, "row"), (PTR, "a"), (I64, "n")], write)

    def collect(self) -> str:
        """``collect(row, a, b, n, k, room, counters)``: the first k records in order of a row of n elements, at a.

        There is room for more than k + 16 records at a and b."""
        read, sort = self.read(), self.sort()
        lanes = max(1, min(_LANES, self.isa.lanes(self.elem)))

        def write(b: Flow, row: Val, a: Val, other: Val, n: Val, k: Val, room: Val, counters: Val) -> None:
            last = b.isub(k, 1)

            def cut(count: Val) -> Val:
                """Sorts what was collected and keeps k of it; returns the greatest key that was kept."""
                result = b.call(PTR, sort, a, other, count, counters)
                with b.when(b.cmp("ne", result, a)), b.loop(0, k) as each:
                    self.put(b, self.get(b, result, each.index), a, each.index)
                return self.split_record(b, self.get(b, a, last))[0]

            first = b.imin(room, n)
            b.call_void(read, row, a, first)
            limit = cut(first)

            def scan(start: Val, stop: Val, lanes: int, count: Val, limit: Val) -> tuple[Val, Val]:
                with b.loop(start, stop, lanes, carry=[count, limit]) as each:
                    count, limit = each.values
                    keys, better, found = self._below(b, row, each.index, limit, lanes)

                    def add() -> list[Val]:
                        total = count
                        for lane in range(lanes):
                            record = self.make_record(b, b.extract(keys, lane), b.iadd(each.index, lane))
                            self.put(b, record, a, total)
                            total = b.iadd(total, b.cast("zext", b.extract(better, lane), I64))
                        full = b.icmp("sgt", b.iadd(total, lanes), room)
                        return b.choose(full, lambda: [k, cut(total)], lambda: [total, limit])

                    each.next = b.choose(found, add, lambda: [count, limit])
                return each.values[0], each.values[1]

            vectors = b.iadd(first, b.imul(b.idiv(b.isub(n, first), lanes), lanes))
            count, limit = scan(first, vectors, lanes, k, limit)
            count, limit = scan(vectors, n, 1, count, limit)
            cut(count)
            b.ret()

        args = [(PTR, "row"), (PTR, "a"), (PTR, "b"), (I64, "n"), (I64, "k"), (I64, "room"), (PTR, "counters")]
        return self.function("collect", args, write)

    def _below(self, b: Flow, row: Val, index: Val, limit: Val, lanes: int) -> tuple[Val, Val, Val]:
        """The keys of some elements, which of them are below ``limit``, and whether any is."""
        bits = b.load(vec_type(self.elem, lanes), b.at(self.elem, row, index), self.bits // 8)
        keys = self.key(b, bits)
        better = b.cmp("ult", keys, b.splat(limit, lanes))
        found = better if lanes == 1 else b.intrinsic("llvm.vector.reduce.or", "i1", better, overload=better.type)
        return keys, better, found

    def insert_few(self) -> str:
        """``insert_few(row, a, n, k)``: the first k records in order of a row of n elements, at a, for small k."""
        lanes = max(1, min(_LANES, self.isa.lanes(self.elem)))

        def insert(b: Flow, a: Val, record: Val, last: Val) -> None:
            """Puts a record in its place among those at 0 ... last - 1; the one at ``last`` is lost."""
            head, body, done = b.label("look"), b.label("shift"), b.label("place")
            before = b.current
            position = Val(f"%{head}.position", I64)
            b.br(head)
            b.place(head)
            b.emit(f"{position.name} = phi i64 [ {last.name}, %{before} ], [ {position.name}.next, %{body} ]")
            check = b.label("check")
            b.cond_br(b.icmp("sgt", position, 0), check, done)
            b.place(check)
            other = self.get(b, a, b.isub(position, 1))
            b.cond_br(b.cmp("ugt", other, record), body, done)
            b.place(body)
            self.put(b, other, a, position)
            b.emit(f"{position.name}.next = sub i64 {position.name}, 1")
            b.br(head)
            b.place(done)
            self.put(b, record, a, position)

        def write(b: Flow, row: Val, a: Val, n: Val, k: Val) -> None:
            last = b.isub(k, 1)

            def record_at(index: Val) -> Val:
                bits = b.load(self.elem, b.at(self.elem, row, index), self.bits // 8)
                return self.make_record(b, self.key(b, bits), index)

            def limit() -> Val:
                return self.split_record(b, self.get(b, a, last))[0]

            with b.loop(0, k) as each:
                insert(b, a, record_at(each.index), each.index)

            def scan(start: Val, stop: Val, lanes: int, bound: Val) -> Val:
                with b.loop(start, stop, lanes, carry=[bound]) as each:
                    found = self._below(b, row, each.index, each.values[0], lanes)[2]

                    def add() -> list[Val]:
                        with b.loop(0, lanes) as lane:
                            index = b.iadd(each.index, lane.index)
                            record = record_at(index)
                            with b.when(b.cmp("ult", record, self.get(b, a, last))):
                                insert(b, a, record, last)
                        return [limit()]

                    each.next = b.choose(found, add, lambda: [each.values[0]])
                return each.values[0]

            vectors = b.iadd(k, b.imul(b.idiv(b.isub(n, k), lanes), lanes))
            bound = scan(k, vectors, lanes, limit())
            scan(vectors, n, 1, bound)
            b.ret()

        return self.function("insert_few", [(PTR, "row"), (PTR, "a"), (I64, "n"), (I64, "k")], write)

    def write_row(self) -> str:
        """``write_row(records, row, values, indices, k)``: the elements and indices of k records."""

        def write(b: Flow, records: Val, row: Val, values: Val, indices: Val, k: Val) -> None:
            with b.loop(0, k) as each:
                key, index = self.split_record(b, self.get(b, records, each.index))
                b.store(self.element(b, key, index, row), b.at(self.elem, values, each.index), self.bits // 8)
                b.store(index, b.at(I64, indices, each.index), 8)
            b.ret()

        args = [(PTR, "records"), (PTR, "row"), (PTR, "values"), (PTR, "indices"), (I64, "k")]
        return self.function("write_row", args, write)

    def write_body(self) -> None:
        """``NAME.body``: the rows of one chunk."""
        read, sort, write_row = self.read(), self.sort(), self.write_row()
        collect, insert_few = self.collect(), self.insert_few()

        def write(b: Flow, block: Val, chunk: Val, worker: Val) -> None:
            words, values, indices, source, scratch = (b.load(PTR, b.at(PTR, block, i), 8) for i in range(5))
            rows, n, k, group, method, room, stride = (b.word(words, i) for i in range(2, 9))
            counters = b.bytes_at(scratch, b.imul(worker, stride))
            a = b.bytes_at(counters, _COUNTERS)
            other = b.bytes_at(a, b.op("lshr", b.isub(stride, _COUNTERS), b.i64(1)))
            first = b.imul(chunk, group)
            with b.loop(first, b.imin(b.iadd(first, group), rows)) as each:
                row = b.at(self.elem, source, b.imul(each.index, n))

                def few() -> list[Val]:
                    b.call_void(insert_few, row, a, n, k)
                    return [a]

                def some() -> list[Val]:
                    b.call_void(collect, row, a, other, n, k, room, counters)
                    return [a]

                def every() -> list[Val]:
                    b.call_void(read, row, a, n)
                    return [b.call(PTR, sort, a, other, n, counters)]

                records = b.choose(
                    b.icmp("eq", method, _FULL), every, lambda: b.choose(b.icmp("eq", method, _COLLECT), some, few)
                )[0]
                start = b.imul(each.index, k)
                b.call_void(write_row, records, row, b.at(self.elem, values, start), b.at(I64, indices, start), k)
            b.ret()

        function(self.module, self.isa, f"{self.name}.body", [(PTR, "block"), (I64, "chunk"), (I64, "worker")], write)
