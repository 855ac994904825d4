"""Loop IR to LLVM text, with explicit vectors.

A loop marked ``vector`` is emitted twice: over whole vectors (of ``unroll`` registers each, which LLVM
keeps in flight together), then over the rest, with masked memory accesses where the instruction set has
them for every type (AVX-512) and one element at a time elsewhere.  Inside such a loop an expression that
varies with its variable is a vector; anything else stays a scalar, is computed where its variables are
first known, and is repeated over the lanes only when a vector operation needs it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..loop.nodes import (
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
)  # fmt: skip
from .access import Access
from .accumulators import Accumulators
from .builder import Module, Val, vec_type
from .isa import ISA
from .scalar import MEMORY_TYPE
from .turn import transpose
from .values import SIZE, Scope

__all__ = ["entry", "kernel_ir"]

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


class _Body(Accumulators, Access):
    """The body of a kernel: its loops and statements."""

    def text(self) -> str:
        b = self.b
        self.scopes.append(Scope(None))
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
        scope = Scope(var)
        self.scopes.append(scope)
        self._bind(var, index)
        body()  # type: ignore[operator]
        self.scopes.pop()
        following = b.add(index, Val(str(step), "i64"))
        b.lines[where] = f"  {index.name} = phi i64 [ {lo.name}, %{before} ], [ {following.name}, %{b.current} ]"
        b.br(head)
        b.place(after)

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

        return all(s.value.op == "load" and SIZE[s.value.type] >= 4 and any(map(told, s.value.args)) for s in moves)

    def _several(self, loop: Loop, lo: Val, hi: Val) -> Val:
        """The iterations of a loop that come ``unroll`` at a time; returns where the others begin."""
        b = self.b
        times = Val(str(loop.unroll), "i64")
        rest = b.op("srem", b.sub(hi, lo), times)
        middle = b.sub(hi, rest)

        def together() -> None:
            index = self.scopes[-1].values[("var", loop.var)]
            for k in range(loop.unroll):
                self.scopes.append(Scope(loop.var))
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

    def _turn(self, s: Turn) -> None:
        """Whole tiles in registers, others element by element."""
        b = self.b
        code = self.kernel.buffers[s.source].type
        size = SIZE[code]
        elem = MEMORY_TYPE[code] if size > 2 else f"i{8 * size}"  # vectors of half are not everywhere
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
