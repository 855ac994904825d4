"""Functions of one number, applied to every element; complex numbers and their parts."""

from __future__ import annotations

import math
from builtins import abs as builtin_abs
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ml_dtypes

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Operator, operator
from ..tensor import Tensor
from .arithmetic import conj_of
from .common import zeros_of

__all__: list[str] = []

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_OPERANDS = "``input`` has any shape; integers and booleans become the default floating type."


def _define(
    name: str, text: str, derivative: Callable[[Any, Tensor], Tensor | None] | None, saves: tuple[str, ...] = ("input",
    ), *,
    primitive: str = "", complex_: bool = True, steps: bool = True, **options: Any,
) -> Operator:  # fmt: skip
    """An operator that is one primitive of floating-point numbers; integers become the default floating type.

    A derivative of several ``steps`` is traced as an operator of its own, so that it is one kernel, and so is what
    differentiates it.
    """

    def body(input: Tensor) -> Tensor:
        if input.dtype.is_complex and not complex_:
            raise RuntimeError(f"{name}: not implemented for {input.dtype}")
        return prim.apply(primitive or name, input)

    body.__name__ = name
    of_complex = "have their principal value" if complex_ else "raise RuntimeError"
    body.__doc__ = f"{text}\n\n{_OPERANDS}  Complex numbers {of_complex}."
    body.__module__ = __name__
    op = operator(promote=("input",), to="float", inplace=True, **options)(body)
    if derivative is not None:
        op.gradient(*saves)(_slope(name, derivative, saves[0]) if steps else derivative)
    return op


def _slope(name: str, derivative: Callable[[Any, Tensor], Tensor | None], saved: str) -> Callable[[Any, Tensor], Any]:
    """``derivative``, which reads one saved tensor, as a call of one operator."""

    def body(grad: Tensor, value: Tensor) -> Tensor | None:
        return derivative(SimpleNamespace(**{saved: value}), grad)

    body.__name__, body.__module__, body.__doc__ = f"_{name}_slope", __name__, f"The gradient of ``{name}``."
    slope = operator(promote=("grad", "value"), method=False, function=False, out=False)(body)
    return lambda c, g: slope.function(g, getattr(c, saved))


_R = ("result",)
_define("exp", "e to the power of each element.", lambda c, g: g * conj_of(c.result), _R, steps=False)
_define(
    "exp2", "2 to the power of each element.", lambda c, g: g * conj_of(c.result * math.log(2)), _R, namespace="torch"
)
_define("expm1", "exp(x) - 1, accurate near zero.", lambda c, g: g * conj_of(c.result + 1), _R)
_define("log", "The natural logarithm.", lambda c, g: g / conj_of(c.input), steps=False)
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
_define(
    "asinh", "The inverse hyperbolic sine.", lambda c, g: g * conj_of((c.input**2 + 1).rsqrt()), aliases=("arcsinh",)
)
_define(
    "acosh",
    "The inverse hyperbolic cosine.",
    lambda c, g: g * conj_of(((c.input - 1).rsqrt()) * ((c.input + 1).rsqrt())),
    aliases=("arccosh",),
)
_define("atanh", "The inverse hyperbolic tangent.", lambda c, g: g / conj_of(1 - c.input**2), aliases=("arctanh",))
_define(
    "erf",
    "The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x.",
    lambda c, g: g * _TWO_OVER_ROOT_PI * (-(c.input**2)).exp(),
    complex_=False,
)
_define(
    "erfc",
    "1 - erf(x), accurate where erf is near 1.",
    lambda c, g: -g * _TWO_OVER_ROOT_PI * (-(c.input**2)).exp(),
    complex_=False,
)
_define("erfinv", "The inverse of erf.", lambda c, g: g / _TWO_OVER_ROOT_PI * (c.result**2).exp(), _R, complex_=False)
_define("sigmoid", "1 / (1 + exp(-x)).", lambda c, g: g * conj_of((1 - c.result) * c.result), _R)
_define(
    "lgamma",
    "The logarithm of the absolute value of the gamma function.",
    lambda c, g: g * c.input.digamma(),
    complex_=False,
    steps=False,
)
_define(
    "digamma",
    "The logarithmic derivative of the gamma function.",
    lambda c, g: g * c.input.polygamma(1),
    complex_=False,
    steps=False,
)


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
            raise RuntimeError(f"\"{name}\" not implemented for 'Bool'")
        return prim.apply(primitive, input) if input.dtype.kind == "f" else input

    body.__name__, body.__doc__, body.__module__ = name, text, __name__
    operator(promote=("input",), inplace=True, aliases=("fix",) if name == "trunc" else ())(body).gradient()(
        lambda ctx, grad: zeros_of(grad)
    )


_rounding("floor", "The largest whole number that is not above x.", "floor")
_rounding("ceil", "The smallest whole number that is not below x.", "ceil")
_rounding("trunc", "x rounded towards zero.", "trunc")


@operator(promote=("input",), inplace=True)
def square(input: Tensor) -> Tensor:
    """x * x; booleans give int64."""
    if input.dtype is dtypes.bool_:
        input = prim.cast(input, dtypes.int64)
    return prim.apply("mul", input, input)


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


@operator(promote=("input",), inplace=True)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 as the element is negative, zero or positive; NaN stays."""
    if input.dtype.is_complex:
        raise RuntimeError("Unlike NumPy, torch.sign doesn't return 0 or 1 for complex numbers; use torch.sgn instead")
    return _sign(input)


def _sign(x: Tensor) -> Tensor:
    if x.dtype is dtypes.bool_:
        return x
    zero, one = prim.const(0, x.dtype), prim.const(1, x.dtype)
    value = prim.apply("select", prim.apply("gt", x, zero), one, zero)
    if x.dtype.kind == "u":
        return value
    value = prim.apply("select", prim.apply("lt", x, zero), prim.const(-1, x.dtype), value)
    return prim.apply("select", prim.apply("isnan", x), x, value) if x.dtype.kind == "f" else value


@sign.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return zeros_of(grad)


@operator(promote=("input",), inplace=True)
def sgn(input: Tensor) -> Tensor:
    """The sign; of a complex number z / abs(z), and 0 of 0."""
    if not input.dtype.is_complex:
        return _sign(input)
    re, im = prim.part("real", input), prim.part("imag", input)
    size = prim.apply("hypot", re, im)
    zero, one = prim.const(0, size.dtype), prim.const(1, size.dtype)
    below = prim.apply("select", prim.apply("eq", size, zero), one, size)
    return prim.join(prim.apply("div", re, below), prim.apply("div", im, below))


@sgn.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    if not ctx.input.dtype.is_complex:
        return zeros_of(grad)
    size = ctx.input.abs()
    along = grad - ctx.result * (ctx.result.conj() * grad).real  # what turns the direction
    return (along / size).masked_fill(size == 0, 0)


@operator(preserve=True, inplace=True, loose=("decimals",))
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest whole number, halves to even; or the nearest multiple of ``10**-decimals``."""
    kind = input.dtype
    if kind.is_complex or kind is dtypes.bool_:
        raise RuntimeError(f'"round" not implemented for {kind}')
    if kind.kind != "f":
        if decimals:
            raise RuntimeError('"round_decimals" not implemented for integers')
        return prim.wrap(prim.read(input))
    x = prim.cast(input, dtypes.float32) if kind.itemsize < 4 else input
    if decimals:
        scale = prim.const(10.0 ** builtin_abs(decimals) if builtin_abs(decimals) < 309 else float("inf"), x.dtype)
        there, back = ("mul", "div") if decimals > 0 else ("div", "mul")
        x = prim.apply(back, prim.apply("rint", prim.apply(there, x, scale)), scale)
    else:
        x = prim.apply("rint", x)
    return prim.cast(x, kind)


@round.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return zeros_of(grad)


@operator(promote=("input",), inplace=True)
def frac(input: Tensor) -> Tensor:
    """What follows the point: ``x - trunc(x)``."""
    return prim.apply("sub", input, prim.apply("trunc", input))


@frac.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad


@operator(promote=("input",), inplace=True)
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN replaced by ``nan`` (0), infinities by ``posinf`` and ``neginf`` (by default the greatest finite numbers)."""
    kind = input.dtype
    if kind.kind not in "fc":
        return input
    if kind.is_complex:
        re, im = (_finite(prim.part(p, input), kind.to_real(), nan, posinf, neginf) for p in ("real", "imag"))
        return prim.join(re, im)
    return _finite(input, kind, nan, posinf, neginf)


def _finite(x: Tensor, kind: dtypes.dtype, nan: float | None, posinf: float | None, neginf: float | None) -> Tensor:
    top = float(ml_dtypes.finfo(kind.numpy).max)
    infinity = math.inf
    high, low = (
        prim.const(top if posinf is None else posinf, x.dtype),
        prim.const(-top if neginf is None else neginf, x.dtype),
    )
    value = prim.apply("select", prim.apply("eq", x, prim.const(infinity, x.dtype)), high, x)
    value = prim.apply("select", prim.apply("eq", x, prim.const(-infinity, x.dtype)), low, value)
    return prim.apply("select", prim.apply("isnan", x), prim.const(nan or 0.0, x.dtype), value)


@nan_to_num.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * ctx.input.isfinite()


@operator(preserve=True, differentiable=False)
def isinf(input: Tensor) -> Tensor:
    """Whether each element (or a part of it) is infinite."""
    return _test_parts(
        input, lambda x: prim.apply("eq", prim.apply("abs", x), prim.const(math.inf, x.dtype)), False, "or"
    )


@operator(preserve=True, differentiable=False)
def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither infinite nor NaN."""
    return _test_parts(
        input, lambda x: prim.apply("lt", prim.apply("abs", x), prim.const(math.inf, x.dtype)), True, "and"
    )


def _test_parts(x: Tensor, test: Callable[[Tensor], Tensor], integers: bool, combine: str) -> Tensor:
    if x.dtype.is_complex:
        return prim.apply(combine, test(prim.part("real", x)), test(prim.part("imag", x)))
    return test(x) if x.dtype.kind == "f" else prim.const(integers, dtypes.bool_, x.shape)


@operator(preserve=True, differentiable=False)
def isposinf(input: Tensor) -> Tensor:
    """Whether each element is plus infinity."""
    return (
        prim.apply("eq", input, prim.const(math.inf, input.dtype))
        if input.dtype.kind == "f"
        else prim.const(False, dtypes.bool_, input.shape)
    )


@operator(preserve=True, differentiable=False)
def isneginf(input: Tensor) -> Tensor:
    """Whether each element is minus infinity."""
    return (
        prim.apply("eq", input, prim.const(-math.inf, input.dtype))
        if input.dtype.kind == "f"
        else prim.const(False, dtypes.bool_, input.shape)
    )


@operator(preserve=True, differentiable=False)
def signbit(input: Tensor) -> Tensor:
    """Whether the sign of each element is minus (of -0.0 too)."""
    if input.dtype.is_complex:
        raise RuntimeError("signbit is not implemented for complex tensors.")
    if input.dtype is dtypes.bool_:
        return prim.const(False, dtypes.bool_, input.shape)
    x = prim.cast(input, dtypes.float32) if input.dtype.kind == "f" and input.dtype.itemsize < 4 else input
    return prim.apply("signbit", x)


@operator(kind="composite", inplace=True)
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate, computed; real tensors are returned themselves."""
    return _conj_physical.function(input) if input.dtype.is_complex else input


@operator(preserve=True, method=False, function=False, out=False)
def _conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate."""
    return prim.join(prim.part("real", input), prim.apply("neg", prim.part("imag", input)))


@_conj_physical.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.conj()


@operator(kind="composite")
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself."""
    return conj_physical.function(input) if input.dtype.is_complex else input  # type: ignore[no-any-return]


@operator(promote=("input",), to="float")
def angle(input: Tensor) -> Tensor:
    """The argument of complex numbers; pi for negative real ones, NaN of NaN, 0 otherwise."""
    if input.dtype.is_complex:
        return prim.apply("atan2", prim.part("imag", input), prim.part("real", input))
    value = prim.apply(
        "select",
        prim.apply("lt", input, prim.const(0, input.dtype)),
        prim.const(math.pi, input.dtype),
        prim.const(0, input.dtype),
    )
    return prim.apply("select", prim.apply("isnan", input), input, value)


@angle.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    z = ctx.input
    if not z.dtype.is_complex:
        return zeros_of(grad)
    square = z.real * z.real + z.imag * z.imag
    value = grad / square
    return complex_of.function(-z.imag * value, z.real * value).masked_fill(square == 0, 0)


@operator(name="complex", preserve=True, method=False)
def complex_of(real: Tensor, imag: Tensor) -> Tensor:
    """Complex numbers from their parts, which must have one floating-point type (RuntimeError)."""
    if real.dtype is not imag.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {real.dtype} but got scalar type {imag.dtype} for second argument"
        )
    if real.dtype not in (dtypes.float32, dtypes.float64, dtypes.float16):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {real.dtype} and {imag.dtype}"
        )
    return prim.join(real, imag)


complex_of.apart = True  # ``out`` has another type than the inputs


@complex_of.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.real, grad.imag


@operator(preserve=True, method=False)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """``abs * (cos(angle) + i sin(angle))`` of floating-point tensors of one type; raises RuntimeError for others."""
    if any(t.dtype not in (dtypes.float16, dtypes.float32, dtypes.float64) for t in (abs, angle)):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {abs.dtype} and {angle.dtype}"
        )
    if abs.dtype is not angle.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {abs.dtype} but got scalar type {angle.dtype} for second argument"
        )
    return prim.join(prim.apply("mul", abs, prim.apply("cos", angle)), prim.apply("mul", abs, prim.apply("sin", angle)))


@polar.gradient("abs", "angle")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    unit = polar.function(ctx.abs.new_ones(()).expand(ctx.angle.shape), ctx.angle)
    along = grad * unit.conj()
    return along.real, along.imag * ctx.abs


@operator(kind="composite", namespace="torch.special", method=False)
def expit(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()  # type: ignore[attr-defined,no-any-return]


@operator(promote=("input",), to="float", inplace=True)
def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0."""
    x = prim.apply("mul", input, prim.const(math.pi, input.dtype))
    zero = prim.apply("eq", input, prim.const(0, input.dtype))
    return prim.apply("select", zero, prim.const(1, input.dtype), prim.apply("div", prim.apply("sin", x), x))


@sinc.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x = ctx.input * math.pi
    return grad * conj_of(((x * x.cos() - x.sin()) / (x * ctx.input)).masked_fill(ctx.input == 0, 0))


@operator(promote=("input",), to="float", inplace=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x bounded to [eps, 1 - eps] if ``eps`` is given."""
    x = input
    if eps is not None:
        x = prim.apply("min", prim.apply("max", x, prim.const(eps, x.dtype)), prim.const(1 - eps, x.dtype))
    return prim.apply("log", prim.apply("div", x, prim.apply("sub", prim.const(1, x.dtype), x)))


@logit.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x = ctx.input
    value = grad / (x * (1 - x))
    if ctx.eps is None:
        return value.masked_fill((x < 0) | (x > 1), math.nan)
    return value.masked_fill((x < ctx.eps) | (x > 1 - ctx.eps), 0)


@operator(kind="composite")
def positive(input: Tensor) -> Tensor:
    """The tensor itself; booleans have no sign (RuntimeError)."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input
