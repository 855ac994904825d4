"""The steps of a plan written into native programs: where their buffers lie, and what runs between host computations.

A program addresses memory by *slots*: those of the results come first, then the arguments', those of constants that are
kept as kernels read them, that of the plan's own block, and one for each temporary value that comes and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..runtime import pool
from .kernel import KernelCall
from .places import BufferSpec
from .program import Entry, Launch, Program
from .steps import Step, Where

__all__ = ["HostCall", "Parts", "Slots"]


class HostCall(NamedTuple):
    """A computation that Python runs."""

    call: Callable[..., int]
    places: tuple[tuple[int, int], ...]

    def run(self, slots: Sequence[int], numbers: Sequence[float]) -> int:
        """Its error code, or 0; ``slots`` are addresses."""
        return self.call([slots[slot] + offset for slot, offset in self.places])


@dataclass(frozen=True)
class Slots:
    """Where the buffers of a plan lie."""

    buffers: Sequence[BufferSpec]
    results: int
    block: int
    """The slot of the plan's own block; constants lie right before it."""
    temporary: Mapping[int, Where]
    coming: Mapping[int, int]
    """The slots of temporary values that come and go."""

    @property
    def count(self) -> int:
        """All slots."""
        return self.block + 1 + len(self.coming)

    def place(self, buffer: int, offset: int) -> tuple[int, int]:
        """(slot, byte offset) of a place in a buffer."""
        b = self.buffers[buffer]
        if b.kind == "output":
            return b.slot, offset
        if b.kind == "input":
            return self.results + b.slot, offset
        if buffer in self.coming:
            return self.coming[buffer], offset
        # an unused buffer is that of a value which its only reader computes itself: any address does
        return self.within(self.temporary.get(buffer, (None, 0)), offset)

    def within(self, where: Where, offset: int = 0) -> tuple[int, int]:
        """The same of temporary memory."""
        result, at = where
        return (self.block if result is None else self.buffers[result].slot), at + offset


class Parts:
    """Native programs and host computations in the order of the steps that are added.

    ``used`` are the numbers given at run time that kernels read, ``given`` their types.
    """

    def __init__(self, slots: Slots, steps: Sequence[Step], constants: int) -> None:
        self._slots = slots
        self._constants = iter(range(slots.block - constants, slots.block))
        self._types = {
            k: "d" if s == "f64" else "i"
            for call, _ in steps
            if isinstance(call, KernelCall)
            for k, s in zip(call.scalars, call.kernel.scalars)
        }
        self.used = sorted(self._types)
        self._position = {k: at for at, k in enumerate(self.used)}
        self._given = "".join(self._types[k] for k in self.used)
        self.found: list[Program | HostCall] = []
        self._begin()

    def _begin(self) -> None:
        self._entries: list[Entry] = []
        self._fixed: list[float | int] = []
        self._big = False

    def close(self) -> None:
        """Ends the program that is being written."""
        if self._entries:
            self.found.append(Program(self._entries, self._slots.count, self._given, self._fixed, self._big))
        self._begin()

    def add(self, step: Step, scratch: Where | None) -> None:
        """Adds a step, whose scratch memory lies there."""
        call, touched = step
        where = tuple(self._slots.place(b, o) for b, o in touched)
        if isinstance(call, KernelCall):
            self._add_kernel(call, where)
        elif isinstance(call, Launch):
            self._add_launch(call, where, scratch)
        else:
            self.close()
            self.found.append(HostCall(call, where))

    def _add_kernel(self, call: KernelCall, where: tuple[tuple[int, int], ...]) -> None:
        words = (call.chunks, pool.address() if call.chunks > 1 else 0, *call.words)
        numbers = tuple(self._position[k] for k in call.scalars)
        kinds = "".join(self._types[k] for k in call.scalars)
        self._entries.append(Entry(call.address, words, where, numbers, kinds))
        self._big |= call.chunks > 1

    def _add_launch(self, call: Launch, where: tuple[tuple[int, int], ...], scratch: Where | None) -> None:
        if call.packed is not None:
            at = call.packed.position
            where = (*where[:at], (next(self._constants), 0), *where[at + 1 :])
        if call.scratch is not None:
            assert scratch is not None
            where = (*where, self._slots.within(scratch))
        first = len(self._given) + len(self._fixed)
        indices = tuple(range(first, first + len(call.numbers)))
        self._fixed += call.numbers
        kinds = "".join("d" if isinstance(x, float) else "i" for x in call.numbers)
        self._entries.append(Entry(call.address, call.words, where, indices, kinds, call.keep))
        self._big |= call.big
