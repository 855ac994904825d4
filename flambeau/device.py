"""Devices: where a tensor's memory is."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from .dispatch.callforms import call_forms

__all__ = ["cpu", "device", "get_default_device", "meta", "of", "set_default_device"]

_TYPES = ("cpu", "cuda", "meta", "mps", "xpu", "hip", "mkldnn", "opengl", "opencl", "ideep", "ve", "fpga", "maia",
"xla",
          "lazy", "vulkan", "mtia", "hpu", "privateuseone")  # fmt: skip
_table: dict[tuple[str, int | None], device] = {}


@call_forms("device(device) -> device", "device(type, index=None) -> device")
class device:
    """A device by type and optional index: ``device("cpu")``, ``device("cuda", 0)``, ``device("cuda:0")``.

    Interned: equal devices are the same object.  Raises RuntimeError for an unknown type or a bad string.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __new__(cls, type: str | device | int = "cpu", index: int | None = None, *, device: Any = None) -> Any:
        if device is not None:
            type = device
        if isinstance(type, cls):
            return type
        if isinstance(type, int):
            type, index = "cuda", type  # type: ignore[assignment]
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str or device, got {type.__class__.__name__}")
        match = re.fullmatch(r"([a-z]+)(?::(0|[1-9]\d*))?", type)
        if match is None:
            raise RuntimeError(f"Invalid device string: '{type}'")
        name, digits = match.groups()
        if digits is not None:
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {type}"
                )
            index = int(digits)
        if name not in _TYPES:
            raise RuntimeError(f"Expected one of {', '.join(_TYPES)} device type at start of device string: {name}")
        if index is not None and index < 0:
            raise RuntimeError("Device index must not be negative")
        key = (name, index)
        found = _table.get(key)
        if found is None:
            found = object.__new__(cls)
            object.__setattr__(found, "type", name)
            object.__setattr__(found, "index", index)
            _table[key] = found
        return found

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[object, ...]:
        return (device, (self.type,) if self.index is None else (self.type, self.index))

    def __copy__(self) -> device:
        return self

    def __deepcopy__(self, memo: object) -> device:
        return self

    def __enter__(self) -> device:
        Default.stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        Default.stack.pop()


cpu = device("cpu")
meta = device("meta")
_SUPPORTED = ("cpu", "meta")


class Default:
    """The devices on which factories make tensors: the last one counts."""

    stack: ClassVar[list[device]] = [cpu]


def of(value: device | str | int | None) -> device:
    """The device meant by an argument ``device=``: None is the default device.

    Raises RuntimeError for a device this build cannot use (AssertionError for CUDA and XPU, as PyTorch does).
    """
    found = Default.stack[-1] if value is None else device(value)
    if found.type in ("cuda", "xpu"):
        raise AssertionError(f"Torch not compiled with {found.type.upper()} enabled")
    if found.type not in _SUPPORTED:
        raise RuntimeError(f"device '{found}' is not available; available devices are {', '.join(_SUPPORTED)}")
    return cpu if found.type == "cpu" else meta  # there is one of each, whatever the index


def get_default_device() -> device:
    """The device on which factory functions create tensors."""
    return Default.stack[-1]


def set_default_device(device: device | str | None) -> None:
    """Sets the device on which factory functions create tensors; None restores the CPU."""
    Default.stack[0] = cpu if device is None else of(device)
