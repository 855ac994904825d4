"""Modules that mark where values are to be quantised; they let them pass until a model is converted."""

from __future__ import annotations

from typing import Any

from ...nn.modules.module import Module
from ...tensor import Tensor

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper"]


class QuantStub(Module):
    """Values are quantised from here on; until the model is converted, they pass as they are."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        """``x``."""
        return x


class DeQuantStub(QuantStub):
    """Values are floating-point from here on; until the model is converted, they pass as they are."""


class QuantWrapper(Module):
    """A module between the two stubs."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        qconfig = getattr(module, "qconfig", None)
        self.quant, self.dequant, self.module = QuantStub(qconfig), DeQuantStub(qconfig), module
        self.train(module.training)

    def forward(self, X: Tensor) -> Tensor:
        """What the module returns."""
        return self.dequant(self.module(self.quant(X)))  # type: ignore[no-any-return]
