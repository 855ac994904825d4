"""Vector maths: the elementary and special functions as LLVM code, for float and double lanes.

Every function is written once, for any number of lanes, with and without a fused multiply-add.  Results
are within 2 units in the last place of the exact value over the whole domain;
infinities, NaN, signed zeros and denormal numbers come out as in C's Annex F.  Nothing calls a C library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..builder import Builder, Val, elem_type, mangle
from . import arithmetic, error, exponential, gamma, hyperbolic, inverse, logarithm, power, trigonometric
from .lanes import Lanes

__all__ = ["NAMES", "apply", "flops"]


@dataclass(frozen=True)
class Function:
    """A function of lanes.

    ``cost`` counts instructions, roughly.  ``low`` is a version in double arithmetic that is good enough for
    float lanes; it serves them always, or, with ``fused``, only where there is no fused multiply-add.
    """

    make: Callable[..., Lanes]
    cost: int
    arity: int = 1
    low: Callable[..., Lanes] | None = None
    fused: bool = False


_FUNCTIONS: dict[str, Function] = {
    "acos": Function(inverse.acos, 24),
    "acosh": Function(hyperbolic.acosh, 60, low=hyperbolic.acosh_low),
    "asin": Function(inverse.asin, 24),
    "asinh": Function(hyperbolic.asinh, 60, low=hyperbolic.asinh_low),
    "atan": Function(inverse.atan, 24),
    "atan2": Function(inverse.atan2, 32, arity=2),
    "atanh": Function(hyperbolic.atanh, 60, low=hyperbolic.atanh_low),
    "cbrt": Function(power.cbrt, 60, low=power.cbrt_low),
    "ceil": Function(arithmetic.ceil, 1),
    "cos": Function(trigonometric.cos, 22, low=trigonometric.cos, fused=True),
    "cosh": Function(hyperbolic.cosh, 26),
    "digamma": Function(gamma.digamma, 170, low=gamma.digamma_low),
    "erf": Function(error.erf, 28, low=error.erf, fused=True),
    "erfc": Function(error.erfc, 80, low=error.erfc_low),
    "erfinv": Function(error.erfinv, 140, low=error.erfinv_low),
    "exp": Function(exponential.exp, 18),
    "exp2": Function(exponential.exp2, 16),
    "expm1": Function(exponential.expm1, 22),
    "floor": Function(arithmetic.floor, 1),
    "fmod": Function(arithmetic.fmod, 20, arity=2, low=arithmetic.fmod_low, fused=True),
    "hypot": Function(arithmetic.hypot, 40, arity=2, low=arithmetic.hypot_low),
    "lgamma": Function(gamma.lgamma, 190, low=gamma.lgamma_low),
    "log": Function(logarithm.log, 20),
    "log10": Function(logarithm.log10, 32),
    "log1p": Function(logarithm.log1p, 30),
    "log2": Function(logarithm.log2, 30),
    "nextafter": Function(arithmetic.nextafter, 12, arity=2),
    "pow": Function(power.pow_, 80, arity=2),
    "rint": Function(arithmetic.rint, 1),
    "rsqrt": Function(arithmetic.rsqrt, 8),
    "sigmoid": Function(exponential.sigmoid, 22),
    "sin": Function(trigonometric.sin, 22, low=trigonometric.sin, fused=True),
    "sinh": Function(hyperbolic.sinh, 32),
    "sqrt": Function(arithmetic.sqrt, 4),
    "tan": Function(trigonometric.tan, 50),
    "tanh": Function(exponential.tanh, 26),
    "trunc": Function(arithmetic.trunc, 1),
}

NAMES: frozenset[str] = frozenset(_FUNCTIONS)
"""The functions that ``apply`` knows."""


def flops(name: str) -> int:
    """About how many instructions a vector of ``name`` costs."""
    return _FUNCTIONS[name].cost


def apply(b: Builder, name: str, *args: Val) -> Val:
    """Emits ``name`` of operands of one type: ``float``, ``double`` or vectors of them.

    The code is a helper function of the module, made at the first use of ``name`` with that type and
    marked for inlining.  Raises ``ValueError`` for an unknown name, a wrong number of operands, or types
    that are no floating-point lanes or differ.
    """
    function = _FUNCTIONS.get(name)
    if function is None:
        raise ValueError(f"vecmath.apply: unknown function {name!r}")
    if len(args) != function.arity:
        raise ValueError(f"vecmath.apply: {name} takes {function.arity} operands, got {len(args)}")
    type_ = args[0].type
    if elem_type(type_) not in ("float", "double") or any(a.type != type_ for a in args):
        raise ValueError(f"vecmath.apply: {name} takes float or double lanes of one type, got {[a.type for a in args]}")
    symbol = b.module.require(f"fb.{name}.{mangle(type_)}", lambda: _define(b, name, function, type_))
    return b.call(type_, symbol, *args)


def _define(caller: Builder, name: str, function: Function, type_: str) -> str:
    """The definition of ``name`` for operands of ``type_``."""
    b = Builder(caller.module)
    operands = [Lanes(b, Val(f"%a{i}", type_)) for i in range(function.arity)]
    if elem_type(type_) == "float" and function.low is not None and not (function.fused and b.module.fma):
        result = function.low(*(x.widen() for x in operands)).narrow()
    else:
        result = function.make(*operands)
    b.ret(result.value)
    parameters = ", ".join(str(x.value) for x in operands)
    head = f"define internal {type_} @fb.{name}.{mangle(type_)}({parameters})"
    return f"{head} alwaysinline nounwind {b.module.attributes} {{\nentry:\n{b.body()}\n}}"
