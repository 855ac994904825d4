"""The gradients of convolutions with respect to their input and their weight, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.conv import output_padding
from ._base import Tensor, ops
from .modules.utils import _ntuple

__all__: list[str] = []


def _of_input(
    n: int,
    input_size: Sequence[int],
    weight: Tensor,
    grad_output: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    """The transposed convolution of ``grad_output``, as large as the input was."""
    stride, padding, dilation = (_ntuple(n)(value) for value in (stride, padding, dilation))
    spatial, kernel = tuple(input_size[2:]), tuple(weight.shape[2:])
    extra = output_padding(spatial, grad_output.shape[2:], kernel, stride, padding, dilation)
    transposed = getattr(ops, f"conv_transpose{n}d")
    return transposed(grad_output, weight, None, stride, padding, tuple(extra), groups, dilation)


def _of_weight(
    n: int,
    input: Tensor,
    weight_size: Sequence[int],
    grad_output: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    geometry = (_ntuple(n)(value) for value in (stride, padding, dilation))
    return ops._convolution_weight(input, tuple(weight_size), grad_output, *geometry, groups)


def conv1d_input(
    input_size: Sequence[int],
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv1d`` with respect to an input of shape ``input_size``."""
    return _of_input(1, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv1d_weight(
    input: Tensor,
    weight_size: Sequence[int],
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv1d`` with respect to a weight of shape ``weight_size``."""
    return _of_weight(1, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv2d_input(
    input_size: Sequence[int],
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv2d`` with respect to an input of shape ``input_size``."""
    return _of_input(2, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv2d_weight(
    input: Tensor,
    weight_size: Sequence[int],
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv2d`` with respect to a weight of shape ``weight_size``."""
    return _of_weight(2, input, weight_size, grad_output, stride, padding, dilation, groups)


def conv3d_input(
    input_size: Sequence[int],
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv3d`` with respect to an input of shape ``input_size``."""
    return _of_input(3, input_size, weight, grad_output, stride, padding, dilation, groups)


def conv3d_weight(
    input: Tensor,
    weight_size: Sequence[int],
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of ``conv3d`` with respect to a weight of shape ``weight_size``."""
    return _of_weight(3, input, weight_size, grad_output, stride, padding, dilation, groups)
