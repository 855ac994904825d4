"""Deferred execution: operators append to a program until someone looks at a number.

What is recorded of an operator is its recipe and the numbers of its operands (``record.py``), which takes about as long
as running a small one.  The text of the program finds its plan; only a new text becomes a graph and is planned.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from .. import graph
from ..layout import Layout, dense
from ..primitives import Recorder
from ..storage import Alias, Pending, Storage, Trace
from ..tensor import Tensor, materialize
from .executed import Executed
from .families import Wanted, shared_plan
from .record import ARGUMENT, CHAIN, VIEW, WHOLE, WRITE, Recipe, flat_below, replay

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = ["Deferral", "NeedsMemory", "deferral", "deferring", "planned", "plans", "threads"]

_BOUND = 40_000  # words of a program after which it runs even though nobody looked
_ATTEMPTS = 4  # to plan a program within a limit of memory
_LIMIT = 4096  # plans that are remembered
_CALLS = 2  # of a module with the same layouts, before the whole call waits
_PLANS = 4  # that a module's programs may take, and one more for as many runs
plans: dict[object, Plan] = {}
"""The plans of programs by their texts and the values wanted of them."""
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_new = object.__new__


class NeedsMemory(Exception):
    """A value must be in memory before this operator can be recorded."""


class Habit:
    """What was seen of a module that is called without grad mode: how often with which layouts, and how many plans the
    programs took that waited for the end of its calls."""

    _of: ClassVar[dict[int, tuple[ref[Any], Habit]]] = {}

    def __init__(self) -> None:
        self.calls: dict[tuple[Layout, ...], int] = {}
        self.runs = self.planned = 0
        self.text: tuple[Any, ...] = ()  # of the last program
        self.again: Any = None  # what repeats calls without their Python, set by who can
        self.noted: list[tuple[Executed, list[Storage]]] | None = None  # the programs that ran and what they computed

    @classmethod
    def _forget(cls, identity: int, _: object) -> None:
        cls._of.pop(identity, None)

    @classmethod
    def of(cls, module: Any) -> Habit:
        """That of this module."""
        found = cls.known(module)
        if found is None:
            found = cls()
            cls._of[id(module)] = ref(module, partial(cls._forget, id(module))), found
        return found

    @classmethod
    def known(cls, module: Any) -> Habit | None:
        """That of this module, if it has one."""
        found = cls._of.get(id(module))
        return found[1] if found is not None and found[0]() is module else None

    @property
    def steady(self) -> bool:
        """Whether a program came again."""
        return self.runs > self.planned

    def settled(self, args: Sequence[Any]) -> bool:
        """Whether the whole of another call may wait: the same layouts came before, and what the module does with them
        is mostly the same, so that it is worth a plan."""
        key = tuple([a._layout for a in args if isinstance(a, Tensor)])
        count = self.calls.get(key, 0)
        if count < _CALLS:
            if len(self.calls) >= _LIMIT:
                self.calls.clear()
            self.calls[key] = count + 1
            return False
        return self.planned <= _PLANS + self.runs // _PLANS


class _Failed(Trace):
    """Stands for the program of values whose computation raised ``error``: looking at one raises it again."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def flush(self) -> None:
        raise self.error


class Deferral(Trace):
    """The program of a thread's deferred operators.

    ``depth`` counts the compiled functions being executed; while it is positive every operator is recorded, otherwise
    those with a pending operand.  The node of a pending value is its number.

    While the program ``waits`` (in a module that is called without grad mode) a convolution is recorded, and so is what
    follows it element by element (`CHAIN`); whatever else needs its value, or the next convolution, runs the program.
    Or (`WHOLE`, where the module's `Habit` allows it) everything is recorded that cannot fail because of a value.
    """

    special: list[object]  # set by ``call.py``: anything in this list keeps calls off their short path
    recording: ClassVar[list[object]] = []  # a mark of every thread that is recording
    reading: ClassVar[list[object]] = []  # a mark of every program that reads memory, before which nobody may write
    limit: int | None  # bytes of temporary memory that the program should take at most

    def __init__(self) -> None:
        self.depth = 0
        self.waits = 0  # CHAIN or WHOLE: what may wait
        self.caller: tuple[Any, tuple[Any, ...]] | None = None  # the module that is called, and what with
        self.habit: Habit | None = None  # that of the module whose whole call waits
        self.plain = 0  # compiled functions being executed whose operators are not recorded, being little work
        self.unasked = False  # whether what is recorded is no compiled function (``inference_replay.py``)
        self.constant = False  # whether what is made of arguments alone may be kept for later runs
        self.runs = 0  # how often values were computed
        self.parts: list[list[Any]] | None = None  # while a call is weighed: the texts of its programs that have run
        self.outside = 0  # how many operators worked on memory instead of being recorded
        self.refuse: Callable[[], None] | None = (
            None  # raises for what would run a compiled function's program in parts
        )
        self.steps: Any = None  # while a call is watched or repeated: what notes or compares what steps (``steps.py``)
        self.active = False  # whether there is a program, or every operator is to be recorded
        self.lock = threading.RLock()
        self._mark = object()
        self._clear()

    def __del__(self) -> None:
        if self.arguments:
            self.reading.remove(self._mark)
        if self.active:
            self.recording.remove(self._mark)

    def enter(self, limit: int | None = None) -> None:
        """From now on every operator is recorded; what was recorded before runs.  ``limit``: bytes of temporary memory
        that the program, with all that joins it, should take at most."""
        if self.depth == 0:
            self.flush()
            self.limit = limit
        self.depth += 1
        self.special.append(self)
        self._start()

    def leave(self) -> None:
        """Ends what ``enter`` began."""
        self.depth -= 1
        self.special.remove(self)
        self._stop()

    def _start(self) -> None:
        if not self.active:
            self.active = True
            self.recording.append(self._mark)

    def _stop(self) -> None:
        if self.active and not self.depth and not self.text:
            self.active = False
            self.recording.remove(self._mark)

    def _clear(self) -> None:
        if not self.depth:
            self.limit = None
        self.text: list[Any] = []
        self.count = 0  # of values
        self.arguments: list[tuple[Storage, Layout, int]] = []
        self.numbers: list[float | int] = []
        self.live: list[ref[Storage]] = []  # that got a pending value
        self.homes: dict[int, int] = {}  # storage with memory of its own that is written -> slot of its argument
        self.borrowed: dict[int, Storage] = {}  # with memory, looking at which is to be noticed
        self._known: dict[tuple[Any, ...], int] = {}
        self._owners: dict[int, int] = {}
        self._slots: dict[int, int] = {}  # value -> the slot of the argument that it is

    # -- recording -------------------------------------------------------------------------------
    def operand(self, t: Tensor) -> int:
        """The number of a tensor's value; raises NeedsMemory if it is no view of the pending value's elements."""
        storage, layout = t._storage.memory, t._layout
        pending = storage.pending
        if pending is not None:
            if pending.trace is not self:  # another thread's, or one that failed
                pending.trace.flush()
                raise NeedsMemory
            if layout is pending.layout and not t._offset:
                return pending.node
            if layout.dtype is not pending.layout.dtype:
                raise NeedsMemory
            key = (pending.node, layout, t._offset)
            found = self._known.get(key)
            if found is None:
                self.text += (VIEW, *key)
                found = self._known[key] = self.count
                self.count = found + 1
            return found
        return self._argument(storage, layout, t._offset)

    def _argument(self, storage: Storage, layout: Layout, offset: int) -> int:
        identity = id(storage)
        key = (storage, layout, offset)
        found = self._known.get(key)
        if found is None:
            owner = self._owners.setdefault(identity, len(self.arguments))
            self.text += (ARGUMENT, layout, owner)
            if not self.arguments:
                self.reading.append(self._mark)
            found = self._known[key] = self.count
            self._slots[found] = len(self.arguments)
            self.arguments.append(key)
            self.count = found + 1
        return found

    def apply(self, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> list[Tensor]:
        """Records an operator on tensors; returns its results."""
        self._append(recipe, tensors, numbers)
        return self._results(recipe.layouts)

    def _append(self, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> None:
        """Adds an operator to the program."""
        self._start()
        operand = self.operand
        operands = [operand(t) for t in tensors]
        text = self.text
        text.append(recipe)
        text += operands
        if numbers:
            self.numbers += numbers

    def _results(self, layouts: Sequence[Layout]) -> list[Tensor]:
        results = []
        number = self.count
        for layout in layouts:
            storage = _new(Storage)
            storage.ptr = storage.nbytes = 0
            pending = storage.pending = _new(Pending)
            pending.node, pending.layout, pending.trace = number, layout, self
            number += 1
            self.live.append(ref(storage))
            t = _new(Tensor)
            t._layout, t._key, t._storage, t._offset = layout, None, storage, 0
            results.append(t)
        self.count = number
        return results

    def record(self, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> list[Tensor] | None:
        """``apply`` on the short path: None if this call is not to be recorded, or takes more care."""
        if not self.depth:
            for t in tensors:
                if t._storage.pending is not None:
                    break
            else:
                return None
            if recipe.joins < self.waits:
                for t in tensors:
                    materialize(t)
                return None
        return self.put(recipe, tensors, numbers)

    def put(self, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> list[Tensor] | None:
        """``apply`` of a call that is to be recorded: None, with nothing done, if it takes more care."""
        text, known = self.text, self._known
        operands: list[Any] = [recipe]
        for t in tensors:
            storage = t._storage
            if storage.__class__ is Alias:
                storage = storage.memory
            pending = storage.pending
            layout = t._layout
            if not t._plain:
                return None
            if pending is None:
                try:
                    number = known[storage, layout, t._offset]
                except KeyError:
                    number = self._argument(storage, layout, t._offset)
            elif pending.trace is not self:
                return None
            elif layout is pending.layout and not t._offset:
                number = pending.node
            elif layout.dtype is pending.layout.dtype:
                number = self.operand(t)
            else:
                return None
            operands.append(number)
        if numbers:
            for x in numbers:
                if x.__class__ is int and not _LEAST <= x <= _MOST:
                    return None
        if len(text) > _BOUND:
            return None
        if not self.active:
            self._start()
        if numbers:
            self.numbers += numbers
        text += operands
        if recipe.several:
            return self._results(recipe.layouts)
        # As ``_results``, of one: a fifth of the time of recording an operator.
        (layout,) = recipe.layouts
        storage = _new(Storage)
        storage.ptr = storage.nbytes = 0
        pending = storage.pending = _new(Pending)
        number = self.count
        pending.node, pending.layout, pending.trace = number, layout, self
        self.count = number + 1
        self.live.append(ref(storage))
        t = _new(Tensor)
        t._layout, t._key, t._storage, t._offset = layout, None, storage, 0
        return [t]

    def write(self, target: Tensor, recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]) -> None:
        """Records that the result of an operator replaces what ``target`` sees of its storage."""
        pending = target._storage.memory.pending
        if pending is not None and (pending.trace is not self or pending.layout.dtype is not target._layout.dtype):
            pending.trace.flush()
            raise NeedsMemory
        (result,) = self.apply(recipe, tensors, numbers)
        self._replace(target, result._storage.pending.node)  # type: ignore[union-attr]

    def write_all(
        self, targets: Sequence[Tensor], recipe: Recipe, tensors: Sequence[Tensor], numbers: Sequence[float | int]
    ) -> None:
        """Records that the results of an operator replace what the targets see; each has a storage of its own.

        Raises NeedsMemory where a target's value is another thread's, or is seen as another element type.
        """
        for target in targets:
            pending = target._storage.pending
            if pending is not None and (pending.trace is not self or pending.layout.dtype is not target._layout.dtype):
                raise NeedsMemory
        self._append(recipe, tensors, numbers)
        value = self.count  # the results need no tensors of their own
        self.count = value + len(targets)
        for target in targets:
            self._replace(target, value)
            target._key = None
            target._storage.version += 1
            value += 1

    def _replace(self, target: Tensor, value: int) -> None:
        """Makes a value that of what ``target`` sees."""
        storage, layout, offset = target._storage.memory, target._layout, target._offset
        pending = storage.pending
        if 0 in layout.shape:
            return
        if pending is None or id(storage) in self.borrowed:
            if pending is None:
                pending = self._whole(target)
            self.borrowed.pop(id(storage), None)
            if not self.homes:
                # Other tensors over this memory look as if it held their value: none may be read by the short path now.
                self.special.append(self.homes)
            self.homes[id(storage)] = self._slots[pending.node]
            self.live.append(ref(storage))
        if pending.layout is layout and not offset:
            pending.node = value
            return
        if flat_below(pending.layout, layout, offset):
            self.text += (WRITE, pending.node, layout, offset, value)
            pending.layout = dense(layout.dtype, (pending.layout.numel,))
        else:
            self.text += (WRITE, pending.node, layout, offset, value)
        pending.node = self.count
        self.count += 1

    def _whole(self, t: Tensor) -> Pending:
        """Makes the value of a storage that has memory pending: what is there."""
        storage, layout = t._storage.memory, t._layout
        natural = layout if not t._offset and layout.dense and layout.nbytes == storage.nbytes else None
        if natural is None:
            natural = dense(layout.dtype, (storage.nbytes // layout.itemsize,))
        pending = storage.pending = Pending(self._argument(storage, natural, 0), natural, self)
        return pending

    def borrow(self, t: Tensor) -> None:
        """Makes the value of a tensor that has memory look pending, so that looking at it ends the program."""
        if t._storage.memory.pending is None:
            self._start()
            self._whole(t)
            self.borrowed[id(t._storage.memory)] = t._storage.memory

    def give_back(self) -> None:
        """Ends the effect of ``borrow``."""
        for s in self.borrowed.values():
            s.pending = None
        self.borrowed.clear()

    def cut(self, words: int, values: int, arguments: int, numbers: int, live: int) -> None:
        """Takes out of the program what was recorded since it was so long, which is to have written to no memory that
        was there before."""
        had = bool(self.arguments)
        written = bool(self.homes)
        for home in [home for home, slot in self.homes.items() if slot >= arguments]:
            del self.homes[home]
        if written and not self.homes:
            self.special.remove(self.homes)
        del self.text[words:], self.arguments[arguments:], self.numbers[numbers:], self.live[live:]
        self.count = values
        self._known = {key: value for key, value in self._known.items() if value < values}
        self._owners = {key: slot for key, slot in self._owners.items() if slot < arguments}
        self._slots = {value: slot for value, slot in self._slots.items() if slot < arguments}
        if had and not self.arguments:
            self.reading.remove(self._mark)

    def reads(self, storage: Storage) -> bool:
        """Whether the program reads this storage's memory, so that nobody may write it before the program has run."""
        return id(storage) in self._owners

    def full(self) -> bool:
        return len(self.text) > _BOUND

    # -- running ---------------------------------------------------------------------------------
    def flush(self) -> None:
        """Computes every pending value that somebody still holds."""
        if self.text:
            if self.refuse is not None and self.depth and not self.full():
                self.refuse()
            self.finish(self.held())

    def wait(self, module: Any, args: tuple[Any, ...]) -> None:
        """From now on convolutions, and what may join them, wait for the end of the call of a module."""
        self.waits = CHAIN
        self.constant = True
        self.caller = module, args

    def choose(self) -> None:
        """Chooses, when the first convolution comes, what is to wait."""
        assert self.caller is not None
        module, args = self.caller
        self.caller = None
        habit = Habit.of(module)
        if habit.settled(args):
            self.habit, self.waits = habit, WHOLE

    def resume(self) -> None:
        """Ends what ``wait`` began: what waits runs."""
        self.waits = 0
        self.constant = False
        self.caller = None
        try:
            if not self.depth:
                self.conclude()
        finally:
            self.habit = None

    def conclude(self) -> None:
        """``flush`` at the end of a call without grad mode: nothing more will join, and what the program makes of its
        constants is kept for the next call (``prepared.py``)."""
        before, self.constant = self.constant, True
        try:
            self.flush()
        finally:
            self.constant = before

    def held(self) -> list[Storage]:
        """The storages with a pending value that somebody holds."""
        found = dict.fromkeys([s for r in self.live if (s := r()) is not None])
        return [s for s in found if s.pending is not None and s.pending.trace is self]

    def finish(self, storages: list[Storage]) -> Executed | None:
        """Computes the values of these storages and begins a new program."""
        with self.lock:
            self.runs += 1
            if self.parts is not None:
                self.parts.append(self.text)
            homes = self.homes
            self.give_back()
            try:
                return self._run(storages) if storages else None
            except Exception as error:
                for s in storages:
                    assert s.pending is not None
                    if id(s) in homes:
                        s.pending = None
                    else:
                        s.pending.trace = _Failed(error)
                raise
            finally:
                if homes:
                    self.special.remove(homes)
                if self.arguments:
                    self.reading.remove(self._mark)
                self._clear()
                self._stop()

    def _run(self, storages: list[Storage]) -> Executed:
        wanted = self.wanted(storages)
        plan = self.planned(wanted)
        ran = Executed(plan, self.arguments, self.numbers, [into for _, _, into in wanted])
        addresses = [s.ptr + o * layout.itemsize for s, layout, o in self.arguments]
        results = ran.run(addresses, [s for s, _, _ in self.arguments])
        for k, (s, result) in enumerate(zip(storages, results)):
            if ran.into[k] is None:
                s.ptr, s.nbytes = result, plan.sizes.get(k, 0)
            s.pending = None
        if self.habit is not None and self.habit.noted is not None:
            self.habit.noted.append((ran, storages))
        return ran

    def wanted(self, storages: Sequence[Storage]) -> list[tuple[int, Layout, int | None]]:
        """The values of these storages: their numbers, how they lie, and the argument that they go into or None."""
        homes = self.homes
        return [(s.pending.node, s.pending.layout, homes.get(id(s))) for s in storages]  # type: ignore[union-attr]

    def planned(self, wanted: Sequence[Wanted]) -> Plan:
        """The plan of the program as it is now, for these values."""
        key = (tuple(self.text), tuple(wanted), self.constant, self.limit)
        plan = plans.get(key)
        habit = self.habit
        if habit is not None:
            habit.runs += 1
        if plan is None:
            if len(plans) >= _LIMIT:
                plans.clear()
            if habit is not None:
                habit.planned += 1
            with graph.plan.uncollected():
                plan = plans[key] = self._plan(wanted)
        if habit is not None:
            habit.text = key[0]
        return plan

    def _plan(self, wanted: Sequence[Wanted]) -> Plan:
        owners = [self._owners[id(s)] for s, _, _ in self.arguments]
        if self.limit is None:
            found = shared_plan(self.text, wanted, owners, self.constant)
            if found is not None:
                return found
        return planned(self.text, wanted, owners, constant=self.constant, limit=self.limit)


def planned(
    text: Sequence[Any], wanted: Sequence[Wanted], owners: Sequence[int],
    numbered: bool = False, constant: bool = False, limit: int | None = None, leaving: Sequence[int] | None = None,
) -> Plan:  # fmt: skip
    """The plan of a program: ``wanted`` are the values to compute, how each lies, and the argument that it goes into or
    None; ``owners`` numbers the memory of the arguments.  ``numbered``: steps name operators by their place too;
    ``constant`` and ``leaving`` as in ``make_plan``; ``limit``: bytes of temporary memory to do with, which a warning
    tells if that is not possible."""
    aim, best = limit, None
    for _ in range(_ATTEMPTS):
        with Recorder() as recorder:
            nodes = replay(text, recorder, numbered)
            recorder.graph.limit = aim
            found = graph.passes.improved(
                recorder.graph, [nodes[k] for k, _, _ in wanted], [into for _, _, into in wanted]
            )
        outputs = [graph.schedule.Output(n, layout.strides, into) for n, (_, layout, into) in zip(found, wanted)]
        plan = graph.plan.make_plan(outputs, len(owners), owners, constant, True, leaving)
        if best is None or plan.temporary < best.temporary:
            best = plan
        if limit is None or aim is None or best.temporary <= limit:
            return best
        # What lies where is known only now, with scratch memory and gaps between blocks: aim lower by as much.
        aim = max(0, aim - max(plan.temporary - limit, limit // 64))
    assert best is not None and limit is not None
    warnings.warn(
        f"compile: memory_limit={limit}: the program takes {best.temporary} bytes of temporary memory, even where "
        "values are computed again instead of kept",
        stacklevel=2,
    )
    return best


class _Threads(threading.local):
    def __init__(self) -> None:
        self.deferral = Deferral()


threads = _Threads()


def deferral() -> Deferral:
    """This thread's deferred program."""
    return threads.deferral


def deferring() -> bool:
    """Whether every operator is to be recorded."""
    return threads.deferral.depth > 0
