"""Running an update rule on many tensors by one kernel."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

from ..device import cpu
from ..layout import Layout
from ..runtime import pool
from ..template import optimizer as template
from ..tensor import Tensor

__all__ = ["advance_counters", "launch"]

_ALONE = 30_000  # elements up to which a launch stays on the calling thread
_KEPT = 256  # plans that are remembered
Row = tuple[Tensor, ...]


class _Plan:
    """The split of the work for tensors of given sizes: made once, while the sizes stay the same."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        table = array("q")
        for number, size in enumerate(sizes):
            for start in range(0, size, template.CHUNK):
                table.append(number)
                table.append(start)
        count = len(table) // 2
        self.chunks = table
        self.chunks_address = _address(table)
        alone = sum(sizes) <= _ALONE or count == 1
        self.params = array("q", [count, 0 if alone else pool.address()])
        self.params_address = _address(self.params)


_plans: dict[tuple[int, ...], _Plan] = {}


def _address(table: array[Any]) -> int:
    return table.buffer_info()[0]


_regular: dict[Layout, bool] = {}


def _is_regular(layout: Layout) -> bool:
    """Whether a kernel may take the elements of such tensors in the order of memory."""
    found = _regular.get(layout)
    if found is None:
        if len(_regular) > 10_000:
            _regular.clear()
        found = layout.device is cpu and layout.dtype.code in template.CODES and (layout.contiguous or layout.dense)
        _regular[layout] = found
    return found


def _suits(row: Row) -> bool:
    """Whether all tensors of a row lie in memory alike, with values computed."""
    layout = row[0]._layout
    if not _is_regular(layout):
        return False
    for tensor in row:
        other = tensor._layout
        if tensor._storage.pending is not None:
            return False
        if other is not layout and not (
            other.shape == layout.shape and other.strides == layout.strides and _is_regular(other)
        ):
            return False
    return True


def launch(
    name: str,
    formula: Callable[..., Any],
    variant: Any,
    rows: Sequence[Row],
    scalars: Sequence[Sequence[Any]],
    written: tuple[int, ...],
) -> list[Row]:
    """Apply a rule to all rows of tensors that a kernel can take; returns the others.

    Args:
        rows: the tensors of each parameter.
        scalars: its scalars.
        written: the numbers of the tensors in a row that change.
    """
    left: list[Row] = []
    kinds: dict[tuple[str, ...], list[int]] = {}
    seen: set[int] = set()
    for i, row in enumerate(rows):
        first = row[0]
        place = first._storage.ptr + first._offset * first._layout.itemsize
        # A parameter given twice must be updated twice, one after the other.
        if place in seen or not _suits(row) or any(isinstance(x, Tensor) for x in scalars[i]):
            left.append(row)
            continue
        seen.add(place)
        kinds.setdefault(tuple([t._layout.dtype.code for t in row]), []).append(i)
    for codes, chosen in kinds.items():
        _run(name, formula, variant, codes, [rows[i] for i in chosen], [scalars[i] for i in chosen], written)
    return left


def _run(
    name: str,
    formula: Callable[..., Any],
    variant: Any,
    codes: tuple[str, ...],
    rows: Sequence[Row],
    scalars: Sequence[Sequence[float]],
    written: tuple[int, ...],
) -> None:
    kernel = template.update(name, formula, variant, codes, written, len(scalars[0]))
    sizes = tuple([row[0]._layout.numel for row in rows])
    plan = _plans.get(sizes)
    if plan is None:
        if len(_plans) >= _KEPT:
            _plans.clear()
        plan = _plans[sizes] = _Plan(sizes)
    words: list[int] = []
    for row in rows:
        words.append(row[0]._layout.numel)
        words.extend([t._storage.ptr + t._offset * t._layout.itemsize for t in row])
    tensors = array("q", words)
    first = scalars[0]
    if all(own is first for own in scalars):
        numbers = array("d", first) * len(rows)
    else:
        numbers = array("d", [x for own in scalars for x in own])
    kernel(plan.params_address, _address(tensors), _address(numbers), plan.chunks_address)
    for row in rows:
        for i in written:
            row[i]._storage.version += 1


def advance_counters(counters: Sequence[Tensor]) -> list[float] | None:
    """Add one to 0-dimensional tensors and return their values; None when they do not lie in memory alike."""
    if not counters:
        return []
    layout = counters[0]._layout
    if layout.ndim or layout.device is not cpu or layout.dtype.code not in ("f32", "f64"):
        return None
    if any(t._layout is not layout or t._storage.pending is not None for t in counters):
        return None
    count = len(counters)
    addresses = array("q", [t._storage.ptr + t._offset * layout.itemsize for t in counters])
    values = array("d", bytes(8 * count))
    template.advance(layout.dtype.code)(_address(addresses), _address(values), count)
    for tensor in counters:
        tensor._storage.version += 1
    return values.tolist()
