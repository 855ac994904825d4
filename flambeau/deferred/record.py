"""The text of a deferred program: which operators ran on which values.

A program is a flat list of instructions.  Each makes one value or several, numbered in the order they are made::

    ARGUMENT, layout, owner          elements in memory; ``owner`` is the first argument over the same storage
    VIEW, value, layout, offset      what a strided view sees of a value
    WRITE, value, layout, offset, x  the value, with the region that a view sees replaced by ``x``
    recipe, value...                 an operator on values

Layouts and recipes are unique objects, so that the list is its own structural key: two programs with equal texts are
the same program, whatever numbers and addresses they run on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..graph.node import Graph, Node, topological
from ..graph.share import FREE, operations
from ..layout import Layout, contiguous_strides, dense
from ..loop.nodes import ELEMENTWISE
from ..primitives import Recorder, look, region, row_major

__all__ = ["ARGUMENT", "CHAIN", "VIEW", "WHOLE", "WRITE", "Recipe", "flat_below", "independent", "replay"]

ARGUMENT, VIEW, WRITE = range(3)
_ELEMENT_BY_ELEMENT = frozenset((*ELEMENTWISE, *FREE, "cast")) - {"scalar", "undef"}
_WORDS = 3, 4, 5  # that each of these takes
WHOLE, CHAIN = 1, 2
"""What waits for the end of a module's call: everything from the first convolution on, or one convolution with what is
computed of it element by element.  An operator that may join a chain may join the whole."""


class Recipe:
    """What an operator does to arguments of one signature: the graph of its body and the layouts of its results.

    Input slot k of the graph is the k-th tensor among the arguments, scalar slot k the k-th run-time number.
    ``joins``: what it may join that waits for the end of a module's call (`WHOLE`, `CHAIN`, or 0 for nothing).
    """

    __slots__ = ("_work", "inputs", "joins", "layouts", "name", "nodes", "numbers", "order", "parts", "several")

    def __init__(
        self,
        name: str,
        nodes: tuple[Node, ...],
        layouts: tuple[Layout, ...],
        several: bool,
        inputs: int,
        numbers: int,
        joins: int = 0,
    ) -> None:
        self.name, self.nodes, self.layouts, self.several = name, nodes, layouts, several
        self.inputs, self.numbers, self.joins = inputs, numbers, joins
        self.order: list[Node] | None = None
        self._work = -1
        self.parts: Any = None  # kept by ``families.py``

    def work(self) -> int:
        """How much there is to do, about: operations of products and the like, of which an operation on elements in
        memory counts as sixteen, which takes about as long."""
        if self._work < 0:
            self._work = sum(map(_operations, topological(self.nodes)))
        return self._work

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def part(self, result: int, given: Sequence[int]) -> tuple[Recipe, list[int], list[int]] | None:
        """What gives one result alone, element by element, of arguments and of other results ``given``; and which
        arguments and results it takes.  None if there is more to it, or if it takes run-time numbers."""
        ends = {id(self.nodes[k]): k for k in given if k != result}
        slots: dict[tuple[bool, int], int] = {}
        made: dict[int, Node] = {}
        stack = [self.nodes[result]]
        while stack:
            n = stack[-1]
            if id(n) in made:
                stack.pop()
                continue
            end = ends.get(id(n))
            new = Node()
            new.op, new.inputs, new.attrs, new.shape, new.type = n.op, n.inputs, n.attrs, n.shape, n.type
            new.origin, new.number = n.origin, n.number
            if end is not None or n.op == "input":
                key = (end is None, n.attrs[0] if end is None else end)
                new.op, new.inputs = "input", ()
                new.attrs = (slots.setdefault(key, len(slots)), contiguous_strides(n.shape))
            elif n.op not in _ELEMENT_BY_ELEMENT:
                return None
            else:
                waiting = [i for i in n.inputs if id(i) not in made]
                if waiting:
                    stack += waiting
                    continue
                new.inputs = tuple([made[id(i)] for i in n.inputs])
            made[id(n)] = new
        order = sorted(slots, key=lambda key: (not key[0], slots[key]))  # arguments first
        place = {slots[key]: k for k, key in enumerate(order)}
        for new in made.values():
            if new.op == "input":
                new.attrs = (place[new.attrs[0]], new.attrs[1])
        recipe = Recipe(self.name, (made[id(self.nodes[result])],), (self.layouts[result],), False, len(order), 0)
        return recipe, [k for argument, k in order if argument], [k for argument, k in order if not argument]

    def into(self, graph: Graph, operands: Sequence[Node], first: int) -> list[Node]:
        """The results in another graph, of these operands and of the run-time numbers from ``first`` on."""
        if self.order is None:
            self.order = topological(self.nodes)
        known: dict[int, Node] = {}
        for n in self.order:
            op, attrs = n.op, n.attrs
            inputs = [known[id(i)] for i in n.inputs]
            if op == "input":
                made = operands[attrs[0]]
            elif op == "scalar":
                made = graph.scalar(first + attrs[0], n.type)
            elif op == "move":
                made = graph.move(inputs[0], attrs[0], n.shape)
            elif op == "reshape":
                made = graph.reshape(inputs[0], n.shape)
            elif op == "cast":
                made = graph.cast(inputs[0], n.type)
            elif op == "update":
                made = graph.update(inputs[0], inputs[1], attrs[0])
            else:
                made = graph.make(op, inputs, attrs, n.shape, n.type)
            known[id(n)] = made
        return [known[id(n)] for n in self.nodes]


def _operations(node: Node) -> int:
    if node.op != "extern":
        return 16 * operations(node)
    spec, results = node.attrs
    counted = getattr(spec, "operations", None)
    if counted is None:
        return 16 * sum(math.prod(shape) for shape, _ in results)
    return int(counted(node.inputs, [_Shaped(shape) for shape, _ in results]))


class _Shaped(NamedTuple):
    """A result of a template that does not lie anywhere."""

    shape: tuple[int, ...]


@lru_cache(65536)
def flat_below(natural: Layout, layout: Layout, offset: int) -> bool:
    """Whether a write through this view of a value must see the value as one dimension."""
    return region(natural, layout.shape, layout.strides, offset) is None


def independent(text: Sequence[Any], wanted: Sequence[tuple[int, Layout, int | None]]) -> bool:
    """Whether no value of a program that is wanted for itself is computed from what the memory held that others of the
    wanted ones (number, layout, slot of an argument or None) are written to: running it twice only writes twice."""
    owners = [text[at + 2] for at in _starts(text) if text[at] is ARGUMENT]
    written = {owners[into] for _, _, into in wanted if into is not None}
    depends: list[bool] = []
    for at in _starts(text):
        what = text[at]
        if what is ARGUMENT:
            depends.append(text[at + 2] in written)
        elif what is VIEW:
            depends.append(depends[text[at + 1]])
        elif what is WRITE:
            depends.append(depends[text[at + 1]] or depends[text[at + 4]])
        else:
            found = any(depends[k] for k in text[at + 1 : at + 1 + what.inputs])
            depends += [found] * len(what.layouts)
    return not any(depends[number] for number, _, into in wanted if into is None)


def _starts(text: Sequence[Any]) -> Iterator[int]:
    """Where each entry of a program begins."""
    at = 0
    while at < len(text):
        yield at
        what = text[at]
        at += _WORDS[what] if what.__class__ is int else 1 + what.inputs


def replay(text: Sequence[Any], recorder: Recorder, numbered: bool = False) -> list[Node]:
    """The values of a program as nodes of the recorder's graph; ``numbered``: their origins tell which operator of the
    program they were made for, as "name#number"."""
    graph = recorder.graph
    values: list[tuple[Node, Layout]] = []
    slots = numbers = at = count = 0
    while at < len(text):
        what = text[at]
        if what is ARGUMENT:
            layout = text[at + 1]
            values.append((graph.input(slots, layout.shape, layout.strides, layout.dtype.code), layout))
            slots += 1
            at += 3
        elif what is VIEW:
            node, natural = values[text[at + 1]]
            layout = text[at + 2]
            seen = look(node, natural, layout.shape, layout.strides, text[at + 3])
            values.append((seen, dense(layout.dtype, layout.shape)))
            at += 4
        elif what is WRITE:
            node, natural = values[text[at + 1]]
            layout, offset, by = text[at + 2], text[at + 3], values[text[at + 4]][0]
            map_ = region(natural, layout.shape, layout.strides, offset)
            if map_ is None:
                node, natural = row_major(node, natural), dense(natural.dtype, (natural.numel,))
                map_ = ((offset, tuple((d, s) for d, s in enumerate(layout.strides) if s and layout.shape[d] > 1)),)
            graph.origin = "write"
            values.append((graph.update(node, by, map_), natural))
            at += 5
        else:
            at += 1
            operands = [values[k][0] for k in text[at : at + what.inputs]]
            graph.origin = f"{what.name}#{count}" if numbered else what.name
            count += 1
            values += zip(what.into(graph, operands, numbers), what.layouts)
            numbers += what.numbers
            at += what.inputs
    return [node for node, _ in values]
