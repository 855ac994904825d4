"""What a script did: every program and operator that ran, when, from which line, and what each of its kernels is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..compiled.places import Caller, who_called
from ..compiled.watch import Program, Work, measured, timed, watching
from ..deferred.deferral import deferral
from ..deferred.executed import Executed
from ..dispatch.arguments import plain_arguments, signature
from ..dispatch.call import around, special
from ..dispatch.operator import Operator
from ..graph.plan import Plan
from ..graph.schedule import BufferSpec
from ..runtime import engine
from ..tensor import Tensor

__all__ = ["Collection", "Event", "Run", "collecting"]

_MOST = 200_000  # events that are kept of a long script: the first ones


class Event(NamedTuple):
    """Something that took time: a range of the clock in seconds, how deep it is nested, and what it was.

    ``run`` numbers the ``Run`` that it was one of, -1 if none; ``first`` if that was planned (and perhaps compiled).
    """

    start: float
    seconds: float
    depth: int
    name: str
    place: str
    run: int
    first: bool


class Run:
    """A deferred program, or an eager operator on one signature, however often it ran."""

    def __init__(
        self, name: str, reason: Caller, calls: list[Caller], work: list[Work], buffers: tuple[BufferSpec, ...],
        temporary: int,
    ) -> None:  # fmt: skip
        self.name, self.reason, self.calls, self.work = name, reason, calls, work
        self.buffers, self.temporary = buffers, temporary
        self.count, self.seconds = 0, 0.0


class Collection:
    """Everything that was seen.  ``requests`` are the kernels that were loaded, by the addresses of their functions."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.events: list[Event] = []
        self.requests: dict[int, engine.Request] = {}
        self.began = self.ended = 0.0
        self.dropped = 0
        self._known: dict[Any, int] = {}
        self._depth = 0
        self._thread = threading.get_ident()

    def loaded(self, request: engine.Request, code: engine.Compiled) -> None:
        """Notes what a kernel's code was made from."""
        self.requests.update(dict.fromkeys(code.addresses(), request))

    def program(self, program: Program) -> None:
        """Notes a deferred program that has run."""
        key = (tuple(program.text), program.wanted)
        number, first = self._known.get(key, -1), key not in self._known
        if first:
            number = self._known[key] = len(self.runs)
            plan = program.plan()
            work = measured(program, plan)
            name = f"program {number}"
            self.runs.append(Run(name, program.reason, program.operators, work, plan.buffers, plan.temporary))
        self._count(number, program.seconds)
        place = program.reason.place
        self._add(Event(program.started, program.seconds, self._depth, self.runs[number].name, place, number, first))

    def around(self, op: Operator, args: tuple[Any, ...], proceed: Callable[[Any], Any], inplace: bool) -> Any:
        """Notes an operator's call, if it is not recorded in a program."""
        recorder = deferral()
        if threading.get_ident() != self._thread or recorder.depth or any(_waits(a) for a in args):
            return proceed(args)
        name = f"{op.name}_" if inplace else op.name
        start = time.perf_counter()
        self._depth += 1
        try:
            result = proceed(args)
        finally:
            self._depth -= 1
        took = time.perf_counter() - start
        if _waits(result):
            return result
        caller = who_called()
        number, first = self._eager(op, args, inplace, name, caller)
        if number >= 0:
            self._count(number, took)
        self._add(Event(start, took, self._depth, name, caller.place, number, first))
        return result

    def _eager(self, op: Operator, args: tuple[Any, ...], inplace: bool, name: str, caller: Caller) -> tuple[int, bool]:
        """(number of the run that an eager call belongs to, whether it is new); -1 for one without kernels"""
        if op.kind != "kernel":
            return -1, False
        try:
            key, tensors, numbers = signature(op, plain_arguments(op, args))
            full = ("in place", *key) if inplace else tuple(key)
            found = op.plans.get(full)
        except TypeError:  # an argument that is no part of a key: such calls are not planned
            return -1, False
        if found is None or found.plan is None:
            return -1, False
        identity = (op.name, full)
        if identity in self._known:
            return self._known[identity], False
        number = self._known[identity] = len(self.runs)
        plan: Plan = found.plan
        into = [0 if inplace and not k else None for k in range(len(found.layouts))]
        ran = Executed(plan, [(t._storage, t._layout, t._offset) for t in tensors], numbers, into)
        nbytes = sum(t._layout.nbytes for t in tensors) + sum(layout.nbytes for layout in found.layouts)
        work = _eager_work(plan, ran, name, nbytes)
        self.runs.append(Run(name, caller, [caller._replace(name=name)], work, plan.buffers, plan.temporary))
        return number, True

    def _count(self, number: int, seconds: float) -> None:
        self.runs[number].count += 1
        self.runs[number].seconds += seconds

    def _add(self, event: Event) -> None:
        if len(self.events) < _MOST:
            self.events.append(event)
        else:
            self.dropped += 1


def _waits(value: Any) -> bool:
    """Whether a value is, or has among its items, a tensor whose value is pending."""
    if isinstance(value, Tensor):
        return value._storage.pending is not None
    return isinstance(value, (list, tuple)) and any(map(_waits, value))


def _eager_work(plan: Plan, ran: Executed, name: str, nbytes: int) -> list[Work]:
    """The steps of an eager operator's plan.  One that is bound to another size tells the bytes of the first."""
    seconds = iter(timed(plan, ran))
    found = []
    for step in plan.steps():
        took = sum(next(seconds, 0.0) for _ in range(step.calls))
        step = step._replace(operators=(name,))
        if plan.single is not None:
            step = step._replace(nbytes=nbytes, work=step.work * nbytes // max(1, step.nbytes))
        found.append(Work(step, (0,), took))
    return found


@contextmanager
def collecting(found: Collection) -> Iterator[None]:
    """Collects what this thread does inside of ``with``."""
    engine.observer = found.loaded
    special.append(found)
    around.wrappers = (found.around, *around.wrappers)
    found.began = time.perf_counter()
    try:
        with watching(found.program):
            yield
            deferral().flush()
    finally:
        found.ended = time.perf_counter()
        around.wrappers = tuple(w for w in around.wrappers if w != found.around)
        special.remove(found)
        engine.observer = None
