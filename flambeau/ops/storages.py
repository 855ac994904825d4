"""Conversions of storages to other element types and places, and the classes of typed storages (``FloatStorage``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtype as dtypes
from ..dtype import dtype as dtype_
from . import create
from .storage_classes import TypedStorage, UntypedStorage

__all__ = ["STORAGES", "install"]

_CONVERSIONS = {
    "bfloat16": "bfloat16", "bool": "bool", "byte": "uint8", "char": "int8", "complex_double": "complex128",
    "complex_float": "complex64", "double": "float64", "float": "float32", "float8_e4m3fn": "float8_e4m3fn",
    "float8_e4m3fnuz": "float8_e4m3fnuz", "float8_e5m2": "float8_e5m2",
    "float8_e5m2fnuz": "float8_e5m2fnuz", "half": "float16", "int": "int32", "long": "int64", "short": "int16",
}  # fmt: skip
_CLASSES = {
    "BFloat16Storage": "bfloat16", "BoolStorage": "bool", "ByteStorage": "uint8", "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128", "ComplexFloatStorage": "complex64", "DoubleStorage": "float64",
    "FloatStorage": "float32", "HalfStorage": "float16", "IntStorage": "int32", "LongStorage": "int64",
    "ShortStorage": "int16", "QInt32Storage": "qint32", "QInt8Storage": "qint8", "QUInt2x4Storage": "quint2x4",
    "QUInt4x2Storage": "quint4x2", "QUInt8Storage": "quint8",
}  # fmt: skip


def _converted(name: str, kind: dtype_) -> Callable[[Any], TypedStorage]:
    def method(self: Any) -> TypedStorage:
        source = self._bytes() if isinstance(self, UntypedStorage) else self._tensor()
        made = source.to(kind)
        return (made.clone() if made is source else made).storage()  # type: ignore[no-any-return]

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The elements as {kind.name}, in a storage of their own."
    return method


class _StorageMeta(type):
    """Lets ``isinstance(s, FloatStorage)`` hold for typed storages of the type; calling makes one."""

    dtype: dtype_

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, wrap_storage: UntypedStorage | None = None, **kwargs: Any) -> TypedStorage:
        return TypedStorage(*args, wrap_storage=wrap_storage, dtype=cls.dtype)

    def __repr__(cls) -> str:
        return f"<class 'torch.storage.{cls.__name__}'>"


STORAGES: dict[str, Any] = {
    title: _StorageMeta(
        title, (), {"dtype": dtypes.named(name), "__module__": "torch", "__doc__": f"Storages of {name} elements."}
    )
    for title, name in _CLASSES.items()
}
Storage: Any = STORAGES["FloatStorage"]
StorageBase = UntypedStorage  # what all storages have in common here


def _byteswap(self: UntypedStorage, dtype: dtype_) -> None:
    """Reverses the bytes of every element of this type, in place; of complex ones those of each part."""
    size = dtype.to_real().itemsize if dtype.is_complex else dtype.itemsize
    flat = self._bytes()
    flat.copy_(flat.reshape(-1, size).flip(1).reshape(-1))  # type: ignore[attr-defined]


def _refuse_cuda(self: Any, device: Any = None, non_blocking: bool = False) -> Any:
    """The storage in the memory of a CUDA device: raises AssertionError, there is none."""
    return create.empty(0, device="cuda")


def _itself(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The storage itself: it is in the CPU's memory, none of which is pinned."""
    return self


def _pinned(self: Any, device: Any = "cuda") -> Any:
    """The storage itself: without an accelerator no memory is pinned."""
    return self


def _place(self: Any) -> int:
    """-1: the storage is in the CPU's memory."""
    return -1


def _type(self: TypedStorage, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the class of storages, or the storage as another type (a dtype, a class or its name)."""
    titles = {name: title for title, name in _CLASSES.items()}
    if dtype is None:
        return f"torch.{titles[self.dtype.name]}"
    if isinstance(dtype, str):
        dtype = STORAGES[dtype.rpartition(".")[2]]
    kind = dtype if isinstance(dtype, dtype_) else dtype.dtype
    return self if kind is self.dtype else _converted("type", kind)(self)


def _copy(self: TypedStorage, source: TypedStorage, non_blocking: bool | None = None) -> TypedStorage:
    """Replaces the elements by those of another storage, converted."""
    self._tensor().copy_(source._tensor())  # type: ignore[attr-defined]
    return self


def _short(method: str) -> Callable[..., Any]:
    def on_bytes(self: TypedStorage, *args: Any) -> Any:
        found = getattr(self._untyped_storage, method)(*args)
        return self if found is self._untyped_storage else found

    on_bytes.__name__ = on_bytes.__qualname__ = method
    on_bytes.__doc__ = f"See ``UntypedStorage.{method}``."
    return on_bytes


def _from_file(cls: Any, filename: str, shared: bool = False, size: int = 0) -> Any:
    """A storage of ``size`` elements over a file: see ``UntypedStorage.from_file``."""
    return cls(wrap_storage=UntypedStorage.from_file(filename, shared, size * cls.dtype.itemsize))


_StorageMeta.from_file = _from_file  # type: ignore[attr-defined]


def install() -> None:
    """Attaches the members of this file to the classes of storages."""
    for name, kind in _CONVERSIONS.items():
        for cls in (UntypedStorage, TypedStorage):
            setattr(cls, name, _converted(name, dtypes.named(kind)))
    absent = property(lambda self: False)
    for cls in (UntypedStorage, TypedStorage):
        cls.is_sparse = cls.is_hpu = absent  # type: ignore[attr-defined]
        cls.cuda, cls.pin_memory, cls.get_device = _refuse_cuda, _pinned, _place  # type: ignore[attr-defined]
    UntypedStorage.is_sparse_csr = absent  # type: ignore[attr-defined]
    UntypedStorage.byteswap = _byteswap  # type: ignore[attr-defined]
    TypedStorage.is_cuda = absent  # type: ignore[attr-defined]
    TypedStorage.type, TypedStorage.copy_, TypedStorage.cpu = _type, _copy, _itself  # type: ignore[attr-defined]
    for method in ("is_shared", "is_pinned", "share_memory_", "resizable"):
        setattr(TypedStorage, method, _short(method))


install()


def __getattr__(name: str) -> Any:
    if name not in STORAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return STORAGES[name]
