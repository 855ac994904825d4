"""A plan as one native function: a table of kernel entries with their parameters, run in order by one call.

The *slots* of a program are addresses given at the call: results, arguments, and the block that holds temporary values.
Each entry of the table says which kernel to call and where its buffers are (slot and byte offset) and its numbers::

    thunk, target, params, [slot, offset] for each buffer, index for each number

``thunk`` is a function that knows the kernel's signature; it is generated once for each signature.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..runtime import engine
from ..runtime.native import make_caller
from ..target.isa import ISA

__all__ = ["RETRY", "Copy", "Entry", "Launch", "Packed", "Program", "Slot"]

_WIDEST = 24  # slots and numbers that are passed as arguments of a native function; more go through an array
_MOST_FIXED = 256  # numbers that it copies behind those


RETRY = 1 << 20
"""What an entry returns that cannot do without scratch memory."""


class Packed(NamedTuple):
    """What a template reads in place of one of its operands that is a constant.

    ``position`` is that operand's among the buffers of the launch, ``key`` tells what is made of it (together with
    where the operand lies), ``nbytes`` its size.  It is made by the launch's entry with ``words``, all buffers the
    operand, and its memory as scratch memory.
    """

    position: int
    key: tuple[object, ...]
    nbytes: int
    words: tuple[int, ...]


class Launch(NamedTuple):
    """One call of a kernel's entry by a template.

    ``words`` are its parameters.  ``buffers`` tell (operand, byte offset): operand k is the k-th input, ~k the k-th
    result.  The address of ``scratch`` bytes of memory follows them if that is not None (0: none is needed, but the
    entry has the parameter), then ``numbers``.  ``big``: worth releasing the interpreter's lock.  ``stack``: with the
    null address for scratch memory the entry takes it from the stack, or returns `RETRY` having computed nothing.
    ``packed``: one of the operands is not to be given itself.  ``keep``: what has to live as
    long as the launch may run.
    """

    address: int
    words: tuple[int, ...]
    buffers: tuple[tuple[int, int], ...]
    scratch: int | None = None
    numbers: tuple[float | int, ...] = ()
    big: bool = True
    stack: bool = False
    packed: Packed | None = None
    keep: object = None


class Entry(NamedTuple):
    """A kernel in a program: its parameters, its buffers as (slot, byte offset), its numbers by index and type; and
    what has to live as long."""

    address: int
    words: tuple[int, ...]
    buffers: tuple[tuple[int, int], ...]
    numbers: tuple[int, ...]
    types: str
    keep: object = None


class Slot(NamedTuple):
    """Where a slot of a repeated program is at first, in which buffer of the repetition and how many bytes from its
    start, and by how many it moves after each run."""

    buffer: int
    offset: int
    step: int


class Copy(NamedTuple):
    """What is copied before a repetition: so many bytes from the start of a buffer to a place in another one."""

    source: int
    target: int
    offset: int
    nbytes: int


_RUN = """
define i64 @run(ptr %program, ptr %slots, ptr %numbers) nounwind {
entry:
  %count = load i64, ptr %program
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %j, %go ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %call, label %done
call:
  %j = add i64 %i, 1
  %at = getelementptr ptr, ptr %program, i64 %j
  %record = load ptr, ptr %at
  %thunk = load ptr, ptr %record
  %status = call i64 %thunk(ptr %record, ptr %slots, ptr %numbers)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %stop, label %go
go:
  br label %next
stop:
  ret i64 %status
done:
  ret i64 0
}
"""


_MEMCPY = "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
_REPEAT = (
    _RUN
    + """
define i64 @repeat(ptr %program, ptr %slots, ptr %numbers, ptr %steps, i64 %width, i64 %times) nounwind {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i1, %advanced ]
  %more = icmp slt i64 %i, %times
  br i1 %more, label %call, label %done
call:
  %status = call i64 @run(ptr %program, ptr %slots, ptr %numbers)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %stop, label %move
move:
  %k = phi i64 [ 0, %call ], [ %k1, %moving ]
  %some = icmp slt i64 %k, %width
  br i1 %some, label %moving, label %advanced
moving:
  %slot = getelementptr i64, ptr %slots, i64 %k
  %step = getelementptr i64, ptr %steps, i64 %k
  %at = load i64, ptr %slot
  %by = load i64, ptr %step
  %to = add i64 %at, %by
  store i64 %to, ptr %slot
  %k1 = add i64 %k, 1
  br label %move
advanced:
  %i1 = add i64 %i, 1
  br label %next
stop:
  ret i64 %status
done:
  ret i64 0
}
"""
)


def _thunk_ir(buffers: int, types: str) -> str:
    lines = [
        "  %target = getelementptr ptr, ptr %record, i64 1",
        "  %function = load ptr, ptr %target",
        "  %words = getelementptr ptr, ptr %record, i64 2",
        "  %params = load ptr, ptr %words",
    ]
    passed = ["ptr %params"]
    for k in range(buffers):
        lines += [
            f"  %p{k} = getelementptr i64, ptr %record, i64 {3 + 2 * k}",
            f"  %s{k} = load i64, ptr %p{k}",
            f"  %q{k} = getelementptr i64, ptr %record, i64 {4 + 2 * k}",
            f"  %o{k} = load i64, ptr %q{k}",
            f"  %t{k} = getelementptr ptr, ptr %slots, i64 %s{k}",
            f"  %b{k} = load ptr, ptr %t{k}",
            f"  %a{k} = getelementptr i8, ptr %b{k}, i64 %o{k}",
        ]
        passed.append(f"ptr %a{k}")
    for k, code in enumerate(types):
        type_ = {"d": "double", "i": "i64"}[code]
        lines += [
            f"  %np{k} = getelementptr i64, ptr %record, i64 {3 + 2 * buffers + k}",
            f"  %ni{k} = load i64, ptr %np{k}",
            f"  %nq{k} = getelementptr i64, ptr %numbers, i64 %ni{k}",
            f"  %n{k} = load {type_}, ptr %nq{k}",
        ]
        passed.append(f"{type_} %n{k}")
    lines += [f"  %status = call i64 %function({', '.join(passed)})", "  ret i64 %status"]
    body = "\n".join(lines)
    return f"define i64 @thunk(ptr %record, ptr %slots, ptr %numbers) nounwind {{\n{body}\n}}\n"


def _enter_ir(slots: int, given: str, fixed: int) -> str:
    """``i64 enter(program, slot..., number...)``, which runs the program on these slots; the ``given`` numbers come
    first, and so many ``fixed`` ones follow from the program's own table."""
    passed = ["ptr %program", *(f"ptr %a{k}" for k in range(slots))]
    lines = [f"  %slots = alloca [{slots} x ptr]"]
    for k in range(slots):
        lines += [f"  %p{k} = getelementptr ptr, ptr %slots, i64 {k}", f"  store ptr %a{k}, ptr %p{k}"]
    lines += [
        "  %count = load i64, ptr %program",
        "  %behind = add i64 %count, 1",
        "  %at = getelementptr ptr, ptr %program, i64 %behind",
        "  %own = load ptr, ptr %at",
    ]
    numbers = "%own"
    if given:
        numbers = "%numbers"
        lines.append(f"  %numbers = alloca [{len(given) + fixed} x i64]")
        for k, code in enumerate(given):
            type_ = {"d": "double", "i": "i64"}[code]
            passed.append(f"{type_} %x{k}")
            lines += [f"  %n{k} = getelementptr i64, ptr %numbers, i64 {k}", f"  store {type_} %x{k}, ptr %n{k}"]
        lines += [
            f"  %rest = getelementptr i64, ptr %numbers, i64 {len(given)}",
            f"  %from = getelementptr i64, ptr %own, i64 {len(given)}",
            f"  call void @llvm.memcpy.p0.p0.i64(ptr %rest, ptr %from, i64 {8 * fixed}, i1 false)",
        ]
    lines += [f"  %status = call i64 @run(ptr %program, ptr %slots, ptr {numbers})", "  ret i64 %status"]
    body = "\n".join(lines)
    return f"{_RUN}{_MEMCPY}define i64 @enter({', '.join(passed)}) nounwind {{\n{body}\n}}\n"


def _repeated_ir(buffers: int, slots: Sequence[int], copies: Sequence[tuple[int, int]]) -> str:
    """``i64 repeated(words, buffer...)``: copies, then runs a program again and again (see ``Program.repeated``)."""
    arguments = ", ".join(["ptr %words", *(f"ptr %b{k}" for k in range(buffers))])
    width = len(slots)
    lines = [f"  %slots = alloca [{width} x i64]", f"  %steps = alloca [{width} x i64]"]
    count = 0

    def word() -> str:
        nonlocal count
        lines.extend(
            [f"  %at{count} = getelementptr i64, ptr %words, i64 {count}", f"  %w{count} = load i64, ptr %at{count}"]
        )
        count += 1
        return f"%w{count - 1}"

    program, numbers, times = word(), word(), word()
    lines += [f"  %program = inttoptr i64 {program} to ptr", f"  %numbers = inttoptr i64 {numbers} to ptr"]
    for k, buffer in enumerate(slots):
        offset, step = word(), word()
        lines += [
            f"  %place{k} = getelementptr i8, ptr %b{buffer}, i64 {offset}",
            f"  %slot{k} = getelementptr ptr, ptr %slots, i64 {k}",
            f"  store ptr %place{k}, ptr %slot{k}",
            f"  %step{k} = getelementptr i64, ptr %steps, i64 {k}",
            f"  store i64 {step}, ptr %step{k}",
        ]
    for k, (source, target) in enumerate(copies):
        offset, nbytes = word(), word()
        lines += [
            f"  %to{k} = getelementptr i8, ptr %b{target}, i64 {offset}",
            f"  call void @llvm.memcpy.p0.p0.i64(ptr %to{k}, ptr %b{source}, i64 {nbytes}, i1 false)",
        ]
    lines += [
        f"  %status = call i64 @repeat(ptr %program, ptr %slots, ptr %numbers, ptr %steps, i64 {width}, i64 {times})",
        "  ret i64 %status",
    ]
    body = "\n".join(lines)
    return f"{_REPEAT}{_MEMCPY}define i64 @repeated({arguments}) nounwind {{\n{body}\n}}\n"


def _thunk(buffers: int, types: str) -> int:
    found = _thunks.get((buffers, types))
    if found is None:
        name = f"thunk {buffers}{types}"
        made = engine.load(name, "program", lambda: _thunk_ir(buffers, types), ISA.named("generic"))
        found = _thunks[buffers, types] = made.address("thunk")
    return found


_thunks: dict[tuple[int, str], int] = {}


class Program:
    """Entries in memory, ready to run.  ``fixed`` are the numbers that never change: they follow the first ``given``
    numbers, which come with each call, in the entries' numbering."""

    def __init__(
        self, entries: Sequence[Entry], slots: int, given: str, fixed: Sequence[float | int], big: bool
    ) -> None:
        self.slots, self.big = slots, big
        self._keep: list[object] = []
        self.records: list[int] = []
        for e in entries:
            words = (ctypes.c_int64 * len(e.words))(*e.words)
            record = array("q", [_thunk(len(e.buffers), e.types), e.address, ctypes.addressof(words)])
            for slot, offset in e.buffers:
                record += array("q", (slot, offset))
            record.extend(e.numbers)
            self._keep += [words, record, e.keep]
            self.records.append(record.buffer_info()[0])
        self._given = given
        self._format = "".join("d" if t == "d" else "q" for t in given)
        self._fixed = b"".join(struct.pack("d" if isinstance(x, float) else "q", x) for x in fixed)
        self._own = array("b", bytes(8 * len(given)) + self._fixed + bytes(8))
        table = array("q", [len(self.records), *self.records, self._own.buffer_info()[0]])
        self._table = table
        self._address = table.buffer_info()[0]
        code = engine.load("program", "program", lambda: _RUN, ISA.named("generic"))
        self._run = make_caller(code.address("run"), "pp", bound=(self._address,), release_gil=big)

    def run(self, addresses: Sequence[int], numbers: Sequence[float | int]) -> int:
        """Runs the kernels on these slots; returns 0 or the error code of the one that failed."""
        slots = array("q", addresses)
        if not self._format:
            return self._run(slots.buffer_info()[0], self._own.buffer_info()[0])
        values = struct.pack(self._format, *numbers) + self._fixed
        own = array("b", values)
        return self._run(slots.buffer_info()[0], own.buffer_info()[0])

    def repeated(
        self, times: int, buffers: int, slots: Sequence[Slot], copies: Sequence[Copy]
    ) -> tuple[int, tuple[int, ...]]:
        """A kernel of so many ``buffers`` that makes some copies, runs the program ``times`` times, and moves the slots
        after each run: the address of its entry, and its parameters.  What a run reads of the one before has to lie
        where that put it.  For programs to which no numbers are given; this one has to live as long as the kernel."""
        which, pairs = [s.buffer for s in slots], [(c.source, c.target) for c in copies]
        name = f"repeated {buffers} {which} {pairs}"
        code = engine.load(name, "program", lambda: _repeated_ir(buffers, which, pairs), ISA.named("generic"))
        words = [self._address, self._own.buffer_info()[0], times]
        for s in slots:
            words += [s.offset, s.step]
        for c in copies:
            words += [c.offset, c.nbytes]
        return code.address("repeated"), tuple(words)

    def function(self) -> Callable[..., int] | None:
        """The program as a function of its slots and the numbers that are given; None where there are too many."""
        given, fixed = self._given, len(self._fixed) // 8
        if self.slots + len(given) > _WIDEST or (given and fixed > _MOST_FIXED):
            return None
        name = f"enter {self.slots} {given} {fixed}" if given else f"enter {self.slots}"
        code = engine.load(name, "program", lambda: _enter_ir(self.slots, given, fixed), ISA.named("generic"))
        bound = (self._address,)
        return make_caller(code.address("enter"), "p" * self.slots + given, bound=bound, release_gil=self.big)

    def steps(self, addresses: Sequence[int], numbers: Sequence[float | int]) -> list[Callable[[], int]]:
        """The kernels one by one, as functions, for measuring each."""
        slots = array("q", addresses)
        own = array("b", struct.pack(self._format, *numbers) + self._fixed + bytes(8))
        found = []
        for record in self.records:
            thunk = ctypes.c_int64.from_address(record).value
            call = make_caller(thunk, "", bound=(record, slots.buffer_info()[0], own.buffer_info()[0]))
            found.append(_Step(call, (slots, own, self)))
        return found  # type: ignore[return-value]


class _Step:
    """A bound kernel that keeps what it points to."""

    def __init__(self, call: Callable[[], int], keep: object) -> None:
        self.call, self.keep = call, keep

    def __call__(self) -> int:
        return self.call()
