"""A group: values that one kernel computes, as expressions over a space of loop variables.

A group is a nest of loops over a *space* (``Group.space``), of which some dimensions may be reduced.  For every
position of the other dimensions (a row) it runs stages: each stage folds accumulators over the reduced
dimensions, and may use the results of the stages before; then the results of the row are stored, and those of
every element.  Softmax, layer_norm and their gradients are one such group.  ``lower.py`` makes the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..loop.nodes import Expr, Pool
from .bounds import within
from .complex import PART
from .complex import elementwise as complex_elementwise
from .index import Affine, Index, NotFusable, Opaque, combine, reshaped
from .node import Map, Node

__all__ = ["Condition", "Group", "Place", "Reduction", "Write", "mapped"]

INDEX_ERROR = 1
_LONG_COLUMN = 4096
"""Elements of a row from which on rows that lie side by side are not written by the kernel that reduces them."""


class Place(NamedTuple):
    """Where a value lies: elements of ``shape`` at ``offset + sum(index * stride)`` of a plan's buffer.
    ``group`` is the number of the step that fills it (-1: an argument)."""

    buffer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    group: int


class Condition(NamedTuple):
    """What must hold, and the error code that tells when it does not."""

    holds: Expr
    code: int


class Reduction(NamedTuple):
    """A value folded into an accumulator; ``index`` for those that tell where an extreme was."""

    acc: str
    kind: str
    type: str
    value: Expr
    index: Expr | None  # type: ignore[assignment]


class Write(NamedTuple):
    """A value that goes into a buffer: at the affine form of this number, and what was looked up (``others``)."""

    buffer: int
    form: int
    others: tuple[Expr, ...]
    value: Expr
    kind: str  # "store" or a combining kind


class Group:
    """A group under construction.  ``place_of`` tells where a value computed elsewhere lies, or None; ``home`` the
    buffer of the argument in whose memory a value lies, or the value's own."""

    def __init__(
        self, number: int, space: Sequence[int], reduced: Sequence[int], place_of: Callable[[Node], Place | None],
        type_of: Callable[[int], str], split_: tuple[int, int] | None = None, rank: Callable[[int], Any] = int,
        is_argument: Callable[[int], bool] = bool, home: Callable[[int], int] = int,
    ) -> None:  # fmt: skip
        self.is_argument = is_argument
        self.home = home
        self.rank = rank
        self.number = number
        self.space = tuple(space)
        self.reduced = tuple(reduced)
        self.split = split_
        self.serial = False
        self.alone = False  # nothing joins it
        self.place_of = place_of
        self.type_of = type_of
        self.pool = Pool()
        self.forms: list[Affine] = []
        self.form_index: dict[Affine, int] = {}
        self.accs: dict[int, tuple[str, int]] = {}
        self.inside: dict[int, Node] = {}
        self.stages: list[list[Reduction]] = []
        self.row_writes: list[Write] = []
        self.element_writes: list[Write] = []
        self.scan_writes: list[tuple[str, str, str, Expr, Expr | None, Write]] = []
        self.checks: list[list[Condition]] = [[]]
        self.memo: dict[tuple[int, tuple[Index, ...]], object] = {}
        self.found_checks: list[Condition] = []
        self.check_memo: dict[int, tuple[Condition, ...]] = {}

    # -- what may join ---------------------------------------------------------------------------
    def full_index(self) -> tuple[Index, ...]:
        """The index of the element at hand."""
        return tuple(Affine(0, ((d, 1),)) if n != 1 else Affine(0, ()) for d, n in enumerate(self.space))

    def row_index(self) -> tuple[Index, ...]:
        """The index of the row at hand: 0 along reduced dimensions."""
        return tuple(
            Affine(0, ()) if d in self.reduced or n == 1 else Affine(0, ((d, 1),)) for d, n in enumerate(self.space)
        )

    def row_shape(self) -> tuple[int, ...]:
        """The shape of the rows: 1 along reduced dimensions."""
        return tuple(1 if d in self.reduced else n for d, n in enumerate(self.space))

    def add_reduction(self, node: Node) -> None:
        """Adds a reduce or argreduce over this space; raises NotFusable."""
        kind, dims = node.attrs[0], node.attrs[1]
        x = node.inputs[0]
        if x.shape != self.space:
            raise NotFusable
        if self.reduced and tuple(self.reduced) != dims:
            raise NotFusable
        if not self.reduced:
            if self.accs or self.row_writes or self.scan_writes:
                raise NotFusable
            before, self.reduced = self.reduced, dims
        else:
            before = self.reduced
        try:
            value, checks = self._root(x, self.full_index())
        except NotFusable:
            self.reduced = before
            raise
        parts: tuple[Expr, ...]
        if isinstance(value, tuple):
            parts = value
        else:
            parts = (value,)
        if len(parts) == 2 and kind == "mul":
            raise NotFusable
        stage = 1 + max(self._stage(p) for p in parts)
        while len(self.stages) < stage:
            self.stages.append([])
            self.checks.append([])
        index = None
        if node.op == "argreduce":
            sizes = [self.space[d] for d in dims]
            weights, w = [], 1
            for n in reversed(sizes):
                weights.append(w)
                w *= n
            total = combine([self.full_index()[d] for d in dims], weights[::-1])
            index = self._index_value(total.affine)
        name = f"r{len(self.accs)}"
        for part, p in zip(("", "i"), parts):
            self.stages[stage - 1].append(Reduction(name + part, str(kind), p.type, p, index))
        self.checks[stage - 1].extend(checks)
        self.accs[id(node)] = (name, stage)
        self.inside[id(node)] = node

    def add_store(self, node: Node, target: Place, value: Node, index_map: Map | None = None) -> None:
        """Stores ``value`` (all of it) at ``target``, through ``index_map`` (of an update) if given."""
        if self.scan_writes or self.serial:
            raise NotFusable
        full = value.shape == self.space
        if not full and value.shape != self.row_shape():
            raise NotFusable
        row = not full
        if full and self.stages and self._scatters(target):
            raise NotFusable
        index = self.row_index() if row else self.full_index()
        expression, checks = self._root(value, index)
        writes = self.row_writes if row else self.element_writes
        if row and checks:
            raise NotFusable
        position = index
        if index_map is not None:
            position = tuple(mapped(o, terms, index) for o, terms in index_map)
        writes.extend(self._writes(target, position, expression, "store"))
        self.checks[-1].extend(checks)
        self.inside[id(node)] = node

    def _scatters(self, target: Place) -> bool:
        """Whether storing the elements of one row after the other would touch a line of memory for each of them, too
        many for the caches: rows of ``target`` lie side by side, as those of batch norm over channels at the end."""
        steps = [(s, d) for d, (n, s) in enumerate(zip(target.shape, target.strides)) if n > 1]
        length = math.prod(n for d, n in enumerate(self.space) if d in self.reduced)
        if len(target.shape) != len(self.space) or not steps or length <= _LONG_COLUMN:
            return False
        return min(steps)[1] not in self.reduced

    def add_rows(self, node: Node, target: Place, lead: Sequence[Index] = (), skip: int = 0) -> None:
        """Stores the reduction ``node`` of this group at ``lead`` and then the row, without its first ``skip``
        dimensions (for the two halves of a reduction done in pieces)."""
        index = self.row_index()
        self.row_writes.extend(self._writes(target, (*lead, *index[skip:]), self._at(node, index), "store"))

    def add_check(self, node: Node, size: int) -> None:
        """Reports elements of ``node`` (an index) that are not in ``[0, size)``."""
        value, checks = self._root(node, self.full_index())
        assert isinstance(value, Expr)
        self._checked(value, size)
        self.checks[-1].extend([*checks, *self.found_checks])

    def add_scan(self, node: Node, target: Place) -> None:
        """A running combination; it has its group to itself."""
        kind, dim = node.attrs
        x = node.inputs[0]
        value, checks = self._root(x, self.full_index())
        self.checks[-1].extend(checks)
        if isinstance(value, tuple):
            parts: tuple[Expr, ...] = value
        else:
            parts = (value,)
        kind = str(kind)
        index = self._index_value(Affine(0, ((int(dim), 1),))) if kind.startswith("arg") else None
        if len(parts) == 2 and kind != "add":
            raise NotFusable
        for k, p in enumerate(parts):
            name = f"s{k}"
            acc = self.pool.make(
                "acc", "i64" if index is not None else p.type, (), name + (".index" if index is not None else "")
            )
            pieces = self._writes(target, self.full_index(), acc if len(parts) == 1 else (acc, acc), "store")
            self.scan_writes.append((name, kind, p.type, p, index, pieces[k]))
        self.inside[id(node)] = node

    def add_scatter(self, node: Node, target: Place) -> None:
        """Combines into ``target``, which holds the base already."""
        kind, map_ = node.attrs
        x, indices = node.inputs[1], node.inputs[2:]
        value, checks = self._root(x, self.full_index())
        position: list[Index] = []
        for what, k in map_:
            if what == "d":
                position.append(self.full_index()[k])
            else:
                # a check of all indices comes before, and nothing is written should it fail
                i, more = self._root(indices[k], self.full_index())
                checks = checks + more
                assert isinstance(i, Expr)
                position.append(Opaque(i))
        self.checks[-1].extend(checks)
        self.element_writes.extend(
            self._writes(target, tuple(position), value, "store" if kind == "set" else str(kind))
        )
        self.inside[id(node)] = node

    def _writes(
        self, target: Place, position: tuple[Index, ...], value: Expr | tuple[Expr, Expr], kind: str
    ) -> list[Write]:
        if isinstance(value, Expr):
            form, others = self._address(target, position, 1, 0)
            return [Write(target.buffer, form, others, value, kind)]
        if kind not in ("store", "add"):
            raise NotFusable
        result = []
        for part, v in enumerate(value):
            form, others = self._address(target, position, 2, part)
            result.append(Write(target.buffer, form, others, v, kind))
        return result

    # -- expressions -----------------------------------------------------------------------------
    def _root(self, node: Node, index: tuple[Index, ...]) -> tuple[Expr | tuple[Expr, Expr], tuple[Condition, ...]]:
        self.found_checks = []
        value = self._at(node, index)
        checks: dict[int, Condition] = {}
        parts = value if isinstance(value, tuple) else (value,)
        stack, seen = list(parts), set()
        while stack:
            e = stack.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            for c in self.check_memo.get(id(e), ()):
                checks[id(c.holds)] = c
                stack.append(c.holds)
            stack.extend(e.args)
        return value, tuple(checks.values())

    def _stage(self, e: Expr) -> int:
        stages = dict(self.accs.values())
        best, stack, seen = 0, [e], set()
        while stack:
            x = stack.pop()
            if id(x) in seen:
                continue
            seen.add(id(x))
            if x.op == "acc":
                name = str(x.attr).removesuffix(".index")
                best = max(best, stages[name if name in stages else name.removesuffix("i")])
            stack.extend(x.args)
        return best

    def _form(self, form: Affine) -> int:
        found = self.form_index.get(form)
        if found is None:
            found = self.form_index[form] = len(self.forms)
            self.forms.append(form)
        return found

    def _index_value(self, form: Affine) -> Expr:
        return self.pool.make("index", "i64", (), self._form(form))

    def _index_expr(self, index: Index) -> Expr:
        """A position as a number."""
        if isinstance(index, Affine):
            return self.pool.const(index.const, "i64") if not index.terms else self._index_value(index)
        if isinstance(index, Opaque):
            return index.expr
        value = self._index_expr(index.value)
        if index.div != 1:
            value = self.pool.make("quot", "i64", (value, self.pool.make("size", "i64", (), index.div)))
        if index.div * index.mod != index.size:
            value = self.pool.make("rem", "i64", (value, self.pool.make("size", "i64", (), index.mod)))
        return value

    def _address(self, place: Place, index: Sequence[Index], scale: int, part: int) -> tuple[int, tuple[Expr, ...]]:
        """(form, ((expression, coefficient) ...)) of an access; coefficients travel as "size" expressions."""
        total = combine(index, [s * scale for s in place.strides], place.offset * scale + part)
        others: list[Expr] = []
        for i, weight in total.others:
            others += [self._index_expr(i), self.pool.make("size", "i64", (), weight)]
        return self._form(total.affine), tuple(others)

    def _load(self, place: Place, index: Sequence[Index]) -> Expr | tuple[Expr, Expr]:
        type_ = self.type_of(place.buffer)
        if 0 in place.shape:
            # No index is inside of it, but a load may be taken out of the loop that never runs.
            zero = self.pool.const(0, PART.get(type_, type_))
            return (zero, zero) if type_ in PART else zero
        if type_ in PART:
            parts = []
            for part in (0, 1):
                form, others = self._address(place, index, 2, part)
                parts.append(self.pool.make("access", PART[type_], others, (place.buffer, form)))
            return parts[0], parts[1]
        form, others = self._address(place, index, 1, 0)
        return self.pool.make("access", type_, others, (place.buffer, form))

    def _at(self, node: Node, index: tuple[Index, ...]) -> Expr | tuple[Expr, Expr]:
        key = (id(node), index)
        found = self.memo.get(key)
        if found is None:
            found = self._compute(node, index)
            self.memo[key] = found
        return found  # type: ignore[return-value]

    def _compute(self, node: Node, index: tuple[Index, ...]) -> Expr | tuple[Expr, Expr]:
        op = node.op
        if id(node) in self.accs:
            if index != self.row_index():
                raise NotFusable
            name = self.accs[id(node)][0]
            if node.op == "argreduce":
                return self.pool.make("acc", "i64", (), name + ".index")
            if node.type in PART:
                part = PART[node.type]
                return self.pool.make("acc", part, (), name), self.pool.make("acc", part, (), name + "i")
            return self.pool.make("acc", node.type, (), name)
        place = self.place_of(node)
        if place is not None and place.group != self.number:
            if place.group > self.number:
                raise NotFusable
            return self._load(place, index)
        if place is not None and index != self.full_index() and index != self.row_index():
            raise NotFusable
        if op == "const":
            value = node.attrs[0]
            if node.type in PART:
                part = PART[node.type]
                return self.pool.const(value.real, part), self.pool.const(value.imag, part)
            return self.pool.const(value, node.type)
        if op == "scalar":
            return self.pool.make("scalar", node.type, (), node.attrs[0])
        if op == "size":
            return self.pool.make("size", "i64", (), node.attrs[0])
        if op == "iota":
            return self._index_expr(index[node.attrs[0]])
        if op == "undef":
            if node.type in PART:
                zero = self.pool.const(0.0, PART[node.type])
                return zero, zero
            return self.pool.const(0, node.type)
        if op == "move":
            map_: Map = node.attrs[0]
            return self._at(node.inputs[0], tuple(mapped(o, terms, index, self) for o, terms in map_))
        if op == "reshape":
            return self._at(node.inputs[0], reshaped(node.inputs[0].shape, node.shape, index, self.space))
        if op == "gather":
            return self._gather(node, index)
        if op == "require":
            return self._require(node, index)
        if op in ("reduce", "argreduce", "scan", "update", "scatter", "out", "extern", "input"):
            raise NotFusable
        args = [self._at(i, index) for i in node.inputs]
        return self._elementwise(node, args)

    def _elementwise(self, node: Node, args: list[Expr | tuple[Expr, Expr]]) -> Expr | tuple[Expr, Expr]:
        op, make = node.op, self.pool.make
        if op == "real":
            return args[0][0]  # type: ignore[index]
        if op == "imag":
            return args[0][1]  # type: ignore[index]
        if op == "complex":
            return args[0], args[1]  # type: ignore[return-value]
        if op == "cast":
            return self._cast(node, args[0])
        source = node.inputs[-1].type
        if source not in PART:
            return make(op, node.type, tuple(args))  # type: ignore[arg-type]
        if op == "select":
            c, a, b = args
            return tuple(make("select", PART[source], (c, x, y)) for x, y in zip(a, b))  # type: ignore[return-value,arg-type]
        if op in ("eq", "ne"):
            (a, b), (c, d) = args  # type: ignore[misc]
            return make("and" if op == "eq" else "or", "b1", (make(op, "b1", (a, c)), make(op, "b1", (b, d))))
        if op == "isnan":
            a, b = args[0]  # type: ignore[misc]
            return make("or", "b1", (make("isnan", "b1", (a,)), make("isnan", "b1", (b,))))
        if op == "abs":  # the modulus, in the real part: the operator takes it from there
            zero = self.pool.const(0.0, PART[source])
            return make("hypot", PART[source], args[0]), zero  # type: ignore[arg-type]
        return complex_elementwise(self.pool, op, PART[source], args)  # type: ignore[arg-type]

    def _cast(self, node: Node, x: Expr | tuple[Expr, Expr]) -> Expr | tuple[Expr, Expr]:
        make = self.pool.make
        to = PART.get(node.type)
        if isinstance(x, tuple):
            if to is not None:
                return tuple(p if p.type == to else make("cast", to, (p,)) for p in x)  # type: ignore[return-value]
            if node.type == "b1":
                zero = self.pool.const(0.0, x[0].type)
                return make("or", "b1", tuple(make("ne", "b1", (p, zero)) for p in x))
            x = x[0]
        target = to or node.type
        value = x if x.type == target else make("cast", target, (x,))
        return (value, self.pool.const(0.0, to)) if to is not None else value

    def _checked(self, i: Expr, size: int) -> Expr:
        """An index that is inside whatever happens, and a check that it was so all along."""
        make = self.pool.make
        limit = make("size", "i64", (), size)
        zero = self.pool.const(0, "i64")
        # one comparison: as a number without a sign, what is negative is beyond any size
        inside = make("lt", "b1", (make("bitcast", "u64", (i,)), make("bitcast", "u64", (limit,))))
        safe = make("select", "i64", (inside, i, zero))
        condition = Condition(inside, INDEX_ERROR)
        self.check_memo[id(safe)] = (condition,)
        self.found_checks.append(condition)
        return safe

    def _require(self, node: Node, index: tuple[Index, ...]) -> Expr | tuple[Expr, Expr]:
        value, holds = self._at(node.inputs[0], index), self._at(node.inputs[1], index)
        assert isinstance(holds, Expr) and isinstance(value, Expr)
        code = int(node.attrs[0])
        # a value of its own, so that other uses of the operand carry no condition
        marked = self.pool.make("select", value.type, (holds, value, value), code)
        self.check_memo[id(marked)] = (Condition(holds, code),)
        return marked

    def _gather(self, node: Node, index: tuple[Index, ...]) -> Expr | tuple[Expr, Expr]:
        x = node.inputs[0]
        position: list[Index] = []
        for d, (what, k) in enumerate(node.attrs[0]):
            if what == "d":
                position.append(index[k])
            else:
                i = self._at(node.inputs[1 + k], index)
                assert isinstance(i, Expr)
                position.append(Opaque(i if within(node.inputs[1 + k], x.shape[d]) else self._checked(i, x.shape[d])))
        return self._at(x, tuple(position))

    # -- what was collected ----------------------------------------------------------------------
    def writes(self) -> list[Write]:
        """All that is written: results of rows, of elements, and of a running combination."""
        return self.row_writes + self.element_writes + [s[-1] for s in self.scan_writes]

    def roots(self) -> list[Expr]:
        """The expressions whose values are used."""
        found: list[Expr] = []
        for stage in self.stages:
            for r in stage:
                found.append(r.value)
                if r.index is not None:
                    found.append(r.index)
        for w in self.row_writes + self.element_writes:
            found += [w.value, *w.others]
        for _, _, _, value, index, w in self.scan_writes:
            found += [value, *w.others] + ([index] if index is not None else [])
        for checks in self.checks:
            found += [c.holds for c in checks]
        return found

    def buffers_read(self) -> set[int]:
        """The buffers that the group loads from, or combines what is there with something (in a scatter)."""
        read = {w.buffer for w in self.element_writes if w.kind != "store"}
        stack, seen = self.roots(), set()
        while stack:
            e = stack.pop()
            if id(e) not in seen:
                seen.add(id(e))
                if e.op == "access":
                    read.add(e.attr[0])
                stack.extend(e.args)
        return read

    def overwrites(self, buffer: int, old: int) -> bool:
        """Whether ``buffer`` may lie in the memory of ``old``, which the group reads: it does so only at the element
        that it writes, and before.  Puts what else reads ``old`` first."""
        rows = [w for w in self.row_writes if w.buffer == buffer]
        writes = self.row_writes if rows else self.element_writes
        own = [w for w in writes if w.buffer == buffer]
        if len(own) != 1 or own[0].kind != "store" or own[0].others or self.scan_writes:
            return False
        if self.serial or self.split is not None:
            return False
        last = own[0]
        checks = [c.holds for stage in self.checks for c in stage]
        roots = [*self.roots(), *checks]
        if any(form != last.form or others for form, others in _accesses(roots, old)):
            return False
        rest = [w for w in writes if w is not last]
        later = [w.value for w in self.element_writes] + checks if rows else []
        if _accesses(later, old):
            return False
        # what an earlier write in place leaves must not be read after it
        earlier = {w.buffer for w in rest if self.home(w.buffer) != w.buffer}
        if any(_accesses([last.value], self.home(k)) for k in earlier):
            first = [w for w in rest if self.home(w.buffer) == w.buffer]
            ordered = [*first, last, *(w for w in rest if self.home(w.buffer) != w.buffer)]
            if any(_accesses([w.value], old) for w in ordered[ordered.index(last) + 1 :]):
                return False
        else:
            ordered = [*rest, last]
        writes[:] = ordered
        return True

    def forget_writes(self, buffers: set[int]) -> None:
        """Removes what is written to ``buffers``."""
        self.row_writes = [w for w in self.row_writes if w.buffer not in buffers]
        self.element_writes = [w for w in self.element_writes if w.buffer not in buffers]


def _accesses(roots: Sequence[Expr], buffer: int) -> list[tuple[int, tuple[Expr, ...]]]:
    """Where expressions read a buffer: (form, other terms of the address) of each access."""
    found: list[tuple[int, tuple[Expr, ...]]] = []
    stack, seen = list(roots), set()
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if e.op == "access" and e.attr[0] == buffer:
            found.append((e.attr[1], e.args))
        stack.extend(e.args)
    return found


def mapped(
    offset: int, terms: tuple[tuple[int, int], ...], index: Sequence[Index], group: Group | None = None
) -> Index:
    """``offset + sum(coefficient * index[dim])``"""
    if len(terms) == 1 and terms[0][1] == 1 and offset == 0:
        return index[terms[0][0]]
    total = combine([index[d] for d, _ in terms], [c for _, c in terms], offset)
    if not total.others:
        return total.affine
    if group is None:
        raise NotFusable
    make = group.pool.make
    value = group._index_expr(total.affine)
    for i, weight in total.others:
        # a negative size would stand for something else: which part of the loops this is
        term = make("mul", "i64", (group._index_expr(i), make("size", "i64", (), abs(weight))))
        value = make("add" if weight > 0 else "sub", "i64", (value, term))
    return Opaque(value)
