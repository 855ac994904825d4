"""Normal vectors whose covariance is a diagonal and a product of low rank."""

from __future__ import annotations

from collections.abc import Sequence

from .. import ops
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from ._parameters import batch_mahalanobis, batch_mv
from .distribution import Distribution
from .utils import HALF_LOG_2PI, _standard_normal, lazy_property

__all__ = ["LowRankMultivariateNormal"]


def _capacitance_factor(factor: Tensor, diagonal: Tensor) -> Tensor:
    """The Cholesky factor of I + W' D^-1 W."""
    rank = factor.shape[-1]
    scaled = factor.mT / diagonal.unsqueeze(-2)
    eye = ops.eye(rank, dtype=factor.dtype, device=factor.device)
    return ops.linalg_cholesky(scaled @ factor + eye)


def log_det(factor: Tensor, diagonal: Tensor, capacitance: Tensor) -> Tensor:
    """log det(W W' + D), by the matrix determinant lemma."""
    return 2 * capacitance.diagonal(dim1=-2, dim2=-1).log().sum(-1) + diagonal.log().sum(-1)


def mahalanobis(factor: Tensor, diagonal: Tensor, off: Tensor, capacitance: Tensor) -> Tensor:
    """``x' (W W' + D)^-1 x``, by the Woodbury identity."""
    scaled = factor.mT / diagonal.unsqueeze(-2)
    return (off.square() / diagonal).sum(-1) - batch_mahalanobis(capacitance, batch_mv(scaled, off))


class LowRankMultivariateNormal(Distribution):
    """Normal vectors of mean ``loc`` and covariance W W' + D: W is ``cov_factor``, ``cov_diag`` the diagonal of D."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True
    _parameters = {"loc": 1, "cov_diag": 1, "cov_factor": 2}

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2:-1] != event:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if cov_diag.shape[-1:] != event:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        try:
            batch = ops.broadcast_shapes(loc.shape[:-1], cov_diag.shape[:-1], cov_factor.shape[:-2])
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from error
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        self._capacitance_tril = _capacitance_factor(cov_factor, cov_diag)
        self.loc, self.cov_diag = loc.expand((*batch, -1)), cov_diag.expand((*batch, -1))
        self.cov_factor = cov_factor.expand((*batch, -1, -1))
        super().__init__(batch, event, validate_args=validate_args)

    def _expand_more(self, new: LowRankMultivariateNormal, batch_shape: Size) -> None:  # type: ignore[override]
        new._unbroadcasted_cov_factor = self._unbroadcasted_cov_factor
        new._unbroadcasted_cov_diag = self._unbroadcasted_cov_diag
        new._capacitance_tril = self._capacitance_tril

    @property
    def mean(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc

    @lazy_property
    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        found = self._unbroadcasted_cov_factor.square().sum(-1) + self._unbroadcasted_cov_diag
        return found.expand((*self._batch_shape, *self._event_shape))

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        # D^1/2 L of the factor L of I + D^-1/2 W W' D^-1/2, which is well conditioned
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        scaled = self._unbroadcasted_cov_factor / root
        eye = ops.eye(scaled.shape[-2], dtype=scaled.dtype, device=scaled.device)
        return self._spread(root * ops.linalg_cholesky(scaled @ scaled.mT + eye))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """W W' + D."""
        factor = self._unbroadcasted_cov_factor
        return self._spread(factor @ factor.mT + self._unbroadcasted_cov_diag.diag_embed())

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance, by the Woodbury identity."""
        diagonal = self._unbroadcasted_cov_diag
        scaled = self._unbroadcasted_cov_factor.mT / diagonal.unsqueeze(-2)
        part = ops.linalg_solve_triangular(self._capacitance_tril, scaled, upper=False)
        return self._spread(diagonal.reciprocal().diag_embed() - part.mT @ part)

    def _spread(self, matrix: Tensor) -> Tensor:
        return matrix.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``loc + W n + sqrt(D) e`` of standard variates n and e."""
        shape = self._extended_shape(sample_shape)
        low = _standard_normal((*shape[:-1], self.cov_factor.shape[-1]), self.loc.dtype, self.loc.device)
        own = _standard_normal(shape, self.loc.dtype, self.loc.device)
        moved = self.loc + batch_mv(self._unbroadcasted_cov_factor, low)
        return moved + self._unbroadcasted_cov_diag.sqrt() * own

    def _log_det(self) -> Tensor:
        return log_det(self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, self._capacitance_tril)

    def log_prob(self, value: Tensor) -> Tensor:
        """As ``MultivariateNormal``'s, with Woodbury's identity instead of the whole covariance."""
        if self._validate_args:
            self._validate_sample(value)
        parts = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag
        square = mahalanobis(*parts, value - self.loc, self._capacitance_tril)
        return -0.5 * (square + self._log_det()) - self._event_shape[0] * HALF_LOG_2PI

    def entropy(self) -> Tensor:
        """``(k (1 + log(2 pi)) + log det) / 2``."""
        found = self._event_shape[0] * (0.5 + HALF_LOG_2PI) + 0.5 * self._log_det()
        return found.expand(self._batch_shape)
