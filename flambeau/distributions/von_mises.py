"""The von Mises distribution of angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..dispatch.operator import Operand
from ..dtype import bool_, float64
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, fused, lazy_property

__all__ = ["VonMises"]


@fused
def _von_mises_log_prob(value: Operand, loc: Operand, concentration: Operand) -> Tensor:
    # log I0(k) = log(e^-k I0(k)) + k, of which the scaled function does not overflow
    log_bessel = ops.i0e(concentration).log() + concentration
    return concentration * (value - loc).cos() - math.log(2 * math.pi) - log_bessel


class VonMises(Distribution):
    """Angles around ``loc``, as normal ones of variance 1 / ``concentration`` if that is large."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False
    _parameters = {"loc": 0, "concentration": 0}

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The circular mean: the location."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The circular variance 1 - I1(k) / I0(k)."""
        return 1 - ops.i1e(self.concentration) / ops.i0e(self.concentration)

    def _envelope(self) -> Tensor:
        """The parameter of the wrapped Cauchy distribution from which proposals are drawn."""
        k = self.concentration.to(float64)
        tau = 1 + (1 + 4 * k.square()).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * k)
        exact = (1 + rho.square()) / (2 * rho)
        return ops.where(k < 1e-5, 1 / k + k, exact)  # where the formula would cancel, its series

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Samples by rejection (D. J. Best, N. I. Fisher, Efficient simulation of the von Mises distribution, 1979)."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            r, k, loc = self._envelope(), self.concentration.to(float64), self.loc.to(float64)
            found = ops.empty(shape, dtype=float64, device=self.loc.device)
            done = ops.zeros(shape, dtype=bool_, device=self.loc.device)
            while not done.all():
                u1, u2, u3 = ops.rand((3, *shape), dtype=float64, device=self.loc.device).unbind()
                z = (math.pi * u1).cos()
                f = (1 + r * z) / (r + z)
                c = k * (r - f)
                taken = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
                if taken.any():
                    found = ops.where(taken, (u3 - 0.5).sign() * f.acos(), found)
                    done = done | taken
            return ((found + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """``k cos(x - loc) - log(2 pi I0(k))``."""
        if self._validate_args:
            self._validate_sample(value)
        return _von_mises_log_prob(value, self.loc, self.concentration)
