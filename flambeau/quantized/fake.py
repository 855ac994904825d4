"""Fake quantization: numbers rounded as quantization would, with gradients that pass straight through inside of the
range (Y. Bengio et al., 2013; B. Jacob et al., 2018)."""

from __future__ import annotations

from typing import Any

from ..dispatch.operator import Operand, operator
from ..ops.common import dim_of, overridable
from ..tensor import Tensor
from .tensor import channel_shape

__all__ = ["fake_quantize_per_channel_affine", "fake_quantize_per_tensor_affine"]


@operator(name="_fake_quantize", promote=("input",), method=False, function=False, out=False)
def _fake_quantize(input: Tensor, scale: Operand, zero_point: Operand, quant_min: int, quant_max: int) -> Tensor:
    """``(clamp(round(input / scale) + zero_point) - zero_point) * scale``."""
    steps = (input * (1.0 / scale)).round() + zero_point
    return ((steps.clamp(quant_min, quant_max) - zero_point) * scale).to(input.dtype)


@_fake_quantize.gradient("input", "scale", "zero_point")
def _(ctx: Any, grad: Any) -> Any:
    steps = (ctx.input * (1.0 / ctx.scale)).round() + ctx.zero_point
    inside = (steps >= ctx.quant_min) & (steps <= ctx.quant_max)
    return grad.masked_fill(~inside, 0), None, None


def _check(name: str, input: Any, least: int, most: int) -> None:
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating-point input, got {input.dtype}")
    if least > most:
        raise RuntimeError(f"`quant_min` should be less than or equal to `quant_max`: got {least} and {most}")


@overridable
def fake_quantize_per_tensor_affine(input: Any, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Tensor:
    """``input`` rounded to the numbers that integers from ``quant_min`` to ``quant_max`` stand for.

    The gradient passes where the integer is inside of the range.  Raises RuntimeError for integer inputs, an empty
    range and a zero point outside of it.
    """
    _check("fake_quantize_per_tensor_affine", input, quant_min, quant_max)
    for title, value in (("scale", scale), ("zero_point", zero_point)):
        if not isinstance(value, (Tensor, int, float)):
            raise TypeError(
                f"fake_quantize_per_tensor_affine(): argument '{title}' must be a number or Tensor, "
                f"not {type(value).__name__}"
            )
    width = float(scale.item() if isinstance(scale, Tensor) else scale)  # type: ignore[attr-defined]
    zero = int(zero_point.item() if isinstance(zero_point, Tensor) else zero_point)  # type: ignore[attr-defined]
    if not quant_min <= zero <= quant_max:
        raise RuntimeError(f"`zero_point` must be between `quant_min` and `quant_max`: got {zero}")
    return _fake_quantize.function(input, width, zero, int(quant_min), int(quant_max))


@overridable
def fake_quantize_per_channel_affine(
    input: Any, scale: Any, zero_point: Any, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """``fake_quantize_per_tensor_affine`` with a scale and a zero point for each slice along ``axis``."""
    _check("fake_quantize_per_channel_affine", input, quant_min, quant_max)
    axis = dim_of(axis, input.ndim, "fake_quantize_per_channel_affine")
    if scale.ndim != 1 or zero_point.shape != scale.shape or scale.shape[0] != input.shape[axis]:
        raise RuntimeError(
            f"dimensions of scale and zero-point are not consistent with input tensor: {list(scale.shape)}, "
            f"{list(zero_point.shape)} and size {input.shape[axis]} along axis {axis}"
        )
    shape = channel_shape(input.ndim, axis)
    vectors = [v.detach().to(input.dtype).reshape(shape) for v in (scale, zero_point)]
    return _fake_quantize.function(input, *vectors, int(quant_min), int(quant_max))
