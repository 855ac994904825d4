"""How a product is cut into blocks: pure arithmetic on sizes, never on the number of threads.

A product has row panels (of A) and column panels (of B).  A chunk of work is a range of each.  One operand is
the *inner* one: a chunk runs over its block of it, which stays in the second-level cache, for every panel of its
block of the *outer* operand.  An operand that several chunks use is packed beforehand for everyone (shared); otherwise
the chunk packs what it needs into its worker's scratch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..runtime import cpu
from .micro import Blocking, Number
from .tiles import SIDE

__all__ = ["Cut", "cut", "cut_image", "cut_long"]

STAY = 3 << 19
"""Operations under which the caller's thread does all the work (about 15 us)."""
GRAIN = 1 << 19
"""Operations that a chunk should have at least (about 5 us)."""
FINISH = 24
"""Multiplications and additions in the time that an epilogue takes for an element: for few units that counts."""
MIDDLE = 2 << 20
"""Operations of a product up to which it does not pay to pack operands beforehand."""
MIDDLE_IMAGE = 16 << 20
"""The same of a contraction of images."""
CHUNKS = 96
"""Chunks aimed at in large contractions of images, so that up to some tens of threads are evenly busy."""
EACH = 16
"""Chunks aimed at for every worker in products."""
PER_WORKER = 6
"""Chunks aimed at for every worker in contractions of images that do not have `CHUNKS` of them."""
PARTS = 16
"""Parts into which the pixels of a gradient by weights are split at most."""
_LEAST = 112
"""Rows or columns that a block keeps where it is divided for the sake of workers only."""
EACH_SHARED = 8
"""The same where B is packed for everyone: more of them would read its blocks from afar more often."""
TALL = 32
"""Row panels from which on it pays to pack rows of B for everyone: the copy is read often enough."""
LOW = 32
"""Rows up to which memory decides: B is read once, in blocks of so few of its rows that they go by nearly in memory's
order, and by chunks so wide that each takes much of a row."""
LOW_UNITS = 64
"""Units of such a block."""
LOW_PANELS = 8
"""Columns of such a chunk, in panels."""
WIDE_ROWS = 144
"""Rows up to which the packing of B decides: chunks are `WIDE` panels wide and blocks of units as short as
`WIDE_UNITS`, so that memory is read in long pieces of a row."""
WIDE = 16
WIDE_UNITS = 128
LARGER = 3
"""Times that the outer operand of a contraction of images has the panels of the inner one, from which on it is the
one that each chunk should read its own part of: the inner one is packed once, for everyone."""
FEW = 16
"""Chunks under which the inner dimension is split; matrices from which on each one is a chunk."""


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
    return _even_blocks(units, min(cpu.cache_sizes().l1 * 3 // 4 // (blk.pitch * num.unit_bytes), 1024), num)


def _long_block(units: int, num: Number, blk: Blocking) -> int:
    """Units in a block where a panel of A need not stay in the first-level cache: it takes a sixteenth of the second.
    Every further block costs a pass over the result, which weighs more than a nearer panel: one block may be longer
    than each of several."""
    most = min(cpu.cache_sizes().l2 // 16 // (blk.pitch * num.unit_bytes), 1024)
    return _even_blocks(units, most if units <= most else min(most, 768), num)


def _even_blocks(units: int, most: int, num: Number) -> int:
    """Units in each of the fewest equal blocks of at most about ``most`` (64 or more) units: a multiple of 8, or of
    what a tile holds."""
    most = max(most, 64)
    blocks = _ceil(max(units, 1), most)
    step = SIDE if num.tiles else 8
    return _ceil(_ceil(max(units, 1), blocks), step) * step


def _tiles_room(inner: int, num: Number, blk: Blocking) -> int:
    """Outer panels whose tiles with ``inner`` inner panels can wait in the second-level cache."""
    return max(1, cpu.cache_sizes().l2 // 2 // (inner * blk.rows * blk.columns * num.acc_bytes))


def _inner_room(inner_b: bool, kc: int, num: Number, blk: Blocking, part: int = 4) -> int:
    """Inner panels that fit into a quarter (or another part) of the second-level cache."""
    width = blk.columns if inner_b else blk.pitch
    return max(1, cpu.cache_sizes().l2 // part // (width * kc * num.unit_bytes))


def _split(chunks: int, units: int, kc: int, work: int) -> tuple[int, int]:
    """Parts of the inner dimension where there are few chunks otherwise, and the units of a part."""
    units = max(units, 1)
    splits = 1
    if chunks < FEW and units >= 4 * kc:
        splits = max(1, min(2 * FEW // chunks, units // (2 * kc), work // (2 * GRAIN)))
    span = _ceil(_ceil(units, splits), kc) * kc
    return _ceil(units, span), span


def cut(
    batch: int, m: int, n: int, units: int, num: Number, blk: Blocking, direct_a: bool, direct_b: bool, workers: int,
    flat_b: bool = False, across: bool = False, finished: bool = False,
) -> Cut:  # fmt: skip
    """Chooses the blocks of ``batch`` contractions of m rows by n columns over ``units`` for so many workers;
    ``direct_a`` and ``direct_b`` say which operands are read where they are, ``flat_b`` whether B is contiguous along
    columns, so that memory likes to be read across panels; ``across``, that A is much the larger operand, so that as
    few chunks as possible should read a part of it; ``finished``, that more is done to an element than to store it.

    How the sum over units is cut depends on the sizes alone; how rows and columns are does not matter to results.
    B is the inner operand: a panel of A fits into the first-level cache while a block of B passes.
    """
    batch = max(batch, 1)
    work = 2 * m * n * max(units, 1) * num.depth
    busy = work + 2 * m * n * FINISH * finished
    share = work > MIDDLE and batch < FEW
    outer, inner = _ceil(max(m, 1), blk.rows), _ceil(max(n, 1), blk.columns)
    # with few rows, and where the columns keep all workers evenly busy, each part of B is packed once by the chunk that
    # needs it
    uneven = 10 * _ceil(inner, workers) * workers > 11 * inner
    share_a, share_b = share and not direct_a, share and not direct_b
    share_b = share_b and (uneven or across or (flat_b and outer >= TALL))
    kc = _long_block(units, num, blk)
    splits, span = _split(batch * _ceil(outer * inner, 32), units, kc, work)
    # what the sum depends on must not depend on the number of threads
    wide = flat_b and not (direct_b or across or num.tiles) and m <= WIDE_ROWS
    wide = wide and inner >= 2 * WIDE and units >= 4 * WIDE_UNITS
    if wide:
        kc, splits, span = WIDE_UNITS, 1, _ceil(units, WIDE_UNITS) * WIDE_UNITS
    low = direct_b and m <= LOW and splits == 1 and units >= 4 * LOW_UNITS and inner >= 2 * LOW_PANELS
    if low:
        kc, span = LOW_UNITS, _ceil(units, LOW_UNITS) * LOW_UNITS
    together = 1 if share_a or share_b or splits > 1 else batch
    wanted = max(
        1, min(_ceil((EACH_SHARED if share_b else EACH) * workers, together * splits), busy // splits // GRAIN)
    )
    inner_blocks = _ceil(inner, LOW_PANELS if low else _inner_room(True, kc, num, blk, 2 if share_b else 4))
    outer_blocks = 1 if splits > 1 or units <= kc else _ceil(outer, _tiles_room(_ceil(inner, inner_blocks), num, blk))
    if low:
        outer_blocks = 1
    elif direct_b or share_b:  # a part of the rows is cheap: nothing is packed again
        outer_blocks = max(outer_blocks, min(_ceil(wanted, inner_blocks), outer))
        if inner_blocks * outer_blocks > workers:  # no worker should have a chunk more than the others
            each = workers // math.gcd(inner_blocks, workers)
            outer_blocks = min(_ceil(outer_blocks, each) * each, outer)
        inner_blocks = max(inner_blocks, min(_ceil(wanted, outer_blocks), inner))
    elif wide:
        inner_blocks = max(_ceil(inner, WIDE), min(2 * workers, inner))
    else:
        inner_blocks = max(inner_blocks, min(wanted, inner))
        outer_blocks = max(outer_blocks, min(_ceil(wanted, inner_blocks), _ceil(outer, 24)))
    return Cut(
        True, share_a, share_b, inner_blocks, outer_blocks, inner, outer, splits, span, kc,
        batch // together, together, busy * batch > STAY,
    )  # fmt: skip


def _shared_out(inner: int, outer: int, wanted: int) -> tuple[int, int]:
    """More blocks of the inner and outer panels for workers without work, ``wanted`` of them if they are not too small
    then for what is packed once more for each.  Sizes are in elements, so are those of blocks."""
    inner_blocks = outer_blocks = 1
    while inner_blocks * outer_blocks < wanted and max(inner // inner_blocks, outer // outer_blocks) >= 2 * _LEAST:
        if outer // outer_blocks >= inner // inner_blocks:
            outer_blocks += 1
        else:
            inner_blocks += 1
    return inner_blocks, outer_blocks


def cut_image(
    batch: int, m: int, n: int, units: int, num: Number, blk: Blocking, inner_b: bool, workers: int
) -> Cut:  # fmt: skip
    """Blocks where the inner operand is costly to pack, and large: every part of it is packed by one chunk only, or,
    where that leaves some of the workers idle, by few."""
    rows, cols = _ceil(max(m, 1), blk.rows), _ceil(max(n, 1), blk.columns)
    inner, outer = (cols, rows) if inner_b else (rows, cols)
    width = blk.columns if inner_b else blk.rows
    work = 2 * m * n * max(units, 1) * num.depth
    batch = max(batch, 1)
    kc = unit_block(units, num, blk)
    wanted = max(1, min(_ceil(CHUNKS, batch), work // (4 * GRAIN)))
    per_inner = min(_inner_room(inner_b, kc, num, blk), max(1, _ceil(inner, wanted), 128 // width))
    inner_blocks = _ceil(inner, per_inner) if wanted > 1 else _ceil(inner, _inner_room(inner_b, kc, num, blk))
    outer_blocks = 1
    if units > kc:
        outer_blocks = _ceil(outer, _tiles_room(per_inner, num, blk))
    much = batch == 1 and work > MIDDLE_IMAGE
    if much and inner * LARGER <= outer and inner <= _inner_room(inner_b, kc, num, blk, 2):
        each = max(1, min(_ceil(outer, _tiles_room(inner, num, blk)), outer))
        chunks = min(_ceil(max(each, PER_WORKER * workers), workers) * workers, outer)
        return Cut(
            inner_b, False, True, 1, chunks, inner, outer, 1, _ceil(max(units, 1), kc) * kc, kc, 1, 1, work > STAY
        )
    splits, span = _split(batch * inner_blocks * outer_blocks, units, kc, work)
    if workers < inner_blocks < PER_WORKER * workers:  # as many for everyone
        inner_blocks = min(inner, _ceil(inner_blocks, workers) * workers)
    if workers > 1:
        most = min(_ceil(PER_WORKER * workers, batch * inner_blocks * outer_blocks * splits), work // (8 * GRAIN))
        size = _ceil(outer, outer_blocks) * (blk.rows if inner_b else blk.columns)
        outer_blocks *= _shared_out(1, size, most)[1]
        others = batch * inner_blocks * splits
        if work * batch > STAY and others * outer_blocks < PER_WORKER * workers:  # as many for everyone, here too
            even = (k for k in range(outer_blocks, outer + 1) if others * k % workers == 0)
            outer_blocks = next(even, outer_blocks)
    # many groups: each chunk packs for itself, so that all groups run together
    alone = batch == 1 or (batch < FEW and wanted > 1) or splits > 1
    return Cut(
        inner_b, alone and inner_blocks > 1, False, inner_blocks, outer_blocks, inner, outer, splits, span, kc,
        batch if alone else 1, 1 if alone else batch, work * batch > STAY,
    )  # fmt: skip


def part_of(segment: int, most: int) -> int:
    """The greatest divisor of ``segment`` that is at most ``most``."""
    return next(k for k in range(min(segment, most), 0, -1) if segment % k == 0)


def cut_long(
    batch: int, m: int, n: int, units: int, num: Number, blk: Blocking, workers: int, segment: int = 0
) -> Cut:  # fmt: skip
    """Blocks for contractions over many units into few columns, B being costly to pack: a block of B is as wide as the
    second-level cache allows, the units are split among chunks, and rows and columns too where that leaves some of the
    workers idle.  A is packed panel by panel as it is needed, or, if ``segment`` is given, read where it is in blocks
    that lie within one of so many units."""
    caches = cpu.cache_sizes()
    outer, inner = _ceil(max(m, 1), blk.rows), _ceil(max(n, 1), blk.columns)
    work = 2 * m * n * max(units, 1) * num.depth
    batch = max(batch, 1)
    parallel = work * batch > STAY
    kc = unit_block(units, num, blk)
    room = caches.l2 // 2 // (blk.columns * num.unit_bytes)
    if inner * kc > room:
        kc = min(kc, max(128, room // inner // 8 * 8))
    if segment:
        kc = part_of(segment, kc)
    inner_blocks = _ceil(inner, max(1, room // kc))
    outer_blocks = 1 if units <= kc else _ceil(outer, _tiles_room(_ceil(inner, inner_blocks), num, blk))
    splits = 1
    if work > 8 * GRAIN:
        splits = max(1, min(PARTS // (inner_blocks * outer_blocks * batch), units // kc, work // (8 * GRAIN)))
    span = _ceil(_ceil(max(units, 1), splits), kc) * kc
    splits = _ceil(max(units, 1), span)
    if parallel and workers > 1:
        most = min(_ceil(PER_WORKER * workers, batch * inner_blocks * outer_blocks * splits), work // (8 * GRAIN))
        sizes = _ceil(inner, inner_blocks) * blk.columns, _ceil(outer, outer_blocks) * blk.rows
        more = _shared_out(*sizes, most)
        inner_blocks, outer_blocks = inner_blocks * more[0], outer_blocks * more[1]
    return Cut(
        True, False, False, inner_blocks, outer_blocks, inner, outer, splits, span, kc,
        batch if splits > 1 else 1, 1 if splits > 1 else batch, parallel,
    )  # fmt: skip
