"""A schedule bound to code: what runs when an operator, or a whole deferred program, is executed."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

from .. import settings
from ..dtype import coded
from ..loop.nodes import Kernel
from ..runtime import blocks, memory, pool
from ..runtime.native import make_caller
from ..target.isa import ISA
from .code import entry_addresses, side_by_side
from .kernel import KernelCall
from .nest import flat_words
from .node import graph_text
from .parts import HostCall, Parts, Slots
from .program import RETRY, Launch, Program
from .schedule import BufferSpec, ExternCall, Output, Schedule, schedule
from .steps import (
    CODES,
    Comings,
    Derived,
    KernelError,
    Operand,
    Step,
    arranged,
    derived,
    extern_steps,
    most,
    staged,
)  # fmt: skip

__all__ = ["CODES", "Derived", "Extern", "KernelError", "Operand", "Plan", "StepInfo", "make_plan", "uncollected"]


class Extern(Protocol):
    """A template or host computation that a graph may contain (``Graph.extern``).

    Hashable: equal specs do the same.  A template has ``launches(inputs, outputs, workers)``, which returns the calls
    of kernels (``program.Launch``) that fill the results (contiguous unless the plan's result has other strides), with
    scratch memory for so many threads.  A host computation has ``bind(inputs, outputs)`` instead, which returns a
    function of the addresses of the operands and of the results that does so and returns 0 or an error code.
    """


_MANY = 8  # steps from which on code is loaded and compiled by several threads


class StepInfo(NamedTuple):
    """A step of a plan: a kernel, a template or a host computation, and the operators whose work it does.

    ``nbytes`` are the bytes of the buffers it touches, ``work`` its operations (0 where they are not counted); the
    buffers it reads and writes are numbers into ``Plan.buffers``.  ``calls`` counts its native calls; ``kernel`` is
    the loop IR of a kernel, ``addresses`` are the entries of a template.
    """

    name: str
    operators: tuple[str, ...]
    nbytes: int
    work: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    calls: int
    kernel: Kernel | None = None
    addresses: tuple[int, ...] = ()


class Plan:
    """Kernels bound to sizes, in order, over a block of memory for what is temporary, or what of it is short-lived.

    ``sizes`` are the bytes of the results; ``single`` is, for a plan of one kernel on the arguments alone, the
    function of (buffers in ``order``, scalars), for the hot path; ``order`` numbers the results 0, 1, ... and then the
    arguments.
    """

    __slots__ = (
        "_address",
        "_apart",
        "_block",
        "_constant",
        "_derived",
        "_flat",
        "_isa",
        "_keep",
        "_leaving",
        "_own",
        "_parts",
        "_results",
        "_schedule",
        "_stages",
        "_used",
        "_workers",
        "inputs",
        "order",
        "outputs",
        "scalar_order",
        "single",
        "sizes",
        "temporary",
    )

    def __init__(
        self,
        plan: Schedule,
        into: Sequence[int | None],
        input_count: int,
        owners: Sequence[int] = (),
        constant: bool = False,
        apart: bool = False,
        leaving: Sequence[int] | None = None,
    ) -> None:
        self._apart, self._leaving = apart, leaving
        # How many parts each stage takes, and what comes and goes with it.
        self._stages: list[Comings] = []
        self._own: list[tuple[int, int]] = []  # (slot, bytes) of temporary values that come and go
        self._isa = ISA.host()
        self._schedule = plan
        self._results = len(into)
        self.inputs = input_count
        self.outputs = [k for k, slot in enumerate(into) if slot is None]
        self.sizes = {b.slot: b.size * coded(b.type).itemsize for b in plan.buffers if b.kind == "output"}
        written = {owners[slot] for slot in into if slot is not None} if constant else set()
        self._constant = frozenset(k for k, owner in enumerate(owners) if owner not in written) if constant else ()
        self._derived: list[Derived] = []
        self._parts: list[Program | HostCall] | None = None
        self._workers = 0
        self._used: list[int] = []
        self.temporary = self._block = 0
        self._keep: object = None
        self._flat: KernelCall | None = None
        self.single: Callable[..., int] | None = None
        self.order: tuple[int, ...] = ()
        self.scalar_order: tuple[int, ...] = ()
        if len(plan.steps) == 1 and isinstance(plan.steps[0], KernelCall):
            only = plan.steps[0]
            if only.buffers and not any(b.kind == "temp" for b in plan.buffers):
                self._address = only.address or entry_addresses([only.kernel], self._isa)[0]
                only = only._replace(address=self._address)
                self._schedule = plan._replace(steps=(only,))
                self.single, self._keep = _bind(only, self._address)
                self.scalar_order = only.scalars
                count = len(into)
                self.order = tuple(
                    plan.buffers[b].slot + (count if plan.buffers[b].kind == "input" else 0) for b in only.buffers
                )
                if only.flat and len(self.sizes) == 1:
                    self._flat = only
        elif len(plan.steps) == 1 and not self._constant:
            self._call_template()
        if self.single is None:
            self._bind_all()

    def _steps(self, buffers: Sequence[BufferSpec]) -> list[Step]:
        """The calls, their code loaded or compiled: in several threads at once, for LLVM holds no lock."""
        todo = self._schedule.steps
        kernels = [step.kernel for step in todo if isinstance(step, KernelCall) and not step.address]

        def extern(step: ExternCall) -> list[Step]:
            return extern_steps(step, buffers, self._workers, self._constant)

        calls = [step for step in todo if not isinstance(step, KernelCall)]
        if len(todo) < _MANY:
            addresses = entry_addresses(kernels, self._isa)
            found = [extern(step) for step in calls]
        else:
            jobs: list[Callable[[], Any]] = [partial(entry_addresses, kernels, self._isa)]
            addresses, *found = side_by_side(jobs + [partial(extern, step) for step in calls])
        rest, codes = iter(found), iter(addresses)
        todo = tuple(
            s._replace(address=next(codes)) if isinstance(s, KernelCall) and not s.address else s for s in todo
        )
        self._schedule = self._schedule._replace(steps=todo)
        steps: list[Step] = []
        for step in todo:
            if isinstance(step, KernelCall):
                steps.append(Step(step, tuple((b, 0) for b in step.buffers)))
            else:
                steps += next(rest)
        return steps

    def _call_template(self) -> None:
        """Has a single launch that may take its scratch memory from the stack called with the results and arguments."""
        buffers, (only,) = self._schedule.buffers, self._schedule.steps
        if isinstance(only, KernelCall):
            return
        steps = extern_steps(only, buffers, pool.get_num_threads())
        call, touched = steps[0]
        kinds = {buffers[b].kind for b, _ in touched}
        if len(steps) > 1 or not isinstance(call, Launch) or not call.stack or not kinds <= {"input", "output"}:
            return
        if any(offset for _, offset in touched):
            return
        first = 0 if "output" in kinds else self._results
        total = self._results + self.inputs - first
        slots = [buffers[b].slot + self._results * (buffers[b].kind == "input") - first for b, _ in touched]
        params = (ctypes.c_int64 * len(call.words))(*call.words)
        self._keep, self.order = params, tuple(range(first, first + total))
        self.single = make_caller(
            call.address, "p" * total, bound=(ctypes.addressof(params),), release_gil=call.big, order=(*slots, None)
        )

    @property
    def elementwise(self) -> bool:
        """Whether this plan is one loop over consecutive elements, each read just before it is written."""
        return self._flat is not None

    def resized(self, n: int) -> Plan | None:
        """The same for other operands of ``n`` (at least 2) consecutive elements instead of as many as now, if this
        plan is one loop over consecutive elements; None otherwise.  It costs a twentieth of planning."""
        step = self._flat
        if step is None or n < 2:
            return None
        had = step.words[3]
        if (n < step.stream_from) != (had < step.stream_from):
            return None
        chunks, words = flat_words(n, step.flat)
        other = object.__new__(Plan)
        other.inputs, other.outputs, other.order, other.scalar_order = (
            self.inputs,
            self.outputs,
            self.order,
            self.scalar_order,
        )
        other._flat = step._replace(chunks=chunks, words=words)
        other.sizes = {k: size // had * n for k, size in self.sizes.items()}
        other._address, other._isa, other._results = self._address, self._isa, self._results
        other.temporary = other._block = 0
        other._schedule, other._parts, other._workers, other._used = self._schedule, None, 0, []
        other._constant, other._derived, other._apart = (), [], False
        other._leaving, other._stages, other._own = None, [], []
        other.single, other._keep = _bind(other._flat, self._address)
        return other

    # -- binding ---------------------------------------------------------------------------------
    def _bind_all(self) -> None:
        """Makes the native program, for as many threads as there are now: scratch memory depends on them."""
        buffers = self._schedule.buffers
        self._workers = pool.get_num_threads()
        steps = self._steps(buffers)
        stages = [] if self._leaving is None else staged(steps, buffers, self._leaving)
        own = [b for stage in stages for b in stage.begun]
        temps, scratch, self._block = arranged(steps, buffers, self._apart and not stages, own)
        self._derived = [
            derived(call, touched, buffers) for call, touched in steps if isinstance(call, Launch) and call.packed
        ]
        block = self._results + self.inputs + len(self._derived)
        sizes = {b: buffers[b].size * coded(buffers[b].type).itemsize for b in own}
        coming = {b: block + 1 + k for k, b in enumerate(own)}
        self._own = [(coming[b], sizes[b]) for b in own]
        self.temporary = self._block + most(stages, sizes)
        parts = Parts(Slots(buffers, self._results, block, temps, coming), steps, len(self._derived))
        ends = [stage.end for stage in stages] or [len(steps)]
        counts = []
        for begin, end in zip((0, *ends), ends):
            for number in range(begin, end):
                parts.add(steps[number], scratch.get(number))
            parts.close()
            counts.append(len(parts.found))

        def coming_and_going(group: Sequence[int]) -> list[tuple[int, int]]:
            return [(coming[b], sizes[b]) for b in group]

        self._stages = [
            Comings(count, s.results, coming_and_going(s.begun), coming_and_going(s.ended), s.arguments)
            for count, s in zip(counts, stages)
        ]
        self._used = parts.used
        self._parts = parts.found

    # -- running ---------------------------------------------------------------------------------
    def function(self) -> Callable[..., int]:
        """The plan as a function of the addresses of its results, those of the arguments, and the numbers given at run
        time; it returns 0 or an error code."""
        count = self._results + self.inputs
        if self.single is not None:
            if self.order == tuple(range(count)) and self.scalar_order == tuple(range(len(self.scalar_order))):
                return self.single
            # The schedule may be that of another size (``resized``): only the bound kernel is right.
            return lambda *values: self._status(values[:count], values[count:])
        self._settle()
        parts, nbytes, workers, threads = self._parts, self._block, self._workers, pool.get_num_threads
        first = parts[0] if parts is not None and len(parts) == 1 else None
        enter = first.function() if isinstance(first, Program) else None
        if enter is None:
            return lambda *values: self._status(values[:count], values[count:])

        make = blocks.block_maker(nbytes)
        used = [count + k for k in self._used]

        # ``own`` keeps the program that ``enter`` points to when the plan is bound to more threads.
        def run(*values: Any, own: object = first) -> int:
            if threads() > workers:
                return self._status(values[:count], values[count:])
            block = make()
            return enter(*values[:count], block.ptr, *[values[k] for k in used])

        def run_alone(*values: Any, own: object = first) -> int:
            return enter(*values[:count], 0, *[values[k] for k in used])

        return run if nbytes else run_alone

    def derived(self) -> list[Derived]:
        """The constants that a run needs besides the arguments, for plans that may keep some."""
        if self._constant:
            self._settle()
        return self._derived

    def _settle(self) -> None:
        """Binds again if there are more threads than there were: scratch memory is for a number of them."""
        if pool.get_num_threads() > self._workers:
            self._bind_all()

    def _status(self, addresses: Sequence[int], scalars: Sequence[float]) -> int:
        """Runs on results and arguments; returns 0 or an error code."""
        if self.single is not None:
            status = self.single(*[addresses[k] for k in self.order], *[scalars[s] for s in self.scalar_order])
            if status != RETRY:
                return status
        self._settle()
        assert self._parts is not None
        if self._stages:
            return self._run_stages(addresses, scalars, None, None)
        numbers = [scalars[k] for k in self._used] if self._used else ()
        nbytes = self._block
        block = memory.allocate(nbytes) if nbytes else 0
        try:
            slots = (*addresses, block)
            for part in self._parts:
                status = part.run(slots, numbers)
                if status:
                    return status
        finally:
            if nbytes:
                memory.free(block, nbytes)
        return 0

    @property
    def in_stages(self) -> bool:
        """Whether memory comes and goes while the plan runs (``run_in_stages``)."""
        return bool(self._stages)

    def run_in_stages(
        self,
        arguments: Sequence[int],
        scalars: Sequence[float],
        begin: Callable[[int], int],
        done: Callable[[int], object] | None,
    ) -> None:
        """``run`` of such a plan on arguments and constants: ``begin(k)`` gives the address of result ``k`` when it is
        to be written, ``done(slot)`` is told of each leaving argument once it has been read last.  Raises
        KernelError."""
        self._settle()
        status = self._run_stages((*[0] * self._results, *arguments), scalars, begin, done)
        if status:
            raise KernelError(status)

    def _run_stages(
        self,
        addresses: Sequence[int],
        scalars: Sequence[float],
        begin: Callable[[int], int] | None,
        done: Callable[[int], object] | None,
    ) -> int:
        assert self._parts is not None
        numbers = [scalars[k] for k in self._used] if self._used else ()
        allocate, free = memory.allocate, memory.free
        slots = [*addresses, allocate(self._block) if self._block else 0, *[0] * len(self._own)]
        first = 0
        try:
            for stage in self._stages:
                if begin is not None:
                    for k in stage.results:
                        slots[k] = begin(k)
                for slot, nbytes in stage.begun:
                    slots[slot] = allocate(nbytes)
                for part in self._parts[first : stage.parts]:
                    status = part.run(slots, numbers)
                    if status:
                        return status
                first = stage.parts
                for slot, nbytes in stage.ended:
                    free(slots[slot], nbytes)
                    slots[slot] = 0
                if done is not None:
                    for slot in stage.arguments:
                        done(slot)
            return 0
        finally:
            for slot, nbytes in (*self._own, (len(addresses), self._block)):
                if slots[slot]:
                    free(slots[slot], nbytes)

    def measure(self, addresses: Sequence[int], scalars: Sequence[float]) -> list[float]:
        """Runs once more, step by step, on results and arguments; returns the seconds of each step."""
        self._bind_all()
        assert self._parts is not None
        own = [(len(addresses), self._block), *self._own]
        slots = [*addresses, *(memory.allocate(nbytes) for _, nbytes in own)]
        numbers = [scalars[k] for k in self._used]
        seconds = []
        try:
            for part in self._parts:
                calls = part.steps(slots, numbers) if isinstance(part, Program) else [partial(part.run, slots, numbers)]
                for call in calls:
                    start = time.perf_counter()
                    call()
                    seconds.append(time.perf_counter() - start)
        finally:
            for slot, nbytes in own:
                memory.free(slots[slot], nbytes)
        return seconds

    @property
    def schedule(self) -> Schedule:
        """The steps, with the addresses of their code."""
        return self._schedule

    @property
    def buffers(self) -> tuple[BufferSpec, ...]:
        """The results, arguments and temporary values that the steps read and write."""
        return self._schedule.buffers

    def steps(self) -> list[StepInfo]:
        """What each step does, in order (a template may take several launches for one)."""
        buffers = self._schedule.buffers
        found = []
        for step in self._schedule.steps:
            kernel, count = None, 1
            addresses: tuple[int, ...] = ()
            if isinstance(step, KernelCall):
                kernel, name, origins, work = step.kernel, "kernel", step.origins, step.work
                outputs = tuple(b for b, k in zip(step.buffers, step.kernel.buffers) if k.written)
                inputs = tuple(b for b, k in zip(step.buffers, step.kernel.buffers) if not k.written)
            else:
                name, origins = type(step.spec).__name__, tuple(step.origin.split(", "))
                inputs, outputs = tuple(p.buffer for p in step.inputs), tuple(p.buffer for p in step.outputs)
                calls = extern_steps(step, buffers, self._workers or 1)
                count = len(calls)
                addresses = tuple(dict.fromkeys(c.call.address for c in calls if isinstance(c.call, Launch)))
                counted = getattr(step.spec, "operations", None)
                work = 0 if counted is None else counted(step.inputs, step.outputs)
            nbytes = sum(buffers[b].size * coded(buffers[b].type).itemsize for b in {*inputs, *outputs})
            found.append(StepInfo(name, origins, nbytes, work, inputs, outputs, count, kernel, addresses))
        return found

    def run(
        self, results: Sequence[int], arguments: Sequence[int], scalars: Sequence[float], constants: Sequence[int] = ()
    ) -> None:
        """Computes the results at the addresses ``results`` (by result number); raises KernelError.  ``constants`` are
        the addresses of what ``derived`` names."""
        status = self._status((*results, *arguments, *constants), scalars)
        if status:
            raise KernelError(status)

    def program(self) -> tuple[Program, int]:
        """The plan as one program, for as many threads as there are now, whose slots are the results, the arguments and
        a block of memory of so many bytes.  Raises ValueError for a plan that needs numbers or Python."""
        if self._parts is None or pool.get_num_threads() > self._workers:
            self._bind_all()
        assert self._parts is not None
        (part, *more) = self._parts
        if self._own or more or self._used or not isinstance(part, Program):
            raise ValueError("the plan is not one program without numbers")
        return part, self._block


@contextmanager
def uncollected() -> Iterator[None]:
    """Planning makes a hundred thousand objects that all live until it ends: to look through them for garbage, again
    and again, takes as long as planning itself."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def make_plan(
    outputs: Sequence[Output],
    input_count: int,
    owners: Sequence[int] = (),
    constant: bool = False,
    apart: bool = False,
    leaving: Sequence[int] | None = None,
) -> Plan:
    """The plan for these results of a graph with ``input_count`` arguments; ``owners`` numbers, for each, the memory it
    lies in, where several may lie in one.  ``constant``: what templates make of arguments alone is given to each run
    (``Plan.derived``).  ``apart``: every result is given memory of its own, of which nothing is read before it is
    written, so that temporary values may lie there until then.  ``leaving``, unless None: memory may come and go while
    the plan runs (``Plan.run_in_stages``), and that of these arguments is not needed behind it."""
    if settings.debug >= 3:
        print(graph_text(o.node for o in outputs), file=sys.stderr)
    return Plan(schedule(outputs, owners), [o.into for o in outputs], input_count, owners, constant, apart, leaving)


def _bind(call: KernelCall, address: int) -> tuple[Callable[..., int], object]:
    """(the native function of the kernel at ``address``, the parameters that it points to)"""
    words = (call.chunks, pool.address() if call.chunks > 1 else 0, *call.words)
    params = (ctypes.c_int64 * len(words))(*words)
    signature = "p" * len(call.buffers) + "".join("d" if s == "f64" else "i" for s in call.kernel.scalars)
    return make_caller(address, signature, bound=(ctypes.addressof(params),), release_gil=call.chunks > 1), params
