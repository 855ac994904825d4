"""Which modules are running: for tools that count or time by module."""

from __future__ import annotations

import weakref
from typing import Any

from ..nn import Module
from ..nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["ModuleTracker"]


class ModuleTracker:
    """``with`` this, ``parents`` holds the names of the modules whose ``forward`` is running, and "Global".

    ``is_bw`` says whether the backward pass is running.
    """

    def __init__(self) -> None:
        self.parents: set[str] = {"Global"}
        self._names: weakref.WeakKeyDictionary[Module, str] = weakref.WeakKeyDictionary()
        self._hooks: list[Any] = []
        self._stack: list[str] = []

    @property
    def is_bw(self) -> bool:
        """Whether the backward pass is running: modules are not told apart there."""
        return False

    def _name(self, module: Module) -> str:
        if module not in self._names:
            self._names[module] = type(module).__name__
            top = self._names[module]
            for name, child in module.named_modules():
                if name:
                    self._names.setdefault(child, f"{top}.{name}")
        return self._names[module]

    def _enter(self, module: Any, args: Any) -> None:
        name = self._name(module)
        self._stack.append(name)
        self.parents.add(name)

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        name = self._stack.pop()
        if name not in self._stack:
            self.parents.discard(name)

    def __enter__(self) -> ModuleTracker:
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *exc: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.parents, self._stack = {"Global"}, []
