"""Where the temporary values of a plan lie: in its one block of memory, or where a result will lie."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Lifetime", "Room", "assign"]

_ALIGNMENT = 64


class Lifetime(NamedTuple):
    """A block of ``nbytes`` that is in use from step ``first`` to step ``last``."""

    nbytes: int
    first: int
    last: int


class Room(NamedTuple):
    """Memory of ``nbytes`` that is there anyway, and nobody's before step ``until``: that of a result."""

    nbytes: int
    until: int


def assign(blocks: Sequence[Lifetime], rooms: Sequence[Room] = ()) -> tuple[list[tuple[int, int]], int]:
    """(the room of each block, or -1 for the plan's own memory, and its offset there; bytes of the plan's own memory):
    blocks in use at one time do not overlap.

    The biggest is placed first, each at the lowest offset that is free all its life (Pisarchyk and Lee 2020, "Efficient
    memory management for deep neural net inference", greedy by size), in the smallest room that has one.
    """
    found = [(-1, 0)] * len(blocks)
    own: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), by offset
    let: list[list[tuple[int, int, int, int]]] = [[] for _ in rooms]
    smallest = sorted(range(len(rooms)), key=lambda r: rooms[r].nbytes)
    total = 0
    for k in sorted(range(len(blocks)), key=lambda k: (-blocks[k].nbytes, blocks[k].first)):
        nbytes, first, last = blocks[k]
        size = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        for r in smallest:
            if last < rooms[r].until and size <= rooms[r].nbytes:
                at = _lowest(let[r], size, first, last)
                if at + size <= rooms[r].nbytes:
                    found[k] = r, at
                    insort(let[r], (at, at + size, first, last))
                    break
        else:
            at = _lowest(own, size, first, last)
            found[k] = -1, at
            insort(own, (at, at + size, first, last))
            total = max(total, at + size)
    return found, total


def _lowest(placed: Sequence[tuple[int, int, int, int]], size: int, first: int, last: int) -> int:
    """The lowest offset from which on ``size`` bytes are free between two steps."""
    at = 0
    for offset, end, other_first, other_last in placed:
        if other_first > last or other_last < first:
            continue
        if at + size <= offset:
            break
        at = max(at, end)
    return at
