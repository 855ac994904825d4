"""What ``nn`` takes from the layers below it, in one place."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from .. import ops
from ..autograd import Function
from ..autograd.mode import enable_grad, is_grad_enabled, no_grad
from ..call import _disabled as disabled_torch_function
from ..device import device
from ..dtype import dtype, get_default_dtype
from ..layout import Size
from ..tensor import Tensor
from ..utils.hooks import RemovableHandle

__all__ = [
    "Function",
    "RemovableHandle",
    "Size",
    "Tensor",
    "device",
    "disabled_torch_function",
    "dtype",
    "dtypes",
    "enable_grad",
    "get_default_dtype",
    "is_grad_enabled",
    "no_grad",
    "ops",
    "typename",
]


def typename(value: Any) -> str:
    """The name of a value's type as error messages give it: "int", "torch.FloatTensor", "package.Class"."""
    if isinstance(value, Tensor):
        return value.type()
    kind = type(value)
    if kind.__module__ in ("builtins", "__builtin__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
