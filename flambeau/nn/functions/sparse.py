"""Tables of vectors looked up by index, and windows of images."""

from __future__ import annotations

import importlib
from typing import Any

from ...ops.bags import suits
from ...ops.embedding import embedding_renorm_
from .._base import Tensor, int64, no_grad, ops, overridable

__all__ = ["embedding", "embedding_bag", "unfold"]


@overridable
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
        sparse: whether the gradient of the table is a sparse tensor of the rows looked up.

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
    if sparse and weight.requires_grad:
        # imported when it is used: few programs have sparse gradients
        gradients = importlib.import_module("flambeau.sparse.gradients")
        return gradients.embedding_with_sparse_gradient(weight, input, padding, scale_grad_by_freq)
    return ops.embedding(weight, input, padding, scale_grad_by_freq, sparse)


@overridable
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of the rows of ``weight`` in each bag.

    Args:
        input: indices, (B, L) for bags of one length, or (N,) with ``offsets``.
        weight: the table (V, D).
        offsets: where each bag begins in ``input``.
        max_norm: rows looked up with a larger norm are scaled down to it first, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: whether gradients are divided by how often an index occurs.
        mode: "sum", "mean" or "max"; empty bags give zeros.
        sparse: whether the gradient of the table is a sparse tensor of the rows looked up (not with mode "max").
        per_sample_weights: factors of the rows, in the shape of ``input`` (mode "sum" only).
        include_last_offset: whether ``offsets`` ends with the size of ``input``.
        padding_idx: the row that is left out of every bag.

    Returns:
        (B, D).
    """
    _check_bag_options(input, mode, sparse, scale_grad_by_freq, per_sample_weights)
    if input.ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
            f"sequences. However, found offsets of type {type(offsets).__name__}"
        )
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise AssertionError("padding_idx must be within the number of embeddings")
        padding_idx %= rows
    if input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
    elif input.ndim != 2:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if mode != "max" and not sparse and suits(weight, input, offsets):
        if max_norm is not None:
            with no_grad():
                embedding_renorm_(weight, input, max_norm, norm_type)
        padding = -1 if padding_idx is None else padding_idx
        return ops._bag_sums(
            weight, input, offsets, per_sample_weights, include_last_offset, mode == "mean", padding, scale_grad_by_freq
        )
    weights = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    if offsets is None:
        bags, length = input.shape
        input, bag = input.reshape(-1), ops.arange(bags).repeat_interleave(length)
    else:
        starts = _starts(offsets, input.shape[0], include_last_offset)
        bags, bag = len(starts), _bags(starts, input.shape[0])
    if padding_idx is not None:
        keep = input != padding_idx
        input, bag = input.masked_select(keep), bag.masked_select(keep)
        weights = None if weights is None else weights.masked_select(keep)
    looked_up = embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)
    return _bag_reduced(looked_up, weights, bag, bags, mode)


def _check_bag_options(
    input: Tensor, mode: str, sparse: bool, scale_grad_by_freq: bool, per_sample_weights: Tensor | None
) -> None:
    """Raises ValueError and NotImplementedError for options of ``embedding_bag`` that do not go together."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and (sparse or scale_grad_by_freq):
        option = "sparse weights" if sparse else "scaling the gradient by the frequency"
        raise ValueError(f"embedding_bag: max mode does not support {option}; use mode='sum' or mode='mean'")
    if per_sample_weights is None:
        return
    if mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    if per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must "
            f"have the same shape as the input ({list(input.shape)})"
        )


def _bag_reduced(rows: Tensor, weights: Tensor | None, bag: Tensor, bags: int, mode: str) -> Tensor:
    """The rows of each bag, times their weights, reduced: (bags, D)."""
    kind = rows.dtype
    if kind.itemsize < 4:
        rows = rows.float()  # sums of many are rounded once
    if weights is not None:
        rows = rows * weights.unsqueeze(1)
    zeros = rows.new_zeros((bags, rows.shape[1]))
    if mode == "max":
        index = bag.unsqueeze(1).expand(rows.shape)
        return zeros.scatter_reduce(0, index, rows, "amax", include_self=False).to(kind)
    total = zeros.index_add(0, bag, rows)
    if mode == "sum":
        return total.to(kind)
    count = rows.new_zeros((bags,)).index_add(0, bag, rows.new_ones((bag.shape[0],))).clamp(min=1)
    return (total / count.unsqueeze(1)).to(kind)


def _starts(offsets: Tensor, size: int, include_last: bool) -> list[int]:
    """Where each bag begins among ``size`` indices."""
    starts = offsets.tolist()
    if include_last:
        starts = starts[:-1]
    if starts and starts[0] != 0:
        raise ValueError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start "
            f"from position 0. However, got {starts[0]}"
        )
    if starts and starts[-1] > size:
        raise ValueError(
            f"offsets[-1] can not be greater than input's length ({size}), but got offsets[-1] of {starts[-1]}"
        )
    return starts


def _bags(starts: list[int], size: int) -> Tensor:
    """The bag of each of ``size`` indices."""
    marks = ops.zeros(size + 1, dtype=int64).index_add(
        0, ops.tensor(starts, dtype=int64), ops.ones(len(starts), dtype=int64)
    )
    return marks[:size].cumsum(0) - 1


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images (N, C, H, W) as columns (N, C * kh * kw, L)."""
    return ops._unfold_images(input, kernel_size, dilation, padding, stride)
