"""Layers with int8 weights on quantized tensors.

A product is one of int8 matrices with exact sums; zero points are taken out of the sums afterwards.
"""

from __future__ import annotations

from typing import Any

from .... import ops
from .... import quantized as q
from ....dtype import float32, int64, qint8, quint8
from ....nn.modules.module import Module
from . import dynamic as dynamic
from .weights import PackedWeight

__all__ = ["DeQuantize", "FloatFunctional", "Linear", "QFunctional", "Quantize", "dynamic"]


class Linear(Module):
    """A linear layer of quantized tensors: input quint8, weight qint8, result quint8 with ``scale`` and
    ``zero_point``."""

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, dtype: Any = qint8) -> None:
        super().__init__()
        if dtype is not qint8:
            raise RuntimeError(f"Unsupported dtype specified for quantized Linear: {dtype}; there is qint8")
        self.in_features, self.out_features = in_features, out_features
        self.scale, self.zero_point = 1.0, 0
        weight = q.quantize_per_tensor(ops.zeros(out_features, in_features), 1.0, 0, qint8)
        self.set_weight_bias(weight, ops.zeros(out_features) if bias_ else None)

    def set_weight_bias(self, w: Any, b: Any) -> None:
        """Replaces the quantized weight and the bias."""
        self._packed = PackedWeight(w, b)

    def weight(self) -> Any:
        """The quantized weight."""
        return self._packed.weight

    def bias(self) -> Any:
        """The bias, or None."""
        return self._packed.bias

    def forward(self, x: Any) -> Any:
        """The quantized result; RuntimeError for an input that is not quantized."""
        if not isinstance(x, q.QuantizedTensor) or x.dtype is not quint8:
            raise RuntimeError(f"quantized Linear: expected a quint8 tensor as input, got {getattr(x, 'dtype', x)}")
        rows = x.int_repr().reshape(-1, x.shape[-1])  # type: ignore[attr-defined]
        found = self._packed.product(rows, x.q_scale(), x.q_zero_point())  # type: ignore[attr-defined]
        whole = found.reshape(*x.shape[:-1], self.out_features)
        return q.quantize_per_tensor(whole, self.scale, self.zero_point, quint8)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale}, "
            f"zero_point={self.zero_point}, qscheme={self.weight().qscheme()}"
        )

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Linear:
        """The layer for a linear one that has an observer behind it (and perhaps rounds its weights)."""
        observer = getattr(mod, "weight_fake_quant", None) or mod.qconfig.weight()
        observer(mod.weight.detach())
        made = cls(mod.in_features, mod.out_features, mod.bias is not None)
        bias = None if mod.bias is None else mod.bias.detach()
        made.set_weight_bias(quantized_by(observer, mod.weight.detach()), bias)
        scale, zero = mod.activation_post_process.calculate_qparams()
        made.scale, made.zero_point = float(scale), int(zero)
        return made


def quantized_by(observer: Any, weight: Any) -> Any:
    """A weight with the scales that its observer found."""
    scale, zero = observer.calculate_qparams()
    if observer.qscheme in (q.per_channel_affine, q.per_channel_symmetric):
        return q.quantize_per_channel(weight, scale, zero.to(int64), observer.ch_axis, qint8)
    return q.quantize_per_tensor(weight, float(scale), int(zero), qint8)


class Quantize(Module):
    """Makes quantized tensors of others."""

    scale: Any
    zero_point: Any

    def __init__(self, scale: Any, zero_point: Any, dtype: Any, factory_kwargs: Any = None) -> None:
        super().__init__()
        self.register_buffer("scale", ops.tensor([float(scale)]))
        self.register_buffer("zero_point", ops.tensor([int(zero_point)]))
        self.dtype = dtype

    def forward(self, X: Any) -> Any:
        """The quantized tensor."""
        return q.quantize_per_tensor(X.to(float32), float(self.scale), int(self.zero_point), self.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, zero_point={self.zero_point}, dtype={self.dtype}"

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> Quantize:
        """The module for a stub with an observer behind it."""
        scale, zero = mod.activation_post_process.calculate_qparams()
        return Quantize(scale, zero, mod.activation_post_process.dtype)


class DeQuantize(Module):
    """Makes floating-point tensors of quantized ones."""

    def forward(self, Xq: Any) -> Any:
        """The numbers in float32."""
        return Xq.dequantize()

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> DeQuantize:
        """The module for a stub."""
        return DeQuantize()


class FloatFunctional(Module):
    """Sums, products and so on as a module, so that an observer can stand behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process: Any = Module.__new__(_Same)
        Module.__init__(self.activation_post_process)

    def forward(self, x: Any) -> Any:
        """Not to be called: use ``add`` and the others."""
        refused = "FloatFunctional is not intended to use the 'forward'. Please use the underlying operation"
        raise RuntimeError(refused)

    def _seen(self, found: Any) -> Any:
        return self.activation_post_process(found)

    def add(self, x: Any, y: Any) -> Any:
        """``x + y``."""
        return self._seen(ops.add(x, y))

    def mul(self, x: Any, y: Any) -> Any:
        """``x * y``."""
        return self._seen(ops.mul(x, y))

    def add_scalar(self, x: Any, y: float) -> Any:
        """``x + y`` for a number."""
        return ops.add(x, y)

    def mul_scalar(self, x: Any, y: float) -> Any:
        """``x * y`` for a number."""
        return ops.mul(x, y)

    def cat(self, x: Any, dim: int = 0) -> Any:
        """The tensors one after the other."""
        return self._seen(ops.cat(x, dim))

    def add_relu(self, x: Any, y: Any) -> Any:
        """``relu(x + y)``."""
        return self._seen(ops.relu(ops.add(x, y)))

    def matmul(self, x: Any, y: Any) -> Any:
        """``x @ y``."""
        return self._seen(ops.matmul(x, y))


class _Same(Module):
    """Lets numbers pass."""

    def forward(self, x: Any) -> Any:
        return x


class QFunctional(Module):
    """``FloatFunctional`` on quantized tensors; results have ``scale`` and ``zero_point``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.zero_point = 1.0, 0

    def _of(self, function: Any, *values: Any) -> Any:
        plain = [v.dequantize() if isinstance(v, q.QuantizedTensor) else v for v in values]  # type: ignore[attr-defined]
        return q.quantize_per_tensor(function(*plain), self.scale, self.zero_point, quint8)

    def add(self, x: Any, y: Any) -> Any:
        """``x + y``."""
        return self._of(ops.add, x, y)

    def mul(self, x: Any, y: Any) -> Any:
        """``x * y``."""
        return self._of(ops.mul, x, y)

    def add_relu(self, x: Any, y: Any) -> Any:
        """``relu(x + y)``."""
        return self._of(lambda a, b: ops.relu(ops.add(a, b)), x, y)

    def matmul(self, x: Any, y: Any) -> Any:
        """``x @ y``."""
        return self._of(ops.matmul, x, y)

    def cat(self, x: Any, dim: int = 0) -> Any:
        """The tensors one after the other."""
        return self._of(lambda *parts: ops.cat(list(parts), dim), *x)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> QFunctional:
        """The module for one with an observer."""
        made = cls()
        scale, zero = mod.activation_post_process.calculate_qparams()
        made.scale, made.zero_point = float(scale), int(zero)
        return made
