"""Layers that round their weights in training."""

from __future__ import annotations

from typing import Any

from ....nn import functional as F
from ....nn.modules.linear import Linear as _Linear

__all__ = ["Linear"]


class Linear(_Linear):
    """A linear layer whose weights are rounded by ``qconfig.weight()``; ValueError without a ``qconfig``."""

    _FLOAT_MODULE = _Linear

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, qconfig: Any = None, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, device, dtype)
        if qconfig is None:
            raise ValueError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight()

    def forward(self, input: Any) -> Any:
        """The layer with rounded weights."""
        return F.linear(input, self.weight_fake_quant(self.weight), self.bias)  # type: ignore[operator]

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Linear:
        """The layer for a linear one with a ``qconfig``; the parameters are shared."""
        made = cls(mod.in_features, mod.out_features, mod.bias is not None, mod.qconfig)
        made.weight, made.bias = mod.weight, mod.bias
        return made
