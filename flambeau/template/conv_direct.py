"""Convolutions with few channels a group (depthwise ones above all), computed without packing.

`sum_ir` is the forward convolution and the input gradient: each chunk makes some planes (an output channel of an
image), row by row, a vector of pixels at a time.  `weight_ir` is the gradient by the weights: each chunk sums over
the pixels of some pairs of an input and an output channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..target.builder import Val, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from .conv_problem import ConvSpec, Problem
from .flow import Flow, function, parallel_for
from .gemm import Binding
from .image import GEOMETRY, TAP_WORDS, Geometry, ImageReader
from .micro import SIZE

__all__ = ["bind_sum", "bind_weight", "sum_ir", "weight_ir"]

_SHARE = 1 << 17
"""Multiplications in a chunk, about 20 us."""
_STAY = 1 << 18
"""Multiplications under which the caller's thread does all the work."""

_ROWS = 4
"""Rows that are summed at a time, so that their multiplications need not wait for each other."""
_ENTRIES = 2048
"""The most channels by taps: their offsets, weights and masks lie on the stack."""

_SUM = (
    "chunks", "pool", "problems", "length", "planes", "share", "groups", "rows", *GEOMETRY,
    "x_group", "w_group", "w_row", "w_c", "c_at", "c_n", "c_row", "c_d", "c_h", "c_w",
)  # fmt: skip
_WEIGHT = (
    "chunks", "pool", "pairs", "share", "rows", "images", *GEOMETRY,
    "x_group", "dy_n", "dy_c", "dy_d", "dy_h", "dy_w", "c_row", "c_c",
)  # fmt: skip


def _table(g: Geometry) -> list[int]:
    return [word for tap in g.taps for word in tap]


def _division(pieces: int, work: int) -> tuple[int, int, bool]:
    """Chunks, pieces in a chunk, and whether to use threads, for ``pieces`` of ``work`` multiplications each."""
    share = max(1, min(_SHARE // max(work, 1), -(-pieces // 16)))
    return -(-pieces // share), share, pieces * work > _STAY


def bind_sum(spec: ConvSpec, problems: list[Problem], pool: int, tail_words: Sequence[int]) -> Binding:
    """The words for the problems of a convolution or an input gradient."""
    length = len(_SUM) + len(tail_words) + TAP_WORDS * max(len(p.geometry.taps) for p in problems)
    params: list[int] = []
    for p in problems:
        g = p.geometry
        if g.channels * len(g.taps) > _ENTRIES:
            raise ValueError(
                f"conv_direct: {g.channels} channels by {len(g.taps)} taps; at most {_ENTRIES} are possible"
            )
        planes = p.batch * p.groups * p.rows if g.pixels else 0
        chunks, share, parallel = _division(planes, g.pixels * g.channels * len(g.taps))
        c_n, c_row, c_d, c_h, c_w = p.c_strides
        values = {
            "chunks": chunks, "pool": pool if parallel else 0, "problems": len(problems), "length": length,
            "planes": planes, "share": share, "groups": p.groups, "rows": p.rows,
            **g.values(0, 0, 8 * (len(_SUM) + len(tail_words))),
            "x_group": p.x_group, "w_group": p.w_group, "w_row": p.w_row, "w_c": p.w_c,
            "c_at": p.c_at, "c_n": c_n, "c_row": c_row, "c_d": c_d, "c_h": c_h, "c_w": c_w,
        }  # fmt: skip
        words = [values[name] for name in _SUM] + list(tail_words) + _table(g)
        params += words + [0] * (length - len(words))
    return Binding(params, 0)


def bind_weight(
    spec: ConvSpec,
    g: Geometry,
    dw_shape: Sequence[int],
    dw_strides: Sequence[int],
    images: int,
    dy_strides: Sequence[int],
    groups: int,
    pool: int,
    tail_words: Sequence[int],
) -> Binding:
    """The words for a gradient by weights; ``dy_strides`` are those of images, channels and three dimensions."""
    rows, channels = dw_shape[0] // groups, dw_shape[1]
    pairs = dw_shape[0] * channels
    chunks, share, parallel = _division(pairs, images * g.pixels * len(g.taps))
    values = {
        "chunks": chunks, "pool": pool if parallel else 0, "pairs": pairs, "share": share, "rows": rows,
        "images": images, **g.values(0, 0, 8 * (len(_WEIGHT) + len(tail_words))), "x_group": channels * g.strides[1],
        **dict(zip(("dy_n", "dy_c", "dy_d", "dy_h", "dy_w"), dy_strides, strict=True)),
        "c_row": dw_strides[0], "c_c": dw_strides[1],
    }  # fmt: skip
    return Binding([values[name] for name in _WEIGHT] + list(tail_words) + _table(g), 0)


def sum_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel for forward convolutions and input gradients."""
    return _Sum(name, spec, isa, _SUM).text()


def weight_ir(name: str, spec: ConvSpec, isa: ISA) -> str:
    """The module of the kernel for gradients by weights."""
    return _Weight(name, spec, isa, _WEIGHT).text()


class _Direct(ImageReader):
    """What both kernels share: the entry, and reading the block."""

    def __init__(self, name: str, spec: ConvSpec, isa: ISA, words: tuple[str, ...]) -> None:
        super().__init__(spec.source, isa.lanes(LLVM_TYPE[spec.acc]))
        self.name, self.spec, self.isa, self.names = name, spec, isa, words
        self.tail = spec.tail
        self.module = new_module(isa)
        self.acc, self.vector = LLVM_TYPE[spec.acc], vec_type(LLVM_TYPE[spec.acc], self.lanes)
        self.out, self.out_size = LLVM_TYPE[spec.out], SIZE[spec.out]
        self.words_slot = 5 + self.tail.buffers

    def text(self) -> str:
        args = [("ptr", "block"), ("i64", "chunk"), ("i64", "worker")]
        body = function(self.module, self.isa, f"{self.name}.body", args, self.write_body)
        entry = [("ptr", n) for n in ("params", "c", "a", "b", *(f"e{i}" for i in range(self.tail.buffers)), "scratch")]

        def write_entry(b: Flow, *arguments: Val) -> None:
            memory = b.alloca(f"[{self.words_slot + 2} x i64]", align=16)
            block = b.bytes_at(memory, 8)
            b.store(b.i64(0), memory, align=8)
            for i, value in enumerate(arguments):
                b.store(value, b.at("i64", block, i), align=8)
            self.write_launch(b, arguments[0], block, body)
            b.ret(b.load("i64", memory, align=8))

        function(self.module, self.isa, self.name, entry, write_entry, result="i64", linkage="")
        return self.module.text()

    def launch(self, b: Flow, words: Val, block: Val, body: str) -> None:
        """Runs all chunks of the problem at ``words``."""
        b.store(words, b.at("i64", block, self.words_slot), align=8)
        parallel_for(b, b.word(words, self.names.index("pool")), body, block, b.word(words, self.names.index("chunks")))

    def write_launch(self, b: Flow, params: Val, block: Val, body: str) -> None:
        """Writes the calls of `launch`."""
        raise NotImplementedError

    def write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Writes the work of a chunk."""
        raise NotImplementedError

    def open(self, b: Flow, block: Val) -> tuple[list[Val], list[Val]]:
        """Loads the words; returns the buffers (result, a, b) and what the epilogue gets."""

        def slot(index: int, type_: str = "ptr") -> Val:
            return b.load(type_, b.at("i64", block, index), align=8)

        words = slot(self.words_slot)
        self.w = {name: b.word(words, i) for i, name in enumerate(self.names)}
        self.table = b.bytes_at(words, self.w["tap_table"])
        extras = [slot(4 + i) for i in range(self.tail.buffers)]
        extras += [b.word(words, len(self.names) + i) for i in range(self.tail.words)]
        return [slot(i) for i in (1, 2, 3)], extras

    def tap(self, b: Flow, index: Val) -> tuple[list[Val], Val]:
        """A tap's offsets in the image, and in the weights."""
        entry = b.at("i64", self.table, b.imul(index, TAP_WORDS))
        words = [b.word(entry, i) for i in range(TAP_WORDS)]
        return words[:3], words[3]

    def origin(self, b: Flow, image: Val, corner: Sequence[Val]) -> Val:
        """The address of a place of the image, which may lie outside."""
        w = self.w
        offsets = [b.imul(v, w[f"x_{a}"]) for v, a in zip(corner, "dhw", strict=True)]
        return b.at(self.memory, image, b.iadd(b.iadd(offsets[0], offsets[1]), offsets[2]))

    def inside(self, b: Flow, z: Val, y: Val) -> Val:
        """Whether there is such a row in the image."""
        return b.op("and", b.icmp("ult", z, self.w["in_d"]), b.icmp("ult", y, self.w["in_h"]))


class _Sum(_Direct):
    """Planes of ``sum over channels and taps of w * x``."""

    def write_launch(self, b: Flow, params: Val, block: Val, body: str) -> None:
        problems, length = (b.word(params, self.names.index(n)) for n in ("problems", "length"))
        with b.loop(0, problems) as problem:
            self.launch(b, b.at("i64", params, b.imul(problem.index, length)), block, body)

    def write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        (c, weights, x), extras = self.open(b, block)
        w = self.w
        self.spill = b.alloca(vec_type(self.out, self.lanes))
        self.made = b.alloca(f"[{_ROWS} x {self.vector}]")
        entries = b.imul(w["channels"], w["taps"])
        # what a channel and tap means for a pixel: its row (depth, height), offset, width, factor, masks
        self.mask_type = vec_type("i64" if self.acc == "double" else "i32", self.lanes)
        self.places, self.factors, self.masks_at = (
            b.new("ptr", f"alloca {type_}, i64 {size.name}, align 64")
            for type_, size in (
                ("i64", b.imul(entries, 4)),
                (self.acc, entries),
                (self.mask_type, b.imul(entries, 2)),
            )
        )
        self.entries = entries
        zero = b.i64(0)
        with b.loop(0, w["channels"], carry=[zero] * 4) as channel:
            with b.loop(0, w["taps"], carry=channel.values) as t:
                shift, _ = self.tap(b, t.index)
                offset = b.imul(channel.index, w["x_c"])
                for v, axis in zip(shift, "dhw", strict=True):
                    offset = b.iadd(offset, b.imul(v, w[f"x_{axis}"]))
                place = b.at("i64", self.places, b.imul(b.iadd(b.imul(channel.index, w["taps"]), t.index), 4))
                for i, v in enumerate((shift[0], shift[1], b.imul(offset, self.size), shift[2])):
                    b.store(v, b.at("i64", place, i), 8)
                least_z, least_y, most_z, most_y = t.values
                t.next = [
                    b.imin(least_z, shift[0]), b.imin(least_y, shift[1]),
                    b.imax(most_z, shift[0]), b.imax(most_y, shift[1]),
                ]  # fmt: skip
            channel.next = t.values
        self.reach = channel.values
        start = b.imul(chunk, w["share"])
        per_image = b.imul(w["groups"], w["rows"])

        def planes(kind: str) -> None:
            with b.loop(start, b.imin(b.iadd(start, w["share"]), w["planes"])) as plane:
                n, rest = b.idiv(plane.index, per_image), b.imod(plane.index, per_image)
                group, row = b.idiv(rest, w["rows"]), b.imod(rest, w["rows"])
                image = b.at(self.memory, x, b.iadd(b.imul(n, w["x_n"]), b.imul(group, w["x_group"])))
                own = b.at(self.memory, weights, b.iadd(b.imul(group, w["w_group"]), b.imul(row, w["w_row"])))
                to = b.at(self.out, c, b.iadd(w["c_at"], b.iadd(b.imul(n, w["c_n"]), b.imul(rest, w["c_row"]))))
                self.read_factors(b, own)
                with b.loop(0, w["out_w"], self.lanes) as v:
                    self.columns(b, kind, image, to, v.index, n, group, row, extras)

        self.each_kind(b, planes)
        b.ret()

    def read_factors(self, b: Flow, own: Val) -> None:
        """Reads the weights of one output channel."""
        w = self.w
        with b.loop(0, w["channels"]) as c, b.loop(0, w["taps"]) as t:
            _, offset = self.tap(b, t.index)
            raw = b.load(self.memory, b.at(self.memory, own, b.iadd(b.imul(c.index, w["w_c"]), offset)), self.size)
            entry = b.iadd(b.imul(c.index, w["taps"]), t.index)
            b.store(cast(b, raw, self.source, self.spec.acc), b.at(self.acc, self.factors, entry), 4)

    def columns(
        self, b: Flow, kind: str, image: Val, to: Val, v: Val, n: Val, group: Val, row: Val, extras: list[Val]
    ) -> None:
        """A vector's width of columns of a plane, from column ``v`` on, row by row."""
        w, lanes = self.w, self.lanes
        area = b.imul(w["out_h"], w["out_w"])
        first = b.imul(n, b.imul(w["out_d"], area))
        left = b.imin(b.isub(w["out_w"], v), lanes)
        wanted = b.lane_mask(left, lanes)
        x0 = self.corner(b, b.i64(0), b.i64(0), v)[2]
        with b.loop(0, self.entries) as e:
            x = b.iadd(x0, b.word(b.at("i64", self.places, b.imul(e.index, 4)), 3))
            for i, mask in enumerate(self.masks(b, kind, x, wanted)):
                spot = b.at(self.mask_type, self.masks_at, b.iadd(b.imul(e.index, 2), i))
                b.store(b.cast("sext", mask, self.mask_type), spot, 64)
        least_z, least_y, most_z, most_y = self.reach
        with b.loop(0, w["out_d"]) as d, b.loop(0, w["out_h"]) as h:
            corner = self.corner(b, d.index, h.index, v)
            below = b.iadd(corner[1], b.imul(w["step_h"], _ROWS - 1))
            # rows, all taps of which lie within the image, are made several at a time
            inner = b.op(
                "and",
                b.op("and", self.inside(b, b.iadd(corner[0], least_z), b.iadd(corner[1], least_y)),
                     self.inside(b, b.iadd(corner[0], most_z), b.iadd(below, most_y))),
                b.icmp("sle", b.iadd(h.index, _ROWS), w["out_h"]),
            )  # fmt: skip
            begin = self.origin(b, image, corner)

            def several() -> list[Val]:
                self.sum_rows(b, kind, begin, None)
                return [b.i64(_ROWS)]

            def single() -> list[Val]:
                self.sum_rows(b, kind, begin, corner)
                return [b.i64(1)]

            h.step = b.choose(inner, several, single)[0]
            with b.loop(0, h.step) as made:
                acc = b.load(self.vector, b.at(self.vector, self.made, made.index), 64)
                place = b.iadd(h.index, made.index)
                col = b.iadd(b.iadd(first, b.imul(d.index, area)), b.iadd(b.imul(place, w["out_w"]), v))
                value = self.tail.emit(b, acc, row, col, group, wanted, extras.__getitem__)
                offset = b.iadd(b.imul(d.index, w["c_d"]), b.imul(place, w["c_h"]))
                self.put(b, value, b.at(self.out, to, b.iadd(offset, b.imul(v, w["c_w"]))), wanted, left)

    def sum_rows(self, b: Flow, kind: str, begin: Val, corner: list[Val] | None) -> None:
        """Makes one vector, the first tap of whose first pixel lies at ``corner`` (in memory at ``begin``), or without
        a corner those of `_ROWS` rows that need no check."""
        w = self.w
        count = _ROWS if corner is None else 1
        row_bytes = b.imul(b.imul(w["step_h"], w["x_h"]), self.size)
        zero = b.const(self.vector, 0)
        with b.loop(0, self.entries, carry=[zero] * count) as e:
            place = b.at("i64", self.places, b.imul(e.index, 4))

            def add() -> list[Val]:
                stored = [
                    b.load(self.mask_type, b.at(self.mask_type, self.masks_at, b.iadd(b.imul(e.index, 2), i)), 64)
                    for i in range(2 if kind == "even" else 1)
                ]
                masks = [b.cmp("slt", mask, b.const(self.mask_type, 0)) for mask in stored]
                factor = b.splat(b.load(self.acc, b.at(self.acc, self.factors, e.index), 4), self.lanes)
                spot = b.bytes_at(begin, b.word(place, 2))
                out = []
                for acc in e.values:
                    value = cast(b, self.load(b, kind, spot, masks), self.source, self.spec.acc)
                    out.append(multiply_add(b, self.isa, factor, value, acc))
                    spot = b.bytes_at(spot, row_bytes)
                return out

            if corner is None:
                e.next = add()
            else:
                z, y = (b.iadd(corner[i], b.word(place, i)) for i in range(2))
                e.next = b.choose(self.inside(b, z, y), add, lambda: e.values)
        for i, acc in enumerate(e.values):
            b.store(acc, b.at(self.vector, self.made, i), 64)

    def put(self, b: Flow, value: Val, spot: Val, wanted: Val, left: Val) -> None:
        """Stores a vector of pixels."""
        stride = self.w["c_w"]

        def scatter() -> None:
            b.store(value, self.spill, 64)
            with b.loop(0, left) as e:
                one = b.load(self.out, b.at(self.out, self.spill, e.index), self.out_size)
                b.store(one, b.at(self.out, spot, b.imul(e.index, stride)), self.out_size)

        b.either(b.icmp("eq", stride, 1), lambda: b.masked_store(value, spot, wanted, self.out_size), scatter)


class _Weight(_Direct):
    """Sums over pixels of ``dy * x`` for pairs of channels."""

    def write_launch(self, b: Flow, params: Val, block: Val, body: str) -> None:
        self.launch(b, params, block, body)

    def write_body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        (c, dy, x), extras = self.open(b, block)
        w = self.w
        start = b.imul(chunk, w["share"])
        self.sums = b.new("ptr", f"alloca {self.vector}, {w['taps']}, align 64")

        def pairs(kind: str) -> None:
            with b.loop(start, b.imin(b.iadd(start, w["share"]), w["pairs"])) as pair:
                row, channel = b.idiv(pair.index, w["channels"]), b.imod(pair.index, w["channels"])
                group = b.idiv(row, w["rows"])
                image = b.at(self.memory, x, b.iadd(b.imul(group, w["x_group"]), b.imul(channel, w["x_c"])))
                gradient = b.at(self.memory, dy, b.imul(row, w["dy_c"]))
                with b.loop(0, w["taps"]) as t:
                    b.store(b.const(self.vector, 0), b.at(self.vector, self.sums, t.index), 64)
                with b.loop(0, w["images"]) as n, b.loop(0, w["out_w"], self.lanes) as v:
                    own = b.at(self.memory, image, b.imul(n.index, w["x_n"]))
                    self.columns(b, kind, own, b.at(self.memory, gradient, b.imul(n.index, w["dy_n"])), v.index)
                to = b.at(self.out, c, b.iadd(b.imul(row, w["c_row"]), b.imul(channel, w["c_c"])))
                self.finish(b, to, b.imod(row, w["rows"]), channel, group, extras)

        self.each_kind(b, pairs)
        b.ret()

    def columns(self, b: Flow, kind: str, image: Val, gradient: Val, v: Val) -> None:
        """Adds the products of a vector's width of columns, from column ``v`` on, to the sums of all taps."""
        w, lanes = self.w, self.lanes
        wanted = b.lane_mask(b.isub(w["out_w"], v), lanes)
        with b.loop(0, w["taps"]) as t:
            shift, _ = self.tap(b, t.index)
            place = b.at(self.vector, self.sums, t.index)
            x0 = self.corner(b, b.i64(0), b.i64(0), v)[2]
            masks = self.masks(b, kind, b.iadd(x0, shift[2]), wanted)
            first, end = self.rows(b, shift[1])
            zero = b.const(self.vector, 0)
            with b.loop(0, w["out_d"], carry=[b.load(self.vector, place, 64)]) as d:
                corner = self.corner(b, d.index, first, v)
                z, y, x = (b.iadd(a, s) for a, s in zip(corner, shift, strict=True))
                offset = b.iadd(b.imul(d.index, w["dy_d"]), b.imul(first, w["dy_h"]))
                spot = b.at(self.memory, gradient, b.iadd(offset, b.imul(v, w["dy_w"])))
                source = self.origin(b, image, (z, y, x))
                count = b.select(b.icmp("ult", z, w["in_d"]), b.isub(end, first), b.i64(0))

                def product(row: Val, acc: Val) -> Val:
                    at = b.at(self.memory, source, b.imul(row, b.imul(w["step_h"], w["x_h"])))
                    value = cast(b, self.load(b, kind, at, masks), self.source, self.spec.acc)
                    at = b.at(self.memory, spot, b.imul(row, w["dy_h"]))
                    factor = cast(b, self._gradient(b, at, wanted), self.source, self.spec.acc)
                    return multiply_add(b, self.isa, factor, value, acc)

                whole = b.imul(b.idiv(count, _ROWS), _ROWS)
                with b.loop(0, whole, _ROWS, carry=[*d.values, *[zero] * (_ROWS - 1)]) as h:
                    h.next = [product(b.iadd(h.index, i), acc) for i, acc in enumerate(h.values)]
                with b.loop(whole, count, carry=h.values[:1]) as rest:
                    rest.next = [product(rest.index, rest.values[0])]
                total = rest.values[0]
                for acc in h.values[1:]:
                    total = b.fadd(total, acc)
                d.next = [total]
            b.store(d.values[0], place, 64)

    def rows(self, b: Flow, shift: Val) -> tuple[Val, Val]:
        """The rows [first, end) of pixels, for which a tap ``shift`` rows down lies within the image."""
        w = self.w
        above = b.iadd(w["base_h"], shift)
        missing = b.imax(b.isub(0, above), 0)
        first = b.imin(b.idiv(b.iadd(missing, b.isub(w["step_h"], 1)), w["step_h"]), w["out_h"])
        last = b.isub(b.isub(w["in_h"], 1), above)
        end = b.iadd(b.idiv(b.imax(last, 0), w["step_h"]), 1)
        end = b.select(b.icmp("slt", last, 0), b.i64(0), b.imin(end, w["out_h"]))
        return first, b.imax(end, first)

    def _gradient(self, b: Flow, spot: Val, wanted: Val) -> Val:
        type_ = vec_type(self.memory, self.lanes)
        stride = self.w["dy_w"]

        def spread() -> list[Val]:
            offsets = b.mul(b.iota(vec_type("i64", self.lanes)), b.splat(stride, self.lanes))
            spots = b.new(vec_type("ptr", self.lanes), f"getelementptr {self.memory}, {spot}, {offsets}")
            return [b.masked_gather(type_, spots, wanted, self.size)]

        return b.choose(b.icmp("eq", stride, 1), lambda: [b.masked_load(type_, spot, wanted, self.size)], spread)[0]

    def finish(self, b: Flow, to: Val, row: Val, channel: Val, group: Val, extras: list[Val]) -> None:
        """Adds up the lanes of every tap and stores the results, in vectors of one."""
        w = self.w
        with b.loop(0, w["taps"]) as t:
            acc = b.load(self.vector, b.at(self.vector, self.sums, t.index), 64)
            half = self.lanes
            while half > 1:  # halves are added to halves
                half //= 2
                order = [*range(half, 2 * half), *[0] * (self.lanes - half)]
                acc = b.fadd(acc, b.shuffle(acc, acc, order))
            total = b.extract(acc, 0)
            vector = b.splat(total, self.lanes)
            _, offset = self.tap(b, t.index)
            col = b.iadd(b.imul(channel, w["taps"]), t.index)
            mask = b.lane_mask(b.i64(1), self.lanes)
            value = self.tail.emit(b, vector, row, col, group, mask, extras.__getitem__)
            b.store(b.extract(value, 0), b.at(self.out, to, offset), self.out_size)


def multiply_add(b: Flow, isa: ISA, x: Val, y: Val, acc: Val) -> Val:
    """``acc + x * y``, fused where that is an instruction."""
    return b.fma(x, y, acc) if isa.fma else b.fadd(b.fmul(x, y), acc)
