"""Where the parts of a distributed tensor lie in the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..device_mesh import DeviceMesh
from .placement_types import Placement, Shard

__all__ = ["compute_global_tensor_shape", "compute_local_shape_and_global_offset"]


def compute_local_shape_and_global_offset(
    global_shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement], skip_offset: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of this process's part, and where it begins (no offsets if ``skip_offset``).

    A process outside the mesh has an empty part.  Of parts with gaps the offset is that of the first row.
    """
    place = mesh.get_coordinate()
    if place is None:
        return (0,), ()
    rows: dict[int, list[int]] = {}
    shape = list(global_shape)
    for d, p in enumerate(placements):
        if isinstance(p, Shard):
            dim = p.dim % len(shape)
            before = rows.get(dim, list(range(shape[dim])))
            chosen = p._intervals(len(before), mesh.size(d), place[d])
            rows[dim] = [before[i] for start, n in chosen for i in range(start, start + n)]
            shape[dim] = len(rows[dim])
    if skip_offset:
        return tuple(shape), ()
    offsets = (rows[d][0] if rows.get(d) else (n if d in rows else 0) for d, n in enumerate(global_shape))
    return tuple(shape), tuple(offsets)


def compute_global_tensor_shape(
    shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement]
) -> tuple[int, ...]:
    """The shape of the whole of which every process has a part of this size."""
    found: Any = list(shape)
    for d, p in enumerate(placements):
        if isinstance(p, Shard):
            found[p.dim] *= mesh.size(d)
    return tuple(found)
