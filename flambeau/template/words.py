"""The parameter words of contractions: their names, what `blocking.Cut` says in them, and the scratch memory."""

from __future__ import annotations

from collections.abc import Sequence

from .blocking import Cut
from .micro import Blocking, Number

__all__ = [
    "COMMON",
    "LINE",
    "Words",
    "common_values",
    "finished_together",
    "outer_bytes",
    "packing_words",
    "scratch_bytes",
    "scratch_layout",
]

LINE = 64
SMALL_WORK = 1 << 15
"""Matrices of fewer multiplications than this share a chunk."""

_TOGETHER = 4096
"""Bytes of tiles that are finished together: they stay in the first-level cache."""
_SHORT = 192
"""Units of a sum up to which they are."""

COMMON = (
    "chunks", "pool", "problems", "length", "m", "n", "units",
    "batch1", "batch2", "a_0", "a_1", "a_2", "b_0", "b_1", "b_2", "c_0", "c_1", "c_2",
    "inner_b", "outer_shared", "inner_shared", "inner_blocks", "outer_blocks", "inner_panels", "outer_panels",
    "splits", "span", "kc", "sequential", "pack_chunks", "reduce_chunks",
    "inner_at", "partial_at", "worker_at", "worker_bytes", "tiles_at", "outer_at", "tile_step", "micro", "core",
    "workers", "group", "together", "ready", "ready_step", "by_inner", "near", "near_batch", "near_row", "near_step",
    "wide",
)  # fmt: skip
"""Words of every problem; "problems" and "length" (words of a problem) count in the first one only."""


class Words:
    """The names of a problem's words, in order; the epilogue's words and tables follow them."""

    def __init__(self, own: Sequence[str]) -> None:
        self.names = (*COMMON, *own)
        self.index = {name: i for i, name in enumerate(self.names)}

    def pack(self, values: dict[str, int], tail: Sequence[int]) -> list[int]:
        """The words of a problem, but for those that are not known yet (0)."""
        return [values.get(name, 0) for name in self.names] + list(tail)


def _round(value: int, to: int = LINE) -> int:
    return -(-value // to) * to


def common_values(
    plan: Cut, batch: Sequence[int], m: int, n: int, units: int, num: Number, blk: Blocking, micro: int, pool: int,
    packed: bool = True, tiled: int = 1, ready: bool = False, by_inner: bool = False,
) -> dict[str, int]:  # fmt: skip
    """The common words but for strides: what `Cut` says, at most three batch sizes, the micro-kernel's address.

    ``packed`` and ``tiled`` say whether a chunk needs room for panels and for tiles, see `scratch_layout`.  ``ready``:
    the outer operand is given packed, matrix by matrix (`packing_words` makes that).  ``by_inner``: neighbouring chunks
    share a block of the inner operand rather than one of the outer, so that each thread has a part of the inner one.
    """
    full = (1,) * (3 - len(batch)) + tuple(batch)
    some = int(all((m, n, *batch)))
    per_matrix = plan.splits * plan.outer_blocks * plan.inner_blocks
    if plan.splits > 1 or plan.span > plan.kc:  # tiles wait for the other blocks of units
        tiled = min(tiled, 1)
    group = 1 if per_matrix > 1 else max(1, SMALL_WORK // max(1, m * n * units))
    return {
        "chunks": per_matrix * -(-plan.together // group) * some, "group": group, "together": plan.together,
        "pool": pool if plan.parallel else 0, "m": m, "n": n, "units": units,
        "batch1": full[1], "batch2": full[2],
        "inner_b": int(plan.inner_b),
        "outer_shared": int(plan.outer_shared), "inner_shared": int(plan.inner_shared),
        "inner_blocks": plan.inner_blocks, "outer_blocks": plan.outer_blocks,
        "inner_panels": plan.inner_panels, "outer_panels": plan.outer_panels,
        "splits": plan.splits, "span": plan.span, "kc": plan.kc, "sequential": plan.sequential * some,
        "pack_chunks": -(-units // plan.kc)
        * (plan.outer_panels * (plan.outer_shared and not ready) + plan.inner_panels * plan.inner_shared),
        "ready": int(ready), "ready_step": outer_bytes(plan, units, num, blk) * ready,
        "reduce_chunks": plan.outer_panels if plan.splits > 1 else 0,
        "micro": micro, "by_inner": int(by_inner), "wide": max(tiled, 1),
        **scratch_layout(plan, units, num, blk, packed, tiled, ready),
    }  # fmt: skip


def finished_together(units: int, num: Number, blk: Blocking) -> int:
    """Tiles that are best finished together: several where sums are so short that what comes between them counts."""
    return max(1, _TOGETHER // (blk.rows * blk.columns * num.acc_bytes)) if units <= _SHORT else 1


def outer_bytes(plan: Cut, units: int, num: Number, blk: Blocking) -> int:
    """Bytes of the packed outer operand of one matrix."""
    return _round(plan.outer_panels * units * (blk.pitch if plan.inner_b else blk.columns) * num.unit_bytes)


def packing_words(words: Words, values: dict[str, int], tail: Sequence[int]) -> list[int]:
    """The words with which an entry only packs the outer operand of all matrices, into the scratch memory."""
    units, kc = values["units"], values["kc"]
    only = {"pack_chunks": -(-units // kc) * values["outer_panels"], "ready": 0, "chunks": 0, "reduce_chunks": 0}
    matrices = {"sequential": values["sequential"] * values["together"], "outer_shared": 1, "inner_shared": 0}
    return words.pack(values | only | matrices | {"problems": 1}, tail)


def scratch_layout(
    plan: Cut, units: int, num: Number, blk: Blocking, packed: bool = True, tiled: int = 1, ready: bool = False
) -> dict[str, int]:
    """Where things lie in scratch memory: the shared operands (outer, inner), partial sums, then a part for every
    worker with its inner block, a panel of the outer operand, and tiles.

    Without ``packed`` no panel is packed by a chunk: both operands are read where they are.  ``tiled`` tiles along the
    inner operand are finished together; 0 if every tile is computed where it belongs in the result.
    """
    tile = blk.rows * blk.columns * num.acc_bytes
    inner_width, outer_width = (blk.columns, blk.pitch) if plan.inner_b else (blk.pitch, blk.columns)
    inner_at = outer_bytes(plan, units, num, blk) * (plan.outer_shared and not ready)
    partial_at = inner_at + _round(plan.inner_panels * units * inner_width * num.unit_bytes) * plan.inner_shared
    partial = plan.splits * plan.outer_panels * plan.inner_panels * tile if plan.splits > 1 else 0
    outer_at = _round(plan.inner_most * plan.kc * inner_width * num.unit_bytes) * (packed and not plan.inner_shared)
    tiles_at = outer_at + _round(plan.kc * outer_width * num.unit_bytes) * (packed and not plan.outer_shared)
    many = plan.span > plan.kc and plan.splits == 1 and tiled
    tiles = plan.inner_most * plan.outer_most if many else tiled
    worker_at = _round(partial_at + partial)
    return {
        "inner_at": inner_at, "partial_at": partial_at,
        "worker_at": worker_at, "worker_bytes": _round(tiles_at + tiles * tile),
        "outer_at": outer_at, "tiles_at": tiles_at, "tile_step": tile if many else 0,
    }  # fmt: skip


def scratch_bytes(values: dict[str, int], workers: int) -> int:
    """Bytes of scratch memory that the problem with these words needs."""
    return values["worker_at"] + max(workers, 1) * values["worker_bytes"]
