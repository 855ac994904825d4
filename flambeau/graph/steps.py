"""The steps of a plan once templates have been bound: calls of native code and what they touch; where temporary values
lie; and in which stages results come and arguments go."""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

from ..dtype import coded
from ..runtime.native import make_caller
from .arena import Lifetime, Room, assign
from .group import Place
from .kernel import KernelCall
from .program import Launch
from .schedule import BufferSpec, ExternCall

__all__ = [
    "CODES", "Comings", "Derived", "KernelError", "Operand", "Stage", "Step", "Where", "arranged", "derived",
    "extern_steps", "most", "staged",
]  # fmt: skip

_ROOM = 1 << 14  # bytes of a result in which temporary values may lie before
_STAGES = 32  # at most, about
_LEAST = 8 << 20  # bytes that come or go in a plan from which on it is worth stages
_OWN = 1 << 16  # bytes of the smallest temporary buffers that come and go by themselves


class Operand(NamedTuple):
    """What an extern call sees of a buffer: element type, shape and strides (the address comes at the call), and
    whether it stays the same from call to call, so that what is made of it may be kept (``Launch.packed``)."""

    type: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    constant: bool = False


CODES: dict[int, tuple[type[Exception], str]] = {
    1: (IndexError, "index out of range in self"),
    2: (RuntimeError, "ZeroDivisionError"),
    3: (RuntimeError, "all elements of input should be between 0 and 1"),
    4: (
        ValueError,
        "offsets[0] has to be 0, no offset may be less than the one before it, and offsets[-1] can not be greater than "
        "input's length",
    ),
}
"""What a kernel's error code means."""


class KernelError(Exception):
    """A kernel reported an error by its code; the operator layer words it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"kernel error {code}")
        self.code = code


class Derived(NamedTuple):
    """A constant that a plan reads besides its arguments: made of the memory ``offset`` bytes into argument number
    ``argument``; see ``program.Packed``, of whose keys ``key`` is the number."""

    argument: int
    offset: int
    key: int
    nbytes: int
    address: int
    words: tuple[int, ...]
    buffers: int

    def make(self, source: int, target: int) -> None:
        """Makes it of what is at one address, in memory at another one."""
        params = (ctypes.c_int64 * len(self.words))(*self.words)
        call = make_caller(self.address, "p" * (self.buffers + 1), bound=(ctypes.addressof(params),), release_gil=True)
        status = call(*[source] * self.buffers, target)
        if status:
            raise KernelError(status)


def derived(launch: Launch, touched: Sequence[tuple[int, int]], buffers: Sequence[BufferSpec]) -> Derived:
    packed = launch.packed
    assert packed is not None
    buffer, offset = touched[packed.position]
    key = _packings.setdefault(packed.key, len(_packings))  # looked up in every run
    return Derived(buffers[buffer].slot, offset, key, packed.nbytes, launch.address, packed.words, len(launch.buffers))


_packings: dict[tuple[object, ...], int] = {}


class Step(NamedTuple):
    """What a plan does at one point: a call of a kernel or of a host computation, and the buffers it touches."""

    call: KernelCall | Launch | Callable[..., int]
    buffers: tuple[tuple[int, int], ...]  # (buffer, byte offset)


class Stage(NamedTuple):
    """Steps up to number ``end``, what needs memory of its own before them (results, by slot, and temporary buffers),
    and what nobody needs behind them (arguments, by slot, and temporary buffers)."""

    end: int
    results: tuple[int, ...]
    begun: tuple[int, ...]
    ended: tuple[int, ...]
    arguments: tuple[int, ...]


def extern_steps(
    call: ExternCall, buffers: Sequence[BufferSpec], workers: int, constant: Container[int] = ()
) -> list[Step]:
    def operand(p: Place) -> Operand:
        b = buffers[p.buffer]
        return Operand(b.type, p.shape, p.strides, b.kind == "input" and b.slot in constant)

    spec: Any = call.spec
    inputs, outputs = [operand(p) for p in call.inputs], [operand(p) for p in call.outputs]
    where = [(p.buffer, p.offset * coded(buffers[p.buffer].type).itemsize) for p in (*call.inputs, *call.outputs)]
    count = len(inputs)
    if not hasattr(spec, "launches"):
        run = spec.bind(inputs, outputs)

        def host(addresses: list[int]) -> int:
            return run(addresses[:count], addresses[count:])

        return [Step(host, tuple(where))]
    found = []
    for launch in spec.launches(inputs, outputs, workers):
        places = [(where[k] if k >= 0 else where[count + ~k], offset) for k, offset in launch.buffers]
        found.append(Step(launch, tuple((b, at + offset) for (b, at), offset in places)))
    return found


Where = tuple[int | None, int]  # a result's buffer, or None for the plan's own memory, and bytes from there on


def arranged(
    steps: Sequence[Step], buffers: Sequence[BufferSpec], apart: bool, elsewhere: Container[int] = ()
) -> tuple[dict[int, Where], dict[int, Where], int]:
    """(where each temporary buffer lies, where the scratch memory of each step does, bytes of the plan's own memory).

    ``apart``: temporary values may lie where a result will, until that is begun; ``elsewhere``: buffers with other
    memory.
    """
    first, last, begun = _lives(steps, buffers)
    nbytes = {b: _nbytes(buffers[b]) for b in (*first, *begun)}
    mine = [b for b in first if b not in elsewhere]
    blocks = [Lifetime(nbytes[b], first[b], last[b]) for b in mine]
    scratch = [
        (number, step.call.scratch)
        for number, step in enumerate(steps)
        if isinstance(step.call, Launch) and step.call.scratch is not None
    ]
    blocks += [Lifetime(size, number, number) for number, size in scratch]
    hosts = [b for b in begun if apart and nbytes[b] >= _ROOM]
    found, total = assign(blocks, [Room(nbytes[b], begun[b]) for b in hosts])
    where: list[Where] = [(None if room < 0 else hosts[room], at) for room, at in found]
    return dict(zip(mine, where)), dict(zip((n for n, _ in scratch), where[len(mine) :])), total


def _nbytes(buffer: BufferSpec) -> int:
    return buffer.size * coded(buffer.type).itemsize


def _lives(
    steps: Sequence[Step], buffers: Sequence[BufferSpec]
) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """(the first step, and the last one, that touches each temporary buffer; the first one that touches each result)"""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    begun: dict[int, int] = {}
    for number, step in enumerate(steps):
        for b, _ in step.buffers:
            kind = buffers[b].kind
            if kind == "temp":
                first.setdefault(b, number)
                last[b] = number
            elif kind == "output":
                begun.setdefault(b, number)
    return first, last, begun


def staged(steps: Sequence[Step], buffers: Sequence[BufferSpec], leaving: Sequence[int]) -> list[Stage]:
    """The steps in stages, at whose begin memory is found for results, and for temporary values that a later stage
    needs too, and at whose end that of values and of arguments (slots ``leaving``) goes that nobody needs any more;
    empty for plans that move little memory.

    In one block for the whole plan, gradients would lie beside activations that are gone by then.
    """
    first, last, begun = _lives(steps, buffers)
    leaves = dict.fromkeys(leaving, 0)  # slot -> the last step that touches it
    sizes: dict[int, int] = {}
    for number, step in enumerate(steps):
        for b, _ in step.buffers:
            if buffers[b].kind == "input" and buffers[b].slot in leaves:
                leaves[buffers[b].slot] = number
                sizes[buffers[b].slot] = _nbytes(buffers[b])
    moved = [0] * len(steps)  # bytes that come with a step, and go with the one before
    for b, number in begun.items():
        moved[number] += _nbytes(buffers[b])
    far = len(steps) // _STAGES
    for b, number in first.items():
        if last[b] - number > far and _nbytes(buffers[b]) >= _OWN:
            moved[number] += _nbytes(buffers[b])
            if last[b] + 1 < len(steps):
                moved[last[b] + 1] += _nbytes(buffers[b])
    for slot, number in leaves.items():
        if number + 1 < len(steps):
            moved[number + 1] += sizes.get(slot, 0)
    total = sum(moved)
    if total < _LEAST:
        return []
    ends: list[int] = []
    now = 0
    for number, more in enumerate(moved):
        if now and now + more > total // _STAGES:
            ends.append(number)
            now = 0
        now += more
    ends.append(len(steps))
    return _stages(ends, (first, last), begun, leaves, buffers) if len(ends) > 1 else []


def _stages(
    ends: Sequence[int],
    lives: tuple[dict[int, int], dict[int, int]],
    begun: dict[int, int],
    leaves: dict[int, int],
    buffers: Sequence[BufferSpec],
) -> list[Stage]:
    parts: list[tuple[list[int], ...]] = [([], [], [], []) for _ in ends]
    for b, number in begun.items():
        parts[bisect_right(ends, number)][0].append(buffers[b].slot)
    first, last = lives
    for b, number in first.items():
        start, end = bisect_right(ends, number), bisect_right(ends, last[b])
        if start < end and _nbytes(buffers[b]) >= _OWN:
            parts[start][1].append(b)
            parts[end][2].append(b)
    for slot, number in leaves.items():
        parts[bisect_right(ends, number)][3].append(slot)
    return [Stage(end, *map(tuple, part)) for end, part in zip(ends, parts)]


class Comings(NamedTuple):
    """A stage: the number of parts up to its end, the results that come with it, the temporary values (slot, bytes)
    that come and go, the arguments that go."""

    parts: int
    results: tuple[int, ...]
    begun: list[tuple[int, int]]
    ended: list[tuple[int, int]]
    arguments: tuple[int, ...]


def most(stages: Sequence[Stage], nbytes: Mapping[int, int]) -> int:
    """The most bytes of temporary values that come and go, at one time."""
    now = most = 0
    for stage in stages:
        now += sum(nbytes[b] for b in stage.begun)
        most = max(most, now)
        now -= sum(nbytes[b] for b in stage.ended)
    return most
