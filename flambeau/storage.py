"""Memory, or a value that has not been computed yet."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

from . import runtime, settings
from .device import cpu
from .device import device as Device
from .layout import Layout
from .runtime import memory

__all__ = ["Alias", "NotTraceable", "Pending", "Storage"]


class Pending:
    """A value of a graph that is still being recorded.

    ``node`` is the value as ``trace``, which records it, knows it (a node of a graph, or a number); its elements lie
    over the storage as ``layout`` says, so that views know what they see.
    """

    __slots__ = ("layout", "node", "trace")

    def __init__(self, node: Any, layout: Layout, trace: Trace) -> None:
        self.node, self.layout, self.trace = node, layout, trace


class NotTraceable(RuntimeError):
    """A value was needed while an operator was being traced, which has none."""


class Trace:
    """Something that records a graph; ``flush`` computes everything pending in it."""

    def flush(self) -> None:
        """Computes the values of this program that somebody holds; here it raises NotTraceable."""
        raise NotTraceable("a value was needed while an operator was being traced")


class Storage:
    """A block of memory at ``ptr`` of ``nbytes`` bytes, with the version that counts in-place writes.

    ``owner`` keeps foreign memory alive (a numpy array); without one the block belongs to the allocator and goes back
    to it with the storage.  While ``pending`` is set, the memory does not hold the value yet (``ptr`` may be 0).
    """

    __slots__ = ("__dict__", "__weakref__", "_home", "nbytes", "ptr")

    # What is the same for nearly all is left to the class: a storage is made in every call of an operator.
    version = 0
    owner: object = None
    pending: Pending | None = None
    device: Device = cpu
    made: tuple[int, int] | None = None  # the frame and the instruction that it was made for, if ``reuse`` was asked

    def __init__(self, ptr: int, nbytes: int, owner: object = None, device_: Device = cpu) -> None:
        self.ptr = ptr
        self.nbytes = nbytes
        if owner is not None:
            self.owner = owner
        if device_ is not cpu:
            self.device = device_

    def _release(self, free: Callable[[int, int], None] = memory.free) -> None:
        if self.owner is None and self.ptr:
            free(self.ptr, self.nbytes)

    __del__ = _release  # until ``maker`` is first used, which puts machine code in its place

    def leave_home(self) -> None:
        """From now on the memory is no longer that which ``maker`` gave."""
        if hasattr(self, "_home"):
            del self._home

    @property
    def memory(self) -> Storage:
        """The storage that this one's memory belongs to."""
        return self

    def resize(self, nbytes: int) -> None:
        """Makes room for ``nbytes``, keeping what was there; raises RuntimeError for foreign memory."""
        if nbytes == self.nbytes:
            return
        if self.owner is not None:
            raise RuntimeError(
                "resize_: trying to resize storage that is not resizable (its memory belongs to another object)"
            )
        if self.device is not cpu:
            self.nbytes = nbytes
            return
        self.leave_home()
        ptr = memory.allocate(nbytes) if nbytes else 0
        if ptr and self.ptr:
            ctypes.memmove(ptr, self.ptr, min(nbytes, self.nbytes))
        if self.ptr:
            memory.free(self.ptr, self.nbytes)
        self.ptr, self.nbytes = ptr, nbytes


class Alias(Storage):
    """The memory of another storage with a version of its own: writes through it are not seen by autograd.

    What ``Tensor.data`` gives lies over one.  Everything but the version is the other storage's, now and later.
    """

    def __init__(self, memory_: Storage) -> None:
        self._memory = memory_
        self._version = 0

    def __del__(self, free: Callable[[int, int], None] = memory.free) -> None:
        """Nothing: the memory is the other's."""

    ptr = property(lambda self: self._memory.ptr)
    nbytes = property(lambda self: self._memory.nbytes)
    owner = property(lambda self: self._memory)
    device = property(lambda self: self._memory.device)
    memory = property(lambda self: self._memory)

    @property
    def version(self) -> int:
        """The own count of writes: those by other names of the memory do not count."""
        return self._version

    @version.setter
    def version(self, value: int) -> None:
        self._version = value
        self._memory.__dict__.pop("prepared", None)  # made of what has been overwritten

    @property
    def pending(self) -> Pending | None:
        """That of the shared memory."""
        return self._memory.pending

    @pending.setter
    def pending(self, value: Pending | None) -> None:
        self._memory.pending = value

    def resize(self, nbytes: int) -> None:
        """Resizes the shared memory."""
        self._memory.resize(nbytes)


def maker(nbytes: int, zero: bool = False) -> Callable[[], Storage]:
    """A function that makes storages of ``nbytes`` bytes of memory, uninitialised or with ``zero`` all zero; it raises
    MemoryError."""
    table = zeroers if zero else makers
    found = table.get(nbytes)
    if found is None:
        if len(table) >= _LIMIT:
            table.clear()
        found = table[nbytes] = _maker(nbytes, zero)
    return found


makers: dict[int, Callable[[], Storage]] = {}
zeroers: dict[int, Callable[[], Storage]] = {}
"""What ``maker`` remembers, for those who cannot wait for a call."""
_LIMIT = 20_000
_new = object.__new__


def _maker(nbytes: int, zero: bool) -> Callable[[], Storage]:
    if 0 < nbytes <= (_CLEARED if zero else memory.MIDDLE) and not settings.guard:
        native: Callable[[], Storage] | None = runtime.blocks.maker(Storage, nbytes, zero)
        if native is not None:
            return native

    def make(allocate: Callable[[int], int] = memory.allocate) -> Storage:
        ptr = allocate(nbytes) if nbytes else 0
        storage = _new(Storage)
        storage.ptr, storage.nbytes = ptr, nbytes
        if zero and nbytes:
            ctypes.memset(ptr, 0, nbytes)
        return storage

    return make


_CLEARED = 1 << 14  # bytes of the largest storages that machine code makes and clears; it makes bigger ones, too


def allocate(nbytes: int) -> Storage:
    """A storage of uninitialised memory; raises MemoryError, which names the size."""
    return maker(nbytes)()


def __getattr__(name: str) -> Any:
    """PyTorch has its classes of storages in ``torch.storage``; ours are defined above this file."""
    if name in ("TypedStorage", "UntypedStorage"):
        return getattr(importlib.import_module(f"{__package__}.ops.storage_classes"), name)
    raise AttributeError(f"module 'torch.storage' has no attribute {name!r}")
