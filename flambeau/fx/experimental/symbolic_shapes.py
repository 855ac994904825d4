"""Questions about sizes that might not be known yet.  Here every size is a number, so every question has an answer."""

from __future__ import annotations

from typing import Any

__all__ = ["free_symbols", "guard_or_false", "guard_or_true", "guard_size_oblivious", "has_free_symbols",
           "is_concrete_bool", "is_concrete_float", "is_concrete_int", "statically_known_true"]  # fmt: skip


def free_symbols(val: Any) -> set[Any]:
    """The unknown sizes in a value: none."""
    return set()


def has_free_symbols(val: Any) -> bool:
    """Whether there are unknown sizes in a value: no."""
    return False


def guard_or_false(a: Any) -> bool:
    """The truth of ``a``; what is unknown would be false."""
    return bool(a)


def guard_or_true(a: Any) -> bool:
    """The truth of ``a``; what is unknown would be true."""
    return bool(a)


def guard_size_oblivious(expr: Any) -> bool:
    """The truth of ``expr``."""
    return bool(expr)


def statically_known_true(x: Any) -> bool:
    """Whether ``x`` is known to be true."""
    return bool(x)


def is_concrete_int(a: Any) -> bool:
    """Whether ``a`` is a known integer."""
    return isinstance(a, int)


def is_concrete_float(a: Any) -> bool:
    """Whether ``a`` is a known number."""
    return isinstance(a, float)


def is_concrete_bool(a: Any) -> bool:
    """Whether ``a`` is a known truth value."""
    return isinstance(a, bool)
