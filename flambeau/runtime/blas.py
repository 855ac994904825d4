"""Where the routines of BLAS and LAPACK are: calls through scipy's Python functions cost more than the work on a small
matrix.

scipy exports its routines as capsules for Cython (scipy.linalg.cython_blas and cython_lapack), with Fortran's calling
convention: every argument is an address.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .pool import get_num_threads

__all__ = ["address_of_routine", "limited"]

_SERIAL = 1 << 20
"""Elements of a matrix below which one thread is faster: threads of OpenBLAS wait for each other in busy loops, which
takes up to three times as long as the work they share (measured with matrices of 128 to 900 rows)."""


@functools.lru_cache(maxsize=256)
def address_of_routine(name: str) -> int:
    """The address of the routine of this name ("dtrsm"); raises ValueError if there is none."""
    capsule = None
    for module in ("cython_blas", "cython_lapack"):
        capsule = capsule or importlib.import_module(f"scipy.linalg.{module}").__pyx_capi__.get(name)
    if capsule is None:
        raise ValueError(f"scipy has no routine {name!r}")
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer_of(capsule, name_of(capsule))


@contextlib.contextmanager
def limited(elements: int) -> Iterator[None]:
    """While this lasts, the OpenBLAS of numpy and that of scipy take no more threads than ``set_num_threads`` allows,
    and one for matrices of few elements.  Other builds of BLAS are left as they are."""
    threads = 1 if elements < _SERIAL else get_num_threads()
    before = []
    for package in ("numpy", "scipy"):
        found = _threads_of(package) if package in sys.modules else None
        if found is not None and (count := found[0]()) > threads:
            before.append((found[1], count))
    try:
        for set_, _ in before:
            set_(threads)
        yield
    finally:
        for set_, count in before:
            set_(count)


@functools.lru_cache(maxsize=2)
def _threads_of(package: str) -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The functions that tell and set the number of threads of the OpenBLAS that comes with a package, if one does."""
    root = Path(str(sys.modules[package].__file__)).parent
    for file in (*root.parent.glob(f"{package}.libs/*openblas*"), *root.glob(".dylibs/*openblas*")):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(file))
            for end in ("64_", ""):
                if hasattr(library, f"scipy_openblas_set_num_threads{end}"):
                    get = getattr(library, f"scipy_openblas_get_num_threads{end}")
                    return get, getattr(library, f"scipy_openblas_set_num_threads{end}")
    return None
