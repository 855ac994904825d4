"""Where the values of a graph lie: buffers, and the places of values in them.

A value that needs memory gets that of the result which it is, or of the argument that the result replaces, or
temporary memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..layout import contiguous_strides
from .group import Place
from .node import Node
from .share import BARRIERS, FREE

__all__ = ["WRITES", "BufferSpec", "Output", "Places", "span"]

WRITES = frozenset({"update", "scatter"})
"""What writes regions of a value: its result lies where its first operand lay."""


class BufferSpec(NamedTuple):
    """A buffer of a plan: "input" (``slot`` of the arguments), "output" (``slot`` of the results) or "temp"."""

    kind: str
    slot: int
    type: str
    size: int


class Output(NamedTuple):
    """A result: the value, and the strides of a fresh buffer, or the slot of the argument to write into (with that
    argument's strides)."""

    node: Node
    strides: tuple[int, ...]
    into: int | None = None


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """The elements from the first to one past the last of those at ``strides``."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if math.prod(shape) else 0


class Places:
    """The buffers of a schedule in the making, and where in them the values lie that have memory.

    ``outputs`` are the results, ``order`` all values; ``owners`` numbers the memory of each argument, where several
    share it.
    """

    def __init__(self, outputs: Sequence[Output], order: list[Node], owners: Sequence[int]) -> None:
        self.outputs, self.order, self.owners = outputs, order, owners
        self.buffers: list[BufferSpec] = []
        self.places: dict[int, Place] = {}
        self.argument_buffers: dict[int, int] = {}  # slot of an argument -> its own buffer
        self.homes: dict[int, int] = {}  # buffer of a value that lies in an argument -> the argument's own buffer
        self.made: set[int] = set()  # the results that have a buffer
        self.input_nodes = [n for n in order if n.op == "input"]
        self.inputs_in: dict[int, list[Node]] = {}  # memory of arguments -> the values there
        for n in self.input_nodes:
            self.inputs_in.setdefault(self._memory(n.attrs[0]), []).append(n)
        self.users: dict[int, list[Node]] = {}
        for n in self.order:
            for i in n.inputs:
                self.users.setdefault(id(i), []).append(n)
        self.results: dict[int, list[int]] = {}
        for k, o in enumerate(outputs):
            self.results.setdefault(id(o.node), []).append(k)
        self.squeezed: dict[int, tuple[int, Place]] = {}
        for k, o in enumerate(outputs):
            self._squeeze(k, o)

    def _squeeze(self, k: int, o: Output) -> None:
        """A result that only lacks dimensions of size 1 of a computed value (``keepdim=False``), or has those of one
        that needs memory split or joined, needs no copy: the value is computed in the memory of result ``k``."""
        node = o.node
        if node.op not in ("move", "reshape") or o.into is not None or len(self.results[id(node)]) > 1:
            return
        base = node.inputs[0]
        if base.op in FREE or id(base) in self.results or id(base) in self.squeezed:
            return
        if node.op == "reshape":
            if base.op in BARRIERS and o.strides == contiguous_strides(node.shape):
                self.squeezed[id(base)] = (k, Place(-1, base.shape, contiguous_strides(base.shape), 0, 0))
            return
        strides, dims = [], []
        for size, (offset, terms) in zip(base.shape, node.attrs[0]):
            if offset or len(terms) > 1 or (not terms and size != 1) or (terms and terms[0][1] != 1):
                return
            dims += [d for d, _ in terms]
            strides.append(o.strides[terms[0][0]] if terms else 0)
        if o.strides == contiguous_strides(node.shape):
            strides = list(contiguous_strides(base.shape))
        if dims == list(range(len(node.shape))) and math.prod(base.shape) == math.prod(node.shape):
            self.squeezed[id(base)] = (k, Place(-1, base.shape, tuple(strides), 0, 0))

    def _inputs(self) -> None:
        """Gives the arguments their buffers."""
        for n in self.input_nodes:
            slot, strides = n.attrs
            b = self._new_buffer("input", slot, n.type, span(n.shape, strides))
            self.places[id(n)] = Place(b, n.shape, strides, 0, -1)

    def type_of(self, buffer: int) -> str:
        """The element type of a buffer."""
        return self.buffers[buffer].type

    def place_of(self, node: Node) -> Place | None:
        """Where a value lies, if it has memory."""
        return self.places.get(id(node))

    def _rank(self, buffer: int) -> tuple[int, int, int]:
        """Results first, then arguments, each by slot."""
        b = self.buffers[buffer]
        return ({"output": 0, "input": 1, "temp": 2}[b.kind], b.slot, buffer)

    def _is_argument(self, buffer: int) -> bool:
        return self.buffers[buffer].kind == "input"

    def _home(self, buffer: int) -> int:
        return self.homes.get(buffer, buffer)

    def _memory(self, slot: int) -> int:
        """The number of the memory that an argument lies in."""
        return self.owners[slot] if self.owners else slot

    def _memory_of(self, buffer: int) -> int | None:
        """The number of the memory that a buffer lies in if that is an argument's."""
        spec = self.buffers[buffer]
        return self._memory(spec.slot) if spec.kind == "input" else None

    def _same_memory(self, slot: int, other: int | None) -> bool:
        """Whether two arguments lie in one storage."""
        return other is not None and self._memory(slot) == self._memory(other)

    def _lies_in(self, place: Place, o: Output) -> bool:
        """Whether a value lies where a result that goes into an argument belongs."""
        if o.node.op == "input":
            return o.node.attrs == (o.into, o.strides)
        return self.buffers[place.buffer][:2] == ("input", o.into)

    # -- memory for a value ------------------------------------------------------------------------
    def _new_buffer(self, kind: str, slot: int, type_: str, size: int) -> int:
        self.buffers.append(BufferSpec(kind, slot, type_, size))
        number = len(self.buffers) - 1
        if kind == "input":
            self.argument_buffers.setdefault(slot, number)
        elif kind == "output":
            self.made.add(slot)
        return number

    def _set_place(self, node: Node, place: Place) -> None:
        """Says where a value lies, and so the result that is the same elements."""
        self.places[id(node)] = place
        if id(node) in self.squeezed:
            k, _ = self.squeezed[id(node)]
            if self.buffers[place.buffer][:2] == ("output", k):
                o = self.outputs[k]
                self.places[id(o.node)] = Place(place.buffer, o.node.shape, o.strides, 0, place.group)

    def _target(self, node: Node, group: int) -> Place:
        """Fresh memory for a value: a result's own if it has just that, otherwise temporary."""
        for k in self.results.get(id(node), ()):
            o = self.outputs[k]
            if o.into is None and k not in self.made:
                b = self._new_buffer("output", k, node.type, span(node.shape, o.strides))
                return Place(b, node.shape, o.strides, 0, group)
            if o.into is not None and self._may_write_early(node, o):
                return self._argument_place(o, group)
        if id(node) in self.squeezed:
            k, place = self.squeezed[id(node)]
            if k not in self.made:
                b = self._new_buffer("output", k, node.type, span(node.shape, place.strides))
                return place._replace(buffer=b, group=group)
        b = self._new_buffer("temp", 0, node.type, math.prod(node.shape))
        return Place(b, node.shape, contiguous_strides(node.shape), 0, group)

    def _result(self, k: int, group: int) -> Place:
        """Fresh memory for result ``k``, which ``group`` writes."""
        o = self.outputs[k]
        buffer = self._new_buffer("output", k, o.node.type, span(o.node.shape, o.strides))
        return Place(buffer, o.node.shape, o.strides, 0, group)

    def _argument_place(self, o: Output, group: int) -> Place:
        """The place of a result in the argument that it replaces."""
        assert o.into is not None
        buffer = self.argument_buffers.get(o.into)
        if buffer is None:
            buffer = self._new_buffer("input", o.into, o.node.type, span(o.node.shape, o.strides))
        return Place(buffer, o.node.shape, o.strides, 0, group)

    def _may_write_early(self, node: Node, o: Output) -> bool:
        """Whether a result may be written over an argument when it is computed, not only at the end: nothing else
        reads that argument, and ``node`` reads it only at the element it writes."""
        assert o.into is not None
        readers = self.inputs_in.get(self._memory(o.into), ())
        if not readers:
            return True
        if node.op in BARRIERS or any(id(p.node) != id(node) for p in self.outputs):
            return False
        if any(n.op in BARRIERS or n.op == "gather" for n in self.order):
            return False
        return all(r.attrs == (o.into, o.strides) and r.shape == node.shape for r in readers) and all(
            map(self._only_elementwise, readers)
        )

    def _only_elementwise(self, node: Node) -> bool:
        """Whether all that is made of a value reads it only at the element that it makes."""
        stack, seen = [node], set()
        while stack:
            n = stack.pop()
            if id(n) in seen:
                continue
            seen.add(id(n))
            for u in self.users.get(id(n), ()):
                if u.op in ("move", "reshape", "gather"):
                    return False
                stack.append(u)
        return True

    def _last_write(self, node: Node) -> Node:
        """The last of a chain of writes to one memory, each of which is read by the next alone."""
        while id(node) not in self.results:
            users = self.users.get(id(node), ())
            if (
                len(users) != 1
                or users[0].op not in WRITES
                or users[0].inputs[0] is not node
                or users[0].shape != node.shape
            ):
                break
            if any(i is node for i in users[0].inputs[1:]):
                break
            node = users[0]
        return node
