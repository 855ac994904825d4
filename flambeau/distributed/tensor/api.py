"""Distributed tensors and modules out of ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...autograd.mode import no_grad
from ...nn import Module, Parameter
from ...ops import create, random
from ...ops.convert import contiguous_format
from .. import collectives
from .. import distributed_c10d as c10d
from ..device_mesh import DeviceMesh, current_mesh
from .dtensor import DTensor, make
from .layouts import coordinate, extent, normal, share
from .placement_types import Partial, Placement, Shard

__all__ = ["distribute_module", "distribute_tensor", "empty", "full", "ones", "rand", "randn", "zeros"]


def distribute_tensor(
    tensor: Any, device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None, *,
    src_data_rank: int | None = 0,
) -> DTensor:  # fmt: skip
    """A leaf with the values of ``tensor``, in these placements (None: whole everywhere).

    Args:
        tensor: the whole, a leaf; a DTensor must already lie so.
        device_mesh: the processes; None is the mesh of the enclosing ``with``.
        placements: one for every dimension of the mesh.
        src_data_rank: whose values count, by its place along each dimension of the mesh; None: everyone takes its own,
            without communication.

    Raises RuntimeError for a tensor that is no leaf, ValueError for a DTensor that lies otherwise.
    """
    mesh = device_mesh or current_mesh()
    where = normal(placements, mesh, tensor.ndim, "distribute_tensor")
    if not tensor.is_leaf:
        raise RuntimeError("`distribute_tensor` should be used to distribute leaf tensors! but found non-leaf tensor!")
    if isinstance(tensor, DTensor):
        if tensor.device_mesh != mesh or tensor.placements != where:
            raise ValueError(
                f"Cannot distribute a DTensor with mesh {tensor.device_mesh} and placements {tensor.placements} to "
                f"mesh {mesh} and placements {where}: use redistribute"
            )
        return tensor
    place = coordinate(mesh)
    with no_grad():
        local = tensor.detach()
        if src_data_rank is not None and not local.is_meta:
            local = local.clone(memory_format=contiguous_format)
            for d in range(mesh.ndim):
                group = mesh.get_group(d)
                if mesh.size(d) > 1:
                    collectives.broadcast(local, c10d.get_global_rank(group, src_data_rank), group)
        for d, p in enumerate(where):
            if isinstance(p, Shard):
                local = share(local, p, mesh.size(d), place[d]).clone(memory_format=contiguous_format)
            elif isinstance(p, Partial) and p.reduce_op == "sum":
                local = local / mesh.size(d)
    found = make(local, mesh, where, tensor.shape)
    found.requires_grad_(tensor.requires_grad)
    return found


def distribute_module(
    module: Module, device_mesh: DeviceMesh | None = None, partition_fn: Callable[..., None] | None = None,
    input_fn: Callable[..., Any] | None = None, output_fn: Callable[..., Any] | None = None,
) -> Module:  # fmt: skip
    """Makes all parameters and buffers of a module distributed tensors; returns it.

    Args:
        module: what is changed.
        device_mesh: the processes; None is the mesh of the enclosing ``with``.
        partition_fn: ``partition_fn(name, module, mesh)`` of every module inside may distribute its parameters; what it
            leaves becomes whole everywhere.
        input_fn: ``input_fn(module, inputs, mesh)`` before every call; what it returns replaces the inputs.
        output_fn: ``output_fn(module, outputs, mesh)`` after every call, likewise.
    """
    mesh = device_mesh or current_mesh()
    for name, part in module.named_modules():
        if partition_fn is not None:
            partition_fn(name, part, mesh)
        for key, value in list(part._parameters.items()):
            if value is not None and not isinstance(value, DTensor):
                part.register_parameter(key, Parameter(distribute_tensor(value.data, mesh), value.requires_grad))
        for key, value in list(part._buffers.items()):
            if value is not None and not isinstance(value, DTensor):
                part._buffers[key] = distribute_tensor(value, mesh)
    if input_fn is not None:
        module.register_forward_pre_hook(lambda m, inputs: input_fn(m, inputs, mesh))
    if output_fn is not None:
        module.register_forward_hook(lambda m, inputs, outputs: output_fn(m, outputs, mesh))
    return module


def _sizes(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size


def _options(dtype: Any, layout: Any) -> dict[str, Any]:
    return {k: v for k, v in (("dtype", dtype), ("layout", layout)) if v is not None}


def _local(
    name: str, size: Sequence[int], fill: Callable[[Sequence[int]], Any], mesh: DeviceMesh,
    placements: Sequence[Placement] | None, requires_grad: bool,
) -> DTensor:  # fmt: skip
    """A tensor of which every process makes what it has."""
    where = normal(placements, mesh, len(size), name)
    found = make(fill(extent(size, mesh, where)), mesh, where, size)
    found.requires_grad_(requires_grad)
    return found


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
    device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None,
) -> DTensor:  # fmt: skip
    """A distributed tensor full of ``fill_value``; of addends, the first process's alone are."""
    mesh, options = device_mesh or current_mesh(), _options(dtype, layout)
    first = all(r == 0 or p != Partial() for r, p in zip(coordinate(mesh), placements or ()))
    value = fill_value if first else type(fill_value)(0)
    return _local("full", _sizes((size,)), lambda s: create.full(s, value, **options), mesh, placements, requires_grad)


def zeros(
    *size: Any, requires_grad: bool = False, dtype: Any = None, layout: Any = None,
    device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None,
) -> DTensor:  # fmt: skip
    """A distributed tensor full of zeros."""
    mesh, options = device_mesh or current_mesh(), _options(dtype, layout)
    return _local("zeros", _sizes(size), lambda s: create.zeros(s, **options), mesh, placements, requires_grad)


def ones(
    *size: Any, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
    device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None,
) -> DTensor:  # fmt: skip
    """A distributed tensor full of ones."""
    return full(
        _sizes(size), 1.0, dtype=dtype, layout=layout, requires_grad=requires_grad, device_mesh=device_mesh,
        placements=placements,
    )  # fmt: skip


def empty(
    *size: Any, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
    device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None,
) -> DTensor:  # fmt: skip
    """A distributed tensor whose values are whatever was in memory."""
    mesh, options = device_mesh or current_mesh(), _options(dtype, layout)
    return _local("empty", _sizes(size), lambda s: create.empty(s, **options), mesh, placements, requires_grad)


def rand(
    *size: Any, requires_grad: bool = False, dtype: Any = None, layout: Any = None,
    device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None,
) -> DTensor:  # fmt: skip
    """Uniform random numbers, those that the first process would draw for the whole, whatever the placements."""
    drawn = random.rand(_sizes(size), requires_grad=requires_grad, **_options(dtype, layout))
    return distribute_tensor(drawn, device_mesh, placements)


def randn(
    *size: Any, requires_grad: bool = False, dtype: Any = None, layout: Any = None,
    device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None,
) -> DTensor:  # fmt: skip
    """Normal random numbers, those that the first process would draw for the whole, whatever the placements."""
    drawn = random.randn(_sizes(size), requires_grad=requires_grad, **_options(dtype, layout))
    return distribute_tensor(drawn, device_mesh, placements)
