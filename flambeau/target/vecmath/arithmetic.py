"""Rounding, roots and other functions that are nearly instructions."""

from __future__ import annotations

from .exponential import FORMATS
from .lanes import Lanes, where

__all__ = ["ceil", "floor", "rint", "rsqrt", "sqrt", "trunc"]


def sqrt(x: Lanes) -> Lanes:
    """Square root, correctly rounded."""
    return x.sqrt()


def rsqrt(x: Lanes) -> Lanes:
    """``1 / sqrt(x)``."""
    return 1.0 / x.sqrt()


def rint(x: Lanes) -> Lanes:
    """The nearest integer, halves to even."""
    if x.builder.module.round_instructions:
        return x.rounded("rint")
    a = x.abs()
    power = 2.0 ** FORMATS[x.elem].mantissa
    # Numbers from 2^mantissa on are integers (or not finite), and adding to those would lose bits.
    return where(a < power, (a + power) - power, a).copysign(x)


def floor(x: Lanes) -> Lanes:
    """The greatest integer that is not above x."""
    if x.builder.module.round_instructions:
        return x.rounded("floor")
    near = rint(x)
    return where(near > x, near - 1.0, near).copysign(x)


def ceil(x: Lanes) -> Lanes:
    """The least integer that is not below x."""
    if x.builder.module.round_instructions:
        return x.rounded("ceil")
    near = rint(x)
    return where(near < x, near + 1.0, near).copysign(x)


def trunc(x: Lanes) -> Lanes:
    """The integer part of x."""
    if x.builder.module.round_instructions:
        return x.rounded("trunc")
    a = x.abs()
    near = rint(a)
    return where(near > a, near - 1.0, near).copysign(x)
