"""``torch.ops.aten``: operators by the names of PyTorch's operator library.

``aten.NAME`` and ``aten.NAME.OVERLOAD`` are one function here, which takes what any overload of it takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from ..operator import OPERATORS
from ..tensor import Tensor
from .convert import memory_format, preserve_format

__all__ = ["OpOverloadPacket", "packet"]

_PACKAGE = __name__.partition(".")[0]
_NAMES = {
    "_log_softmax_backward_data": "_log_softmax_backward",
    "_softmax_backward_data": "_softmax_backward",
    "slice": "_slice",
}


def _copied_to(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool | None = None,
    non_blocking: bool = False, memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """A copy of another type or on another device."""
    return input.to(device, dtype, non_blocking, True, memory_format=memory_format)  # type: ignore[attr-defined,no-any-return]


# Those that are no operators here, but functions above operators or methods.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_sparse_addmm": lambda input, mat1, mat2, *, beta=1, alpha=1: input * beta + (mat1 @ mat2) * alpha,
    "_pin_memory": lambda input, device=None: input.pin_memory(),
    "_local_scalar_dense": lambda input: input.item(),
    "_to_copy": _copied_to,
    "sym_numel": lambda input: input.numel(),
    "sym_size": lambda input, dim=None: input.size(dim),
    "sym_storage_offset": lambda input: input.storage_offset(),
    "sym_stride": lambda input, dim=None: input.stride(dim),
}


def _function(name: str) -> Callable[..., Any] | None:
    """A function or method that is no operator of its own."""
    if name in _FUNCTIONS:
        return _FUNCTIONS[name]
    for place in (sys.modules[_PACKAGE], Tensor):
        found = getattr(place, name, None)
        if callable(found) and not isinstance(found, type) and not name.startswith("__"):
            return found  # type: ignore[no-any-return]
    return None


class OpOverloadPacket:
    """An operator of ``torch.ops.aten``, or one of its overloads: calling either is the same."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__ = name
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __getattr__(self, overload: str) -> OpOverloadPacket:
        if overload.startswith("__"):
            raise AttributeError(overload)
        found = OpOverloadPacket(f"{self.__name__}.{overload}", self._function)
        setattr(self, overload, found)  # graphs compare their targets by identity
        return found

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self.__name__}')>"


@cache
def packet(name: str) -> OpOverloadPacket:
    """The operator ``name``; one that ends in "_" works in place.  Raises AttributeError if there is none."""
    op = OPERATORS.get(_NAMES.get(name, name))
    if op is not None:
        return OpOverloadPacket(name, op.function)
    op = OPERATORS.get(name[:-1]) if name.endswith("_") and not name.endswith("__") else None
    form = None if op is None else op.inplace
    if form is None:
        form = _function(name)
    if form is None:
        raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")
    return OpOverloadPacket(name, form)


__getattr__ = packet
