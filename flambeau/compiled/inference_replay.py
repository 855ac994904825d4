"""Calls of modules without grad mode, of programs that compile nothing, whose Python is left out.

The Python of a net of many small layers takes as long as a good part of its kernels.  Once the whole call of an
outermost module waits (`deferral.Habit`) and its programs come again, a call is repeated as one of a compiled function
is (``default_mode.py``), under the same condition, that nobody can notice, and some more, for nobody asked:

- nothing traces, profiles or monitors Python, or stands around operators;
- while a call is learnt, which makes the parameters look pending, there is no other thread;
- what runs does not look at ``is_compiling``, and the functions that layers call are the package's own still;
- nothing is written.

What runs is the program of the call that is made as ever, with results of the same bits, where that computes
everything.  Where a part is computed beforehand because it may fail (an embedding), it is the program of the whole
call, which may round otherwise.  A call that fails is made as ever, so that the error names its operator.  What is
remembered of a module does not keep it alive.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any
from weakref import WeakMethod, ref

from .. import primitives as prim
from ..autograd.saved import watch
from ..deferred.deferral import Deferral, Habit
from ..deferred.steps import Steps
from ..dispatch.call import special
from ..generator import default_generator
from ..tensor import Tensor, address
from ..transform.level import levels
from .default_mode import DefaultMode, Learning, told, work_of
from .guards import Grads
from .purity import Environment, SideEffects
from .reduce_overhead import NEVER, made_again
from .replay import Recording, leaves

__all__ = ["InferenceReplay"]

_TOOLS = 6
"""Tools that may monitor the interpreter; the last two numbers are what ``settrace`` and ``setprofile`` use."""


class InferenceReplay(DefaultMode):
    """The calls of a module; ``call`` is its method that makes one, ``space`` has names that layers look up."""

    def __init__(self, module: Any, call: Callable[..., Any], space: dict[str, Any]) -> None:
        there = WeakMethod(call)

        def make(*args: Any, **kwargs: Any) -> Any:
            method = there()
            assert method is not None
            return method(*args, **kwargs)

        super().__init__(make)
        self._there, self._module, self._class = there, ref(module), type(module)
        self._space = space

    def _aside(self, recorder: Deferral) -> bool:
        return bool(
            special
            or recorder.depth
            or recorder.waits
            or recorder.text
            or watch.count
            or levels.stack
            or recorder.steps is not None
            or recorder.__class__ is not Deferral
            or prim.tracing()
            or _followed()
            or type(self._module()) is not self._class
        )

    def _call_aside(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.fn(*args, **kwargs)

    def _ordinary(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.fn(*args, **kwargs)

    def _repeat(
        self, found: Recording, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # fmt: skip
        if any(map(_pending, found.kept)):  # what another thread is about to compute
            return self.fn(*args, **kwargs)
        try:
            return found.run(tensors, self.fn, args, kwargs)
        except Exception:  # nothing was done: the call itself raises what it should
            return self.fn(*args, **kwargs)

    def _learn(
        self,
        recorder: Deferral,
        found: Any,
        signature: tuple[Any, ...],
        tensors: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if found is not None and len(sys._current_frames()) > 1:
            return self.fn(*args, **kwargs)
        return super()._learn(recorder, found, signature, tensors, args, kwargs)

    def _weigh(
        self, recorder: Deferral, signature: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        runs = recorder.runs
        result = self.fn(*args, **kwargs)
        habit = Habit.known(self._module())
        found: Any = NEVER
        if recorder.runs == runs + 1 and habit is not None and all(map(told, (*args, *kwargs.values()))):
            found = self._learning[signature] = Learning(work_of(habit.text)[0], False, True)
        self.known[signature] = found
        return result

    def _see(self, recorder: Deferral, found: Learning, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        effects = SideEffects()
        with effects:
            result = self.fn(*args, **kwargs)
        found.state = None
        if effects.harmless:
            state = Environment(self._there(), effects.codes, self._space)
            if state.watchable and state.let_go(self._module()):
                found.state = state
        found.given_up = found.state is None
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
        """Records the call to see that it computes its results and does nothing else, then makes it as ever to see what
        program that is."""
        assert state is not None and effects is not None
        self.known[signature] = NEVER
        operators, result = self._recorded(recorder, tensors, args, kwargs, state, effects)
        habit = Habit.known(self._module())
        if not operators or habit is None:
            return result
        if operators > work_of(habit.text)[0]:  # a part is computed at once where the call is made as ever
            return self._watch_whole(recorder, signature, tensors, args, kwargs, state)
        before = recorder.outside
        noted = habit.noted = []
        try:
            result = self.fn(*args, **kwargs)
        finally:
            habit.noted = None
        grads = Grads([])
        known = {id(t._storage.memory) for t in (*tensors, *state.tensors)}
        if len(noted) == 1 and recorder.outside == before:
            ((ran, held),) = noted
            if (
                all(into is None for into in ran.into)
                and all(id(s) in known for s, _, _ in ran.arguments)
                and made_again(result, held, recorder, grads, known, {id(t) for t in tensors})
            ):
                self.known[signature] = Recording(ran, tensors, result, held, state, grads, Steps(recorder))
                return result
        return self._watch_whole(recorder, signature, tensors, args, kwargs, state)

    def _watch_whole(
        self,
        recorder: Deferral,
        signature: tuple[Any, ...],
        tensors: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: Environment,
    ) -> Any:
        """A call of which a part is computed at once where it is made as ever: remembers the program of the whole."""
        recorder.unasked = True
        try:
            result = super()._watch(recorder, signature, tensors, args, kwargs, state, SideEffects())
        except Exception:  # what it computes fails, and nothing else can
            self.known[signature] = NEVER
            recorder.unasked = False
            return self.fn(*args, **kwargs)
        finally:
            recorder.unasked = False
        made = self.known[signature]
        if made.__class__ is Recording and made.written:
            self.known[signature] = NEVER
        return result

    def _recorded(
        self,
        recorder: Deferral,
        tensors: list[Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        state: Environment,
        effects: SideEffects,
    ) -> tuple[int, Any]:
        """Makes a call by recording it.  How many operators it has, if it looked at no value, drew no number, wrote
        nothing and left nothing behind, in which case its results are not computed; 0 and its result otherwise."""
        for t in (*tensors, *state.tensors):
            address(t)
        before = recorder.runs, recorder.outside, default_generator.state_bytes()
        recorder.unasked = True
        recorder.enter()
        try:
            for t in (*tensors, *state.tensors):
                if t._layout.numel:
                    recorder.borrow(t)
            with effects:
                result = self.fn(*args, **kwargs)
            pure = (
                not recorder.homes
                and before == (recorder.runs, recorder.outside, default_generator.state_bytes())
                and effects.harmless
                and effects.codes <= state.codes
            )
        finally:
            recorder.leave()
            recorder.unasked = False
            recorder.give_back()
        if pure and state.hold():
            results = {id(t._storage.memory) for t in leaves(result) if isinstance(t, Tensor)}
            if all(id(s) in results for s in recorder.held()):
                del result
                operators = work_of(recorder.text)[0]
                recorder.finish([])
                return operators, None
        recorder.conclude()
        return 0, result


_pending = attrgetter("pending")


def _followed() -> bool:
    """Whether somebody follows what Python does."""
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and any(map(monitoring.get_tool, range(_TOOLS)))
