"""Automatic differentiation: a tape of the operators called, and an engine that runs it backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any
from typing import NoReturn as _NoReturn

from ..dispatch.operator import namespace as _namespace
from . import anomaly_mode, function, grad_mode, graph
from .anomaly_mode import detect_anomaly, set_detect_anomaly
from .api import backward, grad
from .function import Function
from .gradcheck import gradcheck, gradgradcheck
from .mode import enable_grad, inference_mode, no_grad, set_grad_enabled, set_multithreading_enabled
from .variable import Variable

__all__ = [
    "Function", "Variable", "anomaly_mode", "backward", "detect_anomaly", "enable_grad", "function", "functional",
    "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph", "inference_mode", "no_grad", "set_detect_anomaly",
    "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip


def variable(*args: _Any, **kwargs: _Any) -> _NoReturn:
    """Raises RuntimeError: ``torch.tensor`` took its place."""
    raise RuntimeError("torch.autograd.variable(...) is deprecated, use torch.tensor(...) instead")


__getattr__, __dir__ = _namespace(globals(), {}, {"functional": ".", "profiler": "."})

if _TYPE_CHECKING:
    from . import functional as functional
