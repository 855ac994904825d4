"""Parameters that can be given in several forms: probabilities or logits, and the spread of vectors and matrices."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits

__all__ = ["LocScale", "Matrices", "ProbsOrLogits", "batch_mahalanobis", "batch_mv"]


class LocScale(Distribution):
    """A distribution of real numbers of a standard shape, moved by ``loc`` and widened by ``scale``."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = {"loc": 0, "scale": 0}

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The location."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location."""
        return self.loc


class ProbsOrLogits(Distribution):
    """A distribution given by probabilities or by logits; the other form is computed when it is asked for.

    They are ``_binary`` (log-odds), or normalised along a last dimension.
    """

    _binary = True
    _given: str

    def _take(self, probs: Any, logits: Any) -> None:
        """Keeps the one of both that is not None; raises ValueError unless it is exactly one."""
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        self._given = "probs" if logits is None else "logits"
        value = logits if probs is None else probs
        if not self._binary:
            if value.dim() < 1:
                raise ValueError(f"`{self._given}` parameter must be at least one-dimensional.")
            value = value / value.sum(-1, keepdim=True) if logits is None else value - value.logsumexp(-1, keepdim=True)
        self.__dict__[self._given] = value

    @property
    def _param(self) -> Tensor:
        """The form that was given."""
        return self.__dict__[self._given]

    @lazy_property
    def logits(self) -> Tensor:
        """Log-odds, or logarithms of the probabilities."""
        return probs_to_logits(self.probs, is_binary=self._binary)

    @lazy_property
    def probs(self) -> Tensor:
        """Probabilities."""
        return logits_to_probs(self.logits, is_binary=self._binary)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._param.shape

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._given = self._given


def batch_mv(matrix: Tensor, vector: Tensor) -> Tensor:
    """(..., n, m) matrices times (..., m) vectors."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def batch_mahalanobis(factor: Tensor, vector: Tensor) -> Tensor:
    """``x' (L L')^-1 x`` for (..., n, n) lower triangular factors and (..., n) vectors, of any batch dimensions.

    Factors that stand for many vectors are solved with all of them at once.
    """
    n = factor.shape[-1]
    batch = ops.broadcast_shapes(factor.shape[:-2], vector.shape[:-1])
    shared = len(batch) - (factor.dim() - 2)
    if shared > 0 and tuple(batch[shared:]) == tuple(factor.shape[:-2]):
        columns = vector.expand((*batch, n)).reshape((-1, *batch[shared:], n)).movedim(0, -1)
        solved = ops.linalg_solve_triangular(factor, columns, upper=False)
        return solved.square().sum(-2).movedim(-1, 0).reshape(batch)
    solved = ops.linalg_solve_triangular(factor, vector.unsqueeze(-1), upper=False)
    return solved.square().sum((-2, -1))


class Matrices(Distribution):
    """A distribution with a positive definite matrix, given as such, as its inverse, or as its Cholesky factor."""

    _unbroadcasted_scale_tril: Tensor

    def _matrix(self, covariance_matrix: Any, precision_matrix: Any, scale_tril: Any) -> tuple[str, Tensor]:
        """(name, value) of the one that is given; ValueError unless it is exactly one, of two or more dimensions."""
        forms = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = [(name, value) for name, value in forms.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified; got "
                f"{[name for name, _ in given] or 'none'}."
            )
        name, value = given[0]
        if value.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        return name, value

    def _factorise(self, name: str, value: Tensor) -> None:
        """Keeps the Cholesky factor of the covariance as it was given, without the batch dimensions of others."""
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = value
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = ops.linalg_cholesky(value)
        else:
            # L of the inverse: the factor of the matrix in opposite order, inverted (no inverse of the whole)
            flipped = ops.linalg_cholesky(value.flip((-2, -1)))
            lower = flipped.flip((-2, -1)).mT
            eye = ops.eye(value.shape[-1], dtype=value.dtype, device=value.device)
            self._unbroadcasted_scale_tril = ops.linalg_solve_triangular(lower, eye, upper=False)

    def _whole(self) -> Any:
        return (*self._batch_shape, *self._event_shape[:1], *self._event_shape[:1])

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower triangular factor L of the covariance L L'."""
        return self._unbroadcasted_scale_tril.expand(self._whole())

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """L L'."""
        factor = self._unbroadcasted_scale_tril
        return (factor @ factor.mT).expand(self._whole())

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return ops.cholesky_inverse(self._unbroadcasted_scale_tril).expand(self._whole())

    def _half_log_det(self) -> Tensor:
        """Half the logarithm of the determinant of the covariance."""
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
