"""``__torch_dispatch__``: modes and classes of tensors that are asked about operators below the tape.

``call`` hands every call of an operator here, once this file is imported and somebody has a say: a mode that the thread
has entered, or a class among those of the arguments.  The handler gets the overload of ``torch.ops.aten`` (``aten``
says which), and runs without grad mode; what it returns goes on the tape as the operator's result.  Operators made of
others are not seen themselves, but what they are made of.  Derivatives are operators, so the backward pass is seen too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import aten
from .autograd import tape
from .autograd.mode import state as grad_state
from .device import device as device_
from .dispatch import call
from .dispatch.arguments import literal, plain_arguments
from .dispatch.call import around, special
from .dispatch.operator import Operator
from .dispatch.planning import tensors_in
from .dispatch.torch_function import Disabled, modes
from .dispatch.torch_function import dispatchers as stack
from .dtype import dtype, get_default_dtype
from .layout import contiguous_strides, of
from .storage import Storage
from .tensor import Tensor

__all__ = ["enter", "function", "has_say", "leave", "make_wrapper_subclass", "prepare"]


class NoMemory(Storage):
    """The storage of a tensor that is made of others: it counts writes, and has no address."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def __del__(self) -> None:
        """Nothing: there is no memory."""

    nbytes = property(lambda self: self._nbytes)

    @property
    def ptr(self) -> int:  # type: ignore[override]
        """Raises RuntimeError: there is none."""
        raise RuntimeError(
            "Cannot access data pointer of Tensor that doesn't have storage: it was made by _make_wrapper_subclass, "
            "and its __torch_dispatch__ did not handle the call"
        )


def has_say(cls: type) -> bool:
    """Whether a class handles operators itself."""
    return issubclass(cls, Tensor) and getattr(cls, "__torch_dispatch__", None) is not None


def _flat(args: Iterable[Any]) -> Iterator[Any]:
    for a in args:
        if isinstance(a, (list, tuple)):
            yield from a
        else:
            yield a


def _owners(args: Iterable[Any]) -> list[type]:
    """The classes among those of arguments that have a say, subclasses first."""
    found: list[type] = []
    for x in _flat(args):
        cls = x.__class__
        if cls is not Tensor and cls not in found and has_say(cls):
            found.insert(next((i for i, c in enumerate(found) if issubclass(cls, c)), len(found)), cls)
    return found


def _ask(func: Any, owners: Sequence[type], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Asks the innermost mode, then the classes.  What they call is seen by the modes further out, and by no function
    mode, cast or profile a second time."""
    types, entered = tuple(owners), stack.modes
    before = around.wrappers, modes.stack, grad_state.grad
    around.wrappers, modes.stack, grad_state.grad = (), [], False
    Disabled.depth += 1
    try:
        if entered:
            stack.modes = entered[:-1]
            result = entered[-1].__torch_dispatch__(func, types, args, kwargs)
            if result is not NotImplemented:
                return result
        for cls in owners:
            result = cls.__torch_dispatch__(func, types, args, kwargs)  # type: ignore[attr-defined]
            if result is not NotImplemented:
                return result
    finally:
        Disabled.depth -= 1
        stack.modes = entered
        around.wrappers, modes.stack, grad_state.grad = before
    names = ", ".join(c.__name__ for c in owners)
    raise TypeError(f"Multiple dispatch failed for '{func}'; all __torch_dispatch__ handlers returned NotImplemented: "
                    f"tried the modes {[type(m).__name__ for m in entered]} and the classes [{names}]")  # fmt: skip


def _below(op: Operator, args: Sequence[Any], inplace: bool) -> Any:
    """See ``call.below``."""
    owners = _owners(args) if stack.classes else []
    if not owners and not stack.modes:
        return NotImplemented
    if not inplace:
        if op.kind == "composite" and op._derivative is None:
            return NotImplemented  # its body calls what is seen
        parts = aten.in_parts(op, args)
        if parts is not None:
            return parts(*args)
    args = literal(op, args)
    args = args if op.kind in ("composite", "view") else plain_arguments(op, args)
    func, given, named = aten.spelled(op, args, inplace)
    wanted = grad_state.grad and op.differentiable and any(t._requires_grad for t in tensors_in(args))
    if inplace:
        return _written(op, args, wanted, functools.partial(_ask, func, owners, given, named))
    result = _ask(func, owners, given, named)
    if isinstance(result, list):
        result = tuple(result)
    if not _fresh(result, args):
        return result
    if op.kind == "view":
        tape.record_view(op, args, result)
    elif wanted and op.derivative is not None:
        tape.record(op, args, result)
    return result


def _fresh(result: Any, args: Sequence[Any]) -> bool:
    """Whether a result is made of tensors that are no arguments."""
    found = result if isinstance(result, tuple) else (result,)
    given = {id(x) for x in _flat(args)}
    return all(isinstance(x, Tensor) and id(x) not in given for x in found)


def _written(op: Operator, args: Sequence[Any], wanted: bool, ask: Callable[[], Any]) -> Tensor:
    """A call in place: the first argument is what it returns, whatever the handler does."""
    target: Tensor = args[0]
    recorded = wanted and (op.derivative is not None or target._requires_grad)
    node = tape.before_inplace(op, args) if recorded else None
    version = target._storage.version
    ask()
    if target._storage.version == version:
        target._storage.version += 1
    if node is not None:
        tape.after_inplace(node, target)
    return target


# -- functions that are no operators ------------------------------------------------------------------


def function(name: str, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Asks about a function that is no operator here, but one of ``torch.ops.aten``; NotImplemented if nobody has a
    say."""
    owners = _owners((*args, *kwargs.values())) if stack.classes else []
    if not owners and not stack.modes:
        return NotImplemented
    return _ask(aten.overload(name, kind), owners, args, kwargs)


def _member(name: str, kind: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a class that has a say: it is asked, and otherwise the tensor is as any."""

    @functools.wraps(plain)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = function(name, kind, (self, *args), kwargs)
        if result is NotImplemented:
            return plain(self, *args, **kwargs)
        if name == "copy_" or name == "zero_":
            self._storage.version += 1
            return self
        return result

    return method


def _to(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``to`` of a class that has a say: a copy if anything changes."""

    @functools.wraps(plain)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not stack.classes:
            return plain(self, *args, **kwargs)
        place, kind, others = None, None, dict(kwargs)
        for a in args:
            if isinstance(a, dtype):
                kind = a
            elif isinstance(a, Tensor):
                place, kind = a.device, a.dtype
            elif isinstance(a, (str, int, device_)) and not isinstance(a, bool):
                place = device_(a)
        place, kind = others.pop("device", place), others.pop("dtype", kind)
        wanted: dict[str, Any] = {}
        if kind is not None and kind is not self.dtype:
            wanted["dtype"] = kind
        if place is not None and device_(place) != self.device:
            wanted["device"] = device_(place)
        if not wanted and not others.get("copy"):
            return self
        return function("_to_copy", "default", (self,), wanted)

    return method


def _data_ptr(self: Tensor) -> int:
    """The address of the first element; 0 of a tensor that has no memory."""
    return 0 if isinstance(self._storage, NoMemory) else Tensor.data_ptr(self)  # type: ignore[attr-defined,no-any-return]


_MEMBERS = {"detach": "default", "copy_": "default", "zero_": "default"}


def prepare(cls: type) -> None:
    """Gives a class that has a say its methods."""
    for name, kind in _MEMBERS.items():
        if getattr(cls, name) is getattr(Tensor, name):
            setattr(cls, name, _member(name, kind, getattr(Tensor, name)))
    if cls.item is Tensor.item:  # type: ignore[attr-defined]
        cls.item = _member("_local_scalar_dense", "default", Tensor.item)  # type: ignore[attr-defined]
    if cls.data_ptr is Tensor.data_ptr:  # type: ignore[attr-defined]
        cls.data_ptr = _data_ptr  # type: ignore[attr-defined]
    if cls.to is Tensor.to:  # type: ignore[attr-defined]
        cls.to = _to(Tensor.to)  # type: ignore[attr-defined]


def make_wrapper_subclass(
    cls: type, size: Sequence[int], strides: Sequence[int] | None = None, storage_offset: int | None = None,
    memory_format: Any = None, dtype: dtype | None = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, dispatch_sizes_strides_policy: Any = None,
    dispatch_device: bool = False, dispatch_layout: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of class ``cls`` that has a shape, element type and device and no memory: what it is made of is the
    business of its ``__torch_dispatch__``.  Raises RuntimeError for a class without."""
    if not has_say(cls):
        raise RuntimeError(f"{cls.__name__} must define __torch_dispatch__ to be made by _make_wrapper_subclass")
    shape = tuple(int(n) for n in size)
    kind = dtype or get_default_dtype()
    steps = contiguous_strides(shape) if strides is None else tuple(int(s) for s in strides)
    t: Any = object.__new__(cls)
    t._layout = of(kind, device_(device or "cpu"), shape, steps)
    t._storage, t._offset, t._key = NoMemory(t._layout.nbytes), storage_offset or 0, None
    t._requires_grad = bool(requires_grad)
    return t


def enter(mode: Any) -> None:
    """A mode is asked from now on."""
    stack.modes = [*stack.modes, mode]
    special.append(mode)


def leave(mode: Any) -> None:
    """The innermost mode is asked no more."""
    stack.modes = stack.modes[:-1]
    special.remove(mode)


call.below, call.below_function = _below, function
