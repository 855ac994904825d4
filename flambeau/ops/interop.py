"""Tensors among other objects: subclasses, copies, pickles, storages, and memory shared with other libraries."""

from __future__ import annotations

import copy
import copyreg
import ctypes
import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..device import device as device_
from ..dispatch.overriding import default_torch_function, own_members
from ..dtype import dtype as dtype_
from ..layout import dense, of
from ..runtime import memory, shared
from ..storage import Alias, Storage, allocate
from ..tensor import Tensor, from_numpy, make, materialize, numpy_view
from . import create
from .alike import legacy
from .common import factory
from .members import _TITLES

__all__ = ["TypedStorage", "UntypedStorage", "from_dlpack", "frombuffer", "is_storage", "typename"]


# -- subclasses --------------------------------------------------------------------------------------


def _init_subclass(cls: type, **kwargs: Any) -> None:
    object.__init_subclass__(**kwargs)
    own_members(cls)
    if hasattr(cls, "__torch_dispatch__"):
        _dispatching().prepare(cls)


def _dispatching() -> Any:
    """What asks classes with ``__torch_dispatch__``: few programs have one."""
    return importlib.import_module("..dispatching", __package__)


def _make_wrapper_subclass(cls: type, size: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of a class with ``__torch_dispatch__`` that has a shape and no memory; see `dispatching`."""
    return _dispatching().make_wrapper_subclass(cls, size, *args, **kwargs)  # type: ignore[no-any-return]


def _over(cls: type, data: Tensor) -> Tensor:
    """A tensor of class ``cls`` over the memory of ``data``, without its history."""
    if not issubclass(cls, Tensor):
        raise TypeError(f"cls must be a subclass of torch.Tensor, not {cls.__name__}")
    t: Any = object.__new__(cls)
    t._layout, t._storage, t._offset = data._layout, data._storage, data._offset
    t._key = data._layout if (cls is Tensor or cls._plain) and data._storage.pending is None else None
    return t


def _as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same tensor as an instance of a subclass, with its history."""
    t = _over(cls, self)
    t._requires_grad, t._node, t._output_nr = self._requires_grad, self._node, self._output_nr
    t._view = self._view
    return t


def _make_subclass(cls: type, data: Tensor, require_grad: bool = False, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of class ``cls`` over the memory of ``data``, off the tape."""
    if require_grad and data.dtype.kind not in "fc":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    t = _over(cls, data)
    t._requires_grad = bool(require_grad)
    return t


def _new_instance(cls: type, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor(...)``: of a shape given as ints (uninitialised), or with a copy of a sequence; the default floating
    type."""
    device = kwargs.pop("device", None)
    if "data" in kwargs:
        args = (kwargs.pop("data"),)
    if cls is not Tensor and len(args) == 1 and isinstance(args[0], Tensor):
        return _as_subclass(args[0].detach(), cls)  # type: ignore[attr-defined]
    if kwargs and cls is Tensor:
        raise TypeError(f"Tensor() got unexpected keyword arguments {sorted(kwargs)}")
    made = legacy(dtypes.get_default_dtype(), args, device)
    return made if cls is Tensor else _over(cls, made)


# -- copies and pickles ------------------------------------------------------------------------------

_OWN = frozenset(Tensor.__annotations__)


def _state(t: Tensor) -> dict[str, Any]:
    """The attributes that a user has set."""
    return {name: value for name, value in t.__dict__.items() if name not in _OWN}


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
    result: Any = _over(type(self), make(storage, self._layout, self._offset))
    memo[id(self)] = result
    result._requires_grad = self._requires_grad
    if self._grad is not None:
        result._grad = copy.deepcopy(self._grad, memo)
    for name, value in _state(self).items():
        setattr(result, name, copy.deepcopy(value, memo))
    return result


def _reduce_storage(storage: Storage) -> tuple[Any, ...]:
    if storage.pending is not None:
        storage.pending.trace.flush()
    if storage.device is devices.meta:
        return (_meta_storage, (storage.nbytes,))
    return (_filled_storage, (ctypes.string_at(storage.ptr, storage.nbytes) if storage.nbytes else b"",))


def _meta_storage(nbytes: int) -> Storage:
    return Storage(0, nbytes, device_=devices.meta)


def _filled_storage(data: bytes) -> Storage:
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
    t = _over(cls, make(storage, layout, offset))
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
            _state(self),
        ),
    )


# -- storages ----------------------------------------------------------------------------------------


class UntypedStorage:
    """The bytes behind a tensor, as PyTorch's programs see them."""

    def __init__(self, *args: Any, device: Any = None) -> None:
        if args and isinstance(args[0], Storage):
            self._storage = args[0].memory
        elif args and isinstance(args[0], int):
            self._storage = allocate(args[0])
        else:
            self._storage = _filled_storage(bytes(args[0]) if args else b"")

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
            made = create.tensor(list(args[0]) if args else [], dtype=self.dtype)
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


# -- what Python asks of every object ----------------------------------------------------------------


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
    return sorted({*dir(type(self)), *_state(self)})


def _record_stream(self: Tensor, stream: Any) -> None:
    """Keeps memory of an accelerator for the work of a stream; raises NotImplementedError on the CPU."""
    _refuse_stream(self, stream)


def _refuse_stream(self: Tensor, stream: Any) -> None:
    if stream is None:
        raise RuntimeError("record_stream(): expected a stream, got None")
    raise NotImplementedError(
        f"Could not run 'aten::record_stream' with arguments from the '{self.device.type.upper()}' backend: only "
        "accelerators have streams whose work outlives the call"
    )


# -- memory shared with other libraries --------------------------------------------------------------


@factory
def frombuffer(buffer: Any, *, dtype: dtype_, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-dim tensor over the memory of an object with Python's buffer protocol."""
    view = memoryview(buffer)
    nbytes, item = view.nbytes, dtype.itemsize
    if nbytes == 0 and count != 0:
        raise ValueError(f"both buffer length ({nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({nbytes} bytes) - 1"
        )
    if count < 0:
        if (nbytes - offset) % item:
            raise ValueError(
                f"buffer length ({nbytes - offset} bytes) after offset ({offset} bytes) must be a "
                f"multiple of element size ({item})"
            )
        count = (nbytes - offset) // item
    if count == 0:
        raise ValueError("both buffer length and count must not be 0")
    if offset + count * item > nbytes:
        raise ValueError(
            f"requested buffer length ({count} * {item} bytes) after offset ({offset} bytes) "
            f"must not be greater than actual buffer length ({nbytes} bytes)"
        )
    array = np.frombuffer(view, np.uint8, count * item, offset)
    made = make(Storage(array.ctypes.data, array.nbytes, array), dense(dtype, (count,)))
    return made.requires_grad_(requires_grad) if requires_grad else made  # type: ignore[attr-defined]


def _dlpack(
    self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
) -> Any:
    """The tensor's memory as a DLPack capsule."""
    if self._requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    array = numpy_view(self)
    if self.dtype is dtypes.bfloat16:
        raise BufferError("bfloat16 cannot be exported through DLPack")
    return (array.copy() if copy else array).__dlpack__()


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """DLPack's device: (1, 0), the CPU."""
    if self.device is not devices.cpu:
        raise BufferError(f"tensors on {self.device} cannot be exported through DLPack")
    return (1, 0)


class _Capsule:
    """A DLPack capsule as an object that gives it once."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an object with ``__dlpack__`` (an array of another library), or of a DLPack capsule,
    which can be taken once."""
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.clone() if copy else ext_tensor.detach()  # type: ignore[attr-defined]
    if type(ext_tensor).__name__ == "PyCapsule":
        ext_tensor = _Capsule(ext_tensor)
    if not hasattr(ext_tensor, "__dlpack__"):
        kind = type(ext_tensor).__name__
        raise TypeError(f"from_dlpack: expected an object with __dlpack__ or a DLPack capsule, got {kind}")
    array = np.from_dlpack(ext_tensor)
    return from_numpy(array.copy() if copy else array)


# -- names of the first days -------------------------------------------------------------------------


class _LegacyMeta(type):
    """Lets ``isinstance(t, FloatTensor)`` hold for tensors of the type."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype  # type: ignore[attr-defined]

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        return legacy(cls.dtype, args, device)  # type: ignore[attr-defined]

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


def legacy_classes() -> dict[str, Any]:
    """``FloatTensor`` and its like: callable as constructors, and types for ``isinstance``."""
    found = {}
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"):
        title = f"{_TITLES[name]}Tensor"
        found[title] = _LegacyMeta(
            title, (), {"dtype": dtypes.named(name), "__module__": "torch", "__doc__": f"Tensors of {name} elements."}
        )
    return found


def typename(obj: Any) -> str:
    """The name of an object's type; of a tensor the name of its element type ("torch.FloatTensor")."""
    if isinstance(obj, Tensor):
        return obj.type()  # type: ignore[attr-defined]
    cls = obj if isinstance(obj, type) else type(obj)
    module = getattr(cls, "__module__", "")
    return cls.__qualname__ if module in ("builtins", "__builtin__", None, "") else f"{module}.{cls.__qualname__}"


def install(cls: type[Tensor]) -> None:
    """Attaches the members of this file."""
    members: dict[str, Any] = {
        "__init_subclass__": classmethod(_init_subclass), "__torch_function__": classmethod(default_torch_function),
        "__new__": staticmethod(_new_instance),
        "as_subclass": _as_subclass, "_make_subclass": staticmethod(_make_subclass),
        "_make_wrapper_subclass": staticmethod(_make_wrapper_subclass), "__deepcopy__": _deepcopy,
        "__reduce_ex__": _reduce_ex,
        "untyped_storage": _untyped_storage, "storage": _typed_storage, "_typed_storage": _typed_storage, "set_": _set,
        "share_memory_": _share_memory, "is_shared": _is_shared, "__dlpack__": _dlpack, "__setstate__": _set_state,
        "__delitem__": _delete_item, "__dir__": _directory, "record_stream": _record_stream,
        "__dlpack_device__": _dlpack_device,
    }  # fmt: skip
    for name, member in members.items():
        if hasattr(member, "__name__") and not isinstance(member, (classmethod, staticmethod)):
            member.__name__ = member.__qualname__ = name
        setattr(cls, name, member)


install(Tensor)
