"""Objects of TorchScript's own classes, and the unit that holds classes and functions."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Callable
from typing import Any, ClassVar

__all__ = ["CompilationUnit", "ScriptObject"]


class ScriptObject:
    """An object of a class of a TorchScript program."""

    _script_names: ClassVar[frozenset[str]] = frozenset()

    def hasattr(self, arg0: str, /) -> bool:
        """Whether it has an attribute."""
        return arg0 in self._script_names and hasattr(self, arg0)

    def getattr(self, arg0: str, /) -> Any:
        """An attribute; raises RuntimeError if there is none of this name."""
        if not self.hasattr(arg0):
            raise RuntimeError(f"{type(self).__name__} has no attribute '{arg0}'")
        return getattr(self, arg0)

    def setattr(self, arg0: str, arg1: Any, /) -> None:
        """Sets an attribute that the class has; raises RuntimeError for other names."""
        if arg0 not in self._script_names:
            raise RuntimeError(f"{type(self).__name__} has no attribute '{arg0}'")
        setattr(self, arg0, arg1)


class CompilationUnit:
    """Functions and classes by name: those of a source text, or of programs that were loaded.

    ``CompilationUnit("def f(x): return x + 1").f`` is the function.  The text is run as the Python it is.
    """

    def __init__(self, lang: str | None = None, _frames_up: int = 0) -> None:
        self._members: dict[str, Any] = {}
        if lang is not None:
            self.define(lang)

    def define(self, src: str, rcb: Callable[[str], Any] | None = None, _frames_up: int = 0) -> None:
        """Adds the functions of a text, in which ``torch`` is known."""
        from_text: dict[str, Any] = {"torch": importlib.import_module("flambeau")}
        known = set(from_text)
        exec(compile(textwrap.dedent(src), "<CompilationUnit>", "exec"), from_text)
        for name in from_text.keys() - known - {"__builtins__"}:
            self._add(name, from_text[name])

    def _add(self, name: str, member: Any) -> None:
        self._members[name] = member

    def find_function(self, arg0: str, /) -> Any:
        """A function by its name, or None."""
        found = self._members.get(arg0)
        return None if isinstance(found, type) else found

    def get_class(self, arg0: str, /) -> Any:
        """A class by its name, or None."""
        found = self._members.get(arg0)
        return found if isinstance(found, type) else None

    def get_functions(self) -> list[Any]:
        """The functions."""
        return [m for m in self._members.values() if not isinstance(m, type)]

    def drop_all_functions(self) -> None:
        """Forgets the functions."""
        self._members = {n: m for n, m in self._members.items() if isinstance(m, type)}

    def __getattr__(self, attr: str) -> Any:
        found = self.__dict__.get("_members", {}).get(attr)
        if found is None:
            raise AttributeError(f"'CompilationUnit' has no attribute '{attr}'")
        return found
