"""Routines of LAPACK for every matrix of a batch, on numpy arrays.

The loop over the matrices is machine code: a call from Python costs more than a small matrix.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..runtime import blas, engine
from ..target.builder import Val
from ..target.emit import new_module
from ..target.isa import ISA
from .flow import Flow, function

__all__ = ["Shared", "each", "letter", "prepared"]

_start, _address = ctypes.c_char.from_buffer, ctypes.addressof
_VALUE = -1
"""In the place of a step: the word before is no address, but what the routine shall read."""


class Shared(NamedTuple):
    """Memory that a routine gets for every matrix alike: scratch space, a number."""

    array: np.ndarray


def letter(a: np.ndarray) -> str:
    """The first letter of a routine for elements of this type."""
    return {"f": "s", "d": "d", "F": "c", "D": "z"}[a.dtype.char]


def each(routine: str, count: int, *arguments: str | int | np.ndarray | Shared) -> None:
    """Calls a routine ("dpotrf") for each of ``count`` matrices.

    Arguments are letters and integers, arrays that hold a part for each matrix, one after the other in row-major order
    (an array without elements is one that the routine does not look at), and ``Shared`` ones.
    """
    if count:
        prepared(routine, count, *arguments)()


def prepared(routine: str, count: int, *arguments: str | int | np.ndarray | Shared) -> Callable[[], None]:
    """A function that does what ``each`` does, on the same arrays whenever it is called; there is a matrix at least."""
    words: list[int] = []
    for x in arguments:
        if isinstance(x, int):
            words += (x, _VALUE)
        elif isinstance(x, str):
            words += (ord(x), _VALUE)
        elif isinstance(x, Shared):
            words += (_address(_start(x.array)), 0)  # type: ignore[arg-type]
        else:
            words += (_address(_start(x)), x.nbytes // count) if x.size else (0, 0)  # type: ignore[arg-type]
    pack, call = _loop(len(arguments))
    table, address = pack(*words), blas.address_of_routine(routine)

    def run(keep: object = arguments) -> None:  # what the words are addresses of stays alive
        call(address, count, table)

    return run


@functools.cache
def _loop(arguments: int) -> tuple[Callable[..., bytes], Callable[..., None]]:
    """(what makes a table of words, ``f(routine, count, table)``) for routines of so many arguments; the words are an
    address and a step for each, or a value and `_VALUE`."""
    isa = ISA.host()
    name = f"each_{arguments}"
    code = engine.load(name, f"{name}|{isa.key}", lambda: _text(name, arguments, isa), isa)
    form = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    return struct.Struct(f"={2 * arguments}q").pack, form(code.address(name))


def _text(name: str, arguments: int, isa: ISA) -> str:
    module = new_module(isa)

    def write(b: Flow, routine: Val, count: Val, words: Val) -> None:
        starts, steps = [], []
        for k in range(arguments):
            place, step = b.at("i64", words, 2 * k), b.word(words, 2 * k + 1)
            value = b.icmp("eq", step, _VALUE)
            starts.append(b.select(value, place, b.load("ptr", place, 8)))
            steps.append(b.select(value, b.const("i64", 0), step))
        with b.loop(0, count) as matrix:
            places = [b.bytes_at(start, b.imul(matrix.index, step)) for start, step in zip(starts, steps)]
            b.emit(f"call void {routine.name}({', '.join(map(str, places))})")
        b.ret()

    function(module, isa, name, [("ptr", "routine"), ("i64", "count"), ("ptr", "words")], write, linkage="")
    return module.text()
