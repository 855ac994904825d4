"""A continuous relaxation of success or not (C. J. Maddison et al., The concrete distribution, 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dispatch.operator import Operand
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .bernoulli import Odds
from .distribution import Distribution as Distribution
from .transformed_distribution import TransformedDistribution
from .transforms import SigmoidTransform
from .utils import clamp_probs, fused, softplus, uniform_like

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]


@fused
def _logit_relaxed_log_prob(value: Operand, temperature: Operand, logits: Operand) -> Tensor:
    off = logits - value * temperature
    return temperature.log() + off - 2 * softplus(off)


class LogitRelaxedBernoulli(Odds):
    """The log-odds of relaxed trials: logistic numbers about ``logits``, over ``temperature``."""

    support = constraints.real

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        self.temperature = temperature
        super().__init__(probs, logits, validate_args)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        super()._expand_more(new, batch_shape)
        new.temperature = self.temperature

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """``(logit(u) + logit(p)) / temperature`` of uniform u."""
        shape = self._extended_shape(sample_shape)
        p = clamp_probs(self.probs.expand(shape))
        u = clamp_probs(uniform_like(p, shape))
        return (u.log() - (-u).log1p() + p.log() - (-p).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        """``log t + d - 2 log(1 + exp(d))`` with ``d = logits - t x``."""
        if self._validate_args:
            self._validate_sample(value)
        return _logit_relaxed_log_prob(value, self.temperature, self.logits)


class Relaxed(TransformedDistribution):
    """The image of a relaxed distribution whose parameters it shows."""

    has_rsample = True
    base_dist: Any

    @property
    def temperature(self) -> Tensor:
        """How soft samples are: near 0 they are 0 or 1."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """Log-odds, or logarithms of probabilities."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """Probabilities."""
        return self.base_dist.probs


class RelaxedBernoulli(Relaxed):
    """Numbers from 0 to 1, near to both ends for a small ``temperature``, with gradients by ``probs`` or ``logits``."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)
