"""Functions of the main namespace that write to their first argument: what the tensor's own methods do."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from ..dispatch.forms import inplace_function
from ..tensor import Tensor

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    """``NAME_(input, ...)``: see ``Tensor.NAME_``.  Raises AttributeError if there is no such method."""
    method = getattr(Tensor, name, None) if name.endswith("_") and not name.endswith("__") else None
    if method is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if hasattr(method, "operator"):
        return inplace_function(method.operator, name)

    @functools.wraps(method)
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        return method(input, *args, **kwargs)

    _, *rest = inspect.signature(method).parameters.values()
    first = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    return function
