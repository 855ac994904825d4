"""``torch.classes``: classes that extensions written in C++ register.  No such extension can be loaded here."""

from __future__ import annotations

from typing import Any

__all__ = ["load_library", "loaded_libraries"]

loaded_libraries: set[str] = set()


class _Namespace:
    """The classes of one namespace, none of which exists."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attr: str) -> Any:
        if attr.startswith("__"):
            raise AttributeError(attr)
        raise RuntimeError(
            f"Tried to instantiate class '{self.name}.{attr}', but it does not exist! "
            "Classes of C++ extensions cannot be loaded here."
        )


def load_library(path: str) -> None:
    """Loads a C++ extension; raises OSError: extensions for PyTorch cannot be loaded here."""
    raise OSError(f"Could not load this library: {path}: it is written for PyTorch's C++ core, which is not here")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'torch.classes' has no attribute {name!r}")
    return _Namespace(name)
