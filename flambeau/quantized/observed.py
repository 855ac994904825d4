"""Rounding to what the numbers seen so far ask for, in one call: what training for quantization does each step."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..dtype import float64, int64
from ..ops.common import overridable
from ..tensor import Tensor
from .fake import fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine

__all__ = ["fused_moving_avg_obs_fake_quant"]


def _scales(low: Tensor, high: Tensor, least: int, most: int, symmetric: bool) -> tuple[Tensor, Tensor]:
    """(scale, zero point) of each range, which is widened to hold zero; zero is represented exactly."""
    low, high = low.to(float64).clamp(max=0.0), high.to(float64).clamp(min=0.0)
    if symmetric:  # about zero, where a range lies on both sides of it
        under, over = -((most - least) // 2 + 1), (most - least) // 2
        widest = ops.maximum((low / under).abs(), (high / over).abs())
        both = (low < 0) & (high > 0)
        low, high = ops.where(both, widest * under, low), ops.where(both, widest * over, high)
    scale = (high - low) / float(most - least)
    scale = ops.where((scale == 0) | scale.isinf(), ops.full_like(scale, 0.1), scale)
    # of the two ends the one that rounds the zero point less
    lower, upper = least - low / scale, most - high / scale
    nearer = abs(least) + (low / scale).abs() < abs(most) + (high / scale).abs()
    zero = ops.where(nearer, lower, upper)
    if symmetric:
        zero = ops.where((low < 0) & (high > 0), ops.full_like(zero, (least + most) / 2), zero)
    return scale, zero.round().clamp(least, most).to(int64)


@overridable
def fused_moving_avg_obs_fake_quant(
    input: Tensor, observer_on: Tensor, fake_quant_on: Tensor, running_min: Tensor, running_max: Tensor, scale: Tensor,
    zero_point: Tensor, averaging_const: float, quant_min: int, quant_max: int, ch_axis: int,
    per_row_fake_quant: bool = False, symmetric_quant: bool = False,
) -> Tensor:  # fmt: skip
    """``input`` rounded to integers from ``quant_min`` to ``quant_max`` and back, if ``fake_quant_on``.

    If ``observer_on``, the least and greatest number first move ``running_min`` and ``running_max`` by a share of
    ``averaging_const``, and ``scale`` and ``zero_point`` are chosen anew; with ``per_row_fake_quant`` for every slice
    along ``ch_axis``.  The gradient passes where nothing was cut off.
    """
    x: Any = input
    if bool(observer_on.any()) and x.numel():
        seen = x.detach()
        rows = seen.transpose(0, ch_axis).flatten(1) if per_row_fake_quant else seen.reshape(1, -1)
        for running, found in ((running_min, rows.amin(1)), (running_max, rows.amax(1))):
            known: Any = running
            if known.numel() != found.numel():
                known.resize_(found.shape).fill_(float("inf") if running is running_min else float("-inf"))
            moved = ops.where(known.isinf(), found, known + averaging_const * (found - known))
            known.copy_(moved.reshape(known.shape))
        new_scale, new_zero = _scales(running_min, running_max, quant_min, quant_max, symmetric_quant)
        for target, new in ((scale, new_scale), (zero_point, new_zero)):
            target.resize_(new.shape).copy_(new)  # type: ignore[attr-defined]
    if not bool(fake_quant_on.any()):
        return x.clone()  # type: ignore[no-any-return]
    if per_row_fake_quant:
        return fake_quantize_per_channel_affine(x, scale, zero_point, ch_axis, quant_min, quant_max)  # type: ignore[no-any-return]
    return fake_quantize_per_tensor_affine(x, scale, zero_point, quant_min, quant_max)  # type: ignore[no-any-return]
