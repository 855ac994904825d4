"""The Gumbel distribution of maxima."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..dtype_info import finfo
from ..tensor import Tensor
from . import constraints
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, ExpTransform
from .uniform import Uniform
from .utils import broadcast_all, euler_constant, fused

__all__ = ["Gumbel"]


@fused
def _gumbel_log_prob(value: Operand, loc: Operand, scale: Operand) -> Tensor:
    off = (loc - value) / scale
    return off - off.exp() - scale.log()


class Gumbel(TransformedDistribution):
    """``loc`` - ``scale`` log(-log u) of uniform numbers u."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    _parameters = {"loc": 0, "scale": 0}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        info = finfo(self.loc.dtype)
        low = ops.full_like(self.loc, info.tiny)
        base = Uniform(low, ops.full_like(self.loc, 1 - info.eps), validate_args=validate_args)
        maps = [
            ExpTransform().inv,
            AffineTransform(0, -ops.ones_like(self.scale)),
            ExpTransform().inv,
            AffineTransform(self.loc, -self.scale),
        ]
        super().__init__(base, maps, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """``y - exp(y) - log(scale)`` with ``y = (loc - x) / scale``."""
        if self._validate_args:
            self._validate_sample(value)
        return _gumbel_log_prob(value, self.loc, self.scale)

    @property
    def mean(self) -> Tensor:
        """loc + scale times Euler's constant."""
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """scale pi / sqrt(6)."""
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        """(scale pi)^2 / 6."""
        return self.stddev.square()

    def entropy(self) -> Tensor:
        """``log(scale) + 1 + gamma`` with Euler's constant."""
        return self.scale.log() + (1 + euler_constant)
