"""The normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import ops
from ..autograd.mode import no_grad
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from ._parameters import LocScale
from .exp_family import ExponentialFamily
from .utils import HALF_LOG_2PI, _standard_normal, fused

__all__ = ["Normal"]

_ROOT_HALF, _ROOT_TWO = math.sqrt(0.5), math.sqrt(2.0)


@fused
def _normal_log_prob(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return -0.5 * ((value - loc) / scale).square() - scale.log() - HALF_LOG_2PI


@fused
def _normal_cdf(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return 0.5 * (1 + ((value - loc) / scale * _ROOT_HALF).erf())


@fused
def _normal_icdf(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    return loc + scale * _ROOT_TWO * (2 * value - 1).erfinv()


class Normal(LocScale, ExponentialFamily):
    """Normal numbers of mean ``loc`` and standard deviation ``scale``."""

    _mean_carrier_measure = 0

    @property
    def stddev(self) -> Tensor:
        """The scale."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """The scale squared."""
        return self.scale.square()

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + scale n``, without a gradient."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return ops.normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + scale n`` of standard variates n."""
        drawn = _standard_normal(self._extended_shape(sample_shape), self.loc.dtype, self.loc.device)
        return self.loc + drawn * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """``-(x - loc)**2 / (2 scale**2) - log(scale sqrt(2 pi))``."""
        if self._validate_args:
            self._validate_sample(value)
        return _normal_log_prob(value, self.loc, self.scale)

    def cdf(self, value: Tensor) -> Tensor:
        """``(1 + erf(z / sqrt 2)) / 2`` with ``z = (x - loc) / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        return _normal_cdf(value, self.loc, self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        """``loc + scale sqrt(2) erfinv(2 p - 1)``."""
        return _normal_icdf(value, self.loc, self.scale)

    def entropy(self) -> Tensor:
        """``1/2 + log(scale sqrt(2 pi))``."""
        return 0.5 + HALF_LOG_2PI + self.scale.log()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        precision = self.scale.square().reciprocal()
        return self.loc * precision, -0.5 * precision

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return -0.25 * x.square() / y + 0.5 * (-math.pi / y).log()
