"""Arguments that are read across the order of their memory.

Read one by one along a dimension with a stride, each element costs a line of the cache; turned over in tiles first
(``turn.py``), two elements do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..dtype import coded
from ..layout import ordered_strides
from ..loop.nodes import ELEMENTWISE, TILE
from .node import Map, Node, topological
from .places import Output

__all__ = ["crosswise"]

_LARGE = 1 << 14
"""Elements from which a copy is worth a kernel."""
_MORE = 2
"""How many times as large as what is computed an argument may be that is copied as a whole."""


def crosswise(outputs: Sequence[Output]) -> list[tuple[Node, tuple[int, ...]]]:
    """Large arguments to copy before anything else, and the strides of the copies: those that are only read along a
    dimension along which they do not lie, by what is computed along the rows of a result or of a template's operand."""
    starts: list[tuple[Node, int]] = []
    for o in outputs:
        fast = next((d for d, s in enumerate(o.strides) if s == 1 and o.node.shape[d] > 1), None)
        if fast is not None:
            starts.append((o.node, fast))
    for n in topological([o.node for o in outputs]):
        if n.op == "extern":
            starts += [(i, len(i.shape) - 1) for i in n.inputs if i.shape and i.op not in ("input", "move")]
    found: dict[int, tuple[Node, set[int | None]]] = {}
    for start, fast in starts:
        if math.prod(start.shape) >= _LARGE and not _only_copied(start):
            _follow(start, fast, found)
    wanted = []
    for leaf, along in found.values():
        (d,) = along if len(along) == 1 else (None,)
        if d is not None and _lies_across(leaf, d):
            strides = leaf.attrs[1]
            order = sorted((k for k in range(len(strides)) if k != d), key=lambda k: (-strides[k], k))
            wanted.append((leaf, ordered_strides(leaf.shape, [*order, d])))
    return wanted


def _only_copied(node: Node) -> bool:
    """Whether a value is an argument seen in another order, which the kernel of copies turns over by itself."""
    while node.op in ("move", "reshape") or (node.op == "select" and node.inputs[1] is node.inputs[2]):
        node = node.inputs[-1]
    return node.op == "input"


def _lies_across(leaf: Node, d: int) -> bool:
    strides, shape = leaf.attrs[1], leaf.shape
    if coded(leaf.type).itemsize > 8 or shape[d] < TILE or strides[d] <= 1 or math.prod(shape) < _LARGE:
        return False
    return any(s == 1 and n >= TILE for s, n in zip(strides, shape))


def _follow(start: Node, fast: int, found: dict[int, tuple[Node, set[int | None]]]) -> None:
    """Notes for each argument that is read element by element the dimension along which it is (None: not known)."""
    most = _MORE * math.prod(start.shape)
    stack: list[tuple[Node, int | None]] = [(start, fast)]
    seen: set[tuple[int, int | None]] = set()
    while stack:
        node, d = stack.pop()
        if (id(node), d) in seen:
            continue
        seen.add((id(node), d))
        if node.op == "input":
            found.setdefault(id(node), (node, set()))[1].add(d if math.prod(node.shape) <= most else None)
        elif node.op in ELEMENTWISE or node.op in ("cast", "scan"):
            stack.extend((i, d) for i in node.inputs)
        elif node.op in ("reduce", "argreduce"):
            continue  # goes over its operand as the loops do that read it besides, or as it likes
        elif node.op == "move":
            base, map_ = node.inputs[0], node.attrs[0]
            reads = [k for k, (_, terms) in enumerate(map_) if d in [dim for dim, _ in terms]]
            stack.append((base, reads[0] if len(reads) == 1 else None))
        elif node.op == "update":
            base, part = node.inputs
            places: Map = node.attrs[0]
            terms = () if d is None else places[d][1]
            stack += [(base, d), (part, terms[0][0] if len(terms) == 1 else None)]
        elif node.op == "reshape":
            (base,) = node.inputs
            last, lowest = (max((k for k, n in enumerate(s) if n > 1), default=None) for s in (node.shape, base.shape))
            stack.append((base, lowest if d == last else None))
        else:  # what indices read, and what has memory already
            stack.extend((i, None) for i in node.inputs if i.op in ("input", "move"))
