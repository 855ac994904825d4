"""Copies and pickles of tensors and storages, and what else Python asks of every object."""

from __future__ import annotations

import copy
import copyreg
import ctypes
from typing import Any

from .. import device as devices
from ..dtype import dtype as dtype_
from ..layout import of
from ..storage import Alias, Storage, allocate
from ..tensor import Tensor, make, materialize
from .common import attach
from .subclasses import over

__all__: list[str] = []


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy with memory of its own; tensors that shared memory still do.  Raises RuntimeError for a computed tensor
    that requires grad, TypeError for a memo that is no dictionary."""
    if not isinstance(memo, dict):
        raise TypeError(f"__deepcopy__(): argument 'memo' (position 1) must be dict, not {type(memo).__name__}")
    if id(self) in memo:
        return memo[id(self)]
    if self._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment.  If you were attempting to "
            "deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"
        )
    materialize(self)
    storage = copy.deepcopy(self._storage.memory, memo)
    result: Any = over(type(self), make(storage, self._layout, self._offset))
    memo[id(self)] = result
    result._requires_grad = self._requires_grad
    if self._grad is not None:
        result._grad = copy.deepcopy(self._grad, memo)
    for name, value in self.__dict__.items():
        setattr(result, name, copy.deepcopy(value, memo))
    return result


def _reduce_storage(storage: Storage) -> tuple[Any, ...]:
    if storage.pending is not None:
        storage.pending.trace.flush()
    if storage.device is devices.meta:
        return (_meta_storage, (storage.nbytes,))
    return (filled_storage, (ctypes.string_at(storage.ptr, storage.nbytes) if storage.nbytes else b"",))


def _meta_storage(nbytes: int) -> Storage:
    return Storage(0, nbytes, device_=devices.meta)


def filled_storage(data: bytes) -> Storage:
    storage = allocate(len(data))
    if data:
        ctypes.memmove(storage.ptr, data, len(data))
    return storage


def _reduce_alias(alias: Alias) -> tuple[Any, ...]:
    return Alias, (alias.owner,)


copyreg.pickle(Storage, _reduce_storage)
copyreg.pickle(Alias, _reduce_alias)


def _rebuild(
    cls: type,
    storage: Storage,
    type_: dtype_,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
    requires_grad: bool,
    state: dict[str, Any],
) -> Tensor:
    """The tensor that ``__reduce_ex__`` took apart; its place is checked against the storage."""
    layout = of(type_, storage.device, shape, strides)
    if min((*shape, *strides, offset), default=0) < 0 or (
        layout.numel and (offset + layout.span) * layout.itemsize > storage.nbytes
    ):
        raise ValueError(
            f"tensor of shape {shape}, strides {strides} and offset {offset} does not fit into {storage.nbytes} bytes"
        )
    t = over(cls, make(storage, layout, offset))
    t._requires_grad = requires_grad
    for name, value in state.items():
        setattr(t, name, value)
    return t


def _reduce_ex(self: Tensor, proto: Any) -> tuple[Any, ...]:
    """For pickle: the storage (shared by the tensors of one pickle) and where the tensor lies in it."""
    materialize(self)
    layout = self._layout
    if self._node is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support pickling; use .detach() first"
        )
    return (
        _rebuild,
        (
            type(self),
            self._storage.memory,
            layout.dtype,
            tuple(layout.shape),
            layout.strides,
            self._offset,
            self._requires_grad,
            dict(self.__dict__),
        ),
    )


def _set_state(self: Tensor, state: Any) -> None:
    """Takes over (storage, offset, size, stride[, requires_grad, hooks]) as PyTorch's old pickles hold them.

    Raises RuntimeError for a tensor with a history.
    """
    if self._node is not None:
        raise RuntimeError("__setstate__ can be only called on leaf Tensors")
    if len(state) == 4:
        self.set_(*state)  # type: ignore[attr-defined]
        return
    requires_grad, hooks = (state[3], state[4]) if len(state) == 5 else (state[4], state[5])
    self.set_(*(state[:3] if len(state) == 5 else state[:4]))  # type: ignore[attr-defined]
    self._requires_grad, self._hooks = bool(requires_grad), hooks or None


def _delete_item(self: Tensor, key: Any) -> None:
    """Raises TypeError: elements of a tensor cannot be taken away."""
    _refuse_deletion(key)


def _refuse_deletion(key: Any) -> None:
    raise TypeError(f"Tensor does not support deleting items (asked for {key!r}); select the others instead")


def _directory(self: Tensor) -> list[str]:
    """The names of the attributes."""
    return sorted({*dir(type(self)), *self.__dict__})


attach(
    Tensor,
    {
        "__deepcopy__": _deepcopy, "__reduce_ex__": _reduce_ex, "__setstate__": _set_state,
        "__delitem__": _delete_item, "__dir__": _directory,
    },
)  # fmt: skip
