"""Operators over a batch.

The batched form of an operator is an operator of its own, with one more parameter that says how large the batch is and
which dimension of each tensor runs over it.  So it is planned, fused and cached like any other.

* A kernel's body is traced for one member; the graph is then rewritten for all of them (``graph/batch.py``).
* A view's body is run on one member's layout; the batch's dimension is put back afterwards.
* Any other body is run as it is, on tensors that stand for members.

The derivative of the batched form is the derivative of the operator, over the batch.  What none of this can do is done
for one member after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..autograd.engine import conform
from ..autograd.operator_node import node_class
from ..dispatch.call import dispatch
from ..dispatch.operator import OPERATORS, Derivative, Operator
from ..dispatch.planning import trace_body
from ..graph.batch import NotBatchable, batch
from ..layout import Layout, dense, of
from ..tensor import Tensor, make
from .derived import derived, fields_of, split
from .level import Batched, Level, vmap_level

__all__ = ["batched_call", "collected", "member_by_member", "to_front", "unwrapped"]

# The last argument of a batched form: the size of the batch, the dimension of each tensor that runs over it, and which
# parameters these tensors are.
Spec = tuple[int, tuple["int | None", ...], tuple[int, ...]]
_forms: dict[Operator, Operator] = {}


def unwrapped(t: Any, level: Level) -> tuple[Any, int | None]:
    """What a tensor stands for at ``level``, and the dimension that runs over the batch."""
    if isinstance(t, Batched) and t._level is level:
        return t._value, t._bdim
    return t, None


def to_front(t: Tensor, bdim: int | None, size: int) -> Tensor:
    """A value with the batch as its first dimension."""
    if bdim is None:
        return t.expand((size, *t.shape))  # type: ignore[attr-defined,no-any-return]
    return t.movedim(bdim, 0) if bdim else t  # type: ignore[attr-defined,no-any-return]


def _member(layout: Layout, bdim: int | None) -> Layout:
    """The layout of one member."""
    if bdim is None:
        return layout
    shape, strides = list(layout.shape), list(layout.strides)
    del shape[bdim], strides[bdim]
    return of(layout.dtype, layout.device, shape, strides)


def batched_call(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """The results of an operator for all members (wrapped), where some arguments are wrappers of ``level``."""
    parts = split(op, args)
    found = [unwrapped(t, level) for t in parts.tensors]
    values, dims = [v for v, _ in found], tuple(d for _, d in found)
    if all(d is None for d in dims):
        return _wrapped(dispatch(op, parts.put(values)), None, level)
    if op.kind == "eager":
        if op.batching is None:
            return member_by_member(op, args, level)
        front = [to_front(v, d, level.size) for v, d in found]
        return _wrapped(dispatch(op, op.batching(parts.put(front))), 0, level)
    try:
        results = dispatch(_form(op), [*parts.put(values), (level.size, dims, parts.positions)])
    except NotBatchable:
        return member_by_member(op, args, level)
    if op.kind == "view":
        source = args[0]
        shared = source._storage if isinstance(source, Batched) else None
        if isinstance(results, Tensor):
            return Batched.of(results, 0, level, shared)
        return tuple(Batched.of(r, 0, level, shared) for r in results)
    return _wrapped(results, 0, level)


def _wrapped(results: Any, bdim: int | None, level: Level) -> Any:
    if isinstance(results, Tensor):
        return Batched.of(results, bdim, level)
    return tuple(Batched.of(r, bdim, level) if isinstance(r, Tensor) else r for r in results)


def member_by_member(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """The operator called for every member of the batch, and the results stacked."""
    parts = split(op, args)
    found = [unwrapped(t, level) for t in parts.tensors]
    select, stack = OPERATORS["select"].function, OPERATORS["stack"].function
    rows = []
    for index in range(level.size):
        members = [v if d is None else select(v, d, index) for v, d in found]
        row = dispatch(op, parts.put(members))
        rows.append((row,) if isinstance(row, Tensor) else tuple(row))
        single = isinstance(row, Tensor)
    if not rows:
        raise RuntimeError(f"vmap: {op.name} has no batched form, and a batch of size 0 has no members to call it for")
    columns = tuple(Batched.of(stack(list(column)), 0, level) for column in zip(*rows))
    return columns[0] if single else columns


# -- the batched form of an operator ------------------------------------------------------------------


def _form(op: Operator) -> Operator:
    found = _forms.get(op)
    if found is None:
        make_body = {"kernel": _kernel_body, "view": _view_body}.get(op.kind, _parts_body)
        found = _forms[op] = derived(op, f"{op.name}_batched", op.kind, {"batch": "Any"}, make_body(op))
        found.linear = op.linear
        derivative = op.derivative if op.kind == "kernel" else op._derivative
        if derivative is not None:
            found._derivative = Derivative(derivative.saves, _derivative_of(op, derivative, found.params[-1]))
        elif not op.differentiable or op.kind == "view":
            found.differentiable = False
    return found


def _kernel_body(op: Operator) -> Any:
    """Traces the body for one member, and rewrites what it computes for all."""

    def body(values: list[Any]) -> Any:
        size, dims, positions = values.pop()
        graph = prim.current().graph
        rest = iter(dims)
        sources, layouts = [], []
        for i, value in enumerate(values):
            for t in _listed(value):
                if not isinstance(t, Tensor):
                    continue
                node, bdim = prim.read(t), next(rest) if i in positions else None
                if bdim:
                    node = graph.permute(node, (bdim, *(d for d in range(len(node.shape)) if d != bdim)))
                sources.append((node, bdim is not None))
                layouts.append((dense(t._layout.dtype, _member(t._layout, bdim).shape), t._weak))
        with prim.Recorder() as inner:
            stand_ins = iter([_placeholder(inner, layout, weak) for layout, weak in layouts])
            members = [_replaced(v, stand_ins) for v in values]
            found = trace_body(op, members, True)
            several = not isinstance(found, Tensor)
            nodes = [prim.read(t) for t in (found if several else (found,))]
        results = [prim.wrap(n) for n in batch(graph, nodes, sources, size)]
        return tuple(results) if several else results[0]

    return body


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _replaced(value: Any, stand_ins: Any) -> Any:
    if isinstance(value, Tensor):
        return next(stand_ins)
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
        return [next(stand_ins) for _ in value]
    return value


def _placeholder(recorder: prim.Recorder, layout: Layout, weak: bool) -> Tensor:
    t = recorder.placeholder(layout)
    t._weak = weak
    return t


def _view_body(op: Operator) -> Any:
    """Runs the body on the layout of one member, and gives what it returns the batch as first dimension."""

    def body(values: list[Any]) -> Any:
        size, dims, _ = values.pop()
        source: Tensor = values[0]
        bdim = dims[0]
        layout = source._layout
        step = layout.strides[bdim]
        member = make(source._storage, _member(layout, bdim), source._offset)
        found = op.run_body([member, *values[1:]])
        results = []
        for t in (found,) if isinstance(found, Tensor) else found:
            seen = t._layout
            wide = step * layout.itemsize // seen.itemsize
            whole = of(seen.dtype, seen.device, (size, *seen.shape), (wide, *seen.strides))
            results.append(make(t._storage, whole, t._offset))
        return results[0] if isinstance(found, Tensor) else tuple(results)

    return body


def _parts_body(op: Operator) -> Any:
    """Runs the body as it is on tensors that stand for members."""

    def body(values: list[Any]) -> Any:
        size, dims, positions = values.pop()
        parts = split(op, values, positions)
        with vmap_level(size, "different") as level:
            members = [t if d is None else Batched.of(t, d, level) for t, d in zip(parts.tensors, dims)]
            found = op.run_body(parts.put(members))
            several = not isinstance(found, Tensor)
            values = [unwrapped(t, level) for t in (found if several else (found,))]
        results = tuple(to_front(v, d, size) for v, d in values)
        return results if several else results[0]

    return body


class _Place:
    """Stands for a node in the messages of ``conform``."""

    _takes_real_part = True

    def __init__(self, op: Operator) -> None:
        self._operator = op

    def name(self) -> str:
        """The operator's name."""
        return self._operator.name


def _derivative_of(op: Operator, derivative: Derivative, batch_name: str) -> Any:
    """The derivative of the batched form: that of the operator, over the batch."""
    fields = fields_of(op)
    place: Any = _Place(op)

    def fn(ctx: Any, *grads: Tensor | None) -> Any:
        size, dims, positions = getattr(ctx, batch_name)
        inner = node_class(op)._context()
        inner._mask = ctx._mask
        parts = split(op, [getattr(ctx, name) for name in fields], positions)
        with vmap_level(size, "different") as level:
            members = [
                (_member(t, d) if isinstance(t, Layout) else t if d is None else Batched.of(t, d, level))
                for t, d in zip(parts.tensors, dims)
            ]
            for name, value in zip(fields, parts.put(members)):
                setattr(inner, name, tuple(value) if isinstance(value, list) else value)
            if hasattr(ctx, "results"):
                inner.results = tuple(None if r is None else Batched.of(r, 0, level) for r in ctx.results)
            if hasattr(ctx, "result"):
                inner.result = Batched.of(ctx.result, 0, level)
            found = derivative.fn(inner, *[None if g is None else Batched.of(g, 0, level) for g in grads])
            if found is None or isinstance(found, Tensor):
                found = (found, *[None] * (len(op.tensors) - 1))
            flat = parts.flatten(found)
            layouts = [t if isinstance(t, Layout) else t._layout for t in parts.tensors]
            out: list[Tensor | None] = []
            for index, (grad, layout, bdim) in enumerate(zip(flat, layouts, dims)):
                if grad is None or layout.dtype.kind not in "fc":
                    out.append(None)
                    continue
                grad = conform(grad, _member(layout, bdim), place, index)
                out.append(collected(*unwrapped(grad, level), bdim, size))
        return _grouped(op, parts, out)

    return fn


def collected(value: Any, found: int | None, wanted: int | None, size: int) -> Tensor:
    """The gradient of a tensor from those of its members: side by side, or their sum if all were the same tensor."""
    if wanted is None:
        return value * size if found is None else value.sum(found)  # type: ignore[no-any-return]
    front = to_front(value, found, size)
    return front.movedim(0, wanted) if wanted else front  # type: ignore[attr-defined,no-any-return]


def _grouped(op: Operator, parts: Any, flat: Sequence[Any]) -> list[Any]:
    """One entry for each tensor parameter."""
    by_position: dict[int, Any] = {}
    rest = iter(flat)
    for i, count in parts.counts:
        by_position[i] = next(rest) if count < 0 else [next(rest) for _ in range(count)]
    return [by_position.get(i) for i in op.tensors]
