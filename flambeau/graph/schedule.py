"""From a graph to steps: which values are computed together, and which get memory.

Every value that must exist in memory (results, reductions, operands of templates, regions written) is a
*root*.  Roots are taken in order and each joins the latest group that can compute it, or starts one;
everything between roots is computed where it is used.  A value that several groups would compute again at some
cost becomes a root itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from ..layout import contiguous_strides
from .bounds import within
from .crosswise import crosswise
from .group import Group, Place
from .index import Affine, NotFusable, Region, apart
from .kernel import KernelCall
from .lower import kernel_of
from .node import Map, Node, topological
from .order import in_order
from .places import WRITES, BufferSpec, Output, Places, span
from .refine import refine
from .roots import roots_of, unexpanded
from .share import BARRIERS, FREE, operations, shared
from .traffic import ExternCall, Traffic

__all__ = ["BufferSpec", "ExternCall", "Output", "Schedule", "schedule"]

_SPLIT_UNITS = 8
_SPLIT_WORK = 131_072
_WIDE_WORK, _WIDE_ROWS = 1 << 19, 512
_REGIONS = 8  # of one memory that a group writes at most


class Schedule(NamedTuple):
    """Steps in order, over buffers."""

    buffers: tuple[BufferSpec, ...]
    steps: tuple[KernelCall | ExternCall, ...]


def schedule(outputs: Sequence[Output], owners: Sequence[int] = ()) -> Schedule:
    """The steps that compute ``outputs``; ``owners`` numbers the memory of each argument, where several share it."""
    order = in_order([(o.node, o.into) for o in outputs])
    key = _skeleton(order) if len(order) > _LARGE else None
    forced = {id(order[k]) for k in _learned.get(key, ())}
    apart: set[int] = set()
    while True:
        attempt = _Attempt(outputs, order, forced, owners, apart)
        try:
            found = attempt.run()
        except _Apart as more:
            apart |= more.nodes
            continue
        except _Materialize as more:
            if more.nodes <= forced:
                raise AssertionError("scheduling does not advance") from None
            forced |= more.nodes
            continue
        if key is not None and forced:
            if len(_learned) >= _LARGE:
                _learned.clear()
            _learned[key] = tuple(k for k, n in enumerate(order) if id(n) in forced)
        return found


_LARGE = 64
_learned: dict[object, tuple[int, ...]] = {}
"""The values of large graphs that turned out to need memory: a graph that differs in sizes only begins with them."""


def _skeleton(order: Sequence[Node]) -> object:
    """A graph without its sizes."""
    number = {id(n): k for k, n in enumerate(order)}
    return tuple((n.op, n.type, len(n.shape), tuple(number[id(i)] for i in n.inputs)) for n in order)


class _Materialize(Exception):
    def __init__(self, nodes: set[int]) -> None:
        super().__init__()
        self.nodes = nodes


class _Apart(_Materialize):
    """These values, written into an argument, have to be computed elsewhere: their argument is still read."""


class _Attempt(Places):
    """A schedule in the making, which gives ``forced`` values memory; the values ``apart`` are not written into their
    argument early."""

    def __init__(
        self, outputs: Sequence[Output], order: list[Node], forced: set[int], owners: Sequence[int], apart: set[int]
    ) -> None:
        super().__init__(outputs, order, owners)
        self.forced, self.apart = forced, apart
        self.changed: list[tuple[Node, int, int]] = []  # written in place: the last value, its buffer, the first step
        self.traffic = Traffic(self._memory_of)
        self.entries: list[Group | ExternCall] = []
        self.reshape_memo: dict[int, bool] = {}
        self.pieces: list[Node] = []
        self.regions: list[Region] = []  # that the last group of an update writes
        self.split_groups: list[tuple[Group, Group]] = []  # of reductions in pieces: of the elements, of the pieces

    # -- the order of work -----------------------------------------------------------------------
    def run(self) -> Schedule:
        self._inputs()
        for node, strides in crosswise(self.outputs):
            self._lay(node, strides)
        self.roots = roots_of(self.order, [o.node for o in self.outputs], self.forced) | self.squeezed.keys()
        for node in self.order:
            if node.op == "reduce":
                self._reduce(node)
            elif node.op == "argreduce":
                self._join(node, lambda g, n=node: g.add_reduction(n), node.inputs[0].shape, reduction=True)
                self._keep(node)
            elif node.op == "scan":
                target = self._target(node, len(self.entries))
                g = self._new_group(node.inputs[0].shape, (int(node.attrs[1]),))
                self._need(partial(g.add_scan, node, target), node)
                self._set_place(node, target)
            elif node.op == "update":
                self._update(node)
            elif node.op == "scatter":
                self._scatter(node)
            elif node.op == "extern":
                self._extern(node)
            elif id(node) in self.roots and id(node) not in self.places:
                self._store(node)
        self._outputs()
        self.traffic.follow(self.entries)
        for node, buffer, first in self.changed:
            writer = self.entries[first]
            own = isinstance(writer, Group) and writer.overwrites(buffer, self.homes[buffer])
            if self._read_after(buffer, first + own):
                raise _Apart({id(node)})
        self._share()
        self._drop_unread()
        steps: list[KernelCall | ExternCall] = []
        number = {id(n): k for k, n in enumerate(self.order)}
        for e in self.entries:
            if isinstance(e, Group):
                call = kernel_of(e)
                if call is not None:
                    origins, work = self._origins(e, number)
                    steps.append(call._replace(origins=origins, work=work))
            else:
                steps.append(e)
        return Schedule(tuple(self.buffers), tuple(steps))

    def _origins(self, g: Group, number: dict[int, int]) -> tuple[tuple[str, ...], int]:
        """(the operators whose values a group computes, in order; the operations of these values)"""
        inside = sorted({number[i] for i in ({i for i, _ in g.memo} | g.inside.keys()) if i in number})
        found = [n for n in (self.order[k] for k in inside) if n.op not in FREE]
        return tuple(dict.fromkeys(n.origin for n in found if n.origin)), sum(map(operations, found))

    # -- arguments in another order --------------------------------------------------------------
    def _lay(self, node: Node, strides: tuple[int, ...]) -> None:
        """Copies an argument into an order of memory without gaps, for all that read it."""
        g = self._new_group(node.shape)
        g.alone = True
        target = Place(
            self._new_buffer("temp", 0, node.type, math.prod(node.shape)), node.shape, strides, 0, g.number
        )  # fmt: skip
        g.add_store(node, target, node)
        self._set_place(node, target)

    # -- joining groups --------------------------------------------------------------------------
    def _new_group(
        self, space: Sequence[int], reduced: Sequence[int] = (), split: tuple[int, int] | None = None
    ) -> Group:
        g = Group(
            len(self.entries), space, reduced, self.place_of, self.type_of, split, self._rank, self._is_argument,
            self._home,
        )  # fmt: skip
        self.entries.append(g)
        return g

    def _need(self, action: object, node: Node) -> None:
        """Runs ``action`` on a new group; where the group cannot compute an operand, that operand gets memory."""
        try:
            action()  # type: ignore[operator]
        except NotFusable:
            raise _Materialize(self._obstacles(node)) from None

    def _obstacles(self, node: Node) -> set[int]:
        """The nearest computed values under ``node``: what has to be in memory for ``node`` to be computable."""
        found: set[int] = set()
        stack = list(node.inputs) or []
        if not stack:
            raise AssertionError(f"{node!r} cannot be computed")
        layouts = {"move", "reshape"}
        for n in stack:
            while n.op in layouts:
                if (
                    n.op == "reshape"
                    and id(n.inputs[0]) not in self.places
                    and n.inputs[0].op not in ("const", "scalar", "size")
                ):
                    found.add(id(n.inputs[0]))
                n = n.inputs[0]
        if not found - self.forced:
            found = {id(i) for i in topological(node.inputs) if i.op == "reshape" and id(i) not in self.places}
            found |= {
                id(i.inputs[0])
                for i in topological(node.inputs)
                if i.op == "reshape" and id(i.inputs[0]) not in self.places
            }
        if not found - self.forced:
            found = {id(i) for i in node.inputs if i.op not in ("const", "scalar", "size")}
        return found

    def _join(self, node: Node, add: object, space: Sequence[int], reduction: bool = False) -> Group:
        """Adds a root to the latest group that takes it, or to a new one."""
        for g in reversed(self.entries[-6:]):
            if not isinstance(g, Group) or g.serial or g.alone or g.split is not None or g.scan_writes:
                continue
            if g.space != tuple(space) and (reduction or g.row_shape() != tuple(space)):
                continue
            if not self._related(g, node):
                continue
            try:
                add(g)  # type: ignore[operator]
            except NotFusable:
                continue
            return g
        g = self._new_group(space)
        self._need(lambda: add(g), node)  # type: ignore[operator]
        return g

    def _related(self, g: Group, node: Node) -> bool:
        """Whether computing ``node`` in ``g`` saves something: it reads what ``g`` reads or makes."""
        seen: set[int] = set()
        stack = list(node.inputs) if node.op in ("reduce", "argreduce") else [node]
        inputs: set[int] = set()
        while stack:
            n = stack.pop()
            if id(n) in seen:
                continue
            seen.add(id(n))
            if id(n) in g.inside:
                return True
            p = self.places.get(id(n))
            if p is not None and n is not node:
                inputs.add(p.buffer)
                continue
            stack.extend(n.inputs)
        for e in g.pool._table.values():
            if e.op == "access" and e.attr[0] in inputs:
                return True
        return not inputs

    # -- the kinds of roots ----------------------------------------------------------------------
    def _reduce(self, node: Node) -> None:
        dims = node.attrs[1]
        x = node.inputs[0]
        if math.prod(x.shape) >= _SPLIT_WORK and self._units(x, dims) < _SPLIT_UNITS:
            self._split_reduce(node)
            return
        self._join(node, lambda g: g.add_reduction(node), x.shape, reduction=True)
        self._keep(node)

    def _units(self, x: Node, dims: tuple[int, ...]) -> int:
        """How many pieces of parallel work the rows of a reduction make (rows side by side count by the vector)."""
        rows = [n for d, n in enumerate(x.shape) if d not in dims]
        total = math.prod(rows)
        last = max((d for d, n in enumerate(x.shape) if n > 1), default=0)
        if last in dims:
            return total
        # Memory wants to be read from end to end: where there is much of it, a unit has rows as wide as a page or two.
        wide = math.prod(x.shape) >= _WIDE_WORK and math.prod(x.shape[d] for d in dims) >= _WIDE_ROWS
        return total // (2048 if wide else 64)

    def _split_reduce(self, node: Node) -> None:
        """A long reduction with few rows: partial results for pieces of its first dimension, then those together.
        The pieces depend on the sizes alone, so the result does not depend on the number of threads."""
        kind, dims, _ = node.attrs
        x = node.inputs[0]
        pieces = max(1, min(256, math.prod(x.shape) // 32_768))
        # The outermost dimension that has a part for every piece, so that a piece is contiguous; else the longest.
        dim = next((d for d in dims if x.shape[d] >= pieces), max(dims, key=lambda d: (x.shape[d], -d)))
        size = max(64, -(-x.shape[dim] // pieces))
        size = -(-size // 64) * 64 if x.shape[dim] > 64 * 8 else max(1, -(-x.shape[dim] // pieces))
        count = -(-x.shape[dim] // size)
        shape = (count, *node.shape)
        g, h = self._groups_of_pieces(node, (dim, size), shape)
        partial = Node()
        partial.op, partial.inputs, partial.attrs, partial.shape, partial.type = "partial", (), (), shape, node.type
        b = self._new_buffer("temp", 0, node.type, math.prod(shape))
        place = Place(b, shape, contiguous_strides(shape), 0, g.number)
        g.add_rows(node, place, [Affine(0, ((len(x.shape), 1),))])
        self.places[id(partial)] = place
        final = Node()
        final.op, final.inputs, final.attrs = "reduce", (partial,), (kind, (0,), None)
        final.shape, final.type = (1, *node.shape), node.type
        h.add_reduction(final)
        target = self._target(node, h.number)
        h.add_rows(final, target, skip=1)
        self._set_place(node, target)
        self.pieces += [partial, final]  # places are known by identity: they must stay alive

    def _groups_of_pieces(self, node: Node, split: tuple[int, int], shape: tuple[int, ...]) -> tuple[Group, Group]:
        """The group of a reduction in pieces, with it, and that of the pieces, whose shape is given: those of another
        one that reads the same, or new ones."""
        dims, x = node.attrs[1], node.inputs[0]
        for g, h in reversed(self.split_groups):
            fits = g.space == tuple(x.shape) and g.reduced == tuple(dims) and g.split == split
            if not fits or not self._related(g, node) or any(id(n) in g.accs for n in topological(node.inputs)):
                continue
            try:
                g.add_reduction(node)
            except NotFusable:
                continue
            return g, h
        g = self._new_group(x.shape, dims, split)
        self._need(lambda: g.add_reduction(node), node)
        self.split_groups.append((g, self._new_group(shape)))
        return self.split_groups[-1]

    def _keep(self, node: Node) -> None:
        """Stores a reduction's result if anything outside its group reads it (decided at the end)."""
        g = next(e for e in reversed(self.entries) if isinstance(e, Group) and id(node) in e.accs)
        target = self._target(node, g.number)
        g.add_store(node, target, node)
        self._set_place(node, target)

    def _store(self, node: Node) -> None:
        if node.op == "out":
            return
        users = self.users.get(id(node), ())
        kept = id(node) in self.results or id(node) in self.squeezed
        if len(users) == 1 and users[0].op in WRITES and users[0].inputs[0] is node and not kept:
            # what is written over right away lies where the last write will be
            target = self._target(self._last_write(users[0]), 0)
        else:
            target = self._target(node, 0)
        value, place = self._refined(node, target)
        g = self._join(value, lambda h: h.add_store(value, place._replace(group=h.number), value), value.shape)
        g.inside[id(node)] = node
        self._set_place(node, target._replace(group=g.number))

    def _refined(self, node: Node, target: Place) -> tuple[Node, Place]:
        """A value and its place, over the space in which the reshapes under it take no divisions."""
        if not self._reshapes(node):
            return node, target
        found = refine(node, lambda n: id(n) in self.places)
        if found is None:
            return node, target
        self.pieces.append(found.node)
        return found.node, found.place(target)

    def _reshapes(self, node: Node) -> bool:
        """Whether a reshape lies between a value and what it is computed from."""
        found = self.reshape_memo.get(id(node))
        if found is None:
            found = node.op == "reshape" or (
                node.op not in BARRIERS and any(id(i) not in self.places and self._reshapes(i) for i in node.inputs)
            )
            self.reshape_memo[id(node)] = found
        return found

    def _own_copy(self, base: Node, node: Node) -> Place:
        """Memory that holds ``base`` and that ``node`` may change: the base's own when nobody else reads it."""
        if base.op == "undef":
            return self._target(self._last_write(node), len(self.entries))
        place = self.places.get(id(base))
        if place is not None and len(self.users[id(base)]) == 1 and id(base) not in self.results:
            kind = self.buffers[place.buffer].kind
            if (
                kind == "temp"
                or (kind == "output" and id(base) not in self.squeezed)
                or (kind == "input" and base.op != "input" and place.buffer in self.homes)
            ):
                return place._replace(group=len(self.entries))
        if base.op == "input" and place is not None and id(base) not in self.results:
            own = self._written_back(base, node)
            if own is not None:
                return place._replace(buffer=own, group=len(self.entries))
        target = self._target(self._last_write(node), len(self.entries))
        g = self._new_group(base.shape)
        self._need(lambda: g.add_store(base, target, base), base)
        return target

    def _written_back(self, base: Node, node: Node) -> int | None:
        """A buffer for the writes that begin with ``node`` on the argument ``base`` and end as the result that goes
        there: it lies in the argument.  None if that is not where they end, or if somebody reads the argument later."""
        last = self._last_write(node)
        numbers = self.results.get(id(last), ())
        if len(numbers) != 1 or id(last) in self.apart:
            return None
        o = self.outputs[numbers[0]]
        if o.into is None or (o.into, o.strides) != base.attrs:
            return None
        old = self.places[id(base)].buffer
        buffer = self._new_buffer("input", o.into, base.type, self.buffers[old].size)
        self.homes[buffer] = old
        self.changed.append((last, buffer, len(self.entries)))
        return buffer

    def _update(self, node: Node) -> None:
        base, x = node.inputs
        map_: Map = node.attrs[0]
        target = self._own_copy(base, node)
        if math.prod(x.shape):
            found = refine(x, lambda n: id(n) in self.places) if self._reshapes(x) else None
            if found is not None:
                self.pieces.append(found.node)
                x, map_ = found.node, found.map(map_)
            if not self._write_beside(base, node, x, map_, target):
                g = self._new_group(x.shape)
                self._need(lambda: g.add_store(x, target, x, map_), node)
                self.regions = [(map_, x.shape)]
        self._set_place(node, target._replace(group=len(self.entries) - 1))

    def _write_beside(self, base: Node, node: Node, x: Node, map_: Map, target: Place) -> bool:
        """Has the last group, which made ``base`` by writing regions, write this one too, as the parts of a
        concatenation that are computed from the same values; False where it cannot."""
        g = self.entries[-1] if self.entries else None
        if base.op != "update" or not isinstance(g, Group) or g.space != tuple(x.shape) or g.reduced:
            return False
        before = self.places[id(base)]
        if (before.buffer, before.group) != (target.buffer, g.number) or len(self.regions) >= _REGIONS:
            return False
        last = self.results.get(id(self._last_write(node)), ())
        if self.buffers[target.buffer].kind == "input" or any(self.outputs[k].into is not None for k in last):
            return False
        region = (map_, tuple(x.shape))
        if not all(apart(region, other) for other in self.regions) or not self._related(g, x):
            return False
        try:
            g.add_store(x, target, x, map_)
        except NotFusable:
            return False
        self.regions.append(region)
        return True

    def _scatter(self, node: Node) -> None:
        base, x = node.inputs[:2]
        target = self._own_copy(base, node)
        map_ = node.attrs[1]
        direct = {k for what, k in map_ if what == "d"}
        reduced = [d for d in range(len(x.shape)) if d not in direct]
        if math.prod(x.shape):
            for k, i in enumerate(node.inputs[2:]):  # nothing is written unless every index is inside
                dim = next(d for d, (what, j) in enumerate(map_) if what == "i" and j == k)
                i = unexpanded(i)
                if within(i, target.shape[dim]):
                    continue
                once = i.attrs[1] if i.op == "input" else i.shape  # what an argument repeats is looked at once
                check = self._new_group([n if step else 1 for n, step in zip(i.shape, once)])
                self._need(lambda c=check, n=i, size=target.shape[dim]: c.add_check(n, size), node)
            g = self._new_group(x.shape, reduced)
            g.serial = True
            self._need(lambda: g.add_scatter(node, target), node)
        self._set_place(node, target._replace(group=len(self.entries) - 1))

    def _extern(self, node: Node) -> None:
        spec, results = node.attrs
        inputs = tuple(self._operand(spec, k, i, results[0][0]) for k, i in enumerate(node.inputs))
        number = len(self.entries)
        outputs: list[Place] = []
        users = {u.attrs[0]: u for u in self.users.get(id(node), ()) if u.op == "out"}
        for k, (shape, type_) in enumerate(results):
            if k in users:
                place = self._target(users[k], number)
                self._set_place(users[k], place)
            else:
                place = Place(
                    self._new_buffer("temp", 0, type_, math.prod(shape)), shape, contiguous_strides(shape), 0, number
                )
            outputs.append(place)
        self.entries.append(ExternCall(spec, inputs, tuple(outputs), node.origin))

    def _operand(self, spec: object, k: int, node: Node, result: tuple[int, ...]) -> Place:
        """Where operand ``k`` of an extern call lies: in a copy if the template does not take it as it lies."""
        place = self._view(node)
        accepts = getattr(spec, "accepts", None)
        if accepts is None or accepts(k, place.shape, place.strides, result):
            return place
        buffer = self._new_buffer("temp", 0, node.type, math.prod(node.shape))
        target = Place(buffer, node.shape, contiguous_strides(node.shape), 0, len(self.entries))
        self._copy(node, target)
        return target

    def _view(self, node: Node) -> Place:
        """Where an operand of an extern call lies."""
        if id(node) in self.places:
            return self.places[id(node)]
        if node.op == "move":
            p = self._view(node.inputs[0])
            strides = [0] * len(node.shape)
            offset = p.offset
            for d, (o, terms) in enumerate(node.attrs[0]):
                offset += o * p.strides[d]
                for t, c in terms:
                    strides[t] += c * p.strides[d]
            return Place(p.buffer, node.shape, tuple(strides), offset, p.group)
        if node.op == "reshape":
            p = self._view(node.inputs[0])
            if p.strides == contiguous_strides(p.shape):
                return Place(p.buffer, node.shape, contiguous_strides(node.shape), p.offset, p.group)
        raise _Materialize({id(node)})

    # -- the end ---------------------------------------------------------------------------------
    def _outputs(self) -> None:
        """Copies for results that are views, arguments, or the same value twice, and for those that go into arguments
        which are still read while they are computed."""
        into: list[tuple[Output, Place]] = []
        for k, o in enumerate(self.outputs):
            place = self.places.get(id(o.node))
            if o.into is None:
                if place is None or self.buffers[place.buffer][:2] != ("output", k):
                    self._copy(o.node, self._result(k, len(self.entries)))
                continue
            if place is not None and self._lies_in(place, o):
                continue
            if place is None or self.buffers[place.buffer].kind == "input":
                if len(self.outputs) == 1 and not self._reads(o.node, o.into):
                    self._copy(o.node, self._argument_place(o, len(self.entries)))
                    continue
                # it may be read from an argument that another of these results overwrites
                size = math.prod(o.node.shape)
                buffer = self._new_buffer("temp", 0, o.node.type, size)
                place = Place(buffer, o.node.shape, o.strides, 0, len(self.entries))
                if (
                    any(n > 1 and s == 0 for n, s in zip(o.node.shape, o.strides))
                    or span(o.node.shape, o.strides) != size
                ):
                    place = place._replace(strides=contiguous_strides(o.node.shape))
                self._copy(o.node, place)
            into.append((o, place))
        self.traffic.follow(self.entries)
        into = [(o, place) for o, place in into if not self._donate(o, place)]
        for o, place in into:
            value = Node()
            value.op, value.inputs, value.attrs, value.shape, value.type = "kept", (), (), o.node.shape, o.node.type
            value.origin = o.node.origin
            self.places[id(value)] = place
            self.pieces.append(value)
            self._copy(value, self._argument_place(o, len(self.entries)))

    def _reads(self, node: Node, slot: int) -> bool:
        """Whether a value that takes no operation is read from the memory of the argument in ``slot``."""
        sources = [n for n in topological([node]) if n.op not in FREE or n.op == "input"]
        return any(n.op != "input" or self._memory(n.attrs[0]) == self._memory(slot) for n in sources)

    def _copy(self, node: Node, target: Place) -> None:
        g = self._new_group(node.shape)
        self._need(lambda: g.add_store(node, target, node), node)

    def _donate(self, o: Output, place: Place) -> bool:
        """Has a temporary value that goes into an argument computed right there, if nobody reads the argument later."""
        buffer = place.buffer
        spec = self.buffers[buffer]
        whole = place.strides == o.strides and place.shape == o.node.shape and not place.offset
        if spec.kind != "temp" or not whole or len(self.results[id(o.node)]) > 1 or id(o.node) in self.apart:
            return False
        first = self.traffic.only_writer(buffer)
        if first is None:
            return False
        home = self._argument_place(o, 0).buffer
        if self.buffers[home].type != spec.type or self._read_after(buffer, first + 1, o.into):
            return False
        writer = self.entries[first]
        if isinstance(writer, ExternCall):
            if any(
                self._same_memory(self.buffers[p.buffer].slot, o.into)
                for p in writer.inputs
                if self._is_argument(p.buffer)
            ):
                return False
        else:
            old = {
                k
                for k in self.traffic.reads[first]
                if self._is_argument(k) and self._same_memory(self.buffers[k].slot, o.into)
            }
            if old - {home} or (old and not writer.overwrites(buffer, home)):
                return False
        self.buffers[buffer] = spec._replace(kind="input", slot=self.buffers[home].slot)
        self.homes[buffer] = home
        self.traffic.moved(buffer)
        return True

    def _read_after(self, buffer: int, first: int, slot: int | None = None) -> bool:
        """Whether a step from number ``first`` on reads what the argument in ``slot`` (of ``buffer``) held before the
        value in ``buffer`` was written there."""
        return self.traffic.read_from(first, self._memory(self.buffers[buffer].slot if slot is None else slot), buffer)

    def _share(self) -> None:
        """A value that several groups compute again, at some cost, gets memory instead."""
        groups = [e for e in self.entries if isinstance(e, Group)]
        more = shared(self.order, self.users, groups, self.places)
        if more:
            raise _Materialize(more)

    def _drop_unread(self) -> None:
        """Forgets temporary results that no step reads, such as the maximum that only its own group needs."""
        unread = {i for i, b in enumerate(self.buffers) if b.kind == "temp"}
        for e in self.entries:
            if isinstance(e, Group):
                unread -= e.buffers_read()
                unread -= {s[-1].buffer for s in e.scan_writes}  # a running combination always has its memory
            else:
                unread -= {p.buffer for p in (*e.inputs, *e.outputs)}
        for e in self.entries:
            if isinstance(e, Group):
                e.forget_writes(unread)
        for i in unread:
            self.buffers[i] = self.buffers[i]._replace(kind="unused")
