"""Batching: a graph of primitives rewritten to compute a whole batch.

Every primitive has its rule here, and so has every operator.  A value that depends on a batched input gets the batch
as its first dimension; all others stay as they are and are broadcast where they meet a batched one.  Templates have
their rule beside them (``template/extern.py``): ``spec.batched(graph, operands, flags, results, size)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .node import Graph, Map, Node, topological

__all__ = ["NotBatchable", "batch", "spread"]

Value = tuple[Node, bool]  # a value, and whether the batch is its first dimension


class NotBatchable(Exception):
    """A template has no rule for batches: the caller takes the members one by one."""


def spread(graph: Graph, value: Value, size: int) -> Node:
    """The value with the batch as its first dimension."""
    node, flag = value
    return node if flag else graph.expand(node, (size, *node.shape))


def _shifted(map_: Map) -> Map:
    """A map of dimensions, after a first one that stays."""
    return ((0, ((0, 1),)), *((offset, tuple((d + 1, c) for d, c in terms)) for offset, terms in map_))


def _sources(map_: Sequence[tuple[str, int]], batched: bool) -> tuple[tuple[str, int], ...]:
    """The map of a gather or scatter, after a first dimension of the result (and of the source, if ``batched``)."""
    rest = tuple((kind, k + 1 if kind == "d" else k) for kind, k in map_)
    return (("d", 0), *rest) if batched else rest


def batch(graph: Graph, roots: Sequence[Node], inputs: Sequence[Value], size: int) -> list[Node]:
    """Rebuilds ``roots`` in ``graph`` with the batch as the first dimension of each.

    ``inputs`` take the places of the input slots; run-time numbers do not occur.
    """
    done: dict[int, Value] = {}
    several: dict[int, list[Node]] = {}
    for node in topological(roots):
        if node.op == "input":
            done[id(node)] = inputs[node.attrs[0]]
            continue
        operands = [done[id(i)] for i in node.inputs]
        if not any(flag for _, flag in operands):
            plain = graph.make(node.op, [o for o, _ in operands], node.attrs, node.shape, node.type)
            done[id(node)] = (plain, False)
        elif node.op == "extern":
            done[id(node)] = (node, True)
            several[id(node)] = _extern(graph, node, operands, size)
        elif node.op == "out":
            done[id(node)] = (several[id(node.inputs[0])][node.attrs[0]], True)
        else:
            done[id(node)] = (_RULES.get(node.op, _elementwise)(graph, node, operands, size), True)
    return [spread(graph, done[id(r)], size) for r in roots]


def _extern(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> list[Node]:
    spec, results = node.attrs
    rule = getattr(spec, "batched", None)
    if rule is None:
        raise NotBatchable(type(spec).__name__)
    found: list[Node] = rule(graph, [o for o, _ in operands], [flag for _, flag in operands], results, size)
    return found


def _elementwise(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    return graph.make(node.op, [spread(graph, o, size) for o in operands], node.attrs, (size, *node.shape), node.type)


def _move(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    return graph.move(operands[0][0], _shifted(node.attrs[0]), (size, *node.shape))


def _reshape(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    return graph.reshape(operands[0][0], (size, *node.shape))


def _reduce(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    kind, dims, *rest = node.attrs
    attrs = (kind, tuple(d + 1 for d in dims), *rest)
    return graph.make(node.op, [operands[0][0]], attrs, (size, *node.shape), node.type)


def _scan(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    kind, dim = node.attrs
    return graph.make(node.op, [operands[0][0]], (kind, dim + 1), (size, *node.shape), node.type)


def _gather(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    (x, flag), *indices = operands
    spread_out = [spread(graph, i, size) for i in indices]
    return graph.make("gather", [x, *spread_out], (_sources(node.attrs[0], flag),), (size, *node.shape), node.type)


def _scatter(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    kind, map_ = node.attrs
    whole = [spread(graph, o, size) for o in operands]
    return graph.make("scatter", whole, (kind, _sources(map_, True)), (size, *node.shape), node.type)


def _update(graph: Graph, node: Node, operands: Sequence[Value], size: int) -> Node:
    base, x = (spread(graph, o, size) for o in operands)
    return graph.update(base, x, _shifted(node.attrs[0]))


_RULES: dict[str, Callable[[Graph, Node, Sequence[Value], int], Node]] = {
    "move": _move, "reshape": _reshape, "reduce": _reduce, "argreduce": _reduce, "scan": _scan, "gather": _gather,
    "scatter": _scatter, "update": _update,
}  # fmt: skip
