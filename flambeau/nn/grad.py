"""The gradients of convolutions with respect to their input and their weight, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._base import Tensor, ops
from .modules.utils import _pair, _single, _triple

__all__: list[str] = []


def _of_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, options: tuple[Any, ...], groups: int
) -> Tensor:
    """``options`` is (stride, padding, dilation), each a tuple."""
    input = grad_output.new_empty(1).expand(input_size)
    stride, padding, dilation = options
    return ops.convolution_backward(
        grad_output,
        input,
        weight,
        None,
        stride,
        padding,
        dilation,
        False,
        (0,) * len(stride),
        groups,
        (True, False, False),
    )[0]


def _of_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, options: tuple[Any, ...], groups: int
) -> Tensor:
    weight = grad_output.new_empty(1).expand(weight_size)
    stride, padding, dilation = options
    return ops.convolution_backward(
        grad_output,
        input,
        weight,
        None,
        stride,
        padding,
        dilation,
        False,
        (0,) * len(stride),
        groups,
        (False, True, False),
    )[1]


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
    return _of_input(input_size, weight, grad_output, (_single(stride), _single(padding), _single(dilation)), groups)


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
    return _of_weight(input, weight_size, grad_output, (_single(stride), _single(padding), _single(dilation)), groups)


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
    return _of_input(input_size, weight, grad_output, (_pair(stride), _pair(padding), _pair(dilation)), groups)


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
    return _of_weight(input, weight_size, grad_output, (_pair(stride), _pair(padding), _pair(dilation)), groups)


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
    return _of_input(input_size, weight, grad_output, (_triple(stride), _triple(padding), _triple(dilation)), groups)


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
    return _of_weight(input, weight_size, grad_output, (_triple(stride), _triple(padding), _triple(dilation)), groups)
