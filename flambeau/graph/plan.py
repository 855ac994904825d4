"""A schedule bound to code: what runs when an operator, or a whole deferred program, is executed."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .. import settings
from ..dtype import coded
from ..loop.nodes import Kernel
from ..loop.printer import kernel_text
from ..loop.verify import verify
from ..runtime import engine, memory, pool
from ..runtime.native import make_caller
from ..target.emit import kernel_ir
from ..target.isa import ISA
from .lower import KernelCall, Place, flat_words
from .node import graph_text
from .schedule import ExternCall, Output, schedule

__all__ = ["CODES", "Extern", "KernelError", "Operand", "Plan", "make_plan"]


class Operand(NamedTuple):
    """What an extern call sees of a buffer: element type, shape and strides (the address comes at the call)."""

    type: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Extern(Protocol):
    """A template or host computation that a graph may contain (``Graph.extern``).

    Hashable: equal specs do the same.  ``bind`` returns a function of the addresses of the operands and of the
    results, which fills the results (contiguous unless the plan's result has other strides) and returns 0 or an error
    code.
    """

    def bind(
        self, inputs: Sequence[Operand], outputs: Sequence[Operand]
    ) -> Callable[[Sequence[int], Sequence[int]], int]: ...


CODES: dict[int, tuple[type[Exception], str]] = {
    1: (IndexError, "index out of range in self"),
    2: (RuntimeError, "ZeroDivisionError"),
    3: (RuntimeError, "all elements of input should be between 0 and 1"),
}
"""What a kernel's error code means."""


class KernelError(Exception):
    """A kernel reported an error by its code; the operator layer words it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"kernel error {code}")
        self.code = code


_code: dict[tuple[str, str], int] = {}


def entry_address(kernel: Kernel, isa: ISA) -> int:
    """The address of a kernel's entry, compiled unless it is known; kernels are known by their text."""
    text = kernel_text(kernel)
    found = _code.get((text, isa.key))
    if found is None:
        if settings.verify:
            verify(kernel)
        if settings.debug >= 4:
            print(text, file=sys.stderr)
        name = "k" + hashlib.sha256(text.encode()).hexdigest()[:16]
        found = engine.load(name, text, lambda: kernel_ir(kernel._replace(name=name), isa), isa).address(name)
        _code[text, isa.key] = found
    return found


class Plan:
    """Kernels bound to sizes, in order.

    ``sizes`` are the bytes of the results; ``single`` is, for a plan of one kernel on the arguments alone, the
    function of (buffers in ``order``, scalars), for the hot path; ``order`` numbers the results 0, 1, ... and then the
    arguments.
    """

    __slots__ = (
        "_address",
        "_buffers",
        "_flat",
        "_keep",
        "_steps",
        "_temps",
        "inputs",
        "order",
        "outputs",
        "scalar_order",
        "single",
        "sizes",
    )

    def __init__(self, outputs: Sequence[Output], input_count: int, owners: Sequence[int] = ()) -> None:
        if settings.debug >= 3:
            print(graph_text(o.node for o in outputs), file=sys.stderr)
        plan = schedule(outputs, owners)
        isa = ISA.host()
        self.inputs = input_count
        self.outputs = [k for k, o in enumerate(outputs) if o.into is None]
        self._buffers = plan.buffers
        self.sizes = {b.slot: b.size * coded(b.type).itemsize for b in plan.buffers if b.kind == "output"}
        self._temps = [(i, b.size * coded(b.type).itemsize) for i, b in enumerate(plan.buffers) if b.kind == "temp"]
        self._steps: list[tuple[Callable[..., int], tuple[int, ...], tuple[int, ...]]] = []
        self._keep: list[object] = []
        self._flat: KernelCall | None = None
        for step in plan.steps:
            if isinstance(step, KernelCall):
                call, params = _bind(step, entry_address(step.kernel, isa))
                self._keep.append(params)
                self._steps.append((call, step.buffers, step.scalars))
            else:
                self._steps.append((_bind_extern(step, plan.buffers), (), ()))
        self.single = None
        self.order: tuple[int, ...] = ()
        self.scalar_order: tuple[int, ...] = ()
        if len(self._steps) == 1 and self._steps[0][1] and not self._temps:
            call, buffers, scalars = self._steps[0]
            self.single, self.scalar_order = call, scalars
            count = len(self.outputs)
            self.order = tuple(
                plan.buffers[b].slot + (count if plan.buffers[b].kind == "input" else 0) for b in buffers
            )
            only = plan.steps[0]
            if isinstance(only, KernelCall) and only.flat and len(self.sizes) == 1:
                self._flat, self._address = only, entry_address(only.kernel, isa)

    def resized(self, n: int) -> Plan | None:
        """The same for other operands of ``n`` (at least 2) consecutive elements instead of as many as now, if this
        plan is one loop over consecutive elements; None otherwise.  It costs a twentieth of planning."""
        step = self._flat
        if step is None or n < 2:
            return None
        had = step.words[3]
        chunks, words = flat_words(n, step.flat)
        other = object.__new__(Plan)
        other.inputs, other.outputs, other.order, other.scalar_order = (
            self.inputs,
            self.outputs,
            self.order,
            self.scalar_order,
        )
        other._temps, other._flat = [], step._replace(chunks=chunks, words=words)
        other.sizes = {k: size // had * n for k, size in self.sizes.items()}
        other._buffers = tuple(b._replace(size=n) if b.size == had else b for b in self._buffers)
        other._address = self._address
        other.single, params = _bind(other._flat, self._address)
        other._keep = [params]
        other._steps = [(other.single, step.buffers, step.scalars)]
        return other

    def function(self) -> Callable[..., int]:
        """The plan of one result as a function of its address, those of the arguments, and the numbers given at run
        time; it returns 0 or an error code."""
        count = self.inputs + 1
        if (
            self.single is not None
            and self.order == tuple(range(count))
            and self.scalar_order == tuple(range(len(self.scalar_order)))
        ):
            return self.single
        values = {"output": 0, "input": 1}
        temps = [nbytes for _, nbytes in self._temps]
        behind = iter(range(self.inputs + 1, self.inputs + 1 + len(temps)))
        # an unused buffer is that of a value which its only reader computes itself: any address does
        places = [
            next(behind) if b.kind == "temp" else 0 if b.kind == "unused" else values[b.kind] + b.slot
            for b in self._buffers
        ]
        steps = [(call, [places[b] for b in buffers], scalars) for call, buffers, scalars in self._steps]

        def run(*values: Any) -> int:
            taken = [memory.allocate(n) for n in temps]
            held, numbers = (*values[:count], *taken), values[count:]
            try:
                for call, where, scalars in steps:
                    if where:
                        status = call(*[held[p] for p in where], *[numbers[s] for s in scalars])
                    else:
                        status = call([held[p] for p in places])
                    if status:
                        return status
            finally:
                for address, nbytes in zip(taken, temps):
                    memory.free(address, nbytes)
            return 0

        return run

    def run(self, results: Sequence[int], arguments: Sequence[int], scalars: Sequence[float]) -> None:
        """Computes the results at the addresses ``results`` (by result number); raises KernelError."""
        addresses = [0] * len(self._buffers)
        for i, b in enumerate(self._buffers):
            if b.kind == "input":
                addresses[i] = arguments[b.slot]
            elif b.kind == "output":
                addresses[i] = results[b.slot]
        taken: list[tuple[int, int]] = []
        try:
            for i, nbytes in self._temps:
                addresses[i] = memory.allocate(nbytes)
                taken.append((addresses[i], nbytes))
            for call, buffers, numbers in self._steps:
                if buffers:
                    status = call(*[addresses[b] for b in buffers], *[scalars[s] for s in numbers])
                else:
                    status = call(addresses)
                if status:
                    raise KernelError(status)
        finally:
            for address, nbytes in taken:
                memory.free(address, nbytes)


def make_plan(outputs: Sequence[Output], input_count: int, owners: Sequence[int] = ()) -> Plan:
    """The plan for these results of a graph with ``input_count`` arguments; ``owners`` numbers, for each, the memory it
    lies in, where several may lie in one."""
    return Plan(outputs, input_count, owners)


def _bind(call: KernelCall, address: int) -> tuple[Callable[..., int], object]:
    """(the native function of the kernel at ``address``, the parameters that it points to)"""
    words = (call.chunks, pool.address() if call.chunks > 1 else 0, *call.words)
    params = (ctypes.c_int64 * len(words))(*words)
    signature = "p" * len(call.buffers) + "".join("d" if s == "f64" else "i" for s in call.kernel.scalars)
    return make_caller(address, signature, bound=(ctypes.addressof(params),), release_gil=call.chunks > 1), params


def _bind_extern(call: ExternCall, buffers: Sequence[object]) -> Callable[[list[int]], int]:
    def operand(p: Place) -> Operand:
        return Operand(buffers[p.buffer].type, p.shape, p.strides)  # type: ignore[attr-defined]

    def where(p: Place) -> tuple[int, int]:
        return p.buffer, p.offset * coded(buffers[p.buffer].type).itemsize  # type: ignore[attr-defined]

    run = call.spec.bind([operand(p) for p in call.inputs], [operand(p) for p in call.outputs])  # type: ignore[attr-defined]
    inputs = [where(p) for p in call.inputs]
    results = [where(p) for p in call.outputs]

    def extern(addresses: list[int]) -> int:
        return run([addresses[b] + o for b, o in inputs], [addresses[b] + o for b, o in results])

    return extern
