"""Observers: modules that watch the numbers passing through, and choose scales and zero points for them."""

from __future__ import annotations

import functools
from typing import Any

from ... import ops
from ... import quantized as q
from ...dtype import dtype as dtype_
from ...dtype import float32, int32, int64, qint8, qint32, quint8
from ...nn.modules.module import Module

__all__ = [
    "MinMaxObserver", "MovingAverageMinMaxObserver", "MovingAveragePerChannelMinMaxObserver", "NoopObserver",
    "ObserverBase", "PerChannelMinMaxObserver", "PlaceholderObserver", "RecordingObserver",
    "UniformQuantizationObserverBase", "default_debug_observer", "default_dynamic_quant_observer", "default_observer",
    "default_per_channel_weight_observer", "default_placeholder_observer", "default_weight_observer",
    "get_observer_state_dict", "load_observer_state_dict", "per_channel_weight_observer_range_neg_127_to_127",
    "weight_observer_range_neg_127_to_127", "with_args",
]  # fmt: skip

EPS = 1.1920928955078125e-07
_RANGES = {qint8: (-128, 127), quint8: (0, 255), qint32: (-(2**31), 2**31 - 1)}
_SYMMETRIC = (q.per_tensor_symmetric, q.per_channel_symmetric)


class with_args:
    """A class with some arguments given already; calling it makes an instance, comparing looks at both."""

    def __init__(self, cls: Any, **kwargs: Any) -> None:
        self.p = functools.partial(cls, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.p(*args, **kwargs)

    def with_args(self, **kwargs: Any) -> with_args:
        """With more arguments given."""
        return with_args(self.p, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, with_args) and (self.p.func, self.p.keywords) == (other.p.func, other.p.keywords)

    def __hash__(self) -> int:
        return hash(self.p.func)

    def __repr__(self) -> str:
        return repr(self.p)


class ObserverBase(Module):
    """What all observers are: ``forward`` returns its argument, ``calculate_qparams`` says what was found."""

    def __init__(self, dtype: dtype_, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    def forward(self, x: Any) -> Any:
        """Looks at ``x``."""
        return x

    def calculate_qparams(self, **kwargs: Any) -> Any:
        """(scale, zero point), as tensors."""
        raise RuntimeError(f"{type(self).__name__} does not choose scales; it only looks")

    @classmethod
    def with_args(cls, **kwargs: Any) -> with_args:
        """The class with some arguments given already."""
        return with_args(cls, **kwargs)


class UniformQuantizationObserverBase(ObserverBase):
    """Observers of ranges: numbers are spaced evenly from the least to the greatest.

    Args:
        dtype: of the quantized tensors.
        qscheme: affine, or symmetric about zero; for the tensor, or per channel.
        reduce_range: leave one bit free.
        quant_min, quant_max: the integers to use instead of all that the type has.
        eps: the least scale.
    """

    def __init__(
        self, dtype: dtype_ = quint8, qscheme: Any = q.per_tensor_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPS,
        is_dynamic: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        if dtype not in _RANGES:
            raise AssertionError(f"Default Observer only works for qint8, quint8 and qint32 data type, got {dtype}")
        self.qscheme, self.reduce_range, self.eps = qscheme, reduce_range, eps
        least, most = _RANGES[dtype]
        least = least if quant_min is None else quant_min
        most = most if quant_max is None else quant_max
        self.quant_min, self.quant_max = (least // 2, most // 2) if reduce_range else (least, most)
        self.register_buffer("min_val", ops.tensor(float("inf")))
        self.register_buffer("max_val", ops.tensor(float("-inf")))

    def _parameters_of(self, low: Any, high: Any) -> tuple[Any, Any]:
        low, high = low.clamp(max=0), high.clamp(min=0)
        levels = self.quant_max - self.quant_min
        if self.qscheme in _SYMMETRIC:
            scale = (ops.maximum(-low, high) / (levels / 2)).clamp(min=self.eps)
            middle = 0 if self.dtype is not quint8 else (self.quant_min + self.quant_max + 1) // 2
            return scale, ops.full_like(scale, middle, dtype=int64)
        scale = ((high - low) / levels).clamp(min=self.eps)
        zero = (self.quant_min - (low / scale).round()).clamp(self.quant_min, self.quant_max)
        return scale, zero.to(int32)

    def calculate_qparams(self, **kwargs: Any) -> tuple[Any, Any]:
        """(scale, zero point) for what was seen: 1 and 0 if that was nothing."""
        if bool((self.min_val == float("inf")).any()):  # type: ignore[operator,union-attr]
            return ops.tensor([1.0]), ops.tensor([0], dtype=int32)
        scale, zero = self._parameters_of(self.min_val, self.max_val)
        return (scale.reshape(1), zero.reshape(1)) if scale.ndim == 0 else (scale, zero)

    def reset_min_max_vals(self) -> None:
        """Forgets what was seen."""
        self.min_val, self.max_val = ops.tensor(float("inf")), ops.tensor(float("-inf"))

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class MinMaxObserver(UniformQuantizationObserverBase):
    """The least and the greatest number ever seen."""

    def forward(self, x_orig: Any) -> Any:
        """Looks at a tensor."""
        if x_orig.numel():
            x = x_orig.detach().to(float32)
            self._update(x.min(), x.max())
        return x_orig

    def _update(self, low: Any, high: Any) -> None:
        self.min_val, self.max_val = ops.minimum(low, self.min_val), ops.maximum(high, self.max_val)  # type: ignore[arg-type]


class MovingAverageMinMaxObserver(MinMaxObserver):
    """Means of the least and greatest numbers, in which newer tensors count more: ``averaging_constant`` of each."""

    def __init__(
        self, averaging_constant: float = 0.01, dtype: dtype_ = quint8, qscheme: Any = q.per_tensor_affine,
        reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None, eps: float = EPS,
        is_dynamic: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, eps=eps, is_dynamic=is_dynamic, **kwargs)
        self.averaging_constant = averaging_constant

    def _update(self, low: Any, high: Any) -> None:
        known_low: Any = self.min_val
        known_high: Any = self.max_val
        if known_low.shape != low.shape or bool((known_low == float("inf")).any()):
            self.min_val, self.max_val = low, high
        else:
            c = self.averaging_constant
            self.min_val, self.max_val = known_low + c * (low - known_low), known_high + c * (high - known_high)


class PerChannelMinMaxObserver(MinMaxObserver):
    """The least and greatest number of every slice along ``ch_axis``."""

    def __init__(
        self, ch_axis: int = 0, dtype: dtype_ = quint8, qscheme: Any = q.per_channel_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPS,
        is_dynamic: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **kwargs)
        self.ch_axis = ch_axis

    def forward(self, x_orig: Any) -> Any:
        """Looks at a tensor."""
        if x_orig.numel():
            rows = x_orig.detach().to(float32).transpose(0, self.ch_axis).flatten(1)
            self._update(rows.amin(1), rows.amax(1))
        return x_orig


class MovingAveragePerChannelMinMaxObserver(PerChannelMinMaxObserver):
    """Means of the least and greatest numbers of every slice along ``ch_axis``, in which newer tensors count more."""

    def __init__(
        self, averaging_constant: float = 0.01, ch_axis: int = 0, dtype: dtype_ = quint8,
        qscheme: Any = q.per_channel_affine, reduce_range: bool = False, quant_min: int | None = None,
        quant_max: int | None = None, eps: float = EPS, is_dynamic: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            ch_axis, dtype, qscheme, reduce_range, quant_min, quant_max, eps=eps, is_dynamic=is_dynamic, **kwargs
        )
        self.averaging_constant = averaging_constant

    _update = MovingAverageMinMaxObserver._update


class PlaceholderObserver(ObserverBase):
    """Only says which type is wanted."""

    def __init__(self, dtype: dtype_ = float32, custom_op_name: str = "", compute_dtype: Any = None,
                 quant_min: int | None = None, quant_max: int | None = None, qscheme: Any = None, eps: Any = None,
                 is_dynamic: bool = False) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        self.custom_op, self.quant_min, self.quant_max = custom_op_name, quant_min, quant_max
        self.qscheme, self.eps = qscheme, eps


class NoopObserver(ObserverBase):
    """Looks at nothing."""

    def __init__(self, dtype: dtype_ = float32, custom_op_name: str = "") -> None:
        super().__init__(dtype)


class RecordingObserver(ObserverBase):
    """Keeps every tensor that passes."""

    def __init__(self, dtype: dtype_ = quint8) -> None:
        super().__init__(dtype)
        self.tensor_val: list[Any] = []

    def forward(self, x: Any) -> Any:
        """Keeps a copy."""
        self.tensor_val.append(x.clone())
        return x

    def get_tensor_value(self) -> list[Any]:
        """The tensors."""
        return self.tensor_val


default_observer = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_placeholder_observer = PlaceholderObserver
default_debug_observer = RecordingObserver
default_weight_observer = MinMaxObserver.with_args(dtype=qint8, qscheme=q.per_tensor_symmetric)
weight_observer_range_neg_127_to_127 = default_weight_observer.with_args(quant_min=-127, quant_max=127, eps=2**-12)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(dtype=qint8, qscheme=q.per_channel_symmetric)
per_channel_weight_observer_range_neg_127_to_127 = default_per_channel_weight_observer.with_args(
    quant_min=-127, quant_max=127, eps=2**-12
)
default_dynamic_quant_observer = PlaceholderObserver.with_args(
    dtype=quint8, quant_min=0, quant_max=255, is_dynamic=True
)


def get_observer_state_dict(mod: Module) -> dict[str, Any]:
    """The state of the observers in a module."""
    return {k: v for k, v in mod.state_dict().items() if "observer" in k or "activation_post_process" in k}


def load_observer_state_dict(mod: Module, obs_dict: dict[str, Any]) -> None:
    """Takes over the state of observers; raises RuntimeError for what does not fit."""
    missing = [k for k in get_observer_state_dict(mod) if k not in obs_dict]
    if missing:
        raise RuntimeError(f"the state of observers {missing} is missing")
    mod.load_state_dict(obs_dict, strict=False)
