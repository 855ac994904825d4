"""Vectors of every other element of memory, such as the parts of complex numbers: loaded and stored as the consecutive
elements that they are, and sorted inside of registers."""

from __future__ import annotations

from .builder import Builder, Val, elem_type, lanes_of, vec_type

__all__ = ["addresses", "every_other", "interleave", "masked_load", "masked_store", "spread", "two_runs"]


def _mangle(type_: str) -> str:
    short = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16"}
    elem = elem_type(type_)
    return f"v{lanes_of(type_)}{short.get(elem, elem)}"


def masked_load(b: Builder, type_: str, address: Val, size: int, mask: Val) -> Val:
    """Elements of ``size`` bytes, consecutive or at a vector of addresses; 0 where the mask has 0."""
    zero = b.const(type_, 0)
    if lanes_of(address.type) == 1:
        symbol = f"llvm.masked.load.{_mangle(type_)}.p0"
    else:
        symbol = f"llvm.masked.gather.{_mangle(type_)}.v{lanes_of(type_)}p0"
    b.module.declare(symbol, type_, [address.type, mask.type, type_])
    return b.new(type_, f"call {type_} @{symbol}({address.type} align {size} {address.name}, {mask}, {zero})")


def masked_store(b: Builder, value: Val, address: Val, size: int, mask: Val) -> None:
    """Stores elements of ``size`` bytes, consecutively or to a vector of addresses, where the mask has 1."""
    if lanes_of(address.type) == 1:
        symbol = f"llvm.masked.store.{_mangle(value.type)}.p0"
    else:
        symbol = f"llvm.masked.scatter.{_mangle(value.type)}.v{lanes_of(value.type)}p0"
    b.module.declare(symbol, "void", [value.type, address.type, mask.type])
    b.emit(f"call void @{symbol}({value}, {address.type} align {size} {address.name}, {mask})")


def addresses(b: Builder, elem: str, start: Val, step: int, lanes: int) -> Val:
    """The addresses of ``lanes`` elements that lie ``step`` apart."""
    offsets = b.op("mul", b.iota(vec_type("i64", lanes)), b.const(vec_type("i64", lanes), step))
    return b.new(vec_type("ptr", lanes), f"getelementptr {elem}, {start}, {offsets}")


def interleave(b: Builder, x: Val, y: Val) -> Val:
    """The lanes of two vectors by turns."""
    lanes = lanes_of(x.type)
    return b.shuffle(x, y, [k // 2 + lanes * (k % 2) for k in range(2 * lanes)])


def spread(b: Builder, x: Val) -> Val:
    """Every lane twice."""
    return b.shuffle(x, x, [k // 2 for k in range(2 * lanes_of(x.type))])


def every_other(b: Builder, elem: str, size: int, address: Val, lanes: int) -> Val:
    """``lanes`` elements, the first and every second after it; reads nothing behind the last."""
    type_ = vec_type(elem, lanes)
    low = b.load(type_, address, size)
    high = b.load(type_, b.gep(elem, address, b.const("i64", lanes - 1)), size)
    half = lanes // 2
    return b.shuffle(low, high, [2 * k for k in range(half)] + [lanes + 2 * k + 1 for k in range(half)])


def two_runs(b: Builder, elem: str, size: int, address: Val, lanes: int, mask: Val | None) -> tuple[Val, Val]:
    """``2 * lanes`` consecutive elements: the even ones and the odd ones.  ``mask`` tells which of each are there."""
    type_ = vec_type(elem, 2 * lanes)
    both = b.load(type_, address, size) if mask is None else masked_load(b, type_, address, size, spread(b, mask))
    even, odd = (b.shuffle(both, both, [2 * k + first for k in range(lanes)]) for first in (0, 1))
    return even, odd
