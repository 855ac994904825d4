"""Attention with a choice of implementation, causal biases, and attention with modified scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum

from . import bias, flex_attention, varlen

__all__ = ["WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "bias", "flex_attention", "sdpa_kernel", "varlen"]

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
