"""Helpers that packages take from ``torch._utils``: several tensors as one and back, exceptions that travel between
threads and processes, and the number of a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .device import device as device_
from .ops.join import cat
from .tensor import Tensor
from .utils.data._utils.worker import ExceptionWrapper as ExceptionWrapper

__all__ = ["ExceptionWrapper"]


def _flatten_dense_tensors(tensors: Iterable[Tensor]) -> Tensor:
    """The elements of tensors of one type, one after the other, in one dimension; a copy."""
    return cat.function([t.reshape(-1) for t in tensors])  # type: ignore[attr-defined,no-any-return]


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of ``flat`` of the shapes of ``tensors``, one after the other: what ``_flatten_dense_tensors`` made one."""
    found, start = [], 0
    for t in tensors:
        found.append(flat.narrow(0, start, t.numel()).view(t.shape))  # type: ignore[attr-defined]
        start += t.numel()
    return tuple(found)


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The number of a device, which may be given as that; -1 for the CPU where ``allow_cpu`` permits it.

    Raises ValueError for a device without number, unless ``optional``, which makes it 0.
    """
    if isinstance(device, int):
        return device
    given = device_(device) if isinstance(device, str) else device
    if isinstance(given, device_):
        if given.type == "cpu":
            if allow_cpu:
                return -1
            raise ValueError(f"Expected a non cpu device, but got: {given}")
        if given.index is not None:
            return given.index
    if optional:
        return 0
    raise ValueError(f"Expected a torch.device with a specified index or an integer, but got: {device}")
