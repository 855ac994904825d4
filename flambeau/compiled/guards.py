"""What is looked at before a call is repeated (``reduce_overhead.py``): modules, their parameters, and gradients."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from operator import is_
from typing import Any, NamedTuple

from ..autograd.mode import state
from ..storage import Storage
from ..tensor import Tensor

__all__ = ["Grads", "Guards", "Owners", "owners"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_DEEP = 4  # functions in functions that are looked through
_PACKAGE = __name__.partition(".")[0]


class Owners(NamedTuple):
    """The modules, optimizers and tensors that a call may use, and where some of them were found that may be replaced
    there: a list, dictionary or cell, the index or name, and what stood there."""

    modules: list[Any]
    optimizers: list[Any]
    tensors: list[Tensor]
    places: list[tuple[Any, Any, Any]]


def owners(fn: Any, args: tuple[Any, ...]) -> Owners:
    """What a call may use, as far as it can be found: among its arguments, in the closure, the globals and the owner of
    the function, and of functions found there."""
    modules: dict[int, Any] = {}
    optimizers: dict[int, Any] = {}
    tensors: list[Tensor] = []
    places: list[tuple[Any, Any, Any]] = []
    seen: set[int] = set()
    stack: list[tuple[Any, int, Any, Any]] = [(fn, 0, None, None), *((a, 0, None, None) for a in args)]
    while stack:
        found, depth, holder, key = stack.pop()
        module = callable(getattr(found, "modules", None)) and hasattr(found, "_parameters")
        optimizer = isinstance(getattr(found, "param_groups", None), list)
        if holder is not None and (module or optimizer or isinstance(found, Tensor)):
            places.append((holder, key, found))
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, Tensor):
            tensors.append(found)
        elif module:
            modules[id(found)] = found
        elif optimizer:
            optimizers[id(found)] = found
        elif isinstance(found, (list, tuple)):
            own = found if isinstance(found, list) and holder is not None else None
            stack += [(item, depth, own, k) for k, item in enumerate(found)]
        elif depth < _DEEP:
            stack += [(item, depth + 1, *place) for item, *place in _within(found, depth)]
    return Owners(list(modules.values()), list(optimizers.values()), tensors, places)


def _within(found: Any, depth: int) -> Iterator[tuple[Any, Any, Any]]:
    """What a function uses, and where that stands: its owner, closure, globals, defaults, and what it wraps; the fields
    of an object that is called, or whose method is."""
    if isinstance(found, types.MethodType):
        yield found.__self__, None, None
        yield found.__func__, None, None
    code = getattr(found, "__code__", None)
    if code is None:
        if depth < 2 and not isinstance(found, (type, types.ModuleType, Tensor)):
            own = getattr(found, "__dict__", {})
            yield from [(value, own, name) for name, value in own.items()]
            if callable(found):
                yield vars(type(found)).get("__call__"), None, None
        return
    wrapped = getattr(found, "__wrapped__", None)
    if wrapped is not None:
        yield wrapped, None, None
    if (getattr(found, "__module__", "") or "").partition(".")[0] == _PACKAGE:
        return
    space = found.__globals__
    yield from [(space[name], space, name) for name in code.co_names if name in space]
    yield from [(value, None, None) for value in found.__defaults__ or ()]
    for cell in found.__closure__ or ():
        try:
            yield cell.cell_contents, cell, None
        except ValueError:  # not filled yet
            continue


def _still(holder: Any, key: Any, found: Any) -> bool:
    """Whether something stands where it was found."""
    try:
        return (holder.cell_contents if key is None else holder[key]) is found
    except (LookupError, ValueError):
        return False


class Guards:
    """The state of modules and optimizers that a call's Python may depend on; ``tensors`` are all that are known, with
    the ones that are given.

    ``watchable``: there are no hooks, whose Python a repeated call would skip.
    """

    def __init__(
        self,
        modules: list[Any],
        optimizers: list[Any],
        tensors: list[Tensor],
        places: Sequence[tuple[Any, Any, Any]] = (),
    ) -> None:
        self._places = list(places)
        every = list(dict.fromkeys(inner for m in modules for inner in m.modules()))
        self._hooks = [tuple(getattr(m, name) for name in _HOOKS if hasattr(m, name)) for m in every]
        self._modules = [(m, m.training, hooks) for m, hooks in zip(every, self._hooks)]
        self._children = [(m._modules, list(m._modules.values())) for m in every if m._modules]
        self._members = [
            (table, name, t, t._storage if isinstance(t, Tensor) else None, getattr(t, "_requires_grad", False))
            for m in every
            for table in (m._parameters, m._buffers)
            for name, t in table.items()
        ]
        self.tensors = [t for _, _, t, _, _ in self._members if isinstance(t, Tensor)]
        self.tensors += [t for o in optimizers for group in o.param_groups for t in group["params"]]
        self.tensors += tensors
        self._groups = [(group, len(group["params"]), _values(group)) for o in optimizers for group in o.param_groups]
        self._optimizers = [(o, o.param_groups, [*o.param_groups]) for o in optimizers]
        self.watchable = not any(
            (*map(any, self._hooks), *map(_hooked, self.tensors), *map(_stepped_otherwise, optimizers))
        )

    @staticmethod
    def same() -> int:
        """Nothing less than ``hold`` tells that all is as it was."""
        return 0

    def hold(self) -> bool:
        """Whether all is as it was."""
        for place in self._places:
            if not _still(*place):
                return False
        for module, training, hooks in self._modules:
            if module.training is not training:
                return False
            for table in hooks:
                if table:
                    return False
        for table, children in self._children:
            if len(table) != len(children):
                return False
            for child, was in zip(table.values(), children):
                if child is not was:
                    return False
        for table, name, t, storage, requires_grad in self._members:
            if table.get(name) is not t:
                return False
            if t is not None:
                if t._storage is not storage or t._requires_grad is not requires_grad:
                    return False
                extras = t._hooks
                if extras is not None and (extras.hooks or extras.post_accumulate):
                    return False
        for optimizer, groups, were in self._optimizers:
            now = optimizer.param_groups
            if now is not groups or len(now) != len(were) or not all(map(is_, now, were)):
                return False
            if _stepped_otherwise(optimizer):
                return False
        for group, count, values in self._groups:
            if len(group["params"]) != count:
                return False
            for key, value in values:
                option = group.get(key)
                if option is not value and not _alike(option, value):
                    return False
        return True

    def rates(self) -> list[Any]:
        """What the optimizers' groups say now, apart from their parameters."""
        return [_values(group) for group, _, _ in self._groups]


def _hooked(t: Tensor) -> bool:
    extras = t._hooks
    return extras is not None and bool(extras.hooks or extras.post_accumulate)


def _stepped_otherwise(optimizer: Any) -> bool:
    """Whether an optimizer's step is more than its class says (an optimizer of the program's own says nothing)."""
    asked = getattr(optimizer, "_steps_otherwise", None)
    return asked is not None and asked()


def _values(group: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in group.items() if key not in ("params", "param_names")]


def _alike(now: Any, value: Any) -> bool:
    """Whether two options of an optimizer's group make it do the same with other numbers."""
    if now.__class__ is not value.__class__ or isinstance(value, Tensor):
        return False
    if value.__class__ is float or value.__class__ is int:
        return (now == 0) == (value == 0)
    if value.__class__ is tuple:
        return len(now) == len(value) and all(map(_alike, now, value))
    return bool(now == value)


class Grads:
    """The gradients that a call leaves in leaves, seen before it and after it."""

    def __init__(self, leaves: list[Tensor]) -> None:
        self._before = [(t, t._grad) for t in dict.fromkeys(leaves)]
        self.none: list[tuple[Tensor, bool]] = []
        """The leaves of which it matters whether the call begins without a gradient, and whether it did: those whose
        gradient it replaces, or all if it looked at gradients or made some (and cleared them, perhaps)."""
        self.kept: list[tuple[Tensor, Tensor, Storage]] = []
        """Those that the call adds to: the leaf, its gradient, and where that lies."""
        self.cleared: list[Tensor] = []
        """Those that it leaves without one."""
        self.fresh: list[tuple[Tensor, Tensor]] = []
        """Those that it gives a new one, with that."""

        self._count = state.gradients

    def after(self, used: Any) -> None:
        """Sorts the gradients; ``used`` tells whether the program reads or writes a storage."""
        touched = state.gradients != self._count
        for t, before in self._before:
            now = t._grad
            if now is before:
                if now is not None and used(now._storage.memory):
                    self.kept.append((t, now, now._storage))
                elif touched and t._requires_grad:
                    self.none.append((t, now is None))
                continue
            if before is not None and used(before._storage.memory):
                self.kept.append((t, before, before._storage))
            self.none.append((t, before is None))
            if now is None:
                self.cleared.append(t)
            else:
                self.fresh.append((t, now))
        self._before = []

    def leaves(self) -> set[int]:
        """The leaves whose gradients matter, by identity."""
        return {id(t) for t, _ in self.none} | {id(t) for t, _, _ in self.kept}

    def hold(self) -> bool:
        """Whether the gradients are such as the call found them."""
        for t, none in self.none:
            if (t._grad is None) is not none:
                return False
        for t, grad, storage in self.kept:
            if t._grad is not grad or grad._storage is not storage:
                return False
        return True
