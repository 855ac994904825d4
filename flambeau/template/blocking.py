"""How a product is cut into blocks: pure arithmetic on sizes, never on the number of threads.

A product has row panels (of A) and column panels (of B).  A chunk of work is a range of each.  One operand is
the *inner* one: a chunk packs its block of it into the worker's scratch, sized for the second-level cache, and
runs over it for every panel of the *outer* operand, which is packed beforehand for everyone (``shared``) or by
the chunk itself, panel by panel.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime import cpu
from .micro import Blocking, Number

__all__ = ["Cut", "cut", "cut_long"]

SMALL = 4 << 20
"""Operations under which a product is one chunk that packs everything itself (about 40 us)."""
STAY = 2 << 20
"""Operations under which the caller's thread does all the work."""
CHUNKS = 64
"""Chunks aimed at, so that up to about that many threads are busy."""


@dataclass(frozen=True)
class Cut:
    """The chosen blocks."""

    inner_b: bool
    """Whether B is the inner operand."""
    shared: bool
    """Whether the outer operand is packed beforehand."""
    inner_blocks: int
    outer_blocks: int
    inner_panels: int
    outer_panels: int
    splits: int
    """Parts of the inner dimension that are summed separately, then together in order."""
    span: int
    """Units in a part."""
    kc: int
    """Units in a block."""
    sequential: int
    """Matrices of the batch taken one after another; the others are chunks."""
    together: int
    """Matrices whose chunks run together."""
    parallel: bool

    @property
    def chunks(self) -> int:
        return self.together * self.splits * self.outer_blocks * self.inner_blocks

    @property
    def inner_most(self) -> int:
        """The most inner panels in a chunk."""
        return -(-self.inner_panels // self.inner_blocks)

    @property
    def outer_most(self) -> int:
        """The most outer panels in a chunk."""
        return -(-self.outer_panels // self.outer_blocks)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def unit_block(units: int, num: Number, blk: Blocking) -> int:
    """Units in a block: a panel of A fits into the first-level cache with some room."""
    most = cpu.cache_sizes().l1 * 3 // 4 // (blk.pitch * num.unit_bytes)
    most = min(max(most, 64), 1024)
    blocks = _ceil(max(units, 1), most)
    return _ceil(_ceil(max(units, 1), blocks), 8) * 8


def cut(batch: int, m: int, n: int, units: int, num: Number, blk: Blocking, inner_b: bool | None = None) -> Cut:
    """Chooses the blocks of ``batch`` contractions of m rows by n columns over ``units``.

    ``inner_b`` says which operand is the inner one; by default it is the larger.
    """
    caches = cpu.cache_sizes()
    rows, cols = _ceil(m, blk.rows), _ceil(n, blk.columns)
    work = 2 * m * n * max(units, 1) * num.depth
    batch = max(batch, 1)
    kc = unit_block(units, num, blk)
    if inner_b is None:
        inner_b = m < n
    inner, outer = (cols, rows) if inner_b else (rows, cols)
    inner_bytes = (blk.columns if inner_b else blk.pitch) * kc * num.unit_bytes
    inner_room = max(1, caches.l2 // 4 // inner_bytes)
    parallel = work * batch > STAY
    if work <= SMALL:
        inner_blocks = _ceil(inner, inner_room)
        return Cut(inner_b, False, inner_blocks, 1, inner, outer, 1, max(units, 1), kc, 1, batch, parallel)
    # inner blocks no larger than the cache and small enough to make chunks for many threads
    width = blk.columns if inner_b else blk.rows
    per_block = min(inner_room, max(1, inner // CHUNKS, (128 if inner_b else 56) // width))
    inner_blocks = _ceil(inner, per_block)
    tiles_room = max(1, caches.l2 // 4 // (per_block * blk.rows * blk.columns * num.acc_bytes))
    wanted = max(1, CHUNKS // (inner_blocks * batch))
    outer_room = outer if units <= kc else tiles_room
    outer_width = blk.rows if inner_b else blk.columns
    outer_blocks = max(_ceil(outer, outer_room), min(wanted, outer * outer_width // 256), 1)
    splits = 1
    if inner_blocks * outer_blocks * batch < 16 and units >= 4 * kc:
        splits = min(16 // (inner_blocks * outer_blocks * batch) + 1, units // (2 * kc))
    span = _ceil(_ceil(units, splits), kc) * kc
    splits = _ceil(units, span)
    shared = inner_blocks > 1 or splits > 1
    return Cut(
        inner_b, shared, inner_blocks, outer_blocks, inner, outer, splits, span, kc,
        batch if shared else 1, 1 if shared else batch, parallel,
    )  # fmt: skip


def cut_long(batch: int, m: int, n: int, units: int, num: Number, blk: Blocking) -> Cut:
    """Blocks for contractions over many units into few columns, B being costly to pack: a block of B is as wide as the
    second-level cache allows, the units are split among chunks, and A is packed panel by panel as it is needed."""
    caches = cpu.cache_sizes()
    outer, inner = _ceil(m, blk.rows), _ceil(n, blk.columns)
    work = 2 * m * n * max(units, 1) * num.depth
    batch = max(batch, 1)
    parallel = work * batch > STAY
    kc = unit_block(units, num, blk)
    room = caches.l2 // 2 // (blk.columns * num.unit_bytes)
    if inner * kc > room:
        kc = min(kc, max(128, room // inner // 8 * 8))
    inner_blocks = _ceil(inner, max(1, room // kc))
    tiles_room = max(1, caches.l2 // 4 // (_ceil(inner, inner_blocks) * blk.rows * blk.columns * num.acc_bytes))
    outer_blocks = 1 if units <= kc else _ceil(outer, tiles_room)
    splits = 1
    if work > SMALL:
        splits = max(1, min(CHUNKS // (2 * inner_blocks * outer_blocks * batch), units // kc, work // SMALL))
    span = _ceil(_ceil(max(units, 1), splits), kc) * kc
    splits = _ceil(max(units, 1), span)
    return Cut(
        True, False, inner_blocks, outer_blocks, inner, outer, splits, span, kc,
        batch if splits > 1 else 1, 1 if splits > 1 else batch, parallel,
    )  # fmt: skip
