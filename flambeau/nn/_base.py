"""What ``nn`` takes from the layers below it, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..autograd import Function
from ..autograd.mode import enable_grad, is_grad_enabled, no_grad
from ..autograd.saved import scalar_name
from ..device import device
from ..dispatch.operator import OPERATORS
from ..dispatch.torch_function import disabled_torch_function
from ..dtype import bfloat16, dtype, float16, float32, float64, get_default_dtype, int8, int16, int32, int64, uint8
from ..layout import Size
from ..ops import common, create, from_data, random, ranges
from ..ops.convert import preserve_format
from ..tensor import Tensor
from ..utils.hooks import RemovableHandle

__all__ = [
    "Function",
    "RemovableHandle",
    "Size",
    "Tensor",
    "bfloat16",
    "device",
    "disabled_torch_function",
    "dtype",
    "enable_grad",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "make_subclass",
    "no_grad",
    "ops",
    "overridable",
    "preserve_format",
    "typename",
    "uint8",
]

F = TypeVar("F", bound=Callable[..., Any])


class _Operators:
    """Every operator and factory by name; a name once looked up is an attribute."""

    def __getattr__(self, name: str) -> Any:
        if name in OPERATORS:
            found = OPERATORS[name].function
        else:
            places = (place for place in (create, from_data, ranges, random) if name in place.__all__)
            place = next(places, None)
            if place is None:
                raise AttributeError(f"there is no operator {name!r}")
            found = getattr(place, name)
        setattr(self, name, found)
        return found


ops: Any = _Operators()


def make_subclass(cls: type, data: Tensor, requires_grad: bool) -> Any:
    """A tensor of class ``cls`` over the memory of ``data``, off the tape.

    Raises RuntimeError for gradients of integers.
    """
    if requires_grad and not (data.dtype.is_floating_point or data.dtype.is_complex):
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    result = object.__new__(cls)
    result._layout = data._layout
    result._storage = data._storage
    result._offset = data._offset
    result._key = data._key
    result.requires_grad_(requires_grad)
    return result


def overridable(function: F) -> F:
    """``ops.common.overridable`` for functions of ``nn.functional``."""
    return common.overridable(function, "flambeau.nn.functional")


def typename(value: Any) -> str:
    """The name of a value's type as error messages give it: "int", "torch.FloatTensor", "package.Class"."""
    if isinstance(value, Tensor):
        place = "" if value.device.type == "cpu" else f"{value.device.type}."
        return f"torch.{place}{scalar_name(value.dtype)}Tensor"
    kind = type(value)
    if kind.__module__ in ("builtins", "__builtin__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
