"""Attention with a choice of implementation, causal biases, and attention with modified scores."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any

from . import bias, flex_attention, varlen

__all__ = [
    "WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "activate_flash_attention_impl", "bias", "current_flash_attention_impl",
    "flex_attention", "list_flash_attention_impls", "register_flash_attention_impl", "restore_flash_attention_impl",
    "sdpa_kernel", "varlen",
]  # fmt: skip

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(IntEnum):
    """PyTorch's implementations of scaled dot-product attention.  flambeau has one, which stands for all of them."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __str__(self) -> str:
        return f"SDPBackend.{self.name}"


_enabled = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
    SDPBackend.OVERRIDEABLE,
]


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    """The implementations that ``sdpa_kernel`` allows at present."""
    return list(_enabled)


@contextlib.contextmanager
def sdpa_kernel(backends: list[SDPBackend] | SDPBackend, set_priority: bool = False) -> Iterator[None]:
    """Within this block only these implementations are allowed; it changes no result.

    Raises AssertionError for what is no ``SDPBackend``.
    """
    if not isinstance(backends, (list, SDPBackend)) or (
        isinstance(backends, list) and not all(isinstance(backend, SDPBackend) for backend in backends)
    ):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    chosen = [backends] if isinstance(backends, SDPBackend) else list(dict.fromkeys(backends))
    before = _enabled[:]
    _enabled[:] = chosen if set_priority else [backend for backend in before if backend in chosen]
    try:
        yield
    finally:
        _enabled[:] = before


# -- implementations of others -----------------------------------------------------------------------

_impls: dict[str, Callable[..., Any]] = {}


class _Active:
    name: str | None = None
    handle: Any = None


def register_flash_attention_impl(impl: str, *, register_fn: Callable[..., Any]) -> None:
    """Makes an implementation of flash attention known by a name; ``register_fn`` is called when it is activated and
    may return a handle with ``remove()``."""
    _impls[impl] = register_fn


def activate_flash_attention_impl(impl: str) -> None:
    """Activates a registered implementation in the place of the one active; raises ValueError for unknown names."""
    if impl not in _impls:
        raise ValueError(f"Unknown flash attention impl {impl!r}. Available implementations: {sorted(_impls)}")
    if _Active.name != impl:
        if _Active.name is not None:
            restore_flash_attention_impl()
        _Active.name, _Active.handle = impl, _impls[impl]()


def restore_flash_attention_impl(_raise_warn: bool = True) -> None:
    """Goes back to the project's own implementation."""
    if _Active.name is None:
        if _raise_warn:
            warnings.warn("no other implementation of flash attention was activated", stacklevel=2)
        return
    if hasattr(_Active.handle, "remove"):
        _Active.handle.remove()
    _Active.name = _Active.handle = None


def current_flash_attention_impl() -> str | None:
    """The name of the implementation that was activated, None for the project's own."""
    return _Active.name


def list_flash_attention_impls() -> list[str]:
    """The names of the implementations that were registered."""
    return sorted(_impls)
