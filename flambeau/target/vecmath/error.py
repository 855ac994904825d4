"""erf and its relatives."""

from __future__ import annotations

from . import coefficients as table
from .exponential import FORMATS, exp_reduced, power_of_two
from .lanes import Lanes, horner, mad

__all__ = ["erf"]

_TWO_OVER_SQRT_PI = {"float": 1.128379225730896, "double": 1.1283791670955126}
_ERF_HIGH = {"float": 3.94, "double": 5.93}
_ERF_TERMS = {"float": table.ERF_F32, "double": table.ERF_F64}


def erf(x: Lanes) -> Lanes:
    """The error function, as ``-expm1(-g(|x|))`` with ``g(a) = -log(erfc(a))``.

    g is ``a`` times a smooth function, well approximated by one polynomial; its relative error counts
    less and less as ``exp(-g)`` falls, so that the polynomial may be loose where its condition is bad.
    """
    a = x.abs().at_most(_ERF_HIGH[x.elem])
    g = mad(a, _TWO_OVER_SQRT_PI[x.elem], a * horner(a, _ERF_TERMS[x.elem]))
    t, p = exp_reduced(g, FORMATS[x.elem].bias, negate=True)
    power = power_of_two(t)
    return mad(power, -p, 1.0 - power).copysign(x)
