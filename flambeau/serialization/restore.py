"""What the names in a checkpoint stand for: makers of tensors that check everything, and classes that are only data."""

from __future__ import annotations

import codecs
import collections
import enum
import importlib
import pathlib
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from ..device import device as device_type
from ..device import meta
from ..dtype import ALL, dtype, from_numpy_dtype
from ..layout import Layout, Size, of
from ..ops import members
from ..ops.storage_classes import TypedStorage, UntypedStorage
from ..storage import Storage
from ..tensor import Tensor, from_numpy, make
from .unpickle import Globals, UnpicklingError, short

__all__ = [
    "STORAGE_TYPES",
    "CheckpointGlobals",
    "LoadedStorage",
    "NameCollector",
    "StorageType",
    "add_safe_globals",
    "clear_safe_globals",
    "dtype_of",
    "get_safe_globals",
    "loaded",
    "memory_of",
    "public_name",
    "rebuild_tensor",
    "safe_globals",
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
_DTYPES = {type_.name: type_ for type_ in ALL}
_PACKAGE = __name__.split(".")[0]
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


# -- names -----------------------------------------------------------------------------------------
def public_name(module: str, name: str) -> tuple[str, str]:
    """The name under which PyTorch's programs know an object of this package."""
    if (module, name) == (Tensor.__module__, Tensor.__qualname__):
        return "torch", "Tensor"
    if module == _PACKAGE or module.startswith(_PACKAGE + "."):
        if name.startswith("_rebuild_"):
            return "torch._utils", name
        return "torch" + module[len(_PACKAGE) :], name
    return module, name


def own_name(module: str, name: str) -> tuple[str, str]:
    """The name in this package of an object that PyTorch's programs know as ``module.name``."""
    if module == "torch" or module.startswith("torch."):
        return _PACKAGE + module[len("torch") :], name
    return module, name


# -- makers of tensors -----------------------------------------------------------------------------
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
    found: Tensor = importlib.import_module(f"{_PACKAGE}.sparse.display")._rebuild_sparse_tensor(layout, data)
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
    return _own("nn.parameter", "Parameter")(data, bool(requires_grad))


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


def _numpy_dtype(*args: Any) -> np.dtype:
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


def _set_array_state(array: np.ndarray, state: Any) -> None:
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

_CALLED: dict[str, Callable[..., Any]] = {
    **_MAKERS,
    "_codecs.encode": _encode,
    "collections.defaultdict": _default_dict,
    "numpy.dtype": _numpy_dtype,
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
# Classes whose instances are nothing but data.
_DATA: dict[str, type] = {
    f"{cls.__module__}.{cls.__qualname__}": cls
    for cls in (collections.OrderedDict, collections.Counter, set, frozenset, bytearray, complex, list, dict, tuple,
                int, float, str, bool, bytes, object)
}  # fmt: skip
_DATA["torch.Size"] = Size
_DATA["torch.device"] = device_type
_DATA["torch.Tensor"] = Tensor
_DATA["numpy.ndarray"] = np.ndarray
_DATA["numpy.bool_"] = np.bool_
_DATA["numpy.bool"] = np.bool_
_DATA.update({f"numpy.{t.__name__}": t for t in np.sctypeDict.values() if t is not np.object_ and t is not np.void})
# More of them, for checkpoints that hold other things than weights.
_MORE_DATA: dict[str, type] = {
    f"{cls.__module__}.{cls.__qualname__}": cls
    for cls in (collections.deque, types.SimpleNamespace, slice, range, pathlib.PurePosixPath, pathlib.PureWindowsPath)
}
_MORE_DATA["pathlib.PosixPath"] = pathlib.PurePosixPath if sys.platform == "win32" else pathlib.PosixPath
_MORE_DATA["pathlib._local.PosixPath"] = _MORE_DATA["pathlib.PosixPath"]
_MORE_DATA["pathlib.WindowsPath"] = pathlib.PureWindowsPath
_CONSTANTS: dict[str, Any] = {
    **{f"torch.{type_.name}": type_ for type_ in ALL},
    **{f"torch.{name}": StorageType(name, _DTYPES[type_]) for type_, name in STORAGE_TYPES.items()},
    "torch.storage.UntypedStorage": StorageType("UntypedStorage", None),
    "torch.UntypedStorage": StorageType("UntypedStorage", None),
}
# The classes of tensors by element type, which old files name.
_CONSTANTS.update(
    {
        name.replace("Storage", "Tensor"): value
        for name, value in list(_CONSTANTS.items())
        if isinstance(value, StorageType) and value.dtype is not None
    }
)
_CONSTANTS.update(
    {
        f"torch.cuda.{name.removeprefix('torch.')}": value
        for name, value in list(_CONSTANTS.items())
        if isinstance(value, StorageType)
    }
)
# Old protocols spell names as Python 2 did.
_PYTHON_3 = {"__builtin__": "builtins", "copy_reg": "copyreg", "xrange": "range", "unicode": "str", "long": "int"}
# Where this package's own classes may be made without weights_only.
_DATA_NAMESPACES = ("torch.nn.", "torch.optim.", "torch.distributions.", "torch.utils.data.", "torch.ao.")
_FORBIDDEN = ("sys", "os", "posix", "nt")


# -- names that the user allows --------------------------------------------------------------------
_user_globals: dict[str, Any] = {}


def _named(items: Iterable[Any]) -> dict[str, Any]:
    found = {}
    for item in items:
        if isinstance(item, tuple):
            if len(item) != 2 or not isinstance(item[1], str):
                raise ValueError(f"expected a callable or a tuple of a callable and its full name, got {item!r}")
            found[item[1]] = item[0]
        else:
            module, name = public_name(item.__module__, item.__qualname__)
            found[f"{module}.{name}"] = item
            found[f"{item.__module__}.{item.__qualname__}"] = item
    return found


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Let checkpoints name these functions and classes: loading one may then call them.

    Args:
        safe_globals: functions and classes, or tuples of one and the full name that stands for it.
    """
    _user_globals.update(_named(safe_globals))


def get_safe_globals() -> list[Any]:
    """The functions and classes that :func:`add_safe_globals` was given."""
    return list({id(value): value for value in _user_globals.values()}.values())


def clear_safe_globals() -> None:
    """Forget what :func:`add_safe_globals` was given."""
    _user_globals.clear()


class safe_globals:
    """:func:`add_safe_globals` for the length of a ``with`` block."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self.safe_globals = safe_globals
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self._before.append(dict(_user_globals))
        add_safe_globals(self.safe_globals)

    def __exit__(self, type: Any, value: Any, tb: Any) -> None:
        _user_globals.clear()
        _user_globals.update(self._before.pop())


# -- the policy ------------------------------------------------------------------------------------
def _own(module: str, name: str) -> Any:
    """An attribute of a module of this package."""
    return getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)


def _imported(module: str, name: str) -> Any:
    """What the program that is running knows under a name; importing nothing on behalf of the file."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


class CheckpointGlobals(Globals):
    """What a checkpoint may name.

    With ``weights_only``: makers of tensors, plain containers, numpy's arrays, and what the user allowed. Without,
    also classes whose instances can be made without running any code that the file chooses: those of this package's
    namespaces of PyTorch, enumerations, named tuples, and classes of the running program that leave the making and
    the state of their instances to Python.
    """

    def __init__(self, weights_only: bool) -> None:
        self.weights_only = weights_only
        self._callable: set[int] = {id(function) for function in _CALLED.values()}

    # -- names -----------------------------------------------------------------------------------
    def resolve(self, module: str, name: str) -> Any:
        """The object that a file names; raises UnpicklingError for a name that is not allowed."""
        module, name = _PYTHON_3.get(module, module), _PYTHON_3.get(name, name)
        full = f"{module}.{name}"
        if module.split(".")[0] in _FORBIDDEN:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked.")
        if full in _user_globals:
            return _user_globals[full]
        for table in (_CALLED, _DATA, _CONSTANTS):
            if full in table:
                return table[full]
        if full in ("torch.nn.parameter.Parameter", "torch.nn.Parameter"):
            return _own("nn.parameter", "Parameter")
        if module == "numpy.dtypes" or module == "ml_dtypes":
            found = getattr(sys.modules.get(module), name, None)
            if isinstance(found, type) and issubclass(found, (np.dtype, np.generic)):
                return found
        if not self.weights_only:
            found = self._resolve_open(module, name, full)
            if found is not None:
                return found
        raise UnpicklingError(self._refusal(module, name))

    def _resolve_open(self, module: str, name: str, full: str) -> Any:
        if full in _MORE_DATA:
            return _MORE_DATA[full]
        if module == "torch" or module.startswith("torch."):
            found = _imported(*own_name(module, name))
            if isinstance(found, type):
                return found if module.startswith(_DATA_NAMESPACES) else None
            # A module may keep a function, its activation say; naming it does not call it.
            return found if callable(found) and module in ("torch", "torch.nn.functional", "torch._C._nn") else None
        found = _imported(module, name)
        return found if isinstance(found, type) and self._is_inert(found) else None

    def _is_inert(self, cls: type) -> bool:
        """Whether making an instance and giving it its state runs nothing but Python's and this package's code."""
        if cls.__module__.split(".")[0] in sys.stdlib_module_names and cls.__module__ != "__main__":
            return False
        if issubclass(cls, enum.Enum) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
            return True
        for name in ("__new__", "__setstate__", "__setattr__", "__del__", "__init_subclass__"):
            owner = next((base for base in cls.__mro__ if name in base.__dict__), None)
            known = owner is None or owner in (object, dict, list, set, tuple, Exception)
            if not known and owner.__module__.split(".")[0] != _PACKAGE:  # type: ignore[union-attr]
                return False
        return True

    def _refusal(self, module: str, name: str) -> str:
        full = f"{module}.{name}"
        if self.weights_only:
            return (
                "Weights only load failed. Nothing that this file names was executed.\n"
                f"\tUnsupported global: GLOBAL {full} was not an allowed global by default. Please use "
                f"`torch.serialization.add_safe_globals([{name}])` or the "
                f"`torch.serialization.safe_globals([{name}])` context manager to allowlist this global if you "
                "trust this class/function."
            )
        return (
            f"GLOBAL {full} is not allowed: loading a file executes nothing from it, with weights_only=False too. "
            f"Import the class first if it is plain data; else use `torch.serialization.add_safe_globals([{name}])` "
            "or the `torch.serialization.safe_globals` context manager if you trust it."
        )

    # -- objects ---------------------------------------------------------------------------------
    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """The result of a call that a file asks for; raises UnpicklingError unless the function is an allowed one."""
        allowed = self._allowed_by_user(function)
        if not allowed and id(function) not in self._callable:
            if isinstance(function, type):
                return self.new(function, args, {})
            raise UnpicklingError(f"pickle: {short(function)} may be named, but not called")
        try:
            return function(*args)
        except (TypeError, AttributeError, RuntimeError) as error:
            if allowed:
                raise
            raise UnpicklingError(f"pickle: {getattr(function, '__name__', function)}: {error}") from error

    def _allowed_by_user(self, value: Any) -> bool:
        return any(value is allowed for allowed in _user_globals.values())

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A new instance of a class; raises UnpicklingError unless no code of the file's choosing runs."""
        if not isinstance(cls, type):
            raise UnpicklingError(f"pickle: {short(cls)} is no class")
        if self._allowed_by_user(cls):
            return cls.__new__(cls, *args, **kwargs)
        if issubclass(cls, (Tensor, np.ndarray, np.generic)):
            raise UnpicklingError(f"pickle: {cls.__name__} may be named, but not made this way")
        try:
            if cls in _DATA.values() or cls in _MORE_DATA.values():
                if cls is bytearray and args and not isinstance(args[0], (bytes, str)):
                    raise UnpicklingError("pickle: a bytearray must be made from bytes")
                if cls is bytes and args and not isinstance(args[0], (bytes, list)):
                    raise UnpicklingError("pickle: bytes must be made from bytes")
                return cls(*args, **kwargs)
            if issubclass(cls, np.dtype):
                return _numpy_dtype(cls().str)
            if not self.weights_only:
                if issubclass(cls, enum.Enum):
                    return cls(*args)
                if issubclass(cls, tuple):
                    return tuple.__new__(
                        cls, args[0] if type(args[0]) is tuple and not hasattr(cls, "_fields") else args
                    )
                return cls.__new__(cls, *(args if issubclass(cls, (dict, list, set, Exception)) else ()))
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
            raise UnpicklingError(f"pickle: cannot make a {cls.__name__} of {short(args)}: {error}") from error
        raise UnpicklingError(f"pickle: a {cls.__name__} may not be made from a file")

    def build(self, instance: Any, state: Any) -> None:
        """Gives an instance its state; raises UnpicklingError where that would run code."""
        cls = type(instance)
        if isinstance(instance, np.ndarray):
            _set_array_state(instance, state)
        elif isinstance(instance, np.dtype):
            # The state repeats what the type's name says, but for the order of bytes.
            if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
                raise UnpicklingError("numpy: big-endian arrays are not supported; save them in native order")
        elif isinstance(instance, (Tensor, type, TypedStorage, UntypedStorage, StorageType, dtype)):
            raise UnpicklingError(f"pickle: the state of a {cls.__name__} may not be set from a file")
        elif hasattr(cls, "__setstate__") and (self._allowed_by_user(cls) or not self.weights_only):
            instance.__setstate__(state)
        else:
            slots = None
            if isinstance(state, tuple) and len(state) == 2:
                state, slots = state
            if state and not hasattr(instance, "__dict__"):
                raise UnpicklingError(f"pickle: a {cls.__name__} has no attributes to set")
            for part in (state, slots):
                if part and not (isinstance(part, dict) and all(type(name) is str for name in part)):
                    raise UnpicklingError(f"pickle: the state of a {cls.__name__} must be a dict of names")
            if state:
                instance.__dict__.update(state)
            for name, value in (slots or {}).items():
                setattr(instance, name, value)


class NameCollector(Globals):
    """Collects the names of a pickle that the default policy refuses, making nothing."""

    class _Nothing(dict):  # type: ignore[type-arg]
        """Stands for every object."""

        def __hash__(self) -> int:  # type: ignore[override]
            return id(self)

        def append(self, value: Any) -> None:
            pass

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self._policy = CheckpointGlobals(weights_only=True)

    def resolve(self, module: str, name: str) -> Any:
        """Notes a name that would be refused; something that stands for the object."""
        try:
            self._policy.resolve(module, name)
        except UnpicklingError:
            self.refused.add(f"{module}.{name}")
        return self._Nothing()

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Something that stands for the result."""
        return self._Nothing()

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Something that stands for the instance."""
        return self._Nothing()

    def build(self, instance: Any, state: Any) -> None:
        """Nothing is built."""


def storage_type(value: Any) -> StorageType:
    """A storage's class as a checkpoint names it."""
    if not isinstance(value, StorageType):
        raise UnpicklingError(f"storage: {short(value)} is no class of storages")
    return value
