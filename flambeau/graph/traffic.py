"""Which steps read and write each buffer: what decides whether a value may be computed in an argument's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .group import Group, Place

__all__ = ["ExternCall", "Traffic"]


class ExternCall(NamedTuple):
    """A call of a template or a host library on places of the plan's buffers."""

    spec: object
    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]
    origin: str = ""


class Traffic:
    """What the steps of a schedule touch; ``memory_of`` tells for a buffer whose memory it lies in if that is an
    argument's, otherwise None."""

    def __init__(self, memory_of: Callable[[int], int | None]) -> None:
        self._memory_of = memory_of
        self.reads: list[set[int]] = []
        """The buffers that each step reads."""
        self._writers: dict[int, list[int]] = {}
        self._last: dict[int, int] = {}  # the last step that reads a buffer
        self._inside: dict[int, set[int]] = {}  # memory of an argument -> the buffers in it that are read

    def follow(self, steps: Sequence[Group | ExternCall]) -> None:
        """Takes note of the steps from the first that is not known yet on."""
        for number in range(len(self.reads), len(steps)):
            step = steps[number]
            if isinstance(step, Group):
                read, written = step.buffers_read(), {w.buffer for w in step.writes()}
            else:
                read, written = {p.buffer for p in step.inputs}, {p.buffer for p in step.outputs}
            self.reads.append(read)
            for buffer in written:
                self._writers.setdefault(buffer, []).append(number)
            for buffer in read:
                self._last[buffer] = number
                self.moved(buffer)

    def moved(self, buffer: int) -> None:
        """A buffer that is read lies in the memory of an argument now."""
        memory = self._memory_of(buffer)
        if memory is not None and buffer in self._last:
            self._inside.setdefault(memory, set()).add(buffer)

    def only_writer(self, buffer: int) -> int | None:
        """The step that writes a buffer; None if there is none, or several."""
        found = self._writers.get(buffer, ())
        return found[0] if len(found) == 1 else None

    def read_from(self, first: int, memory: int, but: int) -> bool:
        """Whether a step from number ``first`` on reads this argument's memory other than as the buffer ``but``."""
        return any(k != but and self._last[k] >= first for k in self._inside.get(memory, ()))
