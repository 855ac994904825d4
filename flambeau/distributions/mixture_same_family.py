"""Mixtures of distributions of one family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.mode import no_grad
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """One of the components (the last batch dimension of ``component_distribution``), chosen by
    ``mixture_distribution``."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = False

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None
    ) -> None:
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an  instance of torch.distributions.Categorical, not "
                f"{type(mixture_distribution).__name__}"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution need to be an instance of torch.distributions.Distribution, not "
                f"{type(component_distribution).__name__}"
            )
        batch = component_distribution.batch_shape[:-1]
        chosen = mixture_distribution.batch_shape
        for a, b in zip(reversed(chosen), reversed(batch)):
            if a != 1 and b != 1 and a != b:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({chosen}) is not compatible with "
                    f"`component_distribution.batch_shape` ({component_distribution.batch_shape})"
                )
        kinds, parts = mixture_distribution.logits.shape[-1], component_distribution.batch_shape[-1]
        if kinds != parts:
            raise ValueError(
                f"`mixture_distribution component` ({kinds}) does not equal `component_distribution.batch_shape[-1]` "
                f"({parts})"
            )
        self._num_component = kinds
        event = component_distribution.event_shape
        self._event_ndims = len(event)
        super().__init__(batch, event, validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Size) -> None:
        new._component_distribution = self._component_distribution.expand(Size((*batch_shape, self._num_component)))
        new._mixture_distribution = self._mixture_distribution.expand(Size(batch_shape))
        new._num_component, new._event_ndims = self._num_component, self._event_ndims

    @constraints.dependent_property
    def support(self) -> Any:
        """The components'."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """The distribution of the choice."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components."""
        return self._component_distribution

    def _weights(self) -> Tensor:
        """The probabilities of the components, with the dimensions of an event."""
        p = self._mixture_distribution.probs
        return p.reshape((*p.shape, *(1,) * self._event_ndims))

    def _dim(self) -> int:
        return -1 - self._event_ndims

    @property
    def mean(self) -> Tensor:
        """The components' means, weighted."""
        return (self._weights() * self._component_distribution.mean).sum(self._dim())

    @property
    def variance(self) -> Tensor:
        """The mean of the components' variances, and the variance of their means."""
        weights, parts, dim = self._weights(), self._component_distribution, self._dim()
        apart = (parts.mean - self.mean.unsqueeze(dim)).square()
        return (weights * parts.variance).sum(dim) + (weights * apart).sum(dim)

    def cdf(self, x: Tensor) -> Tensor:
        """The components', weighted."""
        below = self._component_distribution.cdf(x.unsqueeze(self._dim()))
        return (below * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The logarithm of the components' densities, weighted."""
        if self._validate_args:
            self._validate_sample(x)
        each = self._component_distribution.log_prob(x.unsqueeze(self._dim()))
        return (each + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Of each draw the value of the component that it chose."""
        with no_grad():
            chosen = self._mixture_distribution.sample(sample_shape)
            drawn = self._component_distribution.sample(sample_shape)
            dim = self._dim()
            index = chosen.reshape((*chosen.shape, *(1,) * (self._event_ndims + 1)))
            index = index.expand((*drawn.shape[:dim], 1, *self._event_shape))
            return drawn.gather(dim, index).squeeze(dim)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
