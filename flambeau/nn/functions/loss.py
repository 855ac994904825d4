"""Losses that are compositions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...dtype import bfloat16, float16
from .._base import Tensor, ops, overridable

__all__ = ["linear_cross_entropy", "triplet_margin_with_distance_loss"]


@overridable
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Cross entropy of the logits W x + b.

    Args:
        input: x (N, in) or (in,).
        linear_weight: W (C, d_1, ..., d_K, in).
        target: classes (N, d_1, ..., d_K), or probabilities in the logits' shape (N, C, d_1, ..., d_K).
        linear_bias: b (C, d_1, ..., d_K).
        weight: one a class.
        reduction: "none", "mean" or "sum".
        ignore_index: a class that does not count; -100 if None and the target is classes.
        label_smoothing: how much of the target is spread evenly over the classes.
        options: hints on the computation, which change no result; the logits are computed as a whole.

    Raises RuntimeError for other ranks, and for ``ignore_index`` with probabilities.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    if input.dim() == 1 and linear_weight.dim() > 2:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {linear_weight.size(-1)}), got unbatched input with shape {tuple(input.shape)}"
        )
    if ignore_index is not None and target.is_floating_point():
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    outputs = linear_weight.shape[:-1]
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    kind, rows = input.dtype, linear_weight.reshape(-1, linear_weight.size(-1))
    half = kind in (bfloat16, float16)
    if half:  # neither the logits nor their gradients are rounded
        input, rows = input.float(), rows.float()
        bias, weight = None if bias is None else bias.float(), None if weight is None else weight.float()
        target = target.float() if target.is_floating_point() else target
    logits = ops.linear(input, rows, bias).reshape(*input.shape[:-1], *outputs)
    loss = ops.cross_entropy(
        logits,
        target,
        weight=weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return loss.to(kind) if half else loss


@overridable
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with a distance of one's own.

    Args:
        anchor, positive, negative: of one rank (RuntimeError).
        distance_function: d; the 2-norm of the difference if None.
        margin: how much nearer the positive should be; positive (ValueError).
        swap: let the smaller of d(anchor, negative) and d(positive, negative) count.
        reduction: "none", "mean" or "sum".
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = ops.pairwise_distance if distance_function is None else distance_function
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.dim()}D, positive {positive.dim()}D, and negative {negative.dim()}D inputs"
        )
    near = distance(anchor, positive)
    far = distance(anchor, negative)
    if swap:
        far = ops.minimum(far, distance(positive, negative))
    loss = (margin + near - far).clamp_min(0)
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return loss.mean() if reduction == "mean" else loss.sum()
