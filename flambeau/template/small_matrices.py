"""Factorizations and systems of batches of small matrices, as nodes of a graph: `lanes` computes as many at once as a
vector has lanes.

A chunk is one such group, whose cells lie in the scratch memory of the worker that computes it.  Lanes of the last
group that no matrix is left for repeat its last matrix, and write the same numbers to the same place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..dtype import coded
from ..graph.batch import spread
from ..graph.node import Graph, Node
from ..graph.program import Launch
from ..layout import row_major
from ..runtime import engine, pool
from ..target.builder import Val
from ..target.emit import new_module
from ..target.isa import ISA
from ..target.scalar import LLVM_TYPE
from .flow import Flow, phased_entry
from .lanes import Lanes, Matrix

__all__ = ["Cholesky", "CholeskySolve", "Lu", "LuSolve", "Order", "Pivots", "Solve", "Triangular"]

_SIDE = ("lines", "length", "pitch", "batch", "along", "across")
"""Words that say how cells and matrices in memory correspond."""
_WORDS = (
    "chunks", "pool", "matrices", "space", "rows", "n", "columns", "x_at", "i_at", "a_row", "a_column", "x_row",
    "x_column", *(f"{side}_{word}" for side in "axof" for word in _SIDE),
)  # fmt: skip
_BUSY = 40_000
"""Multiply-adds of all matrices from which on threads share them."""


def _side(shape: Sequence[int], strides: Sequence[int], row: int, column: int, parts: int) -> list[int]:
    """The words for matrices (count, rows, columns) whose cells step by ``row`` and ``column``."""
    (_, m, n), (far, down, right) = shape, strides
    if right == 1 or n == 1:
        lines, length, pitch, along, across = m, n, down, column, row
    else:
        lines, length, pitch, along, across = n, m, right, row, column
    if lines == 1 or (pitch == length and across == length * along):
        lines, length, pitch, across = 1, lines * length, 0, 0
    return [lines, length, pitch, far * parts, along, across]


def _in_lines(strides: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether rows or columns are contiguous."""
    return strides[-1] == 1 or strides[-2] == 1 or shape[-1] == 1 or shape[-2] == 1


class _Kernel:
    """Writes the kernel of a task."""

    def __init__(self, task: _Task, isa: ISA, type_: str, results: int, inputs: int) -> None:
        self.task, self.isa = task, isa
        kind = coded(type_)
        self.elem = LLVM_TYPE[kind.to_real().code]
        self.module = new_module(isa)
        self.lanes = Lanes(self.module, isa, task.computed_in(type_), 2 if kind.is_complex else 1)
        self.results = [f"r{k}" for k in range(results)]
        self.inputs = [f"x{k}" for k in range(inputs)]

    def text(self, name: str) -> str:
        """The module."""
        arguments = ("params", *self.results, *self.inputs, "scratch")
        phased_entry(self.module, self.isa, name, arguments, _WORDS, [("group", self._write, "chunks")])
        return self.module.text()

    def _write(self, b: Flow, block: Val, chunk: Val, worker: Val) -> None:
        count = 2 + len(self.results) + len(self.inputs)
        params, *operands, scratch = (b.load("ptr", b.at("i64", block, k), 8) for k in range(count))
        self.words = {name: b.word(params, k) for k, name in enumerate(_WORDS)}
        w, lanes = self.words, self.lanes
        self.first = b.imul(chunk, lanes.lanes)
        self.last = b.imin(b.isub(b.isub(w["matrices"], self.first), 1), lanes.lanes - 1)
        room = b.bytes_at(scratch, b.imul(worker, w["space"]))
        self.a = Matrix(room, w["a_row"], w["a_column"])
        self.x = Matrix(b.bytes_at(room, w["x_at"]), w["x_row"], w["x_column"])
        self.info = b.bytes_at(room, w["i_at"])
        self.pivots = b.at(lanes.ints, self.info, 1)
        b.store(b.const(lanes.ints, 0), self.info, 4)
        self.task.write(self, b, operands)
        b.ret()

    def _there(self, b: Flow, side: str, operand: Val) -> tuple[dict[str, Val], Val]:
        """The words of a side, and where its first matrix of this group begins."""
        w = {word: self.words[f"{side}_{word}"] for word in _SIDE}
        return w, b.at(self.elem, operand, b.imul(self.first, w["batch"]))

    def read(self, b: Flow, side: str, operand: Val, to: Matrix) -> None:
        """Copies this group's matrices into cells."""
        w, source = self._there(b, side, operand)
        self.lanes.read(b, w, to.base, source, self.last, self.elem)

    def write(self, b: Flow, side: str, source: Matrix, operand: Val) -> None:
        """Copies cells into this group's matrices."""
        w, target = self._there(b, side, operand)
        self.lanes.write(b, w, source.base, target, self.last, self.elem)

    def read_ints(self, b: Flow, operand: Val, to: Val, count: Val) -> None:
        """Copies this group's rows of ``count`` integers into vectors."""
        self.lanes.read_ints(b, b.at("i32", operand, b.imul(self.first, count)), to, count, self.last)

    def write_ints(self, b: Flow, operand: Val, source: Val, count: Val | int) -> None:
        """Copies vectors of integers into this group's rows of ``count``."""
        count = b.i64(count) if isinstance(count, int) else count
        self.lanes.write_ints(b, source, b.at("i32", operand, b.imul(self.first, count)), count, self.last)

    def check_exchanges(self, b: Flow, count: Val, rows: Val) -> None:
        """Notes the first of ``count`` pivots that is none of the rows, which are counted from 1."""
        lanes = self.lanes
        with b.loop(0, count) as p:
            other = b.load(lanes.ints, b.at(lanes.ints, self.pivots, p.index), 4)
            beyond = b.cmp("uge", b.sub(other, b.const(lanes.ints, 1)), lanes.splat(b, rows))
            lanes.note(b, self.info, beyond, p.index)


@dataclass(frozen=True)
class _Task:
    """What is common to the tasks: all operands are (count, rows, columns) or, integers, (count, k).

    ``wide``: single precision is computed in double; ``integers``: which of the operands are no matrices.
    """

    wide = False
    integers: ClassVar[frozenset[int]] = frozenset()

    @property
    def label(self) -> str:
        """What tells tasks apart."""
        return "_".join([type(self).__name__, *map(str, self.__dict__.values())]).lower()

    def computed_in(self, type_: str) -> str:
        """The type of real numbers that is computed in."""
        return "f64" if self.wide else coded(type_).to_real().code

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """What is done to a group."""
        raise NotImplementedError

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        """(the sides by letter, the seven words "rows", "n", "columns" and the steps of A and X)."""
        raise NotImplementedError

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions."""
        return math.prod(inputs[0].shape) * inputs[0].shape[-1]

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """Whether an operand is read as it lies: matrices by rows or by columns, integers without gaps."""
        return row_major(shape, strides) if k in self.integers else _in_lines(strides, shape)

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Sequence[Any], size: int
    ) -> list[Node]:
        """See ``graph.batch``: more matrices."""
        whole = [spread(g, (n, f), size) for n, f in zip(operands, flags)]
        many = [g.in_memory(g.reshape(n, (size * n.shape[1], *n.shape[2:]))) for n in whole]
        found = g.extern(self, many, [((size * shape[0], *shape[1:]), type_) for shape, type_ in results])
        return [g.reshape(f, (size, *shape)) for f, (shape, _) in zip(found, results)]

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        type_, count = inputs[0].type, inputs[0].shape[0]
        if not all(_in_lines(x.strides, x.shape) for x in (*inputs, *outputs) if len(x.shape) == 3):
            raise AssertionError(f"{self.label}: neither rows nor columns of an operand are contiguous")
        isa = ISA.host()
        parts = 2 if coded(type_).is_complex else 1
        real = coded(self.computed_in(type_))
        lanes = isa.lanes(LLVM_TYPE[real.code])
        cell = parts * lanes * real.itemsize
        sides, (rows, n, columns, *steps) = self.bound(inputs, outputs, parts)
        x_at = rows * n * cell
        i_at = x_at + n * columns * cell
        space = -(-(i_at + 4 * lanes * (1 + max(rows, n))) // 64) * 64
        chunks = -(-count // lanes)
        busy = self.operations(inputs, outputs)
        shared = chunks > 1 and busy > _BUSY
        words = [chunks, pool.address() if shared else 0, count, space, rows, n, columns, x_at, i_at, *steps]
        for side in "axof":
            words += sides.get(side, [0] * len(_SIDE))
        name = f"{self.label}_{len(inputs)}_{type_}"
        address = engine.load(
            name, f"{name}|{isa.key}", lambda: _Kernel(self, isa, type_, len(outputs), len(inputs)).text(name), isa
        ).address(name)
        places = [(~k, 0) for k in range(len(outputs))] + [(k, 0) for k in range(len(inputs))]
        return [Launch(address, tuple(words), tuple(places), space * (workers if shared else 1), (), busy > _BUSY)]


def _layout(x: Any) -> tuple[int, int]:
    """The steps of cells that lie as a matrix does in memory."""
    _, m, n = x.shape
    return (n, 1) if x.strides[-1] == 1 else (1, m)


@dataclass(frozen=True)
class Cholesky(_Task):
    """(L, info) with ``A = L L^H`` (``upper``: U with ``A = U^H U``) of Hermitian matrices, of which one triangle is
    read; info is the order of the first minor that is not positive, or 0."""

    upper: bool

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        a, out = inputs[0], outputs[0]
        n, (row, column) = a.shape[-1], _layout(a)
        sides = {
            "a": _side(a.shape, a.strides, row, column, parts),
            "o": _side(out.shape, out.strides, row, column, parts),
        }
        # the transpose of U^H U is L L^H of the conjugate
        return sides, [n, n, 0, *((column, row) if self.upper else (row, column)), 0, 0]

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        factor, info, a = operands
        n = k.words["n"]
        k.read(b, "a", a, k.a)
        k.lanes.cholesky(b, k.a, n, k.info)
        k.lanes.clear_above(b, k.a, n)
        k.write(b, "o", k.a, factor)
        k.write_ints(b, info, k.info, 1)


@dataclass(frozen=True)
class _Factored(_Task):
    """Elimination of A, and of what else."""

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        a, out = inputs[0], outputs[0]
        steps = _layout(a)
        sides = {"a": _side(a.shape, a.strides, *steps, parts), "o": _side(out.shape, out.strides, *steps, parts)}
        return sides, [a.shape[1], a.shape[2], 0, *steps, 0, 0]

    def _factors(self, k: _Kernel, b: Flow, a: Val) -> None:
        w = k.words
        k.read(b, "a", a, k.a)
        k.lanes.eliminate(b, k.a, k.x, w["rows"], w["n"], w["columns"], k.pivots, k.info)


@dataclass(frozen=True)
class Lu(_Factored):
    """(L and U in one matrix, row exchanges from 1, info) of any matrices, by elimination with partial pivoting; info
    is the place of the first pivot that is 0, or 0."""

    wide: bool

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        factors, pivots, info, a = operands
        self._factors(k, b, a)
        k.write(b, "o", k.a, factors)
        k.write_ints(b, pivots, k.pivots, b.imin(k.words["rows"], k.words["n"]))
        k.write_ints(b, info, k.info, 1)


@dataclass(frozen=True)
class Pivots(_Factored):
    """The pivots of square matrices (count, 1, n), the last one with the sign of the exchanges: their product is the
    determinant."""

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        sides, words = super().bound(inputs, outputs, parts)
        n, out = words[1], outputs[0]
        return {**sides, "o": _side(out.shape, out.strides, 0, n + 1, parts)}, words

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        self._factors(k, b, operands[1])
        lanes, n = k.lanes, k.words["n"]
        with b.loop(0, n, carry=[b.const(lanes.ints, 0)]) as p:
            made = b.load(lanes.ints, b.at(lanes.ints, k.pivots, p.index), 4)
            moved = b.cmp("ne", made, lanes.splat(b, b.iadd(p.index, 1)))
            p.next = [b.op("xor", p.values[0], b.cast("zext", moved, lanes.ints))]
        odd = b.cmp("ne", p.values[0], b.const(lanes.ints, 0))
        place = lanes.at(b, k.a, b.isub(n, 1), b.isub(n, 1))
        lanes.put(b, tuple(b.select(odd, b.fneg(v), v) for v in lanes.get(b, place)), place)
        k.write(b, "o", k.a, operands[0])


@dataclass(frozen=True)
class _System(_Task):
    """Equations for X: the inputs are A, what else belongs to it, and the right sides unless they are the identity."""

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        a, x, out = inputs[0], inputs[-1] if self._sides(inputs) else outputs[0], outputs[0]
        steps, more = _layout(a), _layout(x)
        sides = {
            "a": _side(a.shape, a.strides, *steps, parts),
            "x": _side(x.shape, x.strides, *more, parts),
            "o": _side(out.shape, out.strides, *more, parts),
        }
        return sides, [a.shape[1], a.shape[2], x.shape[2], *steps, *more]

    def _sides(self, inputs: Sequence[Any]) -> bool:
        """Whether right sides are given."""
        return len(inputs) > 1

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions."""
        return math.prod(inputs[0].shape) * (inputs[0].shape[-1] + outputs[0].shape[-1])

    def _read(self, k: _Kernel, b: Flow, a: Val, sides: Sequence[Val]) -> None:
        k.read(b, "a", a, k.a)
        if sides:
            k.read(b, "x", sides[0], k.x)
        else:
            k.lanes.fill_identity(b, k.x, k.words["n"])


@dataclass(frozen=True)
class Solve(_System):
    """(X, info) with ``A X = B``, by elimination with partial pivoting; info is that of `Lu`."""

    wide: bool

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        x, info, a, *sides = operands
        self._read(k, b, a, sides)
        n, columns = k.words["n"], k.words["columns"]
        k.lanes.eliminate(b, k.a, k.x, n, n, columns, k.pivots, k.info)
        k.lanes.forward(b, k.a, k.x, n, columns, unit=True)
        k.lanes.backward(b, k.a, k.x, n, columns)
        k.write(b, "o", k.x, x)
        k.write_ints(b, info, k.info, 1)


@dataclass(frozen=True)
class Triangular(_System):
    """X with ``A X = B`` (not ``left``: ``X A = B``) for triangular A; a diagonal of ``unit`` ones is not read."""

    upper: bool
    left: bool
    unit: bool

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        sides, words = super().bound(inputs, outputs, parts)
        if self.left:
            return sides, words
        rows, n, _, row, column, x_row, x_column = words  # the transpose of X A = B
        return sides, [rows, n, outputs[0].shape[1], column, row, x_column, x_row]

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        x, a, *sides = operands
        self._read(k, b, a, sides)
        run = k.lanes.backward if self.upper == self.left else k.lanes.forward
        run(b, k.a, k.x, k.words["n"], k.words["columns"], self.unit)
        k.write(b, "o", k.x, x)


@dataclass(frozen=True)
class CholeskySolve(_System):
    """(X, info) with ``L L^H X = B`` for lower triangles L; info is the place of the first 0 on the diagonal, or 0."""

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        x, info, a, *sides = operands
        self._read(k, b, a, sides)
        n, columns, lanes = k.words["n"], k.words["columns"], k.lanes
        with b.loop(0, n) as p:
            lanes.note(b, k.info, lanes.is_zero(b, lanes.get(b, lanes.at(b, k.a, p.index, p.index))), p.index)
        lanes.forward(b, k.a, k.x, n, columns)
        lanes.backward(b, k.a.turned, k.x, n, columns, conj=True)
        k.write(b, "o", k.x, x)
        k.write_ints(b, info, k.info, 1)


@dataclass(frozen=True)
class LuSolve(_System):
    """(X, info) with ``A X = B``, or for ``A^H``, from A's factors and row exchanges by `Lu`; info is not 0 where an
    exchange is none of A's rows."""

    integers = frozenset({1})
    adjoint: bool

    def _sides(self, inputs: Sequence[Any]) -> bool:
        return len(inputs) > 2

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        x, info, a, pivots, *sides = operands
        self._read(k, b, a, sides)
        n, columns, lanes = k.words["n"], k.words["columns"], k.lanes
        k.read_ints(b, pivots, k.pivots, n)
        k.check_exchanges(b, n, n)
        if self.adjoint:
            lanes.forward(b, k.a.turned, k.x, n, columns, conj=True)
            lanes.backward(b, k.a.turned, k.x, n, columns, unit=True, conj=True)
            lanes.exchange(b, k.x, n, n, columns, k.pivots, back=True)
        else:
            lanes.exchange(b, k.x, n, n, columns, k.pivots)
            lanes.forward(b, k.a, k.x, n, columns, unit=True)
            lanes.backward(b, k.a, k.x, n, columns)
        k.write(b, "o", k.x, x)
        k.write_ints(b, info, k.info, 1)


@dataclass(frozen=True)
class Order(_Task):
    """(order, info): the row of A that is each row of L U, from the row exchanges (count, 1, k); info is not 0 where
    one is none of the ``rows``."""

    integers = frozenset({0})
    rows: int

    def computed_in(self, type_: str) -> str:
        """See ``_Task.computed_in``: numbers of rows are exact in single precision."""
        return "f32"

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Comparisons and selections."""
        return math.prod(inputs[0].shape) * self.rows

    def bound(
        self, inputs: Sequence[Any], outputs: Sequence[Any], parts: int
    ) -> tuple[dict[str, list[int]], list[int]]:
        return {}, [0, self.rows, 1, inputs[0].shape[-1], 0, 1, 1]

    def write(self, k: _Kernel, b: Flow, operands: Sequence[Val]) -> None:
        """See ``_Task.write``."""
        order, info, pivots = operands
        lanes, rows, count = k.lanes, k.words["n"], k.words["a_row"]
        k.read_ints(b, pivots, k.pivots, count)
        k.check_exchanges(b, count, rows)
        with b.loop(0, rows) as i:
            number = b.cast("sitofp", lanes.splat(b, i.index), lanes.vector)
            lanes.put(b, (number,), lanes.at(b, k.x, i.index, 0))
        lanes.exchange(b, k.x, count, rows, b.i64(1), k.pivots)
        with b.loop(0, rows) as i:
            found = b.cast("fptosi", lanes.get(b, lanes.at(b, k.x, i.index, 0))[0], lanes.ints)
            b.store(found, b.at(lanes.ints, k.pivots, i.index), 4)
        k.write_ints(b, order, k.pivots, rows)
        k.write_ints(b, info, k.info, 1)
