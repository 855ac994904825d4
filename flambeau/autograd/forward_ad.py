"""``torch.autograd.forward_ad``: derivatives along a direction, computed together with the values.

A dual tensor is a value with a tangent; operators on dual tensors give dual tensors (``transform/forward.py``).
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NamedTuple

from ..dispatch.operator import OPERATORS
from ..tensor import Tensor
from ..transform.forward import check_tangent
from ..transform.level import Dual, Level, levels
from . import tape
from .mode import _Switch
from .mode import state as grad_state

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """What ``unpack_dual`` returns: ``primal`` is the value, ``tangent`` its derivative, None for a tensor without."""

    primal: Tensor
    tangent: Tensor | None


class _Current(threading.local):
    """The levels that a thread has entered."""

    def __init__(self) -> None:
        self.stack: list[Level] = []
        self.enabled = True


_current = _Current()


def enter_dual_level() -> int:
    """Begins a level, in which dual tensors may be made; returns its number.

    Raises RuntimeError inside of another one: ``torch.func.jvp`` nests.
    """
    if _current.stack:
        raise RuntimeError(
            "Nested forward mode AD is not supported at the moment; use torch.func.jvp, which can be nested"
        )
    _current.stack.append(levels.push(shared=True))
    return len(_current.stack) - 1


def exit_dual_level(*, level: int | None = None) -> None:
    """Ends the level: its dual tensors are of no use any more.  Raises RuntimeError for any but the last one."""
    last = len(_current.stack) - 1
    if (level is not None and level != last) or last < 0:
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    levels.pop(_current.stack.pop())


class dual_level(_Switch):
    """A context manager (and decorator) inside of which dual tensors may be made."""

    def __enter__(self) -> int:  # type: ignore[override]
        return enter_dual_level()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        exit_dual_level()


class _set_fwd_grad_enabled(_Switch):
    """Sets whether dual tensors are made at all; a context manager, too."""

    def __init__(self, mode: bool) -> None:
        self.before = _current.enabled
        self.mode = _current.enabled = bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.enabled = self.before

    def clone(self) -> _set_fwd_grad_enabled:
        """Another manager of the same setting."""
        return type(self)(self.mode)


def _is_fwd_grad_enabled() -> bool:
    return _current.enabled


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A dual tensor: a view of ``tensor`` whose derivative is ``tangent``.

    Raises RuntimeError outside of a level and for a tangent of another shape, ValueError for integers.
    """
    if not _current.stack:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, t in (("primal", tensor), ("tangent", tangent)):
        if t._layout.dtype.kind not in "fc":
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {t._layout.dtype}")
    if not _current.enabled:
        return tensor
    inner = _current.stack[-1]
    if isinstance(tensor, Dual) and tensor._level is inner:
        raise RuntimeError("make_dual: the tensor is a dual tensor of this level already")
    dual = Dual.of(tensor, check_tangent(tensor, tangent), inner)
    if tensor._requires_grad and grad_state.grad:
        tape.record(OPERATORS["alias"], (tensor,), dual)
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The value of a dual tensor and its derivative (None for any other tensor)."""
    if _current.stack and isinstance(tensor, Dual) and tensor._level is _current.stack[-1]:
        return UnpackedDualTensor(tensor._value, tensor._tangent)
    return UnpackedDualTensor(tensor, None)
