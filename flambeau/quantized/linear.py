"""Layers with weights of int8 or float16 by the names of the library that PyTorch takes them from, recurrent cells with
such weights, and the choice of parameters for tables of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dispatch.callforms import call_forms
from ..dtype import float16, float32, int8, int32
from ..nn import functional as F
from ..ops.common import overridable
from ..ops.products import int_mm
from ..tensor import Tensor
from .tensor import QuantizedTensor

__all__ = [
    "choose_qparams_optimized", "empty_quantized", "fbgemm_linear_fp16_weight",
    "fbgemm_linear_fp16_weight_fp32_activation", "fbgemm_linear_int8_weight",
    "fbgemm_linear_int8_weight_fp32_activation", "fbgemm_linear_quantize_weight", "fbgemm_pack_gemm_matrix_fp16",
    "fbgemm_pack_quantized_matrix", "quantized_gru_cell", "quantized_lstm_cell", "quantized_rnn_relu_cell",
    "quantized_rnn_tanh_cell", "range_parameters",
]  # fmt: skip


def range_parameters(low: float, high: float, least: int, most: int, even: bool = False) -> tuple[float, int]:
    """(scale, zero point) of integers from ``least`` to ``most`` for numbers from ``low`` to ``high``, of which zero
    is exact; ``even``: with the zero point in the middle."""
    if not math.isfinite(low) or not math.isfinite(high):
        raise RuntimeError(f"quantization: expected finite numbers, got a range from {low} to {high}")
    low, high = min(low, 0.0), max(high, 0.0)
    if even:
        high = max(-low, high)
        low = -high
    scale = (high - low) / (most - least) or 0.1
    ends = [(least - low / scale, abs(least) + abs(low / scale)), (most - high / scale, abs(most) + abs(high / scale))]
    exact = min(ends, key=lambda end: end[1])[0]
    return scale, least if exact < least else most if exact > most else round(exact)


def _int8_parameters(x: Any, least: int, most: int, even: bool = False) -> tuple[float, int]:
    if not x.numel():
        return 0.1, 0
    return range_parameters(float(x.min()), float(x.max()), least, most, even)


@overridable
def fbgemm_linear_quantize_weight(input: Any) -> tuple[Tensor, Tensor, float, int]:
    """(int8 weight, sums of its rows less the zero points, scale, zero point) of a float32 weight (N, K)."""
    scale, zero = _int8_parameters(input, -128, 127)
    rounded = ((input * (1.0 / scale)).round() + zero).clamp(-128, 127).to(int8)
    return rounded, rounded.sum(1).sub(zero * input.shape[1]).to(int32), scale, zero


@call_forms("fbgemm_pack_quantized_matrix(input)", "fbgemm_pack_quantized_matrix(input, K, N)")
@overridable
def fbgemm_pack_quantized_matrix(input: Any, K: int | None = None, N: int | None = None) -> Tensor:
    """An int8 weight as the product wants it: as it is, kernels pack what they read."""
    return input if K is None or N is None else input.reshape(N, K)  # type: ignore[no-any-return]


@overridable
def fbgemm_linear_int8_weight(
    input: Any, weight: Any, packed: Any, col_offsets: Any, weight_scale: float, weight_zero_point: int, bias: Any
) -> Tensor:
    """``input @ weight.T + bias`` with an int8 weight, and the input quantized to 8 bits by its own range.

    The product is one of int8 matrices with exact sums; it is brought back to float32 at the end.
    """
    scale, zero = _int8_parameters(input, 0, 255)
    rows = input.reshape(-1, input.shape[-1])
    # as int8 numbers, which are smaller by 128, so is the zero point
    steps = ((rows * (1.0 / scale)).round() + zero).clamp(0, 255)
    shifted = (steps - 128).to(int8)
    sums = int_mm.function(shifted, packed.t()).to(float32)
    correction = (zero - 128) * col_offsets.to(float32) + weight_zero_point * shifted.sum(1, keepdim=True).to(float32)
    found = (sums - correction) * (scale * weight_scale) + bias
    return found.reshape(*input.shape[:-1], packed.shape[0])  # type: ignore[no-any-return]


@overridable
def fbgemm_linear_int8_weight_fp32_activation(
    input: Any, weight: Any, packed: Any, col_offsets: Any, weight_scale: float, weight_zero_point: int, bias: Any
) -> Tensor:
    """``fbgemm_linear_int8_weight`` by its other name."""
    return fbgemm_linear_int8_weight(input, weight, packed, col_offsets, weight_scale, weight_zero_point, bias)


@overridable
def fbgemm_pack_gemm_matrix_fp16(input: Any) -> Tensor:
    """A float32 weight (N, K) in float16; numbers beyond its range become its greatest."""
    return input.clamp(-65504.0, 65504.0).to(float16)  # type: ignore[no-any-return]


def _half_linear(name: str) -> Any:
    def linear(input: Any, packed_weight: Any, bias: Any, output: Any = None) -> Tensor:
        found = F.linear(input, packed_weight.to(float32), bias)
        return found if output is None else output.copy_(found)  # type: ignore[no-any-return]

    linear.__name__ = linear.__qualname__ = name
    linear.__doc__ = "``input @ weight.T + bias`` in float32 with a weight kept in float16."
    forms = f"{name}(input, packed_weight, bias)", f"{name}(input, packed_weight, bias, output)"
    return call_forms(*forms)(overridable(linear))


fbgemm_linear_fp16_weight = _half_linear("fbgemm_linear_fp16_weight")
fbgemm_linear_fp16_weight_fp32_activation = _half_linear("fbgemm_linear_fp16_weight_fp32_activation")


# -- recurrent cells ----------------------------------------------------------------------------------


def _gates(
    input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, packed_ih: Any, packed_hh: Any,
    col_offsets_ih: Any, col_offsets_hh: Any, scale_ih: Any, scale_hh: Any, zero_point_ih: Any, zero_point_hh: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What the input and the state contribute to the gates."""
    return (
        fbgemm_linear_int8_weight(input, w_ih, packed_ih, col_offsets_ih, scale_ih, zero_point_ih, b_ih),
        fbgemm_linear_int8_weight(hx, w_hh, packed_hh, col_offsets_hh, scale_hh, zero_point_hh, b_hh),
    )


@overridable
def quantized_lstm_cell(
    input: Any, hx: Sequence[Tensor], w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, packed_ih: Any, packed_hh: Any,
    col_offsets_ih: Any, col_offsets_hh: Any, scale_ih: Any, scale_hh: Any, zero_point_ih: Any, zero_point_hh: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``lstm_cell`` with int8 weights."""
    if len(hx) != 2:
        raise RuntimeError(f"quantized_lstm_cell expects two hidden states, got {len(hx)}")
    x, h = _gates(
        input, hx[0], w_ih, w_hh, b_ih, b_hh, packed_ih, packed_hh, col_offsets_ih, col_offsets_hh, scale_ih, scale_hh,
        zero_point_ih, zero_point_hh,
    )  # fmt: skip
    i, f, g, o = (x + h).chunk(4, -1)
    c = f.sigmoid() * hx[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@overridable
def quantized_gru_cell(
    input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, packed_ih: Any, packed_hh: Any,
    col_offsets_ih: Any, col_offsets_hh: Any, scale_ih: Any, scale_hh: Any, zero_point_ih: Any, zero_point_hh: Any,
) -> Tensor:  # fmt: skip
    """``gru_cell`` with int8 weights."""
    x, h = _gates(
        input, hx, w_ih, w_hh, b_ih, b_hh, packed_ih, packed_hh, col_offsets_ih, col_offsets_hh, scale_ih, scale_hh,
        zero_point_ih, zero_point_hh,
    )  # fmt: skip
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, -1), h.chunk(3, -1)  # type: ignore[attr-defined]
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return (hx - n) * (x_z + h_z).sigmoid() + n  # type: ignore[no-any-return]


def _plain_cell(name: str, activation: str) -> Any:
    def cell(
        input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, packed_ih: Any, packed_hh: Any,
        col_offsets_ih: Any, col_offsets_hh: Any, scale_ih: Any, scale_hh: Any, zero_point_ih: Any, zero_point_hh: Any,
    ) -> Tensor:  # fmt: skip
        x, h = _gates(
            input, hx, w_ih, w_hh, b_ih, b_hh, packed_ih, packed_hh, col_offsets_ih, col_offsets_hh, scale_ih,
            scale_hh, zero_point_ih, zero_point_hh,
        )  # fmt: skip
        return getattr(x + h, activation)()  # type: ignore[no-any-return]

    cell.__name__ = cell.__qualname__ = name
    cell.__doc__ = f"``rnn_{activation}_cell`` with int8 weights."
    return overridable(cell)


quantized_rnn_tanh_cell = _plain_cell("quantized_rnn_tanh_cell", "tanh")
quantized_rnn_relu_cell = _plain_cell("quantized_rnn_relu_cell", "relu")


# -- tables of vectors, and tensors without values ------------------------------------------------------


_MOST_PARTS = 1 << 16  # of a range that ``choose_qparams_optimized`` searches


@overridable
def choose_qparams_optimized(
    input: Any, numel: int, n_bins: int, ratio: float, bit_width: int
) -> tuple[Tensor, Tensor]:
    """(greatest, least) number for the integers of ``bit_width`` to span, of the first ``numel`` elements.

    A greedy search: from either end one of ``n_bins`` parts of the range is cut off, whichever leaves the smaller sum
    of squared errors, until ``ratio`` of the range is gone; the best ends met are returned.
    """
    x = input.detach().reshape(-1)[:numel].to(float32)
    if not x.numel() or n_bins < 1 or bit_width < 1:
        raise RuntimeError(
            "choose_qparams_optimized: expected some elements, n_bins and bit_width of at least 1, "
            f"got {x.numel()}, {n_bins} and {bit_width}"
        )
    if n_bins > _MOST_PARTS or bit_width > 64:  # the search takes a step for each part
        raise RuntimeError(
            f"choose_qparams_optimized: expected n_bins up to {_MOST_PARTS} and bit_width up to 64, "
            f"got {n_bins} and {bit_width}"
        )
    low, high = float(x.min()), float(x.max())
    levels = 2**bit_width - 1

    def error(a: float, b: float) -> float:
        step = max((b - a) / levels, 1e-30)
        kept = ((x - a) * (1.0 / step)).round().clamp(0, levels) * step + a
        return float(((x - kept) ** 2).sum())

    part = (high - low) / n_bins
    best, ends, current = error(low, high), (low, high), (low, high)
    least_width = n_bins * (1.0 - ratio) * part
    while current[0] + part < current[1] and current[1] - current[0] > least_width:
        left, right = (current[0] + part, current[1]), (current[0], current[1] - part)
        errors = error(*left), error(*right)
        current, found = (left, errors[0]) if errors[0] < errors[1] else (right, errors[1])
        if found < best:
            best, ends = found, current
    return ops.tensor([ends[1]]), ops.tensor([ends[0]])


@overridable
def empty_quantized(
    size: Any, qtensor: Any, *, memory_format: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool | None = None, requires_grad: bool = False,
) -> QuantizedTensor:  # fmt: skip
    """A tensor of this shape with the parameters of ``qtensor`` and any values."""
    if not isinstance(qtensor, QuantizedTensor):
        raise TypeError(
            f"empty_quantized(): argument 'qtensor' must be a quantized Tensor, not {type(qtensor).__name__}"
        )
    data = ops.zeros(tuple(size), dtype=qtensor._data.dtype)
    return QuantizedTensor.make(data, qtensor._scale, qtensor._zero, qtensor._axis, qtensor.dtype)
