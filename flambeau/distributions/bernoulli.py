"""Success or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from ._parameters import ProbsOrLogits
from .exp_family import ExponentialFamily
from .utils import broadcast_all, fused, softplus

__all__ = ["Bernoulli"]


@fused
def _bernoulli_log_prob(value: Operand, logits: Operand) -> Tensor:
    return value * logits - softplus(logits)


class Odds(ProbsOrLogits):
    """A distribution of one probability or log-odds, which may be a number."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    _parameters = {"probs": 0, "logits": 0}

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take(
            None if probs is None else broadcast_all(probs)[0], None if logits is None else broadcast_all(logits)[0]
        )
        super().__init__(self._param.shape, validate_args=validate_args)


class Bernoulli(Odds, ExponentialFamily):
    """1 with probability ``probs`` (log-odds ``logits``), else 0."""

    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(probs, logits, validate_args)

    @property
    def mean(self) -> Tensor:
        """p."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """1 for p over a half, 0 below; NaN at a half."""
        mode = (self.probs >= 0.5).to(self.probs)
        return mode.masked_fill(self.probs == 0.5, float("nan"))

    @property
    def variance(self) -> Tensor:
        """p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """0 or 1, in ``sample_shape`` and the batch's."""
        with no_grad():
            return ops.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """``x log p + (1 - x) log(1 - p)``."""
        if self._validate_args:
            self._validate_sample(value)
        return _bernoulli_log_prob(value, self.logits)

    def entropy(self) -> Tensor:
        """``-p log p - (1 - p) log(1 - p)``."""
        return -_bernoulli_log_prob(self.probs, self.logits)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1, along a new first dimension."""
        return self._enumerated(ops.arange(2, dtype=self._param.dtype, device=self._param.device), expand)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return softplus(x)
