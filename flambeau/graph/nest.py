"""The loops of a group: their order, which of them becomes vectors, and how the work is cut into pieces."""

from __future__ import annotations

import math

from ..dtype import coded
from ..loop.nodes import Expr
from ..runtime.cpu import cache_sizes
from .group import Group
from .heavy import HEAVY

__all__ = ["BLOCK", "WIDE", "Nest", "flat_words", "pieces"]

_SERIAL_WORK = 32_768  # elements of light work below which a kernel stays on the caller
_CHUNK_WORK = 32_768
_CHUNKS = 128  # at most, if the units are small: where a chunk ends, the lines fetched beyond its end are of no use
BLOCK = 4096
WIDE = 128  # columns that are reduced side by side
_LINE = 64  # bytes of a cache's line


def flat_words(n: int, cost: int) -> tuple[int, tuple[int, ...]]:
    """(chunks, words) of a kernel that is one loop over ``n`` consecutive elements of this cost each."""
    block = n if n <= 2 * BLOCK else BLOCK
    units = -(-n // block)
    grain, chunks = pieces(units, block * cost)
    return chunks, (units, grain, block, n)


def pieces(units: int, cost: int) -> tuple[int, int]:
    """(units of a chunk, number of chunks) for units of this cost; the work of a chunk is worth handing out."""
    if units * cost < _SERIAL_WORK * 2:
        return units, 1
    work = max(_CHUNK_WORK, -(-units * cost // _CHUNKS))
    grain = max(1, work // max(cost, 1))
    return grain, -(-units // grain)


class Nest:
    """The loops of a group, outermost first: ``loops`` has the dimension that stands for each (several are one loop if
    every access steps through them evenly), its extent, and whether it is reduced.

    ``name_of`` has their variables, ``coefficients`` the steps of the group's forms that are in use, by dimension.
    ``vector`` is the dimension whose loop becomes vectors, or None; ``heavy`` counts the operations of `HEAVY`.
    """

    def __init__(self, group: Group) -> None:
        self.g = group
        self._arrange()
        self.vector = self._choose_vector()

    def _used_forms(self) -> tuple[list[int], int]:
        """Forms in use (loads, index values, stores), and how many heavy operations are computed; notes in
        ``computed`` the dimensions along which the position of a load is a computed one."""
        used: dict[int, None] = {}
        heavy = 0
        self.computed: dict[int, set[int]] = {}
        stack, seen = self.g.roots(), set()
        while stack:
            e = stack.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            if e.op == "access":
                used[e.attr[1]] = None
                if e.args:
                    self.computed.setdefault(e.attr[1], set()).update(*(self._dimensions(a) for a in e.args))
            elif e.op == "index":
                used[e.attr] = None
            heavy += e.op in HEAVY
            stack.extend(e.args)
        for w in self.g.writes():
            used[w.form] = None
        return list(used), heavy

    def _dimensions(self, e: Expr) -> set[int]:
        """The dimensions that an expression depends on."""
        found: set[int] = set()
        stack, seen = [e], set()
        while stack:
            x = stack.pop()
            if id(x) not in seen:
                seen.add(id(x))
                if x.op in ("access", "index"):
                    form = x.attr if x.op == "index" else x.attr[1]
                    found.update(d for d, _ in self.g.forms[form].terms)
                stack.extend(x.args)
        return found

    def _arrange(self) -> None:
        """Orders, merges and numbers the loops; the innermost of each role comes last."""
        g = self.g
        used, self.heavy = self._used_forms()
        coefficients = {f: dict(g.forms[f].terms) for f in used}
        stored = [coefficients[w.form] for w in g.writes()]
        loads = [c for f, c in coefficients.items() if c not in stored]
        extents = dict(enumerate(g.space))
        if g.split is not None:
            extents[len(g.space)] = -(-g.space[g.split[0]] // g.split[1])
        inner = set(g.reduced)

        def weight(d: int, forms: list[dict[int, int]]) -> int:
            return max((abs(c.get(d, 0)) for c in forms), default=0)

        outer = [d for d, n in extents.items() if d not in inner and n != 1]
        outer.sort(key=lambda d: (-weight(d, stored), -weight(d, loads), d))
        reduced = [d for d in g.reduced if g.space[d] != 1]
        reduced.sort(key=lambda d: (-weight(d, loads or stored), d))
        fixed = {g.split[0], len(g.space)} if g.split is not None else set()

        def collapse(dims: list[int]) -> list[list[int]]:
            runs: list[list[int]] = []
            for d in dims:
                if runs and d not in fixed and runs[-1][-1] not in fixed:
                    before = runs[-1][-1]
                    if all(c.get(before, 0) == c.get(d, 0) * extents[d] for c in coefficients.values()):
                        runs[-1].append(d)
                        continue
                runs.append([d])
            return runs

        self.loops: list[tuple[int, int, bool]] = []  # (representative dimension, extent, reduced)
        for dims, is_reduced in ((outer, False), (reduced, True)):
            for run in collapse(dims):
                n = 1
                for d in run:
                    n *= extents[d]
                self.loops.append((run[-1], n, is_reduced))
        kept = [d for d, _, _ in self.loops]
        self.name_of = {d: f"i{k}" for k, d in enumerate(kept)}
        self.coefficients = coefficients

    def _choose_vector(self) -> int | None:
        """The dimension whose loop becomes vectors: the one along which most accesses are contiguous."""
        g = self.g
        positions = any(s[4] is not None for s in g.scan_writes)
        if positions or any(w.kind != "store" for w in g.element_writes) or g.serial:
            candidates = [d for d, _, r in self.loops if not r]
        else:
            candidates = [d for d, _, _ in self.loops]
        if g.split is not None:  # the bounds of the split loop follow the piece, so pieces are not lanes
            candidates = [d for d in candidates if d != len(g.space)]
        best, best_score = None, 0
        writes = {w.form for w in g.writes()}
        extent = {d: n for d, n, _ in self.loops}
        for d in candidates:
            score = 0
            for f, c in self.coefficients.items():
                step = -1 if d in self.computed.get(f, ()) else abs(c.get(d, 0))
                worth = 3 if f in writes else 2
                score += worth * (2 if step == 1 else 1 if step in (0, 2) else -1)
            if extent[d] < 4:
                score -= 8
            if score >= best_score or best is None:
                best, best_score = d, score
        if best is None or (best_score < 0 and (g.scan_writes or g.serial)):
            return None
        return best

    def block(self, n: int, row_work: int, few: int) -> int:
        """How much of a vector loop is one unit: all of it when there are other units, or it is short."""
        if row_work == 1:
            return n if n <= 2 * BLOCK or few >= 4096 else BLOCK
        if n <= 256 and few >= 64:
            return n
        if self.g.serial:
            return max(64, -(-n // 512) * 64)
        return WIDE if n % WIDE == 0 else min(n, 64)

    def streamed(self, block: int | None) -> tuple[set[int], int]:
        """(buffers whose stores go past the caches, number of elements from which on that is so).

        Results too big for the last cache would only displace what is in it, and reading each line before
        it is overwritten takes a third of the memory's time.  A stream needs whole vectors on their boundaries.
        """
        g, vector = self.g, self.vector
        if vector is None or g.scan_writes or g.serial:
            return set(), 0
        elements = math.prod(g.space)
        read = g.buffers_read()
        writes = [w for w in g.element_writes if w.kind == "store" and not w.others]
        if not writes or len(writes) != len(g.element_writes) + len(g.row_writes):
            return set(), 0
        found: set[int] = set()
        other: set[int] = set()
        nbytes = 0
        for w in writes:
            size = coded(g.type_of(w.buffer)).itemsize
            nbytes += size
            steps = self.coefficients[w.form]
            others = [c for d, c in steps.items() if d != vector] + [g.forms[w.form].const]
            aligned = all(c * size % _LINE == 0 for c in others) and (block is None or block * size % _LINE == 0)
            whole = aligned and steps.get(vector) == 1 and w.buffer not in read and not g.is_argument(w.buffer)
            (found if whole else other).add(w.buffer)
        found -= other  # all stores to a buffer are streamed, or none
        stream_from = cache_sizes().l3 // 2 // nbytes
        return (found if elements >= stream_from else set()), stream_from
