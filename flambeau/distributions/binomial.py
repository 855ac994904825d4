"""Successes among a number of trials."""

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
from .distribution import Distribution as Distribution
from .utils import broadcast_all, fused, softplus

__all__ = ["Binomial"]


@fused
def _binomial_log_prob(value: Operand, total_count: Operand, logits: Operand) -> Tensor:
    ways = (total_count + 1).lgamma() - (value + 1).lgamma() - (total_count - value + 1).lgamma()
    return ways + value * logits - total_count * softplus(logits)


class CountedOdds(ProbsOrLogits):
    """A distribution of a number of trials and a probability or log-odds, of one shape."""

    _parameters = {"total_count": 0, "probs": 0, "logits": 0}

    def __init__(self, total_count: Any, probs: Any, logits: Any, validate_args: bool | None) -> None:
        given = logits if probs is None else probs
        if given is not None:
            self.total_count, given = broadcast_all(total_count, given)
            self.total_count = self.total_count.type_as(given)
        self._take(probs if probs is None else given, logits if logits is None else given)
        super().__init__(self._param.shape, validate_args=validate_args)


class Binomial(CountedOdds):
    """Successes among ``total_count`` trials of probability ``probs`` (log-odds ``logits``)."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 to the number of trials."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """n p."""
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        """(n + 1) p rounded down, at most n."""
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        """n p (1 - p)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Numbers of successes, in ``sample_shape`` and the batch's."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return ops.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """``log C(n, x) + x log p + (n - x) log(1 - p)``."""
        if self._validate_args:
            self._validate_sample(value)
        return _binomial_log_prob(value, self.total_count, self.logits)

    def _trials(self, what: str) -> int:
        """The number of trials, if it is one for the whole batch."""
        most = int(self.total_count.max())
        if int(self.total_count.min()) != most:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{what}`.")
        return most

    def entropy(self) -> Tensor:
        """The sum over the support; raises NotImplementedError if the numbers of trials differ."""
        self._trials("entropy")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 ... n, along a new first dimension; raises NotImplementedError if the numbers of trials differ."""
        values = ops.arange(self._trials("enumerate_support") + 1, dtype=self._param.dtype, device=self._param.device)
        return self._enumerated(values, expand)
