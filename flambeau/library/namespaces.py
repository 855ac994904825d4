"""``torch.ops``: operators by namespace, those of programs and, as ``torch.ops.aten``, our own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..dispatch.operator import OPERATORS as _OWN
from ..dtype import float32
from ..ops.convert import memory_format, preserve_format
from ..tensor import Tensor
from .registry import OPERATORS, CustomOperator

__all__ = ["OpOverload", "OpOverloadPacket", "namespace_of"]

_spaces: dict[str, Any] = {}


class OpOverload:
    """One signature of an operator; here all of them are one function."""

    def __init__(self, packet: OpOverloadPacket, name: str) -> None:
        self._packet, self._overload = packet, name
        self.__name__ = f"{packet.__name__}.{name}"
        self.__module__ = packet.__module__
        self.namespace = packet._qualname.partition("::")[0]

    @property
    def overloadpacket(self) -> OpOverloadPacket:
        """The operator that this is a signature of."""
        return self._packet

    @property
    def _schema(self) -> Any:
        return self._packet._schema

    @property
    def tags(self) -> list[Any]:
        """What the operator was tagged with."""
        return list(getattr(self._packet.op, "tags", ()))

    def name(self) -> str:
        """The qualified name, "aten::add.Tensor"."""
        return self._packet._qualname + ("" if self._overload == "default" else f".{self._overload}")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._packet.op(*args, **kwargs)

    def __str__(self) -> str:
        return f"{self._packet._qualname.replace('::', '.')}.{self._overload}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self._packet._qualname.replace('::', '.')}', overload='{self._overload}')>"


class OpOverloadPacket:
    """An operator; its attributes are its signatures (``default``, and for our own PyTorch's names of them)."""

    def __init__(self, qualname: str, op: Any) -> None:
        self._qualname, self.op = qualname, op
        space, _, self.__name__ = qualname.partition("::")
        self.__module__ = f"torch.ops.{space}"

    @property
    def _schema(self) -> Any:
        if isinstance(self.op, CustomOperator):
            return self.op.schema
        raise AttributeError(f"{self._qualname} is one of our own operators, which have signatures instead of schemas")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (isinstance(self.op, CustomOperator) and name != "default"):
            raise AttributeError(f"The underlying op of '{self._qualname}' has no overload name '{name}'")
        made = OpOverload(self, name)
        setattr(self, name, made)
        return made

    def overloads(self) -> list[str]:
        """The names of the signatures that have been asked for, "default" among them."""
        return sorted({"default", *(k for k, v in vars(self).items() if isinstance(v, OpOverload))})

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.op(*args, **kwargs)

    def __str__(self) -> str:
        return self._qualname.replace("::", ".")

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self._qualname.replace('::', '.')}')>"


class _Namespace:
    """The operators of one namespace, as attributes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = f"torch.ops.{name}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        op = _find(self.name, name)
        if op is None:
            raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{name}'")
        made = OpOverloadPacket(f"{self.name}::{name}", op)
        setattr(self, name, made)
        return made

    def __repr__(self) -> str:
        return f"<module '{self.__name__}' from 'torch.ops'>"


# PyTorch's names of operators that are called otherwise here.
_NAMES = {
    "_log_softmax_backward_data": "_log_softmax_backward",
    "_softmax_backward_data": "_softmax_backward",
    "slice": "_slice",
}


def _copied_to(
    input: Tensor, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool | None = None,
    non_blocking: bool = False, memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """A copy of another type or on another device."""
    return input.to(device, dtype, non_blocking, True, memory_format=memory_format)  # type: ignore[attr-defined,no-any-return]


# Those that are no operators here, but functions above operators or methods.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_sparse_addmm": lambda input, mat1, mat2, *, beta=1, alpha=1: input * beta + (mat1 @ mat2) * alpha,
    "_pin_memory": lambda input, device=None: input.pin_memory(),
    "_local_scalar_dense": lambda input: input.item(),
    "_to_copy": _copied_to,
    "sym_numel": lambda input: input.numel(),
    "sym_size": lambda input, dim=None: input.size(dim),
    "sym_storage_offset": lambda input: input.storage_offset(),
    "sym_stride": lambda input, dim=None: input.stride(dim),
}


_REDUCTIONS = ("none", "mean", "sum")

# Those whose signature is another one than that of our operator.
_SPELLED: dict[str, Callable[..., Any]] = {
    "_log_softmax": lambda input, dim, half_to_float=False: input.log_softmax(dim, float32 if half_to_float else None),
    "_softmax": lambda input, dim, half_to_float=False: input.softmax(dim, float32 if half_to_float else None),
    "clone": lambda input, *, memory_format=preserve_format: input.clone(memory_format=memory_format),
    "index": lambda input, indices: input[tuple(slice(None) if i is None else i for i in indices)],
    "mse_loss": lambda input, target, reduction=1: _OWN["mse_loss"].function(
        input, target, reduction=_REDUCTIONS[reduction] if isinstance(reduction, int) else reduction
    ),
}


def _find(space: str, name: str) -> Any:
    return _own(name) if space == "aten" else OPERATORS.get(f"{space}::{name}")


def _own(name: str) -> Callable[..., Any] | None:
    """What ``torch.ops.aten.NAME`` calls: an operator, in place if the name ends in "_", else a function or method."""
    if name in _SPELLED:
        return _SPELLED[name]
    op = _OWN.get(_NAMES.get(name, name))
    if op is not None:
        return op.function
    op = _OWN.get(name[:-1]) if name.endswith("_") and not name.endswith("__") else None
    form = _FUNCTIONS.get(name) if op is None else op.inplace
    if form is not None:
        return form
    top = sys.modules["flambeau"]
    for place in (top, top.nn.functional, Tensor):
        found = getattr(place, name, None)
        if callable(found) and not isinstance(found, type):
            return found  # type: ignore[no-any-return]
    return None


loaded_libraries: set[str] = set()


def load_library(path: str) -> None:
    """Loads a C++ extension; raises OSError: extensions for PyTorch cannot be loaded here."""
    raise OSError(f"Could not load this library: {path}: it is written for PyTorch's C++ core, which is not here")


def found(name: str) -> Any:
    """``torch.ops.NAME``: a namespace, or one of the functions about extensions."""
    if name in ("load_library", "loaded_libraries"):
        return globals()[name]
    return namespace_of(name)


def namespace_of(name: str) -> Any:
    """The namespace of a name; it need not hold anything yet."""
    if name not in _spaces:
        _spaces[name] = _Namespace(name)
    return _spaces[name]
