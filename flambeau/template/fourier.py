"""Fourier transforms along one dimension: many lines at once, a line in each lane of vectors.

A *strip* is as many lines as a vector has lanes. Its points are read into scratch memory, the real and the imaginary
parts of a point of all lines a vector each; passes of Stockham's autosort algorithm (C. Van Loan, "Computational
Frameworks for the Fast Fourier Transform", SIAM 1992, 1.7) go to and fro between two such buffers; then the points are
written. Whatever the strides, the arithmetic is on whole vectors, and a factor of all lines is one broadcast number.
Where lines lie side by side, points are read and written as they are; where points do, square blocks are turned over
in registers.

Few or long lines are transformed in two *parts* (the four-step algorithm, Van Loan 3.3): of n = a b points, b lines of
every b-th point, then, after a factor for each point, a lines of points that follow each other. Lines that fit in the
cache are done one after the other, of others the strips of each part are shared out.

Of the spectrum of long lines of real numbers the first part computes half of its transforms; those give half of the
spectrum, in part as conjugates. The inverse reads them so.

The inverse transform is the forward one with real and imaginary parts exchanged. Transforms of real numbers of even
length are those of half as many complex ones, before or after which even and odd points are separated (Van Loan 4.3).

Kernels are the same for all lengths: which passes are done is said by words (`HEAD` and `PART` in
``fourier_access.py``), which ``fourier_plan.py`` finds.
"""

from __future__ import annotations

from collections.abc import Callable

from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from .butterfly import RADICES, Pair, multiply, multiply_add, small
from .flow import Flow, function, parallel_for
from .fourier_access import COLUMNS, FIXES, FOLDED, HEAD, I64, PART, PLANES, PTR, ROWS, SCATTERED, Access

__all__ = ["kernel_ir", "tile"]


def tile(isa: ISA) -> int:
    """How many results of an odd factor are computed together."""
    return 4 if isa.registers >= 32 else 2


def kernel_ir(name: str, real: str, isa: ISA) -> str:
    """The LLVM text of the kernel ``name(params, out, input, table, scratch)`` for "float" or "double"."""
    module = new_module(isa)
    _Fourier(module, isa, name, real).write_entry()
    return module.text()


class _Fourier(Access):
    """Writes the functions of one kernel."""

    # -- passes ------------------------------------------------------------------------------------
    def pass_of(self, radix: int) -> str:
        """``pass(source, target, table, near, far)``: of points [far][radix][near] to [radix][far][near]."""

        def write(b: Flow, source: Val, target: Val, table: Val, near: Val, far: Val) -> None:
            stride = b.imul(near, far)

            def butterfly(i: Val | int, k: Val, factors: list[Pair]) -> None:
                first = self.point(b, source, b.iadd(b.imul(b.imul(k, radix), near), i))
                step = b.imul(near, 2 * self.lanes)
                values = [self.get(b, self.place(b, first, b.imul(step, j) if j else 0)) for j in range(radix)]
                out = self.point(b, target, b.iadd(b.imul(k, near), i))
                across = b.imul(stride, 2 * self.lanes)
                for j, value in enumerate(small(b, values)):
                    value = multiply(b, value, factors[j - 1]) if factors and j else value
                    self.put(b, value, self.place(b, out, b.imul(across, j) if j else 0))

            with b.loop(0, far) as k:
                butterfly(0, k.index, [])
            with b.loop(1, near) as i:
                row = self.place(b, table, b.imul(i.index, 2 * (radix - 1)))
                factors = [self.factor(b, self.place(b, row, 2 * j)) for j in range(radix - 1)]
                with b.loop(0, far) as k:
                    butterfly(i.index, k.index, factors)
            b.ret()

        return self.function(f"pass{radix}", ["SOURCE", "TARGET", "TABLE", "near", "far"], write)

    def pass_of_odd(self) -> str:
        """The same for any odd radix, by sums over cosines and sines; ``sums`` is room for twice its points."""
        count = tile(self.isa)

        def write(
            b: Flow, source: Val, target: Val, table: Val, cosines: Val, sums: Val, near: Val, far: Val, radix: Val
        ) -> None:
            half, zero = b.idiv(radix, 2), b.const(self.vector, 0)

            def one(i: Val, k: Val) -> None:
                def of_source(j: Val | int) -> Val:
                    return self.point(b, source, b.iadd(b.imul(b.iadd(b.imul(k, radix), j), near), i))

                def store(value: Pair, at: Val) -> None:
                    row = b.iadd(b.imul(i, b.isub(radix, 1)), b.isub(at, 1))
                    value = multiply(b, value, self.factor(b, self.place(b, table, b.imul(row, 2))))
                    self.put(b, value, self.point(b, target, b.iadd(b.imul(b.iadd(b.imul(at, far), k), near), i)))

                first = self.get(b, of_source(0))
                with b.loop(1, b.iadd(half, 1), carry=first) as j:
                    x, y = self.get(b, of_source(j.index)), self.get(b, of_source(b.isub(radix, j.index)))
                    plus = b.fadd(x[0], y[0]), b.fadd(x[1], y[1])
                    kept = self.point(b, sums, b.imul(b.isub(j.index, 1), 2))
                    self.put(b, plus, kept)
                    self.put(b, (b.fsub(x[0], y[0]), b.fsub(x[1], y[1])), self.point(b, kept, 1))
                    j.next = [b.fadd(j.values[0], plus[0]), b.fadd(j.values[1], plus[1])]
                self.put(b, (j.values[0], j.values[1]), self.point(b, target, b.iadd(b.imul(k, near), i)))
                with b.loop(1, b.iadd(half, 1), count) as to:
                    row = self.place(b, cosines, b.imul(b.imul(b.isub(to.index, 1), half), 2))
                    with b.loop(0, half, carry=[*first, zero, zero] * count) as j:
                        kept = self.point(b, sums, b.imul(j.index, 2))
                        plus, minus = self.get(b, kept), self.get(b, self.point(b, kept, 1))
                        angles = self.place(b, row, b.imul(j.index, 2 * count))
                        after: list[Val] = []
                        for t in range(count):
                            cos, sin = self.factor(b, self.place(b, angles, 2 * t))
                            old = j.values[4 * t : 4 * t + 4]
                            after += [multiply_add(b, x, cos, a) for x, a in zip(plus, old[:2])]
                            after += [multiply_add(b, x, sin, a) for x, a in zip(minus, old[2:])]
                        j.next = after
                    for t in range(count):
                        even, odd = j.values[4 * t : 4 * t + 2], j.values[4 * t + 2 : 4 * t + 4]
                        at = b.iadd(to.index, t)
                        with b.when(b.icmp("sle", at, half)):
                            store((b.fadd(even[0], odd[1]), b.fsub(even[1], odd[0])), at)
                            store((b.fsub(even[0], odd[1]), b.fadd(even[1], odd[0])), b.isub(radix, at))

            with b.loop(0, near) as i, b.loop(0, far) as k:
                one(i.index, k.index)
            b.ret()

        args = ["SOURCE", "TARGET", "TABLE", "COSINES", "SUMS", "near", "far", "radix"]
        return self.function("pass", args, write)

    # -- real numbers ------------------------------------------------------------------------------
    def spread(self) -> str:
        """``spread(source, target, roots, m, sign)``: from m + 1 points of the spectrum of 2 m real numbers those of m
        complex ones, with real and imaginary parts exchanged; the first and the last are taken as real."""

        def write(b: Flow, source: Val, target: Val, roots: Val, m: Val, sign: Val) -> None:
            factor, none = self.sign(b, sign), b.const(self.vector, 0)
            for end in (b.i64(0), m):
                b.store(none, self.place(b, self.point(b, source, end), self.lanes), self.lanes * self.size)
            with b.loop(0, b.iadd(b.idiv(m, 2), 1)) as k:
                other = b.isub(m, k.index)
                x, y = self.get(b, self.point(b, source, k.index)), self.get(b, self.point(b, source, other))
                real, imag = b.fadd(x[0], y[0]), b.fmul(b.fsub(x[1], y[1]), factor)
                odd = b.fsub(x[0], y[0]), b.fmul(b.fadd(x[1], y[1]), factor)
                w = self.factor(b, self.place(b, roots, b.imul(k.index, 2)))
                odd = multiply(b, odd, (w[0], b.fneg(w[1])))
                self.put(b, (b.fadd(imag, odd[0]), b.fsub(real, odd[1])), self.point(b, target, k.index))
                self.put(b, (b.fsub(odd[0], imag), b.fadd(real, odd[1])), self.point(b, target, other))
            b.ret()

        return self.function("spread", ["SOURCE", "TARGET", "ROOTS", "m", "sign"], write)

    def mirror(self) -> str:
        """``mirror(source, target, n, sign)``: all n points of the spectrum of real numbers from the first half (n is
        odd), with real and imaginary parts exchanged; the first is taken as real."""

        def write(b: Flow, source: Val, target: Val, n: Val, sign: Val) -> None:
            factor = self.sign(b, sign)
            real = self.get(b, source)[0]
            self.put(b, (b.const(self.vector, 0), real), target)
            with b.loop(1, b.iadd(b.idiv(n, 2), 1)) as k:
                real, imag = self.get(b, self.point(b, source, k.index))
                imag = b.fmul(imag, factor)
                self.put(b, (imag, real), self.point(b, target, k.index))
                self.put(b, (b.fneg(imag), real), self.point(b, target, b.isub(n, k.index)))
            b.ret()

        return self.function("mirror", ["SOURCE", "TARGET", "n", "sign"], write)

    def sign(self, b: Flow, sign: Val) -> Val:
        return b.splat(b.cast("sitofp", sign, self.real), self.lanes)

    def separate(self) -> str:
        """``separate(source, target, roots, m)``: twice the m + 1 points of the spectrum of 2 m real numbers, from
        those of m complex ones."""

        def write(b: Flow, source: Val, target: Val, roots: Val, m: Val) -> None:
            with b.loop(0, b.iadd(b.idiv(m, 2), 1)) as k:
                other = b.isub(m, k.index)
                partner = b.select(b.icmp("eq", k.index, 0), b.i64(0), other)
                x, y = self.get(b, self.point(b, source, k.index)), self.get(b, self.point(b, source, partner))
                even = b.fadd(x[0], y[0]), b.fsub(x[1], y[1])
                odd = b.fadd(x[1], y[1]), b.fsub(y[0], x[0])
                odd = multiply(b, odd, self.factor(b, self.place(b, roots, b.imul(k.index, 2))))
                low = b.fadd(even[0], odd[0]), b.fadd(even[1], odd[1])
                high = b.fsub(even[0], odd[0]), b.fsub(odd[1], even[1])
                self.put(b, low, self.point(b, target, k.index))
                self.put(b, high, self.point(b, target, other))
            b.ret()

        return self.function("separate", ["SOURCE", "TARGET", "ROOTS", "m"], write)

    def conjugate(self) -> str:
        """``conjugate(buffer, n)``: the second half of the spectrum of n real numbers from the first."""

        def write(b: Flow, buffer: Val, n: Val) -> None:
            with b.loop(b.iadd(b.idiv(n, 2), 1), n) as k:
                real, imag = self.get(b, self.point(b, buffer, b.isub(n, k.index)))
                self.put(b, (real, b.fneg(imag)), self.point(b, buffer, k.index))
            b.ret()

        return self.function("conjugate", ["BUFFER", "n"], write)

    def twist(self) -> str:
        """``twist(buffer, near, far, n)``: the points times a factor each of which the table has one for all lanes
        (``far``) and one for each lane (``near``)."""

        def write(b: Flow, buffer: Val, near: Val, far: Val, n: Val) -> None:
            with b.loop(0, n) as k:
                at = self.point(b, buffer, k.index)
                places = [self.place(b, self.point(b, near, k.index), j * self.lanes) for j in (0, 1)]
                lane = b.load(self.vector, places[0], self.size), b.load(self.vector, places[1], self.size)
                w = multiply(b, lane, self.factor(b, self.place(b, far, b.imul(k.index, 2))))
                self.put(b, multiply(b, self.get(b, at), w), at)
            b.ret()

        return self.function("twist", ["BUFFER", "NEAR", "FAR", "n"], write)

    # -- strips ------------------------------------------------------------------------------------
    def passes(self) -> str:
        """``passes(part, table, room, sums)`` returns nothing; the buffers' addresses are at ``rooms``, the one with
        the points first."""
        written = [(radix, self.pass_of(radix)) for radix in RADICES]
        general = self.pass_of_odd()

        def write(b: Flow, part: Val, table: Val, rooms: Val, sums: Val) -> None:
            first = b.at(I64, part, PART.index("radix0"))
            with b.loop(0, self.word(b, part, "passes")) as k:
                at = b.at(I64, first, b.imul(k.index, 5))
                radix, near, far, factors, cosines = (b.word(at, j) for j in range(5))
                source, target = b.load(PTR, rooms, 8), b.load(PTR, b.at(PTR, rooms, 1), 8)
                factors = self.place(b, table, factors)

                def run(choices: list[tuple[int, str]]) -> None:
                    if not choices:
                        angles = self.place(b, table, cosines)
                        b.call_void(general, source, target, factors, angles, sums, near, far, radix)
                        return
                    (number, chosen), *rest = choices
                    b.either(
                        b.icmp("eq", radix, number),
                        lambda: b.call_void(chosen, source, target, factors, near, far),
                        lambda: run(rest),
                    )

                run(written[::-1])
                b.store(target, rooms, 8)
                b.store(source, b.at(PTR, rooms, 1), 8)
            b.ret()

        return self.function("passes", ["PART", "TABLE", "ROOMS", "SUMS"], write)

    def offsets(self) -> str:
        """``offsets(part, places, outer, local, first)``: where the lines of a strip begin in the input and in
        the result; ``outer`` counts lots of ``inner`` lines, ``local`` those in the temporary memory."""

        def write(b: Flow, part: Val, places: Val, outer: Val, local: Val, first: Val) -> None:
            inner, rank, in_temporary, out_temporary = (
                self.word(b, part, n) for n in ("inner", "rank", "in_temporary", "out_temporary")
            )
            sizes, ins, outs = (b.at(I64, part, PART.index(n)) for n in ("size0", "in0", "out0"))
            last = b.isub(rank, 1)

            def element(array: Val, d: Val) -> Val:
                return b.load(I64, b.at(I64, array, d), 8)

            def begin(number: Val) -> tuple[Val, Val]:
                """Where a line begins in the input and in the result."""
                with b.loop(0, last, carry=[number, b.i64(0), b.i64(0)]) as t:
                    d = b.isub(last, t.index)
                    rest, source, target = t.values
                    size = element(sizes, d)
                    quotient = b.idiv(rest, size)
                    k = b.isub(rest, b.imul(quotient, size))
                    source = b.iadd(source, b.imul(k, element(ins, d)))
                    t.next = [quotient, source, b.iadd(target, b.imul(k, element(outs, d)))]
                rest, source, target = t.values
                return b.iadd(source, b.imul(rest, b.word(ins, 0))), b.iadd(target, b.imul(rest, b.word(outs, 0)))

            def evenly() -> None:
                lanes = vec_type(I64, self.lanes)
                within = b.op("add", b.splat(first, self.lanes), b.iota(lanes))
                limit = b.splat(b.isub(inner, 1), self.lanes)
                within = b.select(b.cmp("slt", within, limit), within, limit)
                starts = begin(b.imul(outer, inner))
                for flag, array, found, side in (
                    (in_temporary, ins, starts[0], 0),
                    (out_temporary, outs, starts[1], 1),
                ):
                    base = b.select(b.icmp("ne", flag, 0), b.imul(local, flag), found)
                    step = b.splat(element(array, last), self.lanes)
                    value = b.op("add", b.splat(base, self.lanes), b.op("mul", within, step))
                    b.store(value, b.at(I64, places, side * self.lanes), 8)

            def one_by_one() -> None:
                with b.loop(0, self.lanes) as lane:
                    within = b.imin(b.iadd(first, lane.index), b.isub(inner, 1))
                    for side, start in enumerate(begin(within)):
                        b.store(start, b.at(I64, places, b.iadd(lane.index, side * self.lanes)), 8)

            b.either(b.icmp("ne", self.word(b, part, "linear"), 0), evenly, one_by_one)
            b.ret()

        return self.function("offsets", ["PART", "PLACES", "outer", "local", "first"], write)

    def strip(self) -> str:
        """``strip(part, out, input, table, temporary, space, room, outer, local, number)``: one strip of a part."""
        functions = {
            "offsets": self.offsets(), "passes": self.passes(),
            "load_columns": self.load_across(False), "load_planes": self.load_across(True),
            "store_columns": self.store_across(False), "store_planes": self.store_across(True),
            "load_rows": self.load_rows(), "load_scattered": self.load_scattered(),
            "store_rows": self.store_rows(), "store_scattered": self.store_scattered(),
            "spread": self.spread(), "mirror": self.mirror(), "separate": self.separate(), "twist": self.twist(),
            "conjugate": self.conjugate(), "load_folded": self.load_folded(), "store_folded": self.store_folded(),
        }  # fmt: skip

        def write(b: Flow, *arguments: Val) -> None:
            _Strip(self, functions, b, *arguments).write()

        args = ["PART", "OUT", "INPUT", "TABLE", "TEMPORARY", "SPACE", "room", "outer", "local", "number"]
        return self.function("strip", args, write)

    # -- chunks ------------------------------------------------------------------------------------
    def body(self, later: bool) -> str:
        """A chunk of one of the parts, or of both."""
        strip = self.strip()

        def write(b: Flow, block: Val, chunk: Val, worker: Val) -> None:
            words, out, given, table, scratch = (b.load(PTR, b.at(PTR, block, i), 8) for i in range(5))
            group = b.word(block, 5)
            head = {name: b.word(words, HEAD.index(name)) for name in HEAD}
            parts = [b.at(I64, words, len(HEAD) + k * len(PART)) for k in (0, 1)]
            space = b.bytes_at(scratch, b.imul(worker, head["space"]))
            grain = head["grain_later" if later else "grain"]
            first = b.imul(chunk, grain)

            def run(part: Val, temporary: Val, outer: Val, local: Val, number: Val) -> None:
                b.call_void(strip, part, out, given, table, temporary, space, head["room"], outer, local, number)

            def lines() -> None:
                temporary = b.bytes_at(space, head["temporary"])
                with b.loop(first, b.imin(b.iadd(first, grain), head["lines"])) as line:
                    for part in parts:
                        with b.loop(0, self.word(b, part, "strips")) as number:
                            run(part, temporary, line.index, b.i64(0), number.index)

            def strips() -> None:
                part = parts[later]
                count = self.word(b, part, "strips")
                temporary = b.bytes_at(scratch, head["temporary"])
                end = b.imin(b.iadd(first, grain), b.imul(head["each"], count))
                with b.loop(first, end) as unit:
                    local = b.idiv(unit.index, count)
                    outer = b.iadd(b.imul(group, head["each"]), local)
                    with b.when(b.icmp("slt", outer, head["lines"])):
                        run(part, temporary, outer, local, b.isub(unit.index, b.imul(local, count)))

            if later:
                strips()
            else:
                b.either(b.icmp("ne", head["both"], 0), lines, strips)
            b.ret()

        args = [(PTR, "block"), (I64, "chunk"), (I64, "worker")]
        return function(self.module, self.isa, f"{self.name}.{'later' if later else 'body'}", args, write)

    def write_entry(self) -> None:
        bodies = self.body(False), self.body(True)

        def write(b: Flow, *values: Val) -> None:
            memory = b.alloca(f"[{len(values) + 2} x i64]", align=16)
            block = b.bytes_at(memory, 8)
            b.store(b.i64(0), memory, align=8)
            for i, value in enumerate(values):
                b.store(value, b.at(I64, block, i), align=8)
            chunks, pool, later, groups = (b.word(values[0], k) for k in range(4))
            with b.loop(0, groups) as group:
                b.store(group.index, b.at(I64, block, len(values)), align=8)
                for body, count in zip(bodies, (chunks, later)):
                    parallel_for(b, pool, body, block, count)
            b.ret(b.load(I64, memory, align=8))

        names = ["params", "out", "input", "table", "scratch"]
        function(self.module, self.isa, self.name, [(PTR, n) for n in names], write, result=I64, linkage="")


class _Strip:
    """Writes what is done to one strip: read, transformed, with what comes before and after for real numbers and
    between parts, and written."""

    def __init__(
        self, kernel: _Fourier, functions: dict[str, str], b: Flow, part: Val, out: Val, given: Val, table: Val,
        temporary: Val, space: Val, room: Val, outer: Val, local: Val, number: Val,
    ) -> None:  # fmt: skip
        self.kernel, self.functions, self.b, self.part, self.table = kernel, functions, b, part, table
        self.points, inner, self.load, self.store, self.fix, self.sign = (
            self._word(n) for n in ("points", "inner", "load", "store", "fix", "sign")
        )
        lanes = kernel.lanes
        self.number, self.first = number, b.imul(number, lanes)
        self.width = b.imin(b.isub(inner, self.first), lanes)
        self.rooms = space  # the addresses of the two buffers
        self.sources = b.bytes_at(space, 64)
        self.targets = b.at(I64, self.sources, lanes)
        self.one = b.bytes_at(self.sources, -(-2 * lanes * 8 // 64) * 64)
        self.two = b.bytes_at(self.one, room)
        self.sums = b.bytes_at(self.two, room)
        b.store(self.one, self.rooms, 8)
        b.store(self.two, b.at(PTR, self.rooms, 1), 8)
        self._call("offsets", part, self.sources, outer, local, self.first)
        self.source = b.select(b.icmp("ne", self._word("in_temporary"), 0), temporary, given)
        self.target = b.select(b.icmp("ne", self._word("out_temporary"), 0), temporary, out)

    def write(self) -> None:
        """The whole function."""
        b = self.b
        self._read()
        self.roots = self.kernel.place(b, self.table, self._word("roots"))
        self._join()
        self._call("passes", self.part, self.table, self.rooms, self.sums)
        result = b.load(PTR, self.rooms, 8)
        (result,) = b.choose(
            b.icmp("eq", self.fix, FIXES.index("separate")), lambda: [self._separated(result)], lambda: [result]
        )
        self._twist(result)
        self._put(result)
        b.ret()

    def _word(self, name: str) -> Val:
        return self.kernel.word(self.b, self.part, name)

    def _call(self, name: str, *arguments: Val) -> None:
        self.b.call_void(self.functions[name], *arguments)

    def _begin(self, base: Val, places: Val) -> Val:
        """Where the first line begins."""
        return self.kernel.place(self.b, base, self.b.load(I64, places, 8))

    def _switch(self, value: Val, cases: dict[int | None, Callable[[], None]]) -> None:
        """Runs one of the cases; the last for any other value."""
        (number, run), *rest = cases.items()
        if not rest:
            run()
            return
        self.b.either(self.b.icmp("eq", value, number or 0), run, lambda: self._switch(value, dict(rest)))

    def _read(self) -> None:
        """Reads the lines' points into the first buffer."""
        part, source, sources, one, width = self.part, self.source, self.sources, self.one, self.width
        self._switch(self.load, {
            COLUMNS: lambda: self._call("load_columns", part, self._begin(source, sources), one, width),
            PLANES: lambda: self._call("load_planes", part, self._begin(source, sources), one, width),
            ROWS: lambda: self._call("load_rows", part, source, sources, one),
            FOLDED: lambda: self._call("load_folded", part, self._begin(source, sources), one, width, self.first),
            SCATTERED: lambda: self._call("load_scattered", part, source, sources, one, width),
        })  # fmt: skip

    def _put(self, result: Val) -> None:
        """Writes the points of the result where they belong."""
        part, target, targets, width = self.part, self.target, self.targets, self.width
        self._switch(self.store, {
            COLUMNS: lambda: self._call("store_columns", part, result, self._begin(target, targets), width),
            PLANES: lambda: self._call("store_planes", part, result, self._begin(target, targets), width),
            ROWS: lambda: self._call("store_rows", part, result, target, targets),
            FOLDED: lambda: self._call("store_folded", part, result, self._begin(target, targets), width, self.first),
            SCATTERED: lambda: self._call("store_scattered", part, result, target, targets, width),
        })  # fmt: skip

    def _join(self) -> None:
        """Makes of the half of a spectrum what is transformed."""
        b = self.b

        def turn() -> None:
            """The second buffer has the points."""
            b.store(self.two, self.rooms, 8)
            b.store(self.one, b.at(PTR, self.rooms, 1), 8)

        def spread() -> None:
            self._call("spread", self.one, self.two, self.roots, self.points, self.sign)
            turn()

        def mirror() -> None:
            self._call("mirror", self.one, self.two, self.points, self.sign)
            turn()

        self._switch(self.fix, {FIXES.index("spread"): spread, FIXES.index("mirror"): mirror, None: lambda: None})

    def _separated(self, result: Val) -> Val:
        """The spectrum of real numbers, the second half too if it is wanted, in the other buffer."""
        b = self.b
        other = b.load(PTR, b.at(PTR, self.rooms, 1), 8)
        self._call("separate", result, other, self.roots, self.points)
        with b.when(b.icmp("sgt", self._word("made"), b.iadd(self.points, 1))):
            self._call("conjugate", other, self._word("made"))
        return other

    def _twist(self, result: Val) -> None:
        """Multiplies the points by the factors between two parts, if there are any."""
        b, factors = self.b, self._word("twist")
        with b.when(b.icmp("sge", factors, 0)):
            near, rows = self.kernel.place(b, self.table, factors), self._word("made")
            far = self.kernel.place(b, near, b.imul(b.imul(rows, 2), b.iadd(self.number, self.kernel.lanes)))
            self._call("twist", result, near, far, rows)
