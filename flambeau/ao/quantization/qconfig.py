"""How a module is to be quantized: what watches its results, and what its weights."""

from __future__ import annotations

from typing import Any, NamedTuple

from .fake_quantize import default_fake_quant, default_per_channel_weight_fake_quant, default_weight_fake_quant
from .observer import (
    MinMaxObserver,
    default_debug_observer,
    default_dynamic_quant_observer,
    default_observer,
    default_per_channel_weight_observer,
    default_weight_observer,
)

__all__ = [
    "QConfig", "default_debug_qconfig", "default_dynamic_qconfig", "default_per_channel_qconfig", "default_qat_qconfig",
    "default_qconfig", "get_default_qat_qconfig", "get_default_qconfig", "per_channel_dynamic_qconfig",
    "qconfig_equals",
]  # fmt: skip


class QConfig(NamedTuple):
    """What makes the observer (or rounding module) of activations, and that of weights."""

    activation: Any
    weight: Any


default_qconfig = QConfig(default_observer, default_weight_observer)
default_debug_qconfig = QConfig(default_debug_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_weight_observer)
per_channel_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_per_channel_weight_observer)
default_qat_qconfig = QConfig(default_fake_quant, default_weight_fake_quant)
_BACKENDS = ("x86", "fbgemm", "onednn", "qnnpack")


def _check(backend: str) -> None:
    if backend not in _BACKENDS:
        raise AssertionError(f"backend: {backend} not supported. backend must be one of {_BACKENDS}")


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """Ranges of activations, and weights per channel ("qnnpack": for the tensor).

    PyTorch watches histograms of activations and may cut off what is rare; here the whole range counts.
    """
    _check(backend)
    if backend == "qnnpack":
        return QConfig(MinMaxObserver.with_args(reduce_range=False), default_weight_observer)
    return QConfig(MinMaxObserver.with_args(reduce_range=backend != "onednn"), default_per_channel_weight_observer)


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """Rounding of activations, and of weights per channel ("qnnpack": for the tensor)."""
    _check(backend)
    weight = default_weight_fake_quant if backend == "qnnpack" else default_per_channel_weight_fake_quant
    return QConfig(default_fake_quant, weight)


def qconfig_equals(q1: Any, q2: Any) -> bool:
    """Whether two make the same observers."""
    return bool(q1 == q2)
