"""Meshes: the processes of a group as an array whose dimensions have names; here an array of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..dtype import int64
from ..ops import create
from ..tensor import Tensor
from . import distributed_c10d as c10d

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """An array of ranks on devices of one type; raises RuntimeError for ranks that do not exist."""

    def __init__(
        self, device_type: str, mesh: Any = None, *, mesh_dim_names: tuple[str, ...] | None = None,
        backend_override: Any = None, _init_backend: bool = True,
    ) -> None:  # fmt: skip
        self.device_type = device_type
        self.mesh: Tensor = mesh.to(int64) if isinstance(mesh, Tensor) else create.tensor(mesh, dtype=int64)
        if not c10d.is_initialized():
            c10d.init_process_group()
        ranks = self.mesh.flatten().tolist()  # type: ignore[attr-defined]
        size = c10d.get_world_size()
        if any(not 0 <= r < size for r in ranks):
            raise RuntimeError(f"Mesh should not be bigger than default world size {size}, but found {ranks}")
        if mesh_dim_names is not None and len(mesh_dim_names) != self.mesh.ndim:
            raise RuntimeError(f"mesh_dim_names {mesh_dim_names} must name all {self.mesh.ndim} dimensions of the mesh")
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)

    def __repr__(self) -> str:
        return f"DeviceMesh({self.device_type!r}, {self.mesh.tolist()}, mesh_dim_names={self.mesh_dim_names})"  # type: ignore[attr-defined]

    def __enter__(self) -> DeviceMesh:
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, exc_traceback: Any) -> None:
        return None

    def __getitem__(self, mesh_dim_names: str | tuple[str, ...]) -> DeviceMesh:
        names = (mesh_dim_names,) if isinstance(mesh_dim_names, str) else tuple(mesh_dim_names)
        known = self.mesh_dim_names or ()
        if any(name not in known for name in names):
            raise KeyError(f"Invalid mesh_dim_names {names} specified. Valid mesh_dim_names are {known}.")
        return DeviceMesh(self.device_type, self.mesh.reshape([self.size(known.index(n)) for n in names]),  # type: ignore[attr-defined]
                          mesh_dim_names=names)  # fmt: skip

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.mesh.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of every dimension."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """The number of processes, or those along one dimension."""
        return self.mesh.numel() if mesh_dim is None else self.mesh.shape[mesh_dim]

    def get_rank(self) -> int:
        """The rank of this process."""
        return c10d.get_rank()

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """The place of this process along a dimension."""
        return 0

    def get_coordinate(self) -> list[int] | None:
        """The place of this process along all dimensions."""
        return [0] * self.mesh.ndim

    def get_group(self, mesh_dim: int | str | None = None) -> c10d.ProcessGroup:
        """The group of the processes along a dimension."""
        return c10d._get_default_group()

    def get_all_groups(self) -> list[c10d.ProcessGroup]:
        """The groups of all dimensions."""
        return [self.get_group(i) for i in range(self.mesh.ndim)]


def init_device_mesh(
    device_type: str, mesh_shape: Sequence[int], *, mesh_dim_names: tuple[str, ...] | None = None,
    backend_override: Any = None,
) -> DeviceMesh:  # fmt: skip
    """A mesh of this shape of all processes; starts the default group if there is none.

    Raises RuntimeError for names that repeat or do not fit, and for more processes than there are.
    """
    if mesh_dim_names is not None:
        if len(set(mesh_dim_names)) != len(mesh_dim_names):
            raise RuntimeError(f"Each mesh_dim_name must be unique. Got mesh_dim_names={mesh_dim_names}")
        if len(mesh_dim_names) != len(mesh_shape):
            raise RuntimeError(f"mesh_shape {mesh_shape} and mesh_dim_names {mesh_dim_names} must have the same length")
    count = math.prod(mesh_shape)
    return DeviceMesh(device_type, create.tensor(list(range(count))).reshape(tuple(mesh_shape)),
                      mesh_dim_names=mesh_dim_names)  # fmt: skip
