"""Runs template kernels on numpy arrays, for tests: buffers as raw pointers, scratch between guard bytes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from flambeau.runtime import engine
from flambeau.target.isa import ISA

GUARD = 4096


def function(name: str, key: str, make_ir: Callable[[], str], isa: ISA, buffers: int):
    """The entry of a kernel as a ctypes function of pointers."""
    address = engine.load(name, key, make_ir, isa).address(name)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * (buffers + 1))(address)


def launch(entry, params: list[int], buffers: Sequence[np.ndarray], scratch_bytes: int) -> None:
    """Calls ``entry``; fails if it reports an error or writes outside its scratch memory."""
    words = (ctypes.c_int64 * len(params))(*params)
    raw = np.full(scratch_bytes + 2 * GUARD, 0xA5, np.uint8)
    start = GUARD - raw.ctypes.data % 64
    pointers = [b.ctypes.data for b in buffers]
    assert entry(ctypes.addressof(words), *pointers, raw.ctypes.data + start) == 0
    assert (raw[:start] == 0xA5).all(), "wrote before its scratch memory"
    assert (raw[start + scratch_bytes :] == 0xA5).all(), "wrote behind its scratch memory"


def element_strides(array: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(s // array.itemsize for s in array.strides)
