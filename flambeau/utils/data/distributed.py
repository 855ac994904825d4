"""The share of a dataset that one of several processes sees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import Any

from ... import ops
from ...generator import Generator
from .sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every ``num_replicas``-th index, from ``rank`` on, of an order that all processes draw alike.

    Args:
        dataset: the dataset, of a size that does not change.
        num_replicas: the number of processes.
        rank: the number of this one.
        shuffle: draw the order at random, anew for each epoch that :meth:`set_epoch` names.
        seed: the same in all processes.
        drop_last: drop the last indices so that all processes see as many; otherwise the first are added again.

    Raises:
        ValueError: ``rank`` is not below ``num_replicas``.
        RuntimeError: one of them is not given.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            num_replicas, rank = _from_process_group(num_replicas, rank)
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        whole = len(dataset)
        self.num_samples = whole // num_replicas if drop_last else math.ceil(whole / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        whole = len(self.dataset)
        if self.shuffle:
            generator = Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = ops.randperm(whole, generator=generator).tolist()
        else:
            indices = list(range(whole))
        if not self.drop_last and indices:
            missing = self.total_size - len(indices)
            indices += (indices * math.ceil(missing / len(indices)))[:missing]
        return iter(indices[: self.total_size][self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next, so that its order is another; call it before each iteration."""
        self.epoch = epoch


_process_group: list[Any] = []
"""What tells the number of processes and the rank of this one: set by the distributed package, which stands above."""


def _from_process_group(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    if not _process_group:
        raise RuntimeError(
            "Requires distributed package to be available: initialize the default process group, or give num_replicas "
            "and rank"
        )
    size, own = _process_group[-1]()
    return size if num_replicas is None else num_replicas, own if rank is None else rank
