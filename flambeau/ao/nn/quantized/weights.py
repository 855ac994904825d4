"""An int8 weight ready for products with quantized activations."""

from __future__ import annotations

from typing import Any

from ....dtype import float32, int8, int32
from ....ops.products import int_mm

__all__ = ["PackedWeight"]


class PackedWeight:
    """A quantized weight (N, K) with its bias, and the sums of its rows, which a zero point of the input needs."""

    def __init__(self, weight: Any, bias: Any) -> None:
        self.weight, self.bias = weight, bias
        self._integers = weight.int_repr().contiguous()
        self._sums = self._integers.sum(1).to(int32)
        by_channel = weight._axis is not None
        self._scales = weight.q_per_channel_scales().to(float32) if by_channel else weight.q_scale()
        self._zeros = weight.q_per_channel_zero_points().to(int32) if by_channel else weight.q_zero_point()

    def product(self, rows: Any, scale: float, zero: int) -> Any:
        """``x @ weight.T + bias`` in float32, for x (M, K) of integers from 0 to 255 that stand for
        ``(rows - zero) * scale``."""
        shifted = (rows.to(float32) - 128).to(int8)
        sums = int_mm.function(shifted, self._integers.t())
        known = zero - 128
        own = shifted.sum(1, keepdim=True).to(int32)
        sums = sums - known * self._sums - self._zeros * (own - known * rows.shape[1])
        found = sums.to(float32) * (self._scales * scale)
        return found if self.bias is None else found + self.bias
