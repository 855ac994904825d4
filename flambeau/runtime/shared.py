"""Memory that several processes can map: anonymous files, passed on by their descriptors."""

from __future__ import annotations

import ctypes
import mmap
import os

if not hasattr(os, "memfd_create"):
    import tempfile

__all__ = ["SharedBlock", "create"]


class SharedBlock:
    """A shared mapping of ``nbytes`` bytes at ``address`` of the file open as ``fd``; both go when it does."""

    def __init__(self, fd: int, nbytes: int) -> None:
        self.fd, self.nbytes = fd, nbytes
        self.map = mmap.mmap(fd, nbytes)
        self._view = ctypes.c_char.from_buffer(self.map)
        self.address = ctypes.addressof(self._view)

    def __del__(self) -> None:
        # The map may be asked for once more by somebody who still holds its view: it closes itself with the last one.
        if hasattr(self, "_view"):
            del self._view
        os.close(self.fd)


def create(nbytes: int) -> SharedBlock:
    """A new block, filled with zeros; raises MemoryError, which names the size."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("flambeau", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, nbytes)
        return SharedBlock(fd, nbytes)
    except OSError as error:
        os.close(fd)
        raise MemoryError(f"cannot share {nbytes} bytes of memory: {error}") from error
