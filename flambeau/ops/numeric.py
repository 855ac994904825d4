"""Angles in degrees, powers in double precision, exponents, divisors."""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import OPERATORS, Operand, operator
from ..tensor import Tensor
from . import return_types
from .common import need_tensor

__all__: list[str] = []


@operator(preserve=True, differentiable=False, out=False)
def isreal(input: Tensor) -> Tensor:
    """Whether the imaginary part of each element is zero."""
    if not input.dtype.is_complex:
        return prim.const(True, dtypes.bool_, input.shape)
    part = prim.part("imag", input)
    return prim.apply("eq", part, prim.const(0, part.dtype))


# -- angles ------------------------------------------------------------------------------------------


def _scaling(name: str, factor: float, text: str) -> None:
    def body(input: Tensor) -> Tensor:
        if input.dtype.is_complex:
            raise RuntimeError(f"{name} is not supported for complex tensors.")
        return prim.apply("mul", input, prim.const(factor, input.dtype))

    body.__name__, body.__doc__, body.__module__ = name, text, __name__
    operator(promote=("input",), to="float", inplace=True)(body).gradient()(lambda ctx, grad: grad * factor)


_scaling("deg2rad", math.pi / 180, "Angles in degrees as radians.")
_scaling("rad2deg", 180 / math.pi, "Angles in radians as degrees.")


# -- powers and exponents ----------------------------------------------------------------------------


def _double_of(*operands: Any) -> dtypes.dtype:
    """The element type of ``float_power``."""
    found = any(x.dtype.is_complex if isinstance(x, Tensor) else isinstance(x, complex) for x in operands)
    return dtypes.complex128 if found else dtypes.float64


@operator(kind="composite")
def float_power(input: Operand, exponent: Operand) -> Tensor:
    """``input`` to the power ``exponent`` in double precision (complex if either is)."""
    need_tensor("float_power", input, exponent)
    kind = _double_of(input, exponent)
    number = complex if kind is dtypes.complex128 else float
    base, power = (x.to(kind) if isinstance(x, Tensor) else number(x) for x in (input, exponent))
    return OPERATORS["pow"].function(base, power)  # type: ignore[no-any-return]


def _float_power_inplace(self: Tensor, exponent: Operand) -> Tensor:
    """``float_power`` in place: the tensor must have the result's type (RuntimeError)."""
    kind = _double_of(self, exponent)
    if self.dtype is not kind:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype} but the operation's result requires dtype {kind}"
        )
    return self.pow_(exponent)  # type: ignore[attr-defined,no-any-return]


_float_power_inplace.__name__ = "float_power_"
Tensor.float_power_ = _float_power_inplace  # type: ignore[attr-defined]


@operator(kind="composite", inplace=True)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """``input * 2**other``"""
    need_tensor("ldexp", input)
    need_tensor("ldexp", other)
    return input * OPERATORS["pow"].function(2.0, other)  # type: ignore[no-any-return]


_FORMATS = {dtypes.float32: (dtypes.int32, 23, 0xFF, 126), dtypes.float64: (dtypes.int64, 52, 0x7FF, 1022)}


@operator(preserve=True, returns=return_types.frexp)
def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with ``input = mantissa * 2**exponent`` and mantissas of size in [0.5, 1); 0, infinities and
    NaN have the exponent 0.  Raises RuntimeError for other than floating-point numbers."""
    kind = input.dtype
    if kind.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    x = input if kind in _FORMATS else prim.cast(input, dtypes.float32)
    whole, digits, ones, bias = _FORMATS[x.dtype]
    g = prim.apply

    def c(value: int) -> Tensor:
        return prim.const(value, whole)

    # denormal numbers are multiplied into the normal range first
    small = g("lt", g("abs", x), prim.const(2.0 ** (2 - bias), x.dtype))
    bits = prim.bitcast(g("select", small, g("mul", x, prim.const(2.0 ** (digits + 2), x.dtype)), x), whole)
    field = g("and", g("shr", bits, c(digits)), c(ones))
    exponent = g("sub", g("sub", field, c(bias)), g("select", small, c(digits + 2), c(0)))
    mantissa = prim.bitcast(g("or", g("and", bits, c(~(ones << digits))), c(bias << digits)), x.dtype)
    as_is = g("or", g("eq", x, prim.const(0, x.dtype)), g("eq", field, c(ones)))
    return prim.cast(g("select", as_is, x, mantissa), kind), prim.cast(g("select", as_is, c(0), exponent), dtypes.int32)


@frexp.gradient("result1")
def _(ctx, grad, _):  # type: ignore[no-untyped-def]
    return None if grad is None else grad / ctx.results[1].exp2()


# -- divisors ----------------------------------------------------------------------------------------


def _integers(name: str, input: Tensor) -> None:
    if input.dtype.kind not in "ui":
        raise RuntimeError(f'"{name}" not implemented for {input.dtype}; it takes integers')


@operator(promote=("input", "other"), inplace=True, differentiable=False)
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of integers, not negative."""
    _integers("gcd", input)
    return prim.apply("gcd", input, other)


@operator(promote=("input", "other"), inplace=True, differentiable=False)
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers: ``abs(input / gcd * other)``, as far as the type can hold it."""
    _integers("lcm", input)
    work = dtypes.int32 if input.dtype.itemsize < 4 else input.dtype  # as C computes with small integers
    x, y = prim.cast(input, work), prim.cast(other, work)
    common = prim.apply("gcd", x, y)
    none = prim.apply("eq", common, prim.const(0, work))
    whole = prim.apply("idiv", x, prim.apply("select", none, prim.const(1, work), common))
    return prim.cast(prim.apply("abs", prim.apply("mul", whole, y)), input.dtype)
