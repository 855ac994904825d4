"""The Kullback-Leibler divergence between two distributions, found by their classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from .distribution import Distribution

__all__ = ["kl_divergence", "register_kl"]

_Formula = Callable[[Any, Any], Tensor]
_registered: dict[tuple[type, type], _Formula] = {}
_found: dict[tuple[type, type], _Formula | None] = {}  # by the classes of arguments


def register_kl(type_p: type, type_q: type) -> Callable[[_Formula], _Formula]:
    """Decorator: a function of (p, q) that computes the divergence for these classes and their subclasses.

    The classes may be a library's own, whose instances only behave like distributions.  Raises TypeError for other
    than classes.
    """
    for what, cls in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(cls, type):
            raise TypeError(f"Expected {what} to be a Distribution subclass but got {cls}")

    def keep(formula: _Formula) -> _Formula:
        _registered[type_p, type_q] = formula
        _found.clear()
        return formula

    return keep


def _steps(cls: type, base: type) -> int:
    """How far above ``cls`` its base stands."""
    return cls.__mro__.index(base)


def _look_up(p: type, q: type) -> _Formula | None:
    """The formula for the nearest classes: p's first, then q's; a warning where q's first gives another one."""
    fits = [(a, b) for a, b in _registered if issubclass(p, a) and issubclass(q, b)]
    if not fits:
        return None
    left = min(fits, key=lambda pair: (_steps(p, pair[0]), _steps(q, pair[1])))
    right = min(fits, key=lambda pair: (_steps(q, pair[1]), _steps(p, pair[0])))
    if _registered[left] is not _registered[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({p.__name__}, {q.__name__}). Please register_kl({left[0].__name__}, "
            f"{right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _registered[left]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The mean of ``log p(x) - log q(x)`` over x from p, for each of the batch.

    Raises NotImplementedError for a pair without a formula.
    """
    key = type(p), type(q)
    if key not in _found:
        _found[key] = _look_up(*key)
    formula = _found[key]
    if formula is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return formula(p, q)
