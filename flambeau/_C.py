"""Names that packages take from PyTorch's C++ module: those that have a meaning without it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from .device import device
from .dispatch.torch_function import Disabled, disabled_torch_function, dispatchers, modes
from .dtype import dtype
from .generator import Generator
from .jit import Future, ScriptFunction, ScriptModule
from .nn.modules._convert import parse_to
from .tensor import Tensor, TensorBase

__all__ = [
    "DisableTorchFunction", "DisableTorchFunctionSubclass", "DispatchKey", "DispatchKeySet", "Future", "Generator",
    "ScriptFunction", "ScriptModule", "TensorBase", "device", "dtype",
]  # fmt: skip

_TensorMeta = type(Tensor)
_disabled_torch_function_impl = disabled_torch_function


class DispatchKey(enum.Enum):
    """What PyTorch's dispatcher sorts kernels by; here names that ``torch.library`` takes."""

    Undefined, CPU, CUDA, XPU, MPS, Meta, Autograd, AutogradCPU, AutogradCUDA, AutocastCPU, AutocastCUDA = range(11)
    AutocastXPU, AutocastMPS, CompositeImplicitAutograd, CompositeExplicitAutograd, Functionalize = range(11, 16)
    ADInplaceOrView, BackendSelect, Python, FuncTorchBatched, SparseCPU, QuantizedCPU, NestedTensor = range(16, 23)


class DispatchKeySet:
    """A set of dispatch keys."""

    def __init__(self, keys: DispatchKey | Iterable[DispatchKey]) -> None:
        self.keys = frozenset((keys,) if isinstance(keys, DispatchKey) else keys)

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self.keys | other.keys)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self.keys & other.keys)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(self.keys - other.keys)

    def has(self, key: DispatchKey) -> bool:
        """Whether a key is in the set."""
        return key in self.keys


class DisableTorchFunctionSubclass:
    """``with`` this, subclasses of Tensor have no say about the operators called."""

    def __enter__(self) -> None:
        Disabled.depth += 1

    def __exit__(self, *exc: object) -> None:
        Disabled.depth -= 1


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """``with`` this, neither subclasses of Tensor nor modes have a say about the operators called."""

    def __enter__(self) -> None:
        super().__enter__()
        self._modes, modes.stack = modes.stack, []

    def __exit__(self, *exc: object) -> None:
        modes.stack = self._modes
        super().__exit__()


class _DisableTorchDispatch:
    """``with`` this, neither modes nor classes with ``__torch_dispatch__`` are asked: tensors are what lies below."""

    def __enter__(self) -> None:
        self._before = dispatchers.modes, dispatchers.classes
        dispatchers.modes, dispatchers.classes = [], False

    def __exit__(self, *exc: object) -> None:
        dispatchers.modes, dispatchers.classes = self._before


def _log_api_usage_once(event: str) -> None:
    """Takes note of the use of a part of a library; nothing is noted."""


def _get_tracing_state() -> Any:
    """TorchScript's trace in progress: there is none."""
    return None


def _get_privateuse1_backend_name() -> str:
    """The name of the device type that extensions may add."""
    return "privateuseone"


class _NeuralNetworks:
    """``torch._C._nn``: what packages take of it."""

    _parse_to = staticmethod(parse_to)


_nn = _NeuralNetworks()
