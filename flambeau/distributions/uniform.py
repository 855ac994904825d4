"""The uniform distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, fused, uniform_like

__all__ = ["Uniform"]


@fused
def _uniform_log_prob(value: Operand, low: Operand, high: Operand) -> Tensor:
    return ((low <= value) & (value < high)).to(low.dtype).log() - (high - low).log()


@fused
def _uniform_cdf(value: Operand, low: Operand, high: Operand) -> Tensor:
    return ((value - low) / (high - low)).clamp(0, 1)


class Uniform(Distribution):
    """Numbers from ``low`` up to and without ``high``, all as likely."""

    has_rsample = True
    _parameters = {"low": 0, "high": 0}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Each bound is on its side of the other."""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """The interval."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """The middle."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """NaN: all are as likely."""
        return float("nan") * self.high

    @property
    def stddev(self) -> Tensor:
        """(high - low) / sqrt(12)."""
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self) -> Tensor:
        """(high - low)^2 / 12."""
        return (self.high - self.low).square() / 12

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``low + u (high - low)``."""
        return self.low + uniform_like(self.low, self._extended_shape(sample_shape)) * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-log(high - low)`` in [low, high), -inf elsewhere."""
        if self._validate_args:
            self._validate_sample(value)
        return _uniform_log_prob(value, self.low, self.high)

    def cdf(self, value: Tensor) -> Tensor:
        """``(x - low) / (high - low)``, clamped to [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        return _uniform_cdf(value, self.low, self.high)

    def icdf(self, value: Tensor) -> Tensor:
        """``low + p (high - low)``."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """``log(high - low)``."""
        return (self.high - self.low).log()
