"""Normalisation within a sample: layer, group, root mean square, and local response."""

from __future__ import annotations

import numbers
from typing import Any

from .. import functional as F
from .. import init
from .._base import Size, Tensor, ops
from ..parameter import Parameter
from .module import Module

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class _OverChannels(Module):
    """What both norms over neighbouring channels are given."""

    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class LocalResponseNorm(_OverChannels):
    """x / (k + alpha / size * sum of squares over ``size`` neighbouring channels)^beta: Krizhevsky et al., 2012."""

    __constants__ = ("size", "alpha", "beta", "k")

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, ...) in the same shape, each element by its neighbouring channels."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class CrossMapLRN2d(_OverChannels):
    """x_c / (k + alpha / size * S_c)^beta of images (N, C, H, W): local response normalisation as in LuaTorch.

    S_c sums the squares of channels c - (r - 1) to c + (r - 1), r = (size + 1) // 2.  As in PyTorch, channel 0
    stays in the sum once it has entered; unlike in PyTorch, the gradient is that of this function.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) in the same shape, each element by its neighbouring channels."""
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        channels = input.size(1)
        reach = int((self.size - 1) / 2 + 1)
        squares = input * input
        padded = F.pad(squares, (0, 0, 0, 0, reach - 1, reach - 1))
        # (N, C, H, W, window) summed: every channel's neighbours.
        sums = padded.unfold(1, 2 * reach - 1, 1).sum(-1)
        if channels > reach:
            kept = squares[:, :1].expand(-1, channels - reach, -1, -1)
            sums = sums + F.pad(kept, (0, 0, 0, 0, reach, 0))
        return input * (sums * (self.alpha / self.size) + self.k) ** -self.beta


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions, var biased: Ba et al., 2016.

    Args:
        normalized_shape: the sizes of those dimensions, or of the last one alone.
        eps: keeps the root away from 0.
        elementwise_affine: whether there is a weight, ones at first, of ``normalized_shape``.
        bias: whether there is a bias too, zeros at first.
        device: where the parameters are.
        dtype: their element type.
    """

    __constants__ = ("normalized_shape", "eps", "elementwise_affine")
    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool

    def __init__(
        self,
        normalized_shape: int | list[int] | Size,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)  # type: ignore[assignment]
        self.normalized_shape = tuple(normalized_shape)  # type: ignore[arg-type]
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(ops.empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        if elementwise_affine and bias:
            self.bias = Parameter(ops.empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.elementwise_affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """The input (..., *normalized_shape) in the same shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over each group of channels of (N, C, *): Wu and He, 2018.

    Args:
        num_groups: the number of groups; it must divide ``num_channels`` (ValueError).
        num_channels: the number of channels.
        eps: keeps the root away from 0.
        affine: whether there is a weight (C,), ones at first.
        device: where the parameters are.
        dtype: their element type.
        bias: whether there is a bias (C,) too, zeros at first.
    """

    __constants__ = ("num_groups", "num_channels", "eps", "affine")
    num_groups: int
    num_channels: int
    eps: float
    affine: bool

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        if affine:
            self.weight = Parameter(ops.empty(num_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        if affine and bias:
            self.bias = Parameter(ops.empty(num_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """The input (n, c, ...) in the same shape.  Raises RuntimeError if the groups do not divide the channels."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions: Zhang and Sennrich, 2019.

    Args:
        normalized_shape: the sizes of those dimensions, or of the last one alone.
        eps: keeps the root away from 0; the spacing of the element type at 1 if None.
        elementwise_affine: whether there is a weight, ones at first.
        device: where it is.
        dtype: its element type.
    """

    __constants__ = ("normalized_shape", "eps", "elementwise_affine")
    normalized_shape: tuple[int, ...]
    eps: float | None
    elementwise_affine: bool

    def __init__(
        self,
        normalized_shape: int | list[int] | Size,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)  # type: ignore[assignment]
        self.normalized_shape = tuple(normalized_shape)  # type: ignore[arg-type]
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(ops.empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The input (..., *normalized_shape) in the same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
