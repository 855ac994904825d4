"""The distributed tensor: every process of a mesh has a part of it, the whole, or an addend.

``_data`` is what this process has, an ordinary tensor that may be on the tape; operators (``rules.py``) are operators
on it, after changes of placements where they need them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ...autograd.mode import no_grad
from ...composed import ComposedTensor
from ...ops.convert import contiguous_format
from ...tensor import Tensor
from .. import collectives
from .. import distributed_c10d as c10d
from ..device_mesh import DeviceMesh, current_mesh
from ._utils import compute_global_tensor_shape
from .layouts import Placements, coordinate, graded, gradient_placements, moved, normal
from .placement_types import Partial, Placement, Replicate

__all__ = ["DTensor", "make"]


class DTensor(ComposedTensor):
    """A tensor that is distributed over the processes of a mesh; see ``from_local`` and ``distribute_tensor``."""

    _mesh: DeviceMesh
    _placements: Placements
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "DTensor"

    @staticmethod
    def from_local(
        local_tensor: Any, device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None, *,
        run_check: bool = False, shape: Any = None, stride: Any = None,
        grad_placements: Sequence[Placement] | None = None,
    ) -> DTensor:  # fmt: skip
        """The tensor of which this process has ``local_tensor``, with gradients.

        Args:
            local_tensor: the part, the whole or the addend of this process.
            device_mesh: the processes; None is the mesh of the enclosing ``with``.
            placements: one for every dimension of the mesh; None means whole everywhere.
            run_check: takes wholes from the first process of each line of the mesh.
            shape: the shape of the whole, where the parts are not all of one size.
            stride: accepted; the whole has no memory.
            grad_placements: where the gradient is to lie that ``local_tensor`` gets; None is where the tensor lies.
        """
        if isinstance(local_tensor, DTensor):
            raise RuntimeError(f"from_local: expected the tensor of this process, got a DTensor {local_tensor!r}")
        mesh = device_mesh or current_mesh()
        where = normal(placements, mesh, local_tensor.ndim, "from_local")
        whole = tuple(shape) if shape is not None else compute_global_tensor_shape(local_tensor.shape, mesh, where)
        if run_check:
            coordinate(mesh)
            local_tensor = local_tensor.clone()
            with no_grad():
                for d, p in enumerate(where):
                    if isinstance(p, Replicate):
                        group = mesh.get_group(d)
                        collectives.broadcast(local_tensor, c10d.get_global_rank(group, 0), group)
        if local_tensor.requires_grad:
            local_tensor = local_tensor.view_as(local_tensor)
        if grad_placements is not None:
            wanted = normal(grad_placements, mesh, local_tensor.ndim, "from_local")
            local_tensor = graded(local_tensor, mesh, whole, gradient_placements(where), wanted)
        return make(local_tensor, mesh, where, whole)

    def to_local(self, *, grad_placements: Sequence[Placement] | None = None) -> Any:
        """What this process has, with gradients; ``grad_placements`` says where they lie if not as the tensor."""
        given = gradient_placements(self._placements)
        local = self._data
        if local.requires_grad:
            local = local.view_as(local)
        if grad_placements is None:
            return local
        wanted = normal(grad_placements, self._mesh, self.ndim, "to_local")
        return graded(local, self._mesh, self.shape, wanted, given)

    def redistribute(
        self, device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None, *,
        async_op: bool = False, forward_dtype: Any = None, backward_dtype: Any = None,
    ) -> DTensor:  # fmt: skip
        """The same tensor in other placements (None: whole everywhere), with gradients; all processes must call it.

        ``forward_dtype`` and ``backward_dtype`` are the types in which values and gradients travel.  Raises
        NotImplementedError for another mesh, RuntimeError for a change to addends.
        """
        mesh = self._mesh
        if device_mesh is not None and device_mesh != mesh:
            raise NotImplementedError(f"redistribute: cannot move a tensor from {mesh} to {device_mesh}")
        target = normal(placements, mesh, self.ndim, "redistribute")
        for p, q in zip(self._placements, target):
            if isinstance(q, Partial) and p != q:
                raise RuntimeError(
                    f"Can not redistribute from {p!r} to {q!r}, redistributing to Partial is for internal use only!"
                )
        local = self._data
        if forward_dtype is not None:
            local = local.to(forward_dtype)
        found = moved(local, mesh, self.shape, self._placements, target)
        if forward_dtype is not None:
            found = found.to(self.dtype)
        return make(found, mesh, target, self.shape)

    def full_tensor(self, *, grad_placements: Sequence[Placement] | None = None) -> Any:
        """The whole as an ordinary tensor, with gradients; all processes must call it."""
        return self.redistribute().to_local(grad_placements=grad_placements)

    @property
    def device_mesh(self) -> DeviceMesh:
        """The processes."""
        return self._mesh

    @property
    def placements(self) -> Placements:
        """How the tensor lies along every dimension of the mesh."""
        return self._placements

    @property
    def _local_tensor(self) -> Any:
        """What this process has."""
        return self._data

    def _like(self, data: Any) -> Any:
        return make(data, self._mesh, self._placements, self.shape)

    def _matching(self, gradient: Any) -> Any:
        where = gradient_placements(self._placements)
        if not isinstance(gradient, DTensor):
            gradient = make(gradient, self._mesh, (Replicate(),) * self._mesh.ndim, gradient.shape)
        return moved(gradient._data, self._mesh, gradient.shape, gradient._placements, where)

    @property
    def grad(self) -> Any:
        """The gradient, which lies as the tensor does; that of addends is whole everywhere."""
        found = self._data.grad
        return None if found is None else make(found, self._mesh, gradient_placements(self._placements), self.shape)

    @grad.setter
    def grad(self, value: Any) -> None:
        self._data.grad = None if value is None else self._matching(value)

    @property
    def data(self) -> Any:
        """The tensor off the tape."""
        return self._like(self._data.data)

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, DTensor):
            raise RuntimeError(f"data: a DTensor's values are those of a DTensor, got {type(value).__name__}")
        self._data.data = value._data
        self._mesh, self._placements = value._mesh, value._placements
        self._shape_as(value.dtype, value.device, value.shape)

    def backward(self, gradient: Any = None, *args: Any, **kwargs: Any) -> None:
        """As of any tensor; addends are added first.  ``gradient`` is a DTensor, or whole."""
        whole = self.redistribute(placements=gradient_placements(self._placements))
        whole._data.backward(None if gradient is None else whole._matching(gradient), *args, **kwargs)

    def stride(self, dim: int | None = None) -> Any:
        """The strides that the whole would have in row-major order."""
        return self._layout.strides if dim is None else self._layout.strides[dim]

    def is_contiguous(self, memory_format: Any = contiguous_format) -> bool:
        """Whether what this process has lies in order."""
        return self._data.is_contiguous(memory_format=memory_format)  # type: ignore[no-any-return]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        kind = "Parameter containing:\n" if getattr(self, "_is_param", False) else ""
        return f"{kind}DTensor(local_tensor={self._data!r}, device_mesh={self._mesh!r}, placements={self._placements})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            found = self._like(self._data.__deepcopy__(memo))
            if getattr(self, "_is_param", False):
                found._is_param = True
            memo[id(self)] = found
        return memo[id(self)]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return cls._table[""](func, args, dict(kwargs or {}))


def make(data: Tensor, mesh: DeviceMesh, placements: Placements, shape: Sequence[int]) -> DTensor:
    """A distributed tensor of these, which are not checked."""
    t = object.__new__(DTensor)
    t._shape_as(data.dtype, data.device, shape)
    t._data, t._mesh, t._placements = data, mesh, placements
    return t
