"""Whether objects of Python are as they were, by the words of memory that say so.

To look at thousands of small objects one by one takes most of a millisecond where kernels have emptied the caches, as
each look waits for the one before.  CPython up to 3.12 gives a dictionary another version with every change (PEP 509),
so that one word tells; the words of many objects are gathered at once.  Where versions are not found to work like that,
nothing is said to be unchanged.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Sized
from typing import Any, ClassVar

import numpy as np

__all__ = ["Unchanged"]

_WORD = 8
_CLASS, _SIZE, _VERSION = 8, 16, 24  # where objects have their class, lists and dictionaries their size, and a version


class Unchanged:
    """Dictionaries, the sizes of lists and dictionaries, and the classes of objects, as they are now.

    It keeps the dictionaries alive; the others have to stay alive without it.  ``possible``: whether anything can be
    said.
    """

    possible: ClassVar[bool]

    def __init__(self, dicts: Iterable[dict[Any, Any]], sizes: Iterable[Sized], classes: Iterable[object]) -> None:
        self._kept = [*dicts]
        at = [id(d) + _VERSION for d in self._kept]
        at += [id(s) + _SIZE for s in sizes]
        at += [id(c) + _CLASS for c in classes]
        self._at = (np.array(at, np.int64) - _BASE) // _WORD
        self._was = _memory.take(self._at) if self.possible else None

    def holds(self) -> bool:
        """Whether all is certainly as it was; a dictionary that was changed and changed back is not."""
        return self._was is not None and bool((_memory.take(self._at) == self._was).all())


_BASE = 4096
_memory = np.frombuffer(memoryview((ctypes.c_uint64 * (1 << 44)).from_address(_BASE)), np.uint64)
"""The memory of the process by words, of which only those of live objects may be read."""


def _version(d: dict[Any, Any]) -> int:
    return int(_memory[(id(d) + _VERSION - _BASE) // _WORD])


class _Owner:
    """An object with attributes."""

    def __init__(self) -> None:
        self.a = self.b = 1


def _versions_work() -> bool:
    """Whether the word that should be a dictionary's version is one."""
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 13) or ctypes.sizeof(ctypes.c_void_p) != _WORD:
        return False
    table: dict[str, int] = {"a": 1, "b": 1}
    owner = _Owner()
    own = vars(owner)
    changes: list[tuple[dict[str, Any], Callable[[], object]]] = [
        (table, lambda: table.update(a=2)), (table, lambda: table.update(c=3)), (table, lambda: table.pop("a")),
        (table, table.clear), (own, lambda: setattr(owner, "a", 2)), (own, lambda: setattr(owner, "c", 1)),
        (own, lambda: delattr(owner, "b")), (own, own.popitem),
    ]  # fmt: skip
    for d, change in changes:
        before = _version(d)
        if before != _version(d):
            return False
        change()
        if before == _version(d):
            return False
    return True


Unchanged.possible = _versions_work()
