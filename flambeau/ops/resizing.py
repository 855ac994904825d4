"""What changes a tensor itself: its shape, its memory, or every element by a Python function."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..layout import of
from ..storage import Alias
from ..tensor import Tensor, materialize
from . import from_data
from .common import overridable, shape_of
from .convert import contiguous_format, format_strides, memory_format, preserve_format
from .region import strided_view

__all__ = ["resize_as_"]


def _resize(self: Tensor, *sizes: Any, memory_format: memory_format = contiguous_format) -> Tensor:
    """Another shape for the tensor itself, over the same storage, which grows if it must (new elements are undefined).

    Raises RuntimeError for tensors that require grad and for memory that belongs to another object.
    """
    wanted = shape_of(sizes, "resize_")
    if self._requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if any(n < 0 for n in wanted):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(wanted)}: {list(wanted)}")
    if wanted == self.shape and memory_format is contiguous_format:
        return self
    materialize(self)
    layout_ = of(
        self.dtype,
        self.device,
        wanted,
        format_strides(wanted, memory_format if memory_format is not preserve_format else contiguous_format),
    )
    needed = (self._offset + layout_.span) * layout_.itemsize if layout_.numel else 0
    if needed > self._storage.nbytes:
        self._storage.resize(needed)
    _set_layout(self, layout_, self._offset)
    return self


def _set_layout(self: Tensor, layout_: Any, offset: int) -> None:
    self._layout, self._offset = layout_, offset
    if self._key is not None:
        self._key = layout_


def _resize_as(self: Tensor, tensor: Tensor, memory_format: memory_format = contiguous_format) -> Tensor:
    """``resize_`` to the shape of another tensor; raises TypeError for what is none."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"resize_as_(): argument 'the_template' (position 1) must be Tensor, not {type(tensor).__name__}"
        )
    return _resize(self, tensor.shape)


@overridable
def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: memory_format = contiguous_format) -> Tensor:
    """``resize_`` to the shape of another tensor."""
    return _resize(input, the_template.shape)


def _resized_as(self: Tensor, tensor: Tensor) -> Tensor:
    """``_resized_to`` the shape of another tensor; deprecated."""
    return _resized_to(self, *tensor.shape)


def _resized_to(self: Tensor, *sizes: Any) -> Tensor:
    """The same elements in another shape with as many; deprecated: see ``reshape`` and ``resize_``."""
    warnings.warn("non-inplace resize is deprecated", stacklevel=2)
    wanted = shape_of(sizes, "resize")
    if wanted.numel() != self.numel():
        raise RuntimeError(
            f"requested resize to {'x'.join(map(str, wanted))} ({wanted.numel()} elements in total), but the given "
            f"tensor has a size of {'x'.join(map(str, self.shape))} ({self.numel()} elements). autograd's resize can "
            "only change the shape of a given tensor, while preserving the number of elements."
        )
    return self.contiguous().view(wanted)  # type: ignore[attr-defined,no-any-return]


def data(self: Tensor) -> Tensor:
    """The same memory without a history.  Writing to it is not seen by autograd."""
    data: Tensor = self.detach()  # type: ignore[attr-defined]
    if data._key is not None:
        data._storage = Alias(data._storage.memory)
    return data


def set_data(self: Tensor, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
    if self._requires_grad and value.dtype.kind not in "fc":
        raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
    if value._storage.memory is not self._storage.memory:
        self._storage = value._storage.memory
    self._layout, self._offset = value._layout, value._offset
    plain = type(self)._plain if type(self) is not Tensor else True
    self._key = value._layout if plain and value._storage.pending is None else None


def _apply(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replaces every element by ``callable`` of it (a Python function: slow)."""
    if self._requires_grad:
        raise TypeError("apply_ is only implemented on Tensors that do not require grad")
    flat = [callable(x) for x in self.reshape(-1).tolist()]  # type: ignore[attr-defined]
    return self.copy_(from_data.tensor(flat, dtype=self.dtype).reshape(self.shape))  # type: ignore[attr-defined]


def _map(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replaces every element by ``callable`` of it and the element of another tensor (broadcast)."""
    if self._requires_grad or tensor._requires_grad:
        raise TypeError("map_ is only implemented on Tensors that do not require grad")
    other = tensor.expand(self.shape).reshape(-1).tolist()  # type: ignore[attr-defined]
    flat = [callable(x, y) for x, y in zip(self.reshape(-1).tolist(), other)]  # type: ignore[attr-defined]
    return self.copy_(from_data.tensor(flat, dtype=self.dtype).reshape(self.shape))  # type: ignore[attr-defined]


def _map2(self: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Replaces every element by ``callable`` of it and the elements of two other tensors (broadcast)."""
    if self._requires_grad or x._requires_grad or y._requires_grad:
        raise TypeError("map2_ is only implemented on Tensors that do not require grad")
    columns = [t.expand(self.shape).reshape(-1).tolist() for t in (self, x, y)]  # type: ignore[attr-defined]
    flat = [callable(*values) for values in zip(*columns)]
    return self.copy_(from_data.tensor(flat, dtype=self.dtype).reshape(self.shape))  # type: ignore[attr-defined]


def _fill_diagonal(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Replaces the elements whose indices are all equal; with ``wrap`` the diagonal of a tall matrix begins anew
    below."""
    if self.ndim < 2:
        raise RuntimeError(f"dimensions must larger than 1, got {self.ndim}")
    if self.ndim > 2 and len(set(self.shape)) != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    n, step = min(self.shape), sum(self._layout.strides)
    strided_view.function(self, (n,), (step,), 0).fill_(fill_value)
    if wrap and self.ndim == 2 and self.shape[0] > self.shape[1] + 1:
        rest: Any = self[self.shape[1] + 1 :]  # type: ignore[index]
        _fill_diagonal(rest, fill_value, True)
    return self


METHODS: dict[str, Any] = {
    "resize_": _resize,
    "resize_as_": _resize_as,
    "resize_as": _resized_as,
    "resize": _resized_to,
    "apply_": _apply,
    "map_": _map,
    "map2_": _map2,
    "fill_diagonal_": _fill_diagonal,
}
