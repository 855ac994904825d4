"""The gradients of convolutions with respect to their input and their weight, as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops.conv import output_padding
from ._base import Tensor, ops
from .modules.utils import _ntuple

__all__: list[str] = []


def _of_input(n: int) -> Callable[..., Tensor]:
    """The gradient of a convolution over ``n`` dimensions with respect to its input."""

    def gradient(
        input_size: Sequence[int],
        weight: Tensor,
        grad_output: Tensor,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        stride, padding, dilation = (_ntuple(n)(value) for value in (stride, padding, dilation))
        spatial, kernel = tuple(input_size[2:]), tuple(weight.shape[2:])
        extra = output_padding(spatial, grad_output.shape[2:], kernel, stride, padding, dilation)
        transposed = getattr(ops, f"conv_transpose{n}d")
        return transposed(grad_output, weight, None, stride, padding, tuple(extra), groups, dilation)

    gradient.__name__ = gradient.__qualname__ = f"conv{n}d_input"
    gradient.__doc__ = f"""The gradient of ``conv{n}d`` with respect to an input of shape ``input_size``: the transposed
    convolution of ``grad_output``, as large as the input was."""
    return gradient


def _of_weight(n: int) -> Callable[..., Tensor]:
    """The gradient of a convolution over ``n`` dimensions with respect to its weight."""

    def gradient(
        input: Tensor,
        weight_size: Sequence[int],
        grad_output: Tensor,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        geometry = (_ntuple(n)(value) for value in (stride, padding, dilation))
        return ops._convolution_weight(input, tuple(weight_size), grad_output, *geometry, groups)

    gradient.__name__ = gradient.__qualname__ = f"conv{n}d_weight"
    gradient.__doc__ = f"""The gradient of ``conv{n}d`` with respect to a weight of shape ``weight_size``."""
    return gradient


conv1d_input, conv2d_input, conv3d_input = (_of_input(n) for n in (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = (_of_weight(n) for n in (1, 2, 3))
