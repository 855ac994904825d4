"""From one list of placements to another, with gradients.

The gradient of a part is the part of the gradient, that of a whole is whole in every process, and so is that of an
addend: the derivative of a sum by each of them is the same.  Every derivative is then a change of placements, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...autograd.function import Function
from ...autograd.mode import is_grad_enabled
from ...ops import from_data
from ...ops.convert import contiguous_format
from .. import collectives
from .._functional_collectives import _op
from ..device_mesh import DeviceMesh
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = ["Placements", "coordinate", "extent", "graded", "gradient_placements", "moved", "normal", "share"]

Placements = tuple[Placement, ...]


def normal(placements: Sequence[Placement] | None, mesh: DeviceMesh, ndim: int, name: str) -> Placements:
    """One placement for every dimension of the mesh, with dimensions counted from the front.

    None stands for a whole everywhere.  Raises ValueError for another number, IndexError for dimensions beyond.
    """
    if placements is None:
        return (Replicate(),) * mesh.ndim
    if len(placements) != mesh.ndim:
        raise ValueError(
            f"{name}: `placements` must have the same length as `device_mesh.ndim`, got {len(placements)} placements "
            f"for {mesh.ndim} dimensions"
        )
    found: list[Placement] = []
    for p in placements:
        if isinstance(p, Shard):
            if not -ndim <= p.dim < ndim:
                raise IndexError(f"{name}: {p!r} of a tensor that has {ndim} dimensions")
            p = p._at(p.dim % ndim)
        found.append(p)
    return tuple(found)


def coordinate(mesh: DeviceMesh) -> list[int]:
    """The place of this process; raises RuntimeError if the mesh has none for it."""
    place = mesh.get_coordinate()
    if place is None:
        raise RuntimeError(f"this process (rank {mesh.get_rank()}) is not in {mesh}, so it has no part of its tensors")
    return place


def extent(shape: Sequence[int], mesh: DeviceMesh, placements: Sequence[Placement]) -> list[int]:
    """The shape of the part that this process has."""
    place, found = coordinate(mesh), list(shape)
    for d, p in enumerate(placements):
        if isinstance(p, Shard):
            found[p.dim] = sum(n for _, n in p._intervals(found[p.dim], mesh.size(d), place[d]))
    return found


def share(local: Any, shard: Shard, count: int, rank: int) -> Any:
    """The rows of one process."""
    parts = [local.narrow(shard.dim, start, n) for start, n in shard._intervals(local.shape[shard.dim], count, rank)]
    return parts[0] if len(parts) == 1 else ops.cat(parts, shard.dim)


def gradient_placements(placements: Sequence[Placement]) -> Placements:
    """Where the gradient of a tensor lies."""
    return tuple(Replicate() if isinstance(p, Partial) else p for p in placements)


def _padded(part: Any, dim: int, rows: int) -> Any:
    missing = rows - part.shape[dim]
    if missing:
        shape = list(part.shape)
        shape[dim] = missing
        part = ops.cat([part, part.new_zeros(shape)], dim)
    return part.contiguous()


def _gathered(local: Any, shard: Shard, size: int, mesh: DeviceMesh, d: int) -> Any:
    """All parts of a dimension of ``size`` rows."""
    count, dim = mesh.size(d), shard.dim
    rows = [shard._intervals(size, count, r) for r in range(count)]
    lengths = [sum(n for _, n in r) for r in rows]
    mine = _padded(local, dim, max(lengths))
    parts = [ops.empty_like(mine) for _ in range(count)]
    collectives.all_gather(parts, mine, mesh.get_group(d))
    whole = ops.cat([p.narrow(dim, 0, n) for p, n in zip(parts, lengths)], dim)
    order = [i for r in rows for start, n in r for i in range(start, start + n)] if len(rows[0]) > 1 else None
    if order is None:
        return whole
    places = sorted(range(size), key=order.__getitem__)
    return whole.index_select(dim, from_data.tensor(places, device=whole.device))


def _combined(local: Any, partial: Partial, target: Placement, mesh: DeviceMesh, d: int) -> Any:
    """The reduction of what the processes have, or this one's part of it."""
    op, group, count = _op(partial.reduce_op), mesh.get_group(d), mesh.size(d)
    if not isinstance(target, Shard):
        found = local.clone(memory_format=contiguous_format)
        collectives.all_reduce(found, op, group)
        return found
    parts = [share(local, target, count, r) for r in range(count)]
    rows = max(p.shape[target.dim] for p in parts)
    length = parts[coordinate(mesh)[d]].shape[target.dim]
    parts = [_padded(p, target.dim, rows) for p in parts]
    found = ops.empty_like(parts[0])
    collectives.reduce_scatter(found, parts, op, group)
    return found.narrow(target.dim, 0, length).contiguous()


def _touched(source: Placements, target: Placements) -> list[int]:
    """The dimensions of the mesh to change: with one, those that share out its parts further."""
    found: list[int] = []
    dims: set[int] = set()
    for d, (p, q) in enumerate(zip(source, target)):
        here = {x.dim for x in (p, q) if isinstance(x, Shard)}
        if p != q or here & dims:
            found.append(d)
            dims |= here
    return found


def _move(local: Any, mesh: DeviceMesh, shape: Sequence[int], source: Placements, target: Placements) -> Any:
    current, touched, place = list(source), _touched(source, target), coordinate(mesh)
    for d in reversed(touched):
        p = current[d]
        if isinstance(p, Shard):
            size = extent(shape, mesh, current[:d])[p.dim]
            local, current[d] = _gathered(local, p, size, mesh, d), Replicate()
    for d in touched:
        p, q = current[d], target[d]
        if isinstance(p, Partial) and p != q:
            local = _combined(local, p, q if isinstance(q, Shard) else Replicate(), mesh, d)
        elif isinstance(q, Shard):
            local = share(local, q, mesh.size(d), place[d]).contiguous()
        if isinstance(q, Partial) and p != q and q.reduce_op == "sum":
            local = local / mesh.size(d)
        current[d] = q
    return local


def _averaged(grad: Any, mesh: DeviceMesh, source: Placements, target: Placements) -> Any:
    """What of a gradient belongs to each of the processes whose values were averaged."""
    for d, (p, q) in enumerate(zip(source, target)):
        if isinstance(p, Partial) and p != q and p.reduce_op != "sum":
            if p.reduce_op != "avg":
                raise RuntimeError(f"redistribute: there is no gradient of {p!r}; sums and averages have one")
            grad = grad / mesh.size(d)
    return grad


class _Move(Function):
    @staticmethod
    def forward(ctx: Any, local: Any, mesh: Any, shape: Any, source: Any, target: Any, comes: Any) -> Any:
        ctx.given = mesh, shape, source, target, comes
        found = _move(local, mesh, shape, source, target)
        return found.view_as(found) if found is local else found

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        mesh, shape, source, target, comes = ctx.given
        back = moved(grad, mesh, shape, comes, gradient_placements(source))
        return _averaged(back, mesh, source, target), None, None, None, None, None


class _Graded(Function):
    @staticmethod
    def forward(ctx: Any, local: Any, mesh: Any, shape: Any, source: Any, target: Any) -> Any:
        ctx.given = mesh, shape, source, target
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return moved(grad, *ctx.given), None, None, None, None


def moved(
    local: Any, mesh: DeviceMesh, shape: Sequence[int], source: Placements, target: Placements,
    comes: Placements | None = None,
) -> Any:  # fmt: skip
    """What this process has of a tensor of ``shape`` in the placements ``target``; all processes must call it.

    ``comes`` says where the gradient of the result lies, if not as the result does.
    """
    if source == target and comes is None:
        return local
    if local.requires_grad and is_grad_enabled():
        comes = gradient_placements(target) if comes is None else comes
        return _Move.apply(local, mesh, tuple(shape), source, target, comes)  # type: ignore[no-untyped-call]
    return _move(local, mesh, shape, source, target)


def graded(local: Any, mesh: DeviceMesh, shape: Sequence[int], source: Placements, target: Placements) -> Any:
    """The tensor itself, whose gradient comes in the placements ``source`` and goes on in ``target``."""
    if source == target or not (local.requires_grad and is_grad_enabled()):
        return local
    return _Graded.apply(local, mesh, tuple(shape), source, target)  # type: ignore[no-untyped-call]
