"""Values that are computed a second time rather than kept, so that a program takes less memory, or stays below a limit.

A training step keeps what its forward pass computes until the backward pass reads it.  While the memory of the fullest
moment is above the limit, a value that waits through this moment without being read is given up, and computed again
before it is read next: the one that frees most bytes for the time that computing it takes, along with what it is
computed from where that is gone too.  (Chen et al. 2016, "Training deep nets with sublinear memory cost"; chosen
greedily as Kirisame et al. 2021, "Dynamic tensor rematerialization", do at run time.)

Without a limit, elementwise values that templates of the backward pass read again (an activation, a normalised value)
are given up where that costs next to nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from ..dtype import coded
from .node import Graph, Node
from .order import in_order
from .share import BARRIERS, FREE, operations

__all__ = ["recompute"]

_DEEP = 6  # values in a row that are computed again for one
_RATE, _BANDWIDTH = 100e9, 10e9  # operations and bytes a second, for weighing values against each other
_FAR, _LARGE = (
    16,
    1 << 16,
)  # actions between two reads, and bytes, from which on a value may be given up without a limit
_SHARE = 40  # part of a program's time that computing such values again may take
_KEPT = frozenset({"scan", "update", "scatter", "argreduce"})  # computed where they are, and never again


def recompute(graph: Graph, outputs: Sequence[Node], into: Sequence[int | None]) -> list[Node]:
    """The outputs, with values computed again until the others need at most ``graph.limit`` bytes, or none is left that
    could be; without a limit, with those computed again that cost little."""
    found = _Recomputing(outputs, into)
    if graph.limit is None:
        found.spare()
    else:
        found.reduce(graph.limit)
    return found.rebuilt(outputs)


class _Shaped(NamedTuple):
    """A result of a template that does not lie anywhere."""

    shape: tuple[int, ...]


class _Value:
    """A value in memory: its node, bytes, the times of what reads it, and the gap (between two reads) through which it
    is not kept."""

    __slots__ = ("action", "gap", "nbytes", "node", "result", "uses")

    def __init__(self, node: Node, action: int, result: bool) -> None:
        self.node, self.action, self.result = node, action, result
        self.nbytes = math.prod(node.shape) * coded(node.type).itemsize
        self.uses: list[int] = []
        self.gap: tuple[int, int] | None = None


class _Recomputing:
    def __init__(self, outputs: Sequence[Node], into: Sequence[int | None]) -> None:
        order = in_order(list(zip(outputs, into)))
        results = {id(n) for n in outputs}
        roots = results | {id(base) for n in order if n.op == "extern" for base in map(_under, n.inputs)}
        self.actions: list[Node] = []  # what is computed one after the other, by time
        self.values: dict[int, _Value] = {}
        self.of_action: list[list[_Value]] = []
        self.reads: list[list[_Value]] = []  # of each action
        times: dict[int, int] = {}
        for n in order:
            if n.op == "out":
                time = times[id(n.inputs[0])]
            elif n.op in BARRIERS or (id(n) in roots and n.op not in FREE):
                time = times[id(n)] = len(self.actions)
                self.actions.append(n)
                self.of_action.append([])
                self.reads.append(self._read(n))
                for v in self.reads[-1]:
                    v.uses.append(time)
                if n.op == "extern":
                    continue
            else:
                continue
            value = self.values[id(n)] = _Value(n, time, id(n) in results)
            self.of_action[time].append(value)

    def _read(self, action: Node) -> list[_Value]:
        """The values that an action reads, through those that are computed where they are used."""
        found: dict[int, _Value] = {}
        seen: set[int] = set()
        stack = list(action.inputs)
        while stack:
            n = stack.pop()
            if id(n) in seen:
                continue
            seen.add(id(n))
            if id(n) in self.values:
                found[id(n)] = self.values[id(n)]
            else:
                stack += n.inputs
        return list(found.values())

    # -- choosing --------------------------------------------------------------------------------
    def spare(self) -> None:
        """Gives up elementwise values that wait long and are computed of others that are kept at least about as long,
        up to a fortieth of the program's time.

        Times are whole numbers and nothing depends on which moment is the fullest, so that programs of other sizes
        are treated alike (``varying.py``)."""
        far = [v for v in self.values.values() if self._spared(v)]
        if not far:
            return
        left = sum(map(self._time, range(len(self.actions)))) // _SHARE
        for v in far:
            left -= self._time(v.action)
            if left < 0:
                return
            v.gap = self._widest(v)
            after = v.gap[1]
            for u in self.reads[v.action]:
                if after not in u.uses:
                    insort(u.uses, after)

    def _spared(self, v: _Value) -> bool:
        """Whether a value may be given up for a while without a limit."""
        action = self.actions[v.action]
        if v.result or not v.uses or action.op in BARRIERS or v.nbytes < _LARGE:
            return False
        before, after = self._widest(v)
        return after - before >= _FAR and all(
            u.result or (u.gap is None and u.uses[-1] + _FAR >= after) for u in self.reads[v.action]
        )

    def _widest(self, v: _Value) -> tuple[int, int]:
        """The two reads one after the other, or what makes the value and the first one, with most actions between."""
        return max(pairwise([v.action, *v.uses]), key=lambda gap: gap[1] - gap[0])

    def _time(self, time: int) -> int:
        """How long an action takes, in the time of an operation."""
        action = self.actions[time]
        nbytes = sum(v.nbytes for v in (*self.of_action[time], *self.reads[time]))
        return self._work(action) + nbytes * int(_RATE / _BANDWIDTH)

    def reduce(self, limit: int) -> None:
        """Gives up values until the fullest moment is within the limit."""
        while True:
            peak, moment = self._peak()
            if peak <= limit:
                return
            best: _Value | None = None
            rate = 0.0
            for v in self.values.values():
                gap = self._gap(v, moment)
                if gap is None:
                    continue
                seconds = self._cost(v, gap[1], _DEEP)
                if seconds is not None and v.nbytes / seconds > rate:
                    best, rate = v, v.nbytes / seconds
            if best is None:
                return
            gap = self._gap(best, moment)
            assert gap is not None
            self._give_up(best, gap)

    def _peak(self) -> tuple[int, int]:
        """(the bytes of the values at the fullest moment, that moment)"""
        change = [0] * (len(self.actions) + 1)
        for v in self.values.values():
            if v.result or not v.uses:
                continue
            spans = [(v.action, v.uses[-1])] if v.gap is None else [(v.action, v.gap[0]), (v.gap[1], v.uses[-1])]
            for first, last in spans:
                change[first] += v.nbytes
                change[last + 1] -= v.nbytes
        now = peak = moment = 0
        for time, more in enumerate(change):
            now += more
            if now > peak:
                peak, moment = now, time
        return peak, moment

    def _gap(self, v: _Value, moment: int) -> tuple[int, int] | None:
        """The reads of a value before and after this moment, at which it is kept for the later one alone."""
        if v.result or v.gap is not None or not v.uses or not self._again(v) or not v.action < moment < v.uses[-1]:
            return None
        k = bisect_left(v.uses, moment)
        if v.uses[k] == moment:
            return None
        return (v.uses[k - 1] if k else v.action), v.uses[k]

    def _again(self, v: _Value) -> bool:
        """Whether a value can be computed twice: not what draws random numbers, or works outside of generated code."""
        action = self.actions[v.action]
        return action.op not in _KEPT and (action.op != "extern" or hasattr(action.attrs[0], "operations"))

    def _there(self, v: _Value, time: int) -> bool:
        """Whether a value is in memory at a time, without being kept or computed for it."""
        if v.result:
            return True
        return v.uses[-1] >= time and (v.gap is None or not v.gap[0] < time < v.gap[1])

    def _cost(self, v: _Value, time: int, depth: int) -> float | None:
        """The seconds that it takes to have a value again at a time; None if that cannot be."""
        if depth == 0 or not self._again(v):
            return None
        total = self._seconds(v.action)
        for u in self.reads[v.action]:
            if not self._there(u, time):
                more = self._cost(u, time, depth - 1)
                if more is None:
                    return None
                total += more
        return total

    def _seconds(self, time: int) -> float:
        nbytes = sum(v.nbytes for v in (*self.of_action[time], *self.reads[time]))
        return float(self._work(self.actions[time])) / _RATE + nbytes / _BANDWIDTH + 1e-9

    def _work(self, action: Node) -> int:
        """The operations of an action; 0 where nobody knows them."""
        if action.op != "extern":
            return operations(action)
        spec, results = action.attrs
        counted = getattr(spec, "operations", None)
        return 0 if counted is None else counted(action.inputs, [_Shaped(shape) for shape, _ in results])

    def _give_up(self, v: _Value, gap: tuple[int, int]) -> None:
        """Has a value computed again at the end of the gap, and what it needs for that."""
        v.gap = gap
        for u in self.reads[v.action]:
            self._have(u, gap[1])

    def _have(self, u: _Value, time: int) -> None:
        """Makes a value be there at a time, at which it is read."""
        there = self._there(u, time)
        if time not in u.uses:
            insort(u.uses, time)
        if there:
            return
        before = [t for t in u.uses if t < time and (u.gap is None or t <= u.gap[0])]
        self._give_up(u, (before[-1] if before else u.action, time))

    # -- the new graph ---------------------------------------------------------------------------
    def rebuilt(self, outputs: Sequence[Node]) -> list[Node]:
        """The outputs of the graph in which late readers of a value that was given up read a copy of it."""
        clones: dict[int, list[int]] = {}  # time -> the actions that are done again then
        for time, values in enumerate(self.of_action):
            starts = [v.gap[1] for v in values if v.gap is not None]
            if starts:
                clones.setdefault(min(starts), []).append(time)
        if not clones:
            return list(outputs)
        new: dict[tuple[int, bool], Node] = {}
        memo: dict[tuple[int, ...], Node] = {}

        def at(n: Node, time: int) -> Node:
            """A node as an action at this time reads it."""
            v = self.values.get(id(n))
            if v is not None:
                return new[id(n), v.gap is not None and time >= v.gap[1]]
            found: dict[int, Node] = {}
            stack = [n]
            while stack:
                x = stack[-1]
                if id(x) in found:
                    stack.pop()
                    continue
                v = self.values.get(id(x))
                if v is not None:
                    found[id(x)] = new[id(x), v.gap is not None and time >= v.gap[1]]
                    continue
                waiting = [i for i in x.inputs if id(i) not in found]
                if waiting:
                    stack += waiting
                    continue
                inputs = tuple(found[id(i)] for i in x.inputs)
                if all(a is b for a, b in zip(inputs, x.inputs)):
                    found[id(x)] = x
                else:
                    key = (id(x), *map(id, inputs))
                    if key not in memo:
                        memo[key] = _copy(x, inputs, x.number)
                    found[id(x)] = memo[key]
            return found[id(n)]

        def act(time: int, now: int, again: bool) -> None:
            action = self.actions[time]
            inputs = tuple(at(i, now) for i in action.inputs)
            made = action
            if again or any(a is not b for a, b in zip(inputs, action.inputs)):
                made = _copy(action, inputs, self.actions[now].number if again else action.number)
            for v in self.of_action[time]:
                node = v.node
                if node is action:
                    node = made
                elif made is not action:
                    node = _copy(v.node, (made,), made.number)
                new[id(v.node), again] = node

        for time in range(len(self.actions)):
            for earlier in sorted(clones.get(time, ())):
                act(earlier, time, True)
            act(time, time, False)
        end = len(self.actions)
        return [at(n, end) if id(n) not in self.values else new[id(n), False] for n in outputs]


def _copy(node: Node, inputs: tuple[Node, ...], number: int) -> Node:
    made = Node()
    made.op, made.inputs, made.attrs, made.shape, made.type = node.op, inputs, node.attrs, node.shape, node.type
    made.origin, made.number = node.origin, number
    return made


def _under(node: Node) -> Node:
    """The value in memory of which an operand of a template is a view."""
    while node.op in ("move", "reshape"):
        node = node.inputs[0]
    return node
