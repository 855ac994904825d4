"""Failures before the first success."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.mode import no_grad
from ..dispatch.operator import Operand
from ..dtype_info import finfo
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .bernoulli import Odds, _bernoulli_log_prob
from .distribution import Distribution as Distribution
from .utils import drawn_like, fused

__all__ = ["Geometric"]


@fused
def _geometric_log_prob(value: Operand, probs: Operand) -> Tensor:
    # 0 failures at p = 1 must not become 0 * log(0)
    failing = probs.masked_fill((probs == 1) & (value == 0), 0.0)
    return value * (-failing).log1p() + probs.log()


class Geometric(Odds):
    """The number k = 0, 1, ... of failures before a success of probability ``probs`` (log-odds ``logits``)."""

    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(probs, logits, validate_args)
        if self._validate_args and probs is not None and not (self.probs > 0).all():
            value = self.probs[~(self.probs > 0)]
            raise ValueError(
                f"Expected parameter probs ({type(self.probs).__name__} of shape {tuple(self.probs.shape)}) of "
                f"distribution {self!r} to be positive but found invalid values:\n{value}"
            )

    @property
    def mean(self) -> Tensor:
        """1 / p - 1."""
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        """0."""
        return self.probs.new_zeros(self.probs.shape)

    @property
    def variance(self) -> Tensor:
        """(1 / p - 1) / p."""
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Numbers of failures before the first success."""
        with no_grad():
            drawn = drawn_like(self.probs, self._extended_shape(sample_shape))
            drawn.uniform_(finfo(self.probs.dtype).tiny, 1)
            return (drawn.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        """``x log(1 - p) + log p``."""
        if self._validate_args:
            self._validate_sample(value)
        return _geometric_log_prob(value, self.probs)

    def entropy(self) -> Tensor:
        """That of one trial, over p."""
        return -_bernoulli_log_prob(self.probs, self.logits) / self.probs
