"""Which map leads from real numbers to a region.

``biject_to(region)`` is a bijection, ``transform_to(region)`` a map that need not be one but is well behaved under
gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from . import constraints, transforms

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """Makers of maps by the class of the region."""

    def __init__(self) -> None:
        self._registry: dict[type, Callable[[Any], transforms.Transform]] = {}
        super().__init__()

    def register(self, constraint: Any, factory: Any = None) -> Any:
        """Registers ``factory(region) -> map`` for a class of regions (or that of a region); without it, a decorator.

        Raises TypeError for other than regions.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        if isinstance(constraint, constraints.Constraint):
            constraint = type(constraint)
        if not isinstance(constraint, type) or not issubclass(constraint, constraints.Constraint):
            raise TypeError(f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}")
        self._registry[constraint] = factory
        return factory

    def __call__(self, constraint: Any) -> transforms.Transform:
        """The map to a region; NotImplementedError for a class of regions that has none."""
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()


def _both(*regions: Any) -> Callable[[Any], Any]:
    """Decorator: a maker for both registries."""

    def register(factory: Any) -> Any:
        for region in regions:
            biject_to.register(region, factory)
            transform_to.register(region, factory)
        return factory

    return register


@_both(constraints.real)
def _to_real(region: Any) -> transforms.Transform:
    return transforms.identity_transform


@biject_to.register(constraints.independent)
def _biject_to_independent(region: Any) -> transforms.Transform:
    return transforms.IndependentTransform(biject_to(region.base_constraint), region.reinterpreted_batch_ndims)


@transform_to.register(constraints.independent)
def _transform_to_independent(region: Any) -> transforms.Transform:
    return transforms.IndependentTransform(transform_to(region.base_constraint), region.reinterpreted_batch_ndims)


@_both(constraints.greater_than, constraints.greater_than_eq)
def _to_above(region: Any) -> transforms.Transform:
    if isinstance(region.lower_bound, Number) and region.lower_bound == 0:
        return transforms.ExpTransform()
    return transforms.ComposeTransform([transforms.ExpTransform(), transforms.AffineTransform(region.lower_bound, 1)])


@_both(constraints.less_than)
def _to_below(region: Any) -> transforms.Transform:
    return transforms.ComposeTransform([transforms.ExpTransform(), transforms.AffineTransform(region.upper_bound, -1)])


@_both(constraints.interval, constraints.half_open_interval)
def _to_interval(region: Any) -> transforms.Transform:
    low, high = region.lower_bound, region.upper_bound
    if isinstance(low, Number) and isinstance(high, Number) and low == 0 and high == 1:
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform([transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)])


@biject_to.register(constraints.simplex)
def _biject_to_simplex(region: Any) -> transforms.Transform:
    return transforms.StickBreakingTransform()


@transform_to.register(constraints.simplex)
def _transform_to_simplex(region: Any) -> transforms.Transform:
    return transforms.SoftmaxTransform()


@transform_to.register(constraints.lower_cholesky)
def _to_lower_cholesky(region: Any) -> transforms.Transform:
    return transforms.LowerCholeskyTransform()


@transform_to.register(constraints.positive_definite)
@transform_to.register(constraints.positive_semidefinite)
def _to_positive_definite(region: Any) -> transforms.Transform:
    return transforms.PositiveDefiniteTransform()


@_both(constraints.corr_cholesky)
def _to_corr_cholesky(region: Any) -> transforms.Transform:
    return transforms.CorrCholeskyTransform()


def _side_by_side(registry: ConstraintRegistry) -> None:
    """Registers the maps to several regions side by side."""

    def to_cat(region: Any) -> transforms.Transform:
        return transforms.CatTransform([registry(c) for c in region.cseq], region.dim, region.lengths)

    def to_stack(region: Any) -> transforms.Transform:
        return transforms.StackTransform([registry(c) for c in region.cseq], region.dim)

    registry.register(constraints.cat, to_cat)
    registry.register(constraints.stack, to_stack)


_side_by_side(biject_to)
_side_by_side(transform_to)
