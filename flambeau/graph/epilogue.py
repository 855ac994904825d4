"""Elementwise work behind a product or convolution becomes part of it.

A template that stores its results through a formula (``template.formula``) says so by two methods of its spec::

    opened(graph, inputs, result)       the bare template, its operands, and what is done to its sums already; or None
    accepts(k, shape, strides, result)  whether operand k may lie like that

What follows such a template is absorbed as long as a single value of the same elements comes out of it: activation,
residual, scale and shift, the derivative of an activation.  A value that is needed before as well as after its
activation is stored twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..loop.nodes import ELEMENTWISE
from .node import Graph, Node, topological

__all__ = ["Opened", "fuse_epilogues"]

_OPERANDS = 4  # buffers that a formula reads
_LENGTH = 40  # instructions of a formula
_INLINE = 8  # operations that do not depend on the product and are done again for each element
_FLOATS = ("f32", "f64")


class Opened(NamedTuple):
    """A template without what is done to its sums: ``alpha`` times the sum, plus each addend times its factor."""

    spec: Any
    inputs: list[Node]
    alpha: float
    addends: list[tuple[Node, float | None]]


class _Absorbed(NamedTuple):
    """What becomes one template: its first result (``source``), the value that comes out (``end``), the formula as a
    function of the operands, and whether the first result is stored too."""

    opened: Opened
    source: Node
    end: Node
    operands: list[Node]
    code: tuple[Any, ...]
    kept: int | None


class _Refused(Exception):
    """A value cannot be part of a formula."""


def fuse_epilogues(graph: Graph, outputs: Sequence[Node], make_formula: Any) -> list[Node]:
    """The outputs, computed with formulas wherever that saves a pass over memory.

    ``make_formula(acc, operand types, code, kept)`` makes the formula.
    """
    order = topological(outputs)
    users: dict[int, list[Node]] = {}
    for n in order:
        for i in {id(i): i for i in n.inputs}.values():
            users.setdefault(id(i), []).append(n)
    results = {id(o) for o in outputs}
    found: dict[int, _Absorbed] = {}
    taken: set[int] = set()
    for n in order:
        if n.op == "out" and hasattr(n.inputs[0].attrs[0], "opened") and len(n.inputs[0].attrs[1]) == 1:
            one = _absorb(graph, n, users, results, taken)
            if one is not None:
                found[id(one.end)] = one
    if not found:
        return list(outputs)
    return _rebuilt(graph, outputs, found, make_formula)


def _absorb(
    graph: Graph, source: Node, users: dict[int, list[Node]], results: set[int], taken: set[int]
) -> _Absorbed | None:
    e = source.inputs[0]
    opened = e.attrs[0].opened(graph, e.inputs, e.attrs[1][0])
    if opened is None or source.type not in _FLOATS:
        return None
    best: _Absorbed | None = None
    inside = {id(source)}
    members = [source]
    code = _Code(graph, source, opened, taken)
    while len(members) < _LENGTH:
        further = {id(u): u for m in members for u in users.get(id(m), ()) if id(u) not in inside}
        ready = [u for u in further.values() if _joins(u, source, inside, code)]
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
        if end is u and u.type == source.type and len(open_) <= 2:
            kept = None
            if len(open_) == 2:
                if open_[0] is not source or id(source) in results or not _stored(u, users, results):
                    continue
                kept = code.number[id(source)]
            best = _Absorbed(opened, source, u, list(code.operands), tuple(code.steps), kept)
    if best is not None:
        taken.add(id(best.end))
    return best


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


def _joins(u: Node, source: Node, inside: set[int], code: _Code) -> bool:
    """Whether ``u`` computes elements one by one from the values inside and others."""
    if u.op == "reshape":
        return code.reshaped(u)
    if u.op not in ELEMENTWISE or u.op == "bitcast" or u.type not in (*_FLOATS, "b1"):
        return False
    return u.shape in code.shapes


class _Code:
    """A formula in the making: the numbers of values, the operands, the instructions."""

    def __init__(self, graph: Graph, source: Node, opened: Opened, taken: set[int]) -> None:
        self.graph, self.source, self.taken = graph, source, taken
        self.operands: list[Node] = []
        self.steps: list[Any] = []
        self.number: dict[int, Any] = {}
        self.shapes = {source.shape}
        self.flat: dict[tuple[int, ...], bool] = {}
        value: Any = "acc"
        type_ = source.type
        if opened.alpha != 1:
            value = self._step("mul", type_, type_, (value, self._const(opened.alpha, type_)))
        for node, factor in opened.addends:
            term: Any = self._operand(node)
            if node.type != type_:
                term = self._step("cast", type_, node.type, (term,))
            if factor not in (None, 1):
                term = self._step("mul", type_, type_, (term, self._const(factor or 0.0, type_)))
            value = self._step("add", type_, type_, (value, term))
        self.number[id(source)] = value

    # Values are named by ("operand", k), ("step", k) or "acc" until the number of operands is known.
    def _step(self, op: str, type_: str, source: str, args: tuple[Any, ...], attr: Any = 0) -> Any:
        self.steps.append((op, type_, source, args, attr))
        return ("step", len(self.steps) - 1)

    def _const(self, value: Any, type_: str) -> Any:
        return self._step("const", type_, "", (), value)

    def _operand(self, node: Node) -> Any:
        if node.type not in _FLOATS:
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
        before = len(self.operands), len(self.steps), dict(self.number)
        try:
            if u.op == "reshape":
                self.number[id(u)] = self.number[id(u.inputs[0])]
                self.shapes.add(u.shape)
                return
            args = tuple(self._value(i, _INLINE) for i in u.inputs)
            self.number[id(u)] = self._step(u.op, u.type, u.inputs[-1].type, args)
            if len(self.steps) > _LENGTH:
                raise _Refused
        except _Refused:
            del self.operands[before[0] :]
            del self.steps[before[1] :]
            self.number = before[2]
            raise

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
            base = _unexpanded(n)
            if base is not n:
                if base.op == "const":
                    return self._const(base.attrs[0], base.type)
                return self._broadcast(n, base)
        if n.op in ELEMENTWISE and n.op != "bitcast" and depth and n.number > self.source.number:
            if n.type not in (*_FLOATS, "b1") or n.shape not in self.shapes:
                raise _Refused
            args = tuple(self._value(i, depth - 1) for i in n.inputs)
            return self._step(n.op, n.type, n.inputs[-1].type, args)
        return self._leaf(n)

    def _broadcast(self, n: Node, base: Node) -> Any:
        """An operand that is repeated along some dimensions."""
        if n.shape == self.source.shape:
            return self._leaf(base)
        if math.prod(base.shape) == 1:
            return self._leaf(self.graph.reshape(base, ()))
        # split rows: only what is the same for all rows
        if base.shape[-1:] == n.shape[-1:] and math.prod(base.shape) == n.shape[-1]:
            return self._leaf(self.graph.reshape(base, (n.shape[-1],)))
        raise _Refused

    def _leaf(self, n: Node) -> Any:
        """An operand in memory: it must be there before the product is computed."""
        if not self._before(n):
            raise _Refused
        if n.shape not in self.shapes or n.shape == self.source.shape or not n.shape:
            return self._operand(n)
        return self._operand(self.graph.reshape(n, self.source.shape))

    def _before(self, n: Node) -> bool:
        """Whether a value cannot depend on the product: it was made before, or from what was."""
        stack, seen = [n], set()
        while stack:
            x = stack.pop()
            if x.number <= self.source.number and x is not self.source and x.op != "extern":
                if x is n or x.number < self.source.inputs[0].number:
                    continue
            if id(x) in seen or len(seen) > 64:
                return False
            seen.add(id(x))
            if not x.inputs:
                continue
            if x.op in ("extern", "out", "reduce", "scan", "scatter", "update", "gather"):
                return False
            stack += x.inputs
        return True


def _unexpanded(n: Node) -> Node:
    """What a move only repeats, lining up its last dimensions; otherwise the move."""
    base = n.inputs[0]
    lead = len(n.shape) - len(base.shape)
    if lead < 0:
        return n
    for d, (size, (offset, terms)) in enumerate(zip(base.shape, n.attrs[0])):
        straight = terms == ((lead + d, 1),) and n.shape[lead + d] == size
        if offset or not (straight or (size == 1 and not terms)):
            return n
    return base


def _numbered(code: Sequence[Any], operands: int) -> tuple[Any, ...]:
    """The instructions with their values numbered: the sum, the operands, the instructions."""

    def number(value: Any) -> int:
        if value == "acc":
            return 0
        kind, k = value
        return int(1 + k + (operands if kind == "step" else 0))

    return tuple((op, type_, source, tuple(map(number, args)), attr) for op, type_, source, args, attr in code)


def _rebuilt(graph: Graph, outputs: Sequence[Node], found: dict[int, _Absorbed], make_formula: Any) -> list[Node]:
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
                _replace(graph, one, n, made, new, make_formula)
            elif all(a is b for a, b in zip(made, n.inputs)):
                new[id(n)] = n
            else:
                copy = Node()
                copy.op, copy.inputs, copy.attrs, copy.shape, copy.type = n.op, tuple(made), n.attrs, n.shape, n.type
                copy.origin, copy.number = n.origin, n.number
                new[id(n)] = copy

    # a value that is kept is made by the template of the value that comes out of it
    kept = {id(one.source): one for one in found.values() if one.kept is not None}
    for n in topological(outputs):
        if id(n) in kept:
            visit([kept[id(n)].end])
    visit(outputs)
    return [new[id(o)] for o in outputs]


def _replace(
    graph: Graph, one: _Absorbed, end: Node, made: Sequence[Node], new: dict[int, Node], make_formula: Any
) -> None:
    count = len(one.operands)
    operands = made[len(one.opened.inputs) :]
    kept = None if one.kept is None else _numbered([("", "", "", (one.kept,), 0)], count)[0][3][0]
    formula = make_formula(one.source.type, tuple(o.type for o in operands), _numbered(one.code, count), kept)
    shape, type_ = one.source.shape, one.source.type
    results = [(shape, type_)] * (1 if kept is None else 2)
    origin, graph.origin = graph.origin, f"{one.source.origin}, {end.origin}"
    outs = graph.extern(_with_formula(one.opened.spec, formula), made, results)
    graph.origin = origin
    for n in (outs[0].inputs[0], *outs):
        n.number = one.source.number
    value = outs[0] if end.shape == shape else graph.reshape(outs[0], end.shape)
    value.number = end.number if value is not outs[0] else value.number
    new[id(end)] = value
    if kept is not None:
        new[id(one.source)] = outs[1]


def _with_formula(spec: Any, formula: Any) -> Any:
    return type(spec)(**{**vars(spec), "formula": formula})
