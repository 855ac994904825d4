"""A small builder of LLVM IR as text.

Values are ``Val`` pairs of a name (or constant) and an LLVM type, and every method appends one
instruction and returns its result.  Scalars and vectors go through the same methods: ``fadd`` of two
``<16 x float>`` values is a vector addition.  Nothing here knows about tensors, loops or operators.

Reference: the LLVM Language Reference Manual (https://llvm.org/docs/LangRef.html).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

__all__ = ["Builder", "Module", "Val", "elem_type", "float_const", "lanes_of", "vec_type"]


class Val(NamedTuple):
    """An SSA value or constant: its spelling and its LLVM type."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


def vec_type(elem: str, lanes: int) -> str:
    """The type of ``lanes`` values of type ``elem``: the scalar itself when ``lanes`` is 1."""
    return elem if lanes == 1 else f"<{lanes} x {elem}>"


def elem_type(type_: str) -> str:
    """The element type of a vector type, or the type itself."""
    return type_[1:-1].split(" x ")[1] if type_.startswith("<") else type_


def lanes_of(type_: str) -> int:
    """The number of lanes of a vector type; 1 for a scalar."""
    return int(type_[1:-1].split(" x ")[0]) if type_.startswith("<") else 1


def float_const(value: float, elem: str) -> str:
    """The exact spelling of a floating-point constant in LLVM IR (hexadecimal form).

    ``float`` constants are spelled as the double of the same value, as LLVM requires; ``half`` and
    ``bfloat`` use their own prefixed forms.
    """
    if elem == "double":
        return "0x" + struct.pack(">d", value).hex().upper()
    try:
        struct.pack(">e" if elem == "half" else ">f", value)
    except OverflowError:  # beyond the type's range: what rounding to it gives
        value = math.copysign(math.inf, value)
    if elem == "float":
        as_float = struct.unpack(">f", struct.pack(">f", value))[0]
        return "0x" + struct.pack(">d", as_float).hex().upper()
    if elem == "half":
        return "0xH" + struct.pack(">e", value).hex().upper()
    if elem == "bfloat":
        bits = struct.unpack(">I", struct.pack(">f", value))[0]
        if bits & 0x7FFFFFFF <= 0x7F800000:
            bits += 0x7FFF + ((bits >> 16) & 1)
        else:
            bits |= 0x400000
        return f"0xR{(bits >> 16) & 0xFFFF:04X}"
    raise ValueError(f"float_const: {elem!r} is not a floating-point type")


class Module:
    """A module under construction: function definitions by name, declarations, globals.

    ``require(name, make)`` defines a helper function once, however many users it has; ``make`` returns
    the text of its definition and may itself require others.
    """

    fma: bool = True
    """Whether a fused multiply-add is an instruction (otherwise a slow call into a C library)."""
    round_instructions: bool = True
    """Whether floor, ceil, trunc and rint are instructions (otherwise calls into a C library)."""
    half_instructions: bool = True
    """Whether conversions between half and float are instructions (otherwise calls into a C library)."""
    avx512: bool = False
    """Whether the intrinsics of x86's AVX-512 F, DQ and VL may be used."""
    attributes: str = ""
    """The attributes for every function definition, as LLVM text."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}

    def require(self, name: str, make: Callable[[], str]) -> str:
        """Adds the definition called ``name`` unless it is there; returns ``@name``."""
        if name not in self._parts:
            self._parts[name] = ""  # reserves the name, so that a definition may refer to itself
            self._parts[name] = make()
        return "@" + name

    def declare(self, name: str, result: str, args: Iterable[str]) -> str:
        """Adds a declaration (of an intrinsic, usually); returns ``@name``."""
        return self.require(name, lambda: f"declare {result} @{name}({', '.join(args)})")

    def add(self, name: str, text: str) -> None:
        """Adds a definition that nobody else may have added."""
        if name in self._parts:
            raise ValueError(f"module already defines {name!r}")
        self._parts[name] = text

    def text(self) -> str:
        """The whole module."""
        return "\n\n".join(self._parts.values()) + "\n"


class Builder:
    """Writes the body of one function.

    ``lanes`` arguments of constants follow the type given, so ``const("<8 x i32>", 3)`` is a splat.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.lines: list[str] = []
        self.current = "entry"
        self._count = 0
        self._label_count = 0

    # -- text ------------------------------------------------------------------------------------
    def emit(self, line: str) -> None:
        """Appends one instruction without a result."""
        self.lines.append("  " + line)

    def new(self, type_: str, expression: str) -> Val:
        """Appends ``%t = expression`` and returns the result, of type ``type_``."""
        self._count += 1
        name = f"%t{self._count}"
        self.lines.append(f"  {name} = {expression}")
        return Val(name, type_)

    def label(self, hint: str = "b") -> str:
        """A fresh label name, not yet placed."""
        self._label_count += 1
        return f"{hint}{self._label_count}"

    def place(self, label: str) -> None:
        """Starts the basic block ``label``; the block before it must have been ended."""
        self.lines.append(f"{label}:")
        self.current = label

    def br(self, label: str) -> None:
        """Jumps to a label."""
        self.emit(f"br label %{label}")

    def cond_br(self, cond: Val, yes: str, no: str) -> None:
        """Jumps to one of two labels."""
        self.emit(f"br i1 {cond.name}, label %{yes}, label %{no}")

    def ret(self, value: Val | None = None) -> None:
        """Returns, with a value or none."""
        self.emit("ret void" if value is None else f"ret {value}")

    def body(self) -> str:
        """The instructions written so far, to be put between the braces of a definition."""
        return "\n".join(self.lines)

    # -- constants -------------------------------------------------------------------------------
    def const(self, type_: str, value: float | int | bool) -> Val:
        """A constant of scalar or vector type (a splat)."""
        elem, lanes = elem_type(type_), lanes_of(type_)
        if elem in ("float", "double", "half", "bfloat"):
            text = float_const(float(value), elem)
        elif elem == "i1":
            text = "true" if value else "false"
        elif elem == "ptr":
            text = "null" if value == 0 else f"inttoptr (i64 {int(value)} to ptr)"
        else:
            text = str(int(value))
        if lanes == 1:
            return Val(text, type_)
        return Val("<" + ", ".join([f"{elem} {text}"] * lanes) + ">", type_)

    def iota(self, type_: str) -> Val:
        """The integer vector <0, 1, 2, ...> of ``type_`` (0 for a scalar)."""
        elem, lanes = elem_type(type_), lanes_of(type_)
        if lanes == 1:
            return Val("0", type_)
        return Val("<" + ", ".join(f"{elem} {i}" for i in range(lanes)) + ">", type_)

    # -- arithmetic ------------------------------------------------------------------------------
    def op(self, name: str, a: Val, b: Val) -> Val:
        """A binary instruction such as ``add``, ``fmul`` or ``shl nuw``."""
        if a.type != b.type:
            raise TypeError(f"{name}: operand types differ: {a.type} and {b.type}")
        return self.new(a.type, f"{name} {a.type} {a.name}, {b.name}")

    def fadd(self, a: Val, b: Val) -> Val:
        """a + b of floats."""
        return self.op("fadd", a, b)

    def fsub(self, a: Val, b: Val) -> Val:
        """a - b of floats."""
        return self.op("fsub", a, b)

    def fmul(self, a: Val, b: Val) -> Val:
        """a * b of floats."""
        return self.op("fmul", a, b)

    def fdiv(self, a: Val, b: Val) -> Val:
        """a / b of floats."""
        return self.op("fdiv", a, b)

    def fneg(self, a: Val) -> Val:
        """-a of floats, the sign of zero and NaN included."""
        return self.new(a.type, f"fneg {a.type} {a.name}")

    def add(self, a: Val, b: Val) -> Val:
        """a + b of integers, which wraps."""
        return self.op("add", a, b)

    def sub(self, a: Val, b: Val) -> Val:
        """a - b of integers, which wraps."""
        return self.op("sub", a, b)

    def mul(self, a: Val, b: Val) -> Val:
        """a * b of integers, which wraps."""
        return self.op("mul", a, b)

    def fma(self, a: Val, b: Val, c: Val) -> Val:
        """``a * b + c`` rounded once (``llvm.fma``)."""
        return self.intrinsic("llvm.fma", a.type, a, b, c)

    def intrinsic(self, name: str, result: str, *args: Val, overload: str | None = None) -> Val:
        """Calls an LLVM intrinsic overloaded on ``overload`` (default: the result type)."""
        symbol = f"{name}.{mangle(overload or result)}"
        self.module.declare(symbol, result, [a.type for a in args])
        return self.new(result, f"call {result} @{symbol}({', '.join(map(str, args))})")

    def call(self, result: str, symbol: str, *args: Val) -> Val:
        """Calls ``symbol`` (with its ``@``)."""
        return self.new(result, f"call {result} {symbol}({', '.join(map(str, args))})")

    def cmp(self, predicate: str, a: Val, b: Val) -> Val:
        """``fcmp`` for floating-point operands, ``icmp`` for others; the result is i1 or a vector of it."""
        if a.type != b.type:
            raise TypeError(f"cmp {predicate}: operand types differ: {a.type} and {b.type}")
        word = "fcmp" if elem_type(a.type) in ("float", "double", "half", "bfloat") else "icmp"
        return self.new(vec_type("i1", lanes_of(a.type)), f"{word} {predicate} {a.type} {a.name}, {b.name}")

    def select(self, cond: Val, yes: Val, no: Val) -> Val:
        """``yes`` where ``cond`` is 1, otherwise ``no``; raises TypeError for operands of two types."""
        if yes.type != no.type:
            raise TypeError(f"select: operand types differ: {yes.type} and {no.type}")
        return self.new(yes.type, f"select {cond}, {yes}, {no}")

    def cast(self, how: str, value: Val, type_: str) -> Val:
        """``zext``, ``sext``, ``trunc``, ``fpext``, ``fptrunc``, ``sitofp``, ``fptosi``, ``bitcast`` ..."""
        if value.type == type_:
            return value
        return self.new(type_, f"{how} {value} to {type_}")

    def splat(self, value: Val, lanes: int) -> Val:
        """Repeats a scalar over ``lanes`` lanes."""
        if lanes == 1:
            return value
        type_ = vec_type(value.type, lanes)
        first = self.new(type_, f"insertelement {type_} poison, {value}, i64 0")
        return self.new(type_, f"shufflevector {first}, {type_} poison, <{lanes} x i32> zeroinitializer")

    def extract(self, value: Val, lane: int) -> Val:
        """One lane of a vector; a scalar is its own only lane."""
        if lanes_of(value.type) == 1:
            return value
        return self.new(elem_type(value.type), f"extractelement {value}, i64 {lane}")

    def shuffle(self, a: Val, b: Val, order: Sequence[int]) -> Val:
        """Lanes of ``a`` followed by those of ``b``, in the given order."""
        type_ = vec_type(elem_type(a.type), len(order))
        picks = ", ".join(f"i32 {i}" for i in order)
        return self.new(type_, f"shufflevector {a}, {b}, <{len(order)} x i32> <{picks}>")

    def insert(self, vector: Val, value: Val, lane: int) -> Val:
        """The vector with one lane replaced."""
        return self.new(vector.type, f"insertelement {vector}, {value}, i64 {lane}")

    # -- memory ----------------------------------------------------------------------------------
    def gep(self, elem: str, pointer: Val, index: Val) -> Val:
        """The address of element ``index`` (i64) of an array of ``elem`` at ``pointer``."""
        return self.new("ptr", f"getelementptr {elem}, {pointer}, {index}")

    def load(self, type_: str, pointer: Val, align: int = 1) -> Val:
        """The value at an address that is a multiple of ``align`` bytes."""
        return self.new(type_, f"load {type_}, {pointer}, align {align}")

    def store(self, value: Val, pointer: Val, align: int = 1) -> None:
        """Writes a value to an address that is a multiple of ``align`` bytes."""
        self.emit(f"store {value}, {pointer}, align {align}")

    def alloca(self, type_: str, align: int = 64) -> Val:
        """The address of memory on the stack, until the function returns."""
        return self.new("ptr", f"alloca {type_}, align {align}")

    def phi(self, type_: str, *incoming: tuple[Val, str]) -> Val:
        """``incoming``: (value, label of the block it comes from)."""
        return self.new(type_, f"phi {type_} " + ", ".join(f"[ {v.name}, %{b} ]" for v, b in incoming))


def mangle(type_: str) -> str:
    """The suffix that LLVM gives an intrinsic overloaded on ``type_``."""
    names = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}
    elem, lanes = elem_type(type_), lanes_of(type_)
    base = names.get(elem, elem)
    return base if lanes == 1 else f"v{lanes}{base}"
