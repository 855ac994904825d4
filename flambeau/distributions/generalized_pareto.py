"""The generalised Pareto distribution of excesses over a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, fused, uniform_like

__all__ = ["GeneralizedPareto"]


@fused
def _generalized_pareto_log_survival(value: Operand, loc: Operand, scale: Operand, shape: Operand) -> Tensor:
    z = (value - loc) / scale
    flat = shape == 0
    safe = shape.masked_fill(flat, 1.0)
    return ops.where(flat, -z, -(shape * z).clamp(min=-1).log1p() / safe)


class GeneralizedPareto(Distribution):
    """What exceeds ``loc``: 1 - (1 + k z)^(-1 / k) of z = (x - loc) / ``scale`` with k the ``concentration``:
    exponential where that is 0."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True
    _parameters = {"loc": 0, "scale": 0, "concentration": 0}

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From the location on; to loc - scale / concentration if that is negative."""
        end = self.loc - self.scale / self.concentration
        return constraints.interval(self.loc, end.masked_fill(self.concentration >= 0, float("inf")))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The quantiles of uniform numbers."""
        return self.icdf(uniform_like(self.loc, self._extended_shape(sample_shape)))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of more than ``value``."""
        if self._validate_args:
            self._validate_sample(value)
        return _generalized_pareto_log_survival(value, self.loc, self.scale, self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        """``(1 + k) log S(x) - log(scale)`` with the survival function S."""
        # the density is the survival function to the power 1 + concentration, over the scale
        return (1 + self.concentration) * self.log_survival_function(value) - self.scale.log()

    def log_cdf(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of at most ``value``."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """``1 - (1 + k z)**(-1/k)`` with ``z = (x - loc) / scale``."""
        return self.log_cdf(value).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """``loc + scale ((1 - p)**-k - 1) / k``, with its limit for k = 0."""
        flat = self.concentration == 0
        k = self.concentration.masked_fill(flat, 1.0)
        left = (-value).log1p()
        return self.loc + self.scale * ops.where(flat, -left, (-k * left).expm1() / k)

    def _where(self, bound: float, formula: Tensor) -> Tensor:
        """A moment that is infinite from some concentration on."""
        return formula.masked_fill(self.concentration >= bound, float("inf"))

    @property
    def mean(self) -> Tensor:
        """loc + scale / (1 - k), infinite for k from 1 on."""
        return self._where(1.0, self.loc + self.scale / (1 - self.concentration))

    @property
    def variance(self) -> Tensor:
        """scale^2 / ((1 - k)^2 (1 - 2 k)), infinite for k from 1/2 on."""
        k = self.concentration
        return self._where(0.5, self.scale.square() / ((1 - k).square() * (1 - 2 * k)))

    def entropy(self) -> Tensor:
        """``log(scale) + k + 1``."""
        return (self.scale.log() + self.concentration + 1).expand(self._batch_shape)

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc
