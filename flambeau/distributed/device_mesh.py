"""Meshes: the processes of a group as an array whose dimensions have names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..dtype import int64
from ..ops import from_data
from ..tensor import Tensor
from . import distributed_c10d as c10d

__all__ = ["DeviceMesh", "current_mesh", "init_device_mesh"]

_entered: list[Any] = []  # the meshes of the enclosing ``with`` statements


class DeviceMesh:
    """An array of ranks on devices of one type, with a process group for every line along a dimension.

    Raises RuntimeError for ranks that do not exist.
    """

    def __init__(
        self, device_type: str, mesh: Any = None, *, mesh_dim_names: tuple[str, ...] | None = None,
        backend_override: Any = None, _init_backend: bool = True, _rank: int | None = None, _layout: Any = None,
        _rank_map: Any = None, _root_mesh: Any = None,
    ) -> None:  # fmt: skip
        self.device_type = device_type
        self.mesh: Any = mesh.to(int64) if isinstance(mesh, Tensor) else from_data.tensor(mesh, dtype=int64)  # type: ignore[attr-defined]
        if not c10d.is_initialized():
            c10d.init_process_group()
        ranks = self.mesh.flatten().tolist()
        size = c10d.get_world_size()
        if any(not 0 <= r < size for r in ranks):
            raise RuntimeError(f"Mesh should not be bigger than default world size {size}, but found {ranks}")
        if mesh_dim_names is not None and len(mesh_dim_names) != self.mesh.ndim:
            raise RuntimeError(f"mesh_dim_names {mesh_dim_names} must name all {self.mesh.ndim} dimensions of the mesh")
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        self._rank = c10d.get_rank() if _rank is None else _rank
        self._groups: list[Any] = list(_root_mesh) if _root_mesh is not None else []
        if _init_backend and not self._groups:
            self._groups = [self._lines(d) for d in range(self.mesh.ndim)]

    def _lines(self, dim: int) -> Any:
        """The group of this process's line along a dimension; all lines are made by all processes."""
        if self.mesh.ndim == 1 and self.mesh.tolist() == list(range(c10d.get_world_size())):
            return c10d._get_default_group()
        lines = self.mesh.movedim(dim, -1).reshape(-1, self.mesh.shape[dim]).tolist()
        return c10d.new_subgroups_by_enumeration(lines)[0]

    @staticmethod
    def from_group(
        group: Any, device_type: str, mesh: Any = None, *, mesh_dim_names: tuple[str, ...] | None = None
    ) -> DeviceMesh:
        """The mesh of a group, or of one for each dimension (then with ``mesh``)."""
        groups = [group] if isinstance(group, c10d.ProcessGroup) else list(group)
        ranks = c10d.get_process_group_ranks(groups[0]) if mesh is None else mesh
        return DeviceMesh(device_type, ranks, mesh_dim_names=mesh_dim_names, _root_mesh=groups)

    def __repr__(self) -> str:
        return f"DeviceMesh({self.device_type!r}, {self.mesh.tolist()}, mesh_dim_names={self.mesh_dim_names})"

    def __enter__(self) -> DeviceMesh:
        _entered.append(self)
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, exc_traceback: Any) -> None:
        _entered.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceMesh) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __getitem__(self, mesh_dim_names: str | tuple[str, ...]) -> DeviceMesh:
        names = (mesh_dim_names,) if isinstance(mesh_dim_names, str) else tuple(mesh_dim_names)
        known = self.mesh_dim_names or ()
        if any(name not in known for name in names):
            raise KeyError(f"Invalid mesh_dim_names {names} specified. Valid mesh_dim_names are {known}.")
        place, dims = self.get_coordinate() or [0] * self.mesh.ndim, [known.index(n) for n in names]
        index = tuple(slice(None) if d in dims else place[d] for d in range(self.mesh.ndim))
        return DeviceMesh(
            self.device_type, self.mesh[index], mesh_dim_names=names, _root_mesh=[self._groups[d] for d in dims]
        )

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return int(self.mesh.ndim)

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of every dimension."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """The number of processes, or those along one dimension."""
        return int(self.mesh.numel() if mesh_dim is None else self.mesh.shape[mesh_dim])

    def get_rank(self) -> int:
        """The rank of this process."""
        return c10d.get_rank()

    def _dim(self, mesh_dim: int | str | None) -> int:
        if mesh_dim is None:
            if self.mesh.ndim > 1:
                raise RuntimeError(f"Found the DeviceMesh have {self.mesh.ndim} dimensions: name one by mesh_dim")
            return 0
        if isinstance(mesh_dim, str):
            if mesh_dim not in (self.mesh_dim_names or ()):
                raise KeyError(f"Mesh dimension '{mesh_dim}' does not exist. Available: {self.mesh_dim_names}")
            return (self.mesh_dim_names or ()).index(mesh_dim)
        return mesh_dim

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """The place of this process along a dimension; raises RuntimeError if there are several and none is named."""
        dim = self._dim(mesh_dim)
        place = self.get_coordinate()
        return -1 if place is None else place[dim]

    def get_coordinate(self) -> list[int] | None:
        """The place of this process along all dimensions, or None if it is not in the mesh."""
        found = (self.mesh == self._rank).nonzero().tolist()
        return found[0] if found else None

    def get_group(self, mesh_dim: int | str | None = None) -> c10d.ProcessGroup:
        """The group of the processes along a dimension."""
        return self._groups[self._dim(mesh_dim)]  # type: ignore[no-any-return]

    def get_all_groups(self) -> list[c10d.ProcessGroup]:
        """The groups of all dimensions."""
        return list(self._groups)


def current_mesh() -> DeviceMesh:
    """The mesh of the enclosing ``with``; raises RuntimeError if there is none."""
    if not _entered:
        raise RuntimeError("No device mesh is currently active! Give device_mesh, or enter one by `with`")
    return _entered[-1]  # type: ignore[no-any-return]


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
    return DeviceMesh(device_type, from_data.tensor(list(range(count))).reshape(tuple(mesh_shape)),  # type: ignore[attr-defined]
                      mesh_dim_names=mesh_dim_names)  # fmt: skip
