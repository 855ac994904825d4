"""Vector maths: the elementary and special functions as LLVM code, for float and double lanes.

Every function is written once, for any number of lanes, with and without a fused multiply-add.  Results
are within 2 units in the last place of the exact value (the exceptions say so) over the whole domain;
infinities, NaN, signed zeros and denormal numbers come out as in C's Annex F.  Nothing calls a C library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..builder import Builder, Val, elem_type, mangle
from . import arithmetic, error, exponential, logarithm, trigonometric
from .lanes import Lanes

__all__ = ["NAMES", "apply", "flops"]


@dataclass(frozen=True)
class Function:
    """A function of lanes.

    ``cost`` counts instructions, roughly.  ``widen`` says when float lanes are computed in double:
    ``"always"``, ``"never"``, or ``"no fma"`` where the float algorithm needs a fused multiply-add.
    """

    make: Callable[..., Lanes]
    cost: int
    arity: int = 1
    widen: str = "never"


_FUNCTIONS: dict[str, Function] = {
    "ceil": Function(arithmetic.ceil, 1),
    "cos": Function(trigonometric.cos, 22, widen="no fma"),
    "erf": Function(error.erf, 28, widen="no fma"),
    "exp": Function(exponential.exp, 18),
    "exp2": Function(exponential.exp2, 16),
    "expm1": Function(exponential.expm1, 20),
    "floor": Function(arithmetic.floor, 1),
    "log": Function(logarithm.log, 20),
    "log10": Function(logarithm.log10, 32),
    "log1p": Function(logarithm.log1p, 30),
    "log2": Function(logarithm.log2, 30),
    "rint": Function(arithmetic.rint, 1),
    "rsqrt": Function(arithmetic.rsqrt, 8),
    "sigmoid": Function(exponential.sigmoid, 22),
    "sin": Function(trigonometric.sin, 22, widen="no fma"),
    "sqrt": Function(arithmetic.sqrt, 4),
    "tan": Function(trigonometric.tan, 50),
    "tanh": Function(exponential.tanh, 22),
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
    double = function.widen == "always" or (function.widen == "no fma" and not b.module.fma)
    if double and elem_type(type_) == "float":
        result = function.make(*(x.widen() for x in operands)).narrow()
    else:
        result = function.make(*operands)
    b.ret(result.value)
    parameters = ", ".join(str(x.value) for x in operands)
    head = f"define internal {type_} @fb.{name}.{mangle(type_)}({parameters})"
    return f"{head} alwaysinline nounwind {b.module.attributes} {{\nentry:\n{b.body()}\n}}"
