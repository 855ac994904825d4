"""What happens to the accumulators of a product before they are stored.

An epilogue is any object with the attributes of `Epilogue`.  The kernel calls ``emit`` while it writes code,
once for whole vectors and once for masked tails.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..target.builder import Val, lanes_of, vec_type
from ..target.scalar import LLVM_TYPE, cast
from .flow import Flow
from .micro import SIZE

__all__ = ["EXTRAS", "AddIn", "Epilogue", "Plain", "known_step", "near_words", "number_word"]

EXTRAS = 4
"""The slot of the first of an epilogue's buffers among the arguments of a launch."""


class Epilogue(Protocol):
    """A fused tail of a product.

    ``key`` determines the code.  ``buffers`` data pointers are passed at every launch; ``words`` i64 values are bound
    with the sizes.  ``slots(i)`` gives them in this order: pointers, words.  A method ``transposed(words)``, if there
    is one, returns the words for the product of the transposed operands in exchanged order, where rows are columns; the
    kernel may then be launched that way.  With it goes ``exchanged(slots)``: the epilogue and the slots that take rows
    for columns.
    """

    @property
    def key(self) -> str:
        """What determines the code."""
        ...

    @property
    def buffers(self) -> int:
        """How many data pointers a launch passes."""
        ...

    @property
    def words(self) -> int:
        """How many words are bound with the sizes."""
        ...

    @property
    def straight(self) -> bool:
        """Whether `emit` writes no branches and needs few registers, so that accumulators are finished in theirs."""
        ...

    def emit(
        self, b: Flow, acc: Val, row: Val, col: Val, batch: Val, mask: Val | None, slots: Callable[[int], Val]
    ) -> Val:
        """The values to store for ``acc`` (accumulators of consecutive columns from ``col`` on in ``row`` of
        matrix ``batch``; all i64); ``mask`` marks the valid lanes, ``None`` all.  The result is a vector of the
        output's type as registers hold it (bfloat16 as i16, see ``target.scalar``)."""
        ...


@dataclass(frozen=True)
class Plain:
    """Stores the accumulators, converted."""

    acc: str
    out: str
    buffers: int = 0
    words: int = 0
    straight: bool = True

    @property
    def key(self) -> str:
        """See ``Epilogue``."""
        return "plain"

    def emit(
        self, b: Flow, acc: Val, row: Val, col: Val, batch: Val, mask: Val | None, slots: Callable[[int], Val]
    ) -> Val:
        """See ``Epilogue``."""
        return convert(b, acc, self.acc, self.out)

    def exchanged(self, slots: Callable[[int], Val]) -> tuple[Plain, Callable[[int], Val]]:
        """The epilogue and the slots that take rows for columns."""
        return self, slots

    def transposed(self, words: tuple[int, ...]) -> tuple[int, ...]:
        """The bound words for the product of the transposed operands in exchanged order."""
        return words


@dataclass(frozen=True)
class AddIn:
    """``alpha * acc + beta * addend``: addmm, a bias (strides 0 in rows), accumulation into the output.

    The addend is a buffer of type ``addend`` with bound strides (batch, row, column) in elements, 0 where it is
    broadcast.  ``scaled`` adds alpha and beta, words made by `number_word`; otherwise both are 1.  ``known`` is the
    stride along columns, 0 or 1, if the code is for that only.
    """

    acc: str
    out: str
    addend: str
    scaled: bool = False
    buffers: int = 1
    known: int | None = None

    @property
    def operands(self) -> tuple[str, ...]:
        """The type of the addend."""
        return (self.addend,)

    @property
    def words(self) -> int:
        """The addend's strides and, if scaled, alpha and beta."""
        return 5 if self.scaled else 3

    @property
    def key(self) -> str:
        """See ``Epilogue``."""
        return f"addin.{self.addend}.{'scaled' if self.scaled else 'unit'}.{self.known}"

    @property
    def straight(self) -> bool:
        """See ``Epilogue``."""
        return self.known is not None

    def bound(self, words: Sequence[int], swap: bool) -> AddIn:
        """The epilogue for these words, and with ``swap`` for them as `transposed` gives them."""
        return replace(self, known=known_step(words[1 if swap else 2]))

    def emit(
        self, b: Flow, acc: Val, row: Val, col: Val, batch: Val, mask: Val | None, slots: Callable[[int], Val]
    ) -> Val:
        """See ``Epilogue``."""
        lanes = lanes_of(acc.type)
        elem = LLVM_TYPE[self.addend]
        per_batch, per_row, per_col = (slots(1 + i) for i in range(3))
        offset = b.iadd(b.imul(batch, per_batch), b.iadd(b.imul(row, per_row), b.imul(col, per_col)))
        pointer = b.at(elem, slots(0), offset)
        value = cast(b, strided_load(b, elem, pointer, per_col, lanes, mask, self.known), self.addend, self.acc)
        if self.scaled:
            alpha, beta = (b.splat(self._scalar(b, slots(i)), lanes) for i in (4, 5))
            times, plus = ("fmul", "fadd") if self.acc[0] == "f" else ("mul", "add")
            return convert(b, b.op(plus, b.op(times, alpha, acc), b.op(times, beta, value)), self.acc, self.out)
        return convert(b, b.op("fadd" if self.acc[0] == "f" else "add", acc, value), self.acc, self.out)

    def _scalar(self, b: Flow, value: Val) -> Val:
        if self.acc[0] == "f":
            return cast(b, b.cast("bitcast", value, "double"), "f64", self.acc)
        return cast(b, value, "i64", self.acc)

    def exchanged(self, slots: Callable[[int], Val]) -> tuple[AddIn, Callable[[int], Val]]:
        """The epilogue and the slots that take rows for columns."""
        return replace(self, known=None), lambda i: slots({2: 3, 3: 2}.get(i, i))

    def transposed(self, words: tuple[int, ...]) -> tuple[int, ...]:
        """The bound words for the product of the transposed operands in exchanged order."""
        return (words[0], words[2], words[1], *words[3:])


def near_words(tail: Epilogue, words: Sequence[int]) -> dict[str, int]:
    """The words that say which operand of an epilogue is fetched while the accumulators are computed: its slot among a
    launch's arguments (0: none), and bytes between its matrices, rows and columns.  It is the first one that is
    contiguous along columns and has something else in every row, as a residual has; ``words`` are the bound ones."""
    for k, type_ in enumerate(getattr(tail, "operands", ())):
        batch, row, col = words[3 * k : 3 * k + 3]
        if col == 1 and row > 1:
            size = SIZE.get(type_, 1)
            return {"near": EXTRAS + k, "near_batch": batch * size, "near_row": row * size, "near_step": size}
    return {}


def known_step(word: int) -> int | None:
    """A stride that code may be made for."""
    return word if word in (0, 1) else None


def number_word(value: float, acc: str) -> int:
    """A number as a bound word: the bits of a double, or an integer for integer accumulators."""
    return int(struct.unpack("q", struct.pack("d", value))[0]) if acc[0] == "f" else int(value)


def convert(b: Flow, value: Val, source: str, target: str) -> Val:
    """A result in the output's type.  To bfloat16 by the processor's instruction where there is one, which takes
    denormal numbers for zero, as its products of bfloat16 do."""
    lanes = lanes_of(value.type)
    if source == "f32" and target == "bf16" and lanes == 16 and b.isa.has("avx512bf16"):
        name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
        b.module.declare(name, "<16 x bfloat>", [value.type])
        return b.cast("bitcast", b.call("<16 x bfloat>", "@" + name, value), "<16 x i16>")
    return cast(b, value, source, target)


def strided_load(
    b: Flow, elem: str, pointer: Val, stride: Val, lanes: int, mask: Val | None, known: int | None = None
) -> Val:
    """A vector of elements ``stride`` (a run-time i64; 0 and 1 are fast) apart; lanes off the mask are not read.
    ``known`` is the stride where it is certain to be 0 or 1."""
    if lanes == 1:
        return b.load(elem, pointer)
    type_ = vec_type(elem, lanes)
    size = {"i8": 1, "i16": 2, "half": 2, "i32": 4, "float": 4, "i64": 8, "double": 8}[elem]

    def unit() -> list[Val]:
        return [b.load(type_, pointer, size) if mask is None else b.masked_load(type_, pointer, mask, size)]

    def other() -> list[Val]:
        return b.choose(b.icmp("eq", stride, 0), lambda: [b.splat(b.load(elem, pointer, size), lanes)], spread)

    def spread() -> list[Val]:
        zero = b.const(vec_type(elem, lanes), 0)
        if mask is None:
            count: Val = b.i64(lanes)
        else:
            bits = b.cast("zext", b.cast("bitcast", mask, f"i{lanes}"), "i64")
            count = b.new("i64", f"call i64 @llvm.ctpop.i64({bits})")
            b.module.declare("llvm.ctpop.i64", "i64", ["i64"])
        with b.loop(0, count, carry=[zero]) as i:
            value = b.load(elem, b.at(elem, pointer, b.imul(i.index, stride)), size)
            i.next = [b.new(type_, f"insertelement {i.values[0]}, {value}, {i.index}")]
        return [i.values[0]]

    if known is not None:
        return unit()[0] if known else b.splat(b.load(elem, pointer, size), lanes)
    return b.choose(b.icmp("eq", stride, 1), unit, other)[0]
