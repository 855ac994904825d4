"""One launch that applies an elementwise rule to many arrays: the step of an optimizer on all its parameters.

The rule is a Python function of values and scalars that says what replaces the arrays' elements; it runs once, on
LLVM values, when its kernel is made. The kernel takes three tables in memory:

* of tensors: the number of elements of each, then the addresses of each array of theirs, array after array (i64);
* of scalars: one row for all tensors, or one for each (double);
* of chunks, one row each: the number of a tensor and the first element (i64).

Its parameters are the number of chunks, the thread pool, the number of tensors, and whether each has its own scalars.

A chunk is at most ``CHUNK`` elements of one tensor, so that the work splits the same way for any number of threads.
Arithmetic is in double where an array is, otherwise in single precision; every operation is rounded once, and none are
contracted, so that results agree with the same rule applied operator by operator.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from .. import settings
from ..runtime import engine
from ..runtime.native import make_caller
from ..target.builder import Val, lanes_of, vec_type
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import MEMORY_TYPE, cast
from ..target.vecmath.lanes import Lanes, where
from .flow import Flow, function, parallel_for

__all__ = ["CHUNK", "CODES", "LaneMaths", "advance", "update"]

CHUNK = 16384
"""Elements of a chunk: enough to hide the cost of handing it out, few enough to stay in a core's cache."""
CODES = ("f32", "f64", "bf16", "f16")
"""The element types that kernels are made for."""

Formula = Callable[[Any, Sequence[Any], Sequence[Any], Any], tuple[Any, ...]]
_I64, _PTR, _F64 = "i64", "ptr", "double"


class LaneMaths:
    """What a rule needs besides ``+ - * /`` and comparisons, on the values of a kernel.

    The same names on tensors are in ``optim/_update.py``.
    """

    @staticmethod
    def sqrt(x: Lanes) -> Lanes:
        """The square root."""
        return x.sqrt()

    @staticmethod
    def abs(x: Lanes) -> Lanes:
        """The magnitude."""
        return x.abs()

    @staticmethod
    def maximum(x: Lanes, y: Lanes) -> Lanes:
        """The larger one; NaN if one is."""
        larger = where(x > y, x, y)
        return where(x.is_nan(), x, larger)

    @staticmethod
    def lerp(start: Lanes, end: Lanes, weight: Lanes) -> Lanes:
        """``start + weight * (end - start)``, from the nearer end, so that weight 1 gives ``end`` exactly."""
        way = end - start
        return where(weight.abs() < 0.5, start + weight * way, end - way * (1.0 - weight))

    @staticmethod
    def sign(x: Lanes) -> Lanes:
        """-1, 0 or 1; 0 for NaN."""
        return where(x > 0.0, 1.0, where(x < 0.0, x.like(-1.0), x.like(0.0)))

    @staticmethod
    def select(mask: Lanes, yes: Lanes | float, no: Lanes) -> Lanes:
        """``yes`` where ``mask``, else ``no``."""
        return where(mask, yes, no)

    @staticmethod
    def clamp(x: Lanes, least: Lanes, most: Lanes) -> Lanes:
        """``x`` within bounds; NaN stays NaN."""
        return x.at_least(least).at_most(most)


def _ir(
    isa: ISA, formula: Formula, variant: Any, codes: Sequence[str], written: Sequence[int], scalar_count: int
) -> str:
    module = new_module(isa)
    elem, code = ("double", "f64") if "f64" in codes else ("float", "f32")
    lanes = isa.lanes(elem)

    def rule(b: Flow, loaded: list[Val], scalars: list[Val]) -> list[Val]:
        count = lanes_of(loaded[0].type)
        arrays = [Lanes(b, value) for value in loaded]
        numbers = [Lanes(b, b.splat(value, count)) for value in scalars]
        results = formula(variant, arrays, numbers, LaneMaths)
        if len(results) != len(written):
            raise ValueError(f"the rule gives {len(results)} results for {len(written)} arrays")
        return [result.value for result in results]

    def body(b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        tensors, table, chunks = (b.load(_PTR, b.at(_I64, block, slot), 8) for slot in (1, 2, 3))
        number = b.load(_I64, b.at(_I64, chunks, b.imul(chunk, 2)), 8)
        start = b.load(_I64, b.at(_I64, chunks, b.iadd(b.imul(chunk, 2), 1)), 8)
        params = b.load(_PTR, block, 8)
        width, each = b.word(params, 2), b.word(params, 3)
        count = b.imin(b.isub(b.load(_I64, b.at(_I64, tensors, number), 8), start), CHUNK)
        pointers = []
        for i, c in enumerate(codes):
            place = b.at(_I64, tensors, b.iadd(b.imul(width, i + 1), number))
            pointers.append(b.at(MEMORY_TYPE[c], b.load(_PTR, place, 8), start))
        numbers = []
        place = b.at(_F64, table, b.imul(b.imul(number, each), scalar_count))
        for i in range(scalar_count):
            value = b.load(_F64, b.at(_F64, place, i), 8)
            numbers.append(value if elem == "double" else b.cast("fptrunc", value, elem))

        def piece(index: Val, mask: Val | None) -> None:
            places = [b.at(MEMORY_TYPE[c], p, index) for c, p in zip(codes, pointers)]
            loaded = []
            for c, p in zip(codes, places):
                type_ = vec_type(MEMORY_TYPE[c], lanes)
                raw = b.load(type_, p) if mask is None else b.masked_load(type_, p, mask)
                loaded.append(cast(b, raw, c, code))
            for i, result in zip(written, rule(b, loaded, numbers)):
                stored = cast(b, result, code, codes[i])
                if mask is None:
                    b.store(stored, places[i])
                else:
                    b.masked_store(stored, places[i], mask)

        whole = b.imul(b.idiv(count, lanes), lanes)
        with b.loop(0, whole, lanes) as loop:
            piece(loop.index, None)
        rest = b.isub(count, whole)
        with b.when(b.icmp("sgt", rest, 0)):
            piece(whole, b.lane_mask(rest, lanes))
        b.ret()

    def entry(b: Flow, params: Val, tensors: Val, table: Val, chunks: Val) -> None:
        block = b.alloca(f"[4 x {_PTR}]")
        for slot, value in enumerate((params, tensors, table, chunks)):
            b.store(value, b.at(_I64, block, slot), 8)
        name = function(module, isa, "body", [(_PTR, "block"), (_I64, "chunk"), (_I64, "worker")], body)
        parallel_for(b, b.word(params, 1), name, block, b.word(params, 0))
        b.ret(b.i64(0))

    args = [(_PTR, name) for name in ("params", "tensors", "scalars", "chunks")]
    function(module, isa, "update", args, entry, result=_I64, linkage="external")
    return module.text()


def _fingerprint(formula: Formula) -> str:
    """A text that changes with the rule's code."""
    code = formula.__code__
    return hashlib.sha256(repr((code.co_code, code.co_consts, code.co_names)).encode()).hexdigest()[:16]


def update(
    name: str, formula: Formula, variant: Any, codes: tuple[str, ...], written: tuple[int, ...], scalar_count: int
) -> Callable[..., int]:
    """The kernel that applies a rule: a function of the addresses of parameters, tensors, scalars and chunks.

    Args:
        name: the optimizer's, for reports.
        formula: ``formula(variant, arrays, scalars, maths)`` returns the new values of the arrays ``written``.
        variant: what the formula decides by.
        codes: the element type of each array, of ``CODES``.
        written: the numbers of the arrays that change.
        scalar_count: the number of scalars of each tensor.
    """
    return _update(name, formula, variant, codes, written, scalar_count, settings.isa)


@functools.cache
def _update(
    name: str, formula: Formula, variant: Any, codes: tuple[str, ...], written: tuple[int, ...], scalars: int, isa: str
) -> Callable[..., int]:
    chosen = ISA.named(isa)
    key = repr((variant, codes, written, scalars, _fingerprint(formula)))
    make = functools.partial(_ir, chosen, formula, variant, codes, written, scalars)
    address = engine.load(f"step_{name}", key, make, chosen).address("update")
    return make_caller(address, "pppp", release_gil=True)


def _advance_ir(isa: ISA, code: str) -> str:
    module = new_module(isa)

    def entry(b: Flow, addresses: Val, values: Val, count: Val) -> None:
        elem = MEMORY_TYPE[code]
        with b.loop(0, count) as loop:
            place = b.load(_PTR, b.at(_I64, addresses, loop.index), 8)
            value = b.load(elem, place)
            value = b.fadd(value, b.const(elem, 1))
            b.store(value, place)
            b.store(cast(b, value, code, "f64"), b.at(_F64, values, loop.index), 8)
        b.ret(b.i64(0))

    args = [(_PTR, "addresses"), (_PTR, "values"), (_I64, "count")]
    function(module, isa, "advance", args, entry, result=_I64, linkage="external")
    return module.text()


def advance(code: str) -> Callable[..., int]:
    """The kernel that adds one to counters of type "f32" or "f64" (``code``).

    It is a function of the address of their addresses, that of the doubles which become their values, and their number.
    """
    return _advance(code, settings.isa)


@functools.cache
def _advance(code: str, isa: str) -> Callable[..., int]:
    chosen = ISA.named(isa)
    address = engine.load("step_count", code, functools.partial(_advance_ir, chosen, code), chosen).address("advance")
    return make_caller(address, "ppi")
