"""The absolute value of a symmetric number: Cauchy."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from .cauchy import Cauchy
from .half_normal import Folded

__all__ = ["HalfCauchy"]


class HalfCauchy(Folded):
    """The absolute value of a Cauchy number of this ``scale``: of infinite mean and variance."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), validate_args)

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return ops.full_like(self.scale, float("inf"))

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return self.base_dist.variance
