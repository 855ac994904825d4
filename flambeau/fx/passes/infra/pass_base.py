"""A pass: something that is called with a graph module, and says whether it changed it."""

from __future__ import annotations

import abc
from typing import NamedTuple

from ...graph_module import GraphModule

__all__ = ["PassBase", "PassResult"]


class PassResult(NamedTuple):
    """What a pass returns: the module, and whether it is another than it was."""

    graph_module: GraphModule
    modified: bool


class PassBase(abc.ABC):
    """A pass: ``call`` does the work, ``requires`` and ``ensures`` check what it finds and leaves."""

    def __call__(self, graph_module: GraphModule) -> PassResult | None:
        self.requires(graph_module)
        result = self.call(graph_module)
        self.ensures(graph_module)
        return result

    @abc.abstractmethod
    def call(self, graph_module: GraphModule) -> PassResult | None:
        """The pass itself."""

    def requires(self, graph_module: GraphModule) -> None:
        """Checks the module before the pass; raises if it does not fit."""
        return

    def ensures(self, graph_module: GraphModule) -> None:
        """Checks the module after the pass; raises if it does not fit."""
        return
