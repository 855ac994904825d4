"""The base class of probability distributions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from ..autograd.mode import no_grad
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .utils import LazyProperty

__all__ = ["Distribution"]


class Distribution:
    """Random values: ``batch_shape`` independent distributions, each over events of ``event_shape``.

    A subclass gives ``arg_constraints`` (the region of each parameter), ``support`` (the region of samples) and the
    methods it has.  One whose parameters are tensors that only grow when it expands says so in ``_parameters``, and
    needs no ``expand`` of its own.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__
    _parameters: ClassVar[dict[str, int]] = {}  # attribute -> its dimensions beyond those of the batch

    def __init__(
        self,
        batch_shape: Sequence[int] = Size(),
        event_shape: Sequence[int] = Size(),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_arguments()
        super().__init__()

    def _check_arguments(self) -> None:
        """Raises ValueError for a parameter outside of its region."""
        try:
            regions = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize "
                "the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        for name, region in regions.items():
            computed = name not in self.__dict__ and isinstance(getattr(type(self), name, None), LazyProperty)
            if computed or constraints.is_dependent(region):
                continue
            value = getattr(self, name)
            if not region.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {region!r}, but found invalid values:\n{value}"
                )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments if they are not told; ValueError for other than a bool."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args: expected True or False, got {value!r}")
        Distribution._validate_args = value

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """This distribution with the batch expanded to ``batch_shape``; parameters are views.

        A subclass with an ``__init__`` of its own passes the instance to fill, or has its own ``expand``.
        """
        # the class of this package that is expanded; a user's class below it may have another ``__init__``
        owner = next(c for c in type(self).__mro__ if c.__module__.startswith(f"{__package__}."))
        if owner is Distribution:
            raise NotImplementedError(f"{type(self).__name__}.expand is not implemented")
        new = self._get_checked_instance(owner, _instance)
        shape = Size(batch_shape)
        for name, dims in self._parameters.items():
            if name in self.__dict__:
                value = self.__dict__[name]
                event = value.shape[value.dim() - dims :]
                new.__dict__[name] = value.expand((*shape, *event))
        self._expand_more(new, shape)
        Distribution.__init__(new, shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _expand_more(self, new: Any, batch_shape: Size) -> None:
        """Gives an expanded instance what it has besides ``_parameters``."""

    @property
    def batch_shape(self) -> Size:
        """The shape of independent distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one of them."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The region of each parameter, by name."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The region of samples."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The likeliest value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Samples of shape ``sample_shape + batch_shape + event_shape``, without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Samples that can be differentiated by the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no rsample")

    def sample_n(self, n: int) -> Tensor:
        """``sample((n,))``, as it was once called."""
        warnings.warn(
            "`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", category=FutureWarning, stacklevel=2
        )
        return self.sample(Size((n,)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density (or probability) at ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The number whose ``cdf`` is ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution along a first dimension; with ``expand`` over the whole batch."""
        raise NotImplementedError(f"{type(self).__name__} has no finite support to enumerate")

    def entropy(self) -> Tensor:
        """The entropy in nats, for each of the batch."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy in closed form")

    def perplexity(self) -> Tensor:
        """``exp(entropy)``."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Sequence[int] = Size()) -> Size:
        """The shape of samples."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        """A list of values along a first dimension before the batch's."""
        values = values.reshape((-1, *(1,) * len(self._batch_shape), *values.shape[1:]))
        return values.expand((-1, *self._batch_shape, *self._event_shape)) if expand else values

    def _validate_sample(self, value: Any) -> None:
        """Raises ValueError unless ``value`` is a tensor of a shape that fits, inside of the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        dims = len(self._event_shape)
        event = value.shape[value.dim() - dims :] if dims else Size()
        if event != self._event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{_text(value.shape)} vs {_text(self._event_shape)}."
            )
        expected = (*self._batch_shape, *self._event_shape)
        if any(a not in (1, b) and b != 1 for a, b in zip(reversed(value.shape), reversed(expected))):
            raise ValueError(
                f"Value is not broadcastable with batch_shape+event_shape: {_text(value.shape)} vs {_text(expected)}."
            )
        try:
            region = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not region.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({region!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """The instance to fill on expanding: a fresh one, unless the subclass gave it.

        Raises NotImplementedError for a subclass that has another ``__init__`` but no ``expand``.
        """
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also "
                "define a custom .expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    def __repr__(self) -> str:
        shown = [name for name in self.arg_constraints if name in self.__dict__]
        texts = (
            f"{name}: {value if value.numel() == 1 else _text(value.shape)}"
            for name in shown
            for value in (self.__dict__[name],)
        )
        return f"{type(self).__name__}({', '.join(texts)})"


def _text(shape: Sequence[int]) -> str:
    return f"torch.Size({list(shape)})"
