"""Types that TorchScript's programs are annotated with, and asking whether a value is of one."""

from __future__ import annotations

import builtins
import types
import typing
from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035  (names that programs import from here)

from ..futures import Future
from ..tensor import Tensor

__all__ = ["Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "BroadcastingList4",
           "Dict", "Future", "List", "Optional", "Tuple", "Union",
           "isinstance_of"]  # fmt: skip


class _BroadcastingList:
    """``BroadcastingListN[int]``: a list of N, or one number that stands for N equal ones."""

    def __getitem__(self, types: Any) -> Any:
        return List[types]  # type: ignore[valid-type]  # noqa: UP006


BroadcastingList1 = _BroadcastingList()
BroadcastingList2 = _BroadcastingList()
BroadcastingList3 = _BroadcastingList()
BroadcastingList4 = _BroadcastingList()


def isinstance_of(obj: Any, target_type: Any) -> bool:
    """Whether a value is of a type, the types of a container's members included; a tuple or list of types means any.

    An empty container is of every type of its kind.
    """
    if isinstance(target_type, (tuple, list)):
        return any(isinstance_of(obj, t) for t in target_type)
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if target_type is Any:
        return True
    if origin is None:
        if target_type is Tensor:
            return isinstance(obj, Tensor)
        return obj is None if target_type is None else isinstance(obj, target_type)
    if origin in (Union, types.UnionType):
        return any(isinstance_of(obj, None if a is type(None) else a) for a in args)
    if not isinstance(obj, origin):
        return False
    if origin is builtins.dict:
        return all(isinstance_of(k, args[0]) and isinstance_of(v, args[1]) for k, v in obj.items())
    if origin is builtins.tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return all(isinstance_of(item, args[0]) for item in obj)
        return len(obj) == len(args) and all(map(isinstance_of, obj, args))
    if origin is builtins.list:
        return all(isinstance_of(item, args[0]) for item in obj)
    return True
