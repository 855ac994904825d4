"""Sparse gradients of tables of vectors: only the rows that were looked up."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..autograd import Function
from ..autograd.function import once_differentiable
from ..dtype import int64
from ..tensor import Tensor
from .coo import make_coo

__all__ = ["embedding_with_sparse_gradient", "gathered"]


class _Embedding(Function):
    @staticmethod
    def forward(ctx: Any, weight: Any, indices: Any, padding_idx: int) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.shape, ctx.padding_idx = tuple(weight.shape), padding_idx
        return ops.embedding(weight, indices, padding_idx)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Any) -> Any:
        (indices,) = ctx.saved_tensors
        rows, values = indices.reshape(-1).to(int64), grad.reshape((-1, *ctx.shape[1:]))
        if ctx.padding_idx >= 0:
            at = (rows != ctx.padding_idx).nonzero().squeeze(1)
            rows, values = rows.index_select(0, at), values.index_select(0, at)
        return make_coo(rows.unsqueeze(0), values, ctx.shape), None, None


def embedding_with_sparse_gradient(weight: Any, indices: Any, padding_idx: int, scale_grad_by_freq: bool) -> Any:
    """The rows of ``weight`` at ``indices``; the gradient of the table is a COO tensor of the rows looked up."""
    if scale_grad_by_freq:
        raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
    return _Embedding.apply(weight, indices, padding_idx)


def gathered(shape: tuple[int, ...], dim: int, index: Any, grad: Any) -> Any:
    """The gradient of the input of ``gather``: a COO tensor of as many elements as were taken."""
    count, index = index.numel(), index if index.ndim else index.reshape([1] * len(shape))
    where = [
        index if d == dim % len(shape) else ops.arange(n).reshape([-1 if k == d else 1 for k in range(len(shape))])
        for d, n in enumerate(index.shape)
    ]
    places = ops.stack([w.expand(index.shape).reshape(count) for w in where]).to(int64)
    return make_coo(places, grad.reshape(count), shape)
