"""Places in the user's program: which function of flambeau it called last, from which file and line."""

from __future__ import annotations

import linecache
import os
import sys
from typing import Any, NamedTuple

from ..autograd import engine

__all__ = ["Caller", "who_called"]

_PUBLIC = {
    "_bool": "__bool__", "_int": "__int__", "_float": "__float__", "_index": "__index__", "_numpy": "numpy",
    "_array": "__array__", "_repr": "__repr__", "_format": "__format__", "hooked_step": "step",
    "_wrapped_call_impl": "__call__",
}  # fmt: skip
"""Public names of functions whose code has another."""
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_ENGINE = engine.__file__


class Caller(NamedTuple):
    """The user's call of a function of flambeau: its name, "file:line" ("?" if there is none), and the text there.

    ``node`` is the number of the tape's node that is being differentiated (0: none), ``origin`` the place of the call
    that put it on the tape, where that is known.
    """

    name: str
    place: str
    line: str
    node: int = 0
    origin: str = ""


def who_called() -> Caller:
    """The innermost call from outside of this package."""
    frame: Any = sys._getframe(1)
    name, node = "", 0
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<", "importlib")):
        code = frame.f_code
        # The forms of an operator are written out as files named after it.
        name = code.co_filename[1:-1] if code.co_name == "form" else code.co_name
        if code.co_filename == _ENGINE and not node:
            node = getattr(frame.f_locals.get("node"), "_sequence", 0)
        frame = frame.f_back
    name = _PUBLIC.get(name, name)
    if frame is None:
        return Caller(name, "?", "", node)
    file, number = frame.f_code.co_filename, frame.f_lineno
    return Caller(name, f"{file}:{number}", linecache.getline(file, number).strip(), node)
