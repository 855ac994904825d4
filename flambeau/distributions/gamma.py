"""The gamma distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..dtype_info import finfo
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .exp_family import ExponentialFamily
from .utils import broadcast_all, fused

__all__ = ["Gamma"]


@fused
def _gamma_log_prob(value: Operand, concentration: Operand, rate: Operand) -> Tensor:
    powers = concentration.xlogy(rate) + (concentration - 1).xlogy(value)
    return powers - rate * value - concentration.lgamma()


class Gamma(ExponentialFamily):
    """Gamma numbers of shape ``concentration`` and scale 1 / ``rate``."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _parameters = {"concentration": 0, "rate": 0}
    _mean_carrier_measure = 0

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """concentration / rate."""
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        """(concentration - 1) / rate, at least 0."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """concentration / rate^2."""
        return self.concentration / self.rate.square()

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Standard variates over the rate; never 0, whose logarithm has no gradient."""
        shape = self._extended_shape(sample_shape)
        value = ops._standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        value.detach().clamp_(min=finfo(value.dtype).tiny)  # not 0, whose logarithm has no gradient
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """``a log b + (a - 1) log x - b x - log Gamma(a)``."""
        value = ops.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        if self._validate_args:
            self._validate_sample(value)
        return _gamma_log_prob(value, self.concentration, self.rate)

    def cdf(self, value: Tensor) -> Tensor:
        """``P(a, b x)``, the regularized incomplete gamma function."""
        if self._validate_args:
            self._validate_sample(value)
        return ops.igamma(self.concentration, self.rate * value)

    def entropy(self) -> Tensor:
        """``a - log b + log Gamma(a) + (1 - a) psi(a)``."""
        shape = self.concentration
        return shape - self.rate.log() + shape.lgamma() + (1.0 - shape) * shape.digamma()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return (x + 1).lgamma() - (x + 1) * (-y).log()
