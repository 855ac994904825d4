"""Collectives as functions: they leave their argument alone and return what it becomes.

``group`` is a process group, a device mesh of one dimension, or a pair of a mesh and a dimension.  Results are complete
when a function returns, so that ``wait_tensor`` has nothing left to do.  Those whose name ends in ``_autograd`` have
gradients; the others' results are off the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..tensor import Tensor
from . import collectives
from . import distributed_c10d as c10d
from .device_mesh import DeviceMesh
from .groups import ReduceOp
from .nn import functional as differentiable

__all__ = [
    "AsyncCollectiveTensor", "all_gather_tensor", "all_gather_tensor_autograd", "all_reduce", "all_to_all_single",
    "all_to_all_single_autograd", "broadcast", "permute_tensor", "reduce_scatter_tensor",
    "reduce_scatter_tensor_autograd", "wait_tensor",
]  # fmt: skip


class AsyncCollectiveTensor(Tensor):
    """The class of results under way elsewhere, which programs ask for by ``isinstance``; here none is."""


def _group(group: Any) -> Any:
    if isinstance(group, DeviceMesh):
        return group.get_group()
    if isinstance(group, tuple):
        mesh, dim = group
        return mesh.get_group(dim)
    return group


def _op(name: str) -> Any:
    """The reduction of a name such as "sum"; raises ValueError for others."""
    found = {"sum": "SUM", "avg": "AVG", "product": "PRODUCT", "min": "MIN", "max": "MAX"}.get(name.lower())
    if found is None:
        raise ValueError(f"Invalid reduction operation {name!r}: expected sum, avg, product, min or max")
    return getattr(ReduceOp, found)


def wait_tensor(tensor: Tensor) -> Tensor:
    """The result itself, once it is there."""
    return tensor


def all_reduce(self: Any, reduceOp: str, group: Any, tag: str = "") -> Any:
    """The tensors of all processes combined, in all of them."""
    with no_grad():
        found = self.clone()
        collectives.all_reduce(found, _op(reduceOp), _group(group))
    return found


def broadcast(self: Any, src: int, group: Any, tag: str = "") -> Any:
    """The tensor of the process ``src`` in all of them."""
    with no_grad():
        found = self.clone()
        collectives.broadcast(found, src, _group(group))
    return found


def all_gather_tensor(self: Any, gather_dim: int, group: Any, tag: str = "") -> Any:
    """The tensors of all processes one behind the other along a dimension."""
    with no_grad():
        parts = [ops.empty_like(self) for _ in range(c10d.get_world_size(_group(group)))]
        collectives.all_gather(parts, self.contiguous(), _group(group))
        return ops.cat(parts, gather_dim)


def all_gather_tensor_autograd(self: Any, gather_dim: int, group: Any, tag: str = "") -> Any:
    """``all_gather_tensor``; the gradient of each part is summed where it came from."""
    return ops.cat(list(differentiable.all_gather(self, _group(group))), gather_dim)


def _scattered(name: str, self: Any, dim: int, group: Any) -> list[Any]:
    """One part of the tensor for every process; raises RuntimeError for a size that cannot be shared evenly."""
    size = c10d.get_world_size(group)
    if self.shape[dim] % size:
        raise RuntimeError(f"{name}: input dimension {dim} ({self.shape[dim]}) must be a multiple of group_size {size}")
    return [part.contiguous() for part in self.chunk(size, dim)]


def reduce_scatter_tensor(self: Any, reduceOp: str, scatter_dim: int, group: Any, tag: str = "") -> Any:
    """The tensors of all processes combined, of which each gets its part along a dimension."""
    group = _group(group)
    with no_grad():
        parts = _scattered("reduce_scatter_tensor", self, scatter_dim, group)
        found = ops.empty_like(parts[0])
        collectives.reduce_scatter(found, parts, _op(reduceOp), group)
    return found


def reduce_scatter_tensor_autograd(self: Any, reduceOp: str, scatter_dim: int, group: Any, tag: str = "") -> Any:
    """``reduce_scatter_tensor`` of a sum or a mean, with gradients; raises ValueError for other reductions."""
    group, op = _group(group), _op(reduceOp)
    if op not in (ReduceOp.SUM, ReduceOp.AVG):
        raise ValueError(f"reduce_scatter_tensor_autograd: expected sum or avg, got {reduceOp!r}")
    parts = _scattered("reduce_scatter_tensor_autograd", self, scatter_dim, group)
    found = differentiable.reduce_scatter(parts[0], parts, group=group)
    return found / len(parts) if op is ReduceOp.AVG else found


def _exchanged(self: Any, output_sizes: Sequence[int] | None, input_sizes: Sequence[int] | None, group: Any) -> Any:
    rows = self.shape[0] if output_sizes is None else sum(output_sizes)
    target = ops.empty((rows, *self.shape[1:]), dtype=self.dtype, device=self.device)
    return differentiable.all_to_all_single(target, self, output_sizes, input_sizes, _group(group))


def all_to_all_single(
    self: Any, output_split_sizes: Sequence[int] | None, input_split_sizes: Sequence[int] | None, group: Any,
    tag: str = "",
) -> Any:  # fmt: skip
    """Every process gives a part of its rows to every other; None stands for even parts."""
    with no_grad():
        return _exchanged(self, output_split_sizes, input_split_sizes, group)


def all_to_all_single_autograd(
    self: Any, output_split_sizes: Sequence[int] | None, input_split_sizes: Sequence[int] | None, group: Any,
    tag: str = "",
) -> Any:  # fmt: skip
    """``all_to_all_single`` with gradients."""
    return _exchanged(self, output_split_sizes, input_split_sizes, group)


def permute_tensor(self: Any, src_dst: Sequence[int], group: Any, tag: str = "") -> Any:
    """The tensor of the process that has this one's rank at its place in ``src_dst``: rank ``i`` sends to
    ``src_dst[i]``."""
    group = _group(group)
    rank, size = c10d.get_rank(group), c10d.get_world_size(group)
    if sorted(src_dst) != list(range(size)):
        raise ValueError(f"permute_tensor: expected a permutation of {size} ranks, got {list(src_dst)}")
    flat = self.detach().reshape(-1)
    count = flat.numel()
    sent = [count if r == src_dst[rank] else 0 for r in range(size)]
    got = [count if src_dst[r] == rank else 0 for r in range(size)]
    return all_to_all_single(flat, got, sent, group).reshape(self.shape)
