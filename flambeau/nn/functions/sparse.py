"""Tables of vectors looked up by index, and windows of images."""

from __future__ import annotations

from typing import Any

from ...ops.gather import embedding_renorm_
from .._base import Tensor, no_grad, ops

__all__ = ["embedding", "unfold"]


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight`` at ``input``.

    Args:
        input: indices (...) of int64 or int32.
        weight: the table (V, D).
        padding_idx: the row that gets no gradient.
        max_norm: rows looked up with a larger norm are scaled down to it first, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: whether gradients are divided by how often an index occurs in ``input``.
        sparse: accepted; gradients are dense.

    Returns:
        (..., D).
    """
    rows = weight.shape[0] if weight.ndim else 0
    if padding_idx is None:
        padding = -1
    else:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding = padding_idx % rows
    if max_norm is not None:
        with no_grad():
            embedding_renorm_(weight, input, max_norm, norm_type)
    return ops.embedding(weight, input, padding, scale_grad_by_freq, sparse)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images (N, C, H, W) as columns (N, C * kh * kw, L)."""
    return ops._unfold_images(input, kernel_size, dilation, padding, stride)
