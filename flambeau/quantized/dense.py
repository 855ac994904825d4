"""Quantizing dense tensors, and the methods of every tensor that have to do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..composed import member_of
from ..dispatch.callforms import call_forms
from ..dtype import dtype as dtype_
from ..dtype import float32, float64, int8, int32, int64, qint8, qint32, quint8, uint8
from ..ops.common import dim_of, overridable
from ..tensor import Tensor
from .tensor import INTEGERS, QuantizedTensor, quantize

__all__ = ["METHODS", "quantize_per_channel", "quantize_per_tensor", "quantize_per_tensor_dynamic"]


def _check(name: str, input: Any, dtype: dtype_) -> None:
    if dtype not in INTEGERS:
        raise RuntimeError(f"{name}: quantized dtype like torch.quint8 expected, got {dtype}")
    if input.dtype is not float32:
        raise RuntimeError(f"Quantize only works on Float Tensor, got {input.dtype}")


def _number(value: Any, kind: type) -> Any:
    return kind(value.item() if isinstance(value, Tensor) else value)


@overridable
def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: dtype_) -> Any:
    """A float32 tensor as integers of ``dtype`` that stand for (q - zero_point) * scale; a list of tensors as a tuple.

    Raises RuntimeError for other types, and for a zero point beyond the integers.
    """
    if isinstance(input, (list, tuple)):
        return tuple(quantize_per_tensor(x, s, z, dtype) for x, s, z in zip(input, scale, zero_point))
    _check("quantize_per_tensor", input, dtype)
    width, zero = _number(scale, float), _number(zero_point, int)
    _, least, most = INTEGERS[dtype]
    if not least <= zero <= most:
        raise RuntimeError(
            f"quantize_tensor_per_tensor_affine: zero_point {zero} is out of the range {least} to {most}"
        )
    return quantize(input.detach(), width, zero, None, dtype)


@overridable
def quantize_per_tensor_dynamic(input: Any, dtype: dtype_, reduce_range: bool) -> Any:
    """``quantize_per_tensor`` with the scale and zero point that the least and greatest number ask for.

    Zero is always represented exactly; with ``reduce_range`` one bit stays free.
    """
    _check("quantize_per_tensor_dynamic", input, dtype)
    _, least, most = INTEGERS[dtype]
    if reduce_range:
        least, most = least // 2, most // 2
    low, high = min(float(input.min()), 0.0), max(float(input.max()), 0.0)
    scale = (high - low) / (most - least) or 0.1
    # of the two ends the one that rounds the zero point less
    ends = [(least - low / scale, abs(least) + abs(low / scale)), (most - high / scale, abs(most) + abs(high / scale))]
    exact = min(ends, key=lambda end: end[1])[0]
    zero = least if exact < least else most if exact > most else round(exact)
    return quantize(input.detach(), scale, zero, None, dtype)


@overridable
def quantize_per_channel(input: Any, scales: Any, zero_points: Any, axis: int, dtype: dtype_) -> Any:
    """A float32 tensor as integers with a scale and a zero point for each slice along ``axis``."""
    _check("quantize_per_channel", input, dtype)
    axis = dim_of(axis, input.ndim, "quantize_per_channel")
    for name, vector in (("scales", scales), ("zero_points", zero_points)):
        if vector.ndim != 1 or vector.shape[0] != input.shape[axis]:
            raise RuntimeError(
                f"quantize_per_channel: {name} must be a vector of {input.shape[axis]}, got shape {list(vector.shape)}"
            )
    zeros = zero_points if zero_points.dtype.is_floating_point else zero_points.to(int64)
    return quantize(input.detach(), scales.to(float64), zeros, axis, dtype)


_TYPES = {uint8: quint8, int8: qint8, int32: qint32}


def _make_per_tensor_quantized_tensor(input: Any, scale: float, zero_point: int) -> Any:
    """A quantized tensor of these integers."""
    return QuantizedTensor.make(input.clone(), float(scale), int(zero_point), None, _TYPES[input.dtype])


def _make_per_channel_quantized_tensor(input: Any, scale: Any, zero_point: Any, axis: int) -> Any:
    """A quantized tensor of these integers, with parameters for each slice along ``axis``."""
    return QuantizedTensor.make(input.clone(), scale.to(float64), zero_point.to(int64), axis, _TYPES[input.dtype])


def _refusal(name: str) -> Callable[..., Any]:
    def dense(input: Tensor) -> Any:
        raise NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: it is of quantized tensors"
        )

    dense.__doc__ = f"``{name}`` of a quantized tensor; NotImplementedError for others."
    return member_of(name, dense)


def _dequantize(self: Tensor) -> Any:
    """The numbers in float32."""
    if not isinstance(self, Tensor):
        raise TypeError(f"dequantize(): argument 'tensor' (position 1) must be Tensor, not {type(self).__name__}")
    return self.to(float32)  # type: ignore[attr-defined]


METHODS: dict[str, Callable[..., Any]] = {
    **{
        name: _refusal(name)
        for name in (
            "int_repr q_scale q_zero_point q_per_channel_scales q_per_channel_zero_points q_per_channel_axis qscheme"
        ).split()
    },
    "dequantize": member_of("dequantize", _dequantize),
}


@call_forms("dequantize(tensor)", "dequantize(tensors)")
def dequantize(input: Any = None, *, tensor: Any = None, tensors: Any = None) -> Any:
    """The numbers in float32; of a list of tensors a tuple."""
    given = next((x for x in (input, tensor, tensors) if x is not None), None)
    if given is None:
        raise TypeError("dequantize() missing 1 required positional arguments: 'tensor'")
    return tuple(map(dequantize, given)) if isinstance(given, (list, tuple)) else METHODS["dequantize"](given)
