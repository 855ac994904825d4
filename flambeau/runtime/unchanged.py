"""Whether objects of Python are as they were, by the words of memory that say so.

To look at thousands of small objects one by one takes most of a millisecond where kernels have emptied the caches, as
each look waits for the one before.  CPython up to 3.12 gives a dictionary another version with every change (PEP 509),
so that one word tells; so does the word of a cell or function that points to what it holds.  Machine code compares the
words of many objects, of which the processor fetches many at a time.  Where objects are not found to be made like that,
nothing is said to be unchanged.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from array import array
from collections.abc import Callable, Iterable, Sized
from types import CellType, FunctionType
from typing import Any, ClassVar

from ..target.isa import ISA
from . import engine
from .native import make_caller

__all__ = ["Unchanged"]

_WORD = 8
_CLASS, _SIZE, _VERSION = 8, 16, 24  # where objects have their class, lists and dictionaries their size, and a version


_SAME = """
define i64 @same(ptr %at, ptr %was, i64 %count) nounwind {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %j, %equal ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %look, label %yes
look:
  %place = getelementptr ptr, ptr %at, i64 %i
  %address = load ptr, ptr %place
  %word = load i64, ptr %address
  %known = getelementptr i64, ptr %was, i64 %i
  %before = load i64, ptr %known
  %same = icmp eq i64 %word, %before
  br i1 %same, label %equal, label %no
equal:
  %j = add i64 %i, 1
  br label %next
yes:
  ret i64 1
no:
  ret i64 0
}
"""


@functools.cache
def _comparing() -> int:
    """The address of the machine code."""
    return engine.load("same words", "unchanged", lambda: _SAME, ISA.named("generic")).address("same")


class Unchanged:
    """Dictionaries, the sizes of lists and dictionaries, the classes of objects, what cells hold, and the code and
    defaults of functions, as they are now.

    It keeps the dictionaries, cells and functions alive; the others have to stay alive without it, and so does what
    cells and functions hold.  ``possible``: whether anything can be said.

    ``holds()`` is 1 if all is certainly as it was, otherwise 0; a dictionary that was changed and changed back is not.
    """

    possible: ClassVar[bool]

    def __init__(
        self,
        dicts: Iterable[dict[Any, Any]],
        sizes: Iterable[Sized],
        classes: Iterable[object],
        cells: Iterable[CellType] = (),
        functions: Iterable[FunctionType] = (),
    ) -> None:
        dicts, cells, functions = [*dicts], [*cells], [*functions]
        self._kept: tuple[object, ...] = dicts, cells, functions
        at = [id(d) + _VERSION for d in dicts]
        at += [id(s) + _SIZE for s in sizes]
        at += [id(c) + _CLASS for c in classes]
        at += [id(c) + _HELD for c in cells]
        at += [id(f) + offset for f in functions for offset in _PARTS]
        self._compare(at, [_word(address) for address in at] if self.possible else [])

    def _compare(self, at: list[int], was: list[int]) -> None:
        self._at, self._was = array("q", at), array("Q", was)
        self.holds: Callable[[], int] = lambda: 0
        if self.possible:
            bound = self._at.buffer_info()[0], self._was.buffer_info()[0], len(at)
            self.holds = make_caller(_comparing(), "", bound=bound)

    @classmethod
    def together(cls, *parts: Unchanged) -> Unchanged:
        """What holds if all of these do."""
        found = cls((), (), ())
        found._kept = parts
        found._compare([a for p in parts for a in p._at], [w for p in parts for w in p._was])
        return found


def _word(address: int) -> int:
    """The word of memory there, which has to be a live object's."""
    return ctypes.c_uint64.from_address(address).value


def _version(d: dict[Any, Any]) -> int:
    return _word(id(d) + _VERSION)


def _offset(holder: Any, held: object) -> int:
    """Where an object points to another, in bytes from its start; 0 if it does not."""
    return next((k for k in range(16, holder.__sizeof__(), _WORD) if _word(id(holder) + k) == id(held)), 0)


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


def _sample(a: object = _Owner, *, b: object = _version) -> None:
    """A function with all that a function may have."""


def _offsets() -> tuple[int, tuple[int, int, int]]:
    """Where a cell has its content, and functions their code and the two kinds of defaults."""
    if sys.implementation.name != "cpython":
        return 0, (0, 0, 0)
    parts = _sample.__code__, _sample.__defaults__, _sample.__kwdefaults__
    first, second, third = (_offset(_sample, part) for part in parts)
    return _offset(CellType(_Owner), _Owner), (first, second, third)


_HELD, _PARTS = _offsets()
Unchanged.possible = _versions_work() and _HELD > 0 and min(_PARTS) > 0
