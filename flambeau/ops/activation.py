"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import OPERATORS, operator
from ..tensor import Tensor
from .arithmetic import conj_of
from .common import dim_of

__all__: list[str] = []


def _number(value: float, like: Tensor) -> Tensor:
    return prim.const(value, like.dtype)


def _pick(cond: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return prim.apply("select", cond, yes, no)


def _float_only(name: str, x: Tensor, complex_: bool = False) -> None:
    if x.dtype.kind != "f" and not (complex_ and x.dtype.is_complex):
        raise RuntimeError(f'"{name}" not implemented for {x.dtype}; it takes floating-point numbers')


@operator(promote=("input",), inplace=True)
def relu(input: Tensor) -> Tensor:
    """max(x, 0) of every element; NaN stays.  RuntimeError for booleans and complex numbers."""
    if input.dtype is dtypes.bool_ or input.dtype.is_complex:
        raise RuntimeError(f"relu: Boolean and complex inputs are not supported, got {input.dtype}")
    return prim.apply("max", prim.const(0, input.dtype), input)  # NaN costs less in the second operand


@relu.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return relu_backward.function(grad, ctx.result)


@operator(name="_relu_backward", promote=("grad", "value"), method=False, function=False)
def relu_backward(grad: Tensor, value: Tensor) -> Tensor:
    """The gradient of relu: ``grad`` where relu's value is above zero (or not a number), else 0."""
    below = prim.apply("le", value, prim.const(0, value.dtype))
    return _pick(below, prim.const(0, grad.dtype), grad)


@relu_backward.gradient("value")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return relu_backward.function(grad, ctx.value), None


@operator(promote=("input",), method=False, namespace="torch.nn.functional", loose=("approximate",))
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """``x * Phi(x)`` with the normal distribution function Phi, or its approximation by tanh.  Hendrycks & Gimpel
    2016."""
    if approximate == "none":
        return input * 0.5 * (1 + (input * math.sqrt(0.5)).erf())  # type: ignore[attr-defined]
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)
        return 0.5 * input * (1 + inner.tanh())  # type: ignore[attr-defined]
    raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")


@gelu.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return gelu_backward.function(grad, ctx.input, ctx.approximate)


@operator(name="_gelu_backward", promote=("grad", "input"), method=False, function=False)
def gelu_backward(grad: Tensor, input: Tensor, approximate: str) -> Tensor:
    """The gradient of gelu: ``g * (Phi(x) + x * phi(x))``."""
    x = input
    if approximate == "none":
        density = (x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
        return grad * (0.5 * (1 + (x * math.sqrt(0.5)).erf()) + x * density)  # type: ignore[attr-defined]
    k = math.sqrt(2 / math.pi)
    t = (k * (x + 0.044715 * x * x * x)).tanh()  # type: ignore[attr-defined]
    return grad * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x))


def _define(
    name: str,
    text: str,
    forward: Callable[..., Tensor],
    backward: Callable[..., Tensor],
    params: str,
    *,
    torch: bool = False,
    method: bool = False,
    complex_: bool = False,
    strides: str = "",
) -> None:
    """An activation and, as an operator of its own, what its derivative multiplies the gradient with: both are traced,
    so each is one kernel.  ``params`` are further parameters with their defaults, as in "alpha: float = 1.0"."""
    names = [p.split(":")[0].strip() for p in params.split(",")] if params else []
    passed = "".join(f", {n}" for n in names)
    space: dict[str, Any] = {"forward": forward, "backward": backward, "float_only": _float_only, "Tensor": Tensor}
    source = (
        f"def {name}(input: Tensor{', ' + params if params else ''}):\n    "
        f"float_only({name!r}, input, {complex_})\n    return forward(input{passed})\n"
        f"def {name}_backward(grad: Tensor, input: Tensor{passed}):\n    return backward(grad, input{passed})\n"
    )
    exec(compile(source, f"<{name}>", "exec"), space)
    body, slope = space[name], space[f"{name}_backward"]
    refused = "integers" if complex_ else "integers and complex numbers"
    body.__doc__ = f"{text}\n\n``input`` has any shape and a floating type; RuntimeError for {refused}."
    body.__module__ = slope.__module__ = __name__
    slope.__doc__ = f"The gradient of ``{name}``."
    back = operator(name=f"_{name}_backward", promote=("grad", "input"), method=False, function=False)(slope)
    op = operator(promote=("input",), inplace=True, method=method, function=torch, strides=strides)(body)

    @op.gradient("input")
    def _(ctx, grad):  # type: ignore[no-untyped-def]
        return back.function(grad, ctx.input, *(getattr(ctx, n) for n in names))


def _positive(x: Tensor) -> Tensor:
    return x > 0  # type: ignore[operator,no-any-return]


def _negative_part(x: Tensor) -> Tensor:
    """x where negative, else 0, of which exponentials cost nothing where all of a vector's lanes are 0."""
    return _where(_positive(x), 0.0, x)


def _where(cond: Tensor, yes: Any, no: Any) -> Tensor:
    return OPERATORS["_where"].function(cond, yes, no)  # type: ignore[no-any-return]


def _sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid()  # type: ignore[attr-defined,no-any-return]


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

_define(
    "silu",
    "``x * sigmoid(x)``.  Hendrycks & Gimpel 2016.",
    lambda x: x * _sigmoid(x),
    lambda g, x: g * conj_of(_sigmoid(x) * (1 + x * (1 - _sigmoid(x)))),
    "",
    complex_=True,
)
_define(
    "mish",
    "``x * tanh(log(1 + exp(x)))``.  Misra 2019.",
    lambda x: x * _softplus(x, 1.0, 20.0).tanh(),
    lambda g, x: g * (_softplus(x, 1.0, 20.0).tanh() + x * _sigmoid(x) * (1 - _softplus(x, 1.0, 20.0).tanh() ** 2)),
    "",
)
_define(
    "elu",
    "x where positive, ``alpha * (exp(x) - 1)`` elsewhere.  Clevert et al. 2015.",
    lambda x, alpha: _where(_positive(x), x, alpha * _negative_part(x).expm1()),
    lambda g, x, alpha: _where(_positive(x), g, g * alpha * x.exp()),
    "alpha: float = 1.0",
)
_define(
    "celu",
    "x where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere.  Barron 2017.",
    lambda x, alpha: _where(_positive(x), x, alpha * (_negative_part(x) / alpha).expm1()),
    lambda g, x, alpha: _where(_positive(x), g, g * (x / alpha).exp()),
    "alpha: float = 1.0",
    torch=True,
)
_define(
    "selu",
    "elu with the scale and alpha that keep mean 0 and variance 1.  Klambauer et al. 2017.",
    lambda x: _SELU_SCALE * _where(_positive(x), x, _SELU_ALPHA * _negative_part(x).expm1()),
    lambda g, x: g * _SELU_SCALE * _where(_positive(x), 1.0, _SELU_ALPHA * x.exp()),
    "",
    torch=True,
)
_define(
    "leaky_relu",
    "x where positive, ``negative_slope * x`` elsewhere.",
    lambda x, negative_slope: _where(_positive(x), x, x * negative_slope),
    lambda g, x, negative_slope: _where(_positive(x), g, g * negative_slope),
    "negative_slope: float = 0.01",
)
_define(
    "hardsigmoid",
    "``min(max(x + 3, 0), 6) / 6``.",
    lambda x: (x + 3).clamp(0, 6) / 6,
    lambda g, x: _where((x > -3) & (x < 3), g / 6, 0.0),
    "",
)
_define(
    "hardswish",
    "``x * min(max(x + 3, 0), 6) / 6``.  Howard et al. 2019.",
    lambda x: x * (x + 3).clamp(0, 6) / 6,
    lambda g, x: g * _where(x <= -3, 0.0, _where(x < 3, x / 3 + 0.5, 1.0)),
    "",
)
_define(
    "hardshrink",
    "0 within ``[-lambd, lambd]``, x elsewhere.",
    lambda x, lambd: _where((x >= -lambd) & (x <= lambd), 0.0, x),
    lambda g, x, lambd: _where((x >= -lambd) & (x <= lambd), 0.0, g),
    "lambd: float = 0.5",
    torch=True,
    method=True,
)


def _softshrink(x: Tensor, lambd: float) -> Tensor:
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return _where(x > lambd, x - lambd, _where(x < -lambd, x + lambd, x * 0))  # type: ignore[operator]


_define(
    "softshrink",
    "x moved towards 0 by ``lambd``, and 0 within ``[-lambd, lambd]``.",
    _softshrink,
    lambda g, x, lambd: _where((x >= -lambd) & (x <= lambd), 0.0, g),
    "lambd: float = 0.5",
)


def _softplus(x: Tensor, beta: float, threshold: float) -> Tensor:
    scaled = x * beta  # type: ignore[operator]
    return _where(scaled > threshold, x, scaled.exp().log1p() / beta)


_define(
    "softplus",
    "``log(1 + exp(beta * x)) / beta``; x itself where ``beta * x > threshold``.",
    _softplus,
    lambda g, x, beta, threshold: _where(x * beta > threshold, g, g * _sigmoid(x * beta)),
    "beta: float = 1.0, threshold: float = 20.0",
)
_define(
    "logsigmoid",
    "``log(sigmoid(x))`` without overflow.",
    lambda x: x.clamp(max=0) - (-x.abs()).exp().log1p(),
    lambda g, x: g * _sigmoid(-x),
    "",
    strides="row-major",
)


@operator(promote=("input",), inplace=True, method=False, function=False)
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x bounded to ``[min_val, max_val]``."""
    if input.dtype is dtypes.bool_ or input.dtype.is_complex or (input.dtype.kind == "u" and min_val < 0):
        raise RuntimeError(f"hardtanh: cannot do hardtanh on {input.dtype}")
    return prim.apply("min", _number(max_val, input), prim.apply("max", _number(min_val, input), input))


@hardtanh.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _hardtanh_backward.function(grad, ctx.input, ctx.min_val, ctx.max_val)


@operator(promote=("grad", "input"), method=False, function=False)
def _hardtanh_backward(grad: Tensor, input: Tensor, min_val: float, max_val: float) -> Tensor:
    """The gradient of ``hardtanh``."""
    return _where((input > min_val) & (input < max_val), grad, 0.0)  # type: ignore[operator]


@operator(promote=("input",), inplace=True, method=False)
def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where it is greater than ``threshold``, ``value`` elsewhere."""
    return _pick(prim.apply("not", prim.apply("le", input, _number(threshold, input))), input, _number(value, input))


@threshold.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _threshold_backward.function(grad, ctx.input, ctx.threshold)


@operator(promote=("grad", "input"), method=False, function=False)
def _threshold_backward(grad: Tensor, input: Tensor, threshold: float) -> Tensor:
    """The gradient of ``threshold``."""
    return _where(input <= threshold, 0.0, grad)  # type: ignore[operator]


@operator(kind="composite")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, ``weight * x`` elsewhere; one weight, or one per channel (dimension 1).  He et al. 2015."""
    if weight.ndim > 1 or (
        weight.numel() != 1 and (input.ndim < 1 or weight.numel() != (input.shape[1] if input.ndim > 1 else 1))
    ):
        channels = input.shape[1] if input.ndim > 1 else 1
        raise RuntimeError(
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
            f"{weight.numel()} and channel size = {channels}."
        )
    w = (
        weight.reshape([-1 if d == 1 else 1 for d in range(input.ndim)])
        if weight.numel() != 1
        else weight.reshape([1] * input.ndim)
    )  # type: ignore[attr-defined]
    return prelu_kernel.function(input, w)  # type: ignore[no-any-return]


@operator(name="_prelu_kernel", promote=("input", "weight"), method=False)
def prelu_kernel(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, ``weight * x`` elsewhere, broadcast."""
    return _pick(prim.apply("gt", input, _number(0, input)), input, prim.apply("mul", weight, input))


@prelu_kernel.gradient("input", "weight")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    positive = ctx.input > 0
    return _where(positive, grad, grad * ctx.weight), _where(positive, 0.0, grad * ctx.input)


@operator(method=False, function=False, out=False)
def _glu_backward(grad: Tensor, input: Tensor, dim: int) -> Tensor:
    """The gradient of ``glu``."""
    n = input.shape[dim] // 2
    value, gate = input.narrow(dim, 0, n), input.narrow(dim, n, n).sigmoid()  # type: ignore[attr-defined]
    slope = grad * gate
    return OPERATORS["cat"].function((slope, slope * value * (1 - gate)), dim)  # type: ignore[no-any-return]


@operator(method=False, function=False, strides="order")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along ``dim`` times the sigmoid of the second.  Dauphin et al. 2016."""
    if not input.ndim:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    n = input.shape[dim_of(dim, input.ndim)]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {n}")
    return input.narrow(dim, 0, n // 2) * input.narrow(dim, n // 2, n // 2).sigmoid()  # type: ignore[attr-defined,no-any-return]


@glu.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _glu_backward.function(grad, ctx.input, ctx.dim)
