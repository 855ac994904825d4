"""The Dirichlet distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd import Function
from ..autograd.function import once_differentiable
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .exp_family import ExponentialFamily

__all__ = ["Dirichlet"]


def _moved(x: Tensor, concentration: Tensor, grad: Tensor) -> Tensor:
    """The gradient by the concentrations: a share moves with its own, at the cost of all others in proportion."""
    total = concentration.sum(-1, True).expand_as(concentration)
    slope = ops._dirichlet_grad(x, concentration, total)
    return slope * (grad - (x * grad).sum(-1, True))


class _Drawn(Function):
    """Dirichlet numbers, differentiable by their concentrations (implicit reparameterisation, M. Figurnov, S. Mohamed,
    A. Mnih, 2018)."""

    @staticmethod
    def forward(ctx: Any, concentration: Tensor) -> Tensor:
        x = ops._sample_dirichlet(concentration)
        ctx.save_for_backward(x, concentration)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _moved(*ctx.saved_tensors, grad)


class Dirichlet(ExponentialFamily):
    """Shares of a whole, with concentrations along the last dimension."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    _parameters = {"concentration": 1}
    _mean_carrier_measure = 0

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Concentrations over their sum."""
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Tensor:
        """(concentration - 1) over the sum of these; the largest concentration's corner where all are below 1."""
        less = (self.concentration - 1).clamp(min=0.0)
        mode = less / less.sum(-1, True)
        flat = (self.concentration < 1).all(-1, True)
        largest = ops.one_hot(self.concentration.argmax(-1), self._event_shape[0])
        return ops.where(flat, largest.to(mode.dtype), mode) if bool(flat.any()) else mode

    @property
    def variance(self) -> Tensor:
        """a (s - a) / (s^2 (s + 1)) with the sum s."""
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.square() * (total + 1))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Gamma variates over their sum, differentiable by the concentration."""
        return _Drawn.apply(self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """``sum (a - 1) log x - log B(a)``."""
        if self._validate_args:
            self._validate_sample(value)
        shape = self.concentration
        return (shape - 1).xlogy(value).sum(-1) + shape.sum(-1).lgamma() - shape.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        """``log B(a) - (n - A) psi(A) - sum (a - 1) psi(a)`` with ``A = sum a``."""
        shape, n = self.concentration, self._event_shape[0]
        total = shape.sum(-1)
        normalizer = shape.lgamma().sum(-1) - total.lgamma()
        return normalizer - (n - total) * total.digamma() - ((shape - 1.0) * shape.digamma()).sum(-1)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.concentration,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.lgamma().sum(-1) - x.sum(-1).lgamma()
