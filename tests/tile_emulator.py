"""Intel's tile instructions in numpy, for machines without them: generated code calls these functions in place of the
instructions.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (LDTILECFG, TILELOADD, TILESTORED,
TDPBF16PS, TDPBSSD).  A use that would raise an exception in the processor is remembered in `faults`.
"""

from __future__ import annotations

import ctypes
import threading

import ml_dtypes
import numpy as np

PREFIX = "emulated_"
faults: list[str] = []
used: set[str] = set()
_state = threading.local()


def _bytes(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (count,))


def _expect(holds: bool, what: str) -> None:
    if not holds:
        faults.append(what)


def ldtilecfg(memory: int) -> None:
    raw = _bytes(memory, 64).copy()
    _expect(raw[0] == 1 and not raw[1:16].any() and not raw[32:48].any() and not raw[56:].any(), "configuration")
    widths, rows = raw[16:32].view(np.uint16), raw[48:56]
    _expect(bool((widths <= 64).all() and (rows <= 16).all() and ((widths == 0) == (rows == 0)).all()), "sizes")
    _state.tiles = [np.zeros((int(r), int(w)), np.uint8) for r, w in zip(rows, widths, strict=True)]


def tilerelease() -> None:
    _state.tiles = None


def tileloadd64(tile: int, address: int, stride: int) -> None:
    registers = _state.tiles[tile]
    _expect(registers.size > 0, f"tile {tile} is not configured")
    for row in range(len(registers)):
        registers[row] = _bytes(address + row * stride, registers.shape[1])


def tilestored64(tile: int, address: int, stride: int) -> None:
    registers = _state.tiles[tile]
    _expect(registers.size > 0, f"tile {tile} is not configured")
    for row in range(len(registers)):
        _bytes(address + row * stride, registers.shape[1])[:] = registers[row]


def _dot(acc: int, left: int, right: int, source: type, wide: type, depth: int) -> None:
    c, a, b = (_state.tiles[i] for i in (acc, left, right))
    _expect(len(c) == len(a) and c.shape[1] == b.shape[1] and a.shape[1] == 4 * len(b), "sizes of a product")
    rows, units, columns = len(c), len(b), c.shape[1] // 4
    x = a.view(source).reshape(rows, units, depth).astype(wide)
    y = b.view(source).reshape(units, columns, depth).astype(wide)
    total = c.view(wide)
    for i in range(depth):
        total += x[:, :, i] @ y[:, :, i]


def tdpbf16ps(acc: int, left: int, right: int) -> None:
    used.add("tdpbf16ps")
    _dot(acc, left, right, ml_dtypes.bfloat16, np.float32, 2)


def tdpbssd(acc: int, left: int, right: int) -> None:
    used.add("tdpbssd")
    _dot(acc, left, right, np.int8, np.int32, 4)


_REGISTER, _POINTER, _NUMBER = ctypes.c_int8, ctypes.c_void_p, ctypes.c_int64
_SIGNATURES = {
    ldtilecfg: (_POINTER,),
    tilerelease: (),
    tileloadd64: (_REGISTER, _POINTER, _NUMBER),
    tilestored64: (_REGISTER, _POINTER, _NUMBER),
    tdpbf16ps: (_REGISTER, _REGISTER, _REGISTER),
    tdpbssd: (_REGISTER, _REGISTER, _REGISTER),
}
_callbacks = {PREFIX + f.__name__: ctypes.CFUNCTYPE(None, *types)(f) for f, types in _SIGNATURES.items()}
ADDRESSES = {name: ctypes.cast(f, ctypes.c_void_p).value for name, f in _callbacks.items()}
