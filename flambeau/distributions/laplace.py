"""The Laplace distribution: exponential on both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..dispatch.operator import Operand
from ..dtype_info import finfo
from ..layout import Size
from ..tensor import Tensor
from ._parameters import LocScale
from .distribution import Distribution as Distribution
from .utils import drawn_like, fused

__all__ = ["Laplace"]


@fused
def _laplace_log_prob(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return -(2 * scale).log() - (value - loc).abs() / scale


@fused
def _laplace_cdf(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    off = value - loc
    return 0.5 - 0.5 * off.sign() * (-off.abs() / scale).expm1()


@fused
def _laplace_icdf(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    off = value - 0.5
    return loc - scale * off.sign() * (-2 * off.abs()).log1p()


class Laplace(LocScale):
    """Numbers whose distance from ``loc`` is exponential with mean ``scale``."""

    @property
    def variance(self) -> Tensor:
        """2 scale^2."""
        return 2 * self.scale.square()

    @property
    def stddev(self) -> Tensor:
        """scale sqrt(2)."""
        return math.sqrt(2.0) * self.scale

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc - scale sign(u) log(1 - |u|)`` of uniform u in (-1, 1)."""
        drawn = drawn_like(self.loc, self._extended_shape(sample_shape))
        drawn.uniform_(finfo(self.loc.dtype).eps - 1, 1)
        return self.loc - self.scale * drawn.sign() * (-drawn.abs()).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log(2 scale) - |x - loc| / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        return _laplace_log_prob(value, self.loc, self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        """``1/2 - sign(z) (exp(-|z|) - 1) / 2`` with ``z = (x - loc) / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        return _laplace_cdf(value, self.loc, self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        """``loc - scale sign(q) log(1 - 2 |q|)`` with ``q = p - 1/2``."""
        return _laplace_icdf(value, self.loc, self.scale)

    def entropy(self) -> Tensor:
        """``1 + log(2 scale)``."""
        return 1 + (2 * self.scale).log()
