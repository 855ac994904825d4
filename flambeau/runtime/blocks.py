"""Objects that own a small block of memory, made and finished in machine code.

Every call of an operator makes a storage and drops one.  Written in Python that is four frames (allocate, make, finish,
free), nearly half of what a small operator costs.  Here a *shelf* keeps freed blocks of one size, linked through their
first words; ``maker`` gives a builtin function that takes a block off the shelf and makes the object that owns it, and
the finaliser of that class (PEP 442) puts the block back.  An empty shelf is filled from the allocator by Python, a
full one gives back to it.  Shelves of big blocks hold a few, whose memory goes back when the allocator needs it.

The machine code uses functions of CPython's API only, and knows of the object no more than where three slots lie in it,
which is looked up and checked when a class is first given a maker.  Other interpreters have none.

Reference: Python/C API manual, "Method Objects" and "Descriptor Objects".
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from collections.abc import Callable
from typing import Any

from .. import settings
from ..target.isa import ISA
from . import engine, memory
from .native import METH_FASTCALL, MethodDef, keep_forever

__all__ = ["maker"]

_KEPT = 1 << 18  # bytes that one shelf holds at first ...
_FEWEST = 4  # ... but for so many blocks, however big
_MOST = 1 << 24  # bytes that it holds at most, after it was found empty again and again
_METH_NOARGS = 4
_WORD = 8


class _Shelf:
    """Blocks of one size: words that the machine code reads and writes (the first block, how many there are, how many
    there may be), and the size."""

    def __init__(self, size: int) -> None:
        self.size = size
        first = max(_FEWEST, min(_KEPT // size, 1024))
        self.words = (ctypes.c_int64 * 3)(0, 0, first)
        self.batch = max(1, min(16, first // 4))
        self.most = max(first, min(_MOST // size, 1024))
        self.address = ctypes.addressof(self.words)
        _kept.append(self.words)

    def fill(self) -> None:
        """Puts some blocks of the allocator on the shelf, and makes more room on it: a program that takes many blocks
        before it gives any back, as the forward pass of a training step does, will do so again."""
        put = _functions().put
        self.words[2] = min(self.words[2] + self.batch, self.most)
        for _ in range(self.batch):
            put(self.address, memory.allocate(self.size))

    def clear(self) -> None:
        """Gives what is on the shelf back to the allocator."""
        block = _functions().take_all(self.address)
        while block:
            behind = ctypes.c_int64.from_address(block).value
            memory.free(block, self.size)
            block = behind


_shelves: dict[int, _Shelf] = {}
_classes: dict[type, tuple[type, int, object] | None] = {}
_kept: list[object] = []  # what the machine code points to, which finishes objects after this module is gone
keep_forever(_kept)


def _give_back() -> None:
    """Clears the shelves of big blocks; small ones are pieces of chunks, which nobody else can use."""
    for shelf in tuple(_shelves.values()):
        if shelf.size > memory.SMALL:
            shelf.clear()


memory.waiting.append(lambda: sum(shelf.words[1] * shelf.size for shelf in tuple(_shelves.values())))
memory.holders.append(_give_back)


_SHELF = """
define void @put(ptr %shelf, ptr %block) nounwind {
  %first = load ptr, ptr %shelf
  store ptr %first, ptr %block
  store ptr %block, ptr %shelf
  %held.at = getelementptr i64, ptr %shelf, i64 1
  %held = load i64, ptr %held.at
  %more = add i64 %held, 1
  store i64 %more, ptr %held.at
  ret void
}

define ptr @take_all(ptr %shelf) nounwind {
  %first = load ptr, ptr %shelf
  store ptr null, ptr %shelf
  %held.at = getelementptr i64, ptr %shelf, i64 1
  store i64 0, ptr %held.at
  ret ptr %first
}
"""


class _Functions:
    """What Python does with a shelf, each in one step that no other thread and no finaliser can interrupt."""

    def __init__(self) -> None:
        self.code = engine.load("shelves of blocks", "shelves", lambda: _SHELF, ISA.named("generic"))
        self.put = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(self.code.address("put"))
        self.take_all = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(self.code.address("take_all"))


@functools.cache
def _functions() -> _Functions:
    return _Functions()


def _ir(home: int, nbytes: int, ptr: int) -> str:
    """The module of ``make`` and ``finish`` of a class whose slots lie at these offsets."""
    return f"""
@_Py_NoneStruct = external global i8
@release = private constant [9 x i8] c"_release\\00"
declare ptr @PyBytes_AsString(ptr)
declare ptr @PyLong_FromVoidPtr(ptr)
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyType_GenericAlloc(ptr, i64)
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_CallMethod(ptr, ptr, ptr, ...)
declare void @PyErr_WriteUnraisable(ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)

{_make(home, nbytes, ptr)}
{_finish(home, nbytes, ptr)}!0 = !{{!"branch_weights", i32 1, i32 1000}}
"""


def _make(home: int, nbytes: int, ptr: int) -> str:
    """``make``, a function without arguments.

    Its ``self`` is a ``bytes`` object of words: the shelf, the class, the number of bytes as an object, the function
    that fills the shelf, and how many bytes to set to zero.  The object that is made refers to it: that is its home.
    """
    return f"""define ptr @make(ptr %self, ptr %args, i64 %count) nounwind {{
  %words = call ptr @PyBytes_AsString(ptr %self)
  %shelf = load ptr, ptr %words
  %class.at = getelementptr i64, ptr %words, i64 1
  %class = load ptr, ptr %class.at
  %made = call ptr @PyType_GenericAlloc(ptr %class, i64 0)
  %none = icmp eq ptr %made, null
  br i1 %none, label %failed, label %look
look:
  %block = load ptr, ptr %shelf
  %empty = icmp eq ptr %block, null
  br i1 %empty, label %fill, label %take, !prof !0
fill:
  %fill.at = getelementptr i64, ptr %words, i64 3
  %function = load ptr, ptr %fill.at
  %answer = call ptr @PyObject_CallNoArgs(ptr %function)
  %refused = icmp eq ptr %answer, null
  br i1 %refused, label %drop, label %filled
filled:
  call void @Py_DecRef(ptr %answer)
  br label %look
take:
  %next = load ptr, ptr %block
  store ptr %next, ptr %shelf
  %held.at = getelementptr i64, ptr %shelf, i64 1
  %held = load i64, ptr %held.at
  %fewer = sub i64 %held, 1
  store i64 %fewer, ptr %held.at
  %address = call ptr @PyLong_FromVoidPtr(ptr %block)
  %ptr.at = getelementptr i8, ptr %made, i64 {ptr}
  store ptr %address, ptr %ptr.at
  %nbytes.from = getelementptr i64, ptr %words, i64 2
  %nbytes = load ptr, ptr %nbytes.from
  call void @Py_IncRef(ptr %nbytes)
  %nbytes.at = getelementptr i8, ptr %made, i64 {nbytes}
  store ptr %nbytes, ptr %nbytes.at
  call void @Py_IncRef(ptr %self)
  %home.at = getelementptr i8, ptr %made, i64 {home}
  store ptr %self, ptr %home.at
  %end.at = getelementptr i64, ptr %words, i64 4
  %end = load i64, ptr %end.at
  br label %more
more:
  %at = phi i64 [ 0, %take ], [ %behind, %clear ]
  %cleared = icmp sge i64 %at, %end
  br i1 %cleared, label %ready, label %clear
clear:
  %line = getelementptr i8, ptr %block, i64 %at
  store <8 x i64> zeroinitializer, ptr %line, align 64
  %behind = add i64 %at, 64
  br label %more
ready:
  ret ptr %made
drop:
  call void @Py_DecRef(ptr %made)
  br label %failed
failed:
  ret ptr null
}}
"""


def _finish(home: int, nbytes: int, ptr: int) -> str:
    """``finish``, a method without arguments: puts the block on its shelf, or calls ``_release``."""
    return f"""define ptr @finish(ptr %self, ptr %unused) nounwind {{
  %ptr.at = getelementptr i8, ptr %self, i64 {ptr}
  %address = load ptr, ptr %ptr.at
  %unmade = icmp eq ptr %address, null
  br i1 %unmade, label %done, label %given
given:
  %home.at = getelementptr i8, ptr %self, i64 {home}
  %home = load ptr, ptr %home.at
  %none = icmp eq ptr %home, null
  br i1 %none, label %release, label %known
known:
  %words = call ptr @PyBytes_AsString(ptr %home)
  %shelf = load ptr, ptr %words
  %nbytes.from = getelementptr i64, ptr %words, i64 2
  %wanted = load ptr, ptr %nbytes.from
  %nbytes.at = getelementptr i8, ptr %self, i64 {nbytes}
  %nbytes = load ptr, ptr %nbytes.at
  %same = icmp eq ptr %nbytes, %wanted
  br i1 %same, label %held, label %release
held:
  %block = call ptr @PyLong_AsVoidPtr(ptr %address)
  %zero = icmp eq ptr %block, null
  br i1 %zero, label %done, label %room
room:
  %held.at = getelementptr i64, ptr %shelf, i64 1
  %count = load i64, ptr %held.at
  %most.at = getelementptr i64, ptr %shelf, i64 2
  %most = load i64, ptr %most.at
  %full = icmp sge i64 %count, %most
  br i1 %full, label %release, label %put
put:
  %first = load ptr, ptr %shelf
  store ptr %first, ptr %block
  store ptr %block, ptr %shelf
  %more = add i64 %count, 1
  store i64 %more, ptr %held.at
  br label %done
release:
  %answer = call ptr (ptr, ptr, ptr, ...) @PyObject_CallMethod(ptr %self, ptr @release, ptr null)
  %refused = icmp eq ptr %answer, null
  br i1 %refused, label %report, label %answered
answered:
  call void @Py_DecRef(ptr %answer)
  br label %done
report:
  call void @PyErr_WriteUnraisable(ptr %self)
  br label %done
done:
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}}
"""


def _offsets(cls: type) -> tuple[int, ...] | None:
    """Where the slots ``_home``, ``nbytes`` and ``ptr`` lie in an object of ``cls``, found by looking at one."""
    names = ("_home", "nbytes", "ptr")
    marks = [object() for _ in names]
    made: Any = object.__new__(cls)
    for name, mark in zip(names, marks):
        setattr(made, name, mark)
    size = cls.__basicsize__ // _WORD
    words = list((ctypes.c_uint64 * size).from_address(id(made)))
    for name in names:
        delattr(made, name)
    after = list((ctypes.c_uint64 * size).from_address(id(made)))
    found = [[at for at in range(size) if words[at] == id(mark) and after[at] == 0] for mark in marks]
    made.ptr = 0
    return tuple(_WORD * at[0] for at in found) if all(len(at) == 1 for at in found) else None


def _adopt(cls: type) -> tuple[type, int, object] | None:
    """(class, address of the definition of its maker, what it needs); None where there cannot be one."""
    offsets = _offsets(cls) if sys.implementation.name == "cpython" and not settings.guard else None
    if offsets is None:
        return None
    code = engine.load(f"blocks {offsets}", "blocks", lambda: _ir(*offsets), ISA.named("generic"))
    make = MethodDef(b"make", code.address("make"), METH_FASTCALL, b"A new object with a block of memory of its own.")
    finish = MethodDef(b"__del__", code.address("finish"), _METH_NOARGS, b"Puts the block of memory back.")
    describe = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)
    _kept.extend((code, make, finish))
    cls.__del__ = describe(("PyDescr_NewMethod", ctypes.pythonapi))(cls, ctypes.addressof(finish))  # type: ignore[attr-defined]
    return cls, ctypes.addressof(make), code


def maker(cls: type, nbytes: int, zero: bool = False) -> Callable[[], Any] | None:
    """A function that makes objects of ``cls``, each with a block of ``nbytes`` that goes back when
    the object is dropped; None where there is no machine code for it.  With ``zero``, the bytes are zero.

    ``cls`` has the slots ``ptr``, ``nbytes`` and ``_home``, and a method ``_release`` that gives the memory of an
    object back which does not come from here, or whose ``nbytes`` were changed.  What is freed by ``memory.free``
    instead must lose its ``_home`` first.
    """
    if cls not in _classes:
        _classes[cls] = _adopt(cls)
    known = _classes[cls]
    if known is None:
        return None
    size = memory.size_class(nbytes)
    shelf = _shelves.get(size)
    if shelf is None:
        shelf = _shelves.setdefault(size, _Shelf(size))
    fill = shelf.fill
    words = struct.pack("5Q", shelf.address, id(cls), id(nbytes), id(fill), nbytes if zero else 0)
    _kept.append((words, nbytes, fill))
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    made: Callable[[], Any] = new(("PyCFunction_NewEx", ctypes.pythonapi))(known[1], words, None)
    return made


class Block:
    """Memory for as long as the object lives."""

    __slots__ = ("_home", "nbytes", "ptr")

    ptr: int
    nbytes: int

    def _release(self) -> None:
        if self.ptr:
            memory.free(self.ptr, self.nbytes)

    __del__ = _release  # until machine code takes its place


def block_maker(nbytes: int) -> Callable[[], Block]:
    """A function that makes objects with ``nbytes`` bytes of uninitialised memory; it raises MemoryError."""
    if 0 < nbytes <= memory.MIDDLE and not settings.guard:
        native: Callable[[], Block] | None = maker(Block, nbytes)
        if native is not None:
            return native

    def make() -> Block:
        ptr = memory.allocate(nbytes)
        block = Block()
        block.ptr, block.nbytes = ptr, nbytes
        return block

    return make
