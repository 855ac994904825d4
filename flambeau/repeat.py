"""``mode="reduce-overhead"``: a compiled function whose second call with a signature is remembered and repeated.

The first call with a signature runs as any compiled call does.  The second is watched, and if all it does is to compute
its results from its arguments and from tensors that lie elsewhere (parameters, say), later calls run its kernels and
nothing of its Python.

The contract, as with ``jax.jit``: the function's Python must do the same for the same signature.  A signature is the
types, shapes and strides of the tensors among the arguments, the values of all other arguments, grad mode and the
default type.  What is noticed besides: modules found in the function (itself, its ``self``, arguments, closure, the
globals it names) that change between training and evaluation, and parameters or buffers of theirs that are replaced:
then the call is watched anew.  Never repeated are calls that look at a value of theirs, draw random numbers, return
something that requires a gradient, keep a result elsewhere, or use an operator that works outside of generated code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .autograd.mode import state as grad_state
from .call import around
from .deferral import Deferral, Ran, deferral
from .dtype import get_default_dtype
from .generator import default_generator
from .storage import Storage
from .tensor import Tensor, address, make

__all__ = ["Repeater"]

_LIMIT = 256  # signatures that are remembered of one function
_VALUES = (int, float, bool, complex, str, bytes, type(None))
_NEVER = object()


def _flatten(value: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Adds to ``key`` what tells a value apart, and its tensors to ``tensors``."""
    cls = value.__class__
    key.append(cls)
    if isinstance(value, Tensor):
        key += (value._layout, value._requires_grad)
        tensors.append(value)
    elif cls in _VALUES:
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


def _modules(fn: Any, args: tuple[Any, ...]) -> list[Any]:
    """The modules that a call may use, as far as they can be found."""
    code = getattr(fn, "__code__", None)
    space = getattr(fn, "__globals__", {})
    found = [fn, getattr(fn, "__self__", None), *args]
    found += [space.get(name) for name in (code.co_names if code is not None else ())]
    for cell in getattr(fn, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    return [m for m in found if callable(getattr(m, "modules", None)) and hasattr(m, "_parameters")]


class _Guards:
    """What is looked at before a call is repeated."""

    def __init__(self, modules: list[Any]) -> None:
        every = list(dict.fromkeys(inner for m in modules for inner in m.modules()))
        self.training = [(m, m.training) for m in every]
        self.members = [
            (table, name, t, t._storage if isinstance(t, Tensor) else None)
            for m in every
            for table in (m._parameters, m._buffers)
            for name, t in table.items()
        ]

    def hold(self) -> bool:
        for module, training in self.training:
            if module.training is not training:
                return False
        for table, name, t, storage in self.members:
            if table.get(name) is not t or (storage is not None and t._storage is not storage):
                return False
        return True


class _Recording:
    """A call that can be repeated."""

    def __init__(
        self, ran: Ran | None, tensors: list[Tensor], result: Any, results: list[Storage], guards: _Guards
    ) -> None:
        self.ran, self.guards = ran, guards
        into = ran.into if ran is not None else []
        position = {id(t._storage.memory): k for k, t in enumerate(reversed(tensors))}
        last = len(tensors) - 1
        # Where each argument comes from: a tensor of the call, or a storage that stays; and bytes from there on.
        self.sources: list[tuple[int, Storage | None, int]] = []
        for storage, layout, offset in ran.arguments if ran is not None else ():
            at = position.get(id(storage))
            start = offset * layout.itemsize
            self.sources.append((-1, storage, start) if at is None else (last - at, None, start))
        self.sizes = [ran.plan.sizes.get(k, 0) if ran and i is None else 0 for k, i in enumerate(into)]
        self.written = [self.sources[i] for i in into if i is not None]
        number = {id(s): k for k, s in enumerate(results) if into[k] is None}
        self.build = _builder(result, number, {id(t): k for k, t in enumerate(tensors)})

    def run(self, tensors: list[Tensor]) -> Any:
        for t in tensors:
            if t._storage.pending is not None:
                address(t)
        if self.ran is None:
            return self.build([], tensors)
        memories = [tensors[k]._storage if storage is None else storage for k, storage, _ in self.sources]
        made = self.ran.run([s.ptr + start for s, (_, _, start) in zip(memories, self.sources)], memories)
        for k, storage, _ in self.written:
            (tensors[k]._storage if storage is None else storage).version += 1
        storages = [Storage(p, n) if n else None for p, n in zip(made, self.sizes)]
        return self.build(storages, tensors)


_Build = Callable[[list[Any], list[Tensor]], Any]


def _builder(value: Any, number: dict[int, int], inputs: dict[int, int]) -> _Build:
    """A function that makes a result like ``value`` from the storages of a run and the tensors of its call."""
    if isinstance(value, Tensor):
        at = inputs.get(id(value))
        if at is not None:
            return lambda storages, tensors: tensors[at]
        k = number.get(id(value._storage.memory))
        if k is None:
            return lambda storages, tensors: value
        layout, offset = value._layout, value._offset
        return lambda storages, tensors: make(storages[k] or Storage(0, 0), layout, offset)
    if isinstance(value, (tuple, list)):
        parts = [_builder(v, number, inputs) for v in value]
        cls: Any = type(value)
        if hasattr(value, "_fields"):
            return lambda storages, tensors: cls(*[p(storages, tensors) for p in parts])
        return lambda storages, tensors: cls([p(storages, tensors) for p in parts])
    if isinstance(value, dict):
        table = {name: _builder(v, number, inputs) for name, v in value.items()}
        return lambda storages, tensors: {name: p(storages, tensors) for name, p in table.items()}
    return lambda storages, tensors: value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
    elif type(value) is dict:
        for item in value.values():
            yield from _leaves(item)
    else:
        yield value


class Repeater:
    """A function with its remembered calls."""

    def __init__(self, fn: Callable[..., Any], module: Any = None) -> None:
        self.fn, self.module = fn, module
        self.known: dict[tuple[Any, ...], Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        recorder = deferral()
        if recorder.depth or around.wrappers:
            return self.fn(*args, **kwargs)
        recorder.flush()
        key: list[Any] = [grad_state.grad, get_default_dtype()]
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
        if found is not None and found is not _NEVER and found.__class__ is _Recording:
            if found.guards.hold():
                return found.run(tensors)
            found = 0
        if found is None or found is _NEVER:
            if len(self.known) >= _LIMIT:
                self.known.clear()
            self.known.setdefault(signature, 0)
            return self._ordinary(recorder, args, kwargs)
        return self._watch(recorder, signature, tensors, args, kwargs)

    def _ordinary(self, recorder: Deferral, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder.enter()
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
    ) -> Any:
        """Runs the function, and remembers what it did if that can be repeated."""
        self.known[signature] = _NEVER
        for t in tensors:
            address(t)
        before, dice, outside = recorder.runs, default_generator.state_bytes(), recorder.outside
        recorder.enter()
        try:
            for t in tensors:
                if t._layout.numel and t._plain:
                    recorder.borrow(t)
            result = self.fn(*args, **kwargs)
        finally:
            recorder.leave()
            if recorder.runs == before and recorder.borrowed:
                recorder.give_back()
        held = recorder.held()
        computed, given = {id(s) for s in held}, {id(t) for t in tensors}
        leaves = list(_leaves(result))
        own = {id(leaf._storage.memory) for leaf in leaves if isinstance(leaf, Tensor)}
        if (
            recorder.runs != before
            or recorder.outside != outside
            or default_generator.state_bytes() != dice
            or not all(
                id(leaf) in given
                or (_plain(leaf) and (leaf.__class__ in _VALUES or id(leaf._storage.memory) in computed))
                for leaf in leaves
            )
            or not all(id(s) in own or id(s) in recorder.homes for s in held)
        ):
            if not grad_state.grad:
                recorder.conclude()
            return result
        recorder.constant = not grad_state.grad
        try:
            ran = recorder.finish(held) if recorder.text else None
        finally:
            recorder.constant = False
        guards = _Guards(_modules(self.module if self.module is not None else self.fn, args))
        self.known[signature] = _Recording(ran, tensors, result, held, guards)
        return result


def _plain(leaf: Any) -> bool:
    """Whether a result can be made again: a tensor without a history, or a constant."""
    if isinstance(leaf, Tensor):
        return type(leaf) is Tensor and leaf._node is None and not leaf._requires_grad
    return leaf.__class__ in _VALUES
