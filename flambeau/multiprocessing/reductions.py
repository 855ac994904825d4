"""How tensors travel to other processes: their memory is moved to where both can map it, and only a descriptor is sent.

The receiver's tensor is over the same memory, so that writes of either are seen by the other.
"""

from __future__ import annotations

import os
from multiprocessing import reduction
from multiprocessing.reduction import ForkingPickler
from typing import Any

from ..device import device
from ..dtype import dtype
from ..layout import of
from ..nn.parameter import Parameter
from ..ops.storage_classes import TypedStorage, UntypedStorage, share
from ..runtime.shared import SharedBlock
from ..storage import Storage
from ..tensor import Tensor, make, materialize

__all__ = ["init_reductions", "rebuild_storage", "rebuild_tensor", "reduce_storage", "reduce_tensor"]

_FILES = os.name == "posix"  # descriptors can be passed on


def reduce_storage(storage: Storage) -> tuple[Any, ...]:
    """What a storage is sent as."""
    if storage.pending is not None:
        storage.pending.trace.flush()
    if not storage.nbytes or storage.device.type == "meta" or not _FILES:
        return storage.__reduce_ex__(2)  # type: ignore[return-value]
    share(storage)
    block = storage.owner
    assert isinstance(block, SharedBlock)
    return (rebuild_storage, (reduction.DupFd(block.fd), block.nbytes))


def rebuild_storage(fd: Any, nbytes: int) -> Storage:
    """A storage over the file whose descriptor was sent."""
    block = SharedBlock(fd.detach(), nbytes)
    return Storage(block.address, nbytes, block)


def reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """What a tensor is sent as; raises RuntimeError for one that requires grad and was computed."""
    if tensor._node is not None and tensor._requires_grad:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    materialize(tensor)
    layout = tensor._layout
    form = (layout.dtype, layout.device, tuple(layout.shape), tuple(layout.strides), tensor._offset)
    return (rebuild_tensor, (type(tensor), tensor._storage.memory, form, tensor._requires_grad))


def rebuild_tensor(
    cls: type, storage: Storage, form: tuple[dtype, device, tuple[int, ...], tuple[int, ...], int], requires_grad: bool
) -> Tensor:
    """A tensor over a storage that was sent."""
    type_, where, shape, strides, offset = form
    found = make(storage, of(type_, where, shape, strides), offset)
    if cls is Parameter:
        return Parameter(found, requires_grad=requires_grad)
    found._requires_grad = requires_grad
    return found if cls is Tensor else found.as_subclass(cls)  # type: ignore[attr-defined]


def _reduce_untyped(storage: UntypedStorage) -> tuple[Any, ...]:
    return (UntypedStorage, (storage._storage,))


def _reduce_typed(storage: TypedStorage) -> tuple[Any, ...]:
    return (_rebuild_typed, (storage._untyped_storage, storage.dtype))


def _rebuild_typed(storage: UntypedStorage, type_: dtype) -> TypedStorage:
    return TypedStorage(wrap_storage=storage, dtype=type_)


def init_reductions() -> None:
    """Makes ``multiprocessing`` send tensors this way."""
    ForkingPickler.register(Storage, reduce_storage)
    ForkingPickler.register(UntypedStorage, _reduce_untyped)
    ForkingPickler.register(TypedStorage, _reduce_typed)
    for cls in (Tensor, Parameter):
        ForkingPickler.register(cls, reduce_tensor)
