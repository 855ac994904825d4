"""How this namespace refuses."""

from __future__ import annotations

from typing import Any, NoReturn

from ..absent import AbsentDevice

__all__ = ["device", "device_of", "need"]


def need(name: str = "") -> NoReturn:
    """Raises AssertionError: there is no XPU to do it on."""
    raise AssertionError("Torch not compiled with XPU enabled")


class device(AbsentDevice):
    """``with xpu.device(index)``: makes an XPU the current one; refuses all but None and -1, for want of one."""

    kind, error = "XPU", NotImplementedError

    def __init__(self, device: Any) -> None:
        super().__init__(device)


class device_of(device):
    """``with xpu.device_of(tensor)``: the device of an XPU's tensor; does nothing for others."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.device.type == "xpu" else -1)
