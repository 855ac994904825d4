"""One group of values to one kernel: expressions over loop variables, loop order, vectors, parameters.

A group is a nest of loops over a *space* (``Group.space``), of which some dimensions may be reduced.  For every
position of the other dimensions (a row) it runs stages: each stage folds accumulators over the reduced
dimensions, and may use the results of the stages before; then the results of the row are stored, and those of
every element.  Softmax, layer_norm and their gradients are one such group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..dtype import coded
from ..loop.nodes import (
    TILE,
    Buffer,
    Check,
    Combine,
    Expr,
    Init,
    Kernel,
    Loop,
    Pool,
    Stmt,
    Store,
    Turn,
    Update,
    expressions,
    walk,
)  # fmt: skip
from ..runtime.cpu import cache_sizes
from .complex import elementwise as complex_elementwise
from .index import Affine, Index, Opaque, combine, split
from .node import Map, Node

__all__ = ["Group", "KernelCall", "NotFusable", "Place", "kernel_of", "mapped", "reshaped"]

INDEX_ERROR = 1
_COMPLEX = {"c64": "f32", "c128": "f64"}


class NotFusable(Exception):
    """This value cannot be computed inside this group."""


class Place(NamedTuple):
    """Where a value lies: elements of ``shape`` at ``offset + sum(index * stride)`` of a plan's buffer.
    ``group`` is the number of the step that fills it (-1: an argument)."""

    buffer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    group: int


class _Condition(NamedTuple):
    """What must hold, and the error code that tells when it does not."""

    holds: Expr
    code: int


class _Reduction(NamedTuple):
    acc: str
    kind: str
    type: str
    value: Expr
    index: Expr | None  # type: ignore[assignment]


class _Write(NamedTuple):
    buffer: int
    form: int
    others: tuple[Expr, ...]
    value: Expr
    kind: str  # "store" or a combining kind


class KernelCall(NamedTuple):
    """A kernel and what it is called with: buffers of the plan, scalars of the plan, parameter words from 2 on.

    ``flat`` is the cost of an element where the kernel is one loop over consecutive elements and its words are those
    of ``flat_words``, so that another number of elements needs only other words; 0 elsewhere.  ``stream_from`` is the
    number of elements from which such a kernel streams its results.  ``origins`` names the operators whose work it
    does.
    """

    kernel: Kernel
    buffers: tuple[int, ...]
    scalars: tuple[int, ...]
    chunks: int
    words: tuple[int, ...]
    flat: int = 0
    stream_from: int = 0
    origins: tuple[str, ...] = ()


def flat_words(n: int, cost: int) -> tuple[int, tuple[int, ...]]:
    """(chunks, words) of a kernel that is one loop over ``n`` consecutive elements of this cost each."""
    block = n if n <= 2 * _BLOCK else _BLOCK
    units = -(-n // block)
    grain, chunks = _pieces(units, block * cost)
    return chunks, (units, grain, block, n)


def _pieces(units: int, cost: int) -> tuple[int, int]:
    """(units of a chunk, number of chunks) for units of this cost; the work of a chunk is worth handing out."""
    if units * cost < _SERIAL_WORK * 2:
        return units, 1
    grain = max(1, _CHUNK_WORK // max(cost, 1))
    return grain, -(-units // grain)


_LONG_COLUMN = 4096
"""Elements of a row from which on rows that lie side by side are not written by the kernel that reduces them."""


class Group:
    """A group under construction.  ``place_of`` tells where a value computed elsewhere lies, or None."""

    def __init__(
        self, number: int, space: Sequence[int], reduced: Sequence[int], place_of: Callable[[Node], Place | None],
        type_of: Callable[[int], str], split_: tuple[int, int] | None = None, rank: Callable[[int], Any] = int,
        is_argument: Callable[[int], bool] = bool,
    ) -> None:  # fmt: skip
        self.is_argument = is_argument
        self.rank = rank
        self.number = number
        self.space = tuple(space)
        self.reduced = tuple(reduced)
        self.split = split_
        self.serial = False
        self.place_of = place_of
        self.type_of = type_of
        self.pool = Pool()
        self.forms: list[Affine] = []
        self.form_index: dict[Affine, int] = {}
        self.accs: dict[int, tuple[str, int]] = {}
        self.inside: dict[int, Node] = {}
        self.stages: list[list[_Reduction]] = []
        self.row_writes: list[_Write] = []
        self.element_writes: list[_Write] = []
        self.scan_writes: list[tuple[str, str, str, Expr, Expr | None, _Write]] = []
        self.checks: list[list[_Condition]] = [[]]
        self.memo: dict[tuple[int, tuple[Index, ...]], object] = {}
        self.found_checks: list[_Condition] = []
        self.check_memo: dict[int, tuple[_Condition, ...]] = {}

    # -- what may join ---------------------------------------------------------------------------
    def full_index(self) -> tuple[Index, ...]:
        return tuple(Affine(0, ((d, 1),)) if n != 1 else Affine(0, ()) for d, n in enumerate(self.space))

    def row_index(self) -> tuple[Index, ...]:
        return tuple(
            Affine(0, ()) if d in self.reduced or n == 1 else Affine(0, ((d, 1),)) for d, n in enumerate(self.space)
        )

    def row_shape(self) -> tuple[int, ...]:
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
            self.stages[stage - 1].append(_Reduction(name + part, str(kind), p.type, p, index))
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
    ) -> list[_Write]:
        if isinstance(value, Expr):
            form, others = self._address(target, position, 1, 0)
            return [_Write(target.buffer, form, others, value, kind)]
        if kind not in ("store", "add"):
            raise NotFusable
        result = []
        for part, v in enumerate(value):
            form, others = self._address(target, position, 2, part)
            result.append(_Write(target.buffer, form, others, v, kind))
        return result

    # -- expressions -----------------------------------------------------------------------------
    def _root(self, node: Node, index: tuple[Index, ...]) -> tuple[Expr | tuple[Expr, Expr], tuple[_Condition, ...]]:
        self.found_checks = []
        value = self._at(node, index)
        checks: dict[int, _Condition] = {}
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
        if type_ in _COMPLEX:
            parts = []
            for part in (0, 1):
                form, others = self._address(place, index, 2, part)
                parts.append(self.pool.make("access", _COMPLEX[type_], others, (place.buffer, form)))
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
            if node.type in _COMPLEX:
                part = _COMPLEX[node.type]
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
            if node.type in _COMPLEX:
                part = _COMPLEX[node.type]
                return self.pool.const(value.real, part), self.pool.const(value.imag, part)
            return self.pool.const(value, node.type)
        if op == "scalar":
            return self.pool.make("scalar", node.type, (), node.attrs[0])
        if op == "iota":
            return self._index_expr(index[node.attrs[0]])
        if op == "undef":
            if node.type in _COMPLEX:
                zero = self.pool.const(0.0, _COMPLEX[node.type])
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
        if source not in _COMPLEX:
            return make(op, node.type, tuple(args))  # type: ignore[arg-type]
        if op == "select":
            c, a, b = args
            return tuple(make("select", _COMPLEX[source], (c, x, y)) for x, y in zip(a, b))  # type: ignore[return-value,arg-type]
        if op in ("eq", "ne"):
            (a, b), (c, d) = args  # type: ignore[misc]
            return make("and" if op == "eq" else "or", "b1", (make(op, "b1", (a, c)), make(op, "b1", (b, d))))
        if op == "isnan":
            a, b = args[0]  # type: ignore[misc]
            return make("or", "b1", (make("isnan", "b1", (a,)), make("isnan", "b1", (b,))))
        if op == "abs":  # the modulus, in the real part: the operator takes it from there
            zero = self.pool.const(0.0, _COMPLEX[source])
            return make("hypot", _COMPLEX[source], args[0]), zero  # type: ignore[arg-type]
        return complex_elementwise(self.pool, op, _COMPLEX[source], args)  # type: ignore[arg-type]

    def _cast(self, node: Node, x: Expr | tuple[Expr, Expr]) -> Expr | tuple[Expr, Expr]:
        make = self.pool.make
        to = _COMPLEX.get(node.type)
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
        inside = make("and", "b1", (make("ge", "b1", (i, zero)), make("lt", "b1", (i, limit))))
        safe = make("select", "i64", (inside, i, zero))
        condition = _Condition(inside, INDEX_ERROR)
        self.check_memo[id(safe)] = (condition,)
        self.found_checks.append(condition)
        return safe

    def _require(self, node: Node, index: tuple[Index, ...]) -> Expr | tuple[Expr, Expr]:
        value, holds = self._at(node.inputs[0], index), self._at(node.inputs[1], index)
        assert isinstance(holds, Expr) and isinstance(value, Expr)
        code = int(node.attrs[0])
        # a value of its own, so that other uses of the operand carry no condition
        marked = self.pool.make("select", value.type, (holds, value, value), code)
        self.check_memo[id(marked)] = (_Condition(holds, code),)
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
                position.append(Opaque(self._checked(i, x.shape[d])))
        return self._at(x, tuple(position))

    # -- what was collected ----------------------------------------------------------------------
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

    def forget_writes(self, buffers: set[int]) -> None:
        """Removes what is written to ``buffers``."""
        self.row_writes = [w for w in self.row_writes if w.buffer not in buffers]
        self.element_writes = [w for w in self.element_writes if w.buffer not in buffers]


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
        term = make("mul", "i64", (group._index_expr(i), make("size", "i64", (), weight)))
        value = make("add", "i64", (value, term))
    return Opaque(value)


def reshaped(
    source: Sequence[int], target: Sequence[int], index: Sequence[Index], extents: Sequence[int]
) -> tuple[Index, ...]:
    """The index in ``source`` of the element at ``index`` in ``target``: dimensions are matched in runs of equal
    size, so that only those that are really merged or split need arithmetic."""
    result: list[Index] = []
    s = t = 0
    while s < len(source) or t < len(target):
        s0, t0 = s, t
        ps = source[s] if s < len(source) else 1
        pt = target[t] if t < len(target) else 1
        s, t = min(s + 1, len(source)), min(t + 1, len(target))
        while ps != pt:
            if ps < pt:
                ps *= source[s]
                s += 1
            else:
                pt *= target[t]
                t += 1
        run, shape = list(index[t0:t]), list(source[s0:s])
        weights, w = [], 1
        for n in reversed(target[t0:t]):
            weights.append(w)
            w *= n
        if not shape:
            continue
        if len(run) == 1:
            flat: Index = run[0]
        else:
            total = combine(run, weights[::-1])
            if total.others:
                if len(total.others) == 1 and total.others[0][1] == 1 and total.affine == Affine(0, ()):
                    flat = total.others[0][0]
                else:
                    raise NotFusable
            else:
                flat = total.affine
        result.extend(split(flat, shape, extents))
    return tuple(result)


# -- from a group to a kernel ------------------------------------------------------------------------

_HEAVY = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh",
    "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "sigmoid", "lgamma", "digamma", "pow", "atan2", "hypot", "fmod",
})  # fmt: skip
_SERIAL_WORK = 32_768  # elements of light work below which a kernel stays on the caller
_CHUNK_WORK = 32_768
_BLOCK = 4096
_RUN = 64  # rows whose sum is taken before it is added to that of the rows before
_WIDE = 128  # columns that are reduced side by side
_LINE = 64  # bytes of a cache's line


def kernel_of(group: Group) -> KernelCall | None:
    """The kernel that does a group's work, or None when there is none to do."""
    return _Lowering(group).run()


class _Lowering:
    def __init__(self, group: Group) -> None:
        self.g = group
        self.pool = Pool()
        self.words: list[int] = []
        self.buffers: list[int] = []
        self.written: set[int] = set()
        self.scalars: list[int] = []
        self.scalar_types: list[str] = []
        self.memo: dict[int, Expr] = {}
        self.form_memo: dict[int, Expr] = {}
        self.size_memo: dict[int, Expr] = {}
        self.vector: int | None = None

    # -- collecting ------------------------------------------------------------------------------
    def _used_forms(self) -> tuple[list[int], bool]:
        """Forms in use (loads, index values, stores), and whether anything heavy is computed."""
        used: dict[int, None] = {}
        heavy = False
        stack, seen = self.g.roots(), set()
        while stack:
            e = stack.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            if e.op == "access":
                used[e.attr[1]] = None
            elif e.op == "index":
                used[e.attr] = None
            heavy |= e.op in _HEAVY
            stack.extend(e.args)
        g = self.g
        for w in g.row_writes + g.element_writes + [s[-1] for s in g.scan_writes]:
            used[w.form] = None
        return list(used), heavy

    def _number_buffers(self) -> None:
        """Buffers in the order the group was told, so that a plan of one kernel has a known signature."""
        g = self.g
        used = g.buffers_read()
        used |= {w.buffer for w in g.row_writes + g.element_writes + [s[-1] for s in g.scan_writes]}
        self.buffers = sorted(used, key=g.rank)

    def _keep_heavy(self) -> list[list[_Write]]:
        """Stores, by stage, of heavy values that the last pass over a row needs again.

        Where a result is computed from a heavy value of an earlier pass (the exponentials of a softmax), that pass
        leaves it in the result's memory, and the last pass reads it there instead of computing it again.  The result
        must have memory of its own: what lies in an argument may still be read.
        """
        g = self.g
        kept: list[list[_Write]] = [[] for _ in g.stages]
        if g.serial or g.scan_writes or not g.stages:
            return kept
        read = g.buffers_read()
        for k, w in enumerate(g.element_writes):
            alone = sum(other.buffer == w.buffer for other in g.element_writes + g.row_writes) == 1
            if w.kind != "store" or w.others or not alone or w.buffer in read or g.is_argument(w.buffer):
                continue
            heavy = _outermost_heavy(w.value)
            if len(heavy) != 1 or heavy[0].type != g.type_of(w.buffer):
                continue
            stage = next((n for n, rs in enumerate(g.stages) if any(_contains(r.value, heavy[0]) for r in rs)), None)
            if stage is None:
                continue
            again = g.pool.make("access", heavy[0].type, (), (w.buffer, w.form))
            kept[stage].append(w._replace(value=heavy[0]))
            g.element_writes[k] = w._replace(value=_replaced(w.value, heavy[0], again, g.pool))
        return kept

    # -- loop order ------------------------------------------------------------------------------
    def _arrange(self) -> None:
        """Orders, merges and numbers the loops; the innermost of each role comes last."""
        g = self.g
        used, self.heavy = self._used_forms()
        coefficients = {f: dict(g.forms[f].terms) for f in used}
        stored = [coefficients[w.form] for w in g.row_writes + g.element_writes + [s[-1] for s in g.scan_writes]]
        loads = [c for f, c in coefficients.items() if c not in stored]
        extents = dict(enumerate(g.space))
        if g.split is not None:
            extents[len(g.space)] = -(-g.space[g.split[0]] // g.split[1])
        inner = set(g.reduced)

        def weight(d: int, forms: list[dict[int, int]]) -> int:
            return max((abs(c.get(d, 0)) for c in forms), default=0)

        outer = [d for d, n in extents.items() if d not in inner and n != 1]
        outer.sort(key=lambda d: (-weight(d, stored), -weight(d, loads), d))
        reduced = [d for d in g.reduced if g.space[d] != 1]
        reduced.sort(key=lambda d: (-weight(d, loads or stored), d))
        fixed = {g.split[0], len(g.space)} if g.split is not None else set()

        def collapse(dims: list[int]) -> list[list[int]]:
            runs: list[list[int]] = []
            for d in dims:
                if runs and d not in fixed and runs[-1][-1] not in fixed:
                    before = runs[-1][-1]
                    if all(c.get(before, 0) == c.get(d, 0) * extents[d] for c in coefficients.values()):
                        runs[-1].append(d)
                        continue
                runs.append([d])
            return runs

        self.loops: list[tuple[int, int, bool]] = []  # (representative dimension, extent, reduced)
        for dims, is_reduced in ((outer, False), (reduced, True)):
            for run in collapse(dims):
                n = 1
                for d in run:
                    n *= extents[d]
                self.loops.append((run[-1], n, is_reduced))
        kept = [d for d, _, _ in self.loops]
        self.name_of = {d: f"i{k}" for k, d in enumerate(kept)}
        self.coefficients = coefficients

    def _choose_vector(self) -> int | None:
        """The dimension whose loop becomes vectors: the one along which most accesses are contiguous."""
        g = self.g
        positions = any(s[4] is not None for s in g.scan_writes)
        if positions or any(w.kind != "store" for w in g.element_writes) or g.serial:
            candidates = [d for d, _, r in self.loops if not r]
        else:
            candidates = [d for d, _, _ in self.loops]
        if g.split is not None:  # the bounds of the split loop follow the piece, so pieces are not lanes
            candidates = [d for d in candidates if d != len(g.space)]
        best, best_score = None, 0
        writes = {w.form for w in g.row_writes + g.element_writes + [s[-1] for s in g.scan_writes]}
        extent = {d: n for d, n, _ in self.loops}
        for d in candidates:
            score = 0
            for f, c in self.coefficients.items():
                step = abs(c.get(d, 0))
                worth = 3 if f in writes else 2
                score += worth * (2 if step == 1 else 1 if step == 0 else -1)
            if extent[d] < 4:
                score -= 8
            if score >= best_score or best is None:
                best, best_score = d, score
        if best is None or (best_score < 0 and (g.scan_writes or g.serial)):
            return None
        self.vector = best
        return best

    # -- expressions -----------------------------------------------------------------------------
    def _word(self, value: int) -> Expr:
        self.words.append(value)
        return self.pool.make("param", "i64", (), 1 + len(self.words))

    def _size(self, value: int) -> Expr:
        """A number of the shape at hand: 0 and 1 are part of the code, others come at run time."""
        if value in (0, 1):
            return self.pool.const(value, "i64")
        if value not in self.size_memo:
            self.size_memo[value] = self._word(value)
        return self.size_memo[value]

    def _var(self, d: int) -> Expr:
        return self.pool.make("var", "i64", (), self.name_of[d])

    def _form_expr(self, f: int, others: tuple[Expr, ...] = ()) -> Expr:
        key = f
        if not others and key in self.form_memo:
            return self.form_memo[key]
        pairs: list[Expr] = []
        kept = {d for d, _, _ in self.loops}
        for d, c in self.coefficients[f].items():
            if d in kept:
                plain = c == 1 or (c == -1 and d == self.vector)
                pairs += [self._var(d), self.pool.const(c, "i64") if plain else self._word(c)]
        const = self.g.forms[f].const
        if const:
            pairs += [self._word(const), self.pool.const(1, "i64")]
        for i in range(0, len(others), 2):
            pairs += [self._expr(others[i]), self._expr(others[i + 1])]
        result = self.pool.make("affine", "i64", tuple(pairs))
        if not others:
            self.form_memo[key] = result
        return result

    def _buffer(self, buffer: int) -> int:
        if buffer not in self.buffers:
            self.buffers.append(buffer)
        return self.buffers.index(buffer)

    def _expr(self, e: Expr) -> Expr:
        found = self.memo.get(id(e))
        if found is not None:
            return found
        if e.op == "access":
            buffer, form = e.attr
            found = self.pool.make("load", e.type, (self._form_expr(form, e.args),), self._buffer(buffer))
        elif e.op == "index":
            found = self._form_expr(e.attr)
        elif e.op == "size":
            found = self._size(e.attr)
        elif e.op == "scalar":
            if e.attr not in self.scalars:
                self.scalars.append(e.attr)
                self.scalar_types.append(e.type)
            found = self.pool.make("scalar", e.type, (), self.scalars.index(e.attr))
        else:
            found = self.pool.make(e.op, e.type, tuple(self._expr(a) for a in e.args), e.attr)
        self.memo[id(e)] = found
        return found

    def _write(self, w: _Write) -> Stmt:
        buffer = self._buffer(w.buffer)
        self.written.add(buffer)
        offset = self._form_expr(w.form, w.others)
        if w.kind == "store":
            return Store(buffer, offset, self._expr(w.value))
        return Combine(buffer, offset, w.kind, self._expr(w.value))

    # -- the kernel ------------------------------------------------------------------------------
    def run(self) -> KernelCall | None:
        g = self.g
        split_dim = len(g.space) if g.split is not None else -1
        if any(n == 0 for d, n in enumerate(g.space) if d not in g.reduced):
            return None
        if any(n == 0 for n in g.space) and not g.stages:
            return None
        kept = self._keep_heavy()
        self._arrange()
        self._number_buffers()
        turned = self._turned()
        if turned is not None:
            return turned
        vector = self._choose_vector()
        self.words += [0, 0]  # units and grain, known at the end
        reduced = [(d, n) for d, n, r in self.loops if r]
        if vector is not None and any(d == vector for d, _ in reduced):
            reduced = [x for x in reduced if x[0] != vector] + [x for x in reduced if x[0] == vector]
        outer = [(d, n) for d, n, r in self.loops if not r and d != vector]
        lanes_outer = vector is not None and all(d != vector for d, _ in reduced)
        make, const = self.pool.make, self.pool.const
        zero = const(0, "i64")

        def bounds(d: int) -> tuple[Expr, Expr]:
            n = self._size_of_loop(d)
            if g.split is not None and d == g.split[0]:
                c = self._var(split_dim)
                lo = make("mul", "i64", (c, self._size(g.split[1])))
                end = make("add", "i64", (lo, self._size(g.split[1])))
                return lo, make("min", "i64", (end, n))
            return zero, n

        def over_reduced(body: list[Stmt], vectors: bool, long: bool = False) -> list[Stmt]:
            unroll = _unroll(body)
            for k, (d, _) in reversed(list(enumerate(reduced))):
                lo, hi = bounds(d)
                if long and k == 0:
                    start = make("mul", "i64", (make("var", "i64", (), "block"), const(_RUN, "i64")))
                    end = make("add", "i64", (lo, make("add", "i64", (start, const(_RUN, "i64")))))
                    lo, hi = make("add", "i64", (lo, start)), make("min", "i64", (end, hi))
                is_vector = vectors and d == vector
                body = [Loop(self.name_of[d], lo, hi, is_vector, unroll if is_vector else 1, tuple(body))]
            return body

        def in_runs(stage: list[_Reduction], work: list[Stmt]) -> list[Stmt]:
            """The pass over a row whose first loop, which is no vector loop, is a long one: sums of single precision
            are taken of each run of it and then of those, so that rounding errors do not add up along the whole."""
            summed = {r.acc: r.type for r in stage if r.kind == "add" and r.type == "f32"}
            part = [Init(f"{acc}.run", "add", type_) for acc, type_ in summed.items()]
            each = [s._replace(acc=f"{s.acc}.run") if isinstance(s, Update) and s.acc in summed else s for s in work]
            whole = [Update(acc, "add", make("acc", type_, (), f"{acc}.run"), None) for acc, type_ in summed.items()]
            lo, hi = bounds(reduced[0][0])
            count = make("sub", "i64", (make("add", "i64", (hi, const(_RUN - 1, "i64"))), lo))
            runs = make("quot", "i64", (count, const(_RUN, "i64")))
            body = (*part, *over_reduced(each, True, True), *whole)
            return [Loop("block", zero, runs, False, 1, body)]

        inner: list[Stmt] = []
        for k, stage in enumerate(g.stages):
            inner += [Init(r.acc, r.kind, r.type) for r in stage]
            work: list[Stmt] = [Check(self._expr(c.holds), c.code) for c in g.checks[k]]
            work += [
                Update(r.acc, r.kind, self._expr(r.value), self._expr(r.index) if r.index is not None else None)
                for r in stage
            ]
            work += [self._write(w) for w in kept[k]]
            rows = g.split[1] if g.split is not None and reduced and reduced[0][0] == g.split[0] else 0
            long = bool(reduced) and reduced[0][0] != vector and (rows or reduced[0][1]) >= 2 * _RUN
            long = long and any(r.kind == "add" and r.type == "f32" for r in stage)
            inner += in_runs(stage, work) if long else over_reduced(work, True)
        for name, kind, type_, value, index, w in g.scan_writes:
            inner.append(Init(name, kind, type_))
            inner += over_reduced(
                [
                    *(Check(self._expr(c.holds), c.code) for c in g.checks[-1]),
                    Update(name, kind, self._expr(value), self._expr(index) if index is not None else None, True),
                    self._write(w),
                ],
                True,
            )
        inner += [self._write(w) for w in g.row_writes]
        element: list[Stmt] = []
        if not g.scan_writes:
            element += [Check(self._expr(c.holds), c.code) for c in g.checks[-1]]
        element += [self._write(w) for w in g.element_writes]
        in_order = bool(element) and g.serial and lanes_outer
        if element and not in_order:
            inner += over_reduced(element, not any(w.kind != "store" for w in g.element_writes) and not g.serial)
        # the units of parallel work: positions of the outer loops, and blocks of the vector loop if that is one
        row_work = 1
        for _, n in reduced:
            row_work *= n
        unit = make("var", "i64", (), "unit")
        extents = [n for _, n in outer]
        blocks = 1
        if lanes_outer:
            assert vector is not None
            n = next(n for d, n, _ in self.loops if d == vector)
            few = 1
            for m in extents:
                few *= m
            block = self._block(n, row_work, few)
            blocks = -(-n // block)
            step = self._word(block)
            if outer and blocks == 1:
                part, rest = zero, unit
            elif outer:
                count = self._word(blocks)
                part, rest = make("rem", "i64", (unit, count)), make("quot", "i64", (unit, count))
            else:
                part, rest = unit, zero
            lo = make("mul", "i64", (part, step))
            hi = make("min", "i64", (make("add", "i64", (lo, step)), self._size_of_loop(vector)))
            if in_order:  # elements one after the other, the vectors of each inside
                inner += over_reduced([Loop(self.name_of[vector], lo, hi, True, 2, tuple(element))], False)
            lane_unroll = _unroll(inner) if not reduced or n >= 64 else 1
            if reduced and block == _WIDE and lane_unroll == 4:
                lane_unroll = 8
            if not reduced and outer and n in (64, 128) and lane_unroll == 2:  # a short row in as few steps as possible
                lane_unroll = 4
            if not in_order:
                inner = [Loop(self.name_of[vector], lo, hi, True, lane_unroll, tuple(inner))]
            row_work *= block
        else:
            rest = unit
        if blocks == 1:
            inner, row_work = self._within_unit(inner, outer, row_work)
        units = blocks
        for _, m in outer:
            units *= m
        streamed, stream_from = self._streamed(vector, block if lanes_outer else None)
        inner = _with_streams(inner, streamed)
        # outer indices are the digits of the unit: loops of one iteration give them their names
        body: tuple[Stmt, ...] = tuple(inner)
        body = self._with_digits(body, outer, rest)
        cost = row_work * (4 if self.heavy else 1) * max(1, len(self.g.stages) + bool(element))
        grain, chunks = _pieces(units, cost)
        self.words[0], self.words[1] = units, grain
        each = cost // row_work if row_work else 0
        plain = lanes_outer and not outer and not reduced and not g.scan_writes and len(self.words) == 4
        flat = each if plain and flat_words(self.words[3], each) == (chunks, tuple(self.words)) else 0
        kernel = Kernel(
            "", tuple(Buffer(_memory_type(g.type_of(b)), i in self.written) for i, b in enumerate(self.buffers)),
            tuple(self.scalar_types), 2 + len(self.words), body,
        )  # fmt: skip
        return KernelCall(
            kernel, tuple(self.buffers), tuple(self.scalars), chunks, tuple(self.words), flat, stream_from
        )

    def _turned(self) -> KernelCall | None:
        """The kernel of a group that copies elements from runs along one dimension to runs along another, in tiles that
        are turned over in registers; None for any other group."""
        g, make = self.g, self.pool.make
        alone = g.stages or g.scan_writes or g.row_writes or g.serial or g.split is not None or any(g.checks)
        if alone or len(g.element_writes) != 1:
            return None
        w = g.element_writes[0]
        value = w.value
        type_ = g.type_of(w.buffer)
        if w.kind != "store" or w.others or value.op != "access" or value.args or type_ != g.type_of(value.attr[0]):
            return None
        to, source = self.coefficients[w.form], self.coefficients[value.attr[1]]
        extent = {d: n for d, n, _ in self.loops}
        long = [d for d in extent if extent[d] >= TILE]
        rows = next((d for d in long if source.get(d, 0) == 1 and to.get(d, 0) > 1), None)
        cols = next((d for d in long if to.get(d, 0) == 1 and source.get(d, 0) > 1), None)
        if rows is None or cols is None or type_ in _COMPLEX or coded(type_).itemsize not in (4, 8):
            return None
        self.words += [0, 0]
        tiles = {d: -(-extent[d] // TILE) for d in (rows, cols)}
        others = [(d, n) for d, n in extent.items() if d not in tiles]

        def offset(form: int) -> Expr:
            terms = self.coefficients[form]
            pairs: list[Expr] = []
            for d, c in terms.items():
                if d in extent:
                    pairs += [self._var(d), self._word(c * TILE if d in tiles else c)]
            if g.forms[form].const:
                pairs += [self._word(g.forms[form].const), self.pool.const(1, "i64")]
            return make("affine", "i64", tuple(pairs))

        def left(d: int) -> Expr:
            side = self.pool.const(TILE, "i64")
            rest = make("sub", "i64", (self._word(extent[d]), make("mul", "i64", (self._var(d), side))))
            return make("min", "i64", (rest, side))

        turn = Turn(
            self._buffer(value.attr[0]), self._buffer(w.buffer), offset(value.attr[1]), self._word(source[cols]),
            offset(w.form), self._word(to[rows]), left(rows), left(cols),
        )  # fmt: skip
        self.written.add(turn.target)
        across = Loop(self.name_of[cols], self.pool.const(0, "i64"), self._word(tiles[cols]), False, 1, (turn,))
        outer = [*others, (rows, tiles[rows])]
        for d in tiles:  # `_with_digits` asks for the extent of a loop that counts tiles
            self.size_memo[-1 - d] = self._word(tiles[d])
        body = self._with_digits((across,), outer, make("var", "i64", (), "unit"))
        units = math.prod(n for _, n in outer)
        grain, chunks = _pieces(units, TILE * extent[cols])
        self.words[0], self.words[1] = units, grain
        buffers = tuple(Buffer(_memory_type(g.type_of(b)), i in self.written) for i, b in enumerate(self.buffers))
        kernel = Kernel("", buffers, (), 2 + len(self.words), body)
        return KernelCall(kernel, tuple(self.buffers), (), chunks, tuple(self.words))

    def _within_unit(self, inner: list[Stmt], outer: list[tuple[int, int]], row_work: int) -> tuple[list[Stmt], int]:
        """Takes short loops off ``outer`` into the unit of work, whose digits cost divisions; returns the statements
        and the work of a unit."""
        fixed = {self.g.split[0], len(self.g.space)} if self.g.split is not None else set()
        while outer and outer[-1][0] not in fixed and row_work * outer[-1][1] <= _BLOCK:
            d, n = outer.pop()
            zero = self.pool.const(0, "i64")
            inner = [Loop(self.name_of[d], zero, self._size_of_loop(d), False, 1, tuple(inner))]
            row_work *= n
        return inner, row_work

    def _streamed(self, vector: int | None, block: int | None) -> tuple[set[int], int]:
        """(buffers of the kernel whose stores go past the caches, number of elements from which on that is so).

        Results too big for the last cache would only displace what is in it, and reading each line before
        it is overwritten takes a third of the memory's time.  A stream needs whole vectors on their boundaries.
        """
        g = self.g
        if vector is None or g.scan_writes or g.serial:
            return set(), 0
        elements = math.prod(g.space)
        read = g.buffers_read()
        writes = [w for w in g.element_writes if w.kind == "store" and not w.others]
        if not writes or len(writes) != len(g.element_writes) + len(g.row_writes):
            return set(), 0
        found, nbytes = set(), 0
        for w in writes:
            size = coded(g.type_of(w.buffer)).itemsize
            nbytes += size
            steps = self.coefficients[w.form]
            others = [c for d, c in steps.items() if d != vector] + [g.forms[w.form].const]
            aligned = all(c * size % _LINE == 0 for c in others) and (block is None or block * size % _LINE == 0)
            if aligned and steps.get(vector) == 1 and w.buffer not in read and not g.is_argument(w.buffer):
                found.add(self._buffer(w.buffer))
        stream_from = cache_sizes().l3 // 2 // nbytes
        return (found if elements >= stream_from else set()), stream_from

    def _size_of_loop(self, d: int) -> Expr:
        key = -1 - d  # extents never share a word with strides that happen to be equal
        if key not in self.size_memo:
            self.size_memo[key] = self._word(next(n for e, n, _ in self.loops if e == d))
        return self.size_memo[key]

    def _block(self, n: int, row_work: int, few: int) -> int:
        """How much of a vector loop is one unit: all of it when there are other units, or it is short."""
        if row_work == 1:
            return n if n <= 2 * _BLOCK or few >= 4096 else _BLOCK
        if n <= 256 and few >= 64:
            return n
        if self.g.serial:
            return max(64, -(-n // 512) * 64)
        return _WIDE if n % _WIDE == 0 else min(n, 64)

    def _with_digits(self, body: tuple[Stmt, ...], outer: list[tuple[int, int]], rest: Expr) -> tuple[Stmt, ...]:
        make, one = self.pool.make, self.pool.const(1, "i64")
        for k in range(len(outer) - 1, -1, -1):
            d = outer[k][0]
            value = rest if k == 0 else make("rem", "i64", (rest, self._size_of_loop(d)))
            # the digits further out divide by what lies inside them
            digit = value
            below = 1
            for _, m in outer[k + 1 :]:
                below *= m
            if k + 1 < len(outer):
                quotient = make("quot", "i64", (rest, self._word(below)))
                digit = quotient if k == 0 else make("rem", "i64", (quotient, self._size_of_loop(d)))
            body = (Loop(self.name_of[d], digit, make("add", "i64", (digit, one)), False, 1, body),)
        return body


def _with_streams(body: Sequence[Stmt], buffers: set[int]) -> list[Stmt]:
    """The statements, with their stores to ``buffers`` streamed."""
    if not buffers:
        return list(body)
    return [
        s._replace(body=tuple(_with_streams(s.body, buffers)))
        if isinstance(s, Loop)
        else s._replace(stream=True)
        if isinstance(s, Store) and s.buffer in buffers
        else s
        for s in body
    ]


def _outermost_heavy(e: Expr) -> list[Expr]:
    """The heavy operations in an expression that are not inside of another."""
    found: dict[int, Expr] = {}
    stack, seen = [e], set()
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if x.op in _HEAVY:
            found[id(x)] = x
        else:
            stack.extend(x.args)
    return list(found.values())


def _contains(e: Expr, part: Expr) -> bool:
    stack, seen = [e], set()
    while stack:
        x = stack.pop()
        if x is part:
            return True
        if id(x) not in seen:
            seen.add(id(x))
            stack.extend(x.args)
    return False


def _replaced(e: Expr, part: Expr, by: Expr, pool: Pool) -> Expr:
    """``e`` with ``by`` for every ``part`` in it."""
    memo = {id(part): by}

    def visit(x: Expr) -> Expr:
        if id(x) not in memo:
            args = tuple(visit(a) for a in x.args)
            memo[id(x)] = x if all(a is b for a, b in zip(args, x.args)) else pool.make(x.op, x.type, args, x.attr)
        return memo[id(x)]

    return visit(e)


def _unroll(body: Sequence[Stmt]) -> int:
    """How many vectors of a loop are in flight at once: as many as hide the latency of a light reduction, fewer where
    nothing waits for the step before (processors then overlap steps themselves, and long runs of loads and then
    stores only disturb them), or where a function of many instructions hides it."""
    if not any(isinstance(s, Update) for s in walk(tuple(body))):
        return 2
    stack = [e for s in walk(tuple(body)) for e in expressions(s)]
    seen: set[int] = set()
    while stack:
        e = stack.pop()
        if id(e) not in seen:
            if e.op in _HEAVY:
                return 2
            seen.add(id(e))
            stack.extend(e.args)
    return 4


def _memory_type(type_: str) -> str:
    return _COMPLEX.get(type_, type_)
