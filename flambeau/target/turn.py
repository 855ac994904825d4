"""Square blocks turned over inside of vector registers."""

from __future__ import annotations

from .builder import Builder, Val

__all__ = ["transpose"]


def transpose(b: Builder, rows: list[Val], elem_bits: int) -> list[Val]:
    """The transpose of a square block held in vectors: first inside 128-bit parts, then of the parts.

    Every shuffle takes half its lanes from each operand in an order that x86 and ARM have an instruction for.
    """
    size = len(rows)
    part = min(size, 128 // elem_bits)
    parts = size // part

    def pick(x: Val, y: Val, lanes: list[tuple[int, int]]) -> Val:
        """Lanes given as (operand, lane)."""
        return b.shuffle(x, y, [operand * size + lane for operand, lane in lanes])

    def interleave(x: Val, y: Val, run: int, upper: int) -> Val:
        """Alternates runs of lanes of the lower or upper half of every part."""
        lanes = []
        for p in range(parts):
            for g in range(part // run // 2):
                first = p * part + g * run + upper * part // 2
                lanes += [(operand, first + e) for operand in range(2) for e in range(run)]
        return pick(x, y, lanes)

    def within(group: list[Val]) -> list[Val]:
        """The columns of some rows, of all parts side by side: those of half of the rows, alternated."""
        if len(group) == 1:
            return group
        run = len(group) // 2
        low, high = within(group[:run]), within(group[run:])
        return [interleave(low[i // 2], high[i // 2], run, i % 2) for i in range(len(group))]

    turned = [column for base in range(0, size, part) for column in within(rows[base : base + part])]

    def move(x: Val, y: Val, chosen: list[tuple[int, int]]) -> Val:
        """Whole parts given as (operand, part)."""
        return pick(x, y, [(operand, p * part + e) for operand, p in chosen for e in range(part)])

    out = list(turned)
    for j in range(part):
        column = [turned[p * part + j] for p in range(parts)]
        if parts == 2:
            x, y = column
            column = [move(x, y, [(0, p), (1, p)]) for p in range(2)]
        elif parts == 4:
            w, x, y, z = column
            left = [move(w, x, [(0, p), (0, p + 1), (1, p), (1, p + 1)]) for p in (0, 2)]
            right = [move(y, z, [(0, p), (0, p + 1), (1, p), (1, p + 1)]) for p in (0, 2)]
            column = [
                move(left[p // 2], right[p // 2], [(0, p % 2), (0, p % 2 + 2), (1, p % 2), (1, p % 2 + 2)])
                for p in range(4)
            ]
        for p in range(parts):
            out[p * part + j] = column[p]
    return out
