"""The exponential distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .exp_family import ExponentialFamily
from .utils import broadcast_all, drawn_like, fused

__all__ = ["Exponential"]


@fused
def _exponential_log_prob(value: Operand, rate: Operand) -> Tensor:
    return rate.log() - rate * value


@fused
def _exponential_cdf(value: Operand, rate: Operand) -> Tensor:
    return -(-rate * value).expm1()


@fused
def _exponential_icdf(value: Operand, rate: Operand) -> Tensor:
    return -(-value).log1p() / rate


class Exponential(ExponentialFamily):
    """The time to an event that comes ``rate`` times in a unit of time."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _parameters = {"rate": 0}
    _mean_carrier_measure = 0

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """0."""
        return ops.zeros_like(self.rate)

    @property
    def stddev(self) -> Tensor:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """1 / rate^2."""
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Standard variates over the rate."""
        return drawn_like(self.rate, self._extended_shape(sample_shape)).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """``log(rate) - rate x``."""
        if self._validate_args:
            self._validate_sample(value)
        return _exponential_log_prob(value, self.rate)

    def cdf(self, value: Tensor) -> Tensor:
        """``1 - exp(-rate x)``."""
        if self._validate_args:
            self._validate_sample(value)
        return _exponential_cdf(value, self.rate)

    def icdf(self, value: Tensor) -> Tensor:
        """``-log(1 - p) / rate``."""
        return _exponential_icdf(value, self.rate)

    def entropy(self) -> Tensor:
        """``1 - log(rate)``."""
        return 1.0 - self.rate.log()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (-self.rate,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return -(-x).log()
