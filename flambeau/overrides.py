"""``torch.overrides``: classes and modes that have their say about calls, and what is known of the functions concerned.

The protocol itself is in ``dispatch/torch_function.py``; here is what programs use of it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import nn as _nn
from .dispatch.call import around, special
from .dispatch.operator import OPERATORS
from .dispatch.torch_function import Disabled, disabled_torch_function, modes, overridden
from .tensor import Tensor

__all__ = [
    "TorchFunctionMode", "enable_reentrant_dispatch", "get_ignored_functions", "get_overridable_functions",
    "get_testing_overrides", "handle_torch_function", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like", "is_tensor_method_or_property", "redispatch_function",
    "resolve_name", "wrap_torch_function",
]  # fmt: skip

_LIBRARIES = ("linalg", "fft", "special")
_UNASKED = (
    "arange as_tensor asarray bartlett_window blackman_window can_cast compile empty empty_permuted empty_strided "
    "eye finfo from_dlpack from_numpy frombuffer full get_default_device get_default_dtype get_device_module "
    "get_num_threads get_rng_state hamming_window hann_window iinfo initial_seed is_grad_enabled "
    "is_inference_mode_enabled is_storage is_tensor kaiser_window linspace load logspace manual_seed normal ones "
    "promote_types rand randint randn randperm range result_type save scalar_tensor seed set_default_device "
    "set_default_dtype set_grad_enabled set_num_threads set_printoptions set_rng_state tensor tril_indices "
    "triu_indices typename vmap zeros"
).split()


def _root() -> Any:
    return importlib.import_module(__package__ or "flambeau")


# -- modes -------------------------------------------------------------------------------------------


def _pass(op: Any, args: tuple[Any, ...], proceed: Callable[[Any], Any], inplace: bool) -> Any:
    return proceed(args)


class TorchFunctionMode:
    """``with`` an instance, its ``__torch_function__(func, types, args, kwargs)`` is asked about every operator called,
    and every function that makes a tensor from nothing.

    It is not asked about what it calls itself, nor about the gradients that ``Tensor.backward`` computes.
    """

    inner: TorchFunctionMode

    def __init__(self) -> None:
        pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __torch_function__")

    def __enter__(self) -> TorchFunctionMode:
        modes.stack.append(self)
        special.append(self)
        around.wrappers = (*around.wrappers, _pass)
        return self

    def __exit__(self, *exc: object) -> None:
        modes.stack.pop()
        special.remove(self)
        kept = list(around.wrappers)
        kept.remove(_pass)
        around.wrappers = tuple(kept)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> TorchFunctionMode:
        """An instance to enter: the old way to write ``cls(...)``."""
        warnings.warn("`Mode.push()` is no longer necessary and can be replaced with just `with Mode()`", stacklevel=2)
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that just calls."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _get_current_function_mode() -> TorchFunctionMode | None:
    """The innermost mode, or None."""
    return modes.stack[-1] if modes.stack else None


def _get_current_function_mode_stack() -> list[TorchFunctionMode]:
    """All modes, the innermost last."""
    return list(modes.stack)


@contextlib.contextmanager
def enable_reentrant_dispatch() -> Iterator[None]:
    """Does nothing: calls made inside of a handler are asked about as any others."""
    yield


# -- asking ------------------------------------------------------------------------------------------


def _has_say(value: Any) -> bool:
    cls = type(value)
    found = getattr(cls, "__torch_function__", None)
    if found is None or cls is Tensor or getattr(found, "__func__", found) is disabled_torch_function:
        return False
    return not (isinstance(value, Tensor) and (cls._plain or Disabled.depth > 0))


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether a class among the arguments, or a mode, has its say about a call with them."""
    if modes.skip is not None:  # the function that ``redispatch_function`` calls asks whether to ask
        modes.skip = None
        return False
    return bool(modes.stack) or any(map(_has_say, relevant_args))


def has_torch_function_unary(tensor: Any) -> bool:
    """``has_torch_function`` of one argument."""
    return has_torch_function((tensor,))


def has_torch_function_variadic(*args: Any) -> bool:
    """``has_torch_function`` of the arguments given."""
    return has_torch_function(args)


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], /, *args: Any, **kwargs: Any
) -> Any:
    """What the classes of ``relevant_args``, or a mode, make of ``public_api(*args, **kwargs)``.

    Raises TypeError if none of them has an implementation.
    """
    found = overridden(public_api, tuple(relevant_args), kwargs, call=args)
    if found is NotImplemented:
        kinds = [type(a) for a in relevant_args if _has_say(a)]
        raise TypeError(
            f"no implementation found for '{resolve_name(public_api)}' on types that implement "
            f"__torch_function__: {kinds}"
        )
    return found


def redispatch_function(func: Callable[..., Any], types: Any, args: Any, kwargs: Any = None) -> Any:
    """Calls ``func`` itself without asking about this call, while the calls that it makes are asked about.

    For a handler that wants to see what a Python function of the user's does inside.
    """
    before, modes.skip = modes.skip, func
    try:
        return func(*args, **(kwargs or {}))
    finally:
        modes.skip = before


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function that ``__torch_function__`` can override; ``dispatcher`` gives the arguments to ask, from
    all arguments."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = tuple(dispatcher(*args, **kwargs))
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return decorate


def is_tensor_like(inp: Any) -> bool:
    """Whether an object is a tensor, or of a class with ``__torch_function__``."""
    return isinstance(inp, Tensor) or (not isinstance(inp, type) and hasattr(type(inp), "__torch_function__"))


# -- the functions concerned -------------------------------------------------------------------------


@functools.cache
def _functions() -> tuple[dict[Any, list[Any]], dict[Any, str]]:
    """(functions that may be overridden, by where they are; their full names)."""
    root, found, names = _root(), {}, {}
    spaces = {
        root: ("torch", root),
        _nn.functional: ("torch.nn.functional", _nn.functional),
        Tensor: ("torch.Tensor", Tensor),
    }
    for name in _LIBRARIES:
        module = importlib.import_module(f"{root.__name__}.{name}")
        spaces[module] = (f"torch.{name}", module)
    ignored = get_ignored_functions()
    for space, (title, holder) in spaces.items():
        members = found.setdefault(space, [])
        for name in sorted(dir(holder), key=lambda n: n.startswith("__")):
            if holder is Tensor:
                if name in _PLAIN_MEMBERS or (name.startswith("_") and not name.startswith("__")):
                    continue
                raw = inspect.getattr_static(holder, name)
                member = raw.__get__ if isinstance(raw, property) else getattr(holder, name)
                label = f"{title}.{name}" + (".__get__" if isinstance(raw, property) else "")
            else:
                if name.startswith("_") or (holder is root and not _is_operator(name)):
                    continue
                member, label = getattr(holder, name), f"{title}.{name}"
                if isinstance(member, type) or inspect.ismodule(member):
                    continue
            if callable(member) and member not in ignored:
                members.append(member)
                names.setdefault(member, label)
    return found, names


def _is_operator(name: str) -> bool:
    return name in OPERATORS or any(name in op.aliases for op in OPERATORS.values()) or name in _COMPOSED


_COMPOSED = frozenset((
    "atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors cartesian_prod cdist chain_matmul clone einsum "
    "empty_like full_like meshgrid norm ones_like rand_like randint_like randn_like split stft istft tensordot unique "
    "unique_consecutive zeros_like"
).split())  # fmt: skip
_PLAIN_MEMBERS = frozenset((
    "__class__ __delattr__ __dict__ __doc__ __getattribute__ __init__ __init_subclass__ __module__ __new__ "
    "__setattr__ __subclasshook__ __torch_function__ __weakref__ __annotations__ __sizeof__ __str__ __getstate__ "
    "as_subclass __static_attributes__ __firstlineno__"
).split())  # fmt: skip


def get_overridable_functions() -> dict[Any, list[Callable[..., Any]]]:
    """The functions that ``__torch_function__`` is asked about, by the module or class they are in."""
    return {space: list(members) for space, members in _functions()[0].items()}


@functools.cache
def get_ignored_functions() -> set[Callable[..., Any]]:
    """Public functions that ``__torch_function__`` is never asked about: they make tensors from nothing, or are about
    none."""
    root = _root()
    return {getattr(root, name) for name in _UNASKED}


@functools.cache
def get_testing_overrides() -> dict[Callable[..., Any], Callable[..., Any]]:
    """A function of the same parameters, which gives -1, for each of those that may be overridden."""
    return {member: _dummy(member) for members in _functions()[0].values() for member in members}


def _dummy(member: Callable[..., Any]) -> Callable[..., Any]:
    def dummy(*args: Any, **kwargs: Any) -> int:
        return -1

    with contextlib.suppress(TypeError, ValueError):
        dummy.__signature__ = inspect.signature(member)  # type: ignore[attr-defined]
    return dummy


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether ``func`` is a method of Tensor, or reads or writes one of its properties."""
    name = resolve_name(func)
    return (name is not None and name.startswith("torch.Tensor.")) or getattr(func, "__name__", "") == "__get__"


def resolve_name(f: Callable[..., Any]) -> str | None:
    """The full name of an overridable function, "torch.Tensor.add"; of others their text, of None None."""
    if f is None:
        return None
    try:
        found = _functions()[1].get(f)
    except TypeError:  # something that cannot be looked up
        found = None
    return found if found is not None else str(f) if not callable(f) else None
