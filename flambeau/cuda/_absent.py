"""How this namespace refuses."""

from __future__ import annotations

from typing import Any, NoReturn

from ..absent import AbsentDevice

__all__ = ["device", "device_of", "need"]


def need(name: str = "") -> NoReturn:
    """Raises AssertionError: there is no CUDA device to do it on."""
    raise AssertionError("Torch not compiled with CUDA enabled")


class device(AbsentDevice):
    """``with cuda.device(index)``: makes a CUDA device the current one; refuses all but None and -1."""

    def __init__(self, device: Any) -> None:
        super().__init__(device)


class device_of(device):
    """``with cuda.device_of(tensor)``: the device of a CUDA tensor; does nothing for others."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else -1)
