"""The multivariate normal distribution."""

from __future__ import annotations

from collections.abc import Sequence

from .. import ops
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from ._parameters import Matrices, batch_mahalanobis, batch_mv
from .distribution import Distribution as Distribution
from .utils import HALF_LOG_2PI, _standard_normal

__all__ = ["MultivariateNormal"]


class MultivariateNormal(Matrices):
    """Normal vectors of mean ``loc``, with one of: the covariance, its inverse, its Cholesky factor."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    _parameters = {"loc": 1, "covariance_matrix": 2, "precision_matrix": 2, "scale_tril": 2}

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, value = self._matrix(covariance_matrix, precision_matrix, scale_tril)
        batch = ops.broadcast_shapes(value.shape[:-2], loc.shape[:-1])
        self.__dict__[name] = value.expand((*batch, -1, -1))
        self.loc = loc.expand((*batch, -1))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._factorise(name, value)

    @property
    def mean(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        found = self._unbroadcasted_scale_tril.square().sum(-1)
        return found.expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + L n`` of standard variates n, L the Cholesky factor."""
        drawn = _standard_normal(self._extended_shape(sample_shape), self.loc.dtype, self.loc.device)
        return self.loc + batch_mv(self._unbroadcasted_scale_tril, drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        """``-(m + k log(2 pi) + log det) / 2`` with the squared Mahalanobis distance m."""
        if self._validate_args:
            self._validate_sample(value)
        square = batch_mahalanobis(self._unbroadcasted_scale_tril, value - self.loc)
        return -0.5 * square - self._event_shape[0] * HALF_LOG_2PI - self._half_log_det()

    def entropy(self) -> Tensor:
        """``(k (1 + log(2 pi)) + log det) / 2``."""
        found = self._event_shape[0] * (0.5 + HALF_LOG_2PI) + self._half_log_det()
        return found.expand(self._batch_shape)
