"""The Wishart distribution of positive definite matrices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Number
from typing import Any

from .. import ops
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from ._parameters import Matrices
from .exp_family import ExponentialFamily
from .gamma import Gamma

__all__ = ["Wishart"]


def _multi_digamma(x: Tensor, p: int) -> Tensor:
    """The derivative of the logarithm of the multivariate gamma function."""
    return (x.unsqueeze(-1) - ops.arange(p, dtype=x.dtype, device=x.device) / 2).digamma().sum(-1)


class Wishart(Matrices, ExponentialFamily):
    """Sums of ``df`` products x x' of normal vectors, with one of: the covariance, its inverse, its Cholesky factor.

    Raises ValueError for df up to n - 1.
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _parameters = {"df": 0, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2}

    def __init__(
        self,
        df: Any,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, value = self._matrix(covariance_matrix, precision_matrix, scale_tril)
        n = value.shape[-1]
        df = ops.tensor(df, dtype=value.dtype, device=value.device) if isinstance(df, Number) else df
        batch = ops.broadcast_shapes(value.shape[:-2], df.shape)
        self.df = df.expand(batch)
        self.__dict__[name] = value.expand((*batch, n, n))
        if bool((self.df <= n - 1).any()):
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        super().__init__(batch, (n, n), validate_args=validate_args)
        if bool((self.df < n).any()):
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        self._factorise(name, value)
        self._chi2 = self._columns()

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Matrices are positive definite, ``df`` is greater than n - 1."""
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self._event_shape[-1] - 1),
        }

    def _columns(self) -> Gamma:
        """The squares on the diagonal of the standard factor: chi-squared of df, df - 1, ... degrees."""
        n = self._event_shape[-1]
        less = ops.arange(n, dtype=self.df.dtype, device=self.df.device)
        return Gamma(0.5 * (self.df.unsqueeze(-1) - less), 0.5)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        super()._expand_more(new, batch_shape)
        new._chi2 = self._chi2.expand((*batch_shape, self._event_shape[-1]))

    @property
    def mean(self) -> Tensor:
        """df V."""
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """(df - n - 1) V; NaN where that is not positive definite."""
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        return factor.masked_fill(factor <= 0, float("nan"))[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        """df (V_ij^2 + V_ii V_jj)."""
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v.square() + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _drawn(self, sample_shape: Sequence[int]) -> Tensor:
        """One try (M. S. Bartlett, On the theory of statistical regression, 1933)."""
        n = self._event_shape[-1]
        factor = self._chi2.rsample(sample_shape).sqrt().diag_embed()
        rows, columns = ops.tril_indices(n, n, -1, device=factor.device)
        below = (*sample_shape, *self._batch_shape, n * (n - 1) // 2)
        factor[..., rows, columns] = ops.randn(below, dtype=factor.dtype, device=factor.device)
        factor = self._unbroadcasted_scale_tril @ factor
        return factor @ factor.mT

    def rsample(self, sample_shape: Sequence[int] = Size(), max_try_correction: int | None = None) -> Tensor:
        """Samples; those that rounding makes singular are drawn again, at most ``max_try_correction`` times."""
        if max_try_correction is None:
            max_try_correction = 3 if bool(self.df.max() > 100) else 10
        sample_shape = Size(sample_shape)
        found = self._drawn(sample_shape)
        for _ in range(max_try_correction):
            singular = ~self.support.check(found)
            if not singular.any():
                return found
            warnings.warn("Singular sample detected.", stacklevel=2)
            found = ops.where(singular[..., None, None], self._drawn(sample_shape), found)
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of positive definite matrices."""
        if self._validate_args:
            self._validate_sample(value)
        n, df = self._event_shape[-1], self.df
        solved = ops.cholesky_solve(value, self._unbroadcasted_scale_tril)
        return (
            -df * (n * math.log(2) / 2 + self._half_log_det())
            - ops.mvlgamma(df / 2, n)
            + (df - n - 1) / 2 * ops.linalg_slogdet(value).logabsdet
            - solved.diagonal(dim1=-2, dim2=-1).sum(-1) / 2
        )

    def entropy(self) -> Tensor:
        """``-E[log_prob]``, with the multivariate gamma and digamma functions."""
        n, half = self._event_shape[-1], self.df / 2
        return (
            (n + 1) * (n * math.log(2) / 2 + self._half_log_det())
            + ops.mvlgamma(half, n)
            - (self.df - n - 1) / 2 * _multi_digamma(half, n)
            + n * half
        )

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return -self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        n = self._event_shape[-1]
        half = y + (n + 1) / 2
        return half * (n * math.log(2) - ops.linalg_slogdet(-2 * x).logabsdet) + ops.mvlgamma(half, n)
