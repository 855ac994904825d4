"""Rows of a table: embeddings, and their norms bounded."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor
from . import create
from .common import overridable
from .index import index_grad

__all__ = ["embedding_renorm_"]


@operator(name="_embedding", method=False, function=False)
def embedding_rows(weight: Tensor, indices: Tensor, padding_idx: int, scale_grad_by_freq: bool) -> Tensor:
    """The rows of ``weight`` at ``indices``."""
    shape = (*indices.shape, *weight.shape[1:])
    if 0 in shape:
        return prim.undef(shape, weight.dtype)
    g = prim.current().graph
    lead = indices.ndim
    rows = prim.wrap(g.reshape(prim.read(indices), (*indices.shape, *(1,) * (weight.ndim - 1))))
    return prim.gather(weight, [rows], [("i", 0), *(("d", lead + k) for k in range(weight.ndim - 1))], shape)


@embedding_rows.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    indices = ctx.indices
    if ctx.scale_grad_by_freq:
        flat = indices.reshape(-1)
        count = index_grad.function(
            create.ones((flat.shape[0],), dtype=grad.dtype), [flat], (0,), (ctx.shape("weight")[0],)
        )
        grad = grad / count[flat].reshape(*indices.shape, *(1,) * (grad.ndim - indices.ndim))
    if ctx.padding_idx >= 0:
        grad = grad.masked_fill(
            (indices == ctx.padding_idx).reshape(*indices.shape, *(1,) * (grad.ndim - indices.ndim)), 0
        )
    return index_grad.function(grad, [indices], (0,), tuple(ctx.shape("weight"))), None


@operator(kind="composite", method=False, namespace="torch")
def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """The rows of ``weight`` at ``indices``; ``padding_idx`` gets no gradient, and ``scale_grad_by_freq`` divides
    gradients by how often an index occurs."""
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar "
            f"types: Long, Int; but got {indices.dtype} instead (while checking arguments for "
            "embedding)"
        )
    return embedding_rows.function(weight, indices, padding_idx, bool(scale_grad_by_freq))


@operator(name="_renorm_rows", inplace=True, method=False, function=False, differentiable=False)
def renorm_rows(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Rows at ``indices`` with a norm above ``max_norm`` scaled down to it."""
    touched = index_grad.body(prim.const(1, dtypes.int32, indices.shape), [indices], (0,), (input.shape[0],))
    work: Any = prim.cast(input, dtypes.float32 if input.dtype.itemsize < 4 else input.dtype)
    norm = (
        work.abs().pow(norm_type).sum(1, True).pow(1 / norm_type if norm_type else float("inf"))
        if norm_type not in (float("inf"),)
        else work.abs().amax(1, True)
    )
    over = prim.apply("and", prim.apply("gt", touched.reshape(-1, 1), prim.const(0, dtypes.int32)), norm > max_norm)
    return prim.cast(prim.apply("select", over, work * (max_norm / (norm + 1e-7)), work), input.dtype)


@overridable
def embedding_renorm_(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Scales rows of ``input`` down to a norm of ``max_norm`` in place."""
    return renorm_rows.inplace(input, indices.reshape(-1), float(max_norm), float(norm_type))  # type: ignore[misc,attr-defined]
