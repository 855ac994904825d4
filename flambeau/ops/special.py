"""Special functions (``torch.special``).

What models use is generated code, and so are, in single precision, Bessel functions (``fitted``) and the incomplete
gamma functions (``incomplete``); in double precision these come from scipy (``template.host``), which follows Cephes
and AMOS, as zeta always does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..dispatch.operator import OPERATORS, Operand, Operator, operator
from ..tensor import Tensor
from .fitted import FITTED, fitted
from .incomplete import incomplete_gamma

__all__ = ["host"]

_S = "torch.special"
_SCIPY = "scipy.special"
_ROOT_HALF = math.sqrt(0.5)


def host(module: str, name: str, *xs: Tensor) -> Tensor:
    """A ufunc of numpy or scipy in the body of an operator; the operands are broadcast."""
    graph = prim.current().graph
    shape = prim.apply("add", *xs).shape if len(xs) == 2 else xs[0].shape
    nodes = [prim.wrap(graph.expand(prim.read(x), shape)) for x in xs]
    return prim.extern(template.host.Ufunc(module, name), nodes, [(shape, xs[0].dtype)])[0]


def _of_scipy(function: str, x: Tensor) -> Tensor:
    """A function of scipy; in single precision by its series where there is one."""
    return fitted(function, x) if x.dtype is dtypes.float32 and function in FITTED else host(_SCIPY, function, x)


def _real(name: str, x: Tensor) -> None:
    if x.dtype.is_complex:
        raise RuntimeError(f'"{name}" not implemented for {x.dtype}')


def _no_derivative(name: str) -> Callable[..., Any]:
    def derivative(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(f"derivative for {name} is not implemented")

    return derivative


def _unary(
    name: str,
    text: str,
    function: str,
    derivative: Callable[[Any, Tensor], Tensor] | None,
    saves: tuple[str, ...] = ("input",),
    **options: Any,
) -> Operator:
    """A function of scipy; integers become the default floating type."""

    def body(input: Tensor) -> Tensor:
        _real(name, input)
        return _of_scipy(function, input)

    body.__name__, body.__doc__, body.__module__ = name, text, __name__
    options.setdefault("namespace", _S)
    options.setdefault("method", False)
    op = operator(promote=("input",), to="float", **options)(body)
    op.gradient(*saves)(derivative or _no_derivative(name))
    return op


def _of(name: str) -> Callable[..., Tensor]:
    return lambda *args: OPERATORS[name].function(*args)


_i0, _i0e, _i1, _i1e = _of("i0"), _of("i0e"), _of("i1"), _of("i1e")


def _i1_gradient(c: Any, g: Tensor) -> Tensor:
    x = c.input
    flat = x == 0
    return g * (_i0(x) - c.result / x.masked_fill(flat, 1)).masked_fill(flat, 0.5)


def _i1e_gradient(c: Any, g: Tensor) -> Tensor:
    x = c.input
    flat = x == 0
    safe = x.masked_fill(flat, 1)
    return g * (_i0e(x) - c.result * (safe.sgn() + safe.reciprocal())).masked_fill(flat, 0.5)


_unary(
    "i0",
    "The modified Bessel function of the first kind and order 0.",
    "i0",
    lambda c, g: g * _i1(c.input),
    namespace="torch",
    method=True,
    inplace=True,
)
_unary(
    "i0e",
    "``exp(-|x|) * i0(x)``",
    "i0e",
    lambda c, g: g * (_i1e(c.input) - c.input.sgn() * c.result),
    ("input", "result"),
)
_unary("i1", "The modified Bessel function of the first kind and order 1.", "i1", _i1_gradient, ("input", "result"))
_unary("i1e", "``exp(-|x|) * i1(x)``", "i1e", _i1e_gradient, ("input", "result"))
_unary("bessel_j0", "The Bessel function of the first kind and order 0.", "j0", None)
_unary("bessel_j1", "The Bessel function of the first kind and order 1.", "j1", None)
_unary("bessel_y0", "The Bessel function of the second kind and order 0.", "y0", None)
_unary("bessel_y1", "The Bessel function of the second kind and order 1.", "y1", None)
_unary("modified_bessel_i0", "The modified Bessel function of the first kind and order 0.", "i0", None)
_unary("modified_bessel_i1", "The modified Bessel function of the first kind and order 1.", "i1", None)
_unary("modified_bessel_k0", "The modified Bessel function of the second kind and order 0.", "k0", None)
_unary("modified_bessel_k1", "The modified Bessel function of the second kind and order 1.", "k1", None)
_unary("scaled_modified_bessel_k0", "``exp(x) * modified_bessel_k0(x)``", "k0e", None)
_unary("scaled_modified_bessel_k1", "``exp(x) * modified_bessel_k1(x)``", "k1e", None)
_unary(
    "erfcx",
    "``exp(x**2) * erfc(x)`` without overflow.",
    "erfcx",
    lambda c, g: g * (2 * c.input * c.result - 2 / math.sqrt(math.pi)),
    ("input", "result"),
)
_unary(
    "ndtri",
    "The inverse of ``ndtr``: the argument at which the normal distribution function has the value x.",
    "ndtri",
    lambda c, g: g * math.sqrt(2 * math.pi) * (c.result.square() / 2).exp(),
    ("result",),
)


@operator(promote=("input",), to="float", method=False, namespace=_S)
def airy_ai(input: Tensor) -> Tensor:
    """The Airy function Ai."""
    _real("airy_ai", input)
    return fitted("airy", input)


airy_ai.gradient("input")(_no_derivative("airy_ai"))


@operator(promote=("input",), to="float", method=False, namespace=_S)
def spherical_bessel_j0(input: Tensor) -> Tensor:
    """The spherical Bessel function of order 0: ``sin(x) / x``, 1 at 0, 0 at infinity."""
    _real("spherical_bessel_j0", input)
    g = prim.apply
    zero, one = prim.const(0, input.dtype), prim.const(1, input.dtype)
    value = g("select", g("eq", input, zero), one, g("div", g("sin", input), input))
    return g("select", g("eq", g("abs", input), prim.const(math.inf, input.dtype)), zero, value)


spherical_bessel_j0.gradient("input")(_no_derivative("spherical_bessel_j0"))


@operator(promote=("input",), to="float", method=False, namespace=_S)
def ndtr(input: Tensor) -> Tensor:
    """The distribution function of the standard normal distribution: ``erfc(-x / sqrt(2)) / 2``."""
    _real("ndtr", input)
    half = prim.const(0.5, input.dtype)
    return prim.apply("mul", half, prim.apply("erfc", prim.apply("mul", input, prim.const(-_ROOT_HALF, input.dtype))))


@ndtr.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * (-(ctx.input.square()) / 2).exp() / math.sqrt(2 * math.pi)


@operator(promote=("input",), to="float", method=False, namespace=_S)
def log_ndtr(input: Tensor) -> Tensor:
    """The logarithm of ``ndtr``, accurate for very negative elements too."""
    _real("log_ndtr", input)
    return _of_scipy("log_ndtr", input)


@log_ndtr.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad / _of("erfcx")(ctx.input * -_ROOT_HALF) * math.sqrt(2 / math.pi)


@operator(promote=("input",), to="float", method=False, namespace=_S)
def entr(input: Tensor) -> Tensor:
    """``-x * log(x)``; 0 at 0, minus infinity below."""
    _real("entr", input)
    g = prim.apply
    zero = prim.const(0, input.dtype)
    value = g("neg", g("mul", input, g("log", input)))
    value = g("select", g("eq", input, zero), zero, value)
    return g("select", g("lt", input, zero), prim.const(-math.inf, input.dtype), value)


@entr.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * -(ctx.input.log() + 1)


@operator(promote=("input", "other"), to="float", method=False, namespace=_S)
def xlog1py(input: Operand, other: Operand) -> Tensor:
    """``input * log1p(other)``; 0 where input is 0, NaN where other is."""
    _real("xlog1py", input)
    g = prim.apply
    zero = prim.const(0, input.dtype)
    value = g("select", g("eq", input, zero), zero, g("mul", input, g("log1p", other)))
    return g("select", g("isnan", other), other, value)


@xlog1py.gradient("input", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, y = ctx.input, ctx.other
    dx = dy = None
    if ctx.needs("input"):
        log = y.log1p() if isinstance(y, Tensor) else math.log1p(y) if y > -1 else -math.inf
        dx = (grad * log).masked_fill((x == 0) & (y <= -1), 0)
    if ctx.needs("other"):
        dy = grad * x / (y + 1)
    return dx, dy


# -- the gamma function's relatives ------------------------------------------------------------------


@operator(promote=("input", "other"), to="float", method=False, namespace=_S)
def zeta(input: Operand, other: Operand) -> Tensor:
    """Hurwitz' zeta function: the sum of ``(k + other)**-input`` over k >= 0."""
    _real("zeta", input)
    return host(_SCIPY, "zeta", input, other)


@zeta.gradient("input:other", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    if ctx.needs("input"):
        raise RuntimeError("the derivative for 'zeta: self' is not implemented.")
    return None, grad * -ctx.input * zeta.function(ctx.input + 1, ctx.other)


_TRIGAMMA = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
)  # Bernoulli numbers B2, B4, ...
_SHIFT = 10  # where the asymptotic series takes over


def _trigamma(x: Tensor) -> Tensor:
    """The derivative of digamma (Abramowitz & Stegun 6.4.6, 6.4.7, 6.4.12)."""
    g = prim.apply

    def c(value: float) -> Tensor:
        return prim.const(value, x.dtype)

    reflected = g("lt", x, c(0.5))
    y = g("select", reflected, g("sub", c(1), x), x)
    total = c(0)
    for _ in range(_SHIFT):
        small = g("lt", y, c(_SHIFT))
        total = g("add", total, g("select", small, g("div", c(1), g("mul", y, y)), c(0)))
        y = g("select", small, g("add", y, c(1)), y)
    inverse = g("div", c(1), y)
    w = g("mul", inverse, inverse)
    series = c(_TRIGAMMA[-1])
    for b in _TRIGAMMA[-2::-1]:
        series = g("add", g("mul", series, w), c(b))
    tail = g("mul", inverse, g("add", c(1), g("add", g("mul", c(0.5), inverse), g("mul", w, series))))
    total = g("add", total, tail)
    turn = g("sub", x, g("rint", x))  # the sine of pi x has the size of that of pi times this
    sine = g("sin", g("mul", turn, c(math.pi)))
    mirror = g("sub", g("div", c(math.pi**2), g("mul", sine, sine)), total)
    value = g("select", reflected, mirror, total)
    return g("select", g("eq", g("abs", x), c(math.inf)), g("select", reflected, c(math.nan), c(0)), value)


@operator(name="_polygamma", promote=("input",), to="float", method=False, function=False, inplace=True)
def polygamma_kernel(input: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma."""
    _real("polygamma", input)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return prim.apply("digamma", input)
    if n == 1:
        return _trigamma(input)
    order = prim.const(n + 1, input.dtype)
    value = host(_SCIPY, "zeta", order, input) if not input.ndim else _zeta_of(n + 1, input)
    return prim.apply(
        "mul",
        prim.const(
            (-1.0) ** (n + 1) * math.gamma(n + 1) if n < 171 else math.copysign(math.inf, (-1) ** (n + 1)), input.dtype
        ),
        value,
    )


def _zeta_of(s: int, x: Tensor) -> Tensor:
    return host(_SCIPY, "zeta", prim.const(s, x.dtype, x.shape), x)


@polygamma_kernel.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * polygamma_kernel.function(ctx.input, ctx.n + 1)


@operator(kind="composite", method=False)
def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma, n >= 0 (RuntimeError otherwise)."""
    return polygamma_kernel.function(input, n)  # type: ignore[no-any-return]


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma."""
    return polygamma_kernel.function(self, n)  # type: ignore[no-any-return]


def _polygamma_inplace(self: Tensor, n: int) -> Tensor:
    """``polygamma`` in place."""
    return polygamma_kernel.inplace(self, n)  # type: ignore[no-any-return,misc]


_polygamma_method.__name__, _polygamma_inplace.__name__ = "polygamma", "polygamma_"
Tensor.polygamma, Tensor.polygamma_ = _polygamma_method, _polygamma_inplace  # type: ignore[attr-defined]


_MOST_FACTORS = 256  # each is part of the kernel


@operator(promote=("input",), to="float", inplace=True, strides="row-major")
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension ``p`` >= 1 (RuntimeError otherwise)."""
    _real("mvlgamma", input)
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, got {p}")
    if p > _MOST_FACTORS:
        raise RuntimeError(f"mvlgamma: p = {p} makes as many factors, more than the {_MOST_FACTORS} that are supported")
    total = prim.const(p * (p - 1) / 4 * math.log(math.pi), input.dtype)
    for j in range(p):
        total = prim.apply("add", total, prim.apply("lgamma", prim.apply("sub", input, prim.const(j / 2, input.dtype))))
    return total


@mvlgamma.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    slope = ctx.input.digamma()
    for j in range(1, ctx.p):
        slope = slope + (ctx.input - j / 2).digamma()
    return grad * slope


def _incomplete(name: str, function: str, text: str, sign: int) -> None:
    def body(input: Tensor, other: Tensor) -> Tensor:
        _real(name, input)
        if input.dtype is dtypes.float32:
            return incomplete_gamma(input, other, sign < 0)
        return host(_SCIPY, function, input, other)

    body.__name__, body.__doc__, body.__module__ = name, text, __name__
    op = operator(promote=("input", "other"), to="float", inplace=True)(body)

    @op.gradient("input", "other")
    def _(ctx, grad):  # type: ignore[no-untyped-def]
        if ctx.needs("input"):
            raise RuntimeError(f"the derivative for '{name}: self' is not implemented.")
        a, x = ctx.input, ctx.other
        return None, sign * grad * ((a - 1) * x.log() - x - a.lgamma()).exp()


_incomplete("igamma", "gammainc", "The regularized lower incomplete gamma function P(input, other).", 1)
_incomplete("igammac", "gammaincc", "The regularized upper incomplete gamma function Q(input, other).", -1)
