"""Functions of one number, applied to every element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import Operator, operator
from ..tensor import Tensor
from .arithmetic import conj_of

__all__: list[str] = []

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)


def _define(
    name: str, text: str, derivative: Callable[[Any, Tensor], Tensor | None] | None, saves: tuple[str, ...] = ("input",), *,
    primitive: str = "", complex_: bool = True, **options: Any,
) -> Operator:  # fmt: skip
    """An operator that is one primitive of floating-point numbers; integers become the default floating type."""

    def body(input: Tensor) -> Tensor:
        if input.dtype.is_complex and not complex_:
            raise RuntimeError(f"{name}: not implemented for {input.dtype}")
        return prim.apply(primitive or name, input)

    body.__name__ = name
    body.__doc__ = text
    body.__module__ = __name__
    op = operator(promote=("input",), to="float", inplace=True, **options)(body)
    if derivative is not None:
        op.gradient(*saves)(derivative)
    return op


_R = ("result",)
_define("exp", "e to the power of each element.", lambda c, g: g * conj_of(c.result), _R)
_define("exp2", "2 to the power of each element.", lambda c, g: g * conj_of(c.result * math.log(2)), _R, namespace="torch")
_define("expm1", "exp(x) - 1, accurate near zero.", lambda c, g: g * conj_of(c.result + 1), _R)
_define("log", "The natural logarithm.", lambda c, g: g / conj_of(c.input))
_define("log2", "The logarithm to base 2.", lambda c, g: g / conj_of(c.input * math.log(2)))
_define("log10", "The logarithm to base 10.", lambda c, g: g / conj_of(c.input * math.log(10)))
_define("log1p", "log(1 + x), accurate near zero.", lambda c, g: g / conj_of(c.input + 1))
_define("sqrt", "The square root.", lambda c, g: g / conj_of(2 * c.result), _R)
_define("rsqrt", "1 / sqrt(x).", lambda c, g: -0.5 * g * conj_of(c.result**3), _R)
_define("sin", "The sine (radians).", lambda c, g: g * conj_of(c.input.cos()))
_define("cos", "The cosine (radians).", lambda c, g: g * -conj_of(c.input.sin()))
_define("tan", "The tangent (radians).", lambda c, g: g * conj_of(1 + c.result**2), _R)
_define("asin", "The inverse sine.", lambda c, g: g * conj_of((1 - c.input**2).rsqrt()), aliases=("arcsin",))
_define("acos", "The inverse cosine.", lambda c, g: g * -conj_of((1 - c.input**2).rsqrt()), aliases=("arccos",))
_define("atan", "The inverse tangent.", lambda c, g: g / conj_of(c.input**2 + 1), aliases=("arctan",))
_define("sinh", "The hyperbolic sine.", lambda c, g: g * conj_of(c.input.cosh()))
_define("cosh", "The hyperbolic cosine.", lambda c, g: g * conj_of(c.input.sinh()))
_define("tanh", "The hyperbolic tangent.", lambda c, g: g * conj_of(1 - c.result**2), _R)
_define("asinh", "The inverse hyperbolic sine.", lambda c, g: g * conj_of((c.input**2 + 1).rsqrt()), aliases=("arcsinh",))
_define("acosh", "The inverse hyperbolic cosine.", lambda c, g: g * conj_of(((c.input - 1).rsqrt()) * ((c.input + 1).rsqrt())), aliases=("arccosh",))
_define("atanh", "The inverse hyperbolic tangent.", lambda c, g: g / conj_of(1 - c.input**2), aliases=("arctanh",))
_define("erf", "The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x.", lambda c, g: g * _TWO_OVER_ROOT_PI * (-(c.input**2)).exp(), complex_=False)
_define("erfc", "1 - erf(x), accurate where erf is near 1.", lambda c, g: -g * _TWO_OVER_ROOT_PI * (-(c.input**2)).exp(), complex_=False)
_define("erfinv", "The inverse of erf.", lambda c, g: g / _TWO_OVER_ROOT_PI * (c.result**2).exp(), _R, complex_=False)
_define("sigmoid", "1 / (1 + exp(-x)).", lambda c, g: g * conj_of((1 - c.result) * c.result), _R)
_define("lgamma", "The logarithm of the absolute value of the gamma function.", lambda c, g: g * c.input.digamma(), complex_=False)
_define("digamma", "The logarithmic derivative of the gamma function.", lambda c, g: g * c.input.polygamma(1), complex_=False)


@operator(promote=("input",), to="float", inplace=True)
def reciprocal(input: Tensor) -> Tensor:
    """1 / x."""
    return prim.apply("div", prim.const(1, input.dtype), input)


@reciprocal.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return -grad * conj_of(ctx.result**2)


def _rounding(name: str, text: str, primitive: str) -> None:
    """Integers are already round."""

    def body(input: Tensor) -> Tensor:
        if input.dtype.is_complex:
            raise RuntimeError(f"{name} is not supported for complex inputs")
        if input.dtype is dtypes.bool_:
            raise RuntimeError(f'"{name}" not implemented for \'Bool\'')
        return prim.apply(primitive, input) if input.dtype.kind == "f" else input

    body.__name__, body.__doc__, body.__module__ = name, text, __name__
    operator(promote=("input",), inplace=True, aliases=("fix",) if name == "trunc" else ())(body).gradient()(lambda ctx, grad: grad * 0)


_rounding("floor", "The largest whole number that is not above x.", "floor")
_rounding("ceil", "The smallest whole number that is not below x.", "ceil")
_rounding("trunc", "x rounded towards zero.", "trunc")


@operator(promote=("input",), inplace=True)
def square(input: Tensor) -> Tensor:
    """x * x."""
    return prim.apply("and" if input.dtype is dtypes.bool_ else "mul", input, input)


@square.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * conj_of(2 * ctx.input)


@operator(promote=("input",), inplace=True, aliases=("absolute",))
def abs(input: Tensor) -> Tensor:
    """The absolute value; of complex numbers the modulus, which is real."""
    value = prim.apply("abs", input) if input.dtype is not dtypes.bool_ else input
    return prim.part("real", value) if input.dtype.is_complex else value


@abs.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * ctx.input.sgn()
