"""Pages of memory from the operating system, through the C library."""

from __future__ import annotations

import ctypes
import mmap
import os

__all__ = ["EXECUTE", "HUGE_PAGE", "NONE", "PAGE", "READ", "WRITE", "advise_huge", "libc", "map_pages", "protect",
           "seal", "unmap"]  # fmt: skip

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 << 20
NONE, READ, WRITE, EXECUTE = 0, mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC

_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_MAP_FIXED = 0x10
_MADV_HUGEPAGE = 14

libc = ctypes.CDLL(None, use_errno=True)
_mmap = libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_munmap = libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_mprotect = libc.mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_madvise = libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value


def map_pages(nbytes: int) -> int | None:
    """The address of ``nbytes`` of new zero pages, readable and writable; ``None`` when the system refuses."""
    address: int | None = _mmap(None, nbytes, READ | WRITE, _FLAGS, -1, 0)
    return None if address is None or address == _FAILED else address


def unmap(address: int, nbytes: int) -> None:
    """Gives whole pages back."""
    _munmap(address, nbytes)


def protect(address: int, nbytes: int, allowed: int) -> None:
    """Changes what may be done with whole pages; raises ``OSError`` when the system refuses."""
    if _mprotect(address, nbytes, allowed):
        number = ctypes.get_errno()
        raise OSError(number, f"mprotect of {nbytes} bytes: {os.strerror(number)}")


def seal(address: int, nbytes: int) -> None:
    """Gives the memory of whole pages back and makes their addresses inaccessible for good."""
    _mmap(address, nbytes, NONE, _FLAGS | _MAP_FIXED, -1, 0)


def advise_huge(address: int, nbytes: int) -> None:
    """Asks for huge pages; the system may ignore it."""
    _madvise(address, nbytes, _MADV_HUGEPAGE)
