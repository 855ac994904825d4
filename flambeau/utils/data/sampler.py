"""Samplers: the order in which the indices of a dataset are drawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from ... import ops
from ...dtype import float64, int64
from ...generator import Generator
from ...tensor import Tensor

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Base class: a subclass defines ``__iter__``, which gives indices or lists of them, and mostly ``__len__``."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler[int]):
    """The indices in order."""

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


def new_seed(generator: Generator | None = None) -> int:
    """A seed drawn from a generator, as PyTorch draws it: one number below 2**63."""
    return int(ops.empty((), dtype=int64).random_(generator=generator).item())


class RandomSampler(Sampler[int]):
    """The indices in random order, or drawn with replacement.

    Args:
        data_source: the dataset.
        replacement: draw each index anew.
        num_samples: how many to draw (None: the size of the dataset); more than that without replacement are
            several permutations after each other.
        generator: where the order comes from; None seeds a new one from the default generator at every iteration.

    Raises:
        TypeError: ``replacement`` is no bool.
        ValueError: ``num_samples`` is no positive integer.
    """

    data_source: Sized
    replacement: bool

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples < 0:
            raise ValueError(f"num_samples should be a non-negative integer value, but got {self.num_samples}")

    @property
    def num_samples(self) -> int:
        """How many indices are drawn; the dataset may grow in between."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, generator = len(self.data_source), self.generator
        if generator is None:
            generator = Generator()
            generator.manual_seed(new_seed())
        if self.replacement:
            at_once = 32
            for start in range(0, self.num_samples, at_once):
                count = min(at_once, self.num_samples - start)
                yield from ops.randint(high=n, size=(count,), dtype=int64, generator=generator).tolist()
            return
        for _ in range(self.num_samples // n if n else 0):
            yield from ops.randperm(n, generator=generator).tolist()
        rest = self.num_samples % n if n else 0
        yield from ops.randperm(n, generator=generator).tolist()[:rest]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Some indices in random order.

    Args:
        indices: the indices.
        generator: where the order comes from; None is the default one.
    """

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in ops.randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices drawn by weight.

    Args:
        weights: a weight for each index; they need not add up to one.
        num_samples: how many to draw.
        replacement: draw each index anew; without it no index is drawn twice.
        generator: where they come from; None is the default one.

    Raises:
        ValueError: ``num_samples`` is no positive integer, or the weights are no vector.
    """

    weights: Tensor
    num_samples: int
    replacement: bool

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        found = ops.as_tensor(weights, dtype=float64)
        if len(found.shape) != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {tuple(found.shape)}")
        self.weights = found
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = ops.multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        yield from iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of the indices that another sampler gives.

    Args:
        sampler: the other sampler, or any iterable.
        batch_size: the length of the lists.
        drop_last: leave out a last list that is shorter.

    Raises:
        ValueError: ``batch_size`` is no positive integer, or ``drop_last`` no bool.
    """

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices: Iterator[Any] = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
