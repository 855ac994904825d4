"""Help for functions that say how an operator is written."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["parse_args"]

_KINDS: dict[str, Callable[[Any], Any]] = {
    "v": lambda x: x, "i": int, "f": float, "b": bool, "s": str, "t": lambda x: x, "none": lambda x: None,
    "is": lambda x: [int(i) for i in x], "fs": lambda x: [float(i) for i in x],
}  # fmt: skip


def parse_args(*arg_descriptors: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: brings arguments to the kinds named: "v" value, "i" int, "f" float, "b" bool, "is", "fs" lists.

    Raises ValueError for an unknown kind, AssertionError for more arguments than kinds.
    """
    unknown = [d for d in arg_descriptors if d not in _KINDS]
    if unknown:
        raise ValueError(f"parse_args(): unknown kinds {unknown}; known are {sorted(_KINDS)}")

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        fn._arg_descriptors = arg_descriptors  # type: ignore[attr-defined]

        @functools.wraps(fn)
        def call(g: Any, *args: Any, **kwargs: Any) -> Any:
            if len(args) > len(arg_descriptors):
                raise AssertionError(
                    f"A mismatch between the number of arguments ({len(args)}) and their descriptors "
                    f"({len(arg_descriptors)}) was found at symbolic function {fn.__name__!r}"
                )
            return fn(g, *(None if a is None else _KINDS[d](a) for a, d in zip(args, arg_descriptors)), **kwargs)

        return call

    return decorate
