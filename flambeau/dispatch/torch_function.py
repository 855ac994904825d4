"""Classes that have their say about calls: ``__torch_function__`` of subclasses of Tensor and of other classes.

``ordinary`` tells in one test whether a call can do without; ``overridden`` asks those that have one.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from .. import primitives as prim
from ..device import device
from ..dtype import dtype
from ..layout import Size
from ..tensor import Tensor
from ..transform.level import Wrapper
from .operator import Operator
from .spelling import keywords_of_call

__all__ = [
    "Disabled",
    "default_torch_function",
    "disabled_torch_function",
    "dispatchers",
    "modes",
    "ordinary",
    "overridden",
    "own_members",
]

_ordinary_types: set[type] = {
    Tensor, bool, int, float, complex, str, type(None), tuple, list, Size, dtype, device, slice, type(Ellipsis),
    np.ndarray, range,
    *(np.dtype(c).type for c in "?bhilqBHILQefdFD"),
}  # fmt: skip
ordinary = _ordinary_types.issuperset
"""Whether a call needs no look for ``__torch_function__``: one test for the types of all of its arguments."""


class Disabled:
    """Counts who turned the ``__torch_function__`` of subclasses off; off unless 0."""

    depth = 0


class _Modes(threading.local):
    """The modes that a thread has entered, the innermost last, and the function whose next call asks nobody."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.skip: Any = None


modes = _Modes()


class _Dispatchers(threading.local):
    """Who is asked below the tape (``__torch_dispatch__``): the modes that a thread has entered, the innermost last,
    and whether classes of tensors are."""

    def __init__(self) -> None:
        self.modes: list[Any] = []
        self.classes = True


dispatchers = _Dispatchers()


def disabled_torch_function(*args: Any, **kwargs: Any) -> Any:
    """The ``__torch_function__`` of a class that has no say: its instances are ordinary tensors to operators."""
    return NotImplemented


Wrapper.__torch_function__ = staticmethod(disabled_torch_function)  # type: ignore[attr-defined]


def default_torch_function(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The behaviour of a Tensor subclass that does not say otherwise: compute, and give results its type."""
    special_before = Disabled.depth
    Disabled.depth += 1
    try:
        result = func(*args, **(kwargs or {}))
    finally:
        Disabled.depth = special_before
    if cls is Tensor or func in (Tensor.grad.__get__, Tensor._base.__get__):  # type: ignore[attr-defined]
        return result
    return _convert(result, cls)


def _convert(result: Any, cls: type) -> Any:
    if isinstance(result, Tensor) and type(result) is Tensor:
        return result.as_subclass(cls)  # type: ignore[attr-defined]
    if isinstance(result, (tuple, list)):
        items = [_convert(r, cls) for r in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    return result


def own_members(cls: type) -> None:
    """Prepares a subclass of Tensor: one that overrides ``__torch_function__`` gets its say about properties and
    methods that are no operators (operators ask in ``dispatch``)."""
    found = getattr(cls, "__torch_function__", None)
    below = hasattr(cls, "__torch_dispatch__")
    if below and getattr(found, "__func__", None) is default_torch_function:  # one say is enough, unless it wants both
        found = cls.__torch_function__ = disabled_torch_function  # type: ignore[attr-defined]
    cls._plain = found is disabled_torch_function and not below  # type: ignore[attr-defined]
    if cls._plain:  # type: ignore[attr-defined]
        _ordinary_types.add(cls)
        return
    _ordinary_types.discard(cls)
    if found in (None, disabled_torch_function) or getattr(found, "__func__", found) is default_torch_function:
        return
    for name, member in list(vars(Tensor).items()):
        if name in _INTERNAL or (name.startswith("_") and not name.startswith("__")):
            continue
        holder = next(c for c in cls.__mro__ if name in vars(c))
        if holder is not Tensor:
            continue
        if isinstance(member, property):
            setattr(cls, name, _asking_property(member))
        elif inspect.isfunction(member) and not hasattr(member, "operator"):
            setattr(cls, name, _asking_method(member))


_INTERNAL = frozenset({
    "__init_subclass__", "__torch_function__", "__new__", "__init__", "__hash__", "__class__", "__dict__", "__module__",
    "__weakref__", "__doc__",
    "__annotations__", "__getattribute__", "__setattr__", "__delattr__",
})  # fmt: skip


def _asking_property(member: property) -> property:
    def read(self: Tensor) -> Any:
        result = overridden(member.__get__, (self,), {})
        return member.__get__(self) if result is NotImplemented else result

    def write(self: Tensor, value: Any) -> None:
        if overridden(member.__set__, (self, value), {}) is NotImplemented:
            member.__set__(self, value)

    return property(read, write if member.fset is not None else None, member.fdel, member.__doc__)


def _asking_method(member: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(member)
    def method(*args: Any, **kwargs: Any) -> Any:
        result = overridden(member, args, kwargs)
        return member(*args, **kwargs) if result is NotImplemented else result

    return method


def overridden(
    public: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None,
    op: Operator | None = None,
    call: tuple[Any, ...] | None = None,
) -> Any:
    """Lets the subclass among ``args`` handle a call; NotImplemented if there is none.

    ``public`` is called with ``call`` and ``kwargs``, by default with the arguments themselves.
    """
    disabled = Disabled.depth > 0
    owners: list[Any] = []
    for a in args:
        for x in a if isinstance(a, (list, tuple)) else (a,):
            cls = type(x)
            if cls in _ordinary_types or isinstance(x, type):
                continue
            found = getattr(cls, "__torch_function__", None)
            if found is None or found is disabled_torch_function or (disabled and not getattr(cls, "_foreign", False)):
                continue
            if cls not in (type(o) for o in owners):
                at = next((i for i, o in enumerate(owners) if issubclass(cls, type(o))), len(owners))
                owners.insert(at, x)
    if not owners and not modes.stack:
        return NotImplemented
    if public is modes.skip is not None:
        modes.skip = None
        return NotImplemented
    if op is not None:
        call, kwargs = _as_called(op, args)
    types = tuple(type(o) for o in owners)
    if modes.stack and not prim.tracing():
        mode = modes.stack.pop()  # which is not asked about what it calls itself
        try:
            result = mode.__torch_function__(public, types, tuple(args) if call is None else call, kwargs or {})
        finally:
            modes.stack.append(mode)
        if result is not NotImplemented:
            return result
    if not owners:
        return NotImplemented
    for o in owners:
        result = type(o).__torch_function__(public, types, tuple(args) if call is None else call, kwargs or {})
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"no implementation found for '{getattr(public, '__name__', public)}' on types that "
        f"implement __torch_function__: {list(types)}"
    )


def _as_called(op: Operator, args: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of an operator as the user wrote them: keywords as keywords, and without those at their defaults
    at the end."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    written = keywords_of_call(f"<{op.name}>")
    for p, a in zip(op.signature.parameters.values(), args):
        if p.name not in written and p.kind is not inspect.Parameter.KEYWORD_ONLY:
            positional.append((a, p.default))
        elif p.name in written or a is not p.default:
            named[p.name] = a
    while positional and positional[-1][0] is positional[-1][1]:
        positional.pop()
    return tuple(a for a, _ in positional), named
