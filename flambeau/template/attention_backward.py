"""The gradient of attention, without the matrix of scores.

The weights are made again from the queries, the keys and the logarithms of their sums that the forward kernel kept,
block by block (T. Dao et al., "FlashAttention", 2022, algorithm 4).  With the weights p, the gradient g of the
result, and ``delta = sum of g * result`` over the features of a query,

    dv = p^T g          ds = p * (g v^T - delta)          dq = scale * ds k          dk = scale * ds^T q

Scores and ``g v^T`` are made transposed, [key][query], as in the forward kernel, which is also how the product for
``dq`` reads ``ds``; for ``dk`` and ``dv`` both tiles are turned into panels of keys.  A chunk is one head of keys
with all the queries that use it: sums have one order, whatever the number of threads.

    entry(params, dq, dk, dv, grad, q, k, v, out, lse[, mask][, keep], scratch)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..runtime import engine
from ..target.builder import Val
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE, cast
from ..target.turn import transpose
from .attention import COMMON, GROUP, KEY_PANELS, LOG2E, Binding, Spec, Writer, common_words, layout, packing_requests
from .flow import Flow, function
from .micro import blocking, multiply_add

__all__ = ["backward_requests", "bind_backward"]

_PARTS = (
    "key_rows", "value_rows", "key_turned", "query_cols", "grad_cols", "query_lines", "grad_lines", "out_cols",
    "stats", "dq", "dk", "dv", "weights", "changes", "mask_at", "keep_at", "weights_turned", "changes_turned",
)  # fmt: skip
_STRIDES = (
    "g_b", "g_h", "g_l", "g_d", "dq_b", "dq_h", "dq_l", "dq_e", "dk_b", "dk_h", "dk_s", "dk_e", "dv_b", "dv_h", "dv_s",
    "dv_d",
)  # fmt: skip
_WORDS = (*COMMON, *_STRIDES, *(f"{part}.at" for part in _PARTS))


def _name(spec: Spec) -> str:
    return f"attention_gradient_{spec.code}"


def backward_requests(spec: Spec, isa: ISA) -> list[engine.Request]:
    """All code that a launch needs, the entry first."""
    name = _name(spec)
    make = partial(_ir, name, spec, isa)
    return [engine.Request(name, f"{name}|{isa.key}", make, isa), *packing_requests(spec, isa)]


def bind_backward(
    spec: Spec, isa: ISA, shapes: dict[str, int], strides: dict[str, Sequence[int]], scale: float, pool: int,
    workers: int,
) -> Binding:  # fmt: skip
    """The words for one launch; see `attention.common_words` for the arguments.

    There are also strides of the gradients: "g" of the result, "dq", "dk", "dv".  No size may be 0.
    """
    blk, size = blocking(spec.number, isa), spec.number.acc_bytes
    l, s, e, d = (shapes[k] for k in "lsed")
    own = {name: strides[name] for name in ("g", "dq", "dk", "dv")}
    values = common_words(spec, isa, shapes, {k: x for k, x in strides.items() if k not in own}, scale, pool)
    for name, letters in (("g", "bhld"), ("dq", "bhle"), ("dk", "bhse"), ("dv", "bhsd")):
        values |= {f"{name}_{letter}": step for letter, step in zip(letters, own[name], strict=True)}
    values["chunks"] = shapes["batch"] * shapes["heads"]
    rows, pitch, width = blk.rows, blk.pitch, blk.columns
    keys = KEY_PANELS * rows

    def up(n: int, to: int) -> int:
        return -(-n // to) * to

    wide = up(l, width)
    high_s, high_e = up(s, rows) // rows * pitch, up(e, rows) // rows * pitch
    elements = {
        "key_rows": high_s * e, "value_rows": high_s * d, "key_turned": high_e * s,
        "query_cols": wide * e, "grad_cols": wide * d, "query_lines": up(e, width) * l, "grad_lines": up(d, width) * l,
        "out_cols": width * d, "stats": 2 * wide, "dq": wide * (up(e, rows) + rows),
        "dk": (s + 2 * rows) * up(e, width), "dv": (s + 2 * rows) * up(d, width),
        "weights": (keys + 2 * pitch) * width, "changes": (keys + 2 * pitch) * width,
        "mask_at": keys * width * (spec.mask is not None), "keep_at": keys * width * (spec.keep is not None),
        "weights_turned": KEY_PANELS * GROUP * width * pitch, "changes_turned": KEY_PANELS * GROUP * width * pitch,
    }  # fmt: skip
    parts, values["worker_bytes"] = layout([(name, elements[name] * size) for name in _PARTS])
    values |= {f"{name}.at": at for name, at in parts.items()}
    return Binding([values.get(name, 0) for name in _WORDS], max(workers, 1) * values["worker_bytes"])


def _ir(name: str, spec: Spec, isa: ISA) -> str:
    buffers = ["dq", "dk", "dv", "g", "q", "k", "v", "o", "lse"]
    buffers += ["m"] * (spec.mask is not None) + ["n"] * (spec.keep is not None)
    writer = _Backward(name, spec, isa, _WORDS, [*buffers, "scratch"])
    return writer.text(writer.body)


class _Backward(Writer):
    def body(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        w = self.load_words(b, block, worker)
        self.part = {name: b.bytes_at(w["room"], w[f"{name}.at"]) for name in _PARTS}
        part, rows, pitch = self.part, self.rows, self.pitch
        head, batch = b.imod(chunk, w["heads"]), b.idiv(chunk, w["heads"])
        key, value = (self.matrix(b, w, x, self.spec.type, batch, head) for x in "kv")
        self.pack_rows(b, w, part["key_rows"], key, (w["k_s"], w["k_e"]), w["s"], w["e"], rows, pitch)
        self.pack_rows(b, w, part["value_rows"], value, (w["v_s"], w["v_d"]), w["s"], w["d"], rows, pitch)
        self.pack_rows(b, w, part["key_turned"], key, (w["k_e"], w["k_s"]), w["e"], w["s"], rows, pitch)
        self.wide_e, self.wide_d = (b.imul(self.panels(b, w[x], self.width), self.width) for x in "ed")
        for name, wide in (("dk", self.wide_e), ("dv", self.wide_d)):
            with b.loop(0, b.imul(w["s"], wide), self.blk.lanes) as i:
                b.store(b.const(self.vector, 0), self.at(b, part[name], i.index), 64)
        with b.loop(0, w["rep"]) as member:
            self.head(b, w, batch, b.iadd(b.imul(head, w["rep"]), member.index))
        factor = b.splat(w["factor"], self.blk.lanes)
        one = b.const(self.vector, 1)
        self.store_rows(b, w, "dk", batch, head, (w["dk_s"], w["dk_e"]), w["e"], self.wide_e, factor)
        self.store_rows(b, w, "dv", batch, head, (w["dv_s"], w["dv_d"]), w["d"], self.wide_d, one)
        b.ret()

    def head(self, b: Flow, w: dict[str, Val], batch: Val, head: Val) -> None:
        """The queries of one head."""
        part, width = self.part, self.width
        query, grad, out = (self.matrix(b, w, x, self.spec.type, batch, head) for x in "qgo")
        l, e, d = w["l"], w["e"], w["d"]
        self.pack_rows(b, w, part["query_cols"], query, (w["q_l"], w["q_e"]), l, e, width, width)
        self.pack_rows(b, w, part["grad_cols"], grad, (w["g_l"], w["g_d"]), l, d, width, width)
        self.pack_rows(b, w, part["query_lines"], query, (w["q_e"], w["q_l"]), e, l, width, width)
        self.pack_rows(b, w, part["grad_lines"], grad, (w["g_d"], w["g_l"]), d, l, width, width)
        number = b.iadd(b.imul(batch, b.imul(w["heads"], w["rep"])), head)
        logs = self.at(b, w["lse"], b.imul(number, l))
        with b.loop(0, l, width) as p:
            self.statistics(b, w, out, logs, p.index)
        extra = self.extra(b, w, batch, head)
        high = b.imul(b.iadd(self.panels(b, e, self.rows), 1), self.rows * width)
        with b.loop(0, w["s"], self.keys) as k:
            keys = b.imin(b.isub(w["s"], k.index), self.keys)
            first = b.i64(0)
            if self.spec.causal:  # groups all of whose queries come before these keys see none of them
                first = b.imul(b.idiv(k.index, GROUP * width), GROUP * width)
            with b.loop(first, l, GROUP * width) as g:
                self.group(b, w, extra, k.index, keys, g.index, high)
        factor = b.splat(w["factor"], self.blk.lanes)
        to = self.matrix(b, w, "dq", self.spec.type, batch, head)
        with b.loop(0, l, width) as p:
            tile = self.at(b, part["dq"], b.imul(b.idiv(p.index, width), high))
            queries = b.imin(b.isub(l, p.index), width)
            line = b.at(LLVM_TYPE[self.spec.type], to, b.imul(p.index, w["dq_l"]))
            self.store_turned(b, tile, e, queries, line, w["dq_l"], w["dq_e"], [factor] * self.blk.vectors)

    def statistics(self, b: Flow, w: dict[str, Val], out: Val, logs: Val, query: Val) -> None:
        """Logarithms and deltas of a panel of queries."""
        part, width, lanes = self.part, self.width, self.blk.lanes
        queries = b.imin(b.isub(w["l"], query), width)
        elem = LLVM_TYPE[self.spec.type]
        start = b.at(elem, out, b.imul(query, w["o_l"]))
        b.call_address(w["pack"], part["out_cols"], start, w["o_l"], w["o_d"], queries, w["d"], b.i64(width))
        grads = self.at(b, part["grad_cols"], b.imul(query, w["d"]))
        with b.loop(0, w["d"], carry=[b.const(self.vector, 0)] * self.blk.vectors) as f:
            sums = []
            for j in range(self.blk.vectors):
                place = b.iadd(b.imul(f.index, width), j * lanes)
                x, y = (b.load(self.vector, self.at(b, base, place), self.size) for base in (grads, part["out_cols"]))
                sums.append(b.fadd(f.values[j], b.fmul(x, y)))
            f.next = sums
        for j in range(self.blk.vectors):
            left = b.isub(queries, j * lanes)
            mask = b.lane_mask(b.imax(left, 0), lanes)
            log = b.masked_load(self.vector, self.at(b, logs, b.iadd(query, j * lanes)), mask, self.size)
            place = self.at(b, part["stats"], b.iadd(b.imul(query, 2), j * lanes))
            b.store(log, place, self.size)
            b.store(f.values[j], self.at(b, place, width), self.size)

    def group(
        self, b: Flow, w: dict[str, Val], extra: dict[str, Val], key0: Val, keys: Val, query0: Val, high: Val
    ) -> None:
        """A block of keys with some panels of queries."""
        part, width, rows, pitch = self.part, self.width, self.rows, self.pitch
        count = b.imin(b.isub(w["l"], query0), GROUP * width)
        first = b.i64(0)
        if self.spec.causal:
            first = b.imul(b.idiv(b.imax(b.isub(key0, query0), 0), width), width)
        with b.loop(first, count, width) as p:
            self.panel(b, w, extra, key0, keys, query0, p.index, b.isub(count, p.index), high)
        # keys are rows, and the queries what is summed over
        units = b.isub(count, first)
        with b.when(b.icmp("sgt", units, 0)):
            for to, turned, lines, wide, extent in (
                ("dv", "weights_turned", "grad_lines", self.wide_d, w["d"]),
                ("dk", "changes_turned", "query_lines", self.wide_e, w["e"]),
            ):
                with b.loop(0, keys, rows) as r, b.loop(0, extent, width) as c:
                    panel = b.imul(b.idiv(r.index, rows), GROUP * width * pitch)
                    a = self.at(b, part[turned], b.iadd(panel, b.imul(first, pitch)))
                    line = b.iadd(b.imul(c.index, w["l"]), b.imul(b.iadd(query0, first), width))
                    tile = self.at(b, part[to], b.iadd(b.imul(b.iadd(key0, r.index), wide), c.index))
                    height, cols = b.imin(b.isub(keys, r.index), rows), b.imin(b.isub(extent, c.index), width)
                    self.product(b, w, a, self.at(b, part[lines], line), units, tile, wide, b.i64(0), height, cols)

    def panel(
        self, b: Flow, w: dict[str, Val], extra: dict[str, Val], key0: Val, keys: Val, query0: Val, at: Val, left: Val,
        high: Val,
    ) -> None:  # fmt: skip
        """A block of keys with one panel of queries."""
        part, width, rows, pitch = self.part, self.width, self.rows, self.pitch
        query, queries = b.iadd(query0, at), b.imin(left, width)
        seen = b.imin(keys, b.isub(b.iadd(query, width), key0)) if self.spec.causal else keys
        for tile, left_rows, right, depth in (
            ("weights", "key_rows", "query_cols", w["e"]),
            ("changes", "value_rows", "grad_cols", w["d"]),
        ):
            packed = self.at(b, part[right], b.imul(query, depth))
            with b.loop(0, seen, rows) as r:
                number = b.idiv(b.iadd(key0, r.index), rows)
                a = self.at(b, part[left_rows], b.imul(number, b.imul(depth, pitch)))
                to = self.at(b, part[tile], b.imul(r.index, width))
                self.product(b, w, a, packed, depth, to, width, b.i64(1), b.imin(b.isub(seen, r.index), rows), queries)
        for which, source in extra.items():
            to = part["mask_at" if which == "m" else "keep_at"]
            self.pack_mask(b, w, which, to, source, query, key0, queries, seen)
        stats = self.at(b, part["stats"], b.imul(query, 2))
        b.call_void(
            self.weigh(), part["weights"], part["changes"], stats, seen, w["scale"], part["keep_at"], part["mask_at"],
            key0, query,
        )  # fmt: skip
        if self.spec.causal:  # what is not seen takes part in the products for the gradients of keys and values
            with b.loop(b.imul(seen, width), b.imul(keys, width), self.blk.lanes) as i:
                for tile in ("weights", "changes"):
                    b.store(b.const(self.vector, 0), self.at(b, part[tile], i.index), self.size)
        fresh = b.cast("zext", b.icmp("eq", key0, 0), "i64")
        sums = self.at(b, part["dq"], b.imul(b.idiv(query, width), high))
        with b.loop(0, w["e"], rows) as f:
            number = b.idiv(f.index, rows)
            a = self.at(b, part["key_turned"], b.imul(b.iadd(b.imul(number, w["s"]), key0), pitch))
            to = self.at(b, sums, b.imul(f.index, width))
            height = b.imin(b.isub(w["e"], f.index), rows)
            self.product(b, w, a, part["changes"], seen, to, width, fresh, height, queries)
        for tile, turned in (("weights", "weights_turned"), ("changes", "changes_turned")):
            b.call_void(self.turn(), part[tile], self.at(b, part[turned], b.imul(at, pitch)), keys)

    def weigh(self) -> str:
        """The function that turns tiles of scores and of ``g v^T`` into weights (with dropout) and gradients of the
        scores."""
        args = [("ptr noalias", "weights"), ("ptr noalias", "changes"), ("ptr", "stats"), ("i64", "keys")]
        args += [("i64", "scale"), ("ptr", "keep"), *self.mask_arguments()]
        return function(self.module, self.isa, "weigh", args, self._write_weigh, attributes="noinline")

    def _write_weigh(
        self, b: Flow, weights: Val, changes: Val, stats: Val, keys: Val, scale: Val, keep: Val, *where: Val
    ) -> None:
        lanes, vectors = self.blk.lanes, self.blk.vectors
        base2 = b.fmul(b.cast("bitcast", scale, "double"), b.const("double", LOG2E))
        factor = b.splat(cast(b, base2, "f64", self.spec.acc), lanes)
        logs = [b.load(self.vector, self.at(b, stats, j * lanes), self.size) for j in range(vectors)]
        deltas = [b.load(self.vector, self.at(b, stats, self.width + j * lanes), self.size) for j in range(vectors)]
        with b.loop(0, keys) as r:
            for j in range(vectors):
                place = b.iadd(b.imul(r.index, self.width), j * lanes)
                at, change_at = self.at(b, weights, place), self.at(b, changes, place)
                raw, change = (b.load(self.vector, x, self.size) for x in (at, change_at))
                if not self.masked:
                    power = multiply_add(b, self.num, self.isa, raw, factor, b.fneg(logs[j]))
                else:
                    power = b.fsub(self.score(b, raw, factor, r.index, j, *where), logs[j])
                weight = kept = self.exp2(b, power)
                if self.spec.keep is not None:
                    keeping = b.load(self.vector, self.at(b, keep, place), self.size)
                    change, kept = b.fmul(change, keeping), b.fmul(weight, keeping)
                b.store(kept, at, self.size)
                b.store(b.fmul(weight, b.fsub(change, deltas[j])), change_at, self.size)
        b.ret()

    def turn(self) -> str:
        """The function that makes panels of keys, [query][pitch], from a tile [key][query]."""
        args = [("ptr noalias", "tile"), ("ptr noalias", "to"), ("i64", "keys")]
        return function(self.module, self.isa, "turn", args, self._write_turn, attributes="noinline")

    def _write_turn(self, b: Flow, tile: Val, to: Val, keys: Val) -> None:
        lanes, width, pitch = self.blk.lanes, self.width, self.pitch
        with b.loop(0, keys, self.rows) as r:
            panel = self.at(b, to, b.imul(b.idiv(r.index, self.rows), GROUP * width * pitch))
            for first in range(0, pitch, lanes):
                for j in range(self.blk.vectors):
                    lines = []
                    for i in range(lanes):
                        spot = b.iadd(b.imul(b.iadd(r.index, first + i), width), j * lanes)
                        lines.append(b.load(self.vector, self.at(b, tile, spot), self.size))
                    for i, column in enumerate(transpose(b, lines, 8 * self.size)):
                        b.store(column, self.at(b, panel, (j * lanes + i) * pitch + first), self.size)
        b.ret()

    def store_rows(
        self, b: Flow, w: dict[str, Val], name: str, batch: Val, head: Val, steps: tuple[Val, Val], features: Val,
        wide: Val, factor: Val,
    ) -> None:  # fmt: skip
        """Stores rows of sums times ``factor``."""
        elem, lanes = LLVM_TYPE[self.spec.type], self.blk.lanes
        step, along = steps
        out = self.matrix(b, w, name, self.spec.type, batch, head)
        with b.loop(0, w["s"]) as r, b.loop(0, features, lanes) as f:
            spot = self.at(b, self.part[name], b.iadd(b.imul(r.index, wide), f.index))
            value = cast(b, b.fmul(b.load(self.vector, spot, self.size), factor), self.spec.acc, self.spec.type)
            to = b.at(elem, out, b.iadd(b.imul(r.index, step), b.imul(f.index, along)))
            left = b.isub(features, f.index)
            self.store_run(b, value, to, along, left, b.lane_mask(left, lanes))
