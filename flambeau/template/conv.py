"""Convolutions of one to three spatial dimensions as contractions whose operands are packed from the image.

    spec = conv.ConvSpec("f32", "f32", "f32")                 # types of image and weights, accumulators, output
    kernel = engine.load(conv.kernel_name(spec), conv.key(spec, isa), lambda: conv.make_ir(spec, isa), isa)
    bound = conv.bind_forward(spec, isa, x_shape, x_strides, w_shape, w_strides, y_strides, stride, padding, dilation,
                              groups, pool, workers)
    entry(params, y, w, x, *epilogue buffers, scratch)      # w and x exchanged where bound.swap

`bind_forward` computes ``y = epilogue(conv(x, w))``; `bind_input_gradient` the gradient by x, which is also the
transposed convolution, with the same kernel (its buffers are dx, w, dy).  Shapes are (batch, channels, *spatial) and
(out channels, in channels / groups, *kernel); strides are any, in elements.  To the epilogue a row is an output
channel within its group, a column a pixel (counted through all images), a batch a group.

Strided input gradients are split into one problem for each remainder of a pixel's place by the stride, so that
no product with zero is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ..runtime import engine
from ..target.builder import Val, vec_type
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from . import conv_direct, conv_planes, depthwise, winograd, winograd_last
from .blocking import cut_image
from .contract import Contraction
from .conv_problem import (
    ConvSpec,
    Problem,
    by_pixels,
    dense,
    forward_problem,
    input_gradient_problems,
    output_size,
    prefer_direct,
    single_stride,
)  # fmt: skip
from .epilogue import AddIn, Epilogue, Plain, near_words
from .flow import Flow, function, parallel_for
from .frame import Frame
from .gemm import PAGE, Binding, Ready
from .image import GEOMETRY, GRID, TAP_WORDS, image_kernel, image_request
from .micro import SIZE, Blocking, Number, blocking, load_address, micro_kernel, micro_request
from .pack import pack_kernel, pack_request
from .weights import BY_CHANNEL, BY_TAP, FLAT, SPAN, write_weights
from .words import Words, common_values, finished_together, packing_words, scratch_bytes

__all__ = [
    "AddIn", "ConvSpec", "Plain", "bind_forward", "bind_input_gradient", "choose", "kernel_name", "key", "make_ir",
    "output_size", "prefer_direct", "requests",
]  # fmt: skip


def kernel_name(spec: ConvSpec) -> str:
    """The symbol of the entry."""
    kind = f"winograd{'_last' * spec.last}" if spec.winograd else f"conv{'d' * spec.direct}{'p' * spec.planes}"
    if spec.window is not None:
        kind += "_".join(map(str, spec.window))
    return f"{kind}_{spec.source}_{spec.acc}_{spec.out}"


def key(spec: ConvSpec, isa: ISA) -> str:
    """Determines the code."""
    return f"{kernel_name(spec)}|{spec.tail.key}|{isa.key}"


def requests(spec: ConvSpec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs, the entry first: for ``engine.load_many``."""
    num = spec.number(isa)
    entry = engine.Request(kernel_name(spec), key(spec, isa), partial(make_ir, spec, isa), isa)
    if spec.direct:
        return [entry]
    if spec.planes:
        return [entry, micro_request(num, isa, in_place=True, listed=True)]
    if spec.winograd:
        return [entry, micro_request(num, isa, in_place=spec.last), pack_request(spec.source, num, isa)]
    packs = [pack_request(spec.source, num, isa), image_request(spec.source, num, isa, _WORDS.names)]
    return [entry, core_request(spec, isa), micro_request(num, isa), *packs]


# -- binding -----------------------------------------------------------------------------------------

_WORDS = Words(
    (
        *GEOMETRY, "image_is_b", "w_mode", "w_row", "w_c", "w_k", "w_at", "w_span",
        "c_at", "c_n", "c_row", "c_d", "c_h", "c_w", "c_flat", "c_plain", "c_pixel", "c_even", "x_direct", "pack_w",
        "pack_x", "clear", "w_direct",
    )
)  # fmt: skip
_CLEARED = 1 << 15
"""Elements that a chunk clears."""
_CROSSING = 8
"""Times that an image has the pixels of tiles that are finished together, so that few of these meet its end."""
_DEEP = 256
"""Products of a sum from which on the way its result is stored hardly matters."""

_SERVED = 192
"""Pixels for which weights are packed in every call, as measured: that takes 30 % of the time for 49 pixels, 1 to 8 %
for 196, while keeping them packed takes as much memory as the weights themselves."""

_IN_PLACE = 40
"""Panels of weights up to which a 1x1 kernel's pixels are read where they are rather than packed: as often as that they
are read, and where an image's planes do not begin with a line of the cache, two lines for one."""


def choose(spec: ConvSpec, isa: ISA, problems: Sequence[Problem]) -> ConvSpec:
    """The kernel for these problems: that for windows of single channels where it is possible, Winograd's algorithm
    where it wins, that which packs no pixels where packing would cost more."""
    if spec.direct:
        return replace(spec, window=depthwise.suits(spec, isa, problems))
    if winograd.suits(spec, isa, problems):
        return replace(spec, winograd=True)
    if winograd_last.suits(spec, isa, problems):
        return replace(spec, winograd=True, last=True)
    return replace(spec, planes=True) if conv_planes.suits(spec, isa, problems) else spec


def bind_forward(
    spec: ConvSpec,
    isa: ISA,
    x_shape: Sequence[int],
    x_strides: Sequence[int],
    w_shape: Sequence[int],
    w_strides: Sequence[int],
    y_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pool: int,
    workers: int,
    epilogue_words: Sequence[int] = (),
    ready: bool = False,
) -> Binding:
    """The words for ``y = conv(x, w)``; y has the spatial sizes of `output_size`.

    ``epilogue_words`` are those for rows of output channels by columns of pixels.  ``ready``: the weights are given as
    the kernel reads them, if it reads them otherwise than they are (`Binding.ready`).
    """
    problem = forward_problem(x_shape, x_strides, w_shape, w_strides, y_strides, stride, padding, dilation, groups)
    layout = (*w_shape, *w_strides, groups)
    return _bind(spec, isa, [problem], pool, workers, tuple(epilogue_words), 0, layout if ready else None)


def bind_input_gradient(
    spec: ConvSpec,
    isa: ISA,
    dx_shape: Sequence[int],
    dx_strides: Sequence[int],
    w_shape: Sequence[int],
    w_strides: Sequence[int],
    dy_shape: Sequence[int],
    dy_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pool: int,
    workers: int,
    epilogue_words: Sequence[int] = (),
) -> Binding:
    """The words for ``dx``, the gradient of ``conv(x, w)`` by x for the gradient dy of its result.

    This is the transposed convolution of dy: its output padding shows in ``dx_shape`` only.
    """
    problems = input_gradient_problems(
        dx_shape, dx_strides, w_shape, w_strides, dy_shape, dy_strides, stride, padding, dilation, groups
    )
    clear = 0
    # pixels that no tap meets are zero: the whole result is cleared, which costs less than storing them one by one
    if not spec.direct and isinstance(spec.tail, Plain) and dense(dx_shape, dx_strides):
        met = [p for p in problems if p.geometry.taps]
        if met and len(met) < len(problems):
            problems, clear = met, math.prod(dx_shape)
    return _bind(spec, isa, problems, pool, workers, tuple(epilogue_words), clear)


def _bind(
    spec: ConvSpec, isa: ISA, problems: list[Problem], pool: int, workers: int, tail_words: tuple[int, ...],
    clear: int = 0, ready: tuple[int, ...] | None = None,
) -> Binding:  # fmt: skip
    """Binds problems; ``ready``, for a single one, says how the weights lie that are given prepared."""
    tail = spec.tail
    if len(tail_words) != tail.words:
        raise ValueError(f"conv: {len(tail_words)} epilogue words, the epilogue has {tail.words}")
    if spec.window is not None:
        return depthwise.bind_window(spec, isa, problems[0], pool, workers, tail_words)
    if spec.direct:
        return conv_direct.bind_sum(spec, isa, problems, pool, workers, tail_words)
    if spec.planes:
        return conv_planes.bind_planes(spec, isa, problems[0], pool, workers, tail_words)
    if spec.winograd and spec.last:
        turned = tail.transposed(tail_words)  # type: ignore[attr-defined]  # `suits` asks for it
        return winograd_last.bind_winograd_last(spec, isa, problems[0], pool, workers, turned, ready)
    if spec.winograd:
        return winograd.bind_winograd(spec, isa, problems[0], pool, workers, tail_words, ready)
    num = spec.number(isa)
    blk = blocking(num, isa)
    if ready is not None and problems[0].batch * problems[0].geometry.pixels >= _SERVED:
        ready = None
    transposed = getattr(tail, "transposed", None)
    c_strides = problems[0].c_strides
    # images with channels last are rows, so that stores are contiguous along channels; so are images of so few pixels
    # that their columns would be padded a lot
    last = c_strides[1] == 1 and c_strides[4] != 1 and problems[0].rows > 1
    swap = transposed is not None and (last or _better_rows(problems, blk))
    if swap:
        assert transposed is not None
        tail_words = transposed(tail_words)
    length = len(_WORDS.names) + tail.words + TAP_WORDS * max(len(p.geometry.taps) for p in problems)
    params: list[int] = []
    scratch = 0
    made: Ready | None = None
    for problem in problems:
        values = _values(spec, isa, problem, num, blk, swap, pool, workers, ready is not None)
        values |= {"problems": len(problems), "length": length, "clear": clear, **near_words(tail, tail_words)}
        if ready is not None:
            order = tuple(values[n] for n in ("unit_c", "unit_t", "units", "outer_panels"))
            packing = packing_words(_WORDS, values, tail_words)
            packing += [w for tap in problem.geometry.taps for w in tap]
            nbytes = values["ready_step"] * problem.groups
            key = (kernel_name(spec), blk, swap, *order, *ready)
            made = Ready(1 if swap else 0, key, nbytes, tuple(packing))
        scratch = max(scratch, scratch_bytes(values, workers))
        words = _WORDS.pack(values, tail_words) + [w for tap in problem.geometry.taps for w in tap]
        params += words + [0] * (length - len(words))
    return Binding(params, scratch, swap, made)


def _better_rows(problems: list[Problem], blk: Blocking) -> bool:
    """Whether pixels fill panels of rows that much better than panels of columns that it outweighs scattered stores."""
    p = problems[0]
    pixels, depth = p.batch * p.geometry.pixels, p.geometry.channels * len(p.geometry.taps)
    if len(problems) > 1 or p.rows < blk.columns or depth < _DEEP:
        return False
    upright = -(-pixels // blk.lanes) * blk.lanes * blk.height(p.rows)
    turned = blk.height(pixels) * -(-p.rows // blk.lanes) * blk.lanes
    return 10 * turned < 9 * upright


def _values(
    spec: ConvSpec, isa: ISA, p: Problem, num: Number, blk: Blocking, swap: bool, pool: int, workers: int,
    ready: bool = False,
) -> dict[str, int]:  # fmt: skip
    g = p.geometry
    count = len(g.taps)
    pairs = -(-g.channels // num.depth)
    units = pairs * count
    offsets = [tap[3] for tap in g.taps]
    plain = offsets == list(range(count))
    span = max(offsets) - min(offsets) + 1 if offsets else 0
    last = g.strides[1] == 1 and g.strides[4] != 1
    unit_c, unit_t = (1, pairs) if last else (count, 1)
    mode, w_k, w_at = BY_TAP, 0, offsets[0] if offsets else 0
    if num.depth == 1 and count:
        if count == 1:
            mode, w_k = FLAT, p.w_c
        elif not last and plain and p.w_c == count:
            mode, w_k = FLAT, 1
        elif not last and span <= SPAN:
            mode, w_at = BY_CHANNEL, min(offsets)
    m, n = p.rows, p.batch * g.pixels
    bare = count == 1 and g.grid == g.bounds and g.steps == (1, 1, 1) and g.base == g.taps[0][:3] == (0, 0, 0)
    x_direct = bare and single_stride(g.grid, g.strides[2:]) == 1
    c_n, c_row, c_d, c_h, c_w = p.c_strides
    pixel = single_stride(g.grid, (c_d, c_h, c_w))
    flat = pixel == 1
    even = pixel if pixel is not None and (p.batch == 1 or c_n == pixel * g.pixels) else 0
    if swap:
        m, n = n, m
    plan = cut_image(p.groups, m, n, units, num, blk, not swap, workers)
    w_direct = not (ready or swap) and mode == FLAT and _reads_weights(spec, num, p.w_row, w_k)
    served = plan.outer_panels if plan.inner_shared else plan.outer_most
    if ready or w_direct:
        plan = replace(plan, outer_shared=ready)
    a, b = (p.x_group, p.w_group) if swap else (p.w_group, p.x_group)
    by_inner = plan.inner_blocks >= 2 * workers and by_pixels(p)  # fewer blocks of pixels are not even enough
    # tiles that meet the end of an image are stored more slowly; full ones without an epilogue are computed in place
    several = finished_together(units, num, blk)
    pixels = several * (blk.rows if swap else blk.columns)
    c_plain = flat and not swap and isinstance(spec.tail, Plain)
    common = common_values(
        plan, (p.groups,), m, n, units, num, blk, micro_kernel(num, isa, w_direct), pool, ready=ready,
        by_inner=by_inner, tiled=1 if c_plain or (p.batch > 1 and g.pixels < _CROSSING * pixels) else several,
    )  # fmt: skip
    return common | {
        **g.values(unit_c, unit_t, 8 * (len(_WORDS.names) + spec.tail.words)),
        "core": load_address(core_request(spec, isa)),
        "a_2": a, "b_2": b, "c_2": p.rows * c_row, "image_is_b": int(not swap),
        "w_mode": mode, "w_row": p.w_row, "w_c": p.w_c, "w_k": w_k, "w_at": w_at, "w_span": span,
        "c_at": p.c_at, "c_n": c_n, "c_row": c_row, "c_d": c_d, "c_h": c_h, "c_w": c_w, "c_flat": int(flat),
        "c_pixel": even * (c_row == 1), "c_even": int(p.jump[2] == c_w == 2),
        "x_direct": int(x_direct and not swap and served <= _IN_PLACE),
        "c_plain": int(c_plain), "w_direct": int(w_direct),
        "pack_w": pack_kernel(spec.source, num, isa), "pack_x": image_kernel(spec.source, num, isa, _WORDS.names),
    }  # fmt: skip


def _reads_weights(spec: ConvSpec, num: Number, row: int, k: int) -> bool:
    """Whether the micro-kernel reads weights, whose rows and values of k lie so far apart, where they are.

    Those a multiple of a page apart compete for the same lines of the first-level cache.
    """
    if spec.source != num.packed or num.pair or 1 not in (row, k):
        return False
    return (row if k == 1 else k) * SIZE[spec.source] % PAGE != 0


# -- code --------------------------------------------------------------------------------------------


def make_ir(spec: ConvSpec, isa: ISA) -> str:
    """The LLVM module of the kernel."""
    if spec.window is not None:
        return depthwise.window_ir(kernel_name(spec), spec, isa)
    if spec.direct:
        return conv_direct.sum_ir(kernel_name(spec), spec, isa)
    if spec.planes:
        return conv_planes.planes_ir(kernel_name(spec), spec, isa)
    if spec.winograd and spec.last:
        return winograd_last.winograd_last_ir(kernel_name(spec), spec, isa)
    if spec.winograd:
        return winograd.winograd_ir(kernel_name(spec), spec, isa)
    return _Convolution(kernel_name(spec), spec, isa, spec.tail).text()


def core_request(spec: ConvSpec, isa: ISA) -> engine.Request:
    """What the code that all epilogues share asks the engine for."""
    name = kernel_name(spec) + "_core"
    return engine.Request(name, f"{name}|{isa.key}", lambda: _Convolution(name, spec, isa, None).core_text(), isa)


class _Convolution(Contraction):
    """Weights by pixels, or (`image_is_b` 0) pixels by weights."""

    joins = True

    pack_words = (
        "image_is_b", "w_mode", "w_row", "w_c", "w_k", "w_at", "w_span", "channels", "taps", "unit_c", "unit_t",
        "tap_table", "pack_w", "pack_x", "x_direct", "x_n", "x_c", *GRID, "w_direct",
    )  # fmt: skip
    store_words = (
        "image_is_b", *GRID, "c_at", "c_n", "c_row", "c_d", "c_h", "c_w", "c_flat", "c_plain", "c_pixel", "c_even",
    )  # fmt: skip

    def __init__(self, name: str, spec: ConvSpec, isa: ISA, tail: Epilogue | None) -> None:
        types = (spec.source, spec.source, spec.out)
        super().__init__(name, types, spec.number(isa), isa, tail, _WORDS)

    def _write_launch(self, b: Flow, block: Val) -> None:
        args = [("ptr", "block"), ("i64", "chunk"), ("i64", "worker")]
        body = function(self.module, self.isa, f"{self.name}.clear", args, self._write_clear)
        params = b.load("ptr", block, align=8)
        count, pool = (b.word(params, self.words.index[n]) for n in ("clear", "pool"))
        with b.when(b.icmp("ne", count, 0)):
            parallel_for(b, pool, body, block, b.idiv(b.iadd(count, _CLEARED - 1), _CLEARED))
        super()._write_launch(b, block)

    def _write_clear(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        """Sets a part of the result to zero."""
        elem, size, lanes = LLVM_TYPE[self.type_c], SIZE[self.type_c], self.blk.lanes
        zero = b.const(vec_type(elem, lanes), 0)
        params, c = (b.load("ptr", b.at("i64", block, i), align=8) for i in range(2))
        start, count = b.imul(chunk, _CLEARED), b.word(params, self.words.index["clear"])
        end = b.imin(b.iadd(start, _CLEARED), count)
        whole = b.iadd(start, b.op("and", b.isub(end, start), b.i64(-lanes)))
        with b.loop(start, whole, lanes) as i:
            b.store(zero, b.at(elem, c, i.index), size)
        with b.when(b.icmp("slt", whole, end)):
            b.masked_store(zero, b.at(elem, c, whole), b.lane_mask(b.isub(end, whole), lanes), size)
        b.ret()

    # -- operands --------------------------------------------------------------------------------------
    def pack(self, b: Flow, f: Frame, is_b: bool, to: Val, matrix: Val, panel: Val, at: Val, units: Val) -> None:
        width, pitch = (self.blk.columns,) * 2 if is_b else (self.blk.rows, self.blk.pitch)
        extent = f.n if is_b else f.m
        first = b.imul(panel, width)
        count = b.imin(b.isub(extent, first), width)

        def image() -> None:
            b.call_address(f.pack_x, to, matrix, f.words, first, count, at, units, b.i64(pitch))

        def weights() -> None:
            b.call_void(self._weights(), to, matrix, f.words, first, count, at, units, b.i64(pitch))

        image_is_b = b.icmp("ne", f.image_is_b, 0)
        b.either(image_is_b, image if is_b else weights, weights if is_b else image)

    def _weights(self) -> str:
        args = [("ptr", "to"), ("ptr", "from"), ("ptr", "words")]
        args += [("i64", n) for n in ("first", "count", "at", "units", "pitch")]
        return function(self.module, self.isa, "weights", args, partial(write_weights, self), attributes="noinline")

    def direct(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val] | None:
        """A 1x1 convolution's pixels need no packing if they lie side by side in one image."""
        if self.num.pair or self.type_b != self.num.packed:
            return None
        pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
        first = b.imul(panel, self.blk.columns)
        image, rest = b.idiv(first, pixels), b.imod(first, pixels)
        usable = b.op("and", b.icmp("ne", f.x_direct, 0), b.icmp("sle", b.iadd(rest, self.blk.columns), pixels))
        offset = b.iadd(b.iadd(b.imul(image, f.x_n), rest), b.imul(at, f.x_c))
        return usable, b.at(LLVM_TYPE[self.type_b], matrix, offset), b.imul(f.x_c, SIZE[self.type_b])

    def direct_a(self, b: Flow, f: Frame, matrix: Val, panel: Val, at: Val) -> tuple[Val, Val, Val, Val] | None:
        """Weights whose units are at even distances."""
        if self.num.pair or self.type_a != self.num.packed:
            return None
        size = SIZE[self.type_a]
        first = b.iadd(b.imul(b.imul(panel, self.blk.rows), f.w_row), b.iadd(f.w_at, b.imul(at, f.w_k)))
        where = b.at(LLVM_TYPE[self.type_a], matrix, first)
        return b.icmp("ne", f.w_direct, 0), where, b.imul(f.w_k, size), b.imul(f.w_row, size)

    def in_place(
        self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val, cols: Val
    ) -> tuple[Val, Val, Val] | None:
        if self.type_c != self.num.acc:
            return None
        pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
        image, rest = b.idiv(col0, pixels), b.imod(col0, pixels)
        whole = b.op("and", b.icmp("eq", rows, self.blk.rows), b.icmp("eq", cols, self.blk.columns))
        together = b.icmp("sle", b.iadd(rest, self.blk.columns), pixels)
        usable = b.op("and", b.icmp("ne", f.c_plain, 0), b.op("and", whole, together))
        offset = b.iadd(b.iadd(f.c_at, b.imul(image, f.c_n)), b.iadd(b.imul(row0, f.c_row), rest))
        return usable, b.at(LLVM_TYPE[self.type_c], c, offset), b.imul(f.c_row, SIZE[self.type_c])

    def touch(self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, rows: Val) -> None:
        elem, size = LLVM_TYPE[self.type_c], SIZE[self.type_c]
        with b.when(b.op("and", b.icmp("ne", f.image_is_b, 0), b.icmp("ne", f.c_flat, 0))):
            pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
            at = b.iadd(b.imul(b.idiv(col0, pixels), f.c_n), b.iadd(b.imod(col0, pixels), f.c_at))
            with b.loop(0, rows) as i:
                line = b.at(elem, c, b.iadd(at, b.imul(b.iadd(row0, i.index), f.c_row)))
                for offset in range(0, self.blk.columns * size, 64):
                    b.prefetch(b.bytes_at(line, offset), write=True)

    # -- result ----------------------------------------------------------------------------------------
    def locate(self, b: Flow, f: Frame, col: Val) -> list[Val]:
        """Of a pixel (if columns are pixels): its image, its number there, its depth, height and width."""
        area = b.imul(f.out_h, f.out_w)
        pixels = b.imul(f.out_d, area)
        rest = b.imod(col, pixels)
        in_area = b.imod(rest, area)
        return [b.idiv(col, pixels), rest, b.idiv(rest, area), b.idiv(in_area, f.out_w), b.imod(in_area, f.out_w)]

    def store(
        self, b: Flow, f: Frame, c: Val, row: Val, col: Val, value: Val, left: Val, mask: Val | None, where: list[Val]
    ) -> None:  # fmt: skip
        elem, lanes = LLVM_TYPE[self.type_c], self.blk.lanes

        def offset(n: Val, d: Val, h: Val, w: Val) -> Val:
            area = b.iadd(b.imul(h, f.c_h), b.imul(w, f.c_w))
            return b.iadd(b.imul(n, f.c_n), b.iadd(b.imul(d, f.c_d), area))

        def along_pixels() -> None:
            n, rest, *place = where
            line = b.at(elem, c, b.iadd(f.c_at, b.imul(row, f.c_row)))
            fits = b.icmp("sle", b.iadd(rest, left), b.imul(f.out_d, b.imul(f.out_h, f.out_w)))
            # with every other element those between are stored, which have to be of the same row
            even = b.op("and", b.icmp("ne", f.c_even, 0), b.icmp("eq", left, lanes))
            even = b.op("and", even, b.icmp("slt", b.iadd(place[2], lanes), f.out_w))
            b.either(
                b.op("and", b.icmp("ne", f.c_flat, 0), fits),
                lambda: self.store_vector(b, value, b.at(elem, line, b.iadd(b.imul(n, f.c_n), rest)), mask),
                lambda: b.either(
                    even,
                    lambda: self._store_alternate(b, value, b.at(elem, line, offset(n, *place)), b.i64(lanes)),
                    lambda: each(line, n, *place),
                ),
            )

        def each(line: Val, *place: Val) -> None:
            """In runs that end with a row of pixels."""
            b.store(value, self.spill, 64)
            with b.loop(0, left, carry=place) as run:
                i, d, h, w = run.values
                length = b.imin(b.isub(left, run.index), b.isub(f.out_w, w))
                start = b.at(elem, line, offset(i, d, h, w))
                first = b.at(elem, self.spill, run.index)

                def single(first: Val = first, length: Val = length, start: Val = start) -> None:
                    with b.loop(0, length) as e:
                        b.store(b.load(elem, b.at(elem, first, e.index)), b.at(elem, start, b.imul(e.index, f.c_w)))

                def alternate(first: Val = first, length: Val = length, start: Val = start) -> None:
                    self._store_alternate(b, b.load(value.type, first, SIZE[self.type_c]), start, length)

                if self.isa.masks:
                    b.either(b.icmp("eq", f.c_w, 2), alternate, single)
                else:
                    single()
                run.step = length
                h_next = b.iadd(h, 1)
                over = b.icmp("sge", h_next, f.out_h)
                d_next = b.iadd(d, b.cast("zext", over, "i64"))
                deep = b.icmp("sge", d_next, f.out_d)
                zero = b.i64(0)
                i_next = b.iadd(i, b.cast("zext", deep, "i64"))
                run.next = [i_next, b.select(deep, zero, d_next), b.select(over, zero, h_next), zero]

        def along_channels() -> None:
            n, _, *place = self.locate(b, f, row)
            to = b.at(elem, c, b.iadd(b.iadd(f.c_at, b.imul(col, f.c_row)), offset(n, *place)))
            b.either(
                b.icmp("eq", f.c_row, 1),
                lambda: self.store_vector(b, value, to, mask),
                lambda: self.store_strided(b, value, to, f.c_row, left),
            )

        b.either(b.icmp("ne", f.image_is_b, 0), along_pixels, along_channels)

    def turned(self, b: Flow, f: Frame, row0: Val, rows: Val) -> Val | None:
        pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
        together = b.icmp("sle", b.iadd(b.imod(row0, pixels), rows), pixels)
        flat = b.op("and", b.icmp("eq", f.image_is_b, 0), b.icmp("ne", f.c_flat, 0))
        return b.op("and", flat, together)

    def column(self, b: Flow, f: Frame, c: Val, row: Val, col: Val) -> Val:
        pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
        image = b.iadd(b.imul(b.idiv(row, pixels), f.c_n), b.imod(row, pixels))
        return b.at(LLVM_TYPE[self.type_c], c, b.iadd(b.iadd(f.c_at, b.imul(col, f.c_row)), image))

    def lines(self, b: Flow, f: Frame, c: Val, row0: Val, col0: Val, cols: Val) -> tuple[Val, Val, Val] | None:
        pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
        image_is_b = b.icmp("ne", f.image_is_b, 0)
        image, rest = b.idiv(col0, pixels), b.imod(col0, pixels)
        upright = b.op("and", b.icmp("ne", f.c_flat, 0), b.icmp("sle", b.iadd(rest, cols), pixels))
        usable = b.select(image_is_b, upright, b.icmp("ne", f.c_pixel, 0))
        step = b.select(image_is_b, f.c_row, f.c_pixel)
        inside = b.select(image_is_b, b.iadd(b.imul(image, f.c_n), rest), col0)
        at = b.iadd(f.c_at, b.iadd(b.imul(row0, step), inside))
        return usable, b.at(LLVM_TYPE[self.type_c], c, at), step

    def swept(self, b: Flow, f: Frame, row0: Val, col0: Val, rows: Val) -> Val:
        pixels = b.imul(f.out_d, b.imul(f.out_h, f.out_w))
        upright = b.idiv(b.isub(pixels, b.imod(col0, pixels)), self.blk.columns)
        lying = b.imax(b.idiv(b.isub(f.m, row0), self.blk.rows), 1)
        return b.select(b.icmp("ne", f.image_is_b, 0), upright, lying)

    def _store_alternate(self, b: Flow, value: Val, to: Val, count: Val) -> None:
        """Stores the first ``count`` lanes to every other element.  Without registers for masks that is all of them,
        and the elements between, which belong to another problem of the launch that is not at work, are stored as they
        are."""
        elem, lanes, size = LLVM_TYPE[self.type_c], self.blk.lanes, SIZE[self.type_c]
        places = vec_type("i32", lanes)
        for half in range(2):
            spot, first = b.at(elem, to, half * lanes), half * lanes // 2
            order = [first + i // 2 for i in range(lanes)]
            if self.isa.masks:
                lane = b.add(b.op("lshr", b.iota(places), b.const(places, 1)), b.const(places, first))
                even = b.cmp("eq", b.op("and", b.iota(places), b.const(places, 1)), b.const(places, 0))
                mask = b.op("and", b.cmp("slt", lane, b.splat(b.cast("trunc", count, "i32"), lanes)), even)
                b.masked_store(b.shuffle(value, value, order), spot, mask, size)
            else:
                # LLVM would make a masked store of this, which is slow, if it could tell that both read the same
                before = b.new(value.type, f"freeze {b.load(value.type, spot, size)}")
                b.store(b.shuffle(value, before, [lanes + i if i % 2 else order[i] for i in range(lanes)]), spot, size)
