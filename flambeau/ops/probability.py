"""Softmax and its logarithm: one kernel forward, one backward."""

from __future__ import annotations

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from .common import dim_of

__all__: list[str] = []


def _prepared(name: str, input: Tensor, dim: int, dtype: dtype_ | None) -> tuple[Tensor, tuple[int, ...], dtype_]:
    kind = dtype or input.dtype
    if kind.kind != "f":
        raise RuntimeError(f'"{name}" not implemented for {kind}; give a floating-point dtype')
    dims = (dim_of(dim, input.ndim, name),) if input.ndim else ()
    work = dtypes.float32 if kind.itemsize < 4 else kind
    return prim.cast(input, work), dims, kind


@operator(name="_softmax", method=False, function=False, preserve=True, strides="row-major")
def softmax_kernel(input: Tensor, dim: int, dtype: dtype_ | None) -> Tensor:
    """``exp(x - max) / sum(exp(x - max))`` along ``dim``."""
    x, dims, kind = _prepared("softmax", input, dim, dtype)
    e = prim.apply("exp", prim.apply("sub", x, prim.reduce("max", x, dims)))
    scale = prim.apply("div", prim.const(1, x.dtype), prim.reduce("add", e, dims))  # one division for each row
    return prim.cast(prim.apply("mul", e, scale), kind)


@softmax_kernel.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return softmax_backward.function(grad, ctx.result, ctx.dim, ctx.dtype("input"))


@operator(name="_softmax_backward", promote=("grad", "output"), method=False, function=False)
def softmax_backward(grad: Tensor, output: Tensor, dim: int, input_dtype: dtype_) -> Tensor:
    """``y * (g - sum(g * y))``, fused."""
    product = grad * output
    total = product.sum(dim, True) if output.ndim else product  # type: ignore[attr-defined]
    return (output * (grad - total)).to(input_dtype)  # type: ignore[attr-defined,no-any-return]


@operator(name="_log_softmax", method=False, function=False, preserve=True, strides="row-major")
def log_softmax_kernel(input: Tensor, dim: int, dtype: dtype_ | None) -> Tensor:
    """``x - max - log(sum(exp(x - max)))`` along ``dim``."""
    x, dims, kind = _prepared("log_softmax", input, dim, dtype)
    off = prim.apply("sub", x, prim.reduce("max", x, dims))
    total = prim.reduce("add", prim.apply("exp", off), dims)
    return prim.cast(prim.apply("sub", off, prim.apply("log", total)), kind)


@log_softmax_kernel.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return log_softmax_backward.function(grad, ctx.result, ctx.dim, ctx.dtype("input"))


@operator(name="_log_softmax_backward", promote=("grad", "output"), method=False, function=False)
def log_softmax_backward(grad: Tensor, output: Tensor, dim: int, input_dtype: dtype_) -> Tensor:
    """``g - exp(y) * sum(g)``, fused."""
    total = grad.sum(dim, True) if output.ndim else grad  # type: ignore[attr-defined]
    return (grad - output.exp() * total).to(input_dtype)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite")
def softmax(input: Tensor, dim: int, dtype: dtype_ | None = None) -> Tensor:
    """Exponentials along ``dim`` scaled to the sum 1; ``dtype`` converts first."""
    return softmax_kernel.function(input, dim, dtype)  # type: ignore[no-any-return]


@operator(kind="composite")
def log_softmax(input: Tensor, dim: int, dtype: dtype_ | None = None) -> Tensor:
    """The logarithm of ``softmax``, computed without rounding it; ``dtype`` converts first."""
    return log_softmax_kernel.function(input, dim, dtype)  # type: ignore[no-any-return]
