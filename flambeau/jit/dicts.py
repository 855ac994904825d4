"""The parts of a scripted module by kind, as tables over it."""

from __future__ import annotations

from typing import Any, ClassVar

from ..nn.modules.module import Module

__all__ = ["BufferDict", "ModuleDict", "ParameterDict"]


class _Members:
    """The members of one kind that a module has itself, by name; changes are changes of the module."""

    _kind: ClassVar[str]

    def __init__(self, mod: Module) -> None:
        self._module = mod

    def _table(self) -> dict[str, Any]:
        return {name: value for name, value in getattr(self._module, self._kind).items() if value is not None}

    def items(self) -> list[tuple[str, Any]]:
        """Names and members."""
        return list(self._table().items())

    def contains(self, arg0: str, /) -> bool:
        """Whether there is a member of this name."""
        return arg0 in self._table()

    def getattr(self, arg0: str, /) -> Any:
        """A member; raises RuntimeError if there is none of this name."""
        table = self._table()
        if arg0 not in table:
            raise RuntimeError(f"{type(self).__name__}: there is no '{arg0}', only {sorted(table)}")
        return table[arg0]

    def setattr(self, arg0: str, arg1: Any, /) -> None:
        """Replaces a member; raises RuntimeError if there is none of this name."""
        self.getattr(arg0)
        setattr(self._module, arg0, arg1)


class ModuleDict(_Members):
    """The submodules of a scripted module."""

    _kind = "_modules"


class ParameterDict(_Members):
    """The parameters of a scripted module."""

    _kind = "_parameters"


class BufferDict(_Members):
    """The buffers of a scripted module."""

    _kind = "_buffers"
