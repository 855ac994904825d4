"""Quantized tensors and their functions in the main namespace."""

from __future__ import annotations

from .dense import (
    METHODS,
    _make_per_channel_quantized_tensor,
    _make_per_tensor_quantized_tensor,
    dequantize,
    quantize_per_channel,
    quantize_per_tensor,
    quantize_per_tensor_dynamic,
)
from .fake import fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine
from .products import _int_mm, _scaled_mm
from .tensor import SCHEMES, QuantizedTensor, qscheme

__all__ = [
    "QuantizedTensor",
    "dequantize",
    "fake_quantize_per_channel_affine",
    "fake_quantize_per_tensor_affine",
    "qscheme",
    "quantize_per_channel",
    "quantize_per_tensor",
    "quantize_per_tensor_dynamic",
]

per_tensor_affine, per_channel_affine, per_tensor_symmetric, per_channel_symmetric, per_channel_affine_float_qparams = (
    SCHEMES.values()
)
int_repr, q_scale, q_zero_point = METHODS["int_repr"], METHODS["q_scale"], METHODS["q_zero_point"]
q_per_channel_scales, q_per_channel_zero_points = METHODS["q_per_channel_scales"], METHODS["q_per_channel_zero_points"]
q_per_channel_axis = METHODS["q_per_channel_axis"]
