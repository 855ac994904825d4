"""Where the temporary values of a plan lie in its one block of memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Lifetime", "assign"]

_ALIGNMENT = 64


class Lifetime(NamedTuple):
    """A block of ``nbytes`` that is in use from step ``first`` to step ``last``."""

    nbytes: int
    first: int
    last: int


def assign(blocks: Sequence[Lifetime]) -> tuple[list[int], int]:
    """(the offset of each block, bytes in all): blocks in use at one time do not overlap.

    The biggest is placed first, each at the lowest offset that is free all its life (Pisarchyk and Lee 2020, "Efficient
    memory management for deep neural net inference", greedy by size).
    """
    offsets = [0] * len(blocks)
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), by offset
    total = 0
    for k in sorted(range(len(blocks)), key=lambda k: (-blocks[k].nbytes, blocks[k].first)):
        nbytes, first, last = blocks[k]
        size = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        at = 0
        for offset, end, other_first, other_last in placed:
            if other_first > last or other_last < first:
                continue
            if at + size <= offset:
                break
            at = max(at, end)
        offsets[k] = at
        placed.append((at, at + size, first, last))
        placed.sort()
        total = max(total, at + size)
    return offsets, total
