"""Accumulators of reductions and scans in registers: one slot for each width, folded when they are read."""

from __future__ import annotations

import math

from ..loop.nodes import Init, Loop, Update, walk
from .builder import Val, lanes_of, vec_type
from .scalar import LLVM_TYPE, elementwise, identity, is_float, is_signed
from .values import Accumulator, Values

__all__ = ["Accumulators"]

_NO_INDEX = (1 << 63) - 1


class Accumulators(Values):
    """How accumulators start, are updated, and are read."""

    def _init(self, s: Init) -> None:
        acc = Accumulator(s.kind, s.type, self.lanes)
        self.accumulators[s.acc] = acc
        self._forget(s.acc)
        self._start(acc, self.lanes)
        if self.lanes == 1:  # the widths that vector loops will fold with start here too
            names = {s.acc, *self._runs(s.acc)}
            for inner in walk(self.kernel.body):
                if (
                    isinstance(inner, Loop)
                    and inner.vector
                    and any(isinstance(u, Update) and u.acc in names and not u.running for u in walk(inner.body))
                ):
                    self._start(acc, self.width * inner.unroll)
                    self._start(acc, self.width)

    def _runs(self, acc: str) -> set[str]:
        """The accumulators that are folded into ``acc``."""
        updates = [u for u in walk(self.kernel.body) if isinstance(u, Update)]
        return {str(u.value.attr) for u in updates if u.acc == acc and u.value.op == "acc"}

    def _start(self, acc: Accumulator, lanes: int) -> None:
        if lanes in acc.slots:
            return
        type_ = vec_type(LLVM_TYPE[acc.type], lanes)
        slot = self._alloca(type_)
        index = self._alloca(vec_type("i64", lanes)) if acc.kind.startswith("arg") else None
        acc.slots[lanes] = (slot, index)
        self.b.store(self._constant(type_, acc.type, identity(acc.kind, acc.type)), slot, 64)
        if index is not None:
            self.b.store(self.b.const(vec_type("i64", lanes), _NO_INDEX), index, 64)
        if lanes != acc.lanes and acc.kind in ("max", "min") and acc.type in ("f32", "f64"):
            kept = vec_type(LLVM_TYPE[acc.type], lanes // 2 if lanes > self.width else lanes)
            acc.nans[lanes] = self._alloca(kept)
            self.b.store(self.b.const(kept, 0), acc.nans[lanes], 64)

    def _update(self, s: Update) -> None:
        acc = self.accumulators[s.acc]
        run = self.accumulators.get(str(s.value.attr)) if s.value.op == "acc" else None
        if run is not None and len(run.slots) > 1 and set(run.slots) == set(acc.slots) and acc.kind == "add":
            self._add_slots(acc, run)
            self._forget(s.acc)
            return
        value = self._lanes(s.value)
        self.running.discard(s.acc)
        if s.running and self.vector_var is not None and acc.lanes != self.lanes:
            self._run(s, acc, value)
            return
        slot, index_slot = acc.slots[self.lanes]
        b = self.b
        old = b.load(value.type, slot, 64)
        if self.lanes in acc.nans:
            new = self._extreme(acc.kind, value, old)
            pair = self._halves(value, self.lanes // 2) if self.lanes > self.width else (value, value)
            nan = b.cmp("uno", *pair)
            if self.mask is not None:
                new, nan = b.select(self.mask, new, old), b.op("and", nan, self.mask)
            b.store(new, slot, 64)
            seen = b.load(pair[0].type, acc.nans[self.lanes], 64)
            b.store(b.select(nan, b.const(seen.type, math.nan), seen), acc.nans[self.lanes], 64)
        elif index_slot is None:
            new = self._fold(acc.kind, acc.type, old, value)
            if self.mask is not None and acc.lanes == 1:
                new = b.select(self.mask, new, old)
            b.store(new, slot, 64)
        else:
            assert s.index is not None
            index = self._lanes(s.index)
            old_index = b.load(index.type, index_slot, 64)
            take = self._better(acc, value, index, old, old_index)
            if self.mask is not None and acc.lanes == 1:
                take = b.op("and", take, self.mask)
            b.store(b.select(take, value, old), slot, 64)
            b.store(b.select(take, index, old_index), index_slot, 64)
        self._forget(s.acc)

    def _add_slots(self, acc: Accumulator, run: Accumulator) -> None:
        """Adds another accumulator lane by lane: its lanes are added to each other only once, at the end."""
        b = self.b
        for lanes, (slot, _) in acc.slots.items():
            type_ = vec_type(LLVM_TYPE[acc.type], lanes)
            old, more = b.load(type_, slot, 64), b.load(type_, run.slots[lanes][0], 64)
            b.store(self._fold("add", acc.type, old, more), slot, 64)

    def _run(self, s: Update, acc: Accumulator, value: Val) -> None:
        """One vector of a scan: every lane is combined with the lanes before it in log2(lanes) steps (Hillis and
        Steele, CACM 29(12), 1986), and with what came before the vector."""
        b, lanes = self.b, self.lanes
        neutral = self._constant(value.type, acc.type, identity(acc.kind, acc.type))
        if self.mask is not None:
            value = b.select(self.mask, value, neutral)
        distance = 1
        while distance < lanes:
            order = [lanes] * distance + list(range(lanes - distance))
            picks = ", ".join(f"i32 {k}" for k in order)
            before = b.new(value.type, f"shufflevector {value}, {neutral}, <{lanes} x i32> <{picks}>")
            value = self._fold(acc.kind, acc.type, before, value)
            distance *= 2
        slot = acc.slots[1][0]
        value = self._fold(acc.kind, acc.type, b.splat(b.load(LLVM_TYPE[acc.type], slot, 64), lanes), value)
        b.store(b.extract(value, lanes - 1), slot, 64)
        self._forget(s.acc)
        self.running.add(s.acc)
        self.scopes[-1].values[("acc", s.acc)] = value

    def _forget(self, acc: str) -> None:
        """Drops values that were read from an accumulator before it changed."""
        for scope in self.scopes:
            for key in [
                k
                for k in scope.values
                if k in (("acc", acc), ("acc", acc + ".index"))
                or (isinstance(k, int) and "acc:" + acc in self.dependence.get(k, ()))
            ]:
                del scope.values[key]

    def _fold(self, kind: str, code: str, x: Val, y: Val) -> Val:
        return elementwise(self.b, kind, code, code, [x, y])

    def _extreme(self, kind: str, x: Val, y: Val) -> Val:
        """The greater or smaller of two floats, ``y`` if ``x`` is nan: one instruction on x86."""
        return self.b.select(self.b.cmp("ogt" if kind == "max" else "olt", x, y), x, y)

    def _better(self, acc: Accumulator, value: Val, index: Val, old: Val, old_index: Val) -> Val:
        """Whether (value, index) comes before (old, old_index): more extreme (NaN most of all), then first."""
        b = self.b
        how = "gt" if acc.kind == "argmax" else "lt"
        if is_float(acc.type):
            new_nan, old_nan = b.cmp("uno", value, value), b.cmp("uno", old, old)
            beats = b.op("or", b.cmp("o" + how, value, old), new_nan)
            no_nan = b.op("xor", old_nan, b.const(old_nan.type, 1))
            beats = b.op("and", beats, no_nan)
            same = b.op("or", b.cmp("oeq", value, old), b.op("and", new_nan, old_nan))
        else:
            beats = b.cmp(("s" if is_signed(acc.type) else "u") + how, value, old)
            same = b.cmp("eq", value, old)
        return b.op("or", beats, b.op("and", same, b.cmp("ult", index, old_index)))

    def _read(self, name: str) -> Val:
        """The value of an accumulator, folded to the lanes that it had when it was started."""
        index = name.endswith(".index")
        acc = self.accumulators[name[: -len(".index")] if index else name]
        b = self.b
        slot, index_slot = acc.slots[acc.lanes]
        value = b.load(vec_type(LLVM_TYPE[acc.type], acc.lanes), slot, 64)
        if index_slot is None:
            return value if len(acc.slots) == 1 else self._fold(acc.kind, acc.type, value, self._narrowed(acc))
        place = b.load(vec_type("i64", acc.lanes), index_slot, 64)
        for lanes, (wide, wide_index) in acc.slots.items():
            if lanes == acc.lanes:
                continue
            assert wide_index is not None
            x = b.load(vec_type(LLVM_TYPE[acc.type], lanes), wide, 64)
            i = b.load(vec_type("i64", lanes), wide_index, 64)
            while lanes > 1:
                lanes //= 2
                x, other = self._halves(x, lanes)
                i, other_i = self._halves(i, lanes)
                take = self._better(acc, other, other_i, x, i)
                x, i = b.select(take, other, x), b.select(take, other_i, i)
            take = self._better(acc, x, i, value, place)
            value, place = b.select(take, x, value), b.select(take, i, place)
        return place if index else value

    def _narrowed(self, acc: Accumulator) -> Val:
        """What the wide slots of an accumulator hold, folded to one value: the widest to the width of the next and on,
        so that only the narrowest is folded across its lanes."""
        b = self.b
        widths = sorted((lanes for lanes in acc.slots if lanes > acc.lanes), reverse=True)
        lanes = widths[0]
        x, nans = self._slot(acc, lanes)
        while lanes > widths[-1]:
            lanes //= 2
            x = self._both_halves(acc, x, lanes)
            if nans is not None and lanes_of(nans.type) > lanes:
                nans = b.op("fadd", *self._halves(nans, lanes))
            if lanes in widths:
                y, others = self._slot(acc, lanes)
                x = self._fold(acc.kind, acc.type, x, y) if others is None else self._extreme(acc.kind, y, x)
                nans = nans if nans is None or others is None else b.op("fadd", nans, others)
        met: Val | None = None
        if nans is not None:
            bits = b.cast("bitcast", b.cmp("uno", nans, nans), f"i{lanes}")
            met = b.cmp("ne", bits, b.const(bits.type, 0))
        while lanes > 1:
            lanes //= 2
            x = self._both_halves(acc, x, lanes)
        return x if met is None else b.select(met, b.const(x.type, math.nan), x)

    def _slot(self, acc: Accumulator, lanes: int) -> tuple[Val, Val | None]:
        """A slot of an accumulator, and its lanes of ``nans`` if it has them."""
        b, type_ = self.b, LLVM_TYPE[acc.type]
        kept = vec_type(type_, lanes // 2 if lanes > self.width else lanes)
        nans = b.load(kept, acc.nans[lanes], 64) if lanes in acc.nans else None
        return b.load(vec_type(type_, lanes), acc.slots[lanes][0], 64), nans

    def _both_halves(self, acc: Accumulator, x: Val, lanes: int) -> Val:
        """The halves of a vector, folded; nan is not among them where it is kept apart."""
        low, high = self._halves(x, lanes)
        return self._extreme(acc.kind, high, low) if acc.nans else self._fold(acc.kind, acc.type, low, high)

    def _halves(self, x: Val, lanes: int) -> tuple[Val, Val]:
        b = self.b
        if lanes == 1:
            return b.extract(x, 0), b.extract(x, 1)
        low = ", ".join(f"i32 {k}" for k in range(lanes))
        high = ", ".join(f"i32 {k + lanes}" for k in range(lanes))
        type_ = vec_type(x.type[1:-1].split(" x ")[1], lanes)
        return (
            b.new(type_, f"shufflevector {x}, {x.type} poison, <{lanes} x i32> <{low}>"),
            b.new(type_, f"shufflevector {x}, {x.type} poison, <{lanes} x i32> <{high}>"),
        )
