"""A continuous relaxation of one of several categories (C. J. Maddison et al., The concrete distribution, 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma
from typing import Any

from .. import ops
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution as Distribution
from .one_hot_categorical import OfCategorical
from .relaxed_bernoulli import Relaxed
from .transforms import ExpTransform
from .utils import clamp_probs, uniform_like

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(OfCategorical):
    """The logarithms of relaxed shares: logits with Gumbel noise, over ``temperature``, normalised."""

    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        super()._expand_more(new, batch_shape)
        new.temperature = self.temperature

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The log-softmax of ``(logits + Gumbel variates) / temperature``."""
        uniform = clamp_probs(uniform_like(self.logits, self._extended_shape(sample_shape)))
        gumbel = -((-(uniform.log())).log())
        scores = (self.logits + gumbel) / self.temperature
        return scores - scores.logsumexp(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density at x, a logarithm of probabilities.  Maddison et al. 2017."""
        if self._validate_args:
            self._validate_sample(value)
        n = self._event_shape[0]
        logits, value = ops.broadcast_tensors(self.logits, value)
        temperature = ops.as_tensor(self.temperature, dtype=value.dtype, device=value.device)
        score = (logits - value * temperature).log_softmax(-1).sum(-1)
        return score + lgamma(n) + (n - 1) * temperature.log()


class RelaxedOneHotCategorical(Relaxed):
    """Shares of a whole, near to one-hot for a small ``temperature``, with gradients by ``probs`` or ``logits``."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)
