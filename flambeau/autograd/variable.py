"""``Variable``: the old name of a tensor that can require grad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, make
from .api import backward
from .engine import execute, queue_callback

__all__ = ["Variable"]


class _Engine:
    """What programs reach for as ``Variable._execution_engine``."""

    queue_callback = staticmethod(queue_callback)
    run_backward: Callable[..., Any] = staticmethod(execute)


class _VariableMeta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """``Variable(data, requires_grad)`` is a tensor over the memory of ``data``; every tensor is a Variable."""

    _execution_engine = _Engine()
    backward = staticmethod(backward)

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = False, volatile: Any = None) -> Any:
        source = Tensor() if data is None else data
        found = make(source._storage, source._layout, source._offset)
        if requires_grad:
            found.requires_grad_()  # type: ignore[attr-defined]
        return found
