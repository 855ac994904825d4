"""Operators on lists of tensors, ``_foreach_*``: each does to every tensor what the operator of its name does to one.

Where the other operand may be a number, it may also be a list of numbers or of tensors, one for each, or one tensor
for all. Forms with a trailing underscore write to the first list and return None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..tensor import Tensor

__all__: list[str] = []

_UNARY = (
    "abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal round "
    "rsqrt sigmoid sign sin sinh sqrt tan tanh trunc"
).split()
_BINARY = "add sub mul div maximum minimum clamp_min clamp_max pow".split()


def _check(name: str, tensors: Any) -> None:
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(
            f"{name}(): argument 'self' (position 1) must be tuple of Tensors, not {type(tensors).__name__}"
        )
    if not tensors:
        raise RuntimeError(f"{name}: Tensor list must have at least one tensor.")


def _for_each(name: str, tensors: Sequence[Tensor], other: Any) -> Sequence[Any]:
    """The other operand of every tensor."""
    if not isinstance(other, (list, tuple)):
        return [other] * len(tensors)
    if len(other) != len(tensors):
        what = "Tensor lists must have the same number of tensors"
        if other and not isinstance(other[0], Tensor):
            what = "Tensor list must have same number of elements as scalar list"
        raise RuntimeError(f"{name}: {what}, got {len(tensors)} and {len(other)}")
    return other


def _public(name: str, text: str, function: Callable[..., Any]) -> None:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    globals()[name] = function
    __all__.append(name)


def _define_unary(op: str) -> None:
    name = f"_foreach_{op}"

    def out_of_place(self: Sequence[Tensor]) -> list[Tensor]:
        _check(name, self)
        return [getattr(t, op)() for t in self]

    def in_place(self: Sequence[Tensor]) -> None:
        _check(name + "_", self)
        for t in self:
            getattr(t, op + "_")()

    _public(name, f"``{op}`` of every tensor.", out_of_place)
    _public(name + "_", f"``{op}_`` on every tensor.", in_place)


def _define_binary(op: str) -> None:
    name = f"_foreach_{op}"
    method = {"maximum": "clamp_min", "minimum": "clamp_max"}.get(op, op)  # which take numbers as well

    def scaled(other: Any, alpha: Any) -> Any:
        return other if alpha == 1 else other * alpha

    def out_of_place(self: Any, other: Any, *, alpha: Any = 1) -> list[Tensor]:
        if op == "pow" and not isinstance(self, (list, tuple)):
            _check(name, other)
            return [self**exponent for exponent in other]
        _check(name, self)
        return [getattr(t, method)(scaled(o, alpha)) for t, o in zip(self, _for_each(name, self, other))]

    def in_place(self: Sequence[Tensor], other: Any, *, alpha: Any = 1) -> None:
        _check(name + "_", self)
        for t, o in zip(self, _for_each(name + "_", self, other)):
            getattr(t, method + "_")(scaled(o, alpha))

    _public(name, f"``{op}`` of every tensor and a number or tensor.", out_of_place)
    _public(name + "_", f"``{op}_`` on every tensor, with a number or tensor.", in_place)


def _define_pointwise(op: str, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
    name = f"_foreach_{op}"

    def values(self: Sequence[Tensor], value: Any) -> Sequence[Any]:
        if isinstance(value, Tensor):
            value = value.tolist()
        return _for_each(name, self, value)

    def changes(self: Sequence[Tensor], tensor1: Sequence[Tensor], tensor2: Sequence[Tensor], value: Any) -> Any:
        _check(name, self)
        rows = zip(_for_each(name, self, tensor1), _for_each(name, self, tensor2), values(self, value))
        return [combine(a * v if v != 1 else a, b) for a, b, v in rows]

    def out_of_place(
        self: Sequence[Tensor], tensor1: Sequence[Tensor], tensor2: Sequence[Tensor], value: Any = 1
    ) -> list[Tensor]:
        return [t + change for t, change in zip(self, changes(self, tensor1, tensor2, value))]

    def in_place(self: Sequence[Tensor], tensor1: Sequence[Tensor], tensor2: Sequence[Tensor], value: Any = 1) -> None:
        for t, change in zip(self, changes(self, tensor1, tensor2, value)):
            t.add_(change)

    _public(name, f"``{op}`` of every three tensors.", out_of_place)
    _public(name + "_", f"``{op}_`` on every first of three tensors.", in_place)


for _op in _UNARY:
    _define_unary(_op)
for _op in _BINARY:
    _define_binary(_op)
_define_pointwise("addcmul", lambda a, b: a * b)
_define_pointwise("addcdiv", lambda a, b: a / b)


def _foreach_lerp(self: Sequence[Tensor], tensors1: Sequence[Tensor], weight: Any) -> list[Tensor]:
    """``lerp`` of every two tensors."""
    _check("_foreach_lerp", self)
    rows = zip(self, _for_each("_foreach_lerp", self, tensors1), _for_each("_foreach_lerp", self, weight))
    return [t.lerp(end, w) for t, end, w in rows]


def _foreach_lerp_(self: Sequence[Tensor], tensors1: Sequence[Tensor], weight: Any) -> None:
    """``lerp_`` on every first of two tensors."""
    for t, value in zip(self, _foreach_lerp(self, tensors1, weight)):
        t.copy_(value)


def _foreach_norm(self: Sequence[Tensor], ord: Any = 2, dtype: Any = None) -> list[Tensor]:
    """The vector norm of every tensor."""
    _check("_foreach_norm", self)
    return [(t if dtype is None else t.to(dtype)).reshape(-1).norm(ord) for t in self]


def _foreach_powsum(self: Sequence[Tensor], ord: Any = 2, dtype: Any = None) -> list[Tensor]:
    """The sum of the powers of every tensor's magnitudes."""
    _check("_foreach_powsum", self)
    return [(t if dtype is None else t.to(dtype)).abs().pow(ord).sum() for t in self]


def _foreach_max(self: Sequence[Tensor]) -> list[Tensor]:
    """The largest element of every tensor."""
    _check("_foreach_max", self)
    return [t.max() for t in self]


def _foreach_mm(self: Sequence[Tensor], mat2: Sequence[Tensor]) -> list[Tensor]:
    """The product of every two matrices."""
    _check("_foreach_mm", self)
    return [a.mm(b) for a, b in zip(self, _for_each("_foreach_mm", self, mat2))]


def _foreach_clone(self: Sequence[Tensor], *, memory_format: Any = None) -> list[Tensor]:
    """A copy of every tensor."""
    _check("_foreach_clone", self)
    return [t.clone() if memory_format is None else t.clone(memory_format=memory_format) for t in self]


def _foreach_copy_(self: Sequence[Tensor], src: Sequence[Tensor], non_blocking: bool = False) -> None:
    """Copy every tensor of the second list to that of the first."""
    _check("_foreach_copy_", self)
    for t, source in zip(self, _for_each("_foreach_copy_", self, src)):
        t.copy_(source)


def _foreach_zero_(self: Sequence[Tensor]) -> None:
    """Fill every tensor with zeros."""
    _check("_foreach_zero_", self)
    for t in self:
        t.zero_()


__all__ += [
    "_foreach_clone",
    "_foreach_copy_",
    "_foreach_lerp",
    "_foreach_lerp_",
    "_foreach_max",
    "_foreach_mm",
    "_foreach_norm",
    "_foreach_powsum",
    "_foreach_zero_",
]
