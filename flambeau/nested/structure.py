"""How the rows of a nested tensor divide into members: offsets, lengths, and the size they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from .. import ops
from ..dtype import int64

__all__ = ["RaggedSize", "Structure"]

_numbers = itertools.count(1)


class RaggedSize:
    """A size that differs from member to member: "j1".  Equal only to itself, whatever the lengths are.

    It compares as greater than 1, as PyTorch's does, so that code which asks for empty or broadcast dimensions takes it
    for neither.
    """

    __slots__ = ("factor", "number")

    def __init__(self, number: int | None = None, factor: int = 1) -> None:
        self.number = next(_numbers) if number is None else number
        self.factor = factor

    def __mul__(self, other: Any) -> RaggedSize:
        return RaggedSize(self.number, self.factor * int(other))

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RaggedSize) and (self.number, self.factor) == (other.number, other.factor)

    def __hash__(self) -> int:
        return hash((self.number, self.factor))

    def __gt__(self, other: Any) -> bool:
        return self._above(other, 2)

    def __ge__(self, other: Any) -> bool:
        return self == other or self._above(other, 3)

    def __lt__(self, other: Any) -> bool:
        return not self >= other

    def __le__(self, other: Any) -> bool:
        return not self > other

    def _above(self, other: Any, least: int) -> bool:
        if isinstance(other, int) and other < least:
            return True
        raise ValueError(f"a ragged size cannot be compared with {other}: it differs from member to member")

    def __repr__(self) -> str:
        return f"j{self.number}" if self.factor == 1 else f"{self.factor}*j{self.number}"


class Structure:
    """The division of rows into members; nested tensors that share one fit together.

    Member i has rows ``offsets[i]`` and following: ``lengths[i]`` of them, or all up to the next one's.
    """

    def __init__(self, offsets: Any, lengths: Any = None) -> None:
        self.offsets, self.lengths = offsets, lengths
        self.symbol = RaggedSize()

    @property
    def count(self) -> int:
        """The number of members."""
        return int(self.offsets.shape[0]) - 1

    @cached_property
    def starts(self) -> list[int]:
        """The first row of each member."""
        return self.offsets[:-1].tolist()  # type: ignore[no-any-return]

    @cached_property
    def sizes(self) -> list[int]:
        """The number of rows of each member."""
        return (self.offsets.diff() if self.lengths is None else self.lengths).tolist()  # type: ignore[no-any-return]

    @property
    def longest(self) -> int:
        """The rows of the longest member."""
        return max(self.sizes, default=0)

    @cached_property
    def tensor_of_sizes(self) -> Any:
        """The number of rows of each member, as a tensor."""
        return ops.tensor(self.sizes, dtype=int64)

    @cached_property
    def members(self) -> Any:
        """The member of each row that belongs to one."""
        return ops.arange(self.count).repeat_interleave(self.tensor_of_sizes)  # type: ignore[attr-defined]

    @cached_property
    def steps(self) -> Any:
        """The place of each row in its member."""
        first = ops.tensor([0, *itertools.accumulate(self.sizes)][:-1], dtype=int64)
        return ops.arange(sum(self.sizes)) - first[self.members]

    @cached_property
    def rows(self) -> Any:
        """The rows that belong to members, in order; None for all."""
        if self.lengths is None:
            return None
        return ops.tensor(self.starts, dtype=int64)[self.members] + self.steps

    def places(self, width: int) -> Any:
        """The places of those rows in members that are ``width`` rows long each."""
        return self.members * width + self.steps

    @staticmethod
    def of_sizes(sizes: Sequence[int]) -> Structure:
        """That of members with these numbers of rows, one after the other."""
        return Structure(ops.tensor([0, *itertools.accumulate(sizes)], dtype=int64))
