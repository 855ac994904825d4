"""Layers with int8 weights that quantize their input at each call, by its own range."""

from __future__ import annotations

from typing import Any

from .....dtype import float16, float32, int64, qint8, uint8
from .....nn import functional as F
from .....nn.modules.module import Module
from .....quantized import per_channel_affine, per_channel_symmetric, quantize_per_channel, quantize_per_tensor
from .....quantized.linear import range_parameters
from ..weights import PackedWeight

__all__ = ["Linear"]


class Linear(Module):
    """A linear layer of floating-point tensors with a weight of int8 (or kept in float16)."""

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, dtype: Any = qint8) -> None:
        super().__init__()
        if dtype not in (qint8, float16):
            raise RuntimeError(f"Unsupported dtype specified for dynamic quantized Linear: {dtype}")
        self.in_features, self.out_features, self.dtype = in_features, out_features, dtype
        self._packed: Any = None

    def set_weight_bias(self, w: Any, b: Any) -> None:
        """Replaces the weight (quantized, or float16) and the bias."""
        self._packed = (w, b) if self.dtype is float16 else PackedWeight(w, b)

    def weight(self) -> Any:
        """The weight."""
        return self._packed[0] if self.dtype is float16 else self._packed.weight

    def bias(self) -> Any:
        """The bias, or None."""
        return self._packed[1] if self.dtype is float16 else self._packed.bias

    def forward(self, x: Any) -> Any:
        """The result, in float32."""
        if self.dtype is float16:
            return F.linear(x, self.weight().to(float32), self.bias())
        rows = x.detach().reshape(-1, x.shape[-1])
        low, high = (float(v) for v in rows.aminmax()) if rows.numel() else (0.0, 0.0)
        # one bit stays free, as in PyTorch's kernels for processors without dot products of int8
        scale, zero = range_parameters(low, high, 0, 127)
        steps = ((rows * (1.0 / scale)).round() + zero).clamp(0, 127).to(uint8)
        return self._packed.product(steps, scale, zero).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, dtype={self.dtype}"

    @classmethod
    def from_float(cls, mod: Any, qconfig: Any = None, dtype: Any = qint8) -> Linear:
        """The layer for a linear one."""
        made = cls(mod.in_features, mod.out_features, mod.bias is not None, dtype)
        weight, bias = mod.weight.detach(), None if mod.bias is None else mod.bias.detach()
        if dtype is float16:
            made.set_weight_bias(weight.to(float16), bias)
            return made
        observer = (qconfig or mod.qconfig).weight()
        observer(weight)
        scale, zero = observer.calculate_qparams()
        if observer.qscheme in (per_channel_affine, per_channel_symmetric):
            made.set_weight_bias(quantize_per_channel(weight, scale, zero.to(int64), observer.ch_axis, qint8), bias)
        else:
            made.set_weight_bias(quantize_per_tensor(weight, float(scale), int(zero), qint8), bias)
        return made
