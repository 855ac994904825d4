"""Routines of BLAS and LAPACK on addresses, for loops over many small matrices: calls through scipy's Python functions
cost more than the work.

scipy exports its routines as capsules for Cython (scipy.linalg.cython_blas and cython_lapack), with Fortran's calling
convention: every argument is an address.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["address_of", "letter", "routine", "whole"]


@functools.lru_cache(maxsize=64)
def routine(name: str, arguments: int) -> Callable[..., None]:
    """The routine of this name ("dtrsm"), which takes that many addresses."""
    capsule = None
    for module in ("cython_blas", "cython_lapack"):
        capsule = capsule or importlib.import_module(f"scipy.linalg.{module}").__pyx_capi__.get(name)
    if capsule is None:
        raise ValueError(f"scipy has no routine {name!r}")
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer_of(capsule, name_of(capsule))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)


def letter(type_: np.dtype[Any]) -> str:
    """The first letter of a routine for elements of this type."""
    return {"f": "s", "d": "d", "F": "c", "D": "z"}[type_.char]


@functools.lru_cache(maxsize=4096)
def whole(value: int) -> ctypes.c_int:
    """An integer that has an address."""
    return ctypes.c_int(value)


def address_of(value: str | int) -> int:
    """The address of a letter or of an integer that routines only read."""
    return ctypes.addressof(_characters(value) if isinstance(value, str) else whole(value))


@functools.lru_cache(maxsize=16)
def _characters(text: str) -> ctypes.c_char:
    return ctypes.c_char(text.encode())
