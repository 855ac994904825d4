"""The default mode of ``compile``: how a call of a compiled function is done best, without a contract.

The Python of a compiled function runs at every call, and its operators are recorded.  To do without, a call is repeated
as ``mode="reduce-overhead"`` does (``reduce_overhead.py``), but only once it is known that nobody can notice
(``purity.py``): the second call with a signature must have no ``SideEffects``, the third has to begin and end with the
``Environment`` that the second one left, and so has every later one.  As that plans the call again, and its backward
pass, a signature of much work among many has to be seen more often first.  A call that cannot be repeated (it counts
something, prints, looks at a value) is recorded each time if it is much work, and runs as if it were not compiled if it
is little, since to record its operators would cost more than to run them; so does a call of one or two operators of
little work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.mode import state as grad_state
from ..autograd.saved import watch
from ..deferred.deferral import Deferral, threads
from ..deferred.record import ARGUMENT, VIEW, WRITE
from ..dispatch.call import around
from ..tensor import Tensor
from ..transform.level import levels
from .purity import Environment, SideEffects
from .quick_call import missed
from .reduce_overhead import NEVER, ReduceOverhead
from .replay import VALUES, Recording

__all__ = ["DefaultMode", "Learning", "told", "work_of"]

_MUCH = 200_000_000  # work of a call from which on it has to be seen once for each signature of its function
_LITTLE = 1_000_000  # work for every operator up to which recording it costs more than fusing it can save
_FEW = 1  # operators and views, of little work: such a call is over before it could have been told to be the same
_CHANGES = 4  # times that a state may be another one before a signature is given up
# Calls that run as if they were not compiled, unseen, where all that were seen ran so; with the one that is looked at
# next a prime number, so that of calls that alternate each kind is seen.
_REST = 60
_LOOKS = 75  # parts of a state that are looked at in the time that a recorded operator takes
_LONG = 4096  # words of a program


class Learning:
    """What is known of a signature that is not repeated yet: how many operators a call has, whether they had better not
    be recorded, whether it is much work, how many calls there were, the state that the last one left, and how often
    that was another one."""

    def __init__(self, operators: int, plain: bool, much: bool) -> None:
        self.operators, self.plain, self.much = operators, plain, much
        self.calls = 1
        self.state: Environment | None = None
        self.changes = 0
        self.given_up = False


class DefaultMode(ReduceOverhead):
    """A function in the default mode."""

    def __init__(self, fn: Callable[..., Any], module: Any = None) -> None:
        super().__init__(fn, module)
        self._learning: dict[tuple[Any, ...], Learning] = {}
        self._resting = 0

    def _aside(self, recorder: Deferral) -> bool:
        return bool(
            recorder.depth
            or around.wrappers
            or watch.count
            or levels.stack
            or recorder.steps is not None
            or recorder.__class__ is not Deferral
        )

    def _call_aside(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.fn(*args, **kwargs) if recorder.depth else self._ordinary(recorder, args, kwargs)

    def _changed(self, signature: tuple[Any, ...], given_up: bool) -> Any:
        found = self._learning.get(signature)
        if found is None:  # forgotten with many others
            return None
        self._once_more(found)
        found.given_up |= given_up
        # The derivatives of derivatives are many more operators than the call has, each as small: recording costs most.
        found.plain |= self.known[signature].twice and not found.much
        return found

    @staticmethod
    def _once_more(found: Learning) -> None:
        found.state = None
        found.changes += 1
        found.given_up |= found.changes > _CHANGES

    def _learn(
        self,
        recorder: Deferral,
        found: Any,
        signature: tuple[Any, ...],
        tensors: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if found is None:
            return self._weigh(recorder, signature, args, kwargs)
        if found is NEVER:
            return self._ordinary(recorder, args, kwargs)
        if found.given_up:
            if not found.plain:
                return self._ordinary(recorder, args, kwargs)
            if all(isinstance(k, Learning) and k.plain and k.given_up for k in self.known.values()):
                self._resting, self.quick = _REST, self._rest
            return self._plainly(recorder, args, kwargs)
        found.calls += 1
        if found.much and found.calls <= len(self._learning):
            return self._ordinary(recorder, args, kwargs)
        state = found.state
        if state is None or not state.hold():
            if state is not None:
                self._once_more(found)
            return self._see(recorder, found, args, kwargs)
        memory = {id(t._storage.memory) for t in state.tensors}
        dear = not grad_state.grad and state.looks > _LOOKS * found.operators
        if dear or any(id(t._storage.memory) in memory for t in tensors):
            found.given_up = True
            return self._ordinary(recorder, args, kwargs)
        effects = SideEffects()
        result = self._watch(recorder, signature, tensors, args, kwargs, state, effects)
        made = self.known[signature]
        same = effects.harmless and effects.codes <= state.codes
        if made.__class__ is not Recording or not same or not made.again:
            found.given_up = True
        elif not state.hold():
            self._once_more(found)
        else:
            return result
        self.known[signature] = found
        return result

    def _weigh(
        self, recorder: Deferral, signature: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The first call with a signature: looks how much work it is.  A call that runs in parts cannot be repeated."""
        found: Any = NEVER
        before, recorder.parts = recorder.parts, []
        recorder.enter()
        try:
            result = self.fn(*args, **kwargs)
            parts = [*recorder.parts, recorder.text]
            if all(map(told, (*args, *kwargs.values()))):
                operators, views, work = map(sum, zip(*map(work_of, parts)))
                plain = work <= _LITTLE * operators
                whole = len(parts) == 1 and len(parts[0]) <= _LONG
                if whole or plain:
                    found = Learning(operators, plain, work > _MUCH)
                    few = operators + views <= _FEW and self.module is None  # whose call takes longer by itself
                    found.given_up = not whole or (plain and few)
        finally:
            recorder.parts = before
            recorder.leave()
        if not grad_state.grad:
            recorder.conclude()
        if found is not NEVER:
            self._learning[signature] = self.known[signature] = found
        elif all(map(told, (*args, *kwargs.values()))):
            self.known[signature] = NEVER
        return result

    def _see(self, recorder: Deferral, found: Learning, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An ordinary call whose side effects are watched for."""
        effects = SideEffects()
        recorder.enter()
        try:
            with effects:
                result = self.fn(*args, **kwargs)
        finally:
            recorder.leave()
        if not grad_state.grad:
            recorder.conclude()
        state = Environment(self.fn, effects.codes) if effects.harmless else None
        if state is not None and state.watchable:
            found.state = state
        else:
            found.given_up = True
        return result

    def _plainly(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call as if it were not compiled, but for what ``is_compiling`` says."""
        recorder.plain += 1
        try:
            return self.fn(*args, **kwargs)
        finally:
            recorder.plain -= 1

    def _rest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One of the calls that are not looked at, as ``_plainly`` makes them."""
        self._resting -= 1
        if not self._resting:
            self.quick = missed
        recorder = threads.deferral
        recorder.plain += 1
        try:
            return self.fn(*args, **kwargs)
        finally:
            recorder.plain -= 1


def told(value: Any) -> bool:
    """Whether a signature says all about an argument but what is in its tensors."""
    cls = value.__class__
    if cls is tuple or cls is list or (isinstance(value, tuple) and hasattr(cls, "_fields")):
        return all(map(told, value))
    if cls is dict:
        return all(map(told, value)) and all(map(told, value.values()))
    return cls in VALUES or (isinstance(value, Tensor) and value._plain)


def work_of(text: Sequence[Any]) -> tuple[int, int, int]:
    """The operators of a program, its views, and the operators' work."""
    at = operators = views = work = 0
    while at < len(text):
        what = text[at]
        if what is ARGUMENT:
            at += 3
        elif what is VIEW:
            views += 1
            at += 4
        elif what is WRITE:
            at += 5
        else:
            operators += 1
            work += what.work()
            at += 1 + what.inputs
    return operators, views, work
