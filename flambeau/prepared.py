"""Constants kept as kernels read them: weights packed into panels or transformed, once and not in every call.

A plan that runs without grad mode names, for each template whose weights are an argument that the program does not
write, what the template makes of them (``graph.plan.Derived``).  It is made when the plan first runs, kept with the
storage of the weights under the version of that storage, and read by every later run, whatever the sizes of the other
operands.  A write in place changes the version, and the next run makes it anew; it goes with the storage.

Not kept is what comes of memory that others may write unseen: memory of foreign owners (``from_numpy``, shared
memory) and of storages over which a numpy array is alive; and what would take all that is kept beyond a quarter of the
machine's memory.  Such constants are made for one run.  A write through a bare address (``data_ptr``) is not noticed;
``forget`` (``compiler.reset``) starts over.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import TYPE_CHECKING, Any

from .runtime import memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph.plan import Derived
    from .storage import Storage

__all__ = ["Run", "forget", "forget_dead", "kept_bytes"]

_SHARE = 4  # of the machine's memory, that may be taken
_storages: weakref.WeakSet[Storage] = weakref.WeakSet()  # that something is kept with
_kept = [0]


def kept_bytes() -> int:
    """The bytes of all constants that are kept."""
    return _kept[0]


def forget() -> None:
    """Drops all that is kept; it is made anew when it is next read."""
    for storage in list(_storages):
        storage.__dict__.pop("prepared", None)
    _storages.clear()


class _Block:
    """Memory of a constant; ``version`` is that of the storage that it was made of."""

    def __init__(self, nbytes: int, version: int) -> None:
        self.address, self.nbytes, self.version = memory.allocate(nbytes), nbytes, version
        _kept[0] += nbytes

    def __del__(self) -> None:
        _kept[0] -= self.nbytes
        memory.free(self.address, self.nbytes)


class Run:
    """The constants of one run of a plan: ``addresses``; those that are not kept live as long as this object."""

    def __init__(self, derived: Sequence[Derived], storages: Sequence[Storage], arguments: Sequence[int]) -> None:
        self.addresses: list[int] = []
        self.blocks: list[_Block] = []
        for d in derived:
            argument, offset, name, *_ = d
            storage, source = storages[argument].memory, arguments[argument] + offset
            state = storage.__dict__
            key = name, source - storage.ptr
            block = state["prepared"].get(key) if "prepared" in state else None
            if block is None or block.version != storage.version or ("arrays" in state and _watched(storage)):
                block = self._made(d, storage, source, key)
            self.blocks.append(block)
            self.addresses.append(block.address)

    def _made(self, d: Derived, storage: Storage, source: int, key: tuple[int, int]) -> _Block:
        block = _Block(d.nbytes, storage.version)
        d.make(source, block.address)
        if _kept[0] <= _most() and not _watched(storage) and not _foreign(storage):
            if "prepared" not in storage.__dict__:
                storage.__dict__["prepared"] = {}
                _storages.add(storage)
            storage.__dict__["prepared"][key] = block
        return block


def _foreign(storage: Storage) -> bool:
    return storage.owner is not None and not isinstance(storage.owner, (bytes, mmap.mmap))


def forget_dead(references: list[weakref.ref[Any]]) -> None:
    """Takes the references out of the list whose objects are gone, one by one: another thread may append meanwhile."""
    for dead in [r for r in references if r() is None]:
        references.remove(dead)


def _watched(storage: Storage) -> bool:
    """Whether a numpy array over the storage is alive."""
    arrays = storage.__dict__.get("arrays")
    if not arrays:
        return False
    forget_dead(arrays)
    return bool(arrays)


def _most() -> int:
    if not _limit:
        _limit.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _SHARE)
    return _limit[0]


_limit: list[int] = []
