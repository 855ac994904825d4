"""The Kumaraswamy distribution."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..tensor import Tensor
from . import constraints
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform
from .uniform import Uniform
from .utils import broadcast_all, euler_constant, fused

__all__ = ["Kumaraswamy"]


@fused
def _kumaraswamy_moment(a: Operand, b: Operand, n: int) -> Tensor:
    arg = 1 + n / a
    return b * (arg.lgamma() + b.lgamma() - (arg + b).lgamma()).exp()


class Kumaraswamy(TransformedDistribution):
    """Numbers from 0 to 1 whose distribution function is 1 - (1 - x^a)^b with ``concentration1`` a and
    ``concentration0`` b."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    _parameters = {"concentration1": 0, "concentration0": 0}

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        base = Uniform(
            ops.full_like(self.concentration0, 0.0),
            ops.full_like(self.concentration0, 1.0),
            validate_args=validate_args,
        )
        maps = [
            PowerTransform(self.concentration0.reciprocal()),
            AffineTransform(1.0, -1.0),
            PowerTransform(self.concentration1.reciprocal()),
        ]
        super().__init__(base, maps, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        return _kumaraswamy_moment(self.concentration1, self.concentration0, n)

    @property
    def mean(self) -> Tensor:
        """b B(1 + 1 / a, b)."""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """((a - 1) / (a b - 1))^(1 / a); NaN where a or b is below 1."""
        a, b = self.concentration1, self.concentration0
        mode = ((-a.reciprocal()).log1p() - (-(a * b).reciprocal()).log1p() - b.log()) / a
        return mode.exp().masked_fill((a < 1) | (b < 1), float("nan"))

    @property
    def variance(self) -> Tensor:
        """The second moment without the mean squared."""
        return self._moment(2) - self._moment(1).square()

    def entropy(self) -> Tensor:
        """``1 - 1/b + (1 - 1/a) H_b - log(a b)`` with the harmonic number H_b."""
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + euler_constant
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()
