"""Normalisation: layer, group, instance, batch and RMS norm.  Each is one kernel forward and one or two backward."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import operator
from ..tensor import Tensor

__all__: list[str] = []

_F = "torch.nn.functional"


def _wide(x: Tensor) -> Tensor:
    return prim.cast(x, dtypes.float32) if x.dtype in (dtypes.bfloat16, dtypes.float16) else x


def _standard(x: Tensor, dims: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """((x - mean) * rstd, mean, rstd) over ``dims`` (kept with size 1)."""
    count = prim.const(math.prod(x.shape[d] for d in dims), x.dtype)
    center = prim.apply("div", prim.reduce("add", x, dims), count)
    off = prim.apply("sub", x, center)
    spread = prim.apply("div", prim.reduce("add", prim.apply("mul", off, off), dims), count)
    scale = prim.apply("rsqrt", prim.apply("add", spread, prim.const(eps, x.dtype)))
    return prim.apply("mul", off, scale), center, scale


@operator(name="_layer_norm", method=False, function=False)
def layer_norm_kernel(input: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float) -> Tensor:
    """(result, mean, 1/deviation) over the last ``ndim`` dimensions."""
    dims = tuple(range(input.ndim - ndim, input.ndim))
    x = _wide(input)
    y, center, scale = _standard(x, dims, eps)
    if weight is not None:
        y = prim.apply("mul", y, prim.cast(weight, x.dtype))
    if bias is not None:
        y = prim.apply("add", y, prim.cast(bias, x.dtype))
    return prim.cast(y, input.dtype), center, scale  # type: ignore[return-value]


@layer_norm_kernel.gradient("input", "weight", "result1", "result2")
def _(ctx, grad, grad_mean, grad_scale):  # type: ignore[no-untyped-def]
    _, center, scale = ctx.results
    dx = layer_norm_backward.function(grad, ctx.input, center, scale, ctx.weight, ctx.ndim) if ctx.needs("input") else None
    dw = db = None
    lead = tuple(range(len(ctx.shape("input")) - ctx.ndim))
    if ctx.weight is not None and ctx.needs("weight"):
        dw = norm_weight_grad.function(grad, ctx.input, center, scale, lead)
    if ctx.bias is not None and ctx.needs("bias"):
        db = grad.sum(lead) if lead else grad
    return dx, dw, db


@operator(name="_layer_norm_backward", method=False, function=False)
def layer_norm_backward(grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, weight: Tensor | None, ndim: int) -> Tensor:
    """The gradient of the input: ``scale * (g - mean(g) - y * mean(g * y))`` with g the gradient times the weight."""
    dims = tuple(range(input.ndim - ndim, input.ndim))
    count = math.prod(input.shape[d] for d in dims)
    x = input.to(center.dtype)  # type: ignore[attr-defined]
    g = grad.to(center.dtype)  # type: ignore[attr-defined]
    if weight is not None:
        g = g * weight.to(center.dtype)  # type: ignore[attr-defined]
    y = (x - center) * scale
    first, second = g.sum(dims, True) / count, (g * y).sum(dims, True) / count
    return (scale * (g - first - y * second)).to(input.dtype)  # type: ignore[no-any-return]


@operator(name="_norm_weight_grad", method=False, function=False)
def norm_weight_grad(grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, lead: tuple[int, ...]) -> Tensor:
    """The gradient of an elementwise weight: the sum of gradient times normalised input over ``lead``."""
    y = (input.to(center.dtype) - center) * scale  # type: ignore[attr-defined]
    product = grad.to(center.dtype) * y  # type: ignore[attr-defined]
    return (product.sum(lead) if lead else product).to(grad.dtype)  # type: ignore[no-any-return]


def _check_normalized(name: str, input: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None = None) -> None:
    shape = tuple(shape)
    if not shape:
        raise RuntimeError(f"{name}: Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got normalized_shape = []")
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape {list(t.shape)} and normalized_shape = {list(shape)}"
            )
    if input.ndim < len(shape) or tuple(input.shape[input.ndim - len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but got input of size{list(input.shape)}"
        )


@operator(kind="composite", method=False, namespace=_F, out=False)
def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-05
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions, which ``normalized_shape`` names.

    Raises RuntimeError for shapes that do not fit.  Ba, Kiros, Hinton 2016.
    """
    _check_normalized("layer_norm", input, normalized_shape, weight, bias)
    return layer_norm_kernel.function(input, weight, bias, len(normalized_shape), eps)[0]  # type: ignore[no-any-return]
