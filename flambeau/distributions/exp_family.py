"""Exponential families, whose entropy and divergence follow from their normaliser."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..autograd import grad
from ..autograd.mode import enable_grad
from ..tensor import Tensor
from .distribution import Distribution
from .utils import _sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A density ``exp(<t(x), p> - F(p) + k(x))`` with natural parameters ``p`` and log-normaliser ``F``.

    A subclass gives ``_natural_params``, ``_log_normalizer(*p)`` and ``_mean_carrier_measure``, the mean of ``k(x)``.
    """

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def _statistics(self) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
        """(natural parameters, log-normaliser, its gradient by them: the means of t(x))."""
        with enable_grad():
            params = [p.detach().requires_grad_() for p in self._natural_params]
            normalizer = self._log_normalizer(*params)
            return params, normalizer, grad(normalizer.sum(), params, create_graph=True)

    def entropy(self) -> Tensor:
        """``F(p) - <p, F'(p)> - mean k(x)`` (F. Nielsen, R. Nock, Entropies and cross-entropies of exponential
        families, 2010), by differentiating ``F``."""
        params, normalizer, means = self._statistics()
        inner: Any = sum(
            _sum_rightmost(p * m, p.dim() - normalizer.dim()) if len(self._event_shape) else p * m
            for p, m in zip(params, means)
        )
        return normalizer - inner - ops.as_tensor(self._mean_carrier_measure)
