"""Routines of LAPACK for every matrix of a batch, on numpy arrays.

The loop over the matrices is machine code: a call from Python costs more than a small matrix.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..runtime import blas, engine
from ..target.builder import Val
from ..target.emit import new_module
from ..target.isa import ISA
from .flow import Flow, function

__all__ = ["Shared", "each", "letter", "prepared"]

_start = ctypes.c_char.from_buffer


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
    numbers: list[int] = []
    places: list[int] = []
    for x in arguments:
        if isinstance(x, np.ndarray):
            words += (ctypes.addressof(_start(x)), x.nbytes // count) if x.size else (0, 0)  # type: ignore[arg-type]
        elif isinstance(x, int):
            places.append(len(words))
            numbers.append(x)
            words += (0, 0)
        elif isinstance(x, Shared):
            words += (ctypes.addressof(_start(x.array)), 0)  # type: ignore[arg-type]
        else:
            words += (ctypes.addressof(blas.letter(x)), 0)
    integers = (ctypes.c_int * len(numbers))(*numbers)
    start = ctypes.addressof(integers)
    for k, place in enumerate(places):
        words[place] = start + 4 * k
    keep = (arguments, integers)  # what the words are addresses of
    call, address = _loop(len(arguments)), blas.address_of_routine(routine)
    table = (ctypes.c_int64 * len(words))(*words)

    def run(keep: object = keep) -> None:
        call(address, count, table)

    return run


@functools.cache
def _loop(arguments: int) -> Callable[..., None]:
    """``f(routine, count, words)`` for routines of so many arguments; the words are an address and a step for each."""
    isa = ISA.host()
    name = f"each_{arguments}"
    code = engine.load(name, f"{name}|{isa.key}", lambda: _text(name, arguments, isa), isa)
    form = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    return form(code.address(name))


def _text(name: str, arguments: int, isa: ISA) -> str:
    module = new_module(isa)

    def write(b: Flow, routine: Val, count: Val, words: Val) -> None:
        starts = [b.load("ptr", b.at("i64", words, 2 * k), 8) for k in range(arguments)]
        steps = [b.word(words, 2 * k + 1) for k in range(arguments)]
        with b.loop(0, count) as matrix:
            places = [b.bytes_at(start, b.imul(matrix.index, step)) for start, step in zip(starts, steps)]
            b.emit(f"call void {routine.name}({', '.join(map(str, places))})")
        b.ret()

    function(module, isa, name, [("ptr", "routine"), ("i64", "count"), ("ptr", "words")], write, linkage="")
    return module.text()
