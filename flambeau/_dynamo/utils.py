"""Questions about compilation."""

from __future__ import annotations

from typing import Any

from ..device import device

__all__ = ["is_compile_supported"]


def is_compile_supported(device_type: Any) -> bool:
    """Whether functions can be compiled for a type of device."""
    return device(device_type).type == "cpu"
