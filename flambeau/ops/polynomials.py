"""Orthogonal polynomials of a degree given for each element, as kernels where all degrees are small.

All follow the three-term recurrences of Abramowitz and Stegun 22.7, in double precision; large degrees and those that
are not known yet are left to ``template.polynomials``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Operand, operator
from ..tensor import Tensor
from .special import host

__all__: list[str] = []

# k -> (a, b, c) of the recurrence p[k] = (a x + b) p[k - 1] - c p[k - 2], which gives p[1] too if p[-1] is 0
_Step = Callable[[int], tuple[float, float, float]]
_BOUNDS = (4, 8, 16, 32)


def _chebyshev(first: float, shift: float) -> _Step:
    return lambda k: (2.0, 0.0, 1.0) if k > 1 else (first, shift, 0.0)


_STEPS: dict[str, tuple[_Step, int]] = {  # and the largest degree for which it is used
    "chebyshev_t": (_chebyshev(1, 0), 8),
    "chebyshev_u": (_chebyshev(2, 0), 8),
    "chebyshev_v": (_chebyshev(2, -1), 8),
    "chebyshev_w": (_chebyshev(2, 1), 8),
    "hermite_h": (lambda k: (2.0, 0.0, 2.0 * (k - 1)), 32),
    "hermite_he": (lambda k: (1.0, 0.0, k - 1.0), 32),
    "laguerre_l": (lambda k: (-1 / k, (2 * k - 1) / k, (k - 1) / k), 32),
    "legendre_p": (lambda k: ((2 * k - 1) / k, 0.0, (k - 1) / k), 32),
}


@operator(name="_recurrence", promote=("input", "n"), to="float", method=False, function=False)
def _recurrence(input: Operand, n: Operand, name: str, shifted: bool, bound: int) -> Tensor:
    """The polynomial ``name`` of degree ``n``, at most ``bound``, of ``input`` (of ``2 input - 1`` if ``shifted``)."""
    g, work = prim.apply, dtypes.float64
    zero, one, two = (prim.const(v, work) for v in (0, 1, 2))
    x, degree = prim.cast(input, work), g("trunc", prim.cast(n, work))
    if shifted:
        x = g("sub", g("mul", two, x), one)
    step = _STEPS[name][0]
    before, now = zero, one
    result = g("select", g("eq", degree, zero), one, zero)
    for k in range(1, bound + 1):
        a, b, c = (prim.const(v, work) for v in step(k))
        slope = g("mul", a, x)
        value = g("mul", g("add", slope, b) if step(k)[1] else slope, now)
        before, now = now, g("sub", value, g("mul", c, before)) if step(k)[2] else value
        result = g("select", g("eq", degree, prim.const(k, work)), now, result)
    return prim.cast(result, input.dtype)


@operator(name="_polynomial", promote=("input", "n"), to="float", method=False, function=False)
def _polynomial(input: Operand, n: Operand, name: str) -> Tensor:
    """The same for any degree."""
    return host("flambeau.template.polynomials", name, input, n)


@_recurrence.gradient()
@_polynomial.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    raise RuntimeError(f"derivative for {ctx.name} is not implemented")


def _bound(n: Any, most: int) -> int | None:
    """A bound for degrees, of which there are few; None if they are large, or cannot be looked at now."""
    if isinstance(n, Tensor):
        if n._key is None or not n.numel():  # type: ignore[attr-defined]
            return None
        n = float(n.max())  # type: ignore[attr-defined]
    return next((b for b in _BOUNDS if b <= most and n < b + 1), None)


def _define(name: str, recurrence: str, shifted: bool, text: str) -> None:
    def body(input: Operand, n: Operand) -> Tensor:
        if not isinstance(input, Tensor) and not isinstance(n, Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        for x in (input, n):
            if isinstance(x, Tensor) and x.dtype.is_complex:
                raise RuntimeError(f'"{name}" not implemented for {x.dtype}')
        bound = _bound(n, _STEPS[recurrence][1])
        if bound is None:
            return _polynomial.function(input, n, f"shifted_{recurrence}" if shifted else recurrence)  # type: ignore[no-any-return]
        return _recurrence.function(input, n, recurrence, shifted, bound)  # type: ignore[no-any-return]

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"{text} of degree ``n`` (rounded towards zero; 0 for negative degrees) at each element."
    operator(kind="composite", method=False, namespace="torch.special")(body)


for _kind, _ordinal in zip("tuvw", ("first", "second", "third", "fourth")):
    _name, _text = f"chebyshev_polynomial_{_kind}", f"The Chebyshev polynomial of the {_ordinal} kind"
    _define(_name, f"chebyshev_{_kind}", False, _text)
    _define(f"shifted_{_name}", f"chebyshev_{_kind}", True, f"{_text} of ``2 x - 1``")
_define("hermite_polynomial_h", "hermite_h", False, "The physicists' Hermite polynomial")
_define("hermite_polynomial_he", "hermite_he", False, "The probabilists' Hermite polynomial")
_define("laguerre_polynomial_l", "laguerre_l", False, "The Laguerre polynomial")
_define("legendre_polynomial_p", "legendre_p", False, "The Legendre polynomial")
