"""``mode="reduce-overhead"``: a compiled function whose second call with a signature is remembered and repeated.

The first call with a signature runs as any compiled call does.  The second is watched, and if all it does is to compute
its results from its arguments and from tensors that lie elsewhere (parameters, say), later calls run its kernels and
nothing of its Python.  That may be a whole training step: forward and backward pass, gradients and the update of the
parameters.  Of its Python only the ``step`` of optimizers and of schedules of their rates is called again, as far as
the numbers (``steps.py``), so that rates, counters and their hooks are what they would be.

The contract, as with ``jax.jit``: the function's Python must do the same for the same signature.  A signature is the
types, shapes and strides of the tensors among the arguments, where those lie that are parts of other tensors, the
values of all other arguments, grad mode and the default type.  What is noticed besides, in modules and optimizers found
in the function (itself, its ``self``, arguments, closure, the globals it names, and functions found there): that one of
them, or a tensor found so, is replaced; training and evaluation, modules, parameters and buffers that are replaced,
``requires_grad``, hooks, whether leaves begin with a gradient and which one is added to, other options of an optimizer
than the values of its numbers, and a state that is replaced.  Then the call is watched anew.  A result that can be
differentiated takes its backward pass along, as a program of its own (``forward_backward.py``); where an
``autograd.Function`` of the program's own takes part, such a call goes on as any compiled one does.  Never repeated
are calls that look at a value of theirs, run hooks, keep a value elsewhere, give an optimizer a closure, or use an
operator that works outside of generated code.  Random numbers of fixed distributions are drawn anew, in the order in
which the call draws them (``steps.py``).  (A value that the tape keeps too could be kept by it alone, and so could
drawn numbers: the call is repeated once such values of the watched call are gone.  Gradients of leaves that only the
freed graph of a result leads to are dropped.)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from weakref import ref

from ..autograd.mode import state as grad_state
from ..deferred.deferral import Deferral, threads
from ..deferred.executed import Executed
from ..deferred.record import independent
from ..deferred.steps import Changed, Steps
from ..dispatch.call import around
from ..dtype import Default
from ..storage import Storage
from ..tensor import Tensor, address
from ..transform.level import levels
from .forward_backward import backward_program, tape_of
from .guards import Grads, Guards, Owners, owners
from .purity import Environment, SideEffects
from .quick_call import MISSED, Quick, missed, quick_call
from .replay import VALUES, Live, Recording, base_of, derivable, forget_gradients, leaves, repeatable, spent

__all__ = ["NEVER", "ReduceOverhead", "made_again"]

_LIMIT = 256  # signatures that are remembered of one function
_LONG = 4096  # words of a program that is not repeated if its results can be differentiated
_PATIENCE = 4  # watched calls whose graphs somebody holds when the next one comes
NEVER = object()
"""What is known of a signature whose calls cannot be repeated."""


def _flatten(value: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Adds to ``key`` what tells a value apart, and its tensors to ``tensors``."""
    cls = value.__class__
    key.append(cls)
    if isinstance(value, Tensor):
        layout, storage = value._layout, value._storage
        key += (layout, value._requires_grad)
        if value._offset or layout.nbytes != storage.nbytes or not layout.dense:
            # A program that sees a part of some memory knows where that lies in the whole.
            key += (value._offset, storage.nbytes)
        tensors.append(value)
    elif cls in VALUES:
        key.append(value if value or cls is not float else repr(value))
    elif isinstance(value, (tuple, list)):
        key.append(len(value))
        for item in value:
            _flatten(item, key, tensors)
    elif isinstance(value, dict):
        key.append(tuple(value))
        for item in value.values():
            _flatten(item, key, tensors)
    else:
        key.append(_Same(value))


class _Same:
    """Equal for one object only, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class ReduceOverhead:
    """A function with its remembered calls."""

    def __init__(self, fn: Callable[..., Any], module: Any = None, limit: int | None = None) -> None:
        self.fn, self.module, self.limit = fn, module, limit
        self.known: dict[tuple[Any, ...], Any] = {}
        self.doubted: dict[tuple[Any, ...], int] = {}
        self.quick: Quick = missed
        """Makes the call again that was repeated last, where there is a quick way."""
        self._quick: dict[tuple[Any, ...], Quick] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.quick(args, kwargs)
        return self.call(args, kwargs) if result is MISSED else result

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls the function with these arguments."""
        recorder = threads.deferral
        if self._aside(recorder):
            return self._call_aside(recorder, args, kwargs)
        if recorder.text:
            recorder.flush()
        key: list[Any] = [grad_state.grad, Default.dtype]
        tensors: list[Tensor] = []
        for value in args:
            _flatten(value, key, tensors)
        if kwargs:
            _flatten(kwargs, key, tensors)
        if len(tensors) > 1:
            first: dict[int, int] = {}
            key += [first.setdefault(id(t._storage.memory), k) for k, t in enumerate(tensors)]
        signature = tuple(key)
        found = self.known.get(signature)
        if found.__class__ is Recording:
            if found.hold():
                try:
                    result = self._repeat(found, tensors, args, kwargs)
                except Changed:
                    pass
                else:
                    self._hasten(found, signature, args, kwargs)
                    return result
            elif found.doubts:
                self.doubted[signature] = self.doubted.get(signature, 0) + 1
            given_up = found.twice or self.doubted.get(signature, 0) > _PATIENCE
            found = self.known[signature] = self._changed(signature, given_up)
            self._quick.pop(signature, None)
            self.quick = missed
        if found is None and len(self.known) >= _LIMIT:
            self.known.clear()
            self._quick.clear()
            self.quick = missed
        return self._learn(recorder, found, signature, tensors, args, kwargs)

    def _aside(self, recorder: Deferral) -> bool:
        """Whether a call is not to be looked at: it is part of another one, or of a function transform, or somebody
        stands around operators."""
        return bool(recorder.depth or around.wrappers or levels.stack)

    def _call_aside(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.fn(*args, **kwargs)

    def _repeat(
        self, found: Recording, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # fmt: skip
        """A call that is known; raises Changed, with nothing done, if it is another one after all."""
        return found.run(tensors, self.fn, args, kwargs)

    def _hasten(
        self, found: Recording, signature: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:  # fmt: skip
        """The next call had better be like this one."""
        quick = self._quick.get(signature)
        if quick is None:
            quick = self._quick[signature] = (quick_call(found, self.fn, args) if not kwargs else None) or missed
        self.quick = quick

    def _changed(self, signature: tuple[Any, ...], given_up: bool) -> Any:
        """What is known of a signature after what its call depends on has changed, or repeating it was given up."""
        return NEVER if given_up else 0

    def _learn(
        self,
        recorder: Deferral,
        found: Any,
        signature: tuple[Any, ...],
        tensors: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A call that cannot be repeated, or not yet; ``found`` is what is known of its signature."""
        if found is None or found is NEVER:
            self.known.setdefault(signature, 0)
            return self._ordinary(recorder, args, kwargs)
        return self._watch(recorder, signature, tensors, args, kwargs)

    def _ordinary(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder.enter(self.limit)
        try:
            result = self.fn(*args, **kwargs)
        finally:
            recorder.leave()
        if not grad_state.grad:
            recorder.conclude()
        return result

    def _watch(
        self,
        recorder: Deferral,
        signature: tuple[Any, ...],
        tensors: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: Environment | None = None,
        effects: SideEffects | None = None,
    ) -> Any:
        """Runs the function, and remembers what it did if that can be repeated.

        ``state``: all that its Python depends on, which is looked at instead of what can be found of it; ``effects``
        sees it run.
        """
        self.known[signature] = NEVER
        for t in tensors:
            address(t)
        found = (
            owners(self.module if self.module is not None else self.fn, (*args, *kwargs.values()))
            if state is None
            else Owners([], state.optimizers, [], [])
        )
        before = recorder.runs, recorder.outside
        guards = state or Guards(*found)
        rates = guards.rates()
        grads = Grads([*guards.tensors, *tensors])
        steps = recorder.steps = Steps(recorder)
        live: Live | None = None
        places: list[int] = []
        twice = True
        doubts: list[ref[Storage]] = []
        recorder.enter(self.limit)
        try:
            for t in tensors if state is None else (*tensors, *state.tensors):
                if t._layout.numel and t._plain:
                    recorder.borrow(t)
            with effects or nullcontext():
                result = self.fn(*args, **kwargs)
            forget_gradients(result)
            if recorder.runs == before[0] and guards.watchable and self.limit is None:
                live = _live(recorder, result, tensors, guards)
        finally:
            recorder.steps = None
            recorder.leave()
            if recorder.runs == before[0] and recorder.borrowed:
                recorder.give_back()
        held = recorder.held()
        grads.after(recorder.reads)
        known = {id(t._storage.memory) for t in (*tensors, *guards.tensors)}
        if not (
            before == (recorder.runs, recorder.outside)
            and _explained(steps, found.optimizers, known)
            and (any(map(_sets_rates, steps.actors)) or _same(rates, guards.rates()))
            and guards.watchable
            and made_again(result, held, recorder, grads, known, {id(t) for t in tensors}, live)
        ):
            if not grad_state.grad:
                recorder.conclude()
            return result
        if live is not None:
            results = {id(t._storage.memory) for t in leaves(result) if isinstance(t, Tensor)}
            saved = held
            held = [s for s in saved if id(s) in results or id(s) in recorder.homes]
            ran, places, twice = _forward(recorder, held, live)
            if state is None:
                doubts = [ref(s) for s in saved if id(s) not in results and id(s) not in recorder.homes]
        else:
            ran = _finished(recorder, held)
        if state is None:
            doubts += [d.storage for d in steps.draws]
        guards = state or Guards(*found)
        self.known[signature] = Recording(ran, tensors, result, held, guards, grads, steps, live, places, doubts, twice)
        return result


def _live(recorder: Deferral, result: Any, tensors: list[Tensor], guards: Guards | Environment) -> Live | None:
    """The results of a call that can be differentiated, with the backward pass; None if there are none, or if that
    passes by leaves that are not known."""
    found = [t for t in leaves(result) if isinstance(t, Tensor) and t._node is not None and not spent(t)]
    inputs = list(dict.fromkeys(t for t in (*guards.tensors, *tensors) if t._requires_grad))
    if not found or len(recorder.text) > _LONG or not all(map(derivable, found)):
        return None
    found = list({id(t): t for t in map(base_of, found)}.values())
    if any(type(t) is not Tensor or t._node is None or t._hooks is not None for t in found):
        return None
    if any(id(t._storage.memory) in recorder.homes for t in found):
        return None
    tape = tape_of(found)
    if tape is None or any(t._node is not None for t in inputs) or not tape[0] <= {id(t) for t in inputs}:
        return None
    backward = backward_program(recorder, found, inputs)
    return None if backward is None else Live(found, inputs, backward, tape[1])


def _forward(recorder: Deferral, held: list[Storage], live: Live) -> tuple[Executed, list[int], bool]:
    """The watched call's program, which goes on being recorded, as one that also gives what the backward pass reads,
    where among its results that is, and whether it would give the same if it ran twice."""
    wanted = recorder.wanted(held)
    wanted += [value for value in live.backward.asked() if value not in wanted]
    plan = recorder.planned(wanted)
    ran = Executed(plan, list(recorder.arguments), list(recorder.numbers), [into for _, _, into in wanted])
    places = [wanted.index(value) for value in live.backward.asked()]
    return ran, places, independent(recorder.text, wanted)


def _finished(recorder: Deferral, held: list[Storage]) -> Executed | None:
    """The watched call's program, which ends here; None if there is nothing to do."""
    recorder.constant = not grad_state.grad
    try:
        return recorder.finish(held) if recorder.text else None
    finally:
        recorder.constant = False


def _explained(steps: Steps, optimizers: list[Any], known: set[int]) -> bool:
    """Whether all numbers that the call put into its program can be made again: those of known optimizers and of
    schedules, and random ones that were not drawn into ``known`` memory."""
    drawn = [s for d in steps.draws if (s := d.storage()) is not None]
    return (
        not steps.spoiled
        and steps.explains()
        and not any(id(s) in known for s in drawn)
        and all(any(actor is o for o in optimizers) or _sets_rates(actor) for actor in steps.actors)
    )


def _sets_rates(actor: Any) -> bool:
    """Whether this is a schedule."""
    return not hasattr(actor, "param_groups")


def _same(before: list[Any], now: list[Any]) -> bool:
    """Whether the options of optimizers are the same objects still."""
    return all(len(a) == len(b) and all(k == m and v is w for (k, v), (m, w) in zip(a, b)) for a, b in zip(before, now))


def made_again(
    result: Any,
    held: list[Storage],
    recorder: Deferral,
    grads: Grads,
    known: set[int],
    given: set[int],
    live: Live | None = None,
) -> bool:
    """Whether everything that a call left behind can be made again: its results, gradients of leaves that are known,
    and what is written to memory that was there before."""
    homes = recorder.homes
    fresh = {id(s) for s in held if id(s) not in homes}
    own: set[int] = set()
    for leaf in leaves(result):
        if id(leaf) in given or leaf.__class__ in VALUES:
            continue
        if not repeatable(leaf) and not (live is not None and any(base_of(leaf) is t for t in live.results)):
            return False
        storage = id(leaf._storage.memory)
        if storage not in fresh and not (storage in homes and storage in known):
            return False
        own.add(storage)
    for _, grad in grads.fresh:
        if type(grad) is not Tensor or grad._requires_grad or id(grad._storage.memory) not in fresh:
            return False
        own.add(id(grad._storage.memory))
    if live is not None:
        own |= live.saved
    return all(id(s) in own or id(s) in homes for s in held)
