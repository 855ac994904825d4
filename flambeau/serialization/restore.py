"""What a checkpoint may name: the makers of ``rebuild.py``, classes that are only data, and what the user allows."""

from __future__ import annotations

import collections
import enum
import pathlib
import sys
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..device import device as device_type
from ..dtype import ALL, dtype
from ..layout import Size
from ..ops.storage_classes import TypedStorage, UntypedStorage
from ..tensor import Tensor
from .rebuild import CALLED, DTYPES, PACKAGE, STORAGE_TYPES, StorageType, numpy_dtype, own, set_array_state
from .unpickle import Globals, UnpicklingError, short

__all__ = [
    "CheckpointGlobals",
    "NameCollector",
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "public_name",
    "safe_globals",
]


# -- names -----------------------------------------------------------------------------------------
def public_name(module: str, name: str) -> tuple[str, str]:
    """The name under which PyTorch's programs know an object of this package."""
    if (module, name) == (Tensor.__module__, Tensor.__qualname__):
        return "torch", "Tensor"
    if module == PACKAGE or module.startswith(PACKAGE + "."):
        if name.startswith("_rebuild_"):
            return "torch._utils", name
        return "torch" + module[len(PACKAGE) :], name
    return module, name


def own_name(module: str, name: str) -> tuple[str, str]:
    """The name in this package of an object that PyTorch's programs know as ``module.name``."""
    if module == "torch" or module.startswith("torch."):
        return PACKAGE + module[len("torch") :], name
    return module, name


# -- tables -----------------------------------------------------------------------------------------
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
    **{f"torch.{name}": StorageType(name, DTYPES[type_]) for type_, name in STORAGE_TYPES.items()},
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


def _imported(module: str, name: str) -> Any:
    """What the program that is running knows under a name; importing nothing on behalf of the file."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


# -- the policy ------------------------------------------------------------------------------------
class CheckpointGlobals(Globals):
    """What a checkpoint may name.

    With ``weights_only``: makers of tensors, plain containers, numpy's arrays, and what the user allowed. Without,
    also classes whose instances can be made without running any code that the file chooses: those of this package's
    namespaces of PyTorch, enumerations, named tuples, and classes of the running program that leave the making and
    the state of their instances to Python.
    """

    def __init__(self, weights_only: bool) -> None:
        self.weights_only = weights_only
        self._callable: set[int] = {id(function) for function in CALLED.values()}

    # -- names -----------------------------------------------------------------------------------
    def resolve(self, module: str, name: str) -> Any:
        """The object that a file names; raises UnpicklingError for a name that is not allowed."""
        module, name = _PYTHON_3.get(module, module), _PYTHON_3.get(name, name)
        full = f"{module}.{name}"
        if module.split(".")[0] in _FORBIDDEN:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked.")
        if full in _user_globals:
            return _user_globals[full]
        for table in (CALLED, _DATA, _CONSTANTS):
            if full in table:
                return table[full]
        if full in ("torch.nn.parameter.Parameter", "torch.nn.Parameter"):
            return own("nn.parameter", "Parameter")
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
            if not known and owner.__module__.split(".")[0] != PACKAGE:  # type: ignore[union-attr]
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
                return numpy_dtype(cls().str)
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
            set_array_state(instance, state)
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
