"""Types for annotations: PyTorch's ``torch.types``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any, TypeAlias, Union

from .device import device
from .dtype import dtype
from .layout import Size
from .ops.storage_classes import TypedStorage, UntypedStorage
from .tensor import Tensor

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number: TypeAlias = int | float | bool
Device: TypeAlias = device | str | int | None
FileLike: TypeAlias = Union[str, "os.PathLike[str]", IO[bytes]]
IntLikeType: TypeAlias = int
FloatLikeType: TypeAlias = float
BoolLikeType: TypeAlias = bool
py_sym_types: tuple[type, ...] = ()
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_dtype, _device, _size = dtype, device, Union[Size, "list[int]", "tuple[int, ...]"]
_int, _float, _bool, _complex = int, float, bool, complex


class _Storages(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, (TypedStorage, UntypedStorage))


class Storage(metaclass=_Storages):
    """What storages of all kinds are instances of."""
