"""Classes of tensors: subclasses of ``Tensor``, and the old ones of each element type (``FloatTensor``)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from ..dispatch.torch_function import default_torch_function, own_members
from ..tensor import Tensor
from .common import attach
from .members import _TITLES
from .new_tensors import legacy

__all__ = ["typename"]


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


def over(cls: type, data: Tensor) -> Tensor:
    """A tensor of class ``cls`` over the memory of ``data``, without its history."""
    if not issubclass(cls, Tensor):
        raise TypeError(f"cls must be a subclass of torch.Tensor, not {cls.__name__}")
    t: Any = object.__new__(cls)
    t._layout, t._storage, t._offset = data._layout, data._storage, data._offset
    t._key = data._layout if (cls is Tensor or cls._plain) and data._storage.pending is None else None
    return t


def _as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same tensor as an instance of a subclass, with its history."""
    t = over(cls, self)
    t._requires_grad, t._node, t._output_nr = self._requires_grad, self._node, self._output_nr
    t._view = self._view
    return t


def _make_subclass(cls: type, data: Tensor, require_grad: bool = False, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of class ``cls`` over the memory of ``data``, off the tape."""
    if require_grad and data.dtype.kind not in "fc":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    t = over(cls, data)
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
    return made if cls is Tensor else over(cls, made)


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


attach(
    Tensor,
    {
        "__init_subclass__": classmethod(_init_subclass), "__torch_function__": classmethod(default_torch_function),
        "__new__": staticmethod(_new_instance), "as_subclass": _as_subclass,
        "_make_subclass": staticmethod(_make_subclass), "_make_wrapper_subclass": staticmethod(_make_wrapper_subclass),
    },
)  # fmt: skip
