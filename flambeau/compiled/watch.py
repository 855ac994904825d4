"""Watching what compiled functions become: every program that runs, with the user's lines and a time for each kernel.

While somebody watches, this thread's recorder is a ``_Watched``: it notes where in the user's program every operator
was called, and tells of every program that has run.  When nobody does, this costs nothing.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..autograd.node import number
from ..deferred.deferral import Deferral, deferral, planned
from ..deferred.executed import Executed
from ..deferred.record import Recipe
from ..generator import default_generator
from ..graph.plan import Plan, StepInfo
from ..layout import Layout
from ..runtime import memory
from ..storage import Storage
from ..tensor import Tensor
from .places import Caller, who_called

__all__ = ["Program", "Work", "measured", "timed", "watching"]

_REPEATS = 2  # runs of each step that are timed, of which the shortest counts


class Program(NamedTuple):
    """A program of deferred operators that has run.

    ``operators`` are the calls in the user's program that it was recorded from, in order, ``text`` and ``wanted`` what
    found its plan; ``reason`` is the call that made it run, at ``started``, for ``seconds`` (with planning and
    compilation if it was new).
    """

    operators: list[Caller]
    reason: Caller
    text: list[Any]
    wanted: tuple[tuple[int, Layout, int | None], ...]
    owners: list[int]
    ran: Executed
    started: float
    seconds: float
    limit: int | None

    def plan(self) -> Plan:
        """The plan anew, with steps that tell which of ``operators`` they do: "name#number"."""
        return planned(self.text, self.wanted, self.owners, numbered=True, limit=self.limit)


class Work(NamedTuple):
    """A step of a program's plan: the operators of the program whose work it does, by number, and its seconds."""

    step: StepInfo
    operators: tuple[int, ...]
    seconds: float


class _Watched(Deferral):
    """The recorder of a thread that is being watched."""

    callers: list[Caller]
    places: dict[int, str]  # of the calls that put nodes on the tape, by the numbers of these
    tell: Callable[[Program], None]
    done: Program | None  # what has just run

    def record(self, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> None:
        """Sends the short path to ``apply``."""
        return None

    put = record

    def _append(self, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> None:
        super()._append(recipe, tensors, numbers)
        caller = who_called()
        caller = caller._replace(name=recipe.name, origin=self.places.get(caller.node, ""))
        # If the operator goes on the tape, its node gets the number that follows.
        self.places[number() + 1] = caller.origin or caller.place
        self.callers.append(caller)

    def _clear(self) -> None:
        super()._clear()
        self.callers = []

    def _run(self, storages: list[Storage]) -> Executed:
        homes = self.homes
        wanted = tuple([(s.pending.node, s.pending.layout, homes.get(id(s))) for s in storages])  # type: ignore[union-attr]
        owners = [self._owners[id(s)] for s, _, _ in self.arguments]
        reason, start = who_called(), time.perf_counter()
        ran = super()._run(storages)
        took = time.perf_counter() - start
        self.done = Program(self.callers, reason, self.text, wanted, owners, ran, start, took, self.limit)
        return ran

    def finish(self, storages: list[Storage]) -> Executed | None:
        ran = super().finish(storages)
        # Only now: an error of who is told is none of the program's.
        done, self.done = self.done, None
        if done is not None:
            self.tell(done)
        return ran


@contextmanager
def watching(tell: Callable[[Program], None]) -> Iterator[None]:
    """Inside of ``with``, ``tell`` is called for every program that this thread runs."""
    recorder: Any = deferral()
    if isinstance(recorder, _Watched):
        raise RuntimeError("explain: this thread's programs are being explained already")
    recorder.flush()
    recorder.__class__, recorder.callers, recorder.places, recorder.tell = _Watched, [], {}, tell
    recorder.done = None
    try:
        yield
    finally:
        recorder.__class__ = Deferral
        del recorder.callers, recorder.places, recorder.tell, recorder.done


def measured(program: Program, plan: Plan) -> list[Work]:
    """The steps of a program that has just run, each with the time it takes alone; ``plan`` is ``program.plan()``."""
    seconds = iter(timed(plan, program.ran))
    found = []
    for step in plan.steps():
        marks = [name.rpartition("#") for name in step.operators]
        numbers = tuple(int(mark) for name, _, mark in marks if name and mark.isdigit())
        names = tuple(dict.fromkeys(name or mark for name, _, mark in marks))
        took = sum(next(seconds, 0.0) for _ in range(step.calls))
        found.append(Work(step._replace(operators=names), numbers, took))
    return found


def timed(plan: Plan, ran: Executed) -> list[float]:
    """The seconds of each native call of a plan.

    They run again, on the arguments where they are, but into copies of those that are written.
    """
    sizes, copies = plan.sizes, {}
    results = [memory.allocate(sizes[k]) if i is None and sizes.get(k) else 0 for k, i in enumerate(ran.into)]
    state = default_generator.state_bytes()
    try:
        for i in ran.into:
            storage = ran.arguments[i][0] if i is not None else None
            if storage is not None and storage.nbytes and id(storage) not in copies:
                copies[id(storage)] = memory.allocate(storage.nbytes), storage.nbytes
                ctypes.memmove(copies[id(storage)][0], storage.ptr, storage.nbytes)
        addresses = [copies.get(id(s), (s.ptr,))[0] + offset * layout.itemsize for s, layout, offset in ran.arguments]
        values = [*results, *addresses]
        runs = [_run(plan, values, ran.numbers) for _ in range(_REPEATS)]
        return [min(times) for times in zip(*runs)]
    finally:
        default_generator.set_state_bytes(state)
        for address, nbytes in copies.values():
            memory.free(address, nbytes)
        for k, address in enumerate(results):
            if address:
                memory.free(address, sizes[k])


def _run(plan: Plan, values: Sequence[int], numbers: Sequence[float]) -> list[float]:
    if plan.single is None:
        return plan.measure(values, numbers)
    call = plan.function()
    start = time.perf_counter()
    call(*values, *numbers)
    return [time.perf_counter() - start]
