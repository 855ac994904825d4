"""Transforms that leave the values alone, and looking behind the tensors of a transform."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from ..transform.level import Wrapper

__all__ = ["debug_unwrap", "functionalize"]

_REMOVE = ("mutations", "mutations_and_views")


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """A function with the same results, and the same changes to its arguments, as ``func``.

    Writes in place are taken out of what is recorded without it (a deferred graph holds none), so there is nothing to
    rewrite.  Raises RuntimeError for other words of ``remove`` than "mutations" and "mutations_and_views".
    """
    if remove not in _REMOVE:
        raise RuntimeError(
            "functionalize(f, remove='mutations'): received invalid argument for remove="
            f" {remove}. Valid options are:\n     remove='mutations': all inplace and out= operators will be removed "
            "from the program, and replaced with their out-of-place equivalents.\n     remove='mutations_and_views': "
            "In addition to the above, all aliasing operators {view} will be replaced with their non-aliasing "
            "counterparts, {view}_copy.\n"
        )

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapped


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """What a tensor inside of a transform stands for: behind all transforms, or (``recurse=False``) the innermost."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"debug_unwrap: expected a Tensor, got {type(tensor).__name__}")
    while isinstance(tensor, Wrapper):
        tensor = tensor._value
        if not recurse:
            break
    return tensor
