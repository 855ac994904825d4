"""Runs a kernel of the loop IR element by element in Python: slow, plain, and the reference for every target.

Integers wrap around and floating-point operations round to their type, as on a processor.
"""

from __future__ import annotations

import math
import operator as op
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtype import coded
from .nodes import Check, Combine, Expr, Init, Kernel, Loop, Stmt, Store, Turn, Update

__all__ = ["interpret"]

_MATHS: dict[str, Callable[..., float]] = {
    "exp": math.exp, "exp2": lambda x: 2.0**x, "expm1": math.expm1, "log": math.log, "log2": math.log2,
    "log10": math.log10,
    "log1p": math.log1p, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos,
    "atan": math.atan,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "asinh": math.asinh, "acosh": math.acosh,
    "atanh": math.atanh,
    "erf": math.erf, "erfc": math.erfc, "sqrt": math.sqrt, "rsqrt": lambda x: 1 / math.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "lgamma": math.lgamma, "pow": math.pow, "atan2": math.atan2, "hypot": math.hypot, "fmod": math.fmod,
    "copysign": math.copysign,
    "floor": lambda x: float(np.floor(x)), "ceil": lambda x: float(np.ceil(x)), "trunc": lambda x: float(np.trunc(x)),
    "rint": lambda x: float(np.rint(x)),
}  # fmt: skip
_COMPARE = {"eq": op.eq, "ne": op.ne, "lt": op.lt, "le": op.le, "gt": op.gt, "ge": op.ge}


def interpret(
    kernel: Kernel, params: Sequence[int], buffers: Sequence[np.ndarray], scalars: Sequence[float] = ()
) -> int:
    """Runs all units of ``kernel`` on flat arrays; returns the error code, 0 without one.

    ``params`` are all words, from word 0 on.  Raises IndexError for an access outside of an array: what a
    compiled kernel would do to foreign memory.
    """
    return _Run(kernel, params, buffers, scalars).run()


class _Run:
    def __init__(
        self, kernel: Kernel, params: Sequence[int], buffers: Sequence[np.ndarray], scalars: Sequence[float]
    ) -> None:
        self.kernel, self.params, self.buffers, self.scalars = kernel, params, buffers, scalars
        self.vars: dict[str, int] = {}
        self.accs: dict[str, Any] = {}
        self.error = 0

    def run(self) -> int:
        with np.errstate(all="ignore"):
            for unit in range(self.params[2]):
                self.vars["unit"] = unit
                self.block(self.kernel.body)
        return self.error

    def block(self, body: tuple[Stmt, ...]) -> None:
        for s in body:
            if isinstance(s, Loop):
                for i in range(self.value(s.lo), self.value(s.hi)):
                    self.vars[s.var] = i
                    self.block(s.body)
            elif isinstance(s, Init):
                self.accs[s.acc] = _number(s.type, _identity(s.kind, s.type))
                self.accs[s.acc + ".index"] = (1 << 63) - 1
            elif isinstance(s, Update):
                self.update(s)
            elif isinstance(s, Store):
                if s.guard is None or self.value(s.guard):
                    self.buffers[s.buffer][self.place(s.buffer, s.offset)] = self.value(s.value)
            elif isinstance(s, Turn):
                self.turn(s)
            elif isinstance(s, Combine):
                at = self.place(s.buffer, s.offset)
                old = self.buffers[s.buffer][at]
                self.buffers[s.buffer][at] = _apply(s.kind, s.value.type, [old, self.value(s.value)])
            elif isinstance(s, Check) and not self.value(s.value):
                self.error = s.code

    def turn(self, s: Turn) -> None:
        read, write = self.value(s.read), self.value(s.write)
        across, along = self.value(s.read_step), self.value(s.write_step)
        for i in range(self.value(s.rows)):
            for j in range(self.value(s.cols)):
                self.buffers[s.target][write + i * along + j] = self.buffers[s.source][read + j * across + i]

    def update(self, s: Update) -> None:
        value, old = self.value(s.value), self.accs[s.acc]
        if s.index is None:
            self.accs[s.acc] = _apply(s.kind, s.value.type, [old, value])
            return
        index, at = self.value(s.index), self.accs[s.acc + ".index"]
        new_nan, old_nan = value != value, old != old
        beats = (new_nan or (value > old if s.kind == "argmax" else value < old)) and not old_nan
        same = value == old or (new_nan and old_nan)
        if beats or (same and index < at):
            self.accs[s.acc], self.accs[s.acc + ".index"] = value, index

    def place(self, buffer: int, offset: Expr) -> int:
        at = self.value(offset)
        if not 0 <= at < len(self.buffers[buffer]):
            raise IndexError(f"buffer {buffer} of {len(self.buffers[buffer])} elements is accessed at {at}")
        return int(at)

    def value(self, e: Expr) -> Any:
        if e.op == "const":
            return _number(e.type, e.attr)
        if e.op == "param":
            return self.params[e.attr]
        if e.op == "scalar":
            return _number(e.type, self.scalars[e.attr])
        if e.op == "var":
            return self.vars[str(e.attr)]
        if e.op == "acc":
            return self.accs[str(e.attr)]
        if e.op == "load":
            if len(e.args) > 1 and not self.value(e.args[1]):
                return _number(e.type, 0)
            return self.buffers[e.attr][self.place(e.attr, e.args[0])]
        args = [self.value(a) for a in e.args]
        if e.op == "affine":
            return sum(int(i) * int(s) for i, s in zip(args[::2], args[1::2]))
        if e.op == "select":
            return args[1] if args[0] else args[2]
        if e.op == "cast":
            return _cast(args[0], e.args[0].type, e.type)
        if e.op == "bitcast":
            return np.asarray(args[0], coded(e.args[0].type).numpy).view(coded(e.type).numpy)[()]
        if e.op in _COMPARE:
            return bool(_COMPARE[e.op](args[0], args[1]))
        if e.op == "isnan":
            return bool(args[0] != args[0])
        if e.op == "signbit":
            return bool(np.signbit(args[0]))
        return _apply(e.op, e.type, args)


def _number(type_: str, value: Any) -> Any:
    """``value`` as a number of the type; integers wrap around."""
    numpy_type = coded(type_).numpy
    if numpy_type.kind in "iu":
        bits = numpy_type.itemsize * 8
        value = int(value) & ((1 << bits) - 1)
        if numpy_type.kind == "i" and value >> bits - 1:
            value -= 1 << bits
    return numpy_type.type(value)


def _identity(kind: str, type_: str) -> Any:
    if kind in ("add", "or"):
        return 0
    if kind == "mul":
        return 1
    if kind == "and":
        return True if type_ == "b1" else -1
    greatest = kind in ("max", "argmax")
    numpy_type = coded(type_).numpy
    if numpy_type.kind in "iu":
        info = np.iinfo(numpy_type)
        return info.min if greatest else info.max
    return (not greatest) if type_ == "b1" else -math.inf if greatest else math.inf


def _cast(value: Any, source: str, target: str) -> Any:
    if target == "b1":
        return bool(value != 0)
    if coded(target).kind in "iu" and coded(source).kind == "f":
        value = float(value)
        return _number(target, int(value) if math.isfinite(value) else -(1 << 63))
    return _number(target, value if coded(target).kind in "iu" else float(value))


def _apply(name: str, type_: str, args: list[Any]) -> Any:
    whole = coded(type_).kind in "iu"
    if whole or type_ == "b1":
        args = [int(a) for a in args]
    if name in ("max", "min"):
        x, y = args
        if x != x or y != y:
            return _number(type_, math.nan)
        return _number(type_, max(x, y) if name == "max" else min(x, y))
    if name in _MATHS:
        return _number(type_, args[0] if whole else _maths(name, [float(a) for a in args]))
    bits = coded(type_).itemsize * 8
    table: dict[str, Callable[[], Any]] = {
        "add": lambda: args[0] + args[1], "sub": lambda: args[0] - args[1], "mul": lambda: args[0] * args[1],
        "neg": lambda: -args[0],
        "abs": lambda: abs(args[0]), "fma": lambda: args[0] * args[1] + args[2], "div": lambda: np.divide(args[0],
        args[1]),
        "idiv": lambda: _quotient(*args), "imod": lambda: args[0] - args[1] * _quotient(*args) if args[1] else 0,
        "gcd": lambda: math.gcd(*args),
        "ipow": lambda: pow(args[0], args[1] % (1 << bits), 1 << bits),
        "quot": lambda: args[0] // args[1], "rem": lambda: args[0] % args[1], "and": lambda: args[0] & args[1],
        "or": lambda: args[0] | args[1],
        "xor": lambda: args[0] ^ args[1], "not": lambda: 1 - args[0] if type_ == "b1" else ~args[0],
        "shl": lambda: args[0] << args[1] if 0 <= args[1] < bits else 0,
        "shr": lambda: (
            args[0] >> (args[1] if 0 <= args[1] < bits else bits - 1) if args[0] < 0 or 0 <= args[1] < bits else 0
        ),
    }  # fmt: skip
    return _number(type_, table[name]())


def _quotient(x: int, y: int) -> int:
    """x / y rounded towards zero; x / 0 counts as x, which nobody reads."""
    if y == 0:
        return x
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def _maths(name: str, args: list[float]) -> float:
    """The function with IEEE results where Python raises."""
    try:
        return _MATHS[name](*args)
    except OverflowError:
        return math.inf
    except ZeroDivisionError:
        return math.inf
    except ValueError:
        if name.startswith("log") and args[0] == (-1 if name == "log1p" else 0):
            return -math.inf
        return math.nan
