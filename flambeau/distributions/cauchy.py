"""The Cauchy (Lorentz) distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import ops
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from ._parameters import LocScale
from .distribution import Distribution as Distribution
from .utils import drawn_like, fused

__all__ = ["Cauchy"]


@fused
def _cauchy_log_prob(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return -math.log(math.pi) - scale.log() - ((value - loc) / scale).square().log1p()


@fused
def _cauchy_cdf(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return ((value - loc) / scale).atan() / math.pi + 0.5


@fused
def _cauchy_icdf(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return (math.pi * (value - 0.5)).tan() * scale + loc


class Cauchy(LocScale):
    """The quotient of two normal numbers, times ``scale``, about ``loc``: without mean and variance."""

    @property
    def mean(self) -> Tensor:
        """NaN: there is none."""
        return ops.full_like(self.loc, float("nan"))

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return ops.full_like(self.loc, float("inf"))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + scale * c`` of standard variates c."""
        return self.loc + drawn_like(self.loc, self._extended_shape(sample_shape)).cauchy_() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log(pi scale (1 + z**2))`` with ``z = (x - loc) / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        return _cauchy_log_prob(value, self.loc, self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        """``atan(z) / pi + 1/2``."""
        if self._validate_args:
            self._validate_sample(value)
        return _cauchy_cdf(value, self.loc, self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        """``loc + scale tan(pi (p - 1/2))``."""
        return _cauchy_icdf(value, self.loc, self.scale)

    def entropy(self) -> Tensor:
        """``log(4 pi scale)``."""
        return math.log(4 * math.pi) + self.scale.log()
