"""Loads and stores of a kernel: addresses of lanes, masks, guards, every second element."""

from __future__ import annotations

from ..loop.nodes import Combine, Expr, Loop, Prefetch, Stmt, Store, expressions, visit  # fmt: skip
from .builder import Val, lanes_of, vec_type
from .scalar import MEMORY_TYPE, cast, elementwise
from .strided import addresses, every_other, interleave, masked_load, masked_store, spread, two_runs
from .values import SIZE, Values

__all__ = ["Access"]


class Access(Values):
    """How elements are read and written, one or a vector at a time."""

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

    def _load(self, e: Expr) -> Val:
        b = self.b
        buffer = int(e.attr)
        code = self.kernel.buffers[buffer].type
        elem, size = MEMORY_TYPE[code], SIZE[code]
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
            if self.kernel.buffers[buffer].written:
                value = self._kept(value)
            if step == -1:
                value = self._reversed(value)
        return self._boolean(value, buffer)

    def _kept(self, value: Val) -> Val:
        """What was loaded from where something is stored again.

        LLVM would turn a choice between this and another value into a store under a mask, which takes tens of cycles
        where masks are no registers of their own.
        """
        return value if self.masks else self.b.new(value.type, f"freeze {value}")

    def _prefetch(self, s: Prefetch) -> None:
        """A line at a time where the lanes are consecutive; scattered ones are left to the processor."""
        b = self.b
        address, step = self._address(s.buffer, s.offset)
        if step not in (0, 1):
            return
        b.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        nbytes = self.lanes * SIZE[self.kernel.buffers[s.buffer].type] if step else 1
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
        elem, size = MEMORY_TYPE[code], SIZE[code]
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
        size = SIZE[code]
        x, y = (self._memory(self._lanes(s.value), code) for s in (first, second))
        address, _ = self._address(first.buffer, first.offset)
        self._put(MEMORY_TYPE[code], size, address, 1, interleave(b, x, y), self.mask and spread(b, self.mask))

    def _combine(self, s: Combine) -> None:
        """Lanes run along a dimension of the target, so that their addresses differ."""
        b = self.b
        code = self.kernel.buffers[s.buffer].type
        elem, size = MEMORY_TYPE[code], SIZE[code]
        address, step = self._address(s.buffer, s.offset)
        if self.lanes == 1:
            old = b.load(elem, address, size)
        elif step == 0:
            raise AssertionError("lanes combine into one address")
        elif step == 1 and self.mask is None:
            old = self._kept(b.load(vec_type(elem, self.lanes), address, size))
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
