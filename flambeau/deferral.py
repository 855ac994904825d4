"""Deferred execution: operators append to a graph until someone looks at a number (DESIGN D4)."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

from .graph.node import Node, topological
from .graph.plan import CODES, KernelError, Plan, make_plan
from .graph.schedule import Output
from .layout import Layout
from .primitives import Recorder
from .runtime import memory
from .storage import Storage, Trace

__all__ = ["Deferral", "deferral", "deferring"]

_BOUND = 4000  # nodes after which a graph runs even though nobody looked
_plans: dict[object, Plan] = {}


class _Failed(Trace):
    """Stands for the graph of values whose computation raised ``error``: looking at one raises it again."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def flush(self) -> None:
        raise self.error


class Deferral(Recorder):
    """The graph of a thread's deferred operators.

    ``depth`` counts the compiled functions being executed; while it is positive every operator is recorded, otherwise
    those with a pending operand.
    """

    special: list[object]  # set by ``call.py``: anything in this list keeps calls off their short path

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.live: list[weakref.ref[Storage]] = []
        self.homes: dict[int, int] = {}
        self.lock = threading.RLock()

    def kept(self, storage: Storage) -> None:
        """A storage whose value is pending in this graph."""
        self.live.append(weakref.ref(storage))

    def wrote(self, storage: Storage) -> None:
        """A storage with memory whose value becomes pending: the result goes back to the same memory."""
        assert storage.pending is not None
        if not self.homes:
            # Other tensors over this memory look as if it held their value: none may be read by the short path now.
            self.special.append(self.homes)
        self.homes[id(storage)] = storage.pending.node.attrs[0]
        self.live.append(weakref.ref(storage))

    def reads(self, storage: Storage) -> bool:
        """Whether the graph reads this storage's memory, so that nobody may write it before the graph has run."""
        return any(s is storage for s, _, _ in self.arguments)

    def full(self) -> bool:
        return len(self.graph._table) > _BOUND

    def flush(self) -> None:
        """Computes every pending value that somebody still holds."""
        with self.lock:
            storages: dict[int, Storage] = {}
            for ref in self.live:
                s = ref()
                if s is not None and s.pending is not None and s.pending.trace is self:
                    storages[id(s)] = s
            arguments, numbers, homes = self.arguments, self.numbers, self.homes
            try:
                if storages:
                    self._run(list(storages.values()), arguments, numbers, homes)
            except Exception as error:
                for s in storages.values():
                    assert s.pending is not None
                    if id(s) in homes:
                        s.pending = None
                    else:
                        s.pending.trace = _Failed(error)
                raise
            finally:
                if homes:
                    self.special.remove(homes)
                self.graph = type(self.graph)()
                self.arguments, self.numbers, self.live = [], [], []
                self.homes, self._known = {}, {}

    def _run(
        self, storages: list[Storage], arguments: list[tuple[Storage | None, Layout, int]], numbers: list[float | int], homes: dict[int, int],  # noqa: E501
    ) -> None:  # fmt: skip
        outputs: list[Output] = []
        for s in storages:
            assert s.pending is not None
            outputs.append(Output(s.pending.node, s.pending.layout.strides, homes.get(id(s))))
        key = structure(outputs)
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = make_plan(outputs, len(arguments))
        addresses = [s.ptr + o * layout.itemsize if s is not None else 0 for s, layout, o in arguments]
        results = [0] * len(outputs)
        taken: list[tuple[int, int]] = []
        try:
            for k, o in enumerate(outputs):
                if o.into is None and plan.sizes.get(k):
                    results[k] = memory.allocate(plan.sizes[k])
                    taken.append((results[k], plan.sizes[k]))
            plan.run(results, addresses, numbers)
        except BaseException as error:
            for address, nbytes in taken:
                memory.free(address, nbytes)
            if isinstance(error, KernelError):
                kind, text = CODES[error.code]
                raise kind(
                    f"{text} (in an operator of a compiled function, which ran when a value was needed)"
                ) from None
            raise
        for k, (s, o) in enumerate(zip(storages, outputs)):
            if o.into is None:
                s.ptr, s.nbytes = results[k], plan.sizes.get(k, 0)
            s.pending = None


def structure(outputs: Sequence[Output]) -> tuple[object, ...]:
    """What determines the plan of a graph: its nodes in order, by number."""
    order: list[Node] = topological(o.node for o in outputs)
    number = {id(n): i for i, n in enumerate(order)}
    nodes = tuple(
        (n.op, tuple(number[id(i)] for i in n.inputs), repr(n.attrs) if n.op == "const" else n.attrs, n.shape, n.type)
        for n in order
    )
    return nodes, tuple((number[id(o.node)], o.strides, o.into) for o in outputs)


class _Threads(threading.local):
    def __init__(self) -> None:
        self.deferral = Deferral()


_threads = _Threads()


def deferral() -> Deferral:
    """This thread's deferred graph."""
    return _threads.deferral


def deferring() -> bool:
    """Whether every operator is to be recorded."""
    return _threads.deferral.depth > 0
