"""The order in which a graph's values are computed.

Values come in the order in which the program made them, which is that of eager execution, so that operands are
forgotten where a program would forget them.  What only serves a write into an argument (the update of a parameter) is
computed as soon as its operands are there: the gradient then needs memory for a moment only.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from .node import Node, topological

__all__ = ["in_order", "only_written"]

_SEEN_THROUGH = frozenset({"move", "reshape", "cast"})
_COMPUTED = frozenset({"extern", "out", "reduce", "argreduce", "scan", "scatter", "update", "gather"})


def in_order(results: Sequence[tuple[Node, int | None]]) -> list[Node]:
    """All values that the results depend on, operands first.

    Each result comes with the slot of the argument that it is written to, or None.  Such a write waits for the
    computations that read the argument directly, if they are not themselves computed from what is written.
    """
    order = topological(node for node, _ in results)
    users: dict[int, list[Node]] = {id(n): [] for n in order}
    missing: dict[int, int] = {}
    for n in order:
        different = {id(i): i for i in n.inputs}
        missing[id(n)] = len(different)
        for i in different.values():
            users[id(i)].append(n)
    late = only_written(order, users, results)
    written: dict[int, list[Node]] = {}
    for node, slot in results:
        if slot is not None and id(node) in late and not users[id(node)]:
            written.setdefault(slot, []).append(node)
    if written:
        for n in order:
            if n.op != "input" or n.attrs[0] not in written:
                continue
            for reader in _readers(n, users):
                for node in written[n.attrs[0]]:
                    if reader is not node and all(u is not node for u in users[id(reader)]):
                        users[id(reader)].append(node)
                        missing[id(node)] += 1
    rank: dict[int, int] = {}
    found: list[Node] = []
    waiting = [(-1, k, n) for k, n in enumerate(order) if not missing[id(n)]]  # leaves cost nothing
    heapq.heapify(waiting)
    serial = 0  # falls, so that of values that could come at one time the one that has just become possible does
    while waiting:
        rank_, _, n = heapq.heappop(waiting)
        rank[id(n)] = rank_
        found.append(n)
        for u in users[id(n)]:
            missing[id(u)] -= 1
            if not missing[id(u)]:
                own = max((rank[id(i)] for i in u.inputs), default=u.number) if id(u) in late else u.number
                serial -= 1
                heapq.heappush(waiting, (own, serial, u))
    return found


def only_written(
    order: Sequence[Node], users: dict[int, list[Node]], results: Sequence[tuple[Node, int | None]]
) -> Collection[int]:
    """The elementwise values that are needed for nothing but results that go into arguments."""
    kept = {id(node) for node, slot in results if slot is None}
    ends = {id(node) for node, slot in results if slot is not None}
    late: set[int] = set()
    for n in reversed(order):
        after = users.get(id(n), ())
        if id(n) in kept or n.op in _COMPUTED or (not after and id(n) not in ends):
            continue
        if all(id(u) in late for u in after):
            late.add(id(n))
    return late


def _readers(node: Node, users: dict[int, list[Node]]) -> list[Node]:
    """The templates and look-ups that read a value, or a view of it."""
    found: list[Node] = []
    stack = list(users[id(node)])
    while stack:
        n = stack.pop()
        if n.op in _SEEN_THROUGH:
            stack.extend(users[id(n)])
        elif n.op in ("extern", "gather"):
            found.append(n)
    return found
