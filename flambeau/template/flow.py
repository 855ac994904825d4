"""Structured control flow on top of the instruction builder: functions, counted loops, branches.

The templates are long nests of loops with run-time bounds; these helpers write their blocks and phis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..target.builder import Builder, Module, Val, elem_type, lanes_of, vec_type
from ..target.isa import ISA

__all__ = ["Flow", "Loop", "function", "parallel_for", "phased_entry"]

I64 = "i64"
PTR = "ptr"


class Loop:
    """A counted loop being written: its index, the values it carries, what they become, and the step (which the body
    may compute)."""

    def __init__(self, index: Val, values: list[Val], step: Val) -> None:
        self.index = index
        self.values = values
        self.next = values
        self.step = step


class Flow(Builder):
    """A builder with loops, branches and i64 arithmetic on constants, for an instruction set."""

    def __init__(self, module: Module, isa: ISA) -> None:
        super().__init__(module)
        self.isa = isa
        self._firsts: dict[str, Val] = {}  # the counts of `lane_mask`, by the names of their masks

    # -- i64 arithmetic ----------------------------------------------------------------------------
    def i64(self, value: int) -> Val:
        """A constant."""
        return Val(str(value), I64)

    def _pair(self, a: Val | int, b: Val | int) -> tuple[Val, Val]:
        return (self.i64(a) if isinstance(a, int) else a), (self.i64(b) if isinstance(b, int) else b)

    def iadd(self, a: Val | int, b: Val | int) -> Val:
        """a + b, which must not overflow."""
        a, b = self._pair(a, b)
        if b.name == "0":
            return a
        return b if a.name == "0" else self.op("add nsw", a, b)

    def isub(self, a: Val | int, b: Val | int) -> Val:
        """a - b, which must not overflow."""
        return self.op("sub nsw", *self._pair(a, b))

    def imul(self, a: Val | int, b: Val | int) -> Val:
        """a * b, which must not overflow."""
        a, b = self._pair(a, b)
        return a if b.name == "1" else self.op("mul nsw", a, b)

    def idiv(self, a: Val | int, b: Val | int) -> Val:
        """Quotient of values that are not negative."""
        a, b = self._pair(a, b)
        return a if b.name == "1" else self.op("udiv", a, b)

    def imod(self, a: Val | int, b: Val | int) -> Val:
        """The remainder of a by b, neither negative."""
        return self.op("urem", *self._pair(a, b))

    def imin(self, a: Val | int, b: Val | int) -> Val:
        """The smaller of two signed integers."""
        a, b = self._pair(a, b)
        return self.select(self.cmp("slt", a, b), a, b)

    def imax(self, a: Val | int, b: Val | int) -> Val:
        """The greater of two signed integers."""
        a, b = self._pair(a, b)
        return self.select(self.cmp("sgt", a, b), a, b)

    def icmp(self, predicate: str, a: Val | int, b: Val | int) -> Val:
        """Whether a and b compare so (LLVM's predicate)."""
        return self.cmp(predicate, *self._pair(a, b))

    # -- memory ------------------------------------------------------------------------------------
    def bytes_at(self, pointer: Val, offset: Val | int) -> Val:
        """The address ``offset`` bytes after ``pointer``."""
        return self.gep("i8", pointer, self.i64(offset) if isinstance(offset, int) else offset)

    def at(self, elem: str, pointer: Val, index: Val | int) -> Val:
        """The address of element ``index`` of an array of ``elem``."""
        return self.gep(elem, pointer, self.i64(index) if isinstance(index, int) else index)

    def word(self, pointer: Val, index: int) -> Val:
        """The i64 word ``index`` of an array at ``pointer``."""
        return self.load(I64, self.at(I64, pointer, index), align=8)

    def masked_load(self, type_: str, pointer: Val, mask: Val, align: int = 1, other: Val | None = None) -> Val:
        """Lanes outside ``mask`` are those of ``other`` (default: zero) and their memory is not touched."""
        symbol = f"llvm.masked.load.{_suffix(type_)}.p0"
        self.module.declare(symbol, type_, [PTR, mask.type, type_])
        return self.new(
            type_,
            f"call {type_} @{symbol}(ptr align {align} {pointer.name}, {mask}, {type_} {_name(other)})",
        )

    def masked_store(self, value: Val, pointer: Val, mask: Val, align: int = 1) -> None:
        """Writes the lanes of a vector that the mask marks.

        Without registers for masks, the first lanes are written by ordinary stores of halves: AVX2's instruction takes
        25 cycles on some processors, and the others have none.
        """
        if mask.name in self._firsts and not self.isa.masks:
            self._store_first(value, pointer, self._firsts[mask.name], align)
            return
        symbol = f"llvm.masked.store.{_suffix(value.type)}.p0"
        self.module.declare(symbol, "void", [value.type, PTR, mask.type])
        self.emit(f"call void @{symbol}({value}, ptr align {align} {pointer.name}, {mask})")

    def _store_first(self, value: Val, pointer: Val, count: Val, align: int) -> None:
        """Writes the first ``count`` lanes: all of them, or half of them, then half of the rest."""
        lanes, elem = lanes_of(value.type), elem_type(value.type)

        def some(value: Val, pointer: Val, count: Val) -> None:
            half = lanes_of(value.type) // 2
            if half == 0:
                with self.when(self.icmp("sgt", count, 0)):
                    self.store(value, pointer, align)
                return
            pick = self.extract if half == 1 else lambda v, at: self.shuffle(v, v, range(at, at + half))
            low, high = (pick(value, at) for at in (0, half))

            def first() -> list[Val]:
                self.store(low, pointer, align)
                return [high, self.at(elem, pointer, half), self.isub(count, half)]

            some(*self.choose(self.icmp("sge", count, half), first, lambda: [low, pointer, count]))

        self.either(
            self.icmp("sge", count, lanes),
            lambda: self.store(value, pointer, align),
            lambda: some(value, pointer, count),
        )

    def masked_gather(self, type_: str, pointers: Val, mask: Val, align: int = 1, other: Val | None = None) -> Val:
        """Lanes outside ``mask`` are those of ``other`` (default: zero) and their memory is not touched."""
        lanes = lanes_of(type_)
        symbol = f"llvm.masked.gather.{_suffix(type_)}.v{lanes}p0"
        self.module.declare(symbol, type_, [pointers.type, mask.type, type_])
        return self.new(
            type_,
            f"call {type_} @{symbol}({pointers.type} align {align} {pointers.name}, {mask}, {type_} {_name(other)})",
        )

    def prefetch(self, pointer: Val, write: bool = False, level: int = 1) -> None:
        """Asks for a cache line, to be in the cache of this level; any address will do."""
        self.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        self.emit(f"call void @llvm.prefetch.p0({pointer}, i32 {int(write)}, i32 {4 - level}, i32 1)")

    def lane_mask(self, count: Val, lanes: int) -> Val:
        """The mask of the first ``count`` (i64) of ``lanes`` lanes."""
        type_ = vec_type("i32", lanes)
        limit = self.cast("trunc", self.imin(count, lanes), "i32")
        mask = self.cmp("slt", self.iota(type_), self.splat(limit, lanes))
        self._firsts[mask.name] = count
        return mask

    # -- control -----------------------------------------------------------------------------------
    @contextmanager
    def loop(self, start: Val | int, stop: Val | int, step: Val | int = 1, carry: Sequence[Val] = ()) -> Iterator[Loop]:
        """``for index in range(start, stop, step)``; carried values start as ``carry``, take ``next`` after
        every pass, and are in ``values`` after the loop."""
        start, stop = self._pair(start, stop)
        before, head, body, latch, done = self.current, *(self.label(s) for s in ("head", "body", "latch", "done"))
        self.br(head)
        self.place(head)
        self._count += 1
        tag = f"%l{self._count}"
        index = Val(tag, I64)
        self.lines.append(f"  {tag} = phi i64 [ {start.name}, %{before} ], [ {tag}.next, %{latch} ]")
        values = []
        slots = []
        for n, value in enumerate(carry):
            values.append(Val(f"{tag}.{n}", value.type))
            slots.append(len(self.lines))
            self.lines.append("")
        self.cond_br(self.cmp("slt", index, stop), body, done)
        self.place(body)
        state = Loop(index, values, self.i64(step) if isinstance(step, int) else step)
        yield state
        self.br(latch)
        self.place(latch)
        self.lines.append(f"  {tag}.next = add nsw i64 {tag}, {state.step.name}")
        self.br(head)
        for n, (slot, first) in enumerate(zip(slots, carry, strict=True)):
            after = state.next[n]
            self.lines[slot] = f"  {tag}.{n} = phi {first.type} [ {first.name}, %{before} ], [ {after.name}, %{latch} ]"
        self.place(done)

    @contextmanager
    def when(self, cond: Val) -> Iterator[None]:
        """Runs the block only where ``cond`` holds."""
        yes, done = self.label("then"), self.label("fi")
        self.cond_br(cond, yes, done)
        self.place(yes)
        yield
        self.br(done)
        self.place(done)

    def either(self, cond: Val, yes: Callable[[], None], no: Callable[[], None]) -> None:
        """Runs one of two blocks."""
        then, other, done = self.label("then"), self.label("else"), self.label("fi")
        self.cond_br(cond, then, other)
        self.place(then)
        yes()
        self.br(done)
        self.place(other)
        no()
        self.br(done)
        self.place(done)

    def choose(self, cond: Val, yes: Callable[[], list[Val]], no: Callable[[], list[Val]]) -> list[Val]:
        """The values of one of two blocks."""
        then, other, done = self.label("then"), self.label("else"), self.label("fi")
        self.cond_br(cond, then, other)
        self.place(then)
        left = yes()
        left_end = self.current
        self.br(done)
        self.place(other)
        right = no()
        right_end = self.current
        self.br(done)
        self.place(done)
        return [self.phi(a.type, (a, left_end), (b, right_end)) for a, b in zip(left, right, strict=True)]

    def call_address(self, address: Val, *args: Val) -> None:
        """Calls the function without a result at ``address`` (an i64)."""
        pointer = self.new(PTR, f"inttoptr {address} to ptr")
        self.emit(f"call void {pointer.name}({', '.join(map(str, args))})")

    def call_void(self, symbol: str, *args: Val) -> None:
        """Calls a function that returns nothing."""
        self.emit(f"call void {symbol}({', '.join(map(str, args))})")


def function(
    module: Module,
    isa: ISA,
    name: str,
    args: Sequence[tuple[str, str]],
    write: Callable[..., None],
    result: str = "void",
    linkage: str = "internal",
    attributes: str = "",
) -> str:
    """Defines ``name`` once; ``write(b, *arguments)`` writes its body, ``ret`` included.  Returns ``@name``.

    ``args`` are (type with attributes, name) pairs.
    """

    def make() -> str:
        b = Flow(module, isa)
        write(b, *(Val(f"%{n}", t.split()[0]) for t, n in args))
        signature = ", ".join(f"{t} %{n}" for t, n in args)
        words = " ".join(filter(None, (attributes, isa.function_attributes())))
        return f"define {linkage} {result} @{name}({signature}) {words} {{\nentry:\n{b.body()}\n}}"

    return module.require(name, make)


def parallel_for(b: Flow, pool: Val, body: str, block: Val, chunks: Val) -> None:
    """Runs ``body(block, chunk, worker)`` for every chunk: through the pool, or here when ``pool`` is 0 or there is
    only one chunk."""

    def here() -> None:
        with b.loop(0, chunks) as each:
            b.call_void(body, block, each.index, b.i64(0))

    def there() -> None:
        address = b.new(PTR, f"inttoptr {pool} to ptr")
        run = b.load(PTR, address, align=8)
        b.emit(f"call void {run.name}({address}, ptr {body}, {block}, {chunks})")

    b.either(b.op("or", b.icmp("eq", pool, 0), b.icmp("sle", chunks, 1)), here, there)


def phased_entry(
    module: Module,
    isa: ISA,
    name: str,
    arguments: Sequence[str],
    words: Sequence[str],
    phases: Sequence[tuple[str, Callable[[Flow, Val, Val, Val], None], str]],
) -> None:
    """Writes the entry ``name`` of a kernel that runs in phases, each over chunks that the pool's workers share.

    Args:
        arguments: names of the entry's pointers; the first is that of the kernel's words. They lie side by side in the
            block that every body gets; the status word lies before them. It starts as 0, a body may set it, and the
            entry returns it.
        words: names of the kernel's words, among them "pool".
        phases: for each a name, what writes its body from (block, chunk, worker), and the word that counts its chunks.
    """
    chunk = [(PTR, "block"), (I64, "chunk"), (I64, "worker")]
    bodies = [function(module, isa, f"{name}.{phase}", chunk, write) for phase, write, _ in phases]

    def write_entry(b: Flow, *values: Val) -> None:
        memory = b.alloca(f"[{len(values) + 1} x i64]", align=16)
        block = b.bytes_at(memory, 8)
        b.store(b.i64(0), memory, align=8)
        for i, value in enumerate(values):
            b.store(value, b.at(I64, block, i), align=8)
        pool, *counts = (b.word(values[0], words.index(n)) for n in ("pool", *(count for *_, count in phases)))
        for body, count in zip(bodies, counts, strict=True):
            parallel_for(b, pool, body, block, count)
        b.ret(b.load(I64, memory, align=8))

    function(module, isa, name, [(PTR, n) for n in arguments], write_entry, result=I64, linkage="")


def _name(value: Val | None) -> str:
    return "zeroinitializer" if value is None else value.name


def _suffix(type_: str) -> str:
    lanes, elem = type_[1:-1].split(" x ")
    return f"v{lanes}" + {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16"}.get(elem, elem)
