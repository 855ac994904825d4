"""Makers of the tensors, storages and arrays in a checkpoint, which check everything that a file claims."""

from __future__ import annotations

import codecs
import collections
import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..device import device as device_type
from ..device import meta
from ..dtype import ALL, dtype, from_numpy_dtype
from ..layout import Layout, of
from ..ops import members
from ..ops.storage_classes import TypedStorage, UntypedStorage
from ..storage import Storage
from ..tensor import Tensor, from_numpy, make
from .unpickle import UnpicklingError, short

__all__ = [
    "CALLED",
    "DTYPES",
    "PACKAGE",
    "STORAGE_TYPES",
    "LoadedStorage",
    "StorageType",
    "dtype_of",
    "loaded",
    "memory_of",
    "numpy_dtype",
    "own",
    "rebuild_tensor",
    "set_array_state",
    "storage_type",
]

# The classes of storages by the type of their elements; types that are not here use UntypedStorage.
STORAGE_TYPES: dict[str, str] = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
DTYPES = {type_.name: type_ for type_ in ALL}
PACKAGE = __name__.split(".")[0]
_MOST_ELEMENTS = 2**63 - 1
_MOST_DIMENSIONS = 64


class StorageType:
    """A class of storages as a name in a checkpoint; ``dtype`` is None when elements have no type."""

    def __init__(self, name: str, type_: dtype | None) -> None:
        self.name = name
        self.dtype = type_


LoadedStorage: TypeAlias = "TypedStorage | UntypedStorage"
"""A storage as a checkpoint's object holds it."""


def loaded(storage: Storage, type_: dtype | None) -> LoadedStorage:
    """A storage whose elements were saved as ``type_`` (None: bytes)."""
    untyped = UntypedStorage(storage)
    return untyped if type_ is None else TypedStorage(wrap_storage=untyped, dtype=type_)


def memory_of(storage: LoadedStorage) -> Storage:
    """The memory of a storage."""
    return storage.untyped()._storage


def dtype_of(storage: LoadedStorage) -> dtype | None:
    """The type that a storage's elements were saved with; None for bytes."""
    return storage.dtype if isinstance(storage, TypedStorage) else None


def _integers(what: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > _MOST_DIMENSIONS:
        raise UnpicklingError(
            f"tensor: {what} must be a tuple of at most {_MOST_DIMENSIONS} integers, got {short(values)}"
        )
    for value in values:
        if type(value) is not int or value < 0:
            raise UnpicklingError(f"tensor: {what} must be integers that are not negative, got {short(values)}")
    return tuple(values)


def _tensor(storage: Any, type_: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """A tensor over a loaded storage, once its claims have been checked against the storage's size."""
    if not isinstance(storage, (TypedStorage, UntypedStorage)) or not isinstance(type_, dtype):
        raise UnpicklingError(
            f"tensor: expected a storage and an element type, got {short(storage)} and {short(type_)}"
        )
    shape, strides = _integers("sizes", size), _integers("strides", stride)
    (start,) = _integers("the offset", (offset,))
    if len(shape) != len(strides):
        raise UnpicklingError(f"tensor: {len(shape)} sizes but {len(strides)} strides")
    memory = memory_of(storage)
    layout = _layout(type_, memory.device, shape, strides)
    end = (start + layout.span) * type_.itemsize
    if (layout.span or start) and end > memory.nbytes:
        raise UnpicklingError(
            f"tensor: size {shape}, stride {strides} and offset {start} of {type_} need {end} bytes, "
            f"but its storage has {memory.nbytes}"
        )
    return make(memory, layout, start)


def _layout(type_: dtype, where: device_type, shape: tuple[int, ...], strides: tuple[int, ...]) -> Layout:
    elements = 1
    for length in shape:
        elements *= max(length, 1)
    reach = sum((length - 1) * stride for length, stride in zip(shape, strides) if length)
    if elements > _MOST_ELEMENTS or reach > _MOST_ELEMENTS:
        raise UnpicklingError(f"tensor: size {shape} and stride {strides} are beyond any memory")
    return of(type_, where, shape, strides)


def _finished(tensor: Tensor, requires_grad: Any, metadata: Any = None) -> Tensor:
    if metadata:
        if not isinstance(metadata, dict) or set(metadata) - {"conj", "neg"}:
            raise UnpicklingError(f"tensor: unknown marks {short(metadata)}")
        if metadata.get("conj"):
            tensor = tensor.conj()
        if metadata.get("neg"):
            tensor = -tensor
    return tensor.requires_grad_() if requires_grad else tensor


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """A tensor over a loaded storage, of the type that its elements were saved with."""
    return _tensor(storage, dtype_of(storage), offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> Tensor:
    return _finished(_rebuild_tensor(storage, offset, size, stride), requires_grad, metadata)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, type_: Any, metadata: Any = None
) -> Tensor:
    return _finished(_tensor(storage, type_, offset, size, stride), requires_grad, metadata)


def _rebuild_meta_tensor_no_storage(type_: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
    if not isinstance(type_, dtype):
        raise UnpicklingError(f"tensor: {short(type_)} is no element type")
    layout = _layout(type_, meta, _integers("sizes", size), _integers("strides", stride))
    return _finished(make(Storage(0, layout.span * layout.itemsize, device_=meta), layout), requires_grad)


def _rebuild_sparse_tensor(layout: Any, data: Any) -> Tensor:
    # imported when a file has one
    found: Tensor = importlib.import_module(f"{PACKAGE}.sparse.display")._rebuild_sparse_tensor(layout, data)
    return found


def _rebuild_device_tensor_from_numpy(data: Any, type_: Any, device: Any, requires_grad: Any) -> Tensor:
    if not isinstance(data, np.ndarray):
        raise UnpicklingError(f"tensor: expected an array, got {type(data).__name__}")
    tensor = from_numpy(np.ascontiguousarray(data).reshape(data.shape)).to(dtype=type_)
    return _finished(tensor, requires_grad)


def _rebuild_device_tensor_from_cpu_tensor(data: Any, type_: Any, device: Any, requires_grad: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise UnpicklingError(f"tensor: expected a tensor, got {type(data).__name__}")
    return _finished(data.to(dtype=type_), requires_grad)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise UnpicklingError(f"parameter: expected a tensor, got {type(data).__name__}")
    return own("nn.parameter", "Parameter")(data, bool(requires_grad))


def _rebuild_parameter_with_state(data: Any, requires_grad: Any, hooks: Any, state: Any) -> Tensor:
    parameter = _rebuild_parameter(data, requires_grad, hooks)
    _set_attributes(parameter, state)
    return parameter


def _rebuild_from_type_v2(function: Any, cls: Any, args: Any, state: Any) -> Tensor:
    if function not in _MAKERS.values() or not isinstance(args, tuple):
        raise UnpicklingError("tensor: the maker of a subclass's data must be one of PyTorch's own")
    tensor = function(*args)
    if cls is not Tensor:
        if not (isinstance(cls, type) and issubclass(cls, Tensor)):
            raise UnpicklingError(f"tensor: {short(cls)} is no subclass of Tensor")
        tensor = tensor.as_subclass(cls)
    if type(tensor).__setstate__ is not Tensor.__setstate__:  # type: ignore[attr-defined]
        tensor.__setstate__(state)
    elif isinstance(state, tuple):
        for part in state:
            if part:
                _set_attributes(tensor, part)
    elif state:
        _set_attributes(tensor, state)
    return tensor


def _set_attributes(instance: Any, state: Any) -> None:
    if not isinstance(state, dict) or not all(type(name) is str for name in state):
        raise UnpicklingError(f"the state of a {type(instance).__name__} must be a dict of names")
    for name, value in state.items():
        if name.startswith("__"):
            raise UnpicklingError(f"the state of a {type(instance).__name__} may not set {name}")
        setattr(instance, name, value)


rebuild_tensor = _rebuild_tensor


def _get_layout(name: Any) -> Any:
    found = getattr(members, str(name).removeprefix("torch."), None)
    if not isinstance(found, members.layout) or str(found) != name:
        raise UnpicklingError(f"{short(name)} is no layout")
    return found


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as old protocols spell them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"_codecs.encode is only for bytes spelled in latin1, got {short(encoding)}")
    return codecs.latin_1_encode(text)[0]


def numpy_dtype(*args: Any) -> np.dtype:
    kind = args[0] if args else None
    named = isinstance(kind, str) and len(kind) <= 16
    if not named and not (isinstance(kind, type) and issubclass(kind, np.generic)):
        raise UnpicklingError(f"numpy: {short(kind)} is no element type")
    try:
        found = np.dtype(kind)
    except TypeError as error:
        raise UnpicklingError(f"numpy: {short(kind)} is no element type") from error
    if found.kind not in "?biufcSUmM" and from_numpy_dtype(found) is None:
        raise UnpicklingError(f"numpy: elements of type {found} are not plain data")
    return found


def _numpy_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if kind is not np.ndarray:
        raise UnpicklingError(f"numpy: {short(kind)} is no kind of array")
    return np.empty(0, np.int8)


def _numpy_scalar(type_: Any, data: Any = None) -> Any:
    if not isinstance(type_, np.dtype) or type_.hasobject or not isinstance(data, bytes) or len(data) != type_.itemsize:
        raise UnpicklingError("numpy: a scalar needs a plain type and as many bytes")
    return np.frombuffer(data, type_)[0]


def _numpy_from_buffer(data: Any, type_: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(type_, np.dtype) or type_.hasobject or not isinstance(data, (bytes, bytearray)):
        raise UnpicklingError("numpy: an array needs a plain type and bytes")
    return np.frombuffer(bytearray(data), type_).reshape(_integers("sizes", shape), order="F" if order == "F" else "C")


def set_array_state(array: np.ndarray, state: Any) -> None:
    if not (isinstance(state, tuple) and len(state) == 5):
        raise UnpicklingError("numpy: the state of an array must be a tuple of 5")
    _, shape, type_, fortran, data = state
    shape = _integers("sizes", shape)
    if not isinstance(type_, np.dtype) or type_.hasobject or not isinstance(data, (bytes, str)):
        raise UnpicklingError("numpy: an array needs a plain type and bytes")
    raw = data.encode("latin1") if isinstance(data, str) else data
    if len(raw) != int(np.prod(shape, dtype=object)) * type_.itemsize:
        raise UnpicklingError(f"numpy: {len(raw)} bytes do not make an array of size {shape} of {type_}")
    array.__setstate__((1, shape, type_, bool(fortran), raw))


def _default_dict(factory: Any = None, *items: Any) -> Any:
    if factory not in (None, list, dict, set, int, float, str, bool, tuple):
        raise UnpicklingError(f"defaultdict: {short(factory)} may not make its values")
    return collections.defaultdict(factory, *items)


_MAKERS: dict[str, Callable[..., Any]] = {
    f"torch._utils.{function.__name__}": function
    for function in (
        _rebuild_tensor,
        _rebuild_tensor_v2,
        _rebuild_tensor_v3,
        _rebuild_parameter,
        _rebuild_parameter_with_state,
        _rebuild_meta_tensor_no_storage,
        _rebuild_sparse_tensor,
        _rebuild_device_tensor_from_numpy,
        _rebuild_device_tensor_from_cpu_tensor,
    )
}
_MAKERS["torch._tensor._rebuild_from_type_v2"] = _rebuild_from_type_v2
_MAKERS["torch.serialization._get_layout"] = _get_layout

CALLED: dict[str, Callable[..., Any]] = {
    **_MAKERS,
    "_codecs.encode": _encode,
    "collections.defaultdict": _default_dict,
    "numpy.dtype": numpy_dtype,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", _numpy_array),
            ("multiarray.scalar", _numpy_scalar),
            ("numeric._frombuffer", _numpy_from_buffer),
        )
    },
}
"""The functions that a checkpoint may call, by the names it has for them."""


def own(module: str, name: str) -> Any:
    """An attribute of a module of this package."""
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)


def storage_type(value: Any) -> StorageType:
    """A storage's class as a checkpoint names it."""
    if not isinstance(value, StorageType):
        raise UnpicklingError(f"storage: {short(value)} is no class of storages")
    return value
