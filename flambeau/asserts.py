"""Checks that libraries make of their arguments: ``torch._check`` and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dispatch.torch_function import overridden
from .tensor import Tensor

__all__ = [
    "_assert", "_assert_async", "_check", "_check_index", "_check_is_size", "_check_not_implemented",
    "_check_tensor_all", "_check_type", "_check_value", "_check_with",
]  # fmt: skip


def _assert(condition: Any, message: Any) -> Any:
    """``assert condition, message``, which a traced program keeps."""
    if type(condition) is not Tensor and hasattr(type(condition), "__torch_function__"):
        result = overridden(_assert, (condition,), {}, None, (condition, message))
        if result is not NotImplemented:
            return result
    if not condition:
        raise AssertionError(message)
    return None


def _assert_async(input: Tensor, assert_msg: str = "Expected Tensor with single nonzero value, but got zero") -> None:
    """Raises RuntimeError if the only element is zero."""
    if not input:
        raise RuntimeError(assert_msg)


def _check_with(error_type: type[Exception], cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises ``error_type`` if ``cond`` is false; ``message`` makes the text."""
    if not isinstance(cond, bool):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    text = "Expected cond to be True, but got False. (Could this error message be improved? If so, please report an "
    raise error_type(text + "enhancement request.)" if message is None else str(message()))


def _check(cond: Any, message: Any = None) -> None:
    """Raises RuntimeError if ``cond`` is false; ``message`` is the text, or makes it."""
    made = message if message is None or callable(message) else lambda: message
    _check_with(RuntimeError, bool(cond), made)


def _check_index(cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises IndexError if ``cond`` is false."""
    _check_with(IndexError, cond, message)


def _check_value(cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises ValueError if ``cond`` is false."""
    _check_with(ValueError, cond, message)


def _check_type(cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises TypeError if ``cond`` is false."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises NotImplementedError if ``cond`` is false."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: int, message: Callable[[], Any] | None = None, *, max: int | None = None) -> None:
    """Raises RuntimeError unless ``i`` can be a size: not negative, and at most ``max``."""
    _check_with(RuntimeError, i >= 0 and (max is None or i <= max), message)


def _check_tensor_all(cond: Tensor, message: Callable[[], Any] | None = None) -> None:
    """Raises RuntimeError unless all elements are true."""
    _check_with(RuntimeError, bool(cond.all().item()), message)  # type: ignore[attr-defined]
