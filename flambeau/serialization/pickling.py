"""Writing objects as PyTorch's pickles: the names are PyTorch's, the contents of storages go elsewhere."""

from __future__ import annotations

import io
import pickle
import types
import warnings
from collections import OrderedDict
from typing import Any

from ..device import device as device_type
from ..device import meta
from ..dtype import dtype
from ..layout import Size
from ..ops.members import layout
from ..ops.storage_classes import TypedStorage, UntypedStorage
from ..storage import Storage
from ..tensor import Tensor, materialize
from .rebuild import STORAGE_TYPES
from .restore import public_name

__all__ = ["Pickler", "StorageTable"]


class _Name:
    """A name that the pickle shall hold, whatever it stands for here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self.__name__ = name

    def __call__(self, *args: Any) -> None:
        raise TypeError(f"{self.module}.{self.name} is only a name")


_REBUILD = {
    name: _Name("torch._utils", name)
    for name in (
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
        "_rebuild_meta_tensor_no_storage",
    )
}
_FROM_TYPE = _Name("torch._tensor", "_rebuild_from_type_v2")
_GET_LAYOUT = _Name("torch.serialization", "_get_layout")
_SIZE = _Name("torch", "Size")
_DEVICE = _Name("torch", "device")
_UNTYPED = _Name("torch.storage", "UntypedStorage")
_TYPED = {type_: _Name("torch", name) for type_, name in STORAGE_TYPES.items()}


class _Contents:
    """A storage within the object to be pickled, as elements of one type or as bytes."""

    def __init__(self, storage: Storage, type_: dtype | None) -> None:
        self.storage = storage
        self.dtype = type_


class StorageTable:
    """The storages met while pickling, by their keys "0", "1", ..."""

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}
        self._types: dict[int, dtype | None] = {}
        self.storages: dict[str, Storage] = {}

    def typed(self, storage: Storage, type_: dtype) -> bool:
        """Whether the storage can be named as one of elements of this type; the first use decides."""
        if type_.name not in STORAGE_TYPES or storage.nbytes % type_.itemsize:
            return False
        return self._types.setdefault(id(storage), type_) is type_

    def width(self, storage: Storage) -> int:
        """Bytes of an element of a storage, as it was named."""
        type_ = self._types[id(storage)]
        return 1 if type_ is None else type_.itemsize

    def key(self, storage: Storage) -> str:
        """The key of a storage, kept alive from now on."""
        found = self._keys.get(id(storage))
        if found is None:
            found = self._keys[id(storage)] = str(len(self._keys))
            self.storages[found] = storage
            self._types.setdefault(id(storage), None)
        return found


class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Pickles as PyTorch would, of tensors their layout only.

    The pickler that is written in C looks names up in the modules they come from, which here do not exist.
    """

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def __init__(self, file: io.BytesIO, protocol: int, table: StorageTable, with_view: bool = False) -> None:
        super().__init__(file, protocol)
        self._table = table
        self._view = (None,) if with_view else ()  # old files name the part of a storage that is meant

    # -- names -----------------------------------------------------------------------------------
    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Writes a function or class by its public name, a dtype by PyTorch's."""
        if isinstance(obj, _Name):
            self._write_name(obj, obj.module, obj.name)
            return
        if isinstance(obj, dtype):
            self._write_name(obj, "torch", obj.name)
            return
        own = name or getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
        module = pickle.whichmodule(obj, own)  # type: ignore[attr-defined]
        public = public_name(module, own)
        if public == (module, own):
            super().save_global(obj, name)
            return
        self._write_name(obj, *public)

    def _save_function(self, obj: Any) -> None:
        self.save_global(obj)

    dispatch[types.FunctionType] = _save_function

    def _write_name(self, obj: Any, module: str, name: str) -> None:
        if self.proto >= 4:  # type: ignore[attr-defined]
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)  # type: ignore[attr-defined]
        else:
            self.write(pickle.GLOBAL + module.encode() + b"\n" + name.encode() + b"\n")  # type: ignore[attr-defined]
        self.memoize(obj)

    # -- objects ---------------------------------------------------------------------------------
    def persistent_id(self, obj: Any) -> Any:
        """What stands for a storage in the file, whose bytes are a record of their own; None for any other object."""
        if isinstance(obj, UntypedStorage):
            obj = _Contents(obj._storage, None)
        elif isinstance(obj, TypedStorage):
            obj = _Contents(obj.untyped()._storage, obj.dtype if obj.dtype.name in STORAGE_TYPES else None)
        if not isinstance(obj, _Contents):
            return None
        storage, type_ = obj.storage, obj.dtype
        kind = _UNTYPED if type_ is None else _TYPED[type_.name]
        count = storage.nbytes // (1 if type_ is None else type_.itemsize)
        return ("storage", kind, self._table.key(storage), str(storage.device), count, *self._view)

    def reducer_override(self, obj: Any) -> Any:
        """How tensors, sizes, layouts and devices are made again (the functions that PyTorch's files name);
        NotImplemented for other objects."""
        kind = type(obj)
        if kind is Tensor:
            own = dict(obj.__dict__)
            return self._reduce_subclass(obj, own) if own else self._reduce_tensor(obj)
        if kind is _Name or kind is dtype:
            return obj.name
        if kind is Size:
            return (_SIZE, (tuple(obj),))
        if kind is layout:
            return (_GET_LAYOUT, (str(obj),))
        if kind is device_type:
            return (_DEVICE, (obj.type,) if obj.index is None else (obj.type, obj.index))
        if isinstance(obj, Tensor) and kind.__reduce_ex__ is Tensor.__reduce_ex__:
            return self._reduce_subclass(obj, dict(obj.__dict__))
        return NotImplemented

    def _reduce_tensor(self, tensor: Tensor) -> tuple[Any, ...]:
        _warn_of_hooks(tensor)
        materialize(tensor)
        place = tensor._layout
        shape, strides = tuple(place.shape), tuple(place.strides)
        if place.device is meta:
            args: tuple[Any, ...] = (place.dtype, shape, strides, tensor.requires_grad)
            return (_REBUILD["_rebuild_meta_tensor_no_storage"], args)
        storage = tensor._storage.memory
        typed = self._table.typed(storage, place.dtype)
        contents = _Contents(storage, place.dtype if typed else None)
        args = (contents, tensor._offset, shape, strides, tensor.requires_grad, OrderedDict())
        if typed:
            return (_REBUILD["_rebuild_tensor_v2"], args)
        return (_REBUILD["_rebuild_tensor_v3"], (*args, place.dtype))

    def _reduce_subclass(self, tensor: Tensor, state: dict[str, Any]) -> tuple[Any, ...]:
        make, args = self._reduce_tensor(tensor)
        return (_FROM_TYPE, (make, type(tensor), args, state))


def _warn_of_hooks(tensor: Tensor) -> None:
    for hook in (getattr(tensor, "_backward_hooks", None) or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized. If this is expected, you can decorate the "
                "function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )
