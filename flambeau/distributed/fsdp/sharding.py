"""Every process has a part of the parameters, gathers them while a module runs, and gets its part of the gradients.

Gradients are averaged over the processes, which each have a part of a batch.  The method is that of ZeRO, stage 3
(Rajbhandari et al. 2020), but for that gathered parameters which the gradient needs stay until it has been computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...nn import Module, Parameter
from ...tensor import Tensor
from ...utils._pytree import tree_map
from .. import distributed_c10d as c10d
from ..device_mesh import DeviceMesh, init_device_mesh
from ..tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from ..tensor.layouts import moved

__all__ = [
    "CPUOffloadPolicy", "FSDPModule", "FullyShardedDataParallel", "MixedPrecisionPolicy", "OffloadPolicy",
    "fully_shard",
]  # fmt: skip


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """The types in which modules run: gathered parameters and inputs, averaged gradients, outputs."""

    param_dtype: Any = None
    reduce_dtype: Any = None
    output_dtype: Any = None
    cast_forward_inputs: bool = True


@dataclass
class OffloadPolicy:
    """Parts stay on the device."""


@dataclass
class CPUOffloadPolicy(OffloadPolicy):
    """Parts stay in the host's memory, as they do anyway where that is the device."""

    pin_memory: bool = True


class _Shared:
    """The parameters that one call of ``fully_shard`` shares out."""

    def __init__(self, mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> None:
        self.mesh, self.policy = mesh, policy
        self.owners: list[tuple[Module, str, Any]] = []
        self.depth = 0  # of calls that are under way

    def gathered(self, p: Any) -> Any:
        """The whole of a parameter; its gradient is averaged, each process getting its part."""
        local, dtype = p._data, self.policy.param_dtype if p.is_floating_point() else None
        if dtype is not None:  # gradients travel in the type in which they are added
            travels = self.policy.reduce_dtype or dtype
            local = local.to(travels if travels.itemsize >= dtype.itemsize else dtype)
        whole = tuple(Replicate() if i == 0 else q for i, q in enumerate(p.placements))
        comes = tuple(Partial("avg") if i == 0 else q for i, q in enumerate(p.placements))
        found = moved(local, p.device_mesh, p.shape, p.placements, whole, comes)
        return found if dtype is None else found.to(dtype)

    def unshard(self) -> None:
        """Puts whole parameters into their modules."""
        self.depth += 1
        if self.depth > 1:
            return
        made: dict[int, Any] = {}
        for module, name, p in self.owners:
            if id(p) not in made:
                made[id(p)] = self.gathered(p)
            module._parameters[name] = made[id(p)]

    def reshard(self) -> None:
        """Puts the parts back."""
        self.depth = max(self.depth - 1, 0)
        if self.depth == 0:
            for module, name, p in self.owners:
                module._parameters[name] = p


class FSDPModule:
    """What ``fully_shard`` adds to the class of a module."""

    _fsdp: _Shared

    def unshard(self, async_op: bool = False) -> None:
        """Gathers the parameters, until ``reshard``."""
        self._fsdp.unshard()

    def reshard(self) -> None:
        """Leaves every process its part of the parameters."""
        self._fsdp.reshard()

    def set_requires_gradient_sync(self, requires_gradient_sync: bool, *, recurse: bool = True) -> None:
        """Accepted: every backward averages its own gradients, which adds up to the average of the sum."""

    def set_is_last_backward(self, is_last_backward: bool) -> None:
        """Accepted: every backward is complete when it returns."""

    def set_reshard_after_forward(self, reshard_after_forward: bool, recurse: bool = True) -> None:
        """Accepted: modules have their parts back after every call."""

    def set_reshard_after_backward(self, reshard_after_backward: bool, *, recurse: bool = True) -> None:
        """Accepted: modules have their parts back after every call."""

    def set_modules_to_forward_prefetch(self, modules: list[Any]) -> None:
        """Accepted: parameters are gathered when they are needed."""

    def set_modules_to_backward_prefetch(self, modules: list[Any]) -> None:
        """Accepted: backward gathers nothing."""


def _own(module: Module) -> Iterator[Module]:
    """The modules inside whose parameters no inner call has shared out."""
    yield module
    for child in module.children():
        if not isinstance(child, FSDPModule):
            yield from _own(child)


def _cast(value: Any, dtype: Any) -> Any:
    def cast(t: Any) -> Any:
        return t.to(dtype) if isinstance(t, Tensor) and t.dtype.is_floating_point else t

    return tree_map(cast, value)


def fully_shard(
    module: Any, *, mesh: DeviceMesh | None = None, reshard_after_forward: bool | int | None = None,
    shard_placement_fn: Callable[[Any], Any] | None = None, mp_policy: MixedPrecisionPolicy | None = None,
    offload_policy: OffloadPolicy | None = None, ignored_params: set[Any] | None = None,
) -> Any:  # fmt: skip
    """Shares out the parameters of a module, or of a list of them, over the processes; returns it.

    Args:
        module: what is changed; parts of it that have been shared out before are left alone.
        mesh: of one dimension; None is a mesh of all processes.
        reshard_after_forward: accepted: modules have their parts back after every call.
        shard_placement_fn: ``Shard(dim)`` for a parameter, or None for dimension 0.
        mp_policy: the types to compute in.
        offload_policy: accepted: parts are in the host's memory.
        ignored_params: what stays as it is.

    Raises NotImplementedError for meshes of two dimensions, ValueError for a module that has been shared out.
    """
    mesh = mesh or init_device_mesh("cpu", (c10d.get_world_size() if c10d.is_initialized() else 1,))
    if mesh.ndim != 1:
        raise NotImplementedError(f"fully_shard: expected a mesh of one dimension, got {mesh}; copies of groups that "
                                  "share out parameters are not supported")  # fmt: skip
    modules = list(module) if isinstance(module, (list, tuple)) else [module]
    policy = mp_policy or MixedPrecisionPolicy()
    shared, ignored = _Shared(mesh, policy), {id(p) for p in ignored_params or ()}
    made: dict[int, Any] = {}
    for root in modules:
        if isinstance(root, FSDPModule):
            raise ValueError(f"fully_shard: the parameters of this {type(root).__name__} are shared out already")
        for part in _own(root):
            for name, p in list(part._parameters.items()):
                if p is None or id(p) in ignored:
                    continue
                if id(p) not in made:
                    where = (shard_placement_fn(p) if shard_placement_fn is not None else None) or Shard(0)
                    if isinstance(p, DTensor):
                        raise NotImplementedError(f"fully_shard: parameter {name} is distributed over {p.device_mesh}")
                    made[id(p)] = p, Parameter(_parts(p.data, mesh, where), p.requires_grad)
                part._parameters[name] = made[id(p)][1]
                shared.owners.append((part, name, made[id(p)][1]))
    for root in modules:
        cls = type(root)
        root.__class__ = type(f"FSDP{cls.__name__}", (FSDPModule, cls), {})
        root._fsdp = shared
        root.register_forward_pre_hook(_before, prepend=True, with_kwargs=True)
        root.register_forward_hook(_after, always_call=True)
    return module


def _parts(data: Any, mesh: DeviceMesh, where: Any) -> DTensor:
    return distribute_tensor(data, mesh, [where if data.ndim else Replicate()])


def _before(module: Any, args: Any, kwargs: Any) -> Any:
    policy = module._fsdp.policy
    module._fsdp.unshard()
    if policy.param_dtype is not None and policy.cast_forward_inputs:
        return _cast(args, policy.param_dtype), _cast(kwargs, policy.param_dtype)
    return None


def _after(module: Any, args: Any, output: Any) -> Any:
    module._fsdp.reshard()
    dtype = module._fsdp.policy.output_dtype
    return None if dtype is None else _cast(output, dtype)


class FullyShardedDataParallel(Module):
    """A module whose parameters ``fully_shard`` has shared out over a process group, as ``.module``."""

    def __init__(self, module: Module, process_group: Any = None, *, ignored_states: Any = None) -> None:
        super().__init__()
        group = process_group or (c10d.group.WORLD if c10d.is_initialized() else None)
        mesh = None if group is None else DeviceMesh.from_group(group, "cpu")
        self._fsdp_wrapped_module = fully_shard(module, mesh=mesh, ignored_params=set(ignored_states or ()))

    @property
    def module(self) -> Any:
        """The module inside."""
        return self._fsdp_wrapped_module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module."""
        return self._fsdp_wrapped_module(*args, **kwargs)
