"""``torch.ops.aten``: operators by the names of PyTorch's operator library.

``aten.NAME`` and ``aten.NAME.OVERLOAD`` are one function here, which takes what any overload of it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ..operator import OPERATORS

__all__ = ["OpOverloadPacket", "packet"]

_NAMES = {
    "_log_softmax_backward_data": "_log_softmax_backward",
    "_softmax_backward_data": "_softmax_backward",
    "slice": "_slice",
}


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
        raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")
    return OpOverloadPacket(name, form)


__getattr__ = packet
