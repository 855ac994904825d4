"""Operators that wait for what follows them, in a module that is called without grad mode, and the short way by which
calls of operators made of others are recorded again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import device as devices
from .. import primitives as prim
from ..autograd.mode import state as grad_state
from ..deferred.deferral import Deferral, NeedsMemory, threads
from ..deferred.record import CHAIN, WHOLE, Recipe
from ..tensor import Tensor
from .call import around, signature, special
from .operator import Operator
from .planning import LIMIT, common_device, recipe_of, tensors_in
from .torch_function import ordinary

__all__ = ["recall", "remember", "wait", "wait_for_all"]

_MUCH = 1 << 23
"""Products of a sum and a factor in a matrix product behind which a whole call may wait."""
_FEW = 8
"""Rows of a matrix product that is bound by reading its weights: nothing that follows is worth waiting for."""


def wait(op: Operator, tensors: Sequence[Any], rest: tuple[Any, ...]) -> Any:
    """Calls an operator on tensors (of which those behind the first may be None) and other arguments, so that what
    follows can become part of it: in a module that is called without grad mode, from the second call with these layouts
    on (most convolutions of images of ever new sizes are not worth planning)."""
    recorder = threads.deferral
    if not recorder.waits or recorder.depth or grad_state.grad or special or prim.tracing():
        return op.function(*tensors, *rest)
    if recorder.caller is not None:
        recorder.choose()
    given = [t for t in tensors if t is not None]
    key = (*[t._layout for t in given], len(tensors) - len(given), *rest)
    recipe = op.waiting.get(key)
    if recipe is None:
        return _first_wait(op, key, tensors, rest)
    _make_room(recorder)
    try:
        return recorder.apply(recipe, given, ())[0]
    except NeedsMemory:  # another thread's value
        return op.function(*tensors, *rest)


def wait_for_all(op: Operator, x: Any, weight: Any, bias: Any) -> Any:
    """The result of an operator that multiplies the rows of ``x`` by ``weight`` (out, in), recorded so that everything
    behind it waits as well: if it is much work, and the whole call of the outermost module may wait
    (`deferral.Habit`).  None if it is to be called as ever."""
    recorder = threads.deferral
    args = (x, weight, bias)
    if recorder.depth or grad_state.grad or special or prim.tracing() or not ordinary(map(type, args)):
        return None
    if not isinstance(x, Tensor) or x._storage.pending is not None or weight.ndim != 2 or not weight.shape[1]:
        return None
    rows = x.numel() // weight.shape[1]
    if rows < _FEW or rows * weight.numel() < _MUCH or weight.dtype is not x.dtype:
        return None
    if recorder.caller is not None:
        recorder.choose()
    given = tensors_in(args)
    if recorder.waits != WHOLE or common_device(op, given) is not devices.cpu:
        return None
    _make_room(recorder)
    found = recorder.put(recipe_of(op, args, signature(op, args)[0]), given, ())
    return None if found is None else found[0]


def _make_room(recorder: Deferral) -> None:
    """Lets a convolution begin to wait."""
    if recorder.text and (recorder.waits == CHAIN or recorder.full()):
        recorder.flush()


def recall(seen: dict[Any, Recipe], key: Any, tensors: Sequence[Any]) -> Any:
    """The result of a call that is recorded as it was before, None for any other.

    ``seen`` (`remember` fills it) has recipes by ``key``, all that the call depends on but for the values of
    ``tensors`` (some may be None).
    """
    recorder = threads.deferral
    if grad_state.grad or prim.tracing() or around.wrappers:
        return None
    try:
        recipe = seen[key]
    except (KeyError, TypeError):
        return None
    given = [t for t in tensors if t is not None]
    if not recorder.depth:
        if special or not recorder.waits:
            return None
        if recorder.caller is not None:
            recorder.choose()
        _make_room(recorder)
    found = recorder.put(recipe, given, ())
    return None if found is None else found[0]


def remember(seen: dict[Any, Recipe], key: Any, op: Operator, args: Sequence[Any]) -> None:
    """Keeps what a call that was recorded came to, for `recall`: one of ``op`` with these arguments."""
    if len(seen) >= LIMIT:
        seen.clear()
    try:
        seen[key] = recipe_of(op, args, signature(op, args)[0])
    except TypeError:  # an argument is a list
        pass


def _first_wait(op: Operator, key: tuple[Any, ...], tensors: Sequence[Any], rest: tuple[Any, ...]) -> Any:
    """The first calls with a signature."""
    args = (*tensors, *rest)
    given = tensors_in(args)
    if ordinary(map(type, args)) and common_device(op, given) is devices.cpu:
        if len(op.waiting) >= LIMIT:
            op.waiting.clear()
        if key in op.waiting:
            op.waiting[key] = recipe_of(op, args, signature(op, args)[0])
        else:
            op.waiting[key] = None
    return op.function(*args)
