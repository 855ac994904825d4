"""Levels of function transforms, and the tensors that stand for other tensors inside of one.

Every ``vmap`` and every forward-mode derivative that is being run is a *level*; levels are stacked, innermost last.
Inside of a level a tensor may be a ``Wrapper``: its ``_value`` (and the tangent of a ``Dual``) belongs to the levels
below.  A wrapper has the layout that the program is to see, so that shapes and types need no special care, and no
``_key``, so that it never takes the short path of an operator: ``call.dispatch`` hands it to ``transform/apply.py``.

Reverse mode needs no wrapper.  A tape belongs to the tensors that are on it: wrappers of a level have their own
history, and what they stand for has another one below.  So the gradients taken inside and outside of a level never
meet (the confusion of perturbations: J. Siskind and B. Pearlmutter, 2005).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from .. import primitives as prim
from ..autograd.mode import state as grad_state
from ..layout import Layout, contiguous_strides, of
from ..storage import Pending, Storage, Trace
from ..tensor import Tensor, empty

__all__ = [
    "RANDOM_ERROR", "Batched", "Dual", "Level", "NoValue", "Wrapper", "bare", "blank", "blank_like", "highest",
    "levels", "lifted", "outside_levels", "recorded", "vmap_level", "wrappers_in",
]  # fmt: skip


class Level:
    """A transform that is being run.

    ``number`` is its place in the stack.  ``size`` and ``randomness`` are those of a ``vmap``; a forward-mode level has
    size -1; if it is ``shared``, its tensors are on one tape with those below (``autograd.forward_ad``).  ``modes`` are
    the grad modes that were in force when gradients were begun to be taken directly inside of the level: turning grad
    mode off for these is no business of what lies below.
    """

    __slots__ = ("active", "modes", "number", "randomness", "shared", "size")

    def __init__(self, number: int, size: int, randomness: str, shared: bool) -> None:
        self.number, self.size, self.randomness, self.shared = number, size, randomness, shared
        self.active = True
        self.modes: list[bool] = []

    @property
    def mode_below(self) -> bool:
        """The grad mode for what lies below, of an operator that may have been called further up (a level inside of
        this one may be taking gradients of its own)."""
        return next((level.modes[0] for level in levels.stack[self.number :] if level.modes), grad_state.grad)


class _Levels(threading.local):
    """The stack of levels of a thread."""

    def __init__(self) -> None:
        self.stack: list[Level] = []

    def push(self, size: int = -1, randomness: str = "error", shared: bool = False) -> Level:
        """Begins a level."""
        level = Level(len(self.stack), size, randomness, shared)
        self.stack = [*self.stack, level]
        return level

    def pop(self, level: Level) -> None:
        """Ends a level; its wrappers are of no use any more."""
        level.active = False
        self.stack = [other for other in self.stack if other is not level]


levels = _Levels()


class vmap_level:
    """A context manager: the level of a ``vmap`` over ``size`` members."""

    def __init__(self, size: int, randomness: str = "error") -> None:
        self.size, self.randomness = size, randomness

    def __enter__(self) -> Level:
        self.level = levels.push(self.size, self.randomness)
        return self.level

    def __exit__(self, *exc: object) -> None:
        levels.pop(self.level)


class outside_levels:
    """A context manager: no level, or only those of ``stack``."""

    def __init__(self, stack: Sequence[Level] = ()) -> None:
        self.stack = list(stack)

    def __enter__(self) -> None:
        self.before, levels.stack = levels.stack, self.stack

    def __exit__(self, *exc: object) -> None:
        levels.stack = self.before


RANDOM_ERROR = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
    "randomness flags on vmap or perform the randomness operation out of vmap"
)


def recorded() -> bool:
    """Whether what is computed now may be differentiated: by a tape, or by a transform around it."""
    return grad_state.grad or bool(levels.stack)


class NoValue(RuntimeError):
    """Somebody looked at the elements of a tensor that stands for a batch."""


class _Hidden(Trace):
    """Stands in the place of memory that has no elements of its own."""

    def flush(self) -> None:
        raise NoValue(
            "vmap: It looks like you're calling .item() on a Tensor, or using its value in data-dependent control flow "
            "or in a function that needs its memory. We don't support that over a tensor being vmapped over, which has "
            "another value for each member of the batch; please try to rewrite it with other operations."
        )


_hidden = _Hidden()


class Wrapper(Tensor):
    """A tensor of a level; ``_value`` is what it stands for below."""

    _plain = False
    _level: Level
    _value: Tensor

    def _twin(self) -> Wrapper:
        """The same wrapper without its place on a tape."""
        raise NotImplementedError

    def _detached(self) -> Tensor:
        """The same value without a history, and without a derivative."""
        raise NotImplementedError

    def _blank(self, layout: Layout) -> Tensor:
        """An uninitialised tensor that can take values as those of this one: of another value for each member of every
        batch that this tensor is over."""
        raise NotImplementedError

    def _become(self, other: Wrapper) -> None:
        """Takes the place of another wrapper of the same storage (an operator that changes the shape in place)."""
        self._value = other._value


class Batched(Wrapper):
    """One member of a batch: ``_value`` without its dimension ``_bdim`` (None: the same for all members)."""

    _bdim: int | None

    @staticmethod
    def of(value: Tensor, bdim: int | None, level: Level, storage: Storage | None = None) -> Batched:
        """A member of ``value``; ``storage`` is that of the tensor of which it is a view."""
        layout = value._layout
        if bdim is not None:
            shape, strides = list(layout.shape), list(layout.strides)
            del shape[bdim], strides[bdim]
            layout = of(layout.dtype, layout.device, shape, strides)
        t: Batched = object.__new__(Batched)
        t._layout, t._offset, t._key = layout, value._offset, None
        t._value, t._bdim, t._level = value, bdim, level
        if storage is None:
            storage = Storage(0, 0, device_=layout.device)
            storage.pending = Pending(None, layout, _hidden)  # type: ignore[arg-type]
        t._storage = storage
        return t

    def _twin(self) -> Batched:
        return Batched.of(self._value, self._bdim, self._level, self._storage)

    def _detached(self) -> Tensor:
        return Batched.of(self._value.detach(), self._bdim, self._level, self._storage)  # type: ignore[attr-defined]

    def _blank(self, layout: Layout) -> Tensor:
        if self._bdim is None:
            return blank(self._value, layout)
        size = self._level.size
        span = max(1 + sum((n - 1) * s for n, s in zip(layout.shape, layout.strides)), 1)
        whole = of(layout.dtype, layout.device, (size, *layout.shape), (span, *layout.strides))
        return Batched.of(blank(self._value, whole), 0, self._level)

    def _become(self, other: Wrapper) -> None:
        super()._become(other)
        self._bdim = other._bdim  # type: ignore[attr-defined]


class Dual(Wrapper):
    """A value with its derivative along a direction: ``_value + e * _tangent`` with ``e * e = 0``.

    Looking at its elements gives those of the value, whose storage it shares.  ``_tangent`` None is zero.
    """

    _tangent: Tensor | None

    @staticmethod
    def of(value: Tensor, tangent: Tensor | None, level: Level) -> Dual:
        """A dual number of tensors."""
        t: Dual = object.__new__(Dual)
        t._layout, t._storage, t._offset, t._key = value._layout, value._storage, value._offset, None
        t._value, t._tangent, t._level = value, tangent, level
        return t

    def _twin(self) -> Dual:
        return Dual.of(self._value, self._tangent, self._level)

    def _detached(self) -> Tensor:
        return self._value.detach()  # type: ignore[attr-defined,no-any-return]

    def _blank(self, layout: Layout) -> Tensor:
        return blank(self._value, layout)

    def _become(self, other: Wrapper) -> None:
        super()._become(other)
        self._tangent = other._tangent  # type: ignore[attr-defined]


def blank(like: Tensor, layout: Layout) -> Tensor:
    """An uninitialised tensor of this layout, over all batches that ``like`` is over."""
    if isinstance(like, Wrapper):
        return like._blank(layout)
    return prim.undef(layout.shape, layout.dtype) if prim.tracing() else empty(layout)


def blank_like(like: Tensor, dtype: Any, shape: Sequence[int], device: Any) -> Tensor:
    """``blank`` of a contiguous layout."""
    return blank(like, of(dtype, device, shape, contiguous_strides(shape)))


def wrappers_in(args: Iterable[Any]) -> list[Wrapper]:
    """The wrappers among arguments, and in the lists among them."""
    found: list[Wrapper] = []
    for a in args:
        if isinstance(a, Wrapper):
            found.append(a)
        elif isinstance(a, (list, tuple)):
            found.extend(x for x in a if isinstance(x, Wrapper))
    return found


def highest(args: Iterable[Any]) -> Level | None:
    """The innermost level whose wrappers are among arguments (or in lists); None without any.

    Raises RuntimeError for a wrapper whose level has ended.
    """
    found: Level | None = None
    for wrapper in wrappers_in(args):
        level = wrapper._level
        if not level.active:
            what = "a function being vmapped over" if level.size >= 0 else "a level of forward-mode differentiation"
            raise RuntimeError(
                f"A tensor of shape {list(wrapper._layout.shape)} escaped from inside {what}: it was kept beyond the "
                "call (in a list, a global or an attribute) and is no value any more. Return it from the function."
            )
        if found is None or level.number > found.number:
            found = level
    return found


def bare(t: Tensor) -> Tensor:
    """The same tensor without its place on the tape of its level (what it stands for keeps its own)."""
    if isinstance(t, Wrapper):
        return t._twin()
    made: Tensor = object.__new__(Tensor)
    made._layout, made._storage, made._offset = t._layout, t._storage, t._offset
    made._key = t._layout if t._storage.pending is None else None
    return made


def lifted(t: Tensor, level: Level) -> Tensor:
    """A tensor as one of ``level``: itself if it is, or shares the tape, otherwise a wrapper that stands for it."""
    if level.shared or (isinstance(t, Wrapper) and t._level is level):
        return t
    return Batched.of(t, None, level) if level.size >= 0 else Dual.of(t, None, level)
