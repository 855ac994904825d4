"""Modes that see every operator below the tape, and what handlers of ``__torch_dispatch__`` need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..dispatch.operator import OPERATORS
from ..dispatch.torch_function import dispatchers as stack
from ..dispatching import enter, has_say, leave
from ..tensor import Tensor
from ._pytree import tree_leaves

__all__ = [
    "BaseTorchDispatchMode", "TorchDispatchMode", "is_traceable_wrapper_subclass", "return_and_correct_aliasing",
    "transform_subclass",
]  # fmt: skip


class TorchDispatchMode:
    """``with`` an instance, its ``__torch_dispatch__(func, types, args, kwargs)`` is asked about every operator that
    runs, the backward pass's included; ``func`` is an overload of ``torch.ops.aten``.

    It is not asked about what it calls itself.  Grad mode is off for that: what it returns goes on the tape as the
    operator's result.
    """

    def __init__(self, _dispatch_key: Any = None) -> None:
        pass

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __torch_dispatch__")

    def __enter__(self) -> Any:
        enter(self)
        return self

    def __exit__(self, *exc: object) -> None:
        leave(self)

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Whether the mode belongs to the framework: none does."""
        return False


class BaseTorchDispatchMode(TorchDispatchMode):
    """A mode that just calls."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _get_current_dispatch_mode() -> TorchDispatchMode | None:
    """The innermost mode, or None."""
    return stack.modes[-1] if stack.modes else None


def _get_current_dispatch_mode_stack() -> list[TorchDispatchMode]:
    """All modes, the innermost last."""
    return list(stack.modes)


@contextlib.contextmanager
def _disable_current_modes() -> Iterator[list[Any]]:
    """Within this no mode is asked; gives the modes that are not."""
    before, stack.modes = stack.modes, []
    try:
        yield before
    finally:
        stack.modes = before


def is_traceable_wrapper_subclass(t: object) -> bool:
    """Whether a tensor is made of others, and says of which (``__tensor_flatten__``, ``__tensor_unflatten__``)."""
    return (
        isinstance(t, Tensor)
        and has_say(type(t))
        and hasattr(t, "__tensor_flatten__")
        and hasattr(t, "__tensor_unflatten__")
    )


def transform_subclass(t: Any, callback: Any, outer_size: Any = None, outer_stride: Any = None) -> Any:
    """A wrapper like ``t`` around ``callback(name, part)`` of each of its parts."""
    outer_size = t.size() if outer_size is None else outer_size
    outer_stride = t.stride() if outer_stride is None else outer_stride
    names, context = t.__tensor_flatten__()
    parts = {name: callback(name, getattr(t, name)) for name in names}
    return type(t).__tensor_unflatten__(parts, context, outer_size, outer_stride)


def return_and_correct_aliasing(func: Any, args: Any, kwargs: Any, out: Any) -> Any:
    """What a handler of a wrapper's class returns for ``out``: the argument itself of a call that writes to it, and
    of a view a tensor over the storage of what it sees."""
    named = (kwargs or {}).get("out")
    if named is not None:
        return named
    name = func.overloadpacket.__name__
    if name.endswith("_") and not name.endswith("__"):
        return args[0]
    op = OPERATORS.get(name)
    if (op is not None and (op.kind == "view" or op.looks)) or name in ("detach", "slice", "split_with_sizes"):
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and isinstance(args[0], Tensor):
                leaf._storage = args[0]._storage
    return out
