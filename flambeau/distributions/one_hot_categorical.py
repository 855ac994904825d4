"""One of several categories, as a vector with a single 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["OneHotCategorical", "OneHotCategoricalStraightThrough"]


class OfCategorical(Distribution):
    """A distribution of vectors made from a categorical one, whose parameters it has."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    _parameters = {}
    _categorical: Any

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def probs(self) -> Tensor:
        """The probabilities of the categories."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Their logarithms."""
        return self._categorical.logits

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._categorical.param_shape

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new._categorical = self._categorical.expand(batch_shape)


class OneHotCategorical(OfCategorical):
    """A vector with a 1 at the category drawn, with probabilities (or ``logits``) along the last dimension."""

    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The probabilities."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The likeliest category."""
        return self._hot(self._categorical.mode)

    @property
    def variance(self) -> Tensor:
        """p (1 - p)."""
        return self.probs * (1 - self.probs)

    def _hot(self, category: Tensor) -> Tensor:
        return ops.one_hot(category, self._event_shape[0]).to(self._param.dtype)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """One 1 among zeros."""
        return self._hot(self._categorical.sample(Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of the category with the 1."""
        if self._validate_args:
            self._validate_sample(value)
        return self._categorical.log_prob(value.max(-1)[1])

    def entropy(self) -> Tensor:
        """``-sum p log p``."""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All categories, along a new first dimension."""
        n = self._event_shape[0]
        return self._enumerated(ops.eye(n, dtype=self._param.dtype, device=self._param.device), expand)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One whose samples pass gradients straight to the probabilities (Y. Bengio et al., 2013)."""

    has_rsample = True

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """A sample whose gradient is that of the probabilities.  Bengio et al. 2013."""
        samples = self.sample(sample_shape)
        return samples + (self.probs - self.probs.detach())
