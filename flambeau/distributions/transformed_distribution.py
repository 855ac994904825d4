"""Random values sent through maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.mode import no_grad
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .independent import Independent
from .transforms import ComposeTransform, Transform
from .utils import _sum_rightmost

__all__ = ["TransformedDistribution"]


class TransformedDistribution(Distribution):
    """What becomes of samples of a distribution by maps, one after the other.

    Raises ValueError for other than maps, and for a base of fewer dimensions than an event of the first map has.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | list[Transform],
        validate_args: bool | None = None,
    ) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(self.transforms, list) or not all(isinstance(t, Transform) for t in self.transforms):
            raise ValueError(f"transforms must be a Transform or a list of Transforms, but was {transforms}")
        whole = ComposeTransform(self.transforms)
        domain, codomain = whole.domain, whole.codomain
        base_shape = Size((*base_distribution.batch_shape, *base_distribution.event_shape))
        base_event = len(base_distribution.event_shape)
        if len(base_shape) < domain.event_dim:
            raise ValueError(
                f"base_distribution needs to have shape with size at least {domain.event_dim}, but got "
                f"{Size(base_shape)}."
            )
        shape = whole.forward_shape(base_shape)
        needed = Size(whole.inverse_shape(shape))
        if base_shape != needed:
            base_distribution = base_distribution.expand(Size(needed[: len(needed) - base_event]))
        grouped = domain.event_dim - base_event
        self.base_dist = Independent(base_distribution, grouped) if grouped > 0 else base_distribution
        cut = len(shape) - (codomain.event_dim + max(base_event - domain.event_dim, 0))
        if len(shape) < codomain.event_dim:
            raise ValueError(f"the maps give shape {tuple(shape)}, an event has {codomain.event_dim} dimensions")
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Size) -> None:
        new.transforms = self.transforms
        shape: Sequence[int] = Size((*batch_shape, *self._event_shape))
        for transform in reversed(self.transforms):
            shape = transform.inverse_shape(shape)
        new.base_dist = self.base_dist.expand(Size(shape[: len(shape) - len(self.base_dist.event_shape)]))

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base_dist.has_rsample

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """The last map's codomain."""
        if not self.transforms:
            return self.base_dist.support
        found = self.transforms[-1].codomain
        more = len(self._event_shape) - found.event_dim
        return constraints.independent(found, more) if more > 0 else found

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The base distribution's, mapped; without a gradient."""
        with no_grad():
            return self._mapped(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """The base distribution's, mapped."""
        return self._mapped(self.base_dist.rsample(sample_shape))

    def _mapped(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """That of what is mapped to x, less the logarithm of the volume's change."""
        if self._validate_args:
            self._validate_sample(value)
        event_dim = len(self._event_shape)
        total: Any = 0.0
        for transform in reversed(self.transforms):
            before = transform.inv(value)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            stretch = transform.log_abs_det_jacobian(before, value)
            total = total - _sum_rightmost(stretch, event_dim - transform.domain.event_dim)
            value = before
        return total + _sum_rightmost(self.base_dist.log_prob(value), event_dim - len(self.base_dist.event_shape))

    def _monotonize_cdf(self, value: Any) -> Any:
        """A probability of at most x, from that of the base and the direction of the maps."""
        sign: Any = math.prod((t.sign for t in self.transforms), start=1)
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def cdf(self, value: Tensor) -> Tensor:
        """That of what is mapped to x; one minus it where the maps fall."""
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._monotonize_cdf(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The base distribution's, mapped."""
        return self._mapped(self.base_dist.icdf(self._monotonize_cdf(value)))
