"""``finfo`` and ``iinfo``: the numerical limits of the element types, as PyTorch reports them."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from .dtype import dtype as dtype_
from .dtype import get_default_dtype, meant

__all__ = ["finfo", "iinfo"]


class _Limits:
    """What both kinds share: read-only attributes, comparison by type, PyTorch's way of printing."""

    __slots__ = ("_type",)
    __hash__ = None  # type: ignore[assignment]  # as in PyTorch, limits are not hashable

    _type: dtype_

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._type is other._type

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._type,))

    @property
    def bits(self) -> int:
        """Bits of one element (of one part, for complex types)."""
        return self._type.itemsize * 8

    @property
    def dtype(self) -> str:
        """The name of the type, without "torch."."""
        return self._type.name

    def _text(self, *names: str) -> str:
        shown = ", ".join(f"{name}={getattr(self, name):g}" for name in names)
        return f"{type(self).__name__}({shown}, dtype={self.dtype})"


def _check_is_dtype(function: str, value: object) -> dtype_:
    value = meant(value)
    if not isinstance(value, dtype_):
        if value is None:
            raise TypeError(f"{function}() missing 1 required positional arguments: 'type'")
        raise TypeError(f"{function}(): argument 'type' (position 1) must be torch.dtype, not {type(value).__name__}")
    return value


class finfo(_Limits):
    """Limits of a floating-point type (IEEE 754-2019; OCP 8-bit formats for float8).

    ``type``: a floating-point type, or a complex one, which gives the limits of its parts; the default
    type when left out.  Attributes, all Python numbers: ``bits``, ``eps`` (distance from 1 to the next
    number), ``max``, ``min`` (= -max), ``tiny`` = ``smallest_normal``, ``resolution`` (10 to minus the
    number of decimal digits always kept), and ``dtype``, a string.  TypeError for other types.
    """

    __slots__ = ("_info",)

    def __init__(self, dtype: dtype_ | None = None, *, type: dtype_ | None = None) -> None:
        wanted = type if dtype is None else dtype
        given = get_default_dtype() if wanted is None else _check_is_dtype("finfo", wanted)
        if not (given.is_floating_point or given.is_complex):
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{given}'")
        self._type = given.to_real()
        self._info = ml_dtypes.finfo(self._type.numpy)

    @property
    def eps(self) -> float:
        """The distance from 1 to the next larger number."""
        return float(self._info.eps)

    @property
    def max(self) -> float:
        """The largest finite number."""
        return float(self._info.max)

    @property
    def min(self) -> float:
        """The smallest finite number: ``-max``."""
        return float(self._info.min)

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with all digits of the significand."""
        return float(self._info.smallest_normal)

    @property
    def tiny(self) -> float:
        """Another name of ``smallest_normal``."""
        return self.smallest_normal

    @property
    def resolution(self) -> float:
        """``10**-n`` for the decimal digits n that a number keeps."""
        # digits10 of C++'s numeric_limits: decimal digits that survive a round trip through the type.
        significand_bits = 1 - round(math.log2(self.eps))
        return float(f"1e-{math.floor((significand_bits - 1) * math.log10(2))}")

    def __repr__(self) -> str:
        return self._text("resolution", "min", "max", "eps", "smallest_normal", "tiny")


class iinfo(_Limits):
    """Limits of an integer type: ``bits``, ``min``, ``max`` (Python ints) and ``dtype``, a string.

    TypeError for floating-point, complex and bool types.
    """

    __slots__ = ()

    def __init__(self, dtype: dtype_ = None, *, type: dtype_ | None = None) -> None:  # type: ignore[assignment]
        given = _check_is_dtype("iinfo", type if dtype is None else dtype)
        if given.is_floating_point or given.is_complex:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{given}'")
        if given.kind in "bs":
            raise TypeError(f"{given} is not supported by torch.iinfo")
        self._type = given

    @property
    def min(self) -> int:
        """The smallest number."""
        return -(1 << (self.bits - 1)) if self._type.is_signed else 0

    @property
    def max(self) -> int:
        """The largest number."""
        return (1 << (self.bits - self._type.is_signed)) - 1

    def __repr__(self) -> str:
        return self._text("min", "max")
