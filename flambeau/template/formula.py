"""An epilogue made of a graph's elementwise values: activation, residual, scale and shift, an activation's derivative.

A formula is a sequence of instructions on numbered values: value 0 is the accumulator, values 1 to k are elements of
the k operands at the place that is being stored, and each instruction makes the next value::

    (op, type, operand type, values, attribute)     an elementwise operation; ("const", type, "", (), number)

The last value is stored.  ``kept`` names another one that is stored as well, in a buffer of its own: a value before
its activation, say, which the derivative needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..target import vecmath
from ..target.builder import Val, lanes_of, vec_type
from ..target.scalar import LLVM_TYPE, cast, elementwise
from .epilogue import known_step, strided_load
from .flow import Flow
from .micro import SIZE

__all__ = ["Formula", "Instruction", "steps_of"]

Instruction = tuple[str, str, str, tuple[int, ...], float | int | bool]


@dataclass(frozen=True)
class Formula:
    """The epilogue with these instructions on operands of these types; see ``epilogue.Epilogue``.

    Of every operand, and of the buffer for the kept value, three words give the strides (batch, row, column) in
    elements, 0 where it is broadcast.  ``known`` has a pair for each, its strides along rows and columns where these
    are 0 or 1 (None: any), if the code is for such words only.
    """

    acc: str
    operands: tuple[str, ...]
    code: tuple[Instruction, ...]
    kept: int | None = None
    known: tuple[tuple[int | None, int | None], ...] = ()

    @property
    def buffers(self) -> int:
        """The operands' and that of the kept product, if it is stored too."""
        return len(self.operands) + (self.kept is not None)

    @property
    def words(self) -> int:
        """Three strides for each buffer."""
        return 3 * self.buffers

    @property
    def key(self) -> str:
        """See ``Epilogue``."""
        return f"formula.{','.join(self.operands)}.{self.code!r}.{self.kept}.{self.known}"

    @property
    def straight(self) -> bool:
        """See ``Epilogue``."""
        certain = all(by_column is not None for _, by_column in self.known) and len(self.known) == len(self.operands)
        return certain and self.kept is None and not any(op in vecmath.NAMES for op, *_ in self.code)

    @property
    def out(self) -> str:
        """The type of the result."""
        return self.code[-1][1]

    def emit(
        self, b: Flow, acc: Val, row: Val, col: Val, batch: Val, mask: Val | None, slots: Callable[[int], Val]
    ) -> Val:
        """See ``epilogue.Epilogue``."""
        lanes = lanes_of(acc.type)
        values = [acc]

        def place(k: int, elem: str) -> tuple[Val, Val]:
            per_batch, per_row, per_col = (slots(self.buffers + 3 * k + i) for i in range(3))
            known = self.known[k] if self.known else (None, None)
            steps = [
                step if found is None else b.i64(found) for step, found in zip((per_row, per_col), known, strict=True)
            ]
            offset = b.imul(batch, per_batch)
            for at, step in zip((row, col), steps, strict=True):
                offset = offset if step.name == "0" else b.iadd(offset, b.imul(at, step))
            return b.at(elem, slots(k), offset), per_col

        for k, type_ in enumerate(self.operands):
            pointer, step = place(k, LLVM_TYPE[type_])
            known = self.known[k][1] if self.known else None
            values.append(strided_load(b, LLVM_TYPE[type_], pointer, step, lanes, mask, known))
        for op, type_, source, args, attr in self.code:
            if op == "const":
                values.append(b.const(vec_type(LLVM_TYPE[type_], lanes), attr))
            elif op == "cast":
                values.append(cast(b, values[args[0]], source, type_))
            else:
                values.append(elementwise(b, op, source, type_, [values[k] for k in args]))
        if self.kept is not None:
            self._keep(b, values[self.kept], place(self.buffers - 1, LLVM_TYPE[self.acc]), mask, lanes)
        return values[-1]

    def _keep(self, b: Flow, value: Val, place: tuple[Val, Val], mask: Val | None, lanes: int) -> None:
        """Stores the value that is kept."""
        pointer, step = place
        elem, size = LLVM_TYPE[self.acc], SIZE[self.acc]

        def straight() -> None:
            if mask is None:
                b.store(value, pointer, size)
            else:
                b.masked_store(value, pointer, mask, size)

        def apart() -> None:
            for lane in range(lanes):
                one = b.new(elem, f"extractelement {value}, i64 {lane}")
                to = b.at(elem, pointer, b.imul(b.i64(lane), step))
                if mask is None:
                    b.store(one, to, size)
                else:
                    with b.when(b.new("i1", f"extractelement {mask}, i64 {lane}")):
                        b.store(one, to, size)

        b.either(b.icmp("eq", step, 1), straight, apart)

    def bound(self, words: Sequence[int], swap: bool) -> Formula:
        """The formula for these words, and with ``swap`` for them as `transposed` gives them."""
        pairs = [(known_step(words[k + 1]), known_step(words[k + 2])) for k in range(0, len(words), 3)]
        known = tuple((second, first) if swap else (first, second) for first, second in pairs)
        return replace(self, known=known)

    def exchanged(self, slots: Callable[[int], Val]) -> tuple[Formula, Callable[[int], Val]]:
        """See ``epilogue.Epilogue``."""
        first = self.buffers
        turned = replace(self, known=tuple((second, first) for first, second in self.known))
        return turned, lambda i: slots(i if i < first else i + (0, 1, -1)[(i - first) % 3])

    def transposed(self, words: tuple[int, ...]) -> tuple[int, ...]:
        """The bound words for the product of the transposed operands in exchanged order."""
        return tuple(w for k in range(0, len(words), 3) for w in (words[k], words[k + 2], words[k + 1]))


def steps_of(
    shape: Sequence[int], strides: Sequence[int], whole: Sequence[int], groups: Sequence[Sequence[int]]
) -> tuple[int, ...] | None:
    """The strides of an operand over groups of the dimensions of the ``whole`` to which it broadcasts, each group
    stepped through as one; None if the operand does not step evenly through one of them."""
    lead = len(whole) - len(shape)
    full = [0 if d < lead or shape[d - lead] == 1 else strides[d - lead] for d in range(len(whole))]
    found = []
    for group in groups:
        step, size = 0, 1
        for d in reversed(group):
            if whole[d] == 1:
                continue
            if size == 1:
                step = full[d]
            elif full[d] != step * size:
                return None
            size *= whole[d]
        found.append(step)
    return tuple(found)
