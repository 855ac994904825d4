"""The continuous Bernoulli distribution (G. Loaiza-Ganem, J. P. Cunningham, 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .bernoulli import Odds, _bernoulli_log_prob
from .exp_family import ExponentialFamily
from .utils import clamp_probs, uniform_like

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Odds, ExponentialFamily):
    """Numbers x from 0 to 1 with a density like p^x (1 - p)^(1 - x).

    Near p = 1/2 (between ``lims``), where the formulas are 0 / 0, Taylor series take their place.
    """

    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        self._lims = lims
        super().__init__(probs, logits, validate_args)
        if self._given == "probs":
            self.probs = clamp_probs(self.probs)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        super()._expand_more(new, batch_shape)
        new._lims = self._lims

    def _apart(self) -> Tensor:
        """Whether p is far enough from 1/2 for the formulas."""
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _safe(self) -> Tensor:
        """p, or the lower limit where it is near 1/2."""
        return ops.where(self._apart(), self.probs, self._lims[0])

    def _log_norm(self) -> Tensor:
        p, off = self._safe(), (self.probs - 0.5).square()
        below, above = ops.where(p <= 0.5, p, 0.0), ops.where(p >= 0.5, p, 1.0)
        width = ops.where(p <= 0.5, (-2.0 * below).log1p(), (2.0 * above - 1.0).log())
        formula = ((-p).log1p() - p.log()).abs().log() - width
        return ops.where(self._apart(), formula, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * off) * off)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        p, off = self._safe(), self.probs - 0.5
        formula = p / (2.0 * p - 1.0) + 1.0 / ((-p).log1p() - p.log())
        return ops.where(self._apart(), formula, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * off.square()) * off)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    @property
    def variance(self) -> Tensor:
        """The variance."""
        p, off = self._safe(), (self.probs - 0.5).square()
        formula = p * (p - 1.0) / (1.0 - 2.0 * p).square() + 1.0 / ((-p).log1p() - p.log()).square()
        return ops.where(self._apart(), formula, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * off) * off)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Numbers in [0, 1], without a gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The quantiles of uniform numbers."""
        return self.icdf(uniform_like(self.probs, self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """``x log p + (1 - x) log(1 - p)`` and the logarithm of the normalizer."""
        if self._validate_args:
            self._validate_sample(value)
        return _bernoulli_log_prob(value, self.logits) + self._log_norm()

    def cdf(self, value: Tensor) -> Tensor:
        """``(p**x (1 - p)**(1 - x) + p - 1) / (2 p - 1)``; x where p is about 1/2."""
        if self._validate_args:
            self._validate_sample(value)
        p = self._safe()
        formula = (p.pow(value) * (1.0 - p).pow(1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        return ops.where(value <= 0, 0.0, ops.where(value >= 1, 1.0, ops.where(self._apart(), formula, value)))

    def icdf(self, value: Tensor) -> Tensor:
        """The x with that ``cdf``."""
        p = self._safe()
        formula = ((-p + value * (2.0 * p - 1.0)).log1p() - (-p).log1p()) / (p.log() - (-p).log1p())
        return ops.where(self._apart(), formula, value)

    def entropy(self) -> Tensor:
        """``-E[log_prob]``, from the mean."""
        failing = (-self.probs).log1p()
        return self.mean * (failing - self.probs.log()) - self._log_norm() - failing

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        apart = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        safe = ops.where(apart, x, self._lims[0] - 0.5)
        formula = (safe.expm1() / safe).log()
        return ops.where(apart, formula, 0.5 * x + x.square() / 24.0 - x.pow(4) / 2880.0)
