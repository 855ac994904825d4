"""The F distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dispatch.operator import Operand
from ..dtype_info import finfo
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .gamma import Gamma
from .utils import broadcast_all, fused

__all__ = ["FisherSnedecor"]


@fused
def _fisher_snedecor_log_prob(value: Operand, df1: Operand, df2: Operand) -> Tensor:
    half1, half2, ratio = df1 * 0.5, df2 * 0.5, df1 / df2
    normalizer = half1.lgamma() + half2.lgamma() - (half1 + half2).lgamma()
    return half1 * ratio.log() + (half1 - 1) * value.log() - (half1 + half2) * (ratio * value).log1p() - normalizer


class FisherSnedecor(Distribution):
    """The quotient of Chi2(df1) / df1 and Chi2(df2) / df2."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True
    _parameters = {"df1": 0, "df2": 0}

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        self._gamma1, self._gamma2 = Gamma(self.df1 * 0.5, self.df1), Gamma(self.df2 * 0.5, self.df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._gamma1, new._gamma2 = self._gamma1.expand(batch_shape), self._gamma2.expand(batch_shape)

    @property
    def mean(self) -> Tensor:
        """df2 / (df2 - 2); NaN for df2 up to 2."""
        return self.df2.masked_fill(self.df2 <= 2, float("nan")) / (self.df2 - 2)

    @property
    def mode(self) -> Tensor:
        """(df1 - 2) / df1 * df2 / (df2 + 2); NaN for df1 up to 2."""
        mode = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return mode.masked_fill(self.df1 <= 2, float("nan"))

    @property
    def variance(self) -> Tensor:
        """2 df2^2 (df1 + df2 - 2) / (df1 (df2 - 2)^2 (df2 - 4)); NaN for df2 up to 4."""
        df2 = self.df2.masked_fill(self.df2 <= 4, float("nan"))
        return 2 * df2.square() * (self.df1 + df2 - 2) / (self.df1 * (df2 - 2).square() * (df2 - 4))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The ratio of two gamma variates."""
        tiny = finfo(self.df2.dtype).tiny
        above, below = self._gamma1.rsample(sample_shape), self._gamma2.rsample(sample_shape)
        return (above / below.clamp(min=tiny)).clamp(min=tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of F(df1, df2)."""
        if self._validate_args:
            self._validate_sample(value)
        return _fisher_snedecor_log_prob(value, self.df1, self.df2)
