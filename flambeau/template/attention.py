"""Attention without the matrix of scores: ``softmax(scale * q k^T + mask) v``, block by block.

The softmax is taken online (M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", 2018; T. Dao
et al., "FlashAttention", 2022): for each block of keys the scores of some queries are made, the greatest score so far
and the sum of exponentials are brought up to date, and the weighted sum of values is corrected by what the greatest
score has changed.  Kept for the gradient is one number per query, the logarithm of that sum.

Layout.  Scores are made transposed, a row for each key and a column for each query, by the micro-kernels of the
matrix product (`micro`): keys are its rows, and a vector holds the scores of several queries with one key.  The
softmax then works down the columns without a step across lanes, and the block of weights is already a panel of the
second product, whose rows are the features of the values.  Only the finished result is transposed.  Keys and values
are packed once for each head, whatever strides and type they have.

    spec = attention.Spec("f32", causal=True)
    call = attention.Forward(spec, shapes, strides ...)      # see `Forward.bind`
    entry(params, out, lse, q, k, v[, mask][, keep], scratch)

Operands have four dimensions: (batch, head, position, feature); a mask and the factors of a dropout ("keep") are
(batch, head, query, key); ``lse`` is (batch, head, query), contiguous, in base 2.  Several heads of queries may share
one of keys and values (Ainslie et al., "GQA", 2023).  A chunk is one head of keys with the queries that use it, or a
part of them, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..runtime import engine
from ..target import vecmath
from ..target.builder import Module, Val, vec_type
from ..target.emit import entry, new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from ..target.turn import transpose
from .blocking import FEW, STAY
from .flow import Flow, function
from .micro import SIZE, Number, blocking, micro_kernel, micro_request, multiply_add
from .pack import pack_kernel, pack_request

__all__ = ["Binding", "Spec", "Writer", "bind_forward", "common_words", "forward_requests"]

LOG2E = math.log2(math.e)
GROUP = 4
"""Panels of queries that are taken together for a block of keys."""
KEY_PANELS = 8
"""Panels of keys in a block."""


@dataclass(frozen=True)
class Spec:
    """What determines the code: the type of the operands, causal masking, the type of a mask ("b1": true takes part; a
    floating type: added to the scores; ``None``: no mask), that of the factors of a dropout."""

    type: str
    causal: bool = False
    mask: str | None = None
    keep: str | None = None

    @property
    def acc(self) -> str:
        """The type in which everything is computed."""
        return "f64" if self.type == "f64" else "f32"

    @property
    def number(self) -> Number:
        """How numbers are multiplied."""
        return Number(self.acc, self.acc)

    @property
    def code(self) -> str:
        """Names the spec in symbols."""
        return f"{self.type}{'_causal' * self.causal}_m{self.mask}_k{self.keep}"


@dataclass(frozen=True)
class Binding:
    """The parameter words of a launch and its scratch memory: what is common, and for each thread."""

    params: list[int]
    scratch_bytes: int


COMMON = (
    "chunks", "pool", "heads", "rep", "l", "s", "e", "d", "splits", "groups", "scale", "worker_bytes",
    "q_b", "q_h", "q_l", "q_e", "k_b", "k_h", "k_s", "k_e", "v_b", "v_h", "v_s", "v_d", "o_b", "o_h", "o_l", "o_d",
    "m_b", "m_h", "m_l", "m_s", "n_b", "n_h", "n_l", "n_s", "micro", "pack", "pack_mask", "pack_keep",
)  # fmt: skip


def memory_code(code: str) -> str:
    """The type under which packers read elements."""
    return "u8" if code == "b1" else code


def common_words(
    spec: Spec, isa: ISA, shapes: dict[str, int], strides: dict[str, Sequence[int]], scale: float, pool: int
) -> dict[str, int]:
    """Words that forward and backward share, by name.

    ``shapes``: "batch", "heads" (of keys), "rep" (heads of queries for each of them), "l", "s", "e", "d";
    ``strides`` of "q", "k", "v", "o" and, as the spec has them, "m" (mask) and "n" (keep).
    """
    values = {k: shapes[k] for k in ("heads", "rep", "l", "s", "e", "d")}
    names = {"q": "bhle", "k": "bhse", "v": "bhsd", "o": "bhld", "m": "bhls", "n": "bhls"}
    for name, steps in strides.items():
        values |= {f"{name}_{letter}": step for letter, step in zip(names[name], steps, strict=True)}
    values["scale"] = struct.unpack("q", struct.pack("d", scale))[0]
    num = spec.number
    values["micro"], values["pack"] = micro_kernel(num, isa), pack_kernel(spec.type, num, isa)
    if spec.mask is not None:
        values["pack_mask"] = pack_kernel(memory_code(spec.mask), num, isa)
    if spec.keep is not None:
        values["pack_keep"] = pack_kernel(memory_code(spec.keep), num, isa)
    work = 2 * shapes["batch"] * shapes["heads"] * shapes["rep"] * shapes["l"] * shapes["s"]
    values["pool"] = pool if work * (shapes["e"] + shapes["d"]) > STAY else 0
    return values


def packing_requests(spec: Spec, isa: ISA) -> list[engine.Request]:
    """What the code calls by address."""
    num = spec.number
    sources = {memory_code(c) for c in (spec.type, spec.mask, spec.keep) if c is not None}
    return [micro_request(num, isa), *(pack_request(source, num, isa) for source in sorted(sources))]


def layout(sizes: Sequence[tuple[str, int]]) -> tuple[dict[str, int], int]:
    """(offset of each part, bytes of all), each on a line of its own."""
    found, at = {}, 0
    for name, nbytes in sizes:
        found[name] = at
        at += -(-nbytes // 64) * 64
    return found, at


class Writer:
    """What the forward and the backward kernel have in common: words, packing, products, masks, exponentials."""

    def __init__(self, name: str, spec: Spec, isa: ISA, words: Sequence[str], buffers: Sequence[str]) -> None:
        self.name, self.spec, self.isa = name, spec, isa
        self.index = {word: i for i, word in enumerate(words)}
        self.buffers = list(buffers)
        self.num, self.blk = spec.number, blocking(spec.number, isa)
        self.elem, self.size = spec.number.acc_type, spec.number.acc_bytes
        self.vector = vec_type(self.elem, self.blk.lanes)
        self.width = self.blk.columns
        self.rows, self.pitch = self.blk.rows, self.blk.pitch
        self.keys = KEY_PANELS * self.rows
        self.module: Module = new_module(isa)

    def text(self, body: Callable[..., None]) -> str:
        """The module: the entry, and the body that ``body(b, block, chunk, worker)`` writes."""
        args = [("ptr", "block"), ("i64", "chunk"), ("i64", "worker")]
        function(self.module, self.isa, self.name + ".body", args, body)
        self.module.add(self.name, entry(self.name, len(self.buffers), (), self.isa.function_attributes()))
        return self.module.text()

    def load_words(self, b: Flow, block: Val, worker: Val) -> dict[str, Val]:
        """All words by name, the buffers, and the worker's part of the scratch memory as "room"."""
        params = b.load("ptr", block, 8)
        found = {name: b.word(params, i) for name, i in self.index.items()}
        for i, name in enumerate(self.buffers):
            found[name] = b.load("ptr", b.at("i64", block, 1 + i), 8)
        found["room"] = b.bytes_at(found["scratch"], b.imul(worker, found["worker_bytes"]))
        found["factor"] = cast(b, b.cast("bitcast", found["scale"], "double"), "f64", self.spec.acc)
        return found

    # -- addresses and calls ---------------------------------------------------------------------
    def at(self, b: Flow, base: Val, index: Val | int) -> Val:
        """The address of an element of the accumulators' type."""
        return b.at(self.elem, base, index)

    def matrix(self, b: Flow, w: dict[str, Val], name: str, code: str, batch: Val, head: Val) -> Val:
        """Where a matrix of an operand begins."""
        offset = b.iadd(b.imul(batch, w[f"{name}_b"]), b.imul(head, w[f"{name}_h"]))
        return b.at(LLVM_TYPE[memory_code(code)], w[name], offset)

    def extra(self, b: Flow, w: dict[str, Val], batch: Val, head: Val) -> dict[str, Val]:
        """Where a head's mask ("m") and factors of a dropout ("n") begin, if there are such."""
        codes = {"m": self.spec.mask, "n": self.spec.keep}
        return {name: self.matrix(b, w, name, code, batch, head) for name, code in codes.items() if code is not None}

    def panels(self, b: Flow, extent: Val, width: int) -> Val:
        """How many panels of ``width`` hold ``extent``."""
        return b.idiv(b.iadd(extent, width - 1), width)

    def pack_rows(
        self, b: Flow, w: dict[str, Val], to: Val, source: Val, steps: tuple[Val, Val], count: Val, depth: Val,
        width: int, pitch: int, room: Val | None = None,
    ) -> None:  # fmt: skip
        """Packs ``count`` rows (or columns) by ``depth`` in panels of ``width``, [depth][pitch] each; ``room`` is the
        depth that a panel has room for."""
        step, along = steps
        elem = LLVM_TYPE[self.spec.type]
        apart = b.imul(depth if room is None else room, pitch)
        with b.loop(0, count, width) as i:
            panel = self.at(b, to, b.imul(b.idiv(i.index, width), apart))
            start = b.at(elem, source, b.imul(i.index, step))
            valid = b.imin(b.isub(count, i.index), width)
            b.call_address(w["pack"], panel, start, step, along, valid, depth, b.i64(pitch))

    def product(
        self, b: Flow, w: dict[str, Val], a: Val, panel: Val, units: Val, tile: Val, pitch: Val | int, fresh: Val,
        rows: Val, cols: Val,
    ) -> None:  # fmt: skip
        """One tile: see `micro.micro_kernel`."""
        step = b.i64(self.width * self.size)
        apart = b.imul(pitch, self.size) if isinstance(pitch, Val) else b.i64(pitch * self.size)
        packed = b.i64(self.pitch * self.size)
        b.call_address(w["micro"], a, packed, b.i64(0), panel, step, units, tile, apart, fresh, rows, cols)

    # -- scores ----------------------------------------------------------------------------------
    @property
    def masked(self) -> bool:
        """Whether scores are changed by more than a factor."""
        return self.spec.causal or self.spec.mask is not None

    def mask_arguments(self) -> list[tuple[str, str]]:
        """Parameters of a function that calls `score`: the packed mask, and the numbers of the first key and query."""
        return [("ptr", "mask"), ("i64", "key0"), ("i64", "query0")]

    def score(self, b: Flow, raw: Val, factor: Val, row: Val, j: int, mask: Val, key0: Val, query0: Val) -> Val:
        """The score in base 2 of vector ``j`` of a row, masked."""
        score = b.fmul(raw, factor)
        if self.spec.mask is not None:
            spot = self.at(b, mask, b.iadd(b.imul(row, self.width), j * self.blk.lanes))
            value = b.load(self.vector, spot, self.size)
            if self.spec.mask == "b1":
                score = b.select(b.cmp("une", value, b.const(self.vector, 0)), score, b.const(self.vector, -math.inf))
            else:
                score = b.fadd(score, b.fmul(value, b.const(self.vector, LOG2E)))
        if self.spec.causal:
            ahead = b.isub(b.iadd(key0, row), b.iadd(query0, j * self.blk.lanes))
            type_ = vec_type("i32", self.blk.lanes)
            most = b.splat(b.cast("trunc", b.imin(ahead, 1 << 20), "i32"), self.blk.lanes)
            score = b.select(b.cmp("sge", b.iota(type_), most), score, b.const(self.vector, -math.inf))
        return score

    def pack_mask(
        self, b: Flow, w: dict[str, Val], which: str, to: Val, source: Val, query: Val, key: Val, queries: Val,
        keys: Val,
    ) -> None:  # fmt: skip
        """Packs the part of a mask ("m") or of the factors of a dropout ("n") for a tile of scores."""
        code = self.spec.mask if which == "m" else self.spec.keep
        assert code is not None
        step, along = w[f"{which}_l"], w[f"{which}_s"]
        start = b.at(LLVM_TYPE[memory_code(code)], source, b.iadd(b.imul(query, step), b.imul(key, along)))
        packer = w["pack_mask" if which == "m" else "pack_keep"]
        b.call_address(packer, to, start, step, along, queries, keys, b.i64(self.width))

    def exp2(self, b: Flow, x: Val) -> Val:
        """Two to the power of x."""
        return vecmath.apply(b, "exp2", x)

    # -- results ---------------------------------------------------------------------------------
    def store_turned(
        self, b: Flow, tile: Val, features: Val, queries: Val, out: Val, step: Val, along: Val,
        factors: Sequence[Val],
    ) -> None:  # fmt: skip
        """Stores a tile [feature][query], its columns times ``factors``, to rows ``step`` apart at ``out``."""
        lanes, code = self.blk.lanes, self.spec.type
        elem = LLVM_TYPE[code]
        with b.loop(0, features, lanes) as f:
            left = b.isub(features, f.index)
            mask = b.lane_mask(left, lanes)
            for j in range(self.blk.vectors):
                columns = []
                for i in range(lanes):
                    spot = self.at(b, tile, b.iadd(b.imul(b.iadd(f.index, i), self.width), j * lanes))
                    columns.append(b.fmul(b.load(self.vector, spot, self.size), factors[j]))
                for i, row in enumerate(transpose(b, columns, 8 * self.size)):
                    query = j * lanes + i
                    with b.when(b.icmp("sgt", queries, query)):
                        to = b.at(elem, out, b.iadd(b.imul(step, query), b.imul(f.index, along)))
                        self.store_run(b, cast(b, row, self.spec.acc, code), to, along, left, mask)

    def store_run(self, b: Flow, value: Val, to: Val, along: Val, left: Val, mask: Val) -> None:
        """Stores the first ``left`` lanes, ``along`` elements apart."""
        size, elem = SIZE[self.spec.type], LLVM_TYPE[self.spec.type]

        def dense() -> None:
            b.either(
                b.icmp("sge", left, self.blk.lanes),
                lambda: b.store(value, to, size),
                lambda: b.masked_store(value, to, mask, size),
            )

        def apart() -> None:
            for i in range(self.blk.lanes):
                with b.when(b.icmp("sgt", left, i)):
                    b.store(b.extract(value, i), b.at(elem, to, b.imul(along, i)), size)

        b.either(b.icmp("eq", along, 1), dense, apart)


# -- forward -----------------------------------------------------------------------------------------

_FORWARD = (*COMMON, "keys_at", "values_at", "queries_at", "scores_at", "mask_at", "keep_at", "sums_at", "state_at")


def _forward_name(spec: Spec) -> str:
    return f"attention_{spec.code}"


def forward_requests(spec: Spec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs, the entry first."""
    name = _forward_name(spec)
    make = partial(_forward_ir, name, spec, isa)
    return [engine.Request(name, f"{name}|{isa.key}", make, isa), *packing_requests(spec, isa)]


def bind_forward(
    spec: Spec, isa: ISA, shapes: dict[str, int], strides: dict[str, Sequence[int]], scale: float, pool: int,
    workers: int,
) -> Binding:  # fmt: skip
    """The words for one launch; see `common_words` for the arguments.  No size may be 0."""
    blk, size = blocking(spec.number, isa), spec.number.acc_bytes
    l, s, e, d = (shapes[k] for k in "lsed")
    width, keys = blk.columns, KEY_PANELS * blk.rows
    values = common_words(spec, isa, shapes, strides, scale, pool)
    groups = -(-l // (GROUP * width))
    pairs = shapes["batch"] * shapes["heads"]
    values["groups"] = groups
    values["splits"] = splits = max(1, min(-(-FEW // pairs), groups * shapes["rep"] // 2))
    values["chunks"] = pairs * splits
    high = -(-d // blk.rows) * blk.rows + blk.rows
    parts, values["worker_bytes"] = layout([
        ("keys_at", -(-s // blk.rows) * e * blk.pitch * size),
        ("values_at", -(-d // blk.rows) * s * blk.pitch * size),
        ("queries_at", GROUP * e * width * size),
        ("scores_at", (keys + blk.rows) * width * size),
        ("mask_at", keys * width * size * (spec.mask is not None)),
        ("keep_at", keys * width * size * (spec.keep is not None)),
        ("sums_at", GROUP * high * width * size),
        ("state_at", GROUP * 2 * width * size),
    ])  # fmt: skip
    values |= parts
    return Binding([values.get(name, 0) for name in _FORWARD], max(workers, 1) * values["worker_bytes"])


def _forward_ir(name: str, spec: Spec, isa: ISA) -> str:
    buffers = ["o", "lse", "q", "k", "v"] + ["m"] * (spec.mask is not None) + ["n"] * (spec.keep is not None)
    writer = _Forward(name, spec, isa, _FORWARD, [*buffers, "scratch"])
    return writer.text(writer.body)


class _Forward(Writer):
    def body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        w = self.load_words(b, block, worker)
        w |= {name: b.bytes_at(w["room"], w[name]) for name in _FORWARD[len(COMMON) :]}
        split, pair = b.imod(chunk, w["splits"]), b.idiv(chunk, w["splits"])
        head, batch = b.imod(pair, w["heads"]), b.idiv(pair, w["heads"])
        items = b.imul(w["rep"], w["groups"])
        first, last = (b.idiv(b.imul(items, x), w["splits"]) for x in (split, b.iadd(split, 1)))
        key, value = (self.matrix(b, w, x, self.spec.type, batch, head) for x in "kv")
        self.pack_rows(b, w, w["keys_at"], key, (w["k_s"], w["k_e"]), w["s"], w["e"], self.rows, self.pitch)
        self.pack_rows(b, w, w["values_at"], value, (w["v_d"], w["v_s"]), w["d"], w["s"], self.rows, self.pitch)
        with b.loop(first, last) as item:
            member, group = b.idiv(item.index, w["groups"]), b.imod(item.index, w["groups"])
            self.group(b, w, batch, b.iadd(b.imul(head, w["rep"]), member), b.imul(group, GROUP * self.width))
        b.ret()

    def group(self, b: Flow, w: dict[str, Val], batch: Val, head: Val, query0: Val) -> None:
        """Some panels of queries of one head, with all keys."""
        query = self.matrix(b, w, "q", self.spec.type, batch, head)
        query = b.at(LLVM_TYPE[self.spec.type], query, b.imul(query0, w["q_l"]))
        count = b.imin(b.isub(w["l"], query0), GROUP * self.width)
        self.pack_rows(b, w, w["queries_at"], query, (w["q_l"], w["q_e"]), count, w["e"], self.width, self.width)
        extra = self.extra(b, w, batch, head)
        lanes = self.blk.lanes
        with b.loop(0, 2 * GROUP * self.blk.vectors) as i:
            # all greatest scores come before all sums
            value = b.select(
                b.icmp("slt", i.index, GROUP * self.blk.vectors),
                b.const(self.vector, -math.inf), b.const(self.vector, 0),
            )  # fmt: skip
            b.store(value, self.at(b, w["state_at"], b.imul(i.index, lanes)), 64)
        end = b.imin(w["s"], b.iadd(query0, count)) if self.spec.causal else w["s"]
        high = b.imul(b.iadd(self.panels(b, w["d"], self.rows), 1), self.rows * self.width)
        with b.loop(0, end, self.keys) as k:
            with b.loop(0, count, self.width) as p:
                self.block(b, w, extra, query0, p.index, b.isub(count, p.index), k.index, b.isub(end, k.index), high)
        out = self.matrix(b, w, "o", self.spec.type, batch, head)
        number = b.iadd(b.imul(batch, b.imul(w["heads"], w["rep"])), head)
        logs = self.at(b, w["lse"], b.iadd(b.imul(number, w["l"]), query0))
        with b.loop(0, count, self.width) as p:
            self.finish(b, w, out, logs, query0, p.index, b.isub(count, p.index), high)

    def block(
        self, b: Flow, w: dict[str, Val], extra: dict[str, Val], query0: Val, at: Val, left: Val, key0: Val, more: Val,
        high: Val,
    ) -> None:  # fmt: skip
        """One panel of queries with one block of keys."""
        width = self.width
        panel, query = b.idiv(at, width), b.iadd(query0, at)
        queries, keys = b.imin(left, width), b.imin(more, self.keys)
        if self.spec.causal:
            keys = b.imin(keys, b.isub(b.iadd(query, width), key0))
        with b.when(b.icmp("sgt", keys, 0)):
            packed = self.at(b, w["queries_at"], b.imul(panel, b.imul(w["e"], width)))
            key = self.at(b, w["keys_at"], b.imul(b.idiv(key0, self.rows), b.imul(w["e"], self.pitch)))
            with b.loop(0, keys, self.rows) as r:
                a = self.at(b, key, b.imul(b.idiv(r.index, self.rows), b.imul(w["e"], self.pitch)))
                tile = self.at(b, w["scores_at"], b.imul(r.index, width))
                rows = b.imin(b.isub(keys, r.index), self.rows)
                self.product(b, w, a, packed, w["e"], tile, width, b.i64(1), rows, queries)
            for which, source in extra.items():
                to = w["mask_at" if which == "m" else "keep_at"]
                self.pack_mask(b, w, which, to, source, query, key0, queries, keys)
            sums = self.at(b, w["sums_at"], b.imul(panel, high))
            state = self.at(b, w["state_at"], b.imul(panel, width))
            fresh = b.cast("zext", b.icmp("eq", key0, 0), "i64")
            softmax = self.softmax()
            b.call_void(
                softmax, w["scores_at"], state, sums, w["d"], keys, w["scale"], fresh, w["keep_at"], w["mask_at"], key0,
                query,
            )  # fmt: skip
            start = b.imul(key0, self.pitch)
            with b.loop(0, w["d"], self.rows) as f:
                number = b.idiv(f.index, self.rows)
                a = self.at(b, w["values_at"], b.iadd(b.imul(number, b.imul(w["s"], self.pitch)), start))
                tile = self.at(b, sums, b.imul(f.index, width))
                rows = b.imin(b.isub(w["d"], f.index), self.rows)
                self.product(b, w, a, w["scores_at"], keys, tile, width, fresh, rows, queries)

    def softmax(self) -> str:
        """The function that turns a tile of scores into weights and brings the state of their queries up to date."""
        args = [("ptr noalias", "scores"), ("ptr noalias", "state"), ("ptr noalias", "sums"), ("i64", "d")]
        args += [("i64", "keys"), ("i64", "scale"), ("i64", "fresh"), ("ptr", "keep"), *self.mask_arguments()]
        return function(self.module, self.isa, "softmax", args, self._write_softmax, attributes="noinline")

    def _write_softmax(
        self, b: Flow, scores: Val, state: Val, sums: Val, d: Val, keys: Val, scale: Val, fresh: Val, keep: Val,
        *where: Val,
    ) -> None:  # fmt: skip
        lanes, vectors = self.blk.lanes, self.blk.vectors
        base2 = b.fmul(b.cast("bitcast", scale, "double"), b.const("double", LOG2E))
        factor = b.splat(cast(b, base2, "f64", self.spec.acc), lanes)

        def spot(base: Val, row: Val | int, j: int) -> Val:
            index = row * self.width if isinstance(row, int) else b.imul(row, self.width)
            return self.at(b, base, b.iadd(b.i64(index) if isinstance(index, int) else index, j * lanes))

        def load(base: Val, row: Val | int, j: int) -> Val:
            return b.load(self.vector, spot(base, row, j), self.size)

        def greater(x: Val, y: Val) -> Val:
            return b.select(b.cmp("ogt", x, y), x, y)

        tops = [load(state, 0, j) for j in range(vectors)]
        with b.loop(0, keys, carry=tops) as r:
            most = []
            for j in range(vectors):
                score = self.score(b, load(scores, r.index, j), factor, r.index, j, *where)
                if self.masked:
                    b.store(score, spot(scores, r.index, j), self.size)
                most.append(greater(score, r.values[j]))
            r.next = most
        # queries without any key so far count from 0
        zero, least = b.const(self.vector, 0), b.const(self.vector, -math.inf)
        bases = [b.select(b.cmp("oeq", top, least), zero, top) for top in r.values]
        shrink = [self.exp2(b, b.fsub(old, base)) for old, base in zip(tops, bases, strict=True)]
        with b.loop(0, keys, carry=[zero] * vectors) as s:
            totals = []
            for j in range(vectors):
                raw = load(scores, s.index, j)
                if self.masked:
                    power = b.fsub(raw, bases[j])
                else:
                    power = multiply_add(b, self.num, self.isa, raw, factor, b.fneg(bases[j]))
                weight = self.exp2(b, power)
                totals.append(b.fadd(s.values[j], weight))
                if self.spec.keep is not None:
                    weight = b.fmul(weight, load(keep, s.index, j))
                b.store(weight, spot(scores, s.index, j), self.size)
            s.next = totals
        changed = b.const("i1", 0)
        for j in range(vectors):
            before = self.at(b, state, GROUP * self.width + j * lanes)
            b.store(r.values[j], spot(state, 0, j), self.size)
            b.store(b.fadd(b.fmul(b.load(self.vector, before, self.size), shrink[j]), s.values[j]), before, self.size)
            other = b.cmp("une", shrink[j], b.const(self.vector, 1))
            changed = b.op("or", changed, b.intrinsic("llvm.vector.reduce.or", "i1", other, overload=other.type))
        with b.when(b.op("and", changed, b.icmp("eq", fresh, 0))):
            with b.loop(0, d) as f:
                for j in range(vectors):
                    b.store(b.fmul(load(sums, f.index, j), shrink[j]), spot(sums, f.index, j), self.size)
        b.ret()

    def finish(
        self, b: Flow, w: dict[str, Val], out: Val, logs: Val, query0: Val, at: Val, left: Val, high: Val
    ) -> None:
        """Divides the sums of a panel of queries by their totals, and stores them and the logarithms."""
        lanes = self.blk.lanes
        panel, queries = b.idiv(at, self.width), b.imin(left, self.width)
        zero = b.const(self.vector, 0)
        factors = []
        for j in range(self.blk.vectors):
            place = b.iadd(b.imul(panel, self.width), j * lanes)
            top = b.load(self.vector, self.at(b, w["state_at"], place), self.size)
            total = b.load(self.vector, self.at(b, w["state_at"], b.iadd(place, GROUP * self.width)), self.size)
            none = b.cmp("oeq", total, zero)
            factors.append(b.select(none, zero, b.fdiv(b.const(self.vector, 1), total)))
            # infinite where no key takes part, so that the weights which the gradient computes are 0
            log = b.select(none, b.const(self.vector, math.inf), b.fadd(top, vecmath.apply(b, "log2", total)))
            rest = b.isub(queries, j * lanes)
            with b.when(b.icmp("sgt", rest, 0)):
                b.masked_store(log, self.at(b, logs, b.iadd(at, j * lanes)), b.lane_mask(rest, lanes), self.size)
        tile = self.at(b, w["sums_at"], b.imul(panel, high))
        to = b.at(LLVM_TYPE[self.spec.type], out, b.imul(b.iadd(query0, at), w["o_l"]))
        self.store_turned(b, tile, w["d"], queries, to, w["o_l"], w["o_d"], factors)
