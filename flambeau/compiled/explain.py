"""``flambeau.compiler.explain``: what became of a compiled call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..deferred.deferral import deferral
from ..graph.plan import StepInfo
from .limits import Limits, limits
from .places import Caller
from .watch import Program, Work, measured, watching

__all__ = ["Explanation", "Kernel", "Part", "explain", "explained"]

_OWN = frozenset({"explain", "explained"})  # functions whose flush is the end of the call


class Kernel(NamedTuple):
    """A step of a part: what it does, the seconds it took in a second run, the seconds that the machine's limits allow,
    and the calls in the user's program whose work it does."""

    step: StepInfo
    seconds: float
    limit: float
    operators: tuple[Caller, ...]

    @property
    def share(self) -> float:
        """How much of the machine's limit it reaches: 1 is all."""
        return self.limit / self.seconds if self.seconds else 0.0


class Part(NamedTuple):
    """A program that ran as one: the call that made it run ("item", say) and its place in the user's program, how many
    operators were recorded, its kernels, the bytes of its temporary memory, and the calls that it was recorded from."""

    reason: str
    place: str
    line: str
    operators: int
    kernels: list[Kernel]
    temporary: int
    calls: list[Caller]

    @property
    def seconds(self) -> float:
        """The time of all kernels."""
        return sum(k.seconds for k in self.kernels)


class Explanation(NamedTuple):
    """What a compiled call did, part after part.  ``str()`` of it is a report."""

    parts: list[Part]
    limits: Limits

    @property
    def bandwidth(self) -> float:
        """Bytes a second that copying in main memory reads and writes."""
        return self.limits.roofs[-1].rate

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
    def kernels(self) -> list[Kernel]:
        """The kernels of all parts."""
        return [k for part in self.parts for k in part.kernels]

    @property
    def break_reasons(self) -> list[str]:
        """What forced each program but the last to run, and where."""
        return [f"{p.reason} at {p.place}{f': {p.line}' if p.line else ''}" for p in self.parts[:-1]]

    def __str__(self) -> str:
        kernels = self.kernels
        seconds, limit = sum(k.seconds for k in kernels), sum(k.limit for k in kernels)
        roofs = ", ".join(f"{r.name} {r.rate / 1e9:.0f} GB/s" for r in self.limits.roofs)
        lines = [
            f"{self.op_count} operators in {self.graph_count} program(s), {len(kernels)} kernels, {_time(seconds)}; "
            f"the machine's limit is {_time(limit)}",
            f"limits with {self.limits.threads} thread(s): {roofs}, {self.limits.peak / 1e9:.0f} GFLOP/s",
        ]
        lines += [f"graph break: {text}" for text in self.break_reasons]
        for number, part in enumerate(self.parts):
            lines += _part_lines(number, part)
        return "\n".join(lines)


def _part_lines(number: int, part: Part) -> list[str]:
    lines = [
        "",
        f"program {number}: {part.operators} operators, {len(part.kernels)} kernels, {_time(part.seconds)}, "
        f"{part.temporary / 1e6:.2f} MB of temporary memory",
        f"  ran because of {part.reason} at {part.place}{f': {part.line}' if part.line else ''}",
        "        us        MB    GB/s  GFLOP/s  of limit  kernel: operators (lines)",
    ]
    for k in part.kernels:
        rate = k.step.nbytes / max(k.seconds, 1e-9)
        speed = f"{k.step.work / max(k.seconds, 1e-9) / 1e9:9.1f}" if k.step.work else " " * 9
        places = dict.fromkeys((c.origin or c.place).rpartition("/")[2] for c in k.operators if c.place != "?")
        where = f"  ({', '.join(list(places)[:4])}{', ...' if len(places) > 4 else ''})" if places else ""
        lines.append(
            f"{k.seconds * 1e6:10.1f}{k.step.nbytes / 1e6:10.3f}{rate / 1e9:8.1f}{speed}{k.share:10.0%}"
            f"  {k.step.name}: {', '.join(k.step.operators) or '-'}{where}"
        )
    return lines


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Calls a compiled function twice and tells what the second call did: the programs it became and what made them
    run, with file and line; their kernels with the operators fused in each, bytes, operations, and time against the
    machine's limit.

    Each kernel is timed in runs of its own after the program's, which change nothing.  Raises what ``fn`` raises.
    """
    fn(*args, **kwargs)
    return explained(fn, args, kwargs)[0]


def explained(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Explanation, Any]:
    """(what one call did, its result)"""
    deferral().flush()
    bounds = limits()
    parts: list[Part] = []

    def tell(program: Program) -> None:
        reason = program.reason
        if reason.name in _OWN:
            reason = Caller("the end of the call", "-", "")
        plan = program.plan()
        kernels = [_kernel(program, work, bounds) for work in measured(program, plan)]
        calls = program.operators
        parts.append(Part(reason.name, reason.place, reason.line, len(calls), kernels, plan.temporary, calls))

    with watching(tell):
        result = fn(*args, **kwargs)
        deferral().flush()
    return Explanation(parts, bounds), result


def _kernel(program: Program, work: Work, bounds: Limits) -> Kernel:
    calls = tuple(program.operators[k] for k in work.operators)
    return Kernel(work.step, work.seconds, bounds.seconds(work.step.nbytes, work.step.work), calls)
