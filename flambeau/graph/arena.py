"""Where the temporary values of a plan lie: in its one block of memory, or where a result will lie."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from itertools import accumulate
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

    Each block gets the lowest offset that is free all its life, in the smallest room that has one.  The biggest is
    placed first (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference", greedy by size);
    where that leaves gaps at the fullest step, the first and the longest-lived are tried, and the best is taken.
    """
    best: tuple[list[tuple[int, int]], int] | None = None
    for order in _ORDERS:
        found, total = _placed(blocks, rooms, sorted(range(len(blocks)), key=lambda k: order(blocks[k])))
        if best is None or total < best[1]:
            best = found, total
        if best[1] <= _WORTHWHILE or (not rooms and best[1] <= _fullest(blocks)):
            break
    assert best is not None
    return best


_WORTHWHILE = 1 << 20
"""Bytes below which gaps are not looked at."""

_ORDERS: tuple[Callable[[Lifetime], tuple[int, int]], ...] = (
    lambda block: (-block.nbytes, block.first),
    lambda block: (block.first, -block.nbytes),
    lambda block: (-block.nbytes * (block.last - block.first + 1), block.first),
)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _fullest(blocks: Sequence[Lifetime]) -> int:
    """The most bytes that are in use at one step."""
    change: dict[int, int] = {}
    for block in blocks:
        change[block.first] = change.get(block.first, 0) + _aligned(block.nbytes)
        change[block.last + 1] = change.get(block.last + 1, 0) - _aligned(block.nbytes)
    return max(accumulate(change[step] for step in sorted(change)), default=0)


def _placed(
    blocks: Sequence[Lifetime], rooms: Sequence[Room], order: Sequence[int]
) -> tuple[list[tuple[int, int]], int]:
    """What ``assign`` returns, of blocks placed in this order."""
    found = [(-1, 0)] * len(blocks)
    own: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), by offset
    let: list[list[tuple[int, int, int, int]]] = [[] for _ in rooms]
    smallest = sorted(range(len(rooms)), key=lambda r: rooms[r].nbytes)
    total = 0
    for k in order:
        nbytes, first, last = blocks[k]
        size = _aligned(nbytes)
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
