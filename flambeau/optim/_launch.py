"""Running an update rule on many tensors by one kernel."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

from ..deferred.deferral import Deferral, deferral
from ..device import cpu
from ..dispatch.call import special
from ..layout import Layout
from ..runtime import pool
from ..template import optimizer as template
from ..tensor import Tensor, materialize

__all__ = ["advance_counters", "alike", "launch", "others_watch", "pending"]

_ALONE = 30_000  # elements up to which a launch stays on the calling thread
_KEPT = 512  # plans that are remembered
Formula = Callable[..., Any]


class _Plan:
    """A kernel bound to tensors of given layouts: what stays the same from step to step."""

    def __init__(self, kernel: Callable[..., int], layouts: Sequence[Layout], count: int) -> None:
        sizes = [layout.numel for layout in layouts[:count]]
        chunks = array("q")
        for number, size in enumerate(sizes):
            for start in range(0, size, template.CHUNK):
                chunks.append(number)
                chunks.append(start)
        pieces = len(chunks) // 2
        alone = sum(sizes) <= _ALONE or pieces == 1
        self.kernel = kernel
        self.sizes = array("q", sizes)
        self.chunks = chunks
        # Of scalars there is one row for all tensors, or one for each.
        self.shared = array("q", [pieces, 0 if alone else pool.address(), count, 0])
        self.each = array("q", [pieces, 0 if alone else pool.address(), count, 1])

    def run(self, addresses: list[int], scalars: Sequence[Sequence[float]]) -> None:
        """Update the tensors at these addresses, array after array."""
        first = scalars[0]
        if scalars.count(first) == len(scalars):
            params, numbers = self.shared, array("d", first)
        else:
            params, numbers = self.each, array("d", [x for own in scalars for x in own])
        tensors = self.sizes + array("q", addresses)
        self.kernel(
            params.buffer_info()[0],
            tensors.buffer_info()[0],
            numbers.buffer_info()[0],
            self.chunks.buffer_info()[0],
        )


_plans: dict[tuple[Any, ...], _Plan | None] = {}
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


def alike(layouts: Sequence[Layout | None]) -> bool:
    """Whether a kernel may take tensors of these layouts element by element; None stands for memory not to be used."""
    first = layouts[0]
    return first is not None and all(
        layout is not None
        and _is_regular(layout)
        and (layout is first or (layout.shape == first.shape and layout.strides == first.strides))
        for layout in layouts
    )


def _plan(
    name: str,
    formula: Formula,
    variant: Any,
    layouts: Sequence[Layout | None],
    count: int,
    written: tuple[int, ...],
    scalar_count: int,
) -> _Plan | None:
    """The plan for tensors of these layouts, array after array; None if one kernel cannot take them all."""
    if not all(alike(layouts[i::count]) for i in range(count)):
        return None
    codes = []
    for start in range(0, len(layouts), count):
        kinds = {layout.dtype.code for layout in layouts[start : start + count]}  # type: ignore[union-attr]
        if len(kinds) != 1:
            return None
        codes.append(kinds.pop())
    kernel = template.update(name, formula, variant, tuple(codes), written, scalar_count)
    return _Plan(kernel, layouts, count)  # type: ignore[arg-type]


def launch(
    name: str,
    formula: Formula,
    variant: Any,
    arrays: Sequence[Sequence[Tensor]],
    scalars: Sequence[Sequence[Any]],
    written: tuple[int, ...],
) -> list[int]:
    """Apply a rule to all tensors that kernels can take; returns the numbers of the others.

    Args:
        arrays: one list of tensors for each array of the rule.
        scalars: the scalars of each tensor of a list.
        written: the numbers of the lists whose tensors change.
    """
    if _launch_whole(name, formula, variant, arrays, scalars, written):
        return []
    # Together they do not fit: sort out which do, and which must go alone.
    left: list[int] = []
    kinds: dict[tuple[str, ...], list[int]] = {}
    seen: set[int] = set()
    for i, row in enumerate(zip(*arrays)):
        if not alike([t._key for t in row]):
            left.append(i)
            continue
        # A parameter given twice must be updated twice, one after the other.
        place = row[0]._storage.ptr + row[0]._offset * row[0]._layout.itemsize
        if place in seen and row[0]._layout.numel:
            left.append(i)
            continue
        seen.add(place)
        kinds.setdefault(tuple([t._layout.dtype.code for t in row]), []).append(i)
    for part in kinds.values():
        own = [[tensors[i] for i in part] for tensors in arrays]
        if not _launch_whole(name, formula, variant, own, [scalars[i] for i in part], written):
            left += part
    return sorted(left)


def _launch_whole(
    name: str,
    formula: Formula,
    variant: Any,
    arrays: Sequence[Sequence[Tensor]],
    scalars: Sequence[Sequence[Any]],
    written: tuple[int, ...],
) -> bool:
    """Apply a rule to all tensors by one kernel; False, with nothing done, if that cannot be."""
    count = len(arrays[0])
    if not count:
        return True
    if special:
        return False
    every: list[Tensor] = [tensor for tensors in arrays for tensor in tensors]
    if None in [tensor._key for tensor in every]:  # pending, or only so until a program ran
        for tensor in every:
            materialize(tensor)
    keys = [tensor._key for tensor in every]  # the layout of a plain tensor whose value is in memory, or None
    scalar_count = len(scalars[0])
    known = (name, variant, count, scalar_count, *keys)
    plan = _plans.get(known, False)
    if plan is False:
        if len(_plans) >= _KEPT:
            _plans.clear()
        plan = _plans[known] = _plan(name, formula, variant, keys, count, written, scalar_count)
    if plan is None:
        return False
    if any(isinstance(x, Tensor) for x in scalars[0]):
        return False
    addresses = [tensor._storage.ptr for tensor in every]
    offsets = [tensor._offset for tensor in every]
    if any(offsets):
        addresses = [a + o * t._layout.itemsize for a, o, t in zip(addresses, offsets, every)]
    if len(set(addresses[:count])) < count:
        return False
    plan.run(addresses, scalars)
    for i in written:
        for tensor in arrays[i]:
            tensor._storage.version += 1
    return True


def others_watch(recorder: Deferral) -> bool:
    """Whether calls must not take a short path for another reason than that memory is about to be written."""
    return any(reason is not recorder.homes and reason is not recorder for reason in special)


def pending(tensors: Sequence[Tensor]) -> bool:
    """Whether a value is still to be computed."""
    states = [tensor._storage.pending for tensor in tensors]
    return states.count(None) != len(states)


def advance_counters(counters: Sequence[Tensor]) -> list[float] | None:
    """Add one to 0-dimensional tensors and return their values; None when they do not lie in memory alike."""
    if not counters:
        return []
    layout = counters[0]._layout
    if layout.ndim or layout.device is not cpu or layout.dtype.code not in ("f32", "f64"):
        return None
    recorder = deferral()
    if special and (others_watch(recorder) or any(recorder.reads(t._storage) for t in counters)):
        return None
    count = len(counters)
    if [t._key for t in counters].count(layout) != count or pending(counters):
        return None
    addresses = array("q", [t._storage.ptr + t._offset * layout.itemsize for t in counters])
    values = array("d", bytes(8 * count))
    template.advance(layout.dtype.code)(addresses.buffer_info()[0], values.buffer_info()[0], count)
    for tensor in counters:
        tensor._storage.version += 1
    if recorder.steps is not None:
        recorder.steps.advanced(counters)
    return values.tolist()
