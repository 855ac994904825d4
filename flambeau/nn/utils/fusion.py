"""Batch normalisation in evaluation folded into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from .._base import Tensor, ops
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def _check_modes(first: Any, bn: Any) -> None:
    if first.training or bn.training:
        raise AssertionError("Fusion only for eval!")


def _folded(
    weight: Tensor,
    bias: Tensor | None,
    shape: list[int],
    mean: Tensor,
    var: Tensor,
    eps: float,
    bn_weight: Tensor | None,
    bn_bias: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """weight * s and (bias - mean) * s + bn_bias, s = bn_weight / sqrt(var + eps) seen with ``shape``."""
    bias_dtype = weight.dtype if bias is None else bias.dtype
    bias = ops.zeros_like(mean) if bias is None else bias
    bn_weight = ops.ones_like(mean) if bn_weight is None else bn_weight
    bn_bias = ops.zeros_like(mean) if bn_bias is None else bn_bias
    scale = bn_weight * ops.rsqrt(var + eps)
    fused = (weight * scale.reshape(shape)).to(weight.dtype)
    fused_bias = ((bias - mean) * scale + bn_bias).to(bias_dtype)
    return (
        Parameter(fused, weight.requires_grad),
        Parameter(fused_bias, bias.requires_grad),
    )


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the convolution that does both.

    Args:
        conv_w, conv_b: those of the convolution.
        bn_rm, bn_rv, bn_eps, bn_w, bn_b: running mean and variance, eps, weight and bias of the normalisation.
        transpose: whether the convolution is a transposed one, whose outputs are dimension 1.
    """
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    return _folded(conv_w, conv_b, shape, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of ``conv`` that does what ``conv`` and then ``bn`` do, both in evaluation mode (AssertionError)."""
    _check_modes(conv, bn)
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Fusion needs a batch normalization with running statistics")
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the linear layer that does both; arguments as for ``fuse_conv_bn_weights``."""
    return _folded(linear_w, linear_b, [-1, 1], bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of ``linear`` that does what ``linear`` and then ``bn`` do, both in evaluation mode (AssertionError).

    Raises AssertionError too unless ``bn`` has as many features as ``linear`` has outputs, or one.
    """
    _check_modes(linear, bn)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Fusion needs a batch normalization with running statistics")
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
