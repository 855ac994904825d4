"""Small Fourier transforms of vectors of complex numbers, as LLVM text.

A complex vector is a pair of vectors, the real and the imaginary parts. Transforms are forward: ``y[k] = sum over j of
exp(-2 pi i j k / r) x[j]``. For powers of two they are Cooley and Tukey's; for odd r the sums and the differences of
x[j] and x[r - j] are combined with cosines and sines (R. C. Singleton, "An algorithm for computing the mixed radix
fast Fourier transform", IEEE Trans. Audio Electroacoustics 17, 1969).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..target.builder import Val
from .flow import Flow

__all__ = ["RADICES", "Pair", "multiply", "multiply_add", "small"]

Pair = tuple[Val, Val]
RADICES = (2, 3, 4, 5, 7, 8)  # those that ``small`` writes out


def multiply_add(b: Flow, x: Val, y: Val, z: Val) -> Val:
    """``x * y + z``, rounded once where the processor can."""
    return b.fma(x, y, z) if b.isa.fma else b.fadd(b.fmul(x, y), z)


def multiply(b: Flow, x: Pair, w: Pair) -> Pair:
    """The product of two complex vectors."""
    real = multiply_add(b, x[0], w[0], b.fneg(b.fmul(x[1], w[1])))
    return real, multiply_add(b, x[0], w[1], b.fmul(x[1], w[0]))


def _add(b: Flow, x: Pair, y: Pair) -> Pair:
    return b.fadd(x[0], y[0]), b.fadd(x[1], y[1])


def _sub(b: Flow, x: Pair, y: Pair) -> Pair:
    return b.fsub(x[0], y[0]), b.fsub(x[1], y[1])


def _add_turned(b: Flow, x: Pair, y: Pair) -> Pair:
    """``x - i y``"""
    return b.fadd(x[0], y[1]), b.fsub(x[1], y[0])


def _sub_turned(b: Flow, x: Pair, y: Pair) -> Pair:
    """``x + i y``"""
    return b.fsub(x[0], y[1]), b.fadd(x[1], y[0])


def _four(b: Flow, x: Sequence[Pair]) -> list[Pair]:
    even, odd = _add(b, x[0], x[2]), _add(b, x[1], x[3])
    up, across = _sub(b, x[0], x[2]), _sub(b, x[1], x[3])
    return [_add(b, even, odd), _add_turned(b, up, across), _sub(b, even, odd), _sub_turned(b, up, across)]


def _eight(b: Flow, x: Sequence[Pair]) -> list[Pair]:
    even, odd = _four(b, x[0::2]), _four(b, x[1::2])
    half = b.const(x[0][0].type, math.sqrt(0.5))
    # odd[1] exp(-i pi / 4) and odd[3] exp(-3 i pi / 4), but for the factor
    first = b.fadd(odd[1][0], odd[1][1]), b.fsub(odd[1][1], odd[1][0])
    third = b.fsub(odd[3][1], odd[3][0]), b.fneg(b.fadd(odd[3][0], odd[3][1]))
    minus = b.const(x[0][0].type, -math.sqrt(0.5))
    found: list[Pair] = [odd[0]] * 8
    found[0], found[4] = _add(b, even[0], odd[0]), _sub(b, even[0], odd[0])
    found[2], found[6] = _add_turned(b, even[2], odd[2]), _sub_turned(b, even[2], odd[2])
    for k, base, turn in ((1, even[1], first), (3, even[3], third)):
        found[k] = multiply_add(b, turn[0], half, base[0]), multiply_add(b, turn[1], half, base[1])
        found[k + 4] = multiply_add(b, turn[0], minus, base[0]), multiply_add(b, turn[1], minus, base[1])
    return found


def _odd(b: Flow, x: Sequence[Pair]) -> list[Pair]:
    r, half, type_ = len(x), len(x) // 2, x[0][0].type
    sums = [_add(b, x[j], x[r - j]) for j in range(1, half + 1)]
    differences = [_sub(b, x[j], x[r - j]) for j in range(1, half + 1)]
    found = [x[0]] * r
    for s in sums:
        found[0] = _add(b, found[0], s)
    for k in range(1, half + 1):
        even, odd = x[0], (b.const(type_, 0), b.const(type_, 0))
        for j in range(1, half + 1):
            angle = 2 * math.pi * (j * k % r) / r
            cos, sin = b.const(type_, math.cos(angle)), b.const(type_, math.sin(angle))
            s, d = sums[j - 1], differences[j - 1]
            even = multiply_add(b, s[0], cos, even[0]), multiply_add(b, s[1], cos, even[1])
            if j == 1:
                odd = b.fmul(d[0], sin), b.fmul(d[1], sin)
            else:
                odd = multiply_add(b, d[0], sin, odd[0]), multiply_add(b, d[1], sin, odd[1])
        found[k], found[r - k] = _add_turned(b, even, odd), _sub_turned(b, even, odd)
    return found


def small(b: Flow, x: Sequence[Pair]) -> list[Pair]:
    """The transform of as many vectors as one of ``RADICES``."""
    if len(x) == 2:
        return [_add(b, x[0], x[1]), _sub(b, x[0], x[1])]
    return {4: _four, 8: _eight}.get(len(x), _odd)(b, x)
