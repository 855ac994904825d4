"""The namespaces of devices that cannot be used: they answer and refuse as a build of PyTorch for the CPU alone.

Questions about what there is have answers (no devices, no memory in use, nothing initialised); seeds are accepted,
since programs set them whatever the machine; anything that would need a device raises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["AbsentDevice", "define", "dummy", "unusable"]

_REFUSES = "Needs a device of this kind, which is not there: raises what a build of PyTorch without it raises."
_ANSWERS = "Answers what there is to say without a device of this kind."


def define(
    space: dict[str, Any], refuse: Callable[[str], Any], refusing: str = "", answering: Mapping[str, Any] | None = None
) -> None:
    """Defines functions in a module whose globals are ``space``, by their signatures.

    Those of ``refusing`` (one a line) call ``refuse`` with their name, which raises; those of ``answering`` give the
    value they are listed with (a fresh copy of a mapping or list).  Arguments are checked against the signatures.  The
    names are added to the module's ``__all__`` if it has one already.
    """
    for line in refusing.strip().splitlines():
        _add(space, line.strip(), functools.partial(refuse, line.strip().partition("(")[0]), _REFUSES)
    for signature, value in (answering or {}).items():
        fresh = isinstance(value, (dict, list))
        _add(space, signature, functools.partial(type(value) if fresh else _same, value), _ANSWERS)


def _same(value: Any) -> Any:
    return value


def _add(space: dict[str, Any], signature: str, body: Callable[[], Any], text: str) -> None:
    name = signature.partition("(")[0]
    scope: dict[str, Any] = {"body": body}
    exec(f"def {signature}: return body()", scope)
    scope[name].__module__, scope[name].__doc__ = space["__name__"], text
    space[name] = scope[name]
    if "__all__" in space:
        space["__all__"].append(name)


def dummy(name: str) -> None:
    """Raises RuntimeError for a class or function of a driver that is not there."""
    raise RuntimeError(f"Tried to instantiate dummy base class {name}")


def unusable(
    name: str, module: str, parameters: str = "", methods: str = "", refuse: Callable[[str], Any] = dummy
) -> type:
    """A class whose instances would need a device: making one raises what ``refuse`` raises of its name."""
    members: dict[str, Any] = {"__name__": module}
    signatures = f"__new__(cls{', ' if parameters else ''}{parameters})\n{methods.strip()}"
    define(members, lambda _: refuse(name), signatures)
    del members["__name__"]
    return type(name, (), {**members, "__module__": module, "__doc__": _REFUSES})


class AbsentDevice:
    """``with device(index)``: makes a device the current one for the block.

    None and negative indices select nothing and are accepted; entering with any other raises.
    """

    kind = "CUDA"
    error: type[Exception] = RuntimeError

    def __init__(self, device: Any) -> None:
        index = getattr(device, "index", device)
        if isinstance(index, str):
            index = int(index.partition(":")[2] or 0)
        self.idx = -1 if index is None else index
        self.prev_idx = -1

    def __enter__(self) -> None:
        if self.idx >= 0:
            raise self.error(f"PyTorch was compiled without {self.kind} support")

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        return None
