"""What the nodes of an exported graph call: a closed set of functions and methods, each with a name for the file.

A file is read by looking its names up here, so that it cannot name anything else.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from ..dispatch.operator import OPERATORS, Operator
from ..library.namespaces import OpOverload, namespace_of
from ..ops import create, from_data, random, ranges, triangles, windows
from ..ops import members as _members
from ..tensor import Tensor

__all__ = ["ATTRIBUTES", "FACTORIES", "assert_scalar", "methods", "name_of", "resolve", "sym_size", "target_of"]

ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag"})
"""Attributes of a tensor that are tensors computed from it."""
FACTORIES = (
    "zeros", "ones", "full", "empty", "arange", "eye", "linspace", "logspace", "rand", "randn", "randint", "randperm",
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like", "tril_indices",
    "triu_indices", "normal", "bernoulli", "multinomial", "empty_strided", "scalar_tensor", "hann_window",
    "hamming_window", "blackman_window", "bartlett_window", "kaiser_window",
)  # fmt: skip
"""Functions that make tensors and are no operators."""
_ATEN = namespace_of("aten")
_HIDDEN = frozenset({
    "numpy", "tolist", "item", "data_ptr", "apply_", "map_", "map2_", "register_hook", "backward", "retain_grad",
    "register_post_accumulate_grad_hook", "set_", "storage", "untyped_storage", "share_memory_", "as_subclass",
    "__reduce__", "__reduce_ex__", "__setstate__", "__class__", "__init_subclass__", "__new__", "__init__",
    "__getattribute__", "__setattr__", "__delattr__", "__torch_function__", "__dlpack__", "__array__", "__deepcopy__",
    "__dir__", "__hash__", "__repr__", "__format__", "__iter__", "__len__", "__bool__", "__index__", "__getattr__",
    "__annotations__", "__doc__", "__module__", "__slots__", "__sizeof__", "__str__", "__subclasshook__",
})  # fmt: skip


def sym_size(x: Tensor, dim: int) -> int:
    """``x.shape[dim]``."""
    return x.shape[dim]


def assert_scalar(condition: Any, message: str) -> None:
    """Raises RuntimeError with ``message`` where a condition on sizes, met when the program was exported, is not."""
    if not condition:
        raise RuntimeError(message)


_OPERATORS = (
    "getitem", "setitem", "add", "sub", "mul", "floordiv", "mod", "truediv", "pow", "neg", "pos", "abs", "eq", "ne",
    "lt", "le", "gt", "ge",
)  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sym_size": sym_size,
    "assert_scalar": assert_scalar,
    "getattr": builtins.getattr,
    **{
        f"operator.{name}": getattr(operator, name)
        for name in _OPERATORS
    },
}  # fmt: skip


@cache
def _factories() -> dict[str, Callable[..., Any]]:
    homes = (create, ranges, from_data, random, triangles, windows, _members)
    found = {}
    for name in FACTORIES:
        home = next((h for h in homes if callable(getattr(h, name, None))), None)
        if home is not None:
            found[name] = getattr(home, name)
        elif name in OPERATORS:
            found[name] = OPERATORS[name].function
    return found


@cache
def methods() -> dict[Any, str]:
    """The public names of Tensor's methods that are no operators."""
    found = {}
    for cls in reversed(Tensor.__mro__[:-1]):
        for name, member in vars(cls).items():
            private = name.startswith("_") and not (name.startswith("__") and name.endswith("__"))
            if callable(member) and not private and name not in _HIDDEN:
                found[member] = name
    return found


def resolve(function: Any) -> tuple[str, Any, str]:
    """("call_function" or "call_method", its target, a name for the node) of a public function that was called.

    Raises KeyError for one that no exported program can call.
    """
    op = getattr(function, "operator", None)
    name = getattr(function, "__name__", "")
    if isinstance(op, Operator) and OPERATORS.get(op.name) is op:
        name = f"{op.name}_" if name == f"{op.name}_" else op.name
        return "call_function", getattr(_ATEN, name).default, name.strip("_") if name[-1] != "_" else name
    for known, factory in _factories().items():
        if factory is function:
            return "call_function", function, known
    name = methods()[function]
    if name in ("__getitem__", "__setitem__"):
        return "call_function", getattr(operator, name.strip("_")), name.strip("_")
    return "call_method", name, name.strip("_")


def name_of(kind: str, target: Any) -> str:
    """The name of a target in a file; raises KeyError if it has none."""
    if kind == "call_method":
        return f"method:{target}"
    if isinstance(target, OpOverload) and target.namespace == "aten":
        return f"aten:{target.overloadpacket.__name__}"
    for known, function in (*_FUNCTIONS.items(), *_factories().items()):
        if function is target:
            return known
    raise KeyError(target)


def target_of(name: str) -> tuple[str, Any]:
    """The kind of node and the target that a name stands for; raises KeyError for a name that is none."""
    kind, colon, rest = name.partition(":")
    if not colon:
        return "call_function", _FUNCTIONS[name] if name in _FUNCTIONS else _factories()[name]
    if kind == "method" and rest in methods().values():
        return "call_method", rest
    if kind == "aten" and (rest in OPERATORS or (rest.endswith("_") and OPERATORS[rest[:-1]].inplace)):
        return "call_function", getattr(_ATEN, rest).default
    raise KeyError(name)
