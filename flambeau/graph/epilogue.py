"""Elementwise work behind a product or convolution becomes part of it.

A template that stores its results through a formula (``template.formula``) says so by methods of its spec::

    opened(graph, inputs, result)             the bare template, its operands, what is done to its sums already; or None
    with_formula(acc, operands, code, kept)   the bare template with a formula
    accepts(k, shape, strides, result)        whether operand k may lie like that

What follows such a template is absorbed as long as a single value of the same elements comes out of it: activation,
residual, scale and shift, the derivative of an activation.  A value that is needed before as well as after its
activation is stored twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from ..layout import contiguous_strides
from ..loop.nodes import ELEMENTWISE
from .node import Graph, Node, topological
from .order import only_written

__all__ = ["Opened", "fuse_epilogues"]

_OPERANDS = 4  # buffers that a formula reads
_LENGTH = 40  # instructions of a formula
_INLINE = 8  # operations that do not depend on the product and are done again for each element
_REPEATED = 4  # how many elements at least share a value that is done with beforehand
_FLOATS = ("f32", "f64")


class Opened(NamedTuple):
    """A template without what is done to its sums: ``alpha`` times the sum, plus each addend times its factor."""

    spec: Any
    inputs: list[Node]
    alpha: float
    addends: Sequence[tuple[Node, float | None]]


class _Absorbed(NamedTuple):
    """What becomes one template: its first result (``source``), the value that comes out (``end``), the formula as a
    function of the operands, the number of the first result if that is stored too, and the operators."""

    opened: Opened
    source: Node
    end: Node
    operands: list[Node]
    code: tuple[Any, ...]
    kept: Any
    origins: tuple[str, ...]


class _Affine(NamedTuple):
    """``base * scale + shift``, where factor and addend are values that repeat, or None."""

    base: Any
    scale: Node | None
    shift: Node | None

    def plus(self, graph: Graph, x: Node) -> _Affine:
        return self._replace(shift=x if self.shift is None else graph.apply("add", self.shift, x))

    def times(self, graph: Graph, x: Node) -> _Affine:
        scale = x if self.scale is None else graph.apply("mul", self.scale, x)
        return self._replace(scale=scale, shift=None if self.shift is None else graph.apply("mul", self.shift, x))


class _Refused(Exception):
    """A value cannot be part of a formula."""


def fuse_epilogues(graph: Graph, outputs: Sequence[Node], into: Sequence[int | None]) -> list[Node]:
    """The outputs, computed with formulas wherever that saves a pass over memory.

    What is added to a result that goes into an argument is part of the formula (a gradient that accumulates), but
    not the update of a parameter, which reads and writes more than the gradient.
    """
    order = topological(outputs)
    users: dict[int, list[Node]] = {}
    for n in order:
        for i in {id(i): i for i in n.inputs}.values():
            users.setdefault(id(i), []).append(n)
    results = {id(o) for o in outputs}
    late = only_written(order, users, list(zip(outputs, into)))
    barred = {k for k in late if k not in results}
    found: dict[int, _Absorbed] = {}
    for n in order:
        if n.op == "out" and hasattr(n.inputs[0].attrs[0], "opened") and len(n.inputs[0].attrs[1]) == 1:
            one = _absorb(graph, n, users, results, barred, found)
            if one is not None:
                found[id(one.end)] = one
    if not found:
        return list(outputs)
    return _rebuilt(graph, outputs, found)


def _absorb(
    graph: Graph,
    source: Node,
    users: dict[int, list[Node]],
    results: set[int],
    barred: Collection[int],
    found: Collection[int],
) -> _Absorbed | None:
    """What becomes of the template whose result is ``source``; ``found`` are the values that others store by now."""
    e = source.inputs[0]
    opened = e.attrs[0].opened(graph, e.inputs, e.attrs[1][0])
    if opened is None or source.type not in _FLOATS:
        return None
    best: _Absorbed | None = None
    inside = {id(source)}
    members = [source]
    code = _Code(graph, source, opened, lambda n: id(n) in found or _stored(n, users, results))
    while len(members) < _LENGTH:
        further = {id(u): u for m in members for u in users.get(id(m), ()) if id(u) not in inside}
        ready = [u for u in further.values() if id(u) not in barred and _joins(u, code)]
        if not ready:
            break
        u = min(ready, key=lambda n: n.number)
        try:
            code.add(u)
        except _Refused:
            break
        inside.add(id(u))
        members.append(u)
        open_ = [m for m in members if id(m) in results or any(id(x) not in inside for x in users.get(id(m), ()))]
        end = open_[-1] if open_ else u
        if end is not u or u.op == "reshape" or u.type != source.type or len(open_) > 2:
            continue
        both = len(open_) == 2
        if both and (open_[0] is not source or id(source) in results or not _stored(u, users, results)):
            continue
        try:
            operands, steps, kept = code.finished(u, source if both else None)
        except _Refused:
            continue
        best = _Absorbed(opened, source, u, operands, steps, kept, _origins(members))
    return best


def _origins(members: Sequence[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n.origin for n in members if n.origin))


def _stored(node: Node, users: dict[int, list[Node]], results: set[int]) -> bool:
    """Whether a value needs memory in any case: a result, or an operand of a template."""
    if id(node) in results:
        return True
    stack = list(users.get(id(node), ()))
    while stack:
        n = stack.pop()
        if n.op == "extern":
            return True
        if n.op in ("move", "reshape"):
            stack += users.get(id(n), ())
    return False


def _joins(u: Node, code: _Code) -> bool:
    """Whether ``u`` computes elements one by one from the values inside and others."""
    if u.op == "reshape":
        return code.reshaped(u)
    if u.op not in ELEMENTWISE or u.op == "bitcast" or u.type not in (*_FLOATS, "b1"):
        return False
    return u.shape in code.shapes


class _Code:
    """A formula in the making: the numbers of values, the operands, the instructions."""

    def __init__(self, graph: Graph, source: Node, opened: Opened, stored: Callable[[Node], bool]) -> None:
        self.graph, self.source, self.stored = graph, source, stored
        self.accepts = opened.spec.with_formula(source.type, (), (), None).accepts
        self.operands: list[Node] = []
        self.steps: list[Any] = []
        self.number: dict[int, Any] = {}
        self.shapes = {source.shape}
        type_ = source.type
        value: Any = _Affine("acc", None, None)
        if opened.alpha != 1:
            value = value.times(graph, graph.const(opened.alpha, type_))
        for node, factor in opened.addends:
            if (
                node.type == type_
                and factor in (None, 1)
                and math.prod(node.shape) * _REPEATED <= math.prod(source.shape)
            ):
                value = value.plus(graph, node)
                continue
            term: Any = self._operand(node)
            if node.type != type_:
                term = self._step("cast", type_, node.type, (term,))
            if factor not in (None, 1):
                term = self._step("mul", type_, type_, (term, self._const(factor or 0.0, type_)))
            value = self._step("add", type_, type_, (self._settled(value), term))
        self.number[id(source)] = value

    def finished(self, end: Node, kept: Node | None) -> tuple[list[Node], tuple[Any, ...], Any]:
        """The operands and instructions of a formula for ``end``, and the value of ``kept``."""
        copy = object.__new__(_Code)
        copy.__dict__.update(self.__dict__)
        copy.operands, copy.steps = list(self.operands), list(self.steps)
        value = None if kept is None else copy._settled(self.number[id(kept)])
        last = copy._settled(self.number[id(end)])
        if last != ("step", len(copy.steps) - 1):
            raise _Refused
        return copy.operands, tuple(copy.steps), value

    def _settled(self, value: Any) -> Any:
        """A value without what is still to be done to it."""
        if not isinstance(value, _Affine):
            return value
        type_, found = self.source.type, value.base
        if value.scale is not None:
            found = self._step("mul", type_, type_, (found, self._small(value.scale)))
        if value.shift is not None:
            found = self._step("add", type_, type_, (found, self._small(value.shift)))
        return found

    def _small(self, node: Node) -> Any:
        base = node
        while base.op == "move":
            base = base.inputs[0]
        return self._const(base.attrs[0], base.type) if base.op == "const" else self._operand(node)

    # Values are named by ("operand", k), ("step", k) or "acc" until the number of operands is known.
    def _step(self, op: str, type_: str, source: str, args: tuple[Any, ...], attr: Any = 0) -> Any:
        self.steps.append((op, type_, source, args, attr))
        return ("step", len(self.steps) - 1)

    def _const(self, value: Any, type_: str) -> Any:
        return self._step("const", type_, "", (), value)

    def _operand(self, node: Node) -> Any:
        whole = self.source.shape
        if node.type not in _FLOATS or not self.accepts(2, node.shape, contiguous_strides(node.shape), whole):
            raise _Refused
        for k, known in enumerate(self.operands):
            if known is node:
                return ("operand", k)
        if len(self.operands) == _OPERANDS:
            raise _Refused
        self.operands.append(node)
        return ("operand", len(self.operands) - 1)

    def reshaped(self, u: Node) -> bool:
        """Whether a reshape of a value inside leaves its last dimension whole, so that operands can follow."""
        old, new = self.source.shape, u.shape
        return len(old) == 2 and bool(new) and bool(old) and old[-1] == new[-1] and math.prod(old) == math.prod(new)

    def add(self, u: Node) -> None:
        """Adds the instruction that computes ``u``; raises _Refused, with the formula as it was."""
        had = len(self.operands), len(self.steps), dict(self.number)
        try:
            if u.op == "reshape":
                self.number[id(u)] = self.number[id(u.inputs[0])]
                self.shapes.add(u.shape)
                return
            affine = self._affine(u)
            if affine is not None:
                self.number[id(u)] = affine
                return
            args = tuple(self._settled(self._value(i, _INLINE)) for i in u.inputs)
            self.number[id(u)] = self._step(u.op, u.type, u.inputs[-1].type, args)
            if len(self.steps) > _LENGTH:
                raise _Refused
        except _Refused:
            self._back(*had)
            raise

    def _back(self, operands: int, steps: int, number: dict[int, Any]) -> None:
        """Forgets what was added since there were so many operands and instructions."""
        del self.operands[operands:]
        del self.steps[steps:]
        self.number = number

    def _affine(self, u: Node) -> _Affine | None:
        """A sum, difference or product of a value and one that is the same for many elements, put off: of a chain of
        them (batch norm with known statistics) all that is the same becomes one factor and one addend."""
        if u.op not in ("add", "sub", "mul") or u.type != self.source.type:
            return None
        x, y = u.inputs
        if u.op != "sub" and id(x) not in self.number:
            x, y = y, x
        known = self.number.get(id(x))
        if known is None or id(y) in self.number:
            return None
        small = self._repeated(y)
        if small is None or not self._before(small):
            return None
        value = known if isinstance(known, _Affine) else _Affine(known, None, None)
        if u.op == "mul":
            return value.times(self.graph, small)
        return value.plus(self.graph, small if u.op == "add" else self.graph.apply("neg", small))

    def _repeated(self, n: Node) -> Node | None:
        """What ``n`` repeats along some dimensions, in a shape that broadcasts to the product's; None if it does not
        repeat a smaller value."""
        base = n.inputs[0] if n.op == "move" else n
        while base.op == "move" and base.inputs[0].op == "const":
            base = base.inputs[0]
        if n.op != "move" or math.prod(base.shape) * _REPEATED > math.prod(n.shape):
            return None
        if math.prod(base.shape) == 1:
            return self.graph.reshape(base, ())
        shape = _aligned(n)
        if shape is None or (n.shape != self.source.shape and shape != n.shape[-1:]):
            return None
        return self.graph.reshape(base, shape)

    def _value(self, n: Node, depth: int) -> Any:
        found = self.number.get(id(n))
        if found is None:
            found = self.number[id(n)] = self._made(n, depth)
        return found

    def _made(self, n: Node, depth: int) -> Any:
        """The value of something that does not depend on the product."""
        if n.op == "const":
            return self._const(n.attrs[0], n.type)
        if n.op == "move":
            base = self._repeated(n)
            if base is not None:
                return self._small(base) if base.op == "const" else self._leaf(base)
        if n.op in ELEMENTWISE and (n.number > self.source.number or not self.stored(n)):
            # it lies nowhere: computing it here costs less than keeping it until then
            if not depth or n.op == "bitcast" or n.type not in (*_FLOATS, "b1") or n.shape not in self.shapes:
                raise _Refused
            had = len(self.operands), len(self.steps), dict(self.number)
            try:
                args = tuple(self._settled(self._value(i, depth - 1)) for i in n.inputs)
                return self._step(n.op, n.type, n.inputs[-1].type, args)
            except _Refused:
                if n.number > self.source.number or not _of_template(n):
                    raise
                self._back(*had)
        return self._leaf(n)

    def _leaf(self, n: Node) -> Any:
        """An operand in memory: it must be there before the product is computed."""
        if not self._before(n):
            raise _Refused
        if n.shape not in self.shapes or n.shape == self.source.shape or not n.shape:
            return self._operand(n)
        # rows are split there: only what is contiguous is the same memory
        if n.op == "move" or (n.op == "input" and n.attrs[1] != contiguous_strides(n.shape)):
            raise _Refused
        return self._operand(self.graph.reshape(n, self.source.shape))

    def _before(self, n: Node) -> bool:
        """Whether a value was made before the product, or is computed element by element from what was: then nothing
        that becomes part of this template or another one can make it depend on the product."""
        stack, seen = [n], set()
        while stack:
            x = stack.pop()
            if x.number < self.source.number or not x.inputs or id(x) in seen:
                continue
            seen.add(id(x))
            if len(seen) > _LENGTH or (x.op not in ELEMENTWISE and x.op not in ("move", "reshape")):
                return False
            stack += x.inputs
        return len(seen) == 0 or math.prod(n.shape) < math.prod(self.source.shape)


def _of_template(n: Node) -> bool:
    """Whether a value is computed element by element from what a template stores, which may store it instead."""
    stack: list[Node] = [n]
    seen: set[int] = set()
    while stack:
        x = stack.pop()
        if x.op == "out" and x.shape == n.shape and hasattr(x.inputs[0].attrs[0], "opened"):
            return True
        if x.op == "reshape" and x.shape == n.shape and x.inputs[0].op == "out":
            x = x.inputs[0]
            if hasattr(x.inputs[0].attrs[0], "opened"):
                return True
        if x.op in ELEMENTWISE and x.shape == n.shape and id(x) not in seen and len(seen) < _INLINE:
            seen.add(id(x))
            stack += x.inputs
    return False


def _aligned(n: Node) -> tuple[int, ...] | None:
    """The shape, with dimensions of size 1 in between, in which the operand of a move broadcasts to the result; None if
    the move does more than to repeat its operand."""
    sizes = [1] * len(n.shape)
    last = -1
    for size, (offset, terms) in zip(n.inputs[0].shape, n.attrs[0]):
        if offset or len(terms) > 1 or (not terms and size != 1):
            return None
        if terms:
            d, step = terms[0]
            if step != 1 or d <= last or n.shape[d] != size:
                return None
            last, sizes[d] = d, size
    lead = next((d for d, size in enumerate(sizes) if size != 1), len(sizes))
    return tuple(sizes[lead:])


def _numbered(code: Sequence[Any], operands: int) -> tuple[Any, ...]:
    """The instructions with their values numbered: the sum, the operands, the instructions."""

    def number(value: Any) -> int:
        if value == "acc":
            return 0
        kind, k = value
        return int(1 + k + (operands if kind == "step" else 0))

    return tuple((op, type_, source, tuple(map(number, args)), attr) for op, type_, source, args, attr in code)


def _rebuilt(graph: Graph, outputs: Sequence[Node], found: dict[int, _Absorbed]) -> list[Node]:
    """The graph with the templates replaced."""
    new: dict[int, Node] = {}

    def visit(roots: Sequence[Node]) -> None:
        stack = [(r, False) for r in reversed(roots)]
        while stack:
            n, ready = stack.pop()
            if id(n) in new:
                continue
            one = found.get(id(n))
            inputs = list(n.inputs) if one is None else [*one.opened.inputs, *one.operands]
            if not ready:
                stack.append((n, True))
                stack += [(i, False) for i in reversed(inputs) if id(i) not in new]
                continue
            made = [new[id(i)] for i in inputs]
            if one is not None:
                _replace(graph, one, n, made, new)
            elif all(a is b for a, b in zip(made, n.inputs)):
                new[id(n)] = n
            elif n.op in ("move", "reshape"):  # of what may be a reshape itself now
                last = made[0].number
                again = (
                    graph.reshape(made[0], n.shape) if n.op == "reshape" else graph.move(made[0], n.attrs[0], n.shape)
                )
                again.number = min(again.number, max(n.number, last))
                new[id(n)] = again
            else:
                copy = Node()
                copy.op, copy.inputs, copy.attrs, copy.shape, copy.type = n.op, tuple(made), n.attrs, n.shape, n.type
                copy.origin, copy.number = n.origin, n.number
                new[id(n)] = copy

    # a value that is kept is made by the template of the value that comes out of it
    kept = {id(one.source): one for one in found.values() if one.kept is not None}
    for one in found.values():
        _number(one)
    for n in topological(outputs):
        if id(n) in kept:
            visit([kept[id(n)].end])
    visit(outputs)
    return [new[id(o)] for o in outputs]


def _number(one: _Absorbed) -> None:
    """Gives the values made for a formula, which were numbered last, the number of their product, so that they are
    computed when it is."""
    stack = list(one.operands)
    while stack:
        n = stack.pop()
        if n.number > max(one.source.number, one.end.number) and n.inputs:
            n.number = one.source.number
            stack += n.inputs


def _replace(graph: Graph, one: _Absorbed, end: Node, made: Sequence[Node], new: dict[int, Node]) -> None:
    count = len(one.operands)
    operands = made[len(one.opened.inputs) :]
    kept = None if one.kept is None else _numbered([("", "", "", (one.kept,), 0)], count)[0][3][0]
    types = tuple(o.type for o in operands)
    spec = one.opened.spec.with_formula(one.source.type, types, _numbered(one.code, count), kept)
    shape, type_ = one.source.shape, one.source.type
    results = [(shape, type_)] * (1 if kept is None else 2)
    origin, graph.origin = graph.origin, ", ".join(one.origins)
    outs = graph.extern(spec, made, results)
    graph.origin = origin
    for n in (outs[0].inputs[0], *outs):
        n.number = one.source.number
    value = outs[0] if end.shape == shape else graph.reshape(outs[0], end.shape)
    value.number = end.number if value is not outs[0] else value.number
    new[id(end)] = value
    if kept is not None:
        new[id(one.source)] = outs[1]
