"""A call of a compiled function that can be repeated without its Python."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import ref

from ..autograd.node import AccumulateGrad
from ..autograd.view import DEFAULT, MULTIPLE, replay
from ..deferred.executed import Executed
from ..deferred.steps import Again, Changed, Steps
from ..generator import default_generator
from ..layout import Layout
from ..runtime import memory
from ..storage import Storage
from ..tensor import Tensor, make, materialize
from .forward_backward import Backward, BackwardProgram
from .guards import Grads, Guards
from .purity import Environment

__all__ = ["VALUES", "Live", "Recording", "base_of", "derivable", "forget_gradients", "leaves", "repeatable", "spent"]

VALUES = (int, float, bool, complex, str, bytes, type(None))
"""The classes of constants."""
_LARGE_BLOCK = 1 << 20  # bytes of memory that are worth giving back
_Build = Callable[[list[Any], list[Tensor]], Any]


def leaves(value: Any) -> Iterator[Any]:
    """What lists, tuples and dictionaries hold."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from leaves(item)
    elif type(value) is dict:
        for item in value.values():
            yield from leaves(item)
    else:
        yield value


def repeatable(leaf: Any) -> bool:
    """Whether a result can be made again: a constant, or a tensor that nobody can differentiate (any more)."""
    if not isinstance(leaf, Tensor):
        return leaf.__class__ in VALUES
    if type(leaf) is not Tensor or leaf._hooks is not None:
        return False
    if leaf._node is None:
        return not leaf._requires_grad
    return leaf._view is None and spent(leaf)


def spent(t: Tensor) -> bool:
    """Whether the graph of a tensor has been freed by its backward pass: whether a part of it has."""
    seen: set[int] = set()
    stack: list[Any] = [t._node]
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node._extras is not None:
            return False
        if getattr(node, "_values", ()) is None:
            return True
        stack += [to for to, _ in node.next_functions]
    return False


def forget_gradients(result: Any) -> None:
    """Drops the gradients of leaves that nothing leads to but the freed graphs of results, as of a tensor that a
    function has differentiated a loss by on its way: nobody would miss them, and they would have to be computed."""
    seen: set[int] = set()
    stack = [t._node for t in leaves(result) if isinstance(t, Tensor) and t._node is not None and spent(t)]
    count = sys.getrefcount
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if type(node) is AccumulateGrad:
            leaf = node.variable
            if count(leaf) == _SOLE_TENSOR and leaf._grad is not None:
                leaf._grad = None
        stack += [to for to, _ in node.next_functions]


def base_of(t: Any) -> Any:
    """The tensor that a view is one of, or the tensor."""
    return t if t._view is None else t._view.base


def derivable(t: Tensor) -> bool:
    """Whether a result is a plain tensor, or one that its base gives by the same public views at every call."""
    if type(t) is not Tensor or t._hooks is not None:
        return False
    view = t._view
    while view is not None:
        if view.creation not in (DEFAULT, MULTIPLE):
            return False
        view = view.parent
    return True


class Live(NamedTuple):
    """The results of a call that can be differentiated (the bases of those that are views), by what, the backward pass,
    and the storages (by identity) that the tape holds for it."""

    results: list[Tensor]
    inputs: list[Tensor]
    backward: BackwardProgram
    saved: set[int]


class Recording:
    """A call that can be repeated: what ran, where its arguments come from, and what its results are."""

    def __init__(
        self,
        ran: Executed | None,
        tensors: list[Tensor],
        result: Any,
        results: list[Storage],
        guards: Guards | Environment,
        grads: Grads,
        steps: Steps,
        live: Live | None = None,
        places: Sequence[int] = (),
        doubts: Sequence[ref[Storage]] = (),
        twice: bool = True,
    ) -> None:
        """``places`` are those of what the backward pass reads among the results of ``ran``; ``doubts`` are values that
        the tape of the call keeps, and that the function may have kept elsewhere, too; ``twice``: whether the call
        would give the same results behind its own writes."""
        self.guards, self.grads = guards, grads
        self.actors, self.updates, self.stepped = steps.actors, steps.updates, steps.stepped
        into = ran.into if ran is not None else []
        self.draws = steps.draws
        drawn = [d.storage() for d in steps.draws]
        own = [*(t._storage.memory for t in tensors), *drawn]
        position = {id(s): k for k, s in reversed([*enumerate(own)])}
        # Where each argument comes from: a tensor of the call, or what it drew, or a storage that stays; and bytes from
        # there on.
        self.sources: list[tuple[int, Storage | None, int]] = []
        for storage, layout, offset in ran.arguments if ran is not None else ():
            at = position.get(id(storage), -1)
            self.sources.append((at, storage if at < 0 else None, offset * layout.itemsize))
        self.sizes = [ran.plan.sizes.get(k, 0) if ran and i is None else 0 for k, i in enumerate(into)]
        self.starts = [start for _, _, start in self.sources]
        self.kept = [storage for _, storage, _ in self.sources if storage is not None]
        self.written = [i for i in into if i is not None]
        self.ran = None if ran is None else ran._replace(arguments=[])  # which would keep the first call's memory
        self.short = ran.short() if ran is not None and not grads.fresh else None
        number = {id(s): k for k, s in enumerate(results) if into[k] is None}
        self.fresh = [(t, number[id(g._storage.memory)], g._layout, g._offset) for t, g in grads.fresh]
        grads.fresh = []
        changed = grads.leaves()
        self.own = [(k, t) for k, t in enumerate(tensors) if id(t) in changed]
        """The arguments that have to be the very tensors of the watched call, for their gradients are looked at."""
        given = {id(t): k for k, t in enumerate(tensors)}
        self.doubts = doubts
        self.twice = False
        """Whether a result was differentiated in a way that can be differentiated again, for which the call is made
        once more: such calls had better not be repeated."""
        self.asked = bool(grads.none or grads.kept)
        """Whether it is worth asking about gradients."""
        self.first = ran is not None and ran.plan.temporary + sum(self.sizes) >= _LARGE_BLOCK
        self.again = twice
        self.backward: BackwardProgram | None = None
        self.live: list[tuple[int, Layout, int]] = []
        if live is not None:
            self.live = [(number[id(t._storage.memory)], t._layout, t._offset) for t in live.results]
            self.backward = live.backward.placed(self.starts)
            self.saved = places
            self.inputs = [(given.get(id(t), -1), t) for t in live.inputs]
            self.layouts = tuple(layout for _, layout, _ in self.live)
        self.straight = self.short is not None and not (self.draws or self.actors or grads.cleared)
        """Whether a run is but one of the program, in the short way."""
        numbered = {id(t): k for k, t in enumerate(live.results)} if live is not None else {}
        self.build = _builder(result, number, given, numbered)
        self.alone: tuple[int, Layout, int] | None = None
        """The place, layout and offset of the result, if that is one tensor that cannot be differentiated."""
        if type(result) is Tensor and result._node is None and id(result) not in given | numbered:
            at = number.get(id(result._storage.memory))
            self.alone = None if at is None else (at, result._layout, result._offset)

    def hold(self) -> bool:
        """Whether what the call depends on, beside its signature, is as it was, and what ``doubts`` names is gone: kept
        by the watched call's tape alone."""
        if self.doubts:
            if any(r() is not None for r in self.doubts):
                return False
            self.doubts = ()
        return not self.twice and self.guards.hold() and (not self.asked or self.grads.hold())

    def run(self, tensors: list[Tensor], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs on these tensors; raises Changed, with nothing done, if an optimizer now does something else, or leaves
        among the arguments are other ones.

        ``fn`` is the function itself, ``args`` and ``kwargs`` are what the tensors are among.
        """
        for k, t in self.own:
            if tensors[k] is not t:
                raise Changed
        for t in tensors:
            if t._key is None:
                materialize(t)
        ran = self.ran
        if ran is None:
            for d in self.draws:
                d.again()
            return self.build([], tensors)
        if self.first:  # the blocks of the calls before are of other sizes
            self.first = False
            memory.empty_cache()
        if self.straight:
            return self._run_straight(ran, tensors, fn, args, kwargs)
        numbers = ran.numbers
        stepped: Again | None = None
        if self.actors:
            numbers = list(numbers)
            stepped = self._steps(numbers)
        places = [t._storage for t in tensors]
        stream = b""
        if self.draws:
            stream = default_generator.snapshot()
            places += [d.again() for d in self.draws]
        memories = [places[k] if storage is None else storage for k, storage, _ in self.sources]
        addresses = [s.ptr + start for s, (_, _, start) in zip(memories, self.sources)]
        held = self._held_grads() if self.fresh else {}
        storages: list[Any]
        try:
            if self.short is not None:
                storages = self.short(addresses, numbers)
            else:
                made = ran.run(addresses, memories, numbers, held)
                storages = [
                    None if not n else held[k][1] if k in held else Storage(made[k], n)
                    for k, n in enumerate(self.sizes)
                ]
        except BaseException:
            if stepped is not None:
                stepped.undo()
            raise
        for i in self.written:
            memories[i].version += 1
        for t in self.grads.cleared:
            t._grad = None
        for t, k, layout, offset in self.fresh:
            if k in held:
                held[k][1].version += 1
            else:
                t._grad = make(storages[k] or Storage(0, 0), layout, offset)
        if self.backward is not None:
            storages.append(self.differentiable(self.backward, storages, tensors, memories, stream, fn, args, kwargs))
        return self.build(storages, tensors)

    def _run_straight(
        self,
        ran: Executed,
        tensors: list[Tensor],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """The run of a call that does nothing but compute its results, from memory that is there."""
        assert self.short is not None
        memories = [tensors[k]._storage if storage is None else storage for k, storage, _ in self.sources]
        storages: list[Any] = self.short([s.ptr + start for s, start in zip(memories, self.starts)], ran.numbers)
        for i in self.written:
            memories[i].version += 1
        if self.backward is not None:
            storages.append(self.differentiable(self.backward, storages, tensors, memories, b"", fn, args, kwargs))
        return self.build(storages, tensors)

    def differentiable(
        self,
        backward: BackwardProgram,
        storages: list[Any],
        tensors: list[Tensor],
        memories: list[Storage],
        stream: bytes,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Tensor]:
        """The results that can be differentiated, with their node on the tape.  ``memories`` are the storages of the
        arguments; ``stream`` is where the random numbers were before the call, if it drew some."""
        inputs = [t if k < 0 else tensors[k] for k, t in self.inputs]
        saved = [storages[k] or Storage(0, 0) for k in self.saved]
        again = (self._recorded, memories, stream, fn, args, kwargs) if self.again else None
        node = Backward(backward, inputs, memories, saved, self.layouts, again)
        found = []
        for number, (k, layout, offset) in enumerate(self.live):
            t = make(storages[k] or Storage(0, 0), layout, offset)
            t._requires_grad, t._node, t._output_nr = True, node, number
            found.append(t)
        return found

    def _recorded(
        self,
        memories: list[Storage],
        stream: bytes,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Tensor]:
        """The results that can be differentiated, by calling the function itself, on the tape."""
        self.twice = True
        with _unwritten([memories[i] for i in self.written]), _drawn_again(stream):
            result = fn(*args, **kwargs)
        return list({id(t): t for t in map(base_of, filter(_has_node, leaves(result)))}.values())

    def _steps(self, numbers: list[float | int]) -> Again:
        """Has the optimizers step, as far as the numbers of their updates."""
        empty = [(t, layout) for t, layout in self.stepped.items() if t._grad is None]
        for t, layout in empty:  # an optimizer passes by what has no gradient
            t._grad = make(Storage(0, 0), layout)
        again = Again(self.updates, numbers)
        try:
            again.run(self.actors)
        finally:
            for t, _ in empty:
                t._grad = None
        return again

    def _held_grads(self) -> dict[int, tuple[int, Storage]]:
        """The results that may go where the last call's gradients lie, which nobody holds but their leaves."""
        found: dict[int, tuple[int, Storage]] = {}
        count = sys.getrefcount
        for t, k, layout, _ in self.fresh:
            g = t._grad
            if g.__class__ is Tensor and g._key is None:
                materialize(g)  # it was pending in the call before
            if (
                g is not None
                and g._key is layout
                and count(g) == _SOLE_TENSOR
                and g._view is None
                and g._hooks is None
                and not g._requires_grad
            ):
                storage = g._storage
                if storage.nbytes == self.sizes[k] and count(storage) == _SOLE_STORAGE and storage.owner is None:
                    found[k] = storage.ptr, storage
        return found


class _Probe:
    __slots__ = ("_grad", "_storage")


def _sole() -> tuple[int, int]:
    """How many references a gradient has, and its storage, that only its leaf holds, as ``_held_grads`` counts them."""
    t, g = _Probe(), _Probe()
    t._grad, g._storage = g, object()
    del g
    count = sys.getrefcount
    g = t._grad
    first = count(g)
    storage = g._storage
    return first, count(storage)


_SOLE_TENSOR, _SOLE_STORAGE = _sole()


def _has_node(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf._requires_grad and leaf._node is not None


@contextmanager
def _unwritten(storages: Sequence[Storage]) -> Iterator[None]:
    """Leaves this memory as it was."""
    distinct = {id(s): s for s in storages}.values()
    before = [(s, s.version, ctypes.string_at(s.ptr, s.nbytes)) for s in distinct]
    try:
        yield
    finally:
        for s, version, content in before:
            if s.pending is not None:
                s.pending.trace.flush()
            ctypes.memmove(s.ptr, content, len(content))
            s.version = version


@contextmanager
def _drawn_again(stream: bytes) -> Iterator[None]:
    """Draws the random numbers that came from there on once more, and leaves the stream as it was."""
    before = default_generator.snapshot() if stream else b""
    try:
        if stream:
            default_generator.restore(stream)
        yield
    finally:
        if stream:
            default_generator.restore(before)


def _builder(value: Any, number: dict[int, int], inputs: dict[int, int], live: dict[int, int]) -> _Build:
    """A function that makes a result like ``value`` from the storages of a run and the tensors of its call; what
    ``live`` numbers, or a view of it, can be differentiated, and follows the storages."""
    if isinstance(value, Tensor):
        at = inputs.get(id(value))
        if at is not None:
            return lambda storages, tensors: tensors[at]
        k = number.get(id(value._storage.memory))
        if k is None:
            return lambda storages, tensors: value
        layout, offset = value._layout, value._offset
        if id(value) in live:
            number_ = live[id(value)]
            return lambda storages, tensors: storages[-1][number_]
        if value._view is not None and id(value._view.base) in live:
            number_, steps = live[id(value._view.base)], value._view.steps()
            return lambda storages, tensors: replay(steps, storages[-1][number_])
        if value._node is not None:
            return _spent_builder(k, layout, offset, value._node, value._output_nr)
        return lambda storages, tensors: make(storages[k] or Storage(0, 0), layout, offset)
    if isinstance(value, (tuple, list)):
        parts = [_builder(v, number, inputs, live) for v in value]
        cls: Any = type(value)
        if hasattr(value, "_fields"):
            return lambda storages, tensors: cls(*[p(storages, tensors) for p in parts])
        return lambda storages, tensors: cls([p(storages, tensors) for p in parts])
    if isinstance(value, dict):
        table = {name: _builder(v, number, inputs, live) for name, v in value.items()}
        return lambda storages, tensors: {name: p(storages, tensors) for name, p in table.items()}
    return lambda storages, tensors: value


def _spent_builder(k: int, layout: Layout, offset: int, node: Any, output_nr: int) -> _Build:
    """Makes a result whose graph was freed: differentiating it again is the same error as in the call itself."""

    def build(storages: list[Any], tensors: list[Tensor]) -> Tensor:
        t = make(storages[k] or Storage(0, 0), layout, offset)
        t._requires_grad, t._node, t._output_nr = True, node, output_nr
        return t

    return build
