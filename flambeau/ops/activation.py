"""Activation functions."""

from __future__ import annotations

import math

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import operator
from ..tensor import Tensor

__all__: list[str] = []

_F = "torch.nn.functional"


@operator(promote=("input",), inplace=True)
def relu(input: Tensor) -> Tensor:
    """max(x, 0)"""
    if input.dtype is dtypes.bool_ or input.dtype.is_complex:
        raise RuntimeError(f"relu: Boolean and complex inputs are not supported, got {input.dtype}")
    return prim.apply("max", input, prim.const(0, input.dtype))


@relu.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.masked_fill(ctx.result <= 0, 0)


@operator(promote=("input",), to="", method=False, namespace=_F)
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """``x * Phi(x)`` with the normal distribution function Phi, or its approximation by tanh.  Hendrycks & Gimpel 2016."""
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


@operator(promote=("input",), method=False, namespace=_F)
def silu(input: Tensor) -> Tensor:
    """``x * sigmoid(x)``"""
    return input * input.sigmoid()  # type: ignore[attr-defined]
