"""Storages as PyTorch's programs see them: ``UntypedStorage``, ``TypedStorage``, and what tensors say of theirs."""

from __future__ import annotations

import copy
import ctypes
import os
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..device import device as device_
from ..dtype import dtype as dtype_
from ..layout import dense, of
from ..runtime import memory, shared
from ..storage import Storage, allocate
from ..tensor import Tensor, make
from . import create, from_data
from .common import attach
from .pickling import filled_storage

__all__ = ["TypedStorage", "UntypedStorage", "is_storage"]


class UntypedStorage:
    """The bytes behind a tensor, as PyTorch's programs see them."""

    def __init__(self, *args: Any, device: Any = None) -> None:
        if args and isinstance(args[0], Storage):
            self._storage = args[0].memory
        elif args and isinstance(args[0], int):
            self._storage = allocate(args[0])
        else:
            self._storage = filled_storage(bytes(args[0]) if args else b"")

    @property
    def device(self) -> device_:
        """Where the bytes are."""
        return self._storage.device

    @property
    def is_cuda(self) -> bool:
        """Whether the bytes are in a CUDA device's memory: never."""
        return False

    def nbytes(self) -> int:
        """The number of bytes."""
        pending = self._storage.pending
        return self._storage.nbytes if pending is None else pending.layout.nbytes

    def size(self) -> int:
        """The number of bytes."""
        return self.nbytes()

    def __len__(self) -> int:
        return self.nbytes()

    def element_size(self) -> int:
        """Bytes of an element: 1."""
        return 1

    def data_ptr(self) -> int:
        """The address of the first byte."""
        if self._storage.pending is not None:
            self._storage.pending.trace.flush()
        return self._storage.ptr

    def _bytes(self) -> Tensor:
        if self._storage.pending is not None:
            self._storage.pending.trace.flush()
        return make(self._storage, dense(dtypes.uint8, (self._storage.nbytes,), self._storage.device))

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes()[index]  # type: ignore[index]
        return found.item() if found.ndim == 0 else UntypedStorage(found.clone()._storage)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._bytes()[index] = value  # type: ignore[index]

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def tolist(self) -> list[int]:
        """The bytes as ints."""
        return self._bytes().tolist()  # type: ignore[attr-defined]

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(copy.deepcopy(self._storage))

    def copy_(self, source: UntypedStorage, non_blocking: bool | None = None) -> UntypedStorage:
        """Replaces the bytes by those of another storage."""
        self._bytes().copy_(source._bytes())  # type: ignore[attr-defined]
        return self

    def fill_(self, value: int) -> UntypedStorage:
        """Replaces every byte."""
        self._bytes().fill_(value)  # type: ignore[attr-defined]
        return self

    def resize_(self, size: int) -> UntypedStorage:
        """Another number of bytes; what was there stays."""
        self._storage.resize(size)
        return self

    def cpu(self) -> UntypedStorage:
        """The storage in the CPU's memory."""
        return self

    @staticmethod
    def from_file(filename: str, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """A storage over the first ``nbytes`` bytes of a file (all of it for 0).

        ``shared``: writes go to the file, which is made as long as it must be; otherwise they stay in this process.
        Raises RuntimeError for a file that is too short.
        """
        if shared:
            with open(filename, "ab") as file:
                file.truncate(max(file.tell(), nbytes))
        found = os.path.getsize(filename)
        if nbytes > found:
            raise RuntimeError(f"file {filename} of {found} bytes is too short for a storage of {nbytes} bytes")
        if not (nbytes or found):
            return UntypedStorage(0)
        mapped = np.memmap(filename, np.uint8, "r+" if shared else "c", shape=(nbytes or found,))
        return UntypedStorage(Storage(mapped.ctypes.data, mapped.nbytes, mapped))

    def is_shared(self) -> bool:
        """Whether other processes can share the memory."""
        return isinstance(self._storage.owner, shared.SharedBlock)

    def is_pinned(self, device: Any = None) -> bool:
        """Whether the memory is pinned for an accelerator: never."""
        return False

    def resizable(self) -> bool:
        """Whether the memory may grow: not if it belongs to another object."""
        return self._storage.owner is None

    def share_memory_(self) -> UntypedStorage:
        """Moves the bytes to memory that other processes can share, if they are not in it; returns the storage."""
        share(self._storage)
        return self

    def untyped(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._storage is other._storage

    def __hash__(self) -> int:
        return id(self._storage)

    @property
    def _cdata(self) -> int:
        """A number that tells storages apart."""
        return id(self._storage)

    def __repr__(self) -> str:
        return f"<{self.nbytes()} bytes of storage on {self.device}>"


class TypedStorage:
    """The elements behind a tensor, as older programs see them."""

    def __init__(
        self,
        *args: Any,
        wrap_storage: UntypedStorage | None = None,
        dtype: dtype_ | None = None,
        device: Any = None,
        _internal: bool = False,
    ) -> None:
        self.dtype = dtype or dtypes.get_default_dtype()
        if wrap_storage is not None:
            self._untyped_storage = wrap_storage
        elif args and isinstance(args[0], int):
            self._untyped_storage = UntypedStorage(args[0] * self.dtype.itemsize)
        else:
            made = from_data.tensor(list(args[0]) if args else [], dtype=self.dtype)
            self._untyped_storage = UntypedStorage(made._storage)

    def _tensor(self) -> Tensor:
        storage = self._untyped_storage._storage
        self._untyped_storage.data_ptr()
        return make(storage, dense(self.dtype, (storage.nbytes // self.dtype.itemsize,), storage.device))

    @property
    def device(self) -> device_:
        """Where the elements are."""
        return self._untyped_storage.device

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped_storage

    def size(self) -> int:
        """The number of elements."""
        return self._untyped_storage.nbytes() // self.dtype.itemsize

    def __len__(self) -> int:
        return self.size()

    def nbytes(self) -> int:
        """The number of bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._untyped_storage.data_ptr()

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._tensor().tolist()  # type: ignore[attr-defined]

    def __getitem__(self, idx: Any) -> Any:
        found = self._tensor()[idx]  # type: ignore[index]
        return found.item() if found.ndim == 0 else found

    def __setitem__(self, idx: Any, value: Any) -> None:
        self._tensor()[idx] = value  # type: ignore[index]

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def resize_(self, size: int) -> TypedStorage:
        """Another number of elements; what was there stays."""
        self._untyped_storage.resize_(size * self.dtype.itemsize)
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return TypedStorage(wrap_storage=self._untyped_storage.clone(), dtype=self.dtype)

    def fill_(self, value: Any) -> TypedStorage:
        """Replaces every element."""
        self._tensor().fill_(value)  # type: ignore[attr-defined]
        return self

    @property
    def _cdata(self) -> int:
        """A number that tells storages apart."""
        return self._untyped_storage._cdata

    def __repr__(self) -> str:
        return (
            f"{self.tolist()}\n[torch.storage.TypedStorage(dtype={self.dtype}, "
            f"device={self.device}) of size {self.size()}]"
        )


def is_storage(obj: Any) -> bool:
    """Whether ``obj`` is a storage."""
    return isinstance(obj, (UntypedStorage, TypedStorage))


def _untyped_storage(self: Tensor) -> UntypedStorage:
    """The bytes behind the tensor."""
    return UntypedStorage(self._storage)


def _typed_storage(self: Tensor) -> TypedStorage:
    """The elements behind the tensor."""
    return TypedStorage(wrap_storage=UntypedStorage(self._storage), dtype=self.dtype)


def _set(self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Tensor:
    """Makes the tensor a look at another storage (or that of a tensor): from ``storage_offset`` on, with this shape and
    these strides.  Raises RuntimeError if it would leave the storage."""
    if source is None:
        source = create.empty((0,), dtype=self.dtype, device=self.device)
    if isinstance(source, Tensor) and size is None:
        if source.dtype is not self.dtype:
            raise RuntimeError(f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}")
        storage, layout, offset = source._storage, source._layout, source._offset
    else:
        holder = (
            source._storage
            if isinstance(source, Tensor)
            else source._untyped_storage._storage
            if isinstance(source, TypedStorage)
            else source._storage
        )
        shape = (holder.nbytes // self.itemsize,) if size is None else (size,) if isinstance(size, int) else tuple(size)
        strides = (
            tuple(stride)
            if stride is not None and not isinstance(stride, int)
            else dense(self.dtype, shape).strides
            if stride is None
            else (stride,)
        )
        storage, layout, offset = holder, of(self.dtype, holder.device, shape, strides), storage_offset
        if layout.numel and (offset < 0 or (offset + layout.span) * layout.itemsize > holder.nbytes):
            raise RuntimeError(
                f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
                f"{offset}, and itemsize {layout.itemsize} requiring a storage size of "
                f"{(offset + layout.span) * layout.itemsize} are out of bounds for storage of size {holder.nbytes}"
            )
    plain = type(self) is Tensor or type(self)._plain
    self._storage, self._layout, self._offset = storage, layout, offset
    self._key = layout if plain and storage.pending is None else None
    return self


def share(storage: Storage) -> None:
    """Moves a storage to memory that other processes can share, unless it is there; foreign memory is copied.

    Tensors over the storage see the same values as before.  Memory that other libraries were given stays where it is.
    """
    if isinstance(storage.owner, shared.SharedBlock) or not storage.nbytes or storage.device is not devices.cpu:
        return
    if storage.pending is not None:
        storage.pending.trace.flush()
    block = shared.create(storage.nbytes)
    ctypes.memmove(block.address, storage.ptr, storage.nbytes)
    if storage.owner is None:
        memory.free(storage.ptr, storage.nbytes)
    storage.leave_home()
    storage.ptr, storage.owner = block.address, block


def _share_memory(self: Tensor) -> Tensor:
    """Moves the memory to where other processes can share it, if it is not there; returns the tensor."""
    share(self._storage)
    return self


def _is_shared(self: Tensor) -> bool:
    """Whether other processes can share the memory."""
    return isinstance(self._storage.owner, shared.SharedBlock)


attach(
    Tensor,
    {
        "untyped_storage": _untyped_storage, "storage": _typed_storage, "_typed_storage": _typed_storage, "set_": _set,
        "share_memory_": _share_memory, "is_shared": _is_shared,
    },
)  # fmt: skip
