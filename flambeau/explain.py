"""``flambeau.compiler.explain``: what became of a compiled call."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .deferral import Ran, deferral
from .graph.plan import StepInfo
from .runtime import memory

__all__ = ["Explanation", "Kernel", "Part", "explain"]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_COPIED = 1 << 26  # bytes of the copy that shows the bandwidth of memory


class Kernel(NamedTuple):
    """A step of a part: what it does, and the seconds it took in a second run."""

    step: StepInfo
    seconds: float


class Part(NamedTuple):
    """A program that ran as one: why it ran when it did ("item", say) and where in the user's program, how many
    operators were recorded, its kernels, the bytes of its temporary memory."""

    reason: str
    place: str
    operators: int
    kernels: list[Kernel]
    temporary: int


class Explanation(NamedTuple):
    """What a compiled call did, part after part.  ``str()`` of it is a report."""

    parts: list[Part]
    bandwidth: float
    """Bytes a second that copying memory on one thread reads and writes."""

    @property
    def graph_count(self) -> int:
        """The number of programs that ran."""
        return len(self.parts)

    @property
    def graph_break_count(self) -> int:
        """The number of times that something in the call forced a program to run."""
        return max(0, len(self.parts) - 1)

    @property
    def op_count(self) -> int:
        """The number of operators that were recorded."""
        return sum(part.operators for part in self.parts)

    @property
    def break_reasons(self) -> list[str]:
        """What forced each program but the last to run, and where."""
        return [f"{part.reason} at {part.place}" for part in self.parts[:-1]]

    def __str__(self) -> str:
        lines = [
            f"{self.op_count} operators in {self.graph_count} program(s), "
            f"{sum(len(p.kernels) for p in self.parts)} kernels; copying memory: {self.bandwidth / 1e9:.1f} GB/s"
        ]
        for number, part in enumerate(self.parts):
            seconds = sum(k.seconds for k in part.kernels)
            lines.append(
                f"\nprogram {number}: {part.operators} operators, {len(part.kernels)} kernels, {seconds * 1e6:.1f} us, "
                f"{part.temporary / 1e6:.2f} MB of temporary memory"
            )
            lines.append(f"  ran because of {part.reason} at {part.place}")
            lines.append("        us        MB    GB/s  of copy  GFLOP/s  kernel: operators")
            for step, time_ in part.kernels:
                rate = step.nbytes / max(time_, 1e-9)
                speed = f"{step.work / max(time_, 1e-9) / 1e9:9.1f}" if step.work else " " * 9
                lines.append(
                    f"{time_ * 1e6:10.1f}{step.nbytes / 1e6:10.3f}{rate / 1e9:8.1f}{rate / self.bandwidth:8.0%}{speed}"
                    f"  {step.name}: {', '.join(step.operators) or '-'}"
                )
        return "\n".join(lines)


@functools.cache
def _bandwidth() -> float:
    source, target = memory.allocate(_COPIED), memory.allocate(_COPIED)
    try:
        ctypes.memset(source, 1, _COPIED)
        ctypes.memset(target, 1, _COPIED)
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            ctypes.memmove(target, source, _COPIED)
            best = min(best, time.perf_counter() - start)
    finally:
        memory.free(source, _COPIED)
        memory.free(target, _COPIED)
    return 2 * _COPIED / best


def _who_looked() -> tuple[str, str]:
    """(the function of flambeau that the user's program called, file and line of the call)"""
    frame: Any = sys._getframe(1)
    name = ""
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<")):
        name = frame.f_code.co_name
        frame = frame.f_back
    if frame is None:
        return name, "?"
    return name, f"{frame.f_code.co_filename}:{frame.f_lineno}"


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Calls a compiled function twice and tells what the second call did: the programs it became and what made them
    run, with file and line; their kernels with the operators fused in each, bytes, operations and time.

    Each kernel is timed in a run of its own after the program's, on the same memory, so results that are written in
    place count twice: explain a call whose arguments may be spoiled.
    """
    recorder = deferral()
    recorder.flush()
    parts: list[Part] = []

    def observe(ran: Ran, operators: int) -> None:
        reason, place = _who_looked()
        parts.append(Part(reason, place, operators, _measured(ran), ran.plan.temporary))

    fn(*args, **kwargs)
    recorder.flush()
    recorder.observer = observe
    try:
        result = fn(*args, **kwargs)
        recorder.flush()
        del result
    finally:
        recorder.observer = None
    if parts and parts[-1].reason == "explain":
        parts[-1] = parts[-1]._replace(reason="the end of the call", place="-")
    return Explanation(parts, _bandwidth())


def _measured(ran: Ran) -> list[Kernel]:
    """The steps of a program, each with its time in another run into memory of its own."""
    addresses = [s.ptr + offset * layout.itemsize for s, layout, offset in ran.arguments]
    sizes = ran.plan.sizes
    results = [memory.allocate(sizes[k]) if i is None and sizes.get(k) else 0 for k, i in enumerate(ran.into)]
    try:
        seconds = iter(ran.plan.measure([*results, *addresses], ran.numbers))
        return [Kernel(step, sum(next(seconds, 0.0) for _ in range(step.calls))) for step in ran.plan.steps()]
    finally:
        for k, address in enumerate(results):
            if address:
                memory.free(address, sizes[k])
