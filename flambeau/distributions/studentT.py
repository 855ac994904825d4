"""Student's t distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .chi2 import Chi2
from .distribution import Distribution
from .utils import _standard_normal, broadcast_all, fused

__all__ = ["StudentT"]


@fused
def _student_t_log_prob(value: Operand, df: Operand, loc: Operand, scale: Operand) -> Tensor:
    off = (value - loc) / scale
    normalizer = scale.log() + 0.5 * (math.pi * df).log() + (0.5 * df).lgamma() - (0.5 * (df + 1)).lgamma()
    return -0.5 * (df + 1) * (off.square() / df).log1p() - normalizer


class StudentT(Distribution):
    """A normal number over the root of Chi2(df) / df, times ``scale``, about ``loc``."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = {"df": 0, "loc": 0, "scale": 0}

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.shape, validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._chi2 = self._chi2.expand(batch_shape)

    @property
    def mean(self) -> Tensor:
        """The location; NaN for df up to 1."""
        return self.loc.masked_fill(self.df <= 1, float("nan"))

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale^2 df / (df - 2); infinite for df up to 2, NaN up to 1."""
        found = self.scale.square() * self.df / (self.df - 2)
        return found.masked_fill(self.df <= 2, float("inf")).masked_fill(self.df <= 1, float("nan"))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + scale n / sqrt(c / df)`` of a normal n and a chi-squared c."""
        drawn = _standard_normal(self._extended_shape(sample_shape), self.df.dtype, self.df.device)
        return self.loc + self.scale * (drawn * ops.rsqrt(self._chi2.rsample(sample_shape) / self.df))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density at ``(x - loc) / scale``, less log(scale)."""
        if self._validate_args:
            self._validate_sample(value)
        return _student_t_log_prob(value, self.df, self.loc, self.scale)

    def entropy(self) -> Tensor:
        """``log(scale) + (df+1)/2 (psi((df+1)/2) - psi(df/2)) + log(df)/2 + log B(df/2, 1/2)``."""
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        log_beta = half.lgamma() + math.lgamma(0.5) - more.lgamma()
        return self.scale.log() + more * (more.digamma() - half.digamma()) + 0.5 * self.df.log() + log_beta
