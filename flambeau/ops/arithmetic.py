"""Arithmetic of two operands, comparisons, logic and bits."""

from __future__ import annotations

import math

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Factor, Operand, operator
from ..tensor import Tensor
from .common import need_tensor, times, zeros_of

__all__ = ["conj_of"]


def _scaled(name: str, alpha: Tensor | None, other: Tensor) -> Tensor:
    """``alpha * other``; raises RuntimeError for an ``alpha`` of a higher kind than ``other``."""
    if alpha is None:
        return other
    kind, type_ = alpha.dtype.kind, other.dtype
    if kind == "b" and type_ is not dtypes.bool_:
        raise RuntimeError(f"{name}: Boolean alpha only supported for Boolean results.")
    if kind == "f" and type_.kind in "bui":
        raise RuntimeError(
            f"{name}: For integral input tensors, argument alpha must not be a floating point number; "
            f"the result is {type_}"
        )
    if kind == "c" and type_.kind != "c":
        raise RuntimeError(
            f"{name}: For non-complex input tensors, argument alpha must not be a complex number; the result is {type_}"
        )
    return times(alpha, other)


@operator(promote=("input", "other"), inplace=True, factors=("alpha",))
def add(input: Operand, other: Operand, *, alpha: Factor = 1) -> Tensor:
    """``input + alpha * other``, broadcast; the element types are promoted.

    Raises RuntimeError for shapes that do not broadcast and for an ``alpha`` of a higher kind than the result.
    """
    return prim.apply("or" if input.dtype is dtypes.bool_ else "add", input, _scaled("add", alpha, other))


@add.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, grad if ctx.alpha == 1 else grad * conj_of(ctx.alpha)


@operator(promote=("input", "other"), inplace=True, aliases=("subtract",), factors=("alpha",))
def sub(input: Operand, other: Operand, *, alpha: Factor = 1) -> Tensor:
    """``input - alpha * other``, broadcast; the element types are promoted.  Booleans cannot be subtracted
    (RuntimeError)."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` "
            "or `logical_xor()` operator instead."
        )
    return prim.apply("sub", input, _scaled("sub", alpha, other))


@sub.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, -grad if ctx.alpha == 1 else grad * -conj_of(ctx.alpha)


def conj_of(value: Tensor | complex) -> Tensor | complex:
    """The complex conjugate of an operand that may be a number; real ones are their own."""
    if isinstance(value, Tensor):
        return value.conj() if value.dtype.is_complex else value  # type: ignore[attr-defined]
    return value.conjugate() if isinstance(value, complex) else value


@operator(promote=("input", "other"), inplace=True, aliases=("multiply",), synonyms={"other": ("value",)})
def mul(input: Operand, other: Operand) -> Tensor:
    """``input * other``, broadcast; the element types are promoted."""
    return prim.apply("and" if input.dtype is dtypes.bool_ else "mul", input, other)


@mul.gradient("input:other", "other:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad * conj_of(ctx.other) if ctx.needs("input") else None,
        grad * conj_of(ctx.input) if ctx.needs("other") else None,
    )


@operator(
    name="true_divide", promote=("input", "other"), to="float", inplace=True,
    synonyms={"input": ("dividend",), "other": ("divisor", "value")},
)  # fmt: skip
def true_divide(input: Operand, other: Operand) -> Tensor:
    """``input / other``, broadcast; integers give the default floating type."""
    return prim.apply("div", input, other)


@true_divide.gradient("input:other", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    inverse = grad / conj_of(ctx.other)
    return inverse, -inverse * conj_of(ctx.input / ctx.other) if ctx.needs("other") else None


@operator(promote=("input",), inplace=True, aliases=("negative",))
def neg(input: Tensor) -> Tensor:
    """``-input``; booleans cannot be negated (RuntimeError)."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return prim.apply("neg", input)


@neg.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return -grad


@operator(inplace=True, kind="composite", aliases=("divide",), synonyms={"other": ("value",)})
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; ``rounding_mode`` "trunc" rounds towards zero, "floor" down, and both keep integers."""
    if rounding_mode is None:
        return true_divide.function(input, other)  # type: ignore[no-any-return]
    if rounding_mode == "floor":
        return _floored.function(input, other)  # type: ignore[no-any-return]
    if rounding_mode == "trunc":
        return trunc_divide.function(input, other)  # type: ignore[no-any-return]
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


div.disjoint = ("other",)


def _require_nonzero(other: Tensor) -> Tensor:
    """Integer divisors must not be zero (RuntimeError)."""
    return prim.require(other, prim.apply("ne", other, prim.const(0, other.dtype)), 2)


def _no_complex(name: str, x: Tensor) -> None:
    if x.dtype.is_complex:
        raise RuntimeError(f"{name}: not supported for complex numbers, got {x.dtype}")


@operator(name="_trunc_divide", promote=("input", "other"), inplace=True, method=False, function=False)
def trunc_divide(input: Operand, other: Operand) -> Tensor:
    """The quotient rounded towards zero."""
    _no_complex("div", input)
    if input.dtype.kind == "f":
        return prim.apply("trunc", prim.apply("div", input, other))
    return prim.apply("idiv", input, _require_nonzero(other))


@trunc_divide.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _steps(ctx, grad)


def _steps(ctx, grad):  # type: ignore[no-untyped-def]
    """The gradients of a function of two operands that is constant between its jumps."""
    return tuple(zeros_of(grad) if ctx.needs(name) else None for name in ("input", "other"))


@operator(promote=("input", "other"), inplace=True, differentiable=False, synonyms={"other": ("value",)})
def floor_divide(input: Operand, other: Operand) -> Tensor:
    """The quotient rounded down, as Python's ``//``.  Integer division by zero raises RuntimeError."""
    _no_complex("floor_divide", input)
    if input.dtype.kind == "f":
        # a - fmod(a, b) is a whole multiple of b: the quotient of those is exact where a/b may round up
        rest = prim.apply("fmod", input, other)
        zero = prim.const(0, input.dtype)
        quotient = prim.apply("div", prim.apply("sub", input, rest), other)
        away = prim.apply(
            "and",
            prim.apply("ne", rest, zero),
            prim.apply("ne", prim.apply("lt", other, zero), prim.apply("lt", rest, zero)),
        )
        quotient = prim.apply("select", away, prim.apply("sub", quotient, prim.const(1, input.dtype)), quotient)
        down = prim.apply("floor", quotient)
        up = prim.apply("gt", prim.apply("sub", quotient, down), prim.const(0.5, input.dtype))
        rounded = prim.apply("select", up, prim.apply("add", down, prim.const(1, input.dtype)), down)
        signed = prim.apply("copysign", zero, prim.apply("div", input, other))
        whole = prim.apply("select", prim.apply("eq", quotient, zero), signed, rounded)
        return prim.apply("select", prim.apply("eq", other, zero), prim.apply("div", input, other), whole)
    if input.dtype is dtypes.bool_:
        raise RuntimeError("floor_divide: not implemented for 'Bool'")
    other = _require_nonzero(other)
    quotient = prim.apply("idiv", input, other)
    if input.dtype.kind == "u":
        return quotient
    rest = prim.apply("imod", input, other)
    zero = prim.const(0, input.dtype)
    away = prim.apply(
        "and",
        prim.apply("ne", rest, zero),
        prim.apply("ne", prim.apply("lt", rest, zero), prim.apply("lt", other, zero)),
    )
    return prim.apply("select", away, prim.apply("sub", quotient, prim.const(1, input.dtype)), quotient)


@operator(name="_floor_divide", promote=("input", "other"), inplace=True, method=False, function=False)
def _floored(input: Operand, other: Operand) -> Tensor:
    """``floor_divide`` as ``div(rounding_mode="floor")`` has it: with a derivative, which is zero."""
    return floor_divide.function(input, other)  # type: ignore[no-any-return]


@_floored.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _steps(ctx, grad)


@operator(promote=("input", "other"), inplace=True, synonyms={"other": ("divisor",)})
def remainder(input: Operand, other: Operand) -> Tensor:
    """The remainder with the sign of the divisor, as Python's ``%``.  Integer division by zero raises RuntimeError."""
    need_tensor("remainder", input, other)
    _no_complex("remainder", input)
    zero = prim.const(0, input.dtype)
    if input.dtype.kind != "f":
        other = _require_nonzero(other)
    rest = prim.apply("fmod" if input.dtype.kind == "f" else "imod", input, other)
    if input.dtype.kind in "ub":
        return rest
    other_sign = prim.apply("ne", prim.apply("lt", rest, zero), prim.apply("lt", other, zero))
    wrong = prim.apply("and", prim.apply("ne", rest, zero), other_sign)
    return prim.apply("select", wrong, prim.apply("add", rest, other), rest)


@remainder.gradient("input:other", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, -grad * div.function(ctx.input, ctx.other, rounding_mode="floor") if ctx.needs("other") else None


@operator(promote=("input", "other"), inplace=True, synonyms={"other": ("divisor",)})
def fmod(input: Tensor, other: Operand) -> Tensor:
    """The remainder with the sign of the dividend, as C's ``fmod``.  Integer division by zero raises RuntimeError."""
    _no_complex("fmod", input)
    if input.dtype.kind == "f":
        return prim.apply("fmod", input, other)
    return prim.apply("imod", input, _require_nonzero(other))


@fmod.gradient("input:other", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, -grad * div.function(ctx.input, ctx.other, rounding_mode="trunc") if ctx.needs("other") else None


@operator(
    inplace=True, kind="composite", synonyms={"input": ("self",)},
    overloads=("pow(input, exponent, *, out=None)", "pow(self, exponent, *, out=None)"),
)  # fmt: skip
def pow(input: Operand, exponent: Operand) -> Tensor:
    """``input`` to the power ``exponent``, broadcast; the element types are promoted.

    Integers to a negative integer power raise RuntimeError.
    """
    need_tensor("pow", input, exponent)
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool) and isinstance(input, Tensor):
        if isinstance(exponent, int) and exponent < 0 and input.dtype.kind in "bui":
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return pow_number.function(input, exponent)  # type: ignore[no-any-return]
    return pow_tensor.function(input, exponent)  # type: ignore[no-any-return]


pow.disjoint = ("exponent",)


@operator(name="_pow_number", promote=("input",), inplace=True, method=False, function=False)
def pow_number(input: Tensor, exponent: float) -> Tensor:
    """A power whose exponent is part of the code: small whole ones are multiplications."""
    if isinstance(exponent, float) and input.dtype.kind in "bui":
        input = prim.cast(input, dtypes.get_default_dtype())
    if input.dtype is dtypes.bool_:
        input = prim.cast(input, dtypes.int64)
    if exponent == 0.5 and not input.dtype.is_complex:
        return prim.apply("sqrt", input)
    if exponent == -0.5 and not input.dtype.is_complex:
        return prim.apply("rsqrt", input)
    whole = math.isfinite(exponent) and exponent == int(exponent)
    if whole and (0 <= exponent <= 8 or (exponent >= 0 and input.dtype.kind in "bui")):
        return _whole_power(input, int(exponent))
    if exponent in (-1, -2):
        return prim.apply("div", prim.const(1, input.dtype), _whole_power(input, -int(exponent)))
    return prim.apply("pow", input, prim.const(exponent, input.dtype))


def _whole_power(x: Tensor, n: int) -> Tensor:
    """x**n by repeated squaring (n >= 0)."""
    if n == 0:
        return prim.const(1, x.dtype, x.shape)
    result: Tensor | None = None
    while n:
        if n & 1:
            result = x if result is None else prim.apply("mul", result, x)
        n >>= 1
        if n:
            x = prim.apply("mul", x, x)
    assert result is not None
    return result


@pow_number.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    n = ctx.exponent
    if n == 0:
        return zeros_of(grad)
    return grad * conj_of(n * ctx.input ** (n - 1))


@operator(name="_pow_tensor", promote=("input", "exponent"), inplace=True, method=False, function=False)
def pow_tensor(input: Operand, exponent: Operand) -> Tensor:
    """A power of operands of one type."""
    if input.dtype.kind in "fc":
        return prim.apply("pow", input, exponent)
    # negative exponents leave only 1 and -1 as themselves
    g = prim.apply
    one, zero = prim.const(1, input.dtype), prim.const(0, input.dtype)
    if input.dtype is dtypes.bool_:
        return g("or", input, g("not", exponent))
    result = g("ipow", input, exponent)
    even = g("eq", g("and", exponent, one), zero)
    minus = g("eq", input, prim.const(-1, input.dtype)) if input.dtype.kind == "i" else prim.const(False, dtypes.bool_)
    is_unit = g("or", g("eq", input, one), minus)
    unit = g("select", g("and", minus, g("not", even)), input, one)
    result = g("select", is_unit, unit, result)
    if input.dtype.kind == "i":
        negative = g("lt", exponent, zero)
        result = g("select", g("and", negative, g("not", is_unit)), zero, result)
    return result


@pow_tensor.gradient("input", "exponent", "result:exponent")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, n = ctx.input, ctx.exponent
    dx = dn = None
    if ctx.needs("input"):
        flat = n == 0
        power = n * x ** (n - 1)
        dx = grad * conj_of(power.masked_fill(flat, 0) if isinstance(flat, Tensor) else power * 0 if flat else power)
    if ctx.needs("exponent"):
        base = x if isinstance(x, Tensor) else n.new_full((), x)
        log = base.log()
        value = ctx.result * log
        dn = grad * conj_of(value.masked_fill((base == 0) & ((n >= 0) if not n.dtype.is_complex else (n.real >= 0)), 0))
    return dx, dn
