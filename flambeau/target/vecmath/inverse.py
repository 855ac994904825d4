"""asin, acos, atan and atan2.

Each is a sum ``base + w + tail`` of a multiple of pi/2 (as two numbers), the reduced argument ``w`` and the
rest of its series: only the last additions round anything that matters.
"""

from __future__ import annotations

from . import coefficients as table
from .lanes import Lanes, fast_two_sum, horner, where

__all__ = ["acos", "asin", "atan", "atan2"]

_HALF_PI = {
    "float": (1.5707963705062866, -4.371138828673793e-08),
    "double": (1.5707963267948966, 6.123233995736766e-17),
}


def _arc(x: Lanes, w: Lanes, z: Lanes) -> Lanes:
    """What ``asin(sqrt z)`` is beyond ``sqrt z``, for ``w`` a multiple of that root."""
    return w * z * horner(z, table.ASIN_F32 if x.single else table.ASIN_F64)


def asin(x: Lanes) -> Lanes:
    """Arc sine: from ``pi/2 - 2 asin(sqrt((1 - a) / 2))`` where a, the magnitude, is above 1/2."""
    base, base_low = _HALF_PI[x.elem]
    a = x.abs()
    large = a > 0.5
    z = where(large, (1.0 - a) * 0.5, a * a)
    w = where(large, z.sqrt() * -2.0, a)
    tail = _arc(x, w, z) + where(large, x.like(base_low), 0.0)
    main, lost = fast_two_sum(where(large, x.like(base), 0.0), w)
    return (main + (lost + tail)).copysign(x)


def acos(x: Lanes) -> Lanes:
    """Arc cosine."""
    base, base_low = _HALF_PI[x.elem]
    a = x.abs()
    large = a > 0.5
    z = where(large, (1.0 - a) * 0.5, a * a)
    root = z.sqrt()
    negative = x < 0.0
    w = where(large, where(negative, root * -2.0, root + root), -x)
    start = where(large, where(negative, x.like(2 * base), 0.0), base)
    start_low = where(large, where(negative, x.like(2 * base_low), 0.0), base_low)
    return (start + w) + (_arc(x, w, z) + start_low)


def _series(t: Lanes) -> Lanes:
    """``atan(t) - t`` for t in [-1, 1]."""
    z = t * t
    return t * z * horner(z, table.ATAN_F32 if t.single else table.ATAN_F64)


def atan(x: Lanes) -> Lanes:
    """Arc tangent: from ``pi/2 - atan(1/a)`` where a, the magnitude, is above 1."""
    base, base_low = _HALF_PI[x.elem]
    a = x.abs()
    large = a > 1.0
    t = where(large, -1.0 / a, a)
    tail = _series(t) + where(large, x.like(base_low), 0.0)
    return (where(large, x.like(base), 0.0) + (t + tail)).copysign(x)


def atan2(y: Lanes, x: Lanes) -> Lanes:
    """The angle of the point (x, y), with the special cases of C's Annex F."""
    base, base_low = _HALF_PI[x.elem]
    across, up = x.abs(), y.abs()
    steep = up > across
    short, long = where(steep, across, up), where(steep, up, across)
    # Equal magnitudes include two zeros (0) and two infinities (1).
    t = where(short.equals(long), where(long.equals(0.0), long, 1.0), short / long)
    backward = x.bits() < 0
    # steep: pi/2 -+ t; otherwise t or pi - t
    flipped = steep ^ backward
    t = where(flipped, -t, t)
    tail = _series(t)
    start = where(steep, x.like(base), where(backward, x.like(2 * base), 0.0))
    start_low = where(steep, x.like(base_low), where(backward, x.like(2 * base_low), 0.0))
    return (start + (t + (tail + start_low))).copysign(y)
