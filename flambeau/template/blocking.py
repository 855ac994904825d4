"""How a product is cut into blocks: pure arithmetic on sizes, never on the number of threads.

A product has row panels (of A) and column panels (of B).  A chunk of work is a range of each.  One operand is
the *inner* one: a chunk runs over its block of it, which stays in the second-level cache, for every panel of its
block of the *outer* operand.  An operand that several chunks use is packed beforehand for everyone (shared); otherwise the
chunk packs what it needs into its worker's scratch.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime import cpu
from .micro import Blocking, Number

__all__ = ["Cut", "cut", "cut_long"]

STAY = 3 << 20
"""Operations under which the caller's thread does all the work (about 30 us)."""
GRAIN = 2 << 20
"""Operations that a chunk should have."""
CHUNKS = 96
"""Chunks aimed at in large products, so that up to some tens of threads are evenly busy."""
LONG = 16
"""Chunks under which the inner dimension is split."""


@dataclass(frozen=True)
class Cut:
    """The chosen blocks."""

    inner_b: bool
    """Whether B is the inner operand."""
    outer_shared: bool
    inner_shared: bool
    """Whether these operands are packed beforehand."""
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

    ``inner_b`` says which operand is the inner one, and that it is costly to pack, so that no two chunks should use
    the same part of it; by default it is the larger one.
    """
    caches = cpu.cache_sizes()
    costly = inner_b is not None
    inner_b = m < n if inner_b is None else inner_b
    rows, cols = _ceil(m, blk.rows), _ceil(n, blk.columns)
    inner, outer = (cols, rows) if inner_b else (rows, cols)
    inner_width, outer_width = (blk.columns, blk.rows) if inner_b else (blk.rows, blk.columns)
    work = 2 * m * n * max(units, 1) * num.depth
    batch = max(batch, 1)
    kc = unit_block(units, num, blk)
    parallel = work * batch > STAY
    inner_bytes = (blk.columns if inner_b else blk.pitch) * kc * num.unit_bytes
    inner_room = max(1, caches.l2 // 4 // inner_bytes)

    # how many chunks a matrix is worth, and how many are needed
    wanted = max(1, min(_ceil(CHUNKS, batch), work // GRAIN))
    # chunks are about square; a costly inner operand is not divided among chunks of different outer blocks
    side = max(1, round((m * n / wanted) ** 0.5))
    per_inner = min(inner_room, max(1, side // inner_width))
    if costly:
        per_inner = min(inner_room, max(1, _ceil(inner, wanted), 128 // inner_width))
    inner_blocks = _ceil(inner, per_inner) if wanted > 1 else _ceil(inner, inner_room)
    outer_blocks = 1
    if not costly:
        outer_blocks = max(1, min(wanted // inner_blocks, outer * outer_width // 64))
    if units > kc:  # tiles wait for the next block of units
        tile = blk.rows * blk.columns * num.acc_bytes
        outer_blocks = max(outer_blocks, _ceil(outer, max(1, caches.l2 // 2 // (per_inner * tile))))

    splits = 1
    chunks = inner_blocks * outer_blocks * batch
    if chunks < LONG and units >= 4 * kc:
        splits = min(2 * LONG // chunks, units // (2 * kc))
    span = _ceil(_ceil(max(units, 1), splits), kc) * kc
    splits = _ceil(max(units, 1), span)
    # many matrices: each chunk packs for itself, so that all matrices run together
    alone = batch == 1 or (batch < LONG and wanted > 1) or splits > 1
    return Cut(
        inner_b, alone and inner_blocks > 1, alone and outer_blocks > 1 and not costly, inner_blocks, outer_blocks,
        inner, outer, splits, span, kc, batch if alone else 1, 1 if alone else batch, parallel,
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
    if work > 2 * GRAIN:
        splits = max(1, min(2 * LONG // (inner_blocks * outer_blocks * batch), units // kc, work // (2 * GRAIN)))
    span = _ceil(_ceil(max(units, 1), splits), kc) * kc
    splits = _ceil(max(units, 1), span)
    return Cut(
        True, False, False, inner_blocks, outer_blocks, inner, outer, splits, span, kc,
        batch if splits > 1 else 1, 1 if splits > 1 else batch, parallel,
    )  # fmt: skip
