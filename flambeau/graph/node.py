"""Values and what they are computed from: the graph of primitives.

Grammar (shapes are concrete; "..." stands for nodes)::

    input(slot, strides)            an argument: the strided elements of a buffer
    scalar(slot)                    a number given at run time: f64, i64 or c128, shape ()
    const(value)                    shape ()
    size(n)                         a number that follows from shapes, i64, shape (): no part of the code
    iota(dim)                       the index along dim, i64
    undef                           elements nobody reads before they are written
    ELEMENTWISE(...)                operands of the result's shape
    cast, bitcast(x)                to the node's type
    complex(re, im), real(z), imag(z)
    move(x; map)                    x at an affine function of the index: map has, for each dimension of x,
                                    (offset, ((dim, coefficient), ...))
    reshape(x)                      the same elements in row-major order
    gather(x, i...; map)            x at a computed index: map has, for each dimension of x, ("i", k) for the
                                    k-th index operand (of the result's shape) or ("d", dim)
    require(x, c; code)             x; where c is false the kernel reports the error code
    reduce(x; kind, dims, split)    reduced dimensions stay with size 1; with split = (dim, size), a partial result
                                    for each piece of that dimension, in a new first dimension
    argreduce(x; kind, dims)        the row-major position within dims of the extreme element, i64
    scan(x; kind, dim)              running combination along dim; kind "argmax"/"argmin" gives positions
    update(base, x; map)            base with the region at map(index of x) replaced by x
    scatter(base, x, i...; kind, map)   base combined with x at computed indices; kind "set", "add", ...
    extern(...; spec, shapes)       computed by a template or a host library; out(e; k) are its results

Indices made by "gather" and "scatter" are checked at run time; a failure raises IndexError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..dtype import ALL, coded
from ..layout import contiguous_strides
from ..loop.nodes import COMPARISONS, ELEMENTWISE
from .complex import COMPLEX, PART

__all__ = ["Graph", "Map", "Node", "graph_text", "identity_map", "topological"]

Map = tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

_WORK = {t.code: t.wide.code for t in ALL if t.wide is not t}
_SIGNED = ("f16", "bf16")  # types of which a bit of 16 is the sign
_OF_SIGNS = ("neg", "abs", "copysign")
_PARTS = 8  # of a dimension that are combined at once by ``Graph._in_parts``
_WHOLE = {part: whole for whole, part in PART.items()}
_PREDICATES = COMPARISONS | {"isnan", "signbit"}
_COMPLEX_TOO = frozenset(
    ("abs", "bitcast", "eq", "isnan", "ne", "select")
)  # besides ``COMPLEX``: of both parts together


class Node:
    """A value: the operation, its operands and static attributes, its shape and element type (a code).

    ``origin`` names the operator it was first made for; ``number`` counts the nodes of its graph as they are made.
    """

    __slots__ = ("attrs", "inputs", "number", "op", "origin", "shape", "type")
    op: str
    inputs: tuple[Node, ...]
    attrs: tuple[Any, ...]
    shape: tuple[int, ...]
    type: str
    origin: str
    number: int

    def __repr__(self) -> str:
        return f"<{self.op}{list(self.attrs) if self.attrs else ''} {self.type}{list(self.shape)}>"


def identity_map(rank: int) -> Map:
    """The map that leaves an index of ``rank`` dimensions as it is."""
    return tuple((0, ((d, 1),)) for d in range(rank))


def topological(roots: Iterable[Node]) -> list[Node]:
    """All nodes that the roots depend on, operands first."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(r, False) for r in roots]
    stack.reverse()
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        stack.append((node, True))
        stack.extend((i, False) for i in reversed(node.inputs) if id(i) not in seen)
    return order


def graph_text(roots: Iterable[Node]) -> str:
    """The values that the roots depend on, one a line, operands first."""
    order = topological(roots)
    number = {id(node): k for k, node in enumerate(order)}
    lines = []
    for k, node in enumerate(order):
        operands = ", ".join(f"%{number[id(i)]}" for i in node.inputs)
        attributes = "".join(f" {a!r}" for a in node.attrs)
        lines.append(f"%{k}: {node.type}{list(node.shape)} = {node.op}({operands}){attributes}")
    return "\n".join(lines)


class Graph:
    """Makes nodes, each once, with the simplifications that need no context.

    Arithmetic on float16 and bfloat16 is done in float32 and rounded.
    """

    def __init__(self) -> None:
        self._table: dict[tuple[object, ...], Node] = {}
        self.origin = ""  # the operator for which nodes are being made
        self.limit: int | None = None  # bytes of temporary memory that computing it should take at most

    def make(self, op: str, inputs: Sequence[Node], attrs: tuple[Any, ...], shape: Sequence[int], type_: str) -> Node:
        """The node with these parts."""
        key = (op, tuple(map(id, inputs)), repr(attrs) if op == "const" else attrs, tuple(shape), type_)
        found = self._table.get(key)
        if found is None:
            found = Node()
            found.op, found.inputs, found.attrs, found.shape, found.type = op, tuple(inputs), attrs, tuple(shape), type_
            found.origin, found.number = self.origin, len(self._table)
            self._table[key] = found
        return found

    # -- leaves ----------------------------------------------------------------------------------
    def input(self, slot: int, shape: Sequence[int], strides: Sequence[int], type_: str) -> Node:
        """The elements at ``strides`` of the argument in ``slot``."""
        return self.make("input", (), (slot, tuple(strides)), shape, type_)

    def scalar(self, slot: int, type_: str) -> Node:
        """The number in ``slot`` of the call's numbers."""
        return self.make("scalar", (), (slot,), (), type_)

    def const(self, value: complex, type_: str, shape: Sequence[int] = ()) -> Node:
        """``value``, converted to the type, everywhere."""
        if type_ in PART:
            value = complex(value)
        elif coded(type_).kind == "f":
            value = float(value.real)
        elif type_ == "b1":
            value = bool(value)
        else:
            value = int(value.real)
        return self.expand(self.make("const", (), (value,), (), type_), shape)

    def size(self, n: int, type_: str) -> Node:
        """``n``, which follows from shapes, converted to the type: code is not made for each."""
        return self.const(n, type_) if n in (0, 1) else self.cast(self.make("size", (), (n,), (), "i64"), type_)

    def iota(self, shape: Sequence[int], dim: int) -> Node:
        """Every element's index along ``dim``, i64."""
        return self.make("iota", (), (dim,), shape, "i64")

    def undef(self, shape: Sequence[int], type_: str) -> Node:
        """Values that nobody has written yet."""
        return self.make("undef", (), (), shape, type_)

    # -- elementwise -----------------------------------------------------------------------------
    def apply(self, op: str, *args: Node) -> Node:
        """An elementwise operation; operands are broadcast, and must have one type (``select``: the last two)."""
        if op not in ELEMENTWISE:
            raise KeyError(f"{op!r} is not an elementwise primitive")
        shape = broadcast_shapes(*(a.shape for a in args))
        args = tuple(self.expand(a, shape) for a in args)
        type_ = args[-1].type
        if any(a.type != type_ for a in (args[1:] if op == "select" else args)):
            raise TypeError(f"{op}: operand types differ: {[a.type for a in args]}")
        if type_ in PART and op not in COMPLEX and op not in _COMPLEX_TOO:
            raise NotImplementedError(f'"{op}" not implemented for {coded(type_).name}: it has no complex form')
        result = "b1" if op in _PREDICATES else type_
        if type_ in _SIGNED and op in _OF_SIGNS:
            bits = [self.bitcast(a, "i16") for a in args]
            sign, rest = self.const(-1 << 15, "i16"), self.const((1 << 15) - 1, "i16")
            if op == "neg":
                return self.bitcast(self.apply("xor", bits[0], sign), type_)
            size = self.apply("and", bits[0], rest)
            return self.bitcast(
                size if op == "abs" else self.apply("or", size, self.apply("and", bits[1], sign)), type_
            )
        if type_ in _WORK and op not in ("select", "bitcast"):
            wide = self.make(
                op, [self.cast(a, _WORK[type_]) for a in args], (), shape, result if result == "b1" else _WORK[type_]
            )
            return wide if result == "b1" else self.cast(wide, type_)
        return self.make(op, args, (), shape, result)

    def cast(self, x: Node, type_: str) -> Node:
        """x as elements of another type, with the value of each."""
        if x.type == type_:
            return x
        if (
            type_ in _SIGNED
            and x.op in _OF_SIGNS
            and all(i.op == "cast" and i.inputs[0].type == type_ for i in x.inputs)
        ):
            return self.apply(x.op, *(i.inputs[0] for i in x.inputs))
        if x.op == "const":
            return self.const(x.attrs[0], type_)
        return self.make("cast", (x,), (), x.shape, type_)

    def _widened(self, x: Node) -> Node:
        """x in the type in which its arithmetic is done."""
        return self.cast(x, _WORK.get(x.type, x.type))

    def bitcast(self, x: Node, type_: str) -> Node:
        """x as elements of another type of the same size, with the bits of each."""
        return x if x.type == type_ else self.make("bitcast", (x,), (), x.shape, type_)

    def part(self, which: str, z: Node) -> Node:
        """``"real"`` or ``"imag"`` of a complex value."""
        return self.make(which, (z,), (), z.shape, PART[z.type])

    def complex(self, re: Node, im: Node) -> Node:
        """Complex numbers of their parts, which are broadcast."""
        shape = broadcast_shapes(re.shape, im.shape)
        return self.make(
            "complex",
            (self.expand(re, shape), self.expand(im, shape)),
            (),
            shape,
            _WHOLE[re.type],
        )

    # -- layout ----------------------------------------------------------------------------------
    def move(self, x: Node, map_: Map, shape: Sequence[int]) -> Node:
        """x at an affine function of the index (see the grammar); raises RuntimeError for one that leaves x."""
        shape = tuple(shape)
        if shape == x.shape and map_ == identity_map(len(shape)):
            return x
        if 0 not in shape:
            _check_inside(x.shape, map_, shape)
        if x.op == "move":  # compose
            inner: Map = x.attrs[0]
            map_, x = _compose(inner, map_), x.inputs[0]
            if shape == x.shape and map_ == identity_map(len(shape)):
                return x
        if x.op == "reshape" and 0 not in shape:  # a view that was taken of the elements in a row
            base = x.inputs[0]
            first, steps = _steps(x.shape, map_, shape)
            below = _below(base.shape, first, steps, shape)
            if below is not None:
                return self.move(base, below, shape)
            order = sorted(range(len(shape)), key=lambda d: -steps[d])
            sizes = tuple(shape[d] for d in order)
            if sizes != x.shape and not first and tuple(steps[d] for d in order) == contiguous_strides(sizes):
                if math.prod(sizes) == math.prod(x.shape):  # dimensions that the base has split, in another order
                    return self.permute(self.reshape(base, sizes), [order.index(d) for d in range(len(order))])
        return self.make("move", (x,), (map_,), shape, x.type)

    def expand(self, x: Node, shape: Sequence[int]) -> Node:
        """Broadcasts to ``shape``, which must be compatible."""
        shape = tuple(shape)
        if x.shape == shape:
            return x
        lead = len(shape) - len(x.shape)
        map_ = tuple(
            (0, ()) if n == 1 and shape[lead + d] != 1 else (0, ((lead + d, 1),)) for d, n in enumerate(x.shape)
        )
        return self.move(x, map_, shape)

    def permute(self, x: Node, dims: Sequence[int]) -> Node:
        """x with its dimensions in the order ``dims``."""
        position = {d: i for i, d in enumerate(dims)}
        return self.move(x, tuple((0, ((position[d], 1),)) for d in range(len(dims))), [x.shape[d] for d in dims])

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """The elements of x, in order, in another shape.  Raises ValueError if it has not as many."""
        shape = tuple(shape)
        if math.prod(shape) != math.prod(x.shape):
            raise ValueError(f"reshape: {x.shape} has not as many elements as {shape}")
        if shape == x.shape:
            return x
        if [n for n in shape if n != 1] == [n for n in x.shape if n != 1]:  # only dimensions of size 1 come or go
            kept = [d for d, n in enumerate(shape) if n != 1]
            places = iter(kept)
            return self.move(x, tuple((0, ((next(places), 1),)) if n != 1 else (0, ()) for n in x.shape), shape)
        if x.op == "reshape" or (x.op == "move" and 0 not in shape and _regroups(x)):
            return self.reshape(x.inputs[0], shape)
        return self.make("reshape", (x,), (), shape, x.type)

    def in_memory(self, x: Node) -> Node:
        """The value, or a copy of one that would be a strided view: for templates that want contiguous operands."""
        base = x
        while base.op == "reshape":
            base = base.inputs[0]
        if base.op != "move" and (base.op != "input" or base.attrs[1] == contiguous_strides(base.shape)):
            return x
        return self.apply("select", self.const(True, "b1"), x, x)

    # -- the rest --------------------------------------------------------------------------------
    def reduce(self, kind: str, x: Node, dims: Iterable[int]) -> Node:
        """Combines over ``dims``, which stay with size 1."""
        dims = tuple(sorted(set(dims)))
        shape = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
        if not dims:
            return x
        if kind == "xor" or (kind == "mul" and x.type in PART):
            return self.cast(self._in_parts(kind, self._widened(x), dims, shape), x.type)
        if x.type in _WORK:
            wide = _WORK[x.type]
            return self.cast(self.make("reduce", (self.cast(x, wide),), (kind, dims, None), shape, wide), x.type)
        return self.make("reduce", (x,), (kind, dims, None), shape, x.type)

    def _in_parts(self, op: str, x: Node, dims: tuple[int, ...], shape: tuple[int, ...]) -> Node:
        """A reduction that the loop IR does not have (a product of complex numbers has none of its parts): one
        dimension after the other is cut into a few parts, which are combined with each other until one element is
        left."""
        neutral = 0 if op == "xor" else 1
        if 0 in x.shape:
            return self.const(neutral, x.type, shape)
        for d in dims:
            while x.shape[d] > 1:
                count = min(_PARTS, x.shape[d])
                size = -(-x.shape[d] // count)
                part = (*x.shape[:d], size, *x.shape[d + 1 :])
                # read at indices, though there are none, so that x has memory
                found = self.gather(x, [], [("d", k) for k in range(len(part))], part)
                for start in range(size, x.shape[d], size):
                    if start + size <= x.shape[d]:
                        piece = self.move(x, tuple((start * (k == d), ((k, 1),)) for k in range(len(part))), part)
                    else:
                        at = self.apply("add", self.iota(part, d), self.const(start, "i64"))
                        piece = self._shifted(x, d, at, part, neutral)
                    found = self.apply(op, found, piece)
                x = found
        return x

    def _shifted(self, x: Node, dim: int, index: Node, shape: tuple[int, ...], fill: int = 1) -> Node:
        """x at other places along ``dim``, and ``fill`` outside of it."""
        inside = self.apply(
            "and", self.apply("ge", index, self.const(0, "i64")),
            self.apply("lt", index, self.const(x.shape[dim], "i64")),
        )  # fmt: skip
        safe = self.apply("select", inside, index, self.const(0, "i64"))
        map_ = [("i", 0) if d == dim else ("d", d) for d in range(len(shape))]
        return self.apply("select", inside, self.gather(x, [safe], map_, shape), self.const(fill, x.type))

    def argreduce(self, kind: str, x: Node, dims: Iterable[int]) -> Node:
        """The position, counted over ``dims`` together, of the element that a reduction of this kind chooses; these
        dimensions stay, with size 1."""
        dims = tuple(sorted(set(dims)))
        shape = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
        return self.make("argreduce", (self._widened(x),), (kind, dims), shape, "i64")

    def require(self, x: Node, holds: Node, code: int) -> Node:
        """x, if every element of ``holds`` is true; otherwise the kernel fails with ``code``."""
        return self.make("require", (x, self.expand(holds, x.shape)), (code,), x.shape, x.type)

    def scan(self, kind: str, x: Node, dim: int) -> Node:
        """The running combination of x along ``dim``, or for an "arg" kind the position that it chose."""
        if kind == "mul" and x.type in PART:
            type_, apart = x.type, 1
            x = self._widened(x)
            while apart < x.shape[dim]:  # neighbours 1, 2, 4 ... apart (Hillis and Steele 1986)
                before = self.apply("sub", self.iota(x.shape, dim), self.const(apart, "i64"))
                x = self.apply("mul", x, self._shifted(x, dim, before, x.shape))
                apart *= 2
            return self.cast(x, type_)
        type_ = "i64" if kind.startswith("arg") else x.type
        if x.type in _WORK:
            wide = _WORK[x.type]
            found = self.make("scan", (self.cast(x, wide),), (kind, dim), x.shape, "i64" if type_ == "i64" else wide)
            return self.cast(found, type_)
        return self.make("scan", (x,), (kind, dim), x.shape, type_)

    def gather(self, x: Node, indices: Sequence[Node], map_: Sequence[tuple[str, int]], shape: Sequence[int]) -> Node:
        """A value of ``shape`` read from x at computed indices; the grammar above tells what ``map_`` says of each
        dimension of x."""
        indices = [self.expand(self.cast(i, "i64"), shape) for i in indices]
        return self.make("gather", (x, *indices), (tuple(map_),), shape, x.type)

    def scatter(self, kind: str, base: Node, x: Node, indices: Sequence[Node], map_: Sequence[tuple[str, int]]) -> Node:
        """``base`` combined with x at computed indices; the grammar above tells what ``map_`` says of each dimension of
        ``base``."""
        indices = [self.expand(self.cast(i, "i64"), x.shape) for i in indices]
        return self.make("scatter", (base, x, *indices), (kind, tuple(map_)), base.shape, base.type)

    def update(self, base: Node, x: Node, map_: Map) -> Node:
        """``base`` with the region of it at ``map_`` replaced by x; x itself if that is all of it."""
        if x.shape == base.shape and map_ == identity_map(len(x.shape)):
            return x
        return self.make("update", (base, x), (map_,), base.shape, base.type)

    def extern(
        self, spec: object, inputs: Sequence[Node], results: Sequence[tuple[Sequence[int], str]]
    ) -> tuple[Node, ...]:
        """The results of a template or a host library; ``results``: (shape, type) of each."""
        made = tuple((tuple(s), t) for s, t in results)
        e = self.make("extern", inputs, (spec, made), (), "")
        return tuple(self.make("out", (e,), (k,), s, t) for k, (s, t) in enumerate(made))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape to which all broadcast; raises RuntimeError in PyTorch's words."""
    rank = max((len(s) for s in shapes), default=0)
    result = [1] * rank
    for s in shapes:
        for i in range(1, len(s) + 1):
            n, have = s[-i], result[-i]
            if n != have and n != 1:
                if have != 1:
                    raise RuntimeError(
                        f"The size of tensor a ({have}) must match the size of tensor b ({n}) at "
                        f"non-singleton dimension {rank - i}"
                    )
                result[-i] = n
    return tuple(result)


def _check_inside(sizes: Sequence[int], map_: Map, shape: Sequence[int]) -> None:
    """The last guard of memory: operators check their operands, and a kernel has no bounds to look at."""
    fits = len(sizes) == len(map_)
    for n, (first, terms) in zip(sizes, map_):
        low = high = first
        for d, step in terms:
            if step < 0:
                low += step * (shape[d] - 1)
            else:
                high += step * (shape[d] - 1)
        fits &= 0 <= low and high < n
    if not fits:
        raise RuntimeError(
            f"the sizes of an operand, {list(sizes)}, do not fit the space {list(shape)} of what is computed with it"
        )


def _steps(sizes: Sequence[int], map_: Map, shape: Sequence[int]) -> tuple[int, list[int]]:
    """Where the elements of a move lie in the operand in row-major order: that of the first, and from one to the next
    along each dimension of the move."""
    first, steps = 0, [0] * len(shape)
    for stride, (offset, terms) in zip(contiguous_strides(sizes), map_):
        first += stride * offset
        for d, c in terms:
            steps[d] += stride * c
    return first, steps


def _regroups(node: Node) -> bool:
    """Whether a move only joins dimensions, which is what a reshape does too."""
    x, shape = node.inputs[0], node.shape
    if math.prod(shape) != math.prod(x.shape):
        return False
    first, steps = _steps(x.shape, node.attrs[0], shape)
    return first == 0 and all(n == 1 or s == c for n, s, c in zip(shape, steps, contiguous_strides(shape)))


def _below(sizes: Sequence[int], first: int, steps: Sequence[int], shape: Sequence[int]) -> Map | None:
    """The map by which a move that begins at ``first`` and takes these ``steps`` in row-major order reads a value of
    these ``sizes``; None if no affine map does."""
    strides = contiguous_strides(sizes)
    offsets, terms = [0] * len(sizes), [[] for _ in sizes]  # type: tuple[list[int], list[list[tuple[int, int]]]]
    last = [0] * len(sizes)
    for i, (n, stride) in enumerate(zip(sizes, strides)):
        offsets[i] = last[i] = first // stride % n
    for k, (count, step) in enumerate(zip(shape, steps)):
        if count == 1 or step == 0:
            continue
        at = next((d for d, n in enumerate(sizes) if n > 1 and 0 < strides[d] <= step), None)
        if at is None or step % strides[at]:
            return None
        terms[at].append((k, step // strides[at]))
        last[at] += step // strides[at] * (count - 1)
    if any(at >= n for at, n in zip(last, sizes)):
        return None
    return tuple((offset, tuple(t)) for offset, t in zip(offsets, terms))


def _compose(inner: Map, outer: Map) -> Map:
    """index -> inner(outer(index))"""
    result = []
    for offset, terms in inner:
        total = offset
        coefficients: dict[int, int] = {}
        for dim, c in terms:
            o, t = outer[dim]
            total += c * o
            for d, k in t:
                coefficients[d] = coefficients.get(d, 0) + c * k
        result.append((total, tuple((d, k) for d, k in sorted(coefficients.items()) if k)))
    return tuple(result)
