"""Functions of two and three numbers, applied element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import primitives as prim
from ..dispatch.operator import OPERATORS, Factor, Operand, operator
from ..tensor import Tensor
from .arithmetic import conj_of
from .common import need_tensor, times

__all__: list[str] = []


def _binary(
    name: str,
    text: str,
    derivative: Callable[[Any, Tensor], Any],
    *,
    aliases: tuple[str, ...] = (),
    number: bool = False,
) -> None:
    """An operator that is one primitive of two floating-point numbers, the second of which may be a Python ``number``;
    integers become the default floating type."""

    def body(input: Tensor, other: Tensor) -> Tensor:
        if input.dtype.is_complex:
            raise RuntimeError(f"{name}: not implemented for complex numbers")
        return prim.apply(name, input, other)

    body.__name__, body.__doc__, body.__module__ = name, text, __name__
    if number:
        body.__annotations__["other"] = "Operand"
    operator(promote=("input", "other"), to="float", inplace=True, aliases=aliases)(body).gradient("input", "other")(
        derivative
    )


_binary(
    "atan2",
    "The angle of the point (other, input): atan(input / other) in the right quadrant.",
    lambda c, g: (g * c.other / (c.input**2 + c.other**2), -g * c.input / (c.input**2 + c.other**2)),
    aliases=("arctan2",),
)


_binary("hypot", "sqrt(input**2 + other**2) without overflow.", lambda c, g: _hypot_gradient(c, g))


_binary(
    "copysign", "The size of input with the sign of other.", lambda c, g: (g * _copysign_ratio(c), g * 0), number=True
)


_binary("nextafter", "The next representable number from input towards other.", lambda c, g: (g, None))


def _hypot_gradient(c: Any, g: Tensor) -> Any:
    size = OPERATORS["hypot"].function(c.input, c.other)
    return g * (c.input / size), g * (c.other / size)


def _copysign_ratio(c: Any) -> Tensor:
    """By what the size of input was multiplied: 1 or -1, and 0 at 0."""
    return (OPERATORS["copysign"].function(c.input, c.other) / c.input).masked_fill(c.input == 0, 0)  # type: ignore[no-any-return]


def _log_of_sum(input: Tensor, other: Tensor, log1p: Callable[[Tensor], Tensor], exp: str) -> Tensor:
    """The greater of two plus ``log1p(exp(less - greater))``; complex numbers are ordered by their real parts."""
    g = prim.apply
    a, b = (prim.part("real", x) if x.dtype.is_complex else x for x in (input, other))
    # the first is the greater one if there is a NaN in it; a NaN in the other makes the difference NaN
    below = g("lt", a, b)
    top, low = g("select", below, other, input), g("select", below, input, other)
    value = g("add", top, log1p(g(exp, g("sub", low, top))))
    # two equal infinities differ by NaN
    same = g("and", g("eq", input, other), g("eq", g("abs", a), prim.const(math.inf, a.dtype)))
    return g("select", same, input, value)


@operator(promote=("input", "other"), to="float")
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)) without overflow."""
    return _log_of_sum(input, other, lambda x: prim.apply("log1p", x), "exp")


@logaddexp.gradient("input", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _share.function(grad, ctx.input, ctx.other, 1.0), _share.function(grad, ctx.other, ctx.input, 1.0)


@operator(promote=("input", "other"), to="float")
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2**input + 2**other) without overflow."""
    if input.dtype.is_complex:
        raise RuntimeError("logaddexp2: not implemented for complex numbers")
    return _log_of_sum(
        input, other, lambda x: prim.apply("mul", prim.apply("log1p", x), prim.const(1 / math.log(2), x.dtype)), "exp2"
    )


@logaddexp2.gradient("input", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    ln2 = math.log(2)
    return _share.function(grad, ctx.input, ctx.other, ln2), _share.function(grad, ctx.other, ctx.input, ln2)


@operator(name="_share", promote=("grad", "input", "other"), method=False, function=False)
def _share(grad: Tensor, input: Tensor, other: Tensor, scale: float) -> Tensor:
    """What input has of ``exp(input) + exp(other)`` (exponents times ``scale``), times grad, in the shape of input."""
    share = ((input - other) * scale).sigmoid()  # type: ignore[operator]
    return (grad * conj_of(share)).sum_to_size(input.shape)  # type: ignore[operator,no-any-return]


@operator(promote=("input", "other"), to="float", inplace=True)
def xlogy(input: Operand, other: Operand) -> Tensor:
    """input * log(other); 0 where input is 0, NaN where other is."""
    value = prim.apply("mul", input, prim.apply("log", other))
    value = prim.apply("select", prim.apply("eq", input, prim.const(0, value.dtype)), prim.const(0, value.dtype), value)
    return prim.apply("select", prim.apply("isnan", other), other, value)


@xlogy.gradient("input", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, y = ctx.input, ctx.other
    dx = dy = None
    if ctx.needs("input"):
        log = y.log() if isinstance(y, Tensor) else math.log(y) if y > 0 else -math.inf
        dx = grad * log
        dx = dx.masked_fill((x == 0) & (y <= 0), 0)
    if ctx.needs("other"):
        dy = grad * x / y
    return dx, dy


@operator(promote=("input", "end", "weight"), inplace=True)
def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """``input + weight * (end - input)``, computed from the nearer end."""
    if input.dtype.kind not in "fc":
        raise RuntimeError(f'"lerp_kernel_scalar" not implemented for {input.dtype}')
    one, half = prim.const(1, weight.dtype), prim.const(0.5, input.dtype.to_real())
    span = prim.apply("sub", end, input)
    size = prim.apply("abs", weight)
    size = prim.part("real", size) if size.dtype.is_complex else size
    from_start = prim.apply("add", input, prim.apply("mul", weight, span))
    from_end = prim.apply("sub", end, prim.apply("mul", span, prim.apply("sub", one, weight)))
    return prim.apply("select", prim.apply("lt", size, half), from_start, from_end)


@lerp.gradient("weight", "input:weight", "end:weight")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    w = ctx.weight
    return (
        grad * conj_of(1 - w), grad * conj_of(w),
        grad * conj_of(ctx.end - ctx.input) if isinstance(w, Tensor) and ctx.needs("weight") else None,
    )  # fmt: skip


@operator(promote=("input", "tensor1", "tensor2"), inplace=True, factors=("value",))
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Factor = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``"""
    return prim.apply("add", input, times(value, prim.apply("mul", tensor1, tensor2)))


@addcmul.gradient("tensor1", "tensor2")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, grad * conj_of(ctx.tensor2 * ctx.value), grad * conj_of(ctx.tensor1 * ctx.value)


@operator(promote=("input", "tensor1", "tensor2"), inplace=True, factors=("value",))
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Factor = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``; integers cannot be divided here (RuntimeError)."""
    if input.dtype.kind in "bui":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release "
            "addcdiv will perform a true division of tensor1 and tensor2."
        )
    return prim.apply("add", input, prim.apply("div", times(value, tensor1), tensor2))


@addcdiv.gradient("tensor1", "tensor2")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    a, b, v = ctx.tensor1, ctx.tensor2, ctx.value
    return grad, grad * conj_of(v / b), -grad * conj_of(v * a / (b * b)) if ctx.needs("tensor2") else None


@operator(kind="composite", method=False)
def rsub(input: Tensor, other: Operand, alpha: float = 1) -> Tensor:
    """``other - alpha * input``"""
    need_tensor("rsub", input)
    return OPERATORS["sub"].function(other, input, alpha=alpha)  # type: ignore[no-any-return]


@operator(promote=("input", "values"), inplace=True, differentiable=False)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative elements, 1 for positive ones, ``values`` at 0."""
    zero, one = prim.const(0, input.dtype), prim.const(1, input.dtype)
    value = prim.apply(
        "select", prim.apply("eq", input, zero), values, prim.apply("select", prim.apply("gt", input, zero), one, zero)
    )
    return prim.apply("select", prim.apply("isnan", input), input, value) if input.dtype.kind == "f" else value
