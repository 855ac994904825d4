"""Loop IR to LLVM text, with explicit vectors.

A loop marked ``vector`` is emitted twice: over whole vectors (of ``unroll`` registers each, which LLVM
keeps in flight together), then over the rest, with masked memory accesses where the instruction set has
them for every type (AVX-512) and one element at a time elsewhere.  Inside such a loop an expression that
varies with its variable is a vector; anything else stays a scalar, is computed where its variables are
first known, and is repeated over the lanes only when a vector operation needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..loop.nodes import (
    COMPARISONS,
    TILE,
    Check,
    Combine,
    Expr,
    Init,
    Kernel,
    Loop,
    Prefetch,
    Stmt,
    Store,
    Turn,
    Update,
    expressions,
    visit,
    walk,
)  # fmt: skip
from . import vecmath
from .builder import Builder, Module, Val, lanes_of, vec_type
from .isa import ISA
from .scalar import FLOAT8, LLVM_TYPE, MEMORY_TYPE, cast, elementwise, identity, is_float, is_signed
from .strided import addresses, every_other, interleave, masked_load, masked_store, spread, two_runs
from .turn import transpose

__all__ = ["entry", "kernel_ir"]

_SIZE = {"b1": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4, "u32": 4,
         "f32": 4, "i64": 8, "u64": 8, "f64": 8, **dict.fromkeys(FLOAT8, 1)}  # fmt: skip
_UNITS, _GRAIN = 2, 3  # words of the parameters
_PICKED = 8  # elements in flight where they are copied one by one


def kernel_ir(kernel: Kernel, isa: ISA) -> str:
    """The LLVM module of ``kernel`` for ``isa``: the entry ``kernel.name`` and its body."""
    module = new_module(isa)
    name = kernel.name
    attributes = isa.function_attributes()
    body = _Body(kernel, isa, module).text()
    module.add(
        name + ".body",
        f'define internal void @"{name}.body"(ptr %block, i64 %chunk, i64 %worker) {attributes} {{\nentry:\n{body}\n}}',
    )
    module.add(name, entry(name, len(kernel.buffers), kernel.scalars, attributes))
    return module.text()


def new_module(isa: ISA) -> Module:
    """An empty module that knows which instructions ``isa`` has."""
    module = Module()
    module.fma = isa.fma
    module.round_instructions = isa.name != "x86-64"
    module.half_instructions = isa.name in ("avx2", "avx512", "neon")
    module.avx512 = isa.name == "avx512"
    module.attributes = isa.function_attributes()
    return module


def entry(name: str, buffers: int, scalars: Iterable[str], attributes: str) -> str:
    """The definition of a kernel's entry (docs/architecture.md, "Kernel ABI"): stores its arguments in a block and
    runs the body ``name.body`` for every chunk, through the thread pool if there is one."""
    kinds = ["ptr"] * (1 + buffers) + ["double" if s == "f64" else "i64" for s in scalars]
    arguments = ", ".join(f"{t} %a{i}" for i, t in enumerate(kinds))
    stores = "\n".join(
        f"  %p{i} = getelementptr i64, ptr %block, i64 {i}\n  store {t} %a{i}, ptr %p{i}" for i, t in enumerate(kinds)
    )
    return f'''define i64 @"{name}"({arguments}) {attributes} {{
entry:
  %room = alloca [{len(kinds) + 1} x i64], align 64
  store i64 0, ptr %room
  %block = getelementptr i64, ptr %room, i64 1
{stores}
  %chunks = load i64, ptr %a0
  %poolword = getelementptr i64, ptr %a0, i64 1
  %pool = load i64, ptr %poolword
  %nopool = icmp eq i64 %pool, 0
  %single = icmp sle i64 %chunks, 1
  %serial = or i1 %nopool, %single
  br i1 %serial, label %head, label %parallel
parallel:
  %poolptr = inttoptr i64 %pool to ptr
  %run = load ptr, ptr %poolptr
  call void %run(ptr %poolptr, ptr @"{name}.body", ptr %block, i64 %chunks)
  br label %done
head:
  %i = phi i64 [ 0, %entry ], [ %next, %step ]
  %more = icmp slt i64 %i, %chunks
  br i1 %more, label %step, label %done
step:
  call void @"{name}.body"(ptr %block, i64 %i, i64 0)
  %next = add i64 %i, 1
  br label %head
done:
  %status = load i64, ptr %room
  ret i64 %status
}}'''


class _Scope:
    """The values known at one nesting level."""

    def __init__(self, var: str | None) -> None:
        self.var = var
        self.values: dict[object, Val] = {}
        self.splats: dict[tuple[str, int], Val] = {}


class _Accumulator:
    """Where an accumulator lives: one slot of vectors for each width that updates it.

    ``lanes`` where it was started are part of it (rows side by side); wider updates are folded together
    when it is read.  A wide maximum or minimum of floats passes over nan, and ``nans`` is nan in the lanes that met one
    and zero in others: the chain of dependent instructions is then one long, where an extreme that keeps nan takes
    three.  Of several registers two share a lane of ``nans``: one comparison finds nan in either.
    """

    def __init__(self, kind: str, type_: str, lanes: int) -> None:
        self.kind, self.type, self.lanes = kind, type_, lanes
        self.slots: dict[int, tuple[Val, Val | None]] = {}
        self.nans: dict[int, Val] = {}


class _Body:
    def __init__(self, kernel: Kernel, isa: ISA, module: Module) -> None:
        self.kernel, self.isa = kernel, isa
        self.b = Builder(module)
        self.width = _width(kernel, isa)
        self.masks = isa.name == "avx512"
        self.scopes: list[_Scope] = []
        self.vector_var: str | None = None
        self.lanes = 1
        self.mask: Val | None = None
        self.accumulators: dict[str, _Accumulator] = {}
        self.running: set[str] = set()  # accumulators whose value differs from lane to lane of a scan
        self.dependence: dict[int, frozenset[str]] = {}
        self.allocas: list[str] = []
        self.keep: list[Expr] = []
        self.pairs: dict[int, tuple[Expr, Expr]] = {}  # loads of every second element that fill each other's gaps

    # -- the frame -------------------------------------------------------------------------------
    def text(self) -> str:
        b = self.b
        self.scopes.append(_Scope(None))
        params = self._word(0, "ptr")
        self.params = params
        self.buffers = [self._word(1 + i, "ptr") for i in range(len(self.kernel.buffers))]
        first = 1 + len(self.kernel.buffers)
        self.scalars = [
            self._word(first + i, "double" if s == "f64" else "i64") for i, s in enumerate(self.kernel.scalars)
        ]
        units, grain = self._param(_UNITS), self._param(_GRAIN)
        lo = b.op("mul", Val("%chunk", "i64"), grain)
        end = b.add(lo, grain)
        hi = b.select(b.cmp("slt", end, units), end, units)
        self._hoist(self.kernel.body, exclude="unit")
        self._counted("unit", lo, hi, 1, lambda: self._statements(self.kernel.body))
        b.ret()
        return "\n".join(self.allocas + [b.body()])

    def _word(self, slot: int, type_: str) -> Val:
        return self.b.load(type_, self.b.gep("i64", Val("%block", "ptr"), Val(str(slot), "i64")), 8)

    def _param(self, index: int) -> Val:
        key = ("param", index)
        root = self.scopes[0]
        if key not in root.values:
            if len(self.scopes) > 1:
                raise AssertionError(f"parameter {index} was not hoisted")
            root.values[key] = self.b.load("i64", self.b.gep("i64", self.params, Val(str(index), "i64")), 8)
        return root.values[key]

    def _alloca(self, type_: str) -> Val:
        name = f"%slot{len(self.allocas)}"
        self.allocas.append(f"  {name} = alloca {type_}, align 64")
        return Val(name, "ptr")

    # -- loops -----------------------------------------------------------------------------------
    def _counted(self, var: str, lo: Val, hi: Val, step: int, body: object) -> None:
        """for var in range(lo, hi, step), in a new scope."""
        b = self.b
        before, head, inside, after = b.current, b.label("head"), b.label("loop"), b.label("after")
        b.br(head)
        b.place(head)
        index = Val(f"%i{b.label('')}", "i64")
        where = len(b.lines)
        b.lines.append("")  # the phi, known once the back edge is
        b.cond_br(b.cmp("slt", index, hi), inside, after)
        b.place(inside)
        scope = _Scope(var)
        self.scopes.append(scope)
        self._bind(var, index)
        body()  # type: ignore[operator]
        self.scopes.pop()
        following = b.add(index, Val(str(step), "i64"))
        b.lines[where] = f"  {index.name} = phi i64 [ {lo.name}, %{before} ], [ {following.name}, %{b.current} ]"
        b.br(head)
        b.place(after)

    def _bind(self, var: str, index: Val) -> None:
        self.scopes[-1].values[("var", var)] = index

    def _loop(self, loop: Loop) -> None:
        lo, hi = self._value(loop.lo), self._value(loop.hi)
        if loop.vector and self._picks(loop):
            loop = loop._replace(vector=False, unroll=_PICKED)
        if not loop.vector:
            self._hoist(loop.body, exclude=loop.var)
            if loop.unroll > 1:
                lo = self._several(loop, lo, hi)
            self._counted(loop.var, lo, hi, 1, lambda: self._statements(loop.body))
            return
        b = self.b
        outer = (self.vector_var, self.lanes, self.mask)
        if self.lanes != 1:
            raise AssertionError("a vector loop inside a vector loop")
        self._hoist(loop.body, exclude=loop.var)
        main = self.width * loop.unroll
        whole = b.op("and", b.sub(hi, lo), Val(str(-main), "i64"))
        middle = b.add(lo, whole)
        self.vector_var, self.lanes, self.mask = loop.var, main, None
        self._counted(loop.var, lo, middle, main, lambda: self._statements(loop.body))
        if self.masks:
            self.lanes = self.width

            def masked() -> None:
                index = self.scopes[-1].values[("var", loop.var)]
                room = b.splat(b.sub(hi, index), self.width)
                self.mask = b.cmp("slt", b.iota(vec_type("i64", self.width)), room)
                self._statements(loop.body)

            self._counted(loop.var, middle, hi, self.width, masked)
        else:
            if loop.unroll > 1:
                end = b.add(middle, b.op("and", b.sub(hi, middle), Val(str(-self.width), "i64")))
                self.lanes = self.width
                self._counted(loop.var, middle, end, self.width, lambda: self._statements(loop.body))
                middle = end
            self.vector_var, self.lanes = None, 1
            self._counted(loop.var, middle, hi, 1, lambda: self._statements(loop.body))
        self.vector_var, self.lanes, self.mask = outer

    def _picks(self, loop: Loop) -> bool:
        """Whether a loop only copies elements from places that it reads in memory: one by one that is faster than the
        instructions that gather a vector, and what builds their addresses and tests them (not for elements of two
        bytes, of which a vector has many)."""
        moves = [s for s in loop.body if isinstance(s, Store)]
        if not moves or len(moves) != sum(not isinstance(s, Check) for s in loop.body):
            return False

        def told(e: Expr) -> bool:
            return (e.op == "load" and loop.var in self._depends(e)) or any(map(told, e.args))

        return all(s.value.op == "load" and _SIZE[s.value.type] >= 4 and any(map(told, s.value.args)) for s in moves)

    def _several(self, loop: Loop, lo: Val, hi: Val) -> Val:
        """The iterations of a loop that come ``unroll`` at a time; returns where the others begin."""
        b = self.b
        times = Val(str(loop.unroll), "i64")
        rest = b.op("srem", b.sub(hi, lo), times)
        middle = b.sub(hi, rest)

        def together() -> None:
            index = self.scopes[-1].values[("var", loop.var)]
            for k in range(loop.unroll):
                self.scopes.append(_Scope(loop.var))
                self._bind(loop.var, b.add(index, Val(str(k), "i64")))
                self._statements(loop.body)
                self.scopes.pop()

        self._counted(loop.var, lo, middle, loop.unroll, together)
        return middle

    def _statements(self, body: tuple[Stmt, ...]) -> None:
        before = self.pairs
        self.pairs = self._paired(body) if self.lanes > 1 else {}
        waiting: Store | None = None
        for s, following in zip(body, (*body[1:], None)):
            if isinstance(s, Store) and waiting is not None:
                self._store_both(waiting, s)
                waiting = None
            elif isinstance(s, Store) and isinstance(following, Store) and self._fills(s, following):
                waiting = s
            elif isinstance(s, Loop):
                self._loop(s)
            elif isinstance(s, Init):
                self._init(s)
            elif isinstance(s, Update):
                self._update(s)
            elif isinstance(s, Store):
                self._store(s)
            elif isinstance(s, Combine):
                self._combine(s)
            elif isinstance(s, Turn):
                self._turn(s)
            elif isinstance(s, Prefetch):
                self._prefetch(s)
            elif isinstance(s, Check):
                self._check(s)
        self.pairs = before

    # -- accumulators ----------------------------------------------------------------------------
    def _init(self, s: Init) -> None:
        acc = _Accumulator(s.kind, s.type, self.lanes)
        self.accumulators[s.acc] = acc
        self._forget(s.acc)
        self._start(acc, self.lanes)
        if self.lanes == 1:  # the widths that vector loops will fold with start here too
            for inner in walk(self.kernel.body):
                if (
                    isinstance(inner, Loop)
                    and inner.vector
                    and any(isinstance(u, Update) and u.acc == s.acc and not u.running for u in walk(inner.body))
                ):
                    self._start(acc, self.width * inner.unroll)
                    self._start(acc, self.width)

    def _start(self, acc: _Accumulator, lanes: int) -> None:
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

    def _constant(self, type_: str, code: str, value: float | int | bool) -> Val:
        if code == "bf16" or code in FLOAT8:  # their registers hold bits
            return cast(self.b, self.b.const(vec_type("float", lanes_of(type_)), value), "f32", code)
        return self.b.const(type_, value)

    def _update(self, s: Update) -> None:
        acc = self.accumulators[s.acc]
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

    def _run(self, s: Update, acc: _Accumulator, value: Val) -> None:
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

    def _better(self, acc: _Accumulator, value: Val, index: Val, old: Val, old_index: Val) -> Val:
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

    def _narrowed(self, acc: _Accumulator) -> Val:
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

    def _slot(self, acc: _Accumulator, lanes: int) -> tuple[Val, Val | None]:
        """A slot of an accumulator, and its lanes of ``nans`` if it has them."""
        b, type_ = self.b, LLVM_TYPE[acc.type]
        kept = vec_type(type_, lanes // 2 if lanes > self.width else lanes)
        nans = b.load(kept, acc.nans[lanes], 64) if lanes in acc.nans else None
        return b.load(vec_type(type_, lanes), acc.slots[lanes][0], 64), nans

    def _both_halves(self, acc: _Accumulator, x: Val, lanes: int) -> Val:
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

    # -- expressions -----------------------------------------------------------------------------
    def _depends(self, e: Expr) -> frozenset[str]:
        """The loop variables, accumulators and written buffers that an expression reads."""
        found = self.dependence.get(id(e))
        if found is None:
            self.keep.append(e)
            if e.op == "var":
                found = frozenset((str(e.attr),))
            elif e.op == "acc":
                found = frozenset(("acc:" + str(e.attr).removesuffix(".index"),))
            else:
                found = frozenset().union(*(self._depends(a) for a in e.args))
                if e.op == "load" and self.kernel.buffers[e.attr].written:
                    found |= {f"memory:{e.attr}"}
            self.dependence[id(e)] = found
        return found

    def _hoist(self, body: tuple[Stmt, ...], exclude: str) -> None:
        """Computes what the statements of a loop need and that does not change in it."""
        inner = {exclude} | {s.var for s in walk(body) if isinstance(s, Loop)}
        inner |= {"acc:" + s.acc for s in walk(body) if isinstance(s, (Init, Update))}
        inner |= {f"memory:{s.buffer}" for s in walk(body) if isinstance(s, (Store, Combine))}
        seen: set[int] = set()

        def look(e: Expr) -> None:
            if id(e) in seen:
                return
            seen.add(id(e))
            if e.op == "const":
                return
            if not self._depends(e) & inner:
                self._value(e)
            else:
                for a in e.args:
                    look(a)

        for s in walk(body):
            if isinstance(s, Loop):
                look(s.lo)
                look(s.hi)
            else:
                for e in expressions(s):
                    look(e)

    def _varies(self, e: Expr) -> bool:
        if self.lanes == 1:
            return False
        needs = self._depends(e)
        return self.vector_var in needs or any(
            n.startswith("acc:") and (self.accumulators[n[4:]].lanes > 1 or n[4:] in self.running) for n in needs
        )

    def _lanes(self, e: Expr) -> Val:
        """An expression with as many lanes as the loop at hand."""
        value = self._value(e)
        if lanes_of(value.type) == self.lanes:
            return value
        if e.op == "const":
            return self._constant(vec_type(value.type, self.lanes), e.type, e.attr)
        scope = self.scopes[-1]  # it is placed now, so it is good only from here on inwards
        key = (value.name, self.lanes)
        if key not in scope.splats:
            for outer in self.scopes:
                if key in outer.splats:
                    return outer.splats[key]
            scope.splats[key] = self.b.splat(value, self.lanes)
        return scope.splats[key]

    def _value(self, e: Expr) -> Val:
        """An expression: a vector if it varies over the lanes, else a scalar."""
        if e.op == "const":
            return self._constant(LLVM_TYPE[e.type], e.type, e.attr)
        if e.op == "param":
            return self._param(e.attr)
        if e.op == "scalar":
            return self.scalars[e.attr]
        if e.op == "var":
            return self._variable(str(e.attr))
        key = ("acc", e.attr) if e.op == "acc" else id(e)
        for scope in self.scopes:
            if key in scope.values:
                return scope.values[key]
        value = self._compute(e)
        self.scopes[-1].values[key] = value
        return value

    def _variable(self, name: str) -> Val:
        key = ("var", name)
        for scope in reversed(self.scopes):
            if key in scope.values:
                base = scope.values[key]
                break
        else:
            raise AssertionError(f"variable {name!r} is not in scope")
        if name != self.vector_var or self.lanes == 1:
            return base
        full = ("lanes", name)
        if full not in self.scopes[-1].values:
            for scope in self.scopes:
                if full in scope.values:
                    return scope.values[full]
            type_ = vec_type("i64", self.lanes)
            self.scopes[-1].values[full] = self.b.add(self.b.splat(base, self.lanes), self.b.iota(type_))
        return self.scopes[-1].values[full]

    def _compute(self, e: Expr) -> Val:
        if e.op == "acc":
            return self._read(str(e.attr))
        if e.op == "load":
            return self._load(e)
        if e.op == "affine":
            return self._affine(e)
        varies = self._varies(e)
        args = [self._lanes(a) if varies else self._value(a) for a in e.args]
        if e.op == "cast":
            return cast(self.b, args[0], e.args[0].type, e.type)
        operand = e.args[1].type if e.op == "select" else e.args[0].type
        return elementwise(self.b, e.op, operand, e.type if e.op not in COMPARISONS else "b1", args)

    def _affine(self, e: Expr) -> Val:
        b = self.b
        varies = self._varies(e)
        total: Val | None = None
        for i, s in zip(e.args[::2], e.args[1::2]):
            index, stride = (self._lanes(i), self._lanes(s)) if varies else (self._value(i), self._value(s))
            term = index if s.op == "const" and s.attr == 1 else b.op("mul", index, stride)
            total = term if total is None else b.add(total, term)
        return total if total is not None else b.const("i64", 0)

    def _address(self, buffer: int, offset: Expr) -> tuple[Val, int | None]:
        """The address(es) of an access and its step over the lanes: 0 (one scalar address), 1 (a scalar address of
        consecutive elements), 2 (of every second), -1 (that of the last lane, the others follow it), or None (a vector
        of addresses)."""
        b = self.b
        elem = MEMORY_TYPE[self.kernel.buffers[buffer].type]
        pointer = self.buffers[buffer]
        if not self._varies(offset):
            return b.gep(elem, pointer, self._value(offset)), 0
        if offset.op == "affine":
            pairs = list(zip(offset.args[::2], offset.args[1::2]))
            moving = [(i, s) for i, s in pairs if self._varies(i)]
            if len(moving) == 1 and moving[0][0].op == "var" and moving[0][1].op == "const":
                step = int(moving[0][1].attr)
                total = self._scalar_index(str(moving[0][0].attr))
                if step == -1:
                    total = b.sub(Val(str(1 - self.lanes), "i64"), total)
                elif step == 2:
                    total = b.add(total, total)
                for i, s in pairs:
                    if (i, s) != moving[0]:
                        term = self._value(i)
                        if not (s.op == "const" and s.attr == 1):
                            term = self._product(term, s)
                        total = b.add(total, term)
                return b.gep(elem, pointer, total), step
        elif offset.op == "var":
            return b.gep(elem, pointer, self._scalar_index(str(offset.attr))), 1
        index = self._lanes(offset)
        return b.new(vec_type("ptr", self.lanes), f"getelementptr {elem}, {pointer}, {index}"), None

    def _product(self, term: Val, stride: Expr) -> Val:
        return self.b.op("mul", term, self._value(stride))

    def _scalar_index(self, name: str) -> Val:
        key = ("var", name)
        for scope in reversed(self.scopes):
            if key in scope.values:
                return scope.values[key]
        raise AssertionError(f"variable {name!r} is not in scope")

    def _load(self, e: Expr) -> Val:
        b = self.b
        buffer = int(e.attr)
        code = self.kernel.buffers[buffer].type
        elem, size = MEMORY_TYPE[code], _SIZE[code]
        guard = e.args[1] if len(e.args) > 1 else None
        address, step = self._address(buffer, e.args[0])
        if guard is not None and self._varies(guard):
            if step == 0:
                address, step = b.splat(address, self.lanes), None
            value = self._masked_load(elem, size, address, step, self._both(self._lanes(guard)))
        elif guard is not None and (step == 0 or self.lanes == 1):
            value = self._guarded_scalar(elem, size, address, self._value(guard))
        elif guard is not None:
            value = self._masked_load(elem, size, address, step, self._both(self._lanes(guard)))
        elif step == 0:
            value = b.load(elem, address, size)
        elif step == 2:
            value = self._load_second(e, elem, size, address)
        elif self.mask is not None or step is None:
            value = self._masked_load(elem, size, address, step, self.mask or b.const(vec_type("i1", self.lanes), 1))
        else:
            value = b.load(vec_type(elem, self.lanes), address, size)
            if step == -1:
                value = self._reversed(value)
        return self._boolean(value, buffer)

    def _prefetch(self, s: Prefetch) -> None:
        """A line at a time where the lanes are consecutive; scattered ones are left to the processor."""
        b = self.b
        address, step = self._address(s.buffer, s.offset)
        if step not in (0, 1):
            return
        b.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        nbytes = self.lanes * _SIZE[self.kernel.buffers[s.buffer].type] if step else 1
        for line in range(0, nbytes, 64):
            place = b.gep("i8", address, Val(str(line), "i64"))
            b.emit(f"call void @llvm.prefetch.p0({place}, i32 0, i32 2, i32 1)")

    def _both(self, guard: Val) -> Val:
        return guard if self.mask is None else self.b.op("and", guard, self.mask)

    def _masked_load(self, elem: str, size: int, address: Val, step: int | None, mask: Val) -> Val:
        if step == -1:
            return self._reversed(self._masked_load(elem, size, address, 1, self._reversed(mask)))
        if step == 2:
            address = addresses(self.b, elem, address, 2, self.lanes)
        return masked_load(self.b, vec_type(elem, self.lanes), address, size, mask)

    def _load_second(self, e: Expr, elem: str, size: int, address: Val) -> Val:
        """Every second element, with those between them if a load beside this one wants them."""
        pair = self.pairs.get(id(e))
        if pair is None and self.mask is None:
            return every_other(self.b, elem, size, address, self.lanes)
        if pair is None:
            return self._masked_load(elem, size, address, 2, self.mask or self.b.const(vec_type("i1", self.lanes), 1))
        address, _ = self._address(int(e.attr), pair[0].args[0])
        values = two_runs(self.b, elem, size, address, self.lanes, self.mask)
        for part, value in zip(pair, values):
            self.scopes[-1].values[id(part)] = self._boolean(value, int(e.attr))
        return values[pair.index(e)]

    def _boolean(self, value: Val, buffer: int) -> Val:
        """Bytes of memory as what they mean in registers."""
        code = self.kernel.buffers[buffer].type
        return self.b.cmp("ne", value, self.b.const(value.type, 0)) if code == "b1" else value

    def _every_second(self, offset: Expr) -> bool:
        moving = [(i, s) for i, s in zip(offset.args[::2], offset.args[1::2]) if self._varies(i)]
        return offset.op == "affine" and [(i.op, s.op, s.attr) for i, s in moving] == [("var", "const", 2)]

    def _paired(self, body: tuple[Stmt, ...]) -> dict[int, tuple[Expr, Expr]]:
        """The loads of a body's statements of which one reads every second element and the other those between."""
        found: dict[tuple[int, tuple[int, ...]], Expr] = {}

        def look(e: Expr) -> None:
            if e.op == "load" and len(e.args) == 1 and self._every_second(e.args[0]):
                found[int(e.attr), tuple(map(id, e.args[0].args))] = e

        for s in body:
            if not isinstance(s, Loop):
                for e in expressions(s):
                    visit(e, look)
        pairs: dict[int, tuple[Expr, Expr]] = {}
        for (buffer, place), e in found.items():
            first = found.get((buffer, place[:-2]))
            if first is not None and place[-1] == place[-2]:
                pairs[id(first)] = pairs[id(e)] = first, e
        return pairs

    def _fills(self, first: Store, second: Store) -> bool:
        """Whether the first stores to every second element and the second to those between."""
        a, b = first.offset.args, second.offset.args
        if self.lanes == 1 or first.buffer != second.buffer or first.guard is not None or second.guard is not None:
            return False
        return b[:-2] == a and len(b) > 2 and b[-1] is b[-2] and self._every_second(first.offset)

    def _guarded_scalar(self, elem: str, size: int, address: Val, guard: Val) -> Val:
        """A load that touches memory only where the guard holds."""
        b = self.b
        before, yes, after = b.current, b.label("guarded"), b.label("after")
        zero = b.const(elem, 0)
        b.cond_br(guard, yes, after)
        b.place(yes)
        value = b.load(elem, address, size)
        b.br(after)
        b.place(after)
        return b.phi(elem, (zero, before), (value, yes))

    def _reversed(self, x: Val) -> Val:
        """The lanes from last to first."""
        picks = ", ".join(f"i32 {k}" for k in reversed(range(self.lanes)))
        return self.b.new(x.type, f"shufflevector {x}, {x.type} poison, <{self.lanes} x i32> <{picks}>")

    def _memory(self, value: Val, code: str) -> Val:
        return self.b.cast("zext", value, vec_type("i8", lanes_of(value.type))) if code == "b1" else value

    def _store(self, s: Store) -> None:
        b = self.b
        code = self.kernel.buffers[s.buffer].type
        elem, size = MEMORY_TYPE[code], _SIZE[code]
        address, step = self._address(s.buffer, s.offset)
        if self.lanes == 1 or step == 0:
            if self.lanes != 1 and (self._varies(s.value) or s.guard is not None):
                raise AssertionError("a value that varies over lanes is stored to one address")
            value = self._memory(self._value(s.value), code)
            if s.guard is None:
                b.store(value, address, size)
                return
            yes, after = b.label("guarded"), b.label("after")
            b.cond_br(self._value(s.guard), yes, after)
            b.place(yes)
            b.store(value, address, size)
            b.br(after)
            b.place(after)
            return
        value = self._memory(self._lanes(s.value), code)
        mask = self.mask
        if s.guard is not None:
            mask = self._both(self._lanes(s.guard))
        if s.stream and step == 1 and mask is None:
            b.module.require("!0", lambda: "!0 = !{i32 1}")
            b.emit(f"store {value}, {address}, align {min(64, size * self.lanes)}, !nontemporal !0")
            return
        self._put(elem, size, address, step, value, mask)

    def _put(self, elem: str, size: int, address: Val, step: int | None, value: Val, mask: Val | None) -> None:
        """Stores a vector at consecutive (``step`` 1) or separate addresses."""
        b = self.b
        if step == -1:
            value, step, mask = self._reversed(value), 1, None if mask is None else self._reversed(mask)
        if step == 1 and mask is None:
            b.store(value, address, size)
            return
        mask = mask or b.const(vec_type("i1", self.lanes), 1)
        if step == 2:
            address = addresses(b, elem, address, 2, self.lanes)
        masked_store(b, value, address, size, mask)

    def _store_both(self, first: Store, second: Store) -> None:
        """Two stores to every second element, of which one fills the gaps of the other."""
        b = self.b
        code = self.kernel.buffers[first.buffer].type
        size = _SIZE[code]
        x, y = (self._memory(self._lanes(s.value), code) for s in (first, second))
        address, _ = self._address(first.buffer, first.offset)
        self._put(MEMORY_TYPE[code], size, address, 1, interleave(b, x, y), self.mask and spread(b, self.mask))

    def _combine(self, s: Combine) -> None:
        """Lanes run along a dimension of the target, so that their addresses differ."""
        b = self.b
        code = self.kernel.buffers[s.buffer].type
        elem, size = MEMORY_TYPE[code], _SIZE[code]
        address, step = self._address(s.buffer, s.offset)
        if self.lanes == 1:
            old = b.load(elem, address, size)
        elif step == 0:
            raise AssertionError("lanes combine into one address")
        elif step == 1 and self.mask is None:
            old = b.load(vec_type(elem, self.lanes), address, size)
        else:
            old = self._masked_load(elem, size, address, step, self.mask or b.const(vec_type("i1", self.lanes), 1))
        work = {"bf16": "f32", "f16": "f32"}.get(code, code)
        old = b.cmp("ne", old, b.const(old.type, 0)) if code == "b1" else cast(b, old, code, work)
        value = cast(b, self._lanes(s.value), code, work)
        new = self._memory(cast(b, elementwise(b, s.kind, work, work, [old, value]), work, code), code)
        if self.lanes == 1:
            b.store(new, address, size)
        else:
            self._put(elem, size, address, step, new, self.mask)

    def _turn(self, s: Turn) -> None:
        """Whole tiles in registers, others element by element."""
        b = self.b
        code = self.kernel.buffers[s.source].type
        elem, size = MEMORY_TYPE[code], _SIZE[code]
        source, target = self.buffers[s.source], self.buffers[s.target]
        read, across, write, along, rows, cols = (
            self._value(e) for e in (s.read, s.read_step, s.write, s.write_step, s.rows, s.cols)
        )

        def spot(base: Val, start: Val, step: Val, times: Val | int, more: Val | int) -> Val:
            times, more = (Val(str(v), "i64") if isinstance(v, int) else v for v in (times, more))
            return b.gep(elem, base, b.add(b.add(start, b.op("mul", step, times)), more))

        side = Val(str(TILE), "i64")
        whole, part, after = b.label("whole"), b.label("part"), b.label("after")
        b.cond_br(b.op("and", b.cmp("eq", rows, side), b.cmp("eq", cols, side)), whole, part)
        b.place(whole)
        lanes = min(TILE, max(2, self.isa.lanes(elem)))
        type_ = vec_type(elem, lanes)
        for j in range(0, TILE, lanes):
            for i in range(0, TILE, lanes):
                lines = [b.load(type_, spot(source, read, across, j + k, i), size) for k in range(lanes)]
                for k, line in enumerate(transpose(b, lines, 8 * size)):
                    b.store(line, spot(target, write, along, i + k, j), size)
        b.br(after)
        b.place(part)

        def row() -> None:
            i = self._scalar_index("turned row")

            def element() -> None:
                j = self._scalar_index("turned column")
                b.store(b.load(elem, spot(source, read, across, j, i), size), spot(target, write, along, i, j), size)

            self._counted("turned column", b.const("i64", 0), cols, 1, element)

        self._counted("turned row", b.const("i64", 0), rows, 1, row)
        b.br(after)
        b.place(after)

    def _check(self, s: Check) -> None:
        b = self.b
        value = self._lanes(s.value)
        if self.lanes > 1:
            bad = b.op("xor", value, b.const(value.type, 1))
            if self.mask is not None:
                bad = b.op("and", bad, self.mask)
            any_bad = b.intrinsic("llvm.vector.reduce.or", "i1", bad, overload=bad.type)
        else:
            any_bad = b.op("xor", value, Val("true", "i1"))
        yes, after = b.label("failed"), b.label("after")
        b.cond_br(any_bad, yes, after)
        b.place(yes)
        b.store(Val(str(s.code), "i64"), b.gep("i64", Val("%block", "ptr"), Val("-1", "i64")), 8)
        b.br(after)
        b.place(after)


_NO_INDEX = (1 << 63) - 1


def _width(kernel: Kernel, isa: ISA) -> int:
    """Lanes of one vector: as many as fit of the widest type that the kernel moves or folds."""
    sizes = [1]
    seen: set[int] = set()

    def look(e: Expr) -> None:
        if id(e) in seen:
            return
        seen.add(id(e))
        if e.op == "load":
            sizes.append(_SIZE[kernel.buffers[e.attr].type])
        elif is_float(e.type):
            sizes.append(_SIZE[e.type])
        for a in e.args:
            look(a)

    for s in walk(kernel.body):
        if isinstance(s, Loop):
            continue
        if isinstance(s, Init):
            sizes.append(_SIZE[s.type])
        elif isinstance(s, (Store, Combine)):
            sizes.append(_SIZE[kernel.buffers[s.buffer].type])
        for e in expressions(s):
            look(e)
    return max(1, isa.vector_bits // 8 // max(sizes))


def heavy(e: Expr) -> bool:
    """Whether an expression calls the vector maths library (and should not be repeated lightly)."""
    return (e.op in vecmath.NAMES and e.op not in ("floor", "ceil", "trunc", "rint", "sqrt")) or any(
        heavy(a) for a in e.args
    )
