"""All operators: importing this package defines them; they and the factories are attributes of it by their names."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from ..dispatch import forms as _forms
from ..dispatch.operator import OPERATORS
from ..tensor import Tensor as _Tensor

assert _forms.LazyMethod is not None

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

importlib.import_module(f"{__name__}.methods").install(_Tensor)

for _name in OPERATORS:  # an operator comes before the file of the same name
    if _name in globals():
        globals()[_name] = OPERATORS[_name].function


_FACTORIES = [
    importlib.import_module(f"{__name__}.{name}")
    for name in ("create", "from_data", "convert", "random", "ranges", "triangles", "join")
]


more: Callable[[str], Any] | None = None
"""Finds what programs see as ``torch.ops.NAME`` besides: namespaces of operators.  Set by the package's front door."""


def __getattr__(name: str) -> Any:
    op = OPERATORS.get(name)
    found = None if op is None else op.function
    for factories in _FACTORIES if op is None else ():
        if name in factories.__all__:
            found = getattr(factories, name)
    if found is None and more is not None and not name.startswith("__"):
        found = more(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found
