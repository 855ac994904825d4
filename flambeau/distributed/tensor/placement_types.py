"""How a tensor lies along one dimension of a mesh: in parts, the same everywhere, or as addends."""

from __future__ import annotations

from typing import Any

__all__ = ["Partial", "Placement", "Replicate", "Shard"]

Intervals = list[tuple[int, int]]
"""Beginnings and lengths along a dimension."""


class Placement:
    """What all placements can be asked."""

    def _key(self) -> tuple[Any, ...]:
        return (type(self),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placement) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether every process has a part (along ``dim``, if it is given)."""
        return type(self) is Shard and (dim is None or self.dim == dim)

    def is_replicate(self) -> bool:
        """Whether every process has the whole."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether the whole is what the processes have combined (by ``reduce_op``, if it is given)."""
        return isinstance(self, Partial) and (reduce_op is None or self.reduce_op == reduce_op)


class Shard(Placement):
    """The process of rank ``r`` has the ``r``-th part along ``dim``, as ``chunk`` makes them; the last may be empty."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.dim)

    def __repr__(self) -> str:
        return f"Shard(dim={self.dim})"

    def __str__(self) -> str:
        return f"S({self.dim})"

    @staticmethod
    def _local_shard_size_and_offset(curr_local_size: int, num_chunks: int, rank: int) -> tuple[int, int]:
        """The length of a part of ``curr_local_size`` rows, and where it begins."""
        most = -(-curr_local_size // num_chunks)
        start = min(curr_local_size, most * rank)
        return min(most, curr_local_size - start), start

    def local_shard_size_and_offset(self, curr_local_size: int, num_chunks: int, rank: int) -> tuple[int, int]:
        """The length of a part of ``curr_local_size`` rows, and where it begins."""
        return self._local_shard_size_and_offset(curr_local_size, num_chunks, rank)

    def _intervals(self, size: int, count: int, rank: int) -> Intervals:
        """The rows that a process has."""
        length, start = Shard._local_shard_size_and_offset(size, count, rank)
        return [(start, length)]

    def _at(self, dim: int) -> Shard:
        """The same along another dimension."""
        return Shard(dim)


class _StridedShard(Shard):
    """The tensor is ``split_factor`` pieces along ``dim``, of each of which every process has a part."""

    def __init__(self, dim: int, *, split_factor: int) -> None:
        super().__init__(dim)
        self.split_factor = split_factor

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.dim, self.split_factor)

    def __repr__(self) -> str:
        return f"_StridedShard(dim={self.dim}, sf={self.split_factor})"

    def __str__(self) -> str:
        return f"_S({self.dim}, {self.split_factor})"

    def _intervals(self, size: int, count: int, rank: int) -> Intervals:
        found = []
        for piece in range(self.split_factor):
            length, start = Shard._local_shard_size_and_offset(size, self.split_factor, piece)
            part, offset = Shard._local_shard_size_and_offset(length, count, rank)
            found.append((start + offset, part))
        return found

    def _at(self, dim: int) -> Shard:
        return _StridedShard(dim, split_factor=self.split_factor)


class Replicate(Placement):
    """Every process has the whole."""

    def __repr__(self) -> str:
        return "Replicate()"

    def __str__(self) -> str:
        return "R"


class Partial(Placement):
    """The whole is the sum, or another reduction ("avg", "product", "min", "max"), of what the processes have."""

    def __init__(self, reduce_op: str = "sum") -> None:
        self.reduce_op = reduce_op

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.reduce_op)

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"
