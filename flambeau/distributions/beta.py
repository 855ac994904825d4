"""The beta distribution."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .utils import broadcast_all, fused

__all__ = ["Beta"]


@fused
def _beta_log_prob(value: Operand, concentration1: Operand, concentration0: Operand) -> Tensor:
    powers = (concentration1 - 1).xlogy(value) + (concentration0 - 1).xlogy(1 - value)
    return powers + (concentration1 + concentration0).lgamma() - concentration1.lgamma() - concentration0.lgamma()


class Beta(ExponentialFamily):
    """Numbers from 0 to 1: the share of the first of two parts with concentrations ``concentration1`` and
    ``concentration0``."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    _parameters = {}
    _mean_carrier_measure = 0

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        if isinstance(concentration1, Real) and isinstance(concentration0, Real):
            both = ops.tensor([float(concentration1), float(concentration0)])
        else:
            both = ops.stack(broadcast_all(concentration1, concentration0), -1)
        self._dirichlet = Dirichlet(both, validate_args=validate_args)
        super().__init__(self._dirichlet._batch_shape, validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._dirichlet = self._dirichlet.expand(batch_shape)

    @property
    def concentration1(self) -> Tensor:
        """The first part's concentration."""
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self) -> Tensor:
        """The second part's concentration."""
        return self._dirichlet.concentration[..., 1]

    @property
    def mean(self) -> Tensor:
        """a / (a + b)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        """(a - 1) / (a + b - 2)."""
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self) -> Tensor:
        """a b / ((a + b)^2 (a + b + 1))."""
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.square() * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """A ratio of gamma variates, differentiable by both concentrations."""
        return self._dirichlet.rsample(sample_shape).select(-1, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        """``(a - 1) log x + (b - 1) log(1 - x) - log B(a, b)``."""
        if self._validate_args:
            self._validate_sample(value)
        return _beta_log_prob(value, self.concentration1, self.concentration0)

    def entropy(self) -> Tensor:
        """That of the Dirichlet distribution of (x, 1 - x)."""
        return self._dirichlet.entropy()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return self.concentration1, self.concentration0

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return x.lgamma() + y.lgamma() - (x + y).lgamma()
