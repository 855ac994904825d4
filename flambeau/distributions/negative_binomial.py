"""Successes before a number of failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .binomial import CountedOdds
from .distribution import Distribution as Distribution
from .gamma import Gamma
from .utils import fused, lazy_property, softplus

__all__ = ["NegativeBinomial"]


@fused
def _negative_binomial_log_prob(value: Operand, total_count: Operand, logits: Operand) -> Tensor:
    ways = (total_count + value).lgamma() - (value + 1).lgamma() - total_count.lgamma()
    odds = -total_count * softplus(logits) - value * softplus(-logits)
    return odds + ways.masked_fill(total_count + value == 0, 0.0)


class NegativeBinomial(CountedOdds):
    """Successes of probability ``probs`` (log-odds ``logits``) before ``total_count`` failures."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)

    @property
    def mean(self) -> Tensor:
        """n p / (1 - p)."""
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """(n - 1) p / (1 - p) rounded down, at least 0."""
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        """mean / (1 - p)."""
        return self.mean / (-self.logits).sigmoid()

    @lazy_property
    def _gamma(self) -> Gamma:
        """The rates of the Poisson numbers that make the samples."""
        return Gamma(self.total_count, (-self.logits).exp(), validate_args=False)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Poisson variates with gamma variates as their rates."""
        with no_grad():
            return ops.poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of x successes before the last of total_count failures."""
        if self._validate_args:
            self._validate_sample(value)
        return _negative_binomial_log_prob(value, self.total_count, self.logits)
