"""The calls that a function takes, where no one signature tells them: they head its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["call_forms"]

_ANY_CALL = inspect.Signature([
    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
])  # fmt: skip


def call_forms(*forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the calls that a function, or a class, takes: ``"narrow(input, dim, start, length)"``, by default with
    a tensor as result."""

    def mark(function: Any) -> Any:
        written = (f if " -> " in f else f"{f} -> Tensor" for f in forms)
        function.__doc__ = "\n".join(written) + "\n\n" + (function.__doc__ or "")
        function.__signature__ = _ANY_CALL
        return function

    return mark
